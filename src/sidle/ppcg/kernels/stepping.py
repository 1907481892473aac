"""Whole ticks and whole levels: what the engine calls.

Slots are independent: a call on some of them reads and writes rows of these slots only.
Letters: N = slots, W = words of a state, H W = cells, P = C H W, M = levels in the bank.

Preconditions of all entry points: arrays are C-contiguous; image, work and cells int64, states
int32 (N, W), cells (N, H W), planes int8 (N, P), streams uint64 (N,), characters uint8 (_, H, W)
with sizes int64 (_, 2), every level known to the game and with one avatar.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    D_COVER,
    D_HEIGHT,
    D_PLACED,
    D_PLACED_FIXED,
    D_RECORDS,
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
    M_COVERED,
    M_PRESENT,
    PLAYER_WINS,
    T_CLASS,
    TILE,
)
from sidle.ppcg.kernels.memory import address, ahead, of_type
from sidle.ppcg.kernels.movement import update_avatar, update_others
from sidle.ppcg.kernels.observing import draw_records, erase_records
from sidle.ppcg.kernels.records import enter, is_crowded, is_forbidden
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
L_SLOT, L_LEVEL, L_WON, L_SCORE, L_LENGTH, LOG_COLUMNS = range(6)

# Settings, int64.
(
    S_ACTIONS,  # number of actions
    S_MOST_TICKS,
    S_OBSERVED,  # 1: planes are written
    S_AUTORESET,
    S_BY_LEVEL,  # 1: weights are of levels, 0: of groups
    S_KEEP_FINAL,  # 1: the last observation of an episode is kept
    S_FROM_BANK,  # 1: levels come from the bank
    SETTINGS,
) = range(8)

_DRAW = np.uint64(0xD1B54A32D192ED03)
_11 = np.uint64(11)
_2_TO_53 = 9007199254740992.0


@numba.njit(cache=True, nogil=True)
def _place_fixed(game, characters, height, width, state, cells, planes, work, observed):
    """Place what is fixed; return how many cells hold more, which are noted at D_COVER."""
    columns, n_cells = game[D_WIDTH], game[D_HEIGHT] * game[D_WIDTH]
    table, begins, noted = game[D_PLACED_FIXED], game[D_PLACED], game[D_COVER]
    present, n_noted = np.int64(0), np.int64(0)
    for row in range(height):
        for cell in range(row * columns, row * columns + width):
            character = np.int64(characters[cell])
            fixed = game[table + character]
            cells[cell] = fixed
            present |= fixed
            # No branch, for nobody could foresee which cells hold more.
            work[noted + n_noted] = cell
            n_noted += game[begins + character] < game[begins + character + 1]
    kind = np.int64(0)
    while present:
        if present & 1:
            count, plane = np.int64(0), kind * n_cells
            if observed:
                for cell in range(height * columns):
                    here = cells[cell] >> kind & 1
                    planes[plane + cell] = here
                    count += here
            else:
                for cell in range(height * columns):
                    count += cells[cell] >> kind & 1
            state[HEADER + kind] = count
        present >>= 1
        kind += 1
    return n_noted


@numba.njit(cache=True, nogil=True)
def load_level(game, characters, height, width, state, cells, planes, n_pixels, work, observed):
    """Set up a level from its characters (H, W); only the upper left height x width count."""
    columns = game[D_WIDTH]
    n_cells = game[D_HEIGHT] * columns
    episode = state[H_EPISODE]
    for place in range(game[D_RECORDS]):
        state[place] = 0
    state[H_EPISODE] = episode
    state[H_TICK] = -1
    state[H_AVATAR] = -1
    state[H_LEVEL] = -1
    state[H_WIDTH] = width * TILE
    state[H_HEIGHT] = height * TILE
    for cell in range(n_cells):
        cells[cell] = 0
    if observed:
        for pixel in range(n_pixels):
            planes[pixel] = 0
    n_placing = _place_fixed(game, characters, height, width, state, cells, planes, work, observed)
    for k in range(n_placing):
        cell = work[game[D_COVER] + k]
        row = cell // columns
        placed = game[D_PLACED] + np.int64(characters[cell])
        for place in range(game[placed], game[placed + 1]):
            kind = game[place]
            if is_forbidden(game, state, kind):
                continue
            record = enter(game, state, kind, (cell - row * columns) * TILE, row * TILE)
            if of_type(game, kind, T_CLASS) >= FIRST_AVATAR and record >= 0:
                state[H_AVATAR] = record
                state[H_AVATAR_TYPE] = kind
    # The face has seen to room for every level; what counts is what is born from here on.
    state[H_BIRTHS] = 0
    if observed:
        draw_records(game, state, planes)


@numba.njit(cache=True, nogil=True)
def play_tick(game, state, cells, planes, work, stream, action, most_ticks, observed):
    """Play one tick."""
    if observed:
        erase_records(game, state, planes)
    present = np.int64(0)
    for kind in range(game[D_TYPES]):
        present |= np.int64(state[HEADER + kind] > 0) << kind
    work[M_PRESENT] = present
    state[H_TICK] += 1
    update_avatar(game, state, cells, work, action)
    update_others(game, state, cells, work, stream)
    note_touches(game, state, cells, work)
    run_edge_rules(game, state, cells, work, stream)
    run_pair_rules(game, state, cells, work, stream)
    lift_shields(game, work)
    work[M_COVERED] = 0
    bury(game, state, cells, work, planes, observed)
    judge(game, state, most_ticks)
    if observed:
        draw_records(game, state, planes)


@numba.njit(cache=True, nogil=True)
def choose_level(cumulative, group_start, group_levels, by_level, seed, slot, episode):
    """Return the bank's level that this slot's episode begins with.

    A group (a bin of difficulty, or a level) is drawn by its weight, then one of its levels.
    """
    stream = mixed(episode_stream(seed, slot, episode) ^ _DRAW)
    wanted = np.float64(stream >> _11) / _2_TO_53 * cumulative[cumulative.size - 1]
    low, high = np.int64(0), np.int64(cumulative.size - 1)
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > wanted:
            high = middle
        else:
            low = middle + 1
    if by_level:
        return low
    size = group_start[low + 1] - group_start[low]
    within = np.int64(np.float64(mixed(stream) >> _11) / _2_TO_53 * size)
    return group_levels[group_start[low] + min(within, size - 1)]


@numba.njit(cache=True, nogil=True)
def reset_slots(
    slots,
    settings,
    image,
    states,
    cells,
    planes,
    work,
    streams,
    seed,
    placed,
    placed_sizes,
    bank,
    bank_sizes,
    cumulative,
    group_start,
    group_levels,
    next_levels,
):
    """Begin the next episode in each of ``slots``; returns 0 or FULL.

    It is played on the level asked for in next_levels, else on one drawn from the bank; without a
    bank, on the level that was placed in the slot.
    """
    report = 0
    game = address(image)
    observed = settings[S_OBSERVED] != 0
    for slot in slots:
        state = ahead(address(states), slot * states.shape[1])
        episode = np.int64(state[H_EPISODE])
        chosen = np.int64(-1)
        level = ahead(address(placed), slot * placed.shape[1] * placed.shape[2])
        height, width = placed_sizes[slot, 0], placed_sizes[slot, 1]
        if settings[S_FROM_BANK]:
            chosen = next_levels[slot]
            if chosen < 0:
                chosen = choose_level(
                    cumulative,
                    group_start,
                    group_levels,
                    settings[S_BY_LEVEL],
                    seed,
                    slot,
                    episode,
                )
            next_levels[slot] = -1
            level = ahead(address(bank), chosen * bank.shape[1] * bank.shape[2])
            height, width = bank_sizes[chosen, 0], bank_sizes[chosen, 1]
        load_level(
            game,
            level,
            height,
            width,
            state,
            ahead(address(cells), slot * cells.shape[1]),
            ahead(address(planes), slot * planes.shape[1]),
            planes.shape[1],
            address(work),
            observed,
        )
        state[H_LEVEL] = chosen
        streams[slot] = episode_stream(seed, slot, episode)
        state[H_EPISODE] = episode + 1
        if state[H_FULL]:
            report = FULL
    return report


@numba.njit(cache=True, nogil=True)
def step_slots(
    begin,
    end,
    settings,
    image,
    states,
    cells,
    planes,
    final_planes,
    work,
    streams,
    seed,
    actions,
    rewards,
    dones,
    wins,
    ended,
    to_reset,
    placed,
    placed_sizes,
    bank,
    bank_sizes,
    cumulative,
    group_start,
    group_levels,
    next_levels,
):
    """Play a tick in the slots begin to end; a finished level is replaced as autoreset says.

    Returns 0 or the worst of: CROWDED, some type should get more room before the next tick; FULL,
    a sprite could not be born for lack of room; BAD_ACTION, an action is none, nothing was played.
    """
    n_actions = settings[S_ACTIONS]
    for slot in range(begin, end):
        if actions[slot] < 0 or actions[slot] >= n_actions:
            return BAD_ACTION
    report = 0
    game, memory = address(image), address(work)
    autoreset, most_ticks = settings[S_AUTORESET], settings[S_MOST_TICKS]
    observed = settings[S_OBSERVED] != 0
    n_resets = 0
    for slot in range(begin, end):
        state = ahead(address(states), slot * states.shape[1])
        rewards[slot] = 0
        dones[slot] = False
        wins[slot] = False
        if state[H_OVER]:
            if autoreset == DISABLED:
                dones[slot] = True
                wins[slot] = state[H_WINNER] == PLAYER_WINS
                # It ended before: the log has it.
                ended[slot, L_SLOT] = -1
            else:
                to_reset[begin + n_resets] = slot
                n_resets += 1
            continue
        before = state[H_SCORE]
        play_tick(
            game,
            state,
            ahead(address(cells), slot * cells.shape[1]),
            ahead(address(planes), slot * planes.shape[1]),
            memory,
            ahead(address(streams), np.int64(slot)),
            actions[slot],
            most_ticks,
            observed,
        )
        if state[H_BIRTHS]:
            state[H_BIRTHS] = 0
            if state[H_FULL]:
                report = FULL
            elif is_crowded(game, state):
                report = max(report, CROWDED)
        rewards[slot] = state[H_SCORE] - before
        if state[H_OVER]:
            dones[slot] = True
            wins[slot] = state[H_WINNER] == PLAYER_WINS
            ended[slot, L_SLOT] = slot
            ended[slot, L_LEVEL] = state[H_LEVEL]
            ended[slot, L_WON] = state[H_WINNER] == PLAYER_WINS
            ended[slot, L_SCORE] = state[H_SCORE]
            ended[slot, L_LENGTH] = state[H_TICK] + 1
            if autoreset == SAME_STEP:
                if settings[S_KEEP_FINAL]:
                    final_planes[slot] = planes[slot]
                to_reset[begin + n_resets] = slot
                n_resets += 1
    return max(
        report,
        reset_slots(
            to_reset[begin : begin + n_resets],
            settings,
            image,
            states,
            cells,
            planes,
            work,
            streams,
            seed,
            placed,
            placed_sizes,
            bank,
            bank_sizes,
            cumulative,
            group_start,
            group_levels,
            next_levels,
        ),
    )


@numba.njit(cache=True, nogil=True)
def log_episodes(dones, ended, to_reset, states, log, n_logged, uses, replaced):
    """Append the episodes that just ended to the log; returns its new length.

    Where ``replaced``, the levels that began in their place are counted in ``uses``.
    """
    for slot in range(dones.size):
        if dones[slot] and ended[slot, L_SLOT] >= 0:
            log[n_logged] = ended[slot]
            n_logged += 1
            if replaced and states[slot, H_LEVEL] >= 0:
                uses[states[slot, H_LEVEL]] += 1
    return n_logged
