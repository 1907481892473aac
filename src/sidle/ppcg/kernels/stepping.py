"""Whole ticks and whole levels: what the engine calls.

Slots are independent: a call on some of them reads and writes rows of these slots only.
Letters: N = slots, W = words of a state, H W = cells, P = C H W, M = levels in the bank.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels import codes
from sidle.ppcg.kernels.codes import (
    D_HEIGHT,
    D_TYPES,
    D_WIDTH,
    FIRST_AVATAR,
    H_AVATAR,
    H_AVATAR_TYPE,
    H_BIRTHS,
    H_EPISODE,
    H_FULL,
    H_HEIGHT,
    H_LEVEL,
    H_OVER,
    H_SCORE,
    H_TICK,
    H_WIDTH,
    H_WINNER,
    HEADER,
    M_PRESENT,
    MARKS,
    PLAYER_WINS,
    T_CLASS,
    TILE,
)
from sidle.ppcg.kernels.movement import update_avatar, update_others
from sidle.ppcg.kernels.observing import draw_records, erase_records
from sidle.ppcg.kernels.records import give_birth, is_crowded
from sidle.ppcg.kernels.rules import (
    bury,
    judge,
    lift_shields,
    note_touches,
    run_edge_rules,
    run_pair_rules,
)
from sidle.ppcg.kernels.streams import episode_stream, mixed

DISABLED, SAME_STEP, NEXT_STEP = range(3)  # when a finished level is replaced
CROWDED, FULL, BAD_ACTION = range(1, 4)  # what a step reports

# Columns of the log of episodes, int64.
(
    L_SLOT,
    L_LEVEL,
    L_WON,
    L_SCORE,
    L_LENGTH,
    LOG_COLUMNS,
) = range(6)

_DRAW = np.uint64(0xD1B54A32D192ED03)
_11 = np.uint64(11)


@numba.njit(cache=True, nogil=True)
def load_level(
    types,
    segments,
    sizes,
    placing_fixed,
    placing_start,
    placing_kinds,
    characters,
    height,
    width,
    state,
    cells,
    planes,
    scratch,
    observed,
):
    """Set up a level from its characters (H, W); only the upper left height x width count."""
    n_types = sizes[D_TYPES]
    columns = sizes[D_WIDTH]
    n_cells = sizes[D_HEIGHT] * columns
    episode = state[H_EPISODE]
    state[: codes.HEADER + n_types] = 0
    state[sizes[codes.D_SHOWN] : sizes[codes.D_RECORDS]] = 0
    state[H_EPISODE] = episode
    state[H_TICK] = -1
    state[H_AVATAR] = -1
    state[H_LEVEL] = -1
    state[H_WIDTH] = width * TILE
    state[H_HEIGHT] = height * TILE
    cells[:] = 0
    if observed:
        planes[:] = 0
    scratch[MARKS][M_PRESENT] = 0
    for row in range(height):
        for column in range(width):
            character = characters[row, column]
            cell = row * columns + column
            fixed = placing_fixed[character]
            if fixed:
                cells[cell] = fixed
                kind = 0
                while fixed:
                    if fixed & 1:
                        state[HEADER + kind] += 1
                        if observed:
                            planes[kind * n_cells + cell] = 1
                    fixed >>= 1
                    kind += 1
            for place in range(placing_start[character], placing_start[character + 1]):
                born = placing_kinds[place]
                record = give_birth(
                    types,
                    segments,
                    sizes,
                    state,
                    cells,
                    scratch,
                    born,
                    column * TILE,
                    row * TILE,
                    False,
                )
                if types[born, T_CLASS] >= FIRST_AVATAR and record >= 0:
                    state[H_AVATAR] = record
                    state[H_AVATAR_TYPE] = born
    # The face has seen to room for every level; what counts is what is born from here on.
    state[H_BIRTHS] = 0
    if observed:
        draw_records(types, segments, sizes, state, planes)


@numba.njit(cache=True, nogil=True)
def tick(
    types,
    rules,
    n_edge,
    endings,
    lists,
    segments,
    sizes,
    state,
    cells,
    planes,
    scratch,
    streams,
    slot,
    action,
    most_ticks,
    observed,
):
    """Play one tick."""
    if observed:
        erase_records(types, segments, sizes, state, planes)
    present = np.int64(0)
    for kind in range(sizes[D_TYPES]):
        present |= np.int64(state[HEADER + kind] > 0) << kind
    scratch[MARKS][M_PRESENT] = present
    state[H_TICK] += 1
    update_avatar(types, segments, sizes, state, cells, scratch, action)
    update_others(types, lists, segments, sizes, state, cells, scratch, streams, slot)
    note_touches(types, segments, sizes, state, cells, scratch)
    run_edge_rules(
        types, rules, n_edge, lists, segments, sizes, state, cells, scratch, streams, slot
    )
    run_pair_rules(
        types, rules, n_edge, lists, segments, sizes, state, cells, scratch, streams, slot
    )
    lift_shields(scratch)
    bury(types, segments, sizes, state, cells, scratch, planes, observed)
    judge(types, endings, lists, segments, sizes, state, most_ticks)
    if observed:
        draw_records(types, segments, sizes, state, planes)


@numba.njit(cache=True, nogil=True)
def choose_level(cumulative, group_start, group_levels, by_level, seed, slot, episode):
    """Return the bank's level that this slot's episode begins with.

    A group (a bin of difficulty, or a level) is drawn by its weight, then one of its levels.
    """
    stream = mixed(episode_stream(seed, slot, episode) ^ _DRAW)
    total = cumulative[cumulative.size - 1]
    wanted = np.float64(stream >> _11) / 9007199254740992.0 * total  # 2^53
    low, high = 0, cumulative.size - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    if by_level:
        return low
    size = group_start[low + 1] - group_start[low]
    within = np.float64(mixed(stream) >> _11) / 9007199254740992.0
    return group_levels[group_start[low] + min(np.int64(within * size), size - 1)]


@numba.njit(cache=True, nogil=True)
def reset_slot(
    types,
    segments,
    sizes,
    placing_fixed,
    placing_start,
    placing_kinds,
    state,
    cells,
    planes,
    scratch,
    streams,
    slot,
    seed,
    observed,
    placed,
    placed_size,
    bank_characters,
    bank_size,
    cumulative,
    group_start,
    group_levels,
    by_level,
    next_levels,
):
    """Begin the slot's next episode: on the level asked for, one drawn, or the one it had."""
    episode = state[H_EPISODE]
    chosen = np.int64(-1)
    if bank_characters.shape[0] > 0:
        chosen = next_levels[slot]
        if chosen < 0:
            chosen = choose_level(
                cumulative, group_start, group_levels, by_level, seed, slot, episode
            )
        next_levels[slot] = -1
        load_level(
            types,
            segments,
            sizes,
            placing_fixed,
            placing_start,
            placing_kinds,
            bank_characters[chosen],
            bank_size[chosen, 0],
            bank_size[chosen, 1],
            state,
            cells,
            planes,
            scratch,
            observed,
        )
    else:
        load_level(
            types,
            segments,
            sizes,
            placing_fixed,
            placing_start,
            placing_kinds,
            placed[slot],
            placed_size[slot, 0],
            placed_size[slot, 1],
            state,
            cells,
            planes,
            scratch,
            observed,
        )
    state[H_LEVEL] = chosen
    streams[slot] = episode_stream(seed, slot, episode)
    state[H_EPISODE] = episode + 1


@numba.njit(cache=True, nogil=True)
def step_slots(
    begin,
    end,
    types,
    rules,
    n_edge,
    endings,
    lists,
    segments,
    sizes,
    placing_fixed,
    placing_start,
    placing_kinds,
    states,
    cells,
    planes,
    scratch,
    streams,
    seed,
    actions,
    n_actions,
    most_ticks,
    observed,
    autoreset,
    rewards,
    dones,
    wins,
    ended,
    final_planes,
    placed,
    placed_size,
    bank_characters,
    bank_size,
    cumulative,
    group_start,
    group_levels,
    by_level,
    next_levels,
):
    """Play a tick in the slots begin to end; a finished level is replaced as autoreset says.

    Returns 0 or the worst of: CROWDED, some type should get more room before the next tick; FULL,
    a sprite could not be born for lack of room; BAD_ACTION, an action is none, nothing was played.
    """
    for slot in range(begin, end):
        if actions[slot] < 0 or actions[slot] >= n_actions:
            return BAD_ACTION
    report = 0
    for slot in range(begin, end):
        state = states[slot]
        dones[slot] = False
        wins[slot] = False
        rewards[slot] = 0
        if state[H_OVER]:
            if autoreset == DISABLED:
                dones[slot] = True
                wins[slot] = state[H_WINNER] == PLAYER_WINS
                continue
            reset_slot(
                types,
                segments,
                sizes,
                placing_fixed,
                placing_start,
                placing_kinds,
                state,
                cells[slot],
                planes[slot],
                scratch,
                streams,
                slot,
                seed,
                observed,
                placed,
                placed_size,
                bank_characters,
                bank_size,
                cumulative,
                group_start,
                group_levels,
                by_level,
                next_levels,
            )
            if state[H_FULL]:
                report = FULL
            continue
        before = state[H_SCORE]
        tick(
            types,
            rules,
            n_edge,
            endings,
            lists,
            segments,
            sizes,
            state,
            cells[slot],
            planes[slot],
            scratch,
            streams,
            slot,
            actions[slot],
            most_ticks,
            observed,
        )
        if state[H_BIRTHS]:
            state[H_BIRTHS] = 0
            if state[H_FULL]:
                report = FULL
            elif is_crowded(types, segments, sizes, state):
                report = max(report, CROWDED)
        rewards[slot] = state[H_SCORE] - before
        if not state[H_OVER]:
            continue
        dones[slot] = True
        wins[slot] = state[H_WINNER] == PLAYER_WINS
        ended[slot, L_SLOT] = slot
        ended[slot, L_LEVEL] = state[H_LEVEL]
        ended[slot, L_WON] = state[H_WINNER] == PLAYER_WINS
        ended[slot, L_SCORE] = state[H_SCORE]
        ended[slot, L_LENGTH] = state[H_TICK] + 1
        if autoreset == SAME_STEP:
            if final_planes.shape[0]:
                final_planes[slot] = planes[slot]
            reset_slot(
                types,
                segments,
                sizes,
                placing_fixed,
                placing_start,
                placing_kinds,
                state,
                cells[slot],
                planes[slot],
                scratch,
                streams,
                slot,
                seed,
                observed,
                placed,
                placed_size,
                bank_characters,
                bank_size,
                cumulative,
                group_start,
                group_levels,
                by_level,
                next_levels,
            )
            if state[H_FULL]:
                report = FULL
    return report


@numba.njit(cache=True, nogil=True)
def log_episodes(dones, ended, states, log, n_logged, uses, loaded):
    """Append the episodes that just ended to the log; returns its new length.

    Where ``loaded``, the levels that began in their place are counted in ``uses``.
    """
    for slot in range(dones.size):
        if dones[slot]:
            log[n_logged] = ended[slot]
            n_logged += 1
            if loaded and states[slot, H_LEVEL] >= 0:
                uses[states[slot, H_LEVEL]] += 1
    return n_logged


@numba.njit(cache=True, nogil=True)
def reset_slots(
    slots,
    types,
    segments,
    sizes,
    placing_fixed,
    placing_start,
    placing_kinds,
    states,
    cells,
    planes,
    scratch,
    streams,
    seed,
    observed,
    placed,
    placed_size,
    bank_characters,
    bank_size,
    cumulative,
    group_start,
    group_levels,
    by_level,
    next_levels,
):
    """Begin the next episode in each of ``slots``; returns 0 or FULL."""
    report = 0
    for slot in slots:
        reset_slot(
            types,
            segments,
            sizes,
            placing_fixed,
            placing_start,
            placing_kinds,
            states[slot],
            cells[slot],
            planes[slot],
            scratch,
            streams,
            slot,
            seed,
            observed,
            placed,
            placed_size,
            bank_characters,
            bank_size,
            cumulative,
            group_start,
            group_levels,
            by_level,
            next_levels,
        )
        if states[slot, H_FULL]:
            report = FULL
    return report
