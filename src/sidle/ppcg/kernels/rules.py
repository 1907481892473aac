"""The second half of a tick: rules of the edge, rules of pairs, removal, terminations.

A pair rule visits its first sprites type by type, in order of birth. For each it first collects
the second sprites that overlap it, then runs the effect on each that still does, as long as the
first is not dead. Sprites born while a rule runs take part from the next rule on.

Cost. Sprites of fixed types are never visited: a record finds those it overlaps in the cells it
covers, and where the first sprites are fixed the records among the second ones name the cells.
A rule is passed over at once where one of its sides has no sprite, or where it needs a fixed
type that no record of the other side touches.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    D_ALL_RULES,
    D_AMOUNTS,
    D_BLOCKED,
    D_DOOMED,
    D_DYING,
    D_EDGE_RULES,
    D_ENDINGS,
    D_ENDINGS_END,
    D_FOUND,
    D_HEIGHT,
    D_RECORDED,
    D_RECORDED_END,
    D_RESOURCES,
    D_TOUCHING,
    D_TOUCHING_END,
    D_TYPES,
    D_WIDTH,
    DEAD,
    DISABLED,
    F_FLAGS,
    F_X,
    F_Y,
    FIELDS,
    FIRST_AVATAR,
    G_FIRST_FIXED,
    G_FIRST_RECORDS,
    G_SECOND_FIXED,
    G_SECOND_RECORDS,
    H_AVATAR,
    H_AVATAR_TYPE,
    H_HEIGHT,
    H_OVER,
    H_SCORE,
    H_TICK,
    H_WIDTH,
    H_WINNER,
    HEADER,
    LISTED,
    M_COVERED,
    M_DEAD,
    M_DOOMED,
    M_PRESENT,
    M_SHIELDED,
    NEAR,
    PLAYER_LOSES,
    PLAYER_WINS,
    R_BLOCKABLE,
    R_FIRST,
    R_FIRST_END,
    R_REPEAT,
    R_SECOND,
    R_SECOND_END,
    SPRITE_COUNTER,
    T_CLASS,
    T_FIXED,
    TERMINATION_COLUMNS,
    TILE,
    TIMEOUT,
    TOUCH,
    X_KIND,
    X_LIMIT,
    X_LIST,
    X_LIST_END,
    X_MINIMUM,
    X_WIN,
)
from sidle.ppcg.kernels.covering import company, note_cover
from sidle.ppcg.kernels.effects import execute, rectangle
from sidle.ppcg.kernels.memory import bit, first_of, of_gate, of_rule, of_type
from sidle.ppcg.kernels.records import record_at, touched

_FEW = 4  # second sprites up to which each is compared at once
_MANY = 48  # pairs of sprites from which on cells are noted


@numba.njit(cache=True, nogil=True)
def note_touches(game, state, cells, work):
    """Note for every record what fixed types it touches, where rules ask."""
    for place in range(game[D_TOUCHING], game[D_TOUCHING_END]):
        kind = game[place]
        near = np.int64(0)
        first = first_of(game, kind)
        for record in range(first, first + state[HEADER + kind]):
            at = record_at(game, record)
            mask = touched(game, cells, state[at + F_X], state[at + F_Y])
            work[TOUCH + record] = mask
            near |= mask
        work[NEAR + kind] = near


@numba.njit(cache=True, nogil=True)
def run_edge_rules(game, state, cells, work, stream):
    """Run the rules of the edge on every sprite that is not wholly inside the level.

    A killed avatar, which the rules of pairs still see, is left alone. A rule that brings forth
    a sprite of the very type it is visiting ends its visit of that type.
    """
    most_x, most_y = state[H_WIDTH] - TILE, state[H_HEIGHT] - TILE
    for rule in range(game[D_EDGE_RULES]):
        for place in range(of_rule(game, rule, R_FIRST), of_rule(game, rule, R_FIRST_END)):
            kind = game[place]
            count = np.int64(state[HEADER + kind])
            first = first_of(game, kind)
            for record in range(first, first + count):
                at = record_at(game, record)
                x, y = state[at + F_X], state[at + F_Y]
                if 0 <= x <= most_x and 0 <= y <= most_y:
                    continue
                if state[at + F_FLAGS] & (DEAD | DISABLED):
                    continue
                nobody = np.int64(-1)
                state[H_SCORE] += execute(
                    game, state, cells, work, stream, rule, kind, record, nobody, nobody
                )
                if state[HEADER + kind] != count:
                    break


@numba.njit(cache=True, nogil=True)
def run_pair_rules(game, state, cells, work, stream):
    """Run the rules of pairs."""
    for rule in range(game[D_EDGE_RULES], game[D_ALL_RULES]):
        present = work[M_PRESENT]
        first_records = of_gate(game, rule, G_FIRST_RECORDS) & present
        second_records = of_gate(game, rule, G_SECOND_RECORDS) & present
        first_fixed = of_gate(game, rule, G_FIRST_FIXED) & present
        second_fixed = of_gate(game, rule, G_SECOND_FIXED) & present
        if first_records | first_fixed == 0 or second_records | second_fixed == 0:
            continue
        if second_records == 0 and not _any_near(
            game,
            work,
            of_rule(game, rule, R_FIRST),
            of_rule(game, rule, R_FIRST_END),
            second_fixed,
        ):
            continue
        if first_records == 0 and not _any_near(
            game,
            work,
            of_rule(game, rule, R_SECOND),
            of_rule(game, rule, R_SECOND_END),
            first_fixed,
        ):
            continue
        for _ in range(of_rule(game, rule, R_REPEAT)):
            if of_rule(game, rule, R_BLOCKABLE) and work[game[D_BLOCKED] + rule]:
                break
            _run_pair_rule(game, state, cells, work, stream, rule)


@numba.njit(cache=True, nogil=True)
def _any_near(game, work, start, stop, fixed):
    """Return whether a record of the types in the list may touch one of ``fixed``."""
    near = np.int64(0)
    for place in range(start, stop):
        near |= work[NEAR + game[place]]
    return near & fixed != 0


@numba.njit(cache=True, nogil=True)
def _run_pair_rule(game, state, cells, work, stream, rule):
    first_type, last_type = of_rule(game, rule, R_FIRST), of_rule(game, rule, R_FIRST_END)
    n_first = n_second = np.int64(0)
    for place in range(first_type, last_type):
        work[LISTED + game[place]] = state[HEADER + game[place]]
        n_first += state[HEADER + game[place]]
    for place in range(of_rule(game, rule, R_SECOND), of_rule(game, rule, R_SECOND_END)):
        work[LISTED + game[place]] = state[HEADER + game[place]]
        n_second += state[HEADER + game[place]]
    second_fixed = of_gate(game, rule, G_SECOND_FIXED)
    second_records = of_gate(game, rule, G_SECOND_RECORDS) & work[M_PRESENT]
    covered = second_records != 0 and n_second >= _FEW
    if covered and not work[M_COVERED]:
        if n_first * n_second >= _MANY and of_gate(game, rule, G_FIRST_RECORDS):
            note_cover(game, state, work)
        else:
            covered = False
    for place in range(first_type, last_type):
        kind = game[place]
        count = work[LISTED + kind]
        if count == 0:
            continue
        if of_type(game, kind, T_FIXED):
            cell = _next_cell(game, state, cells, work, rule, kind, np.int64(-1))
            while cell >= 0:
                if not work[game[D_DYING] + cell] >> kind & 1:
                    _meet(game, state, cells, work, stream, rule, kind, cell, second_records)
                cell = _next_cell(game, state, cells, work, rule, kind, cell)
            continue
        first = first_of(game, kind)
        for record in range(first, first + count):
            at = record_at(game, record)
            near = second_records
            if covered:
                x, y = np.int64(state[at + F_X]), np.int64(state[at + F_Y])
                near &= company(game, work, kind, x, y)
            if near == 0 and work[TOUCH + record] & second_fixed == 0:
                continue
            if state[at + F_FLAGS] & DEAD:
                continue
            _meet(game, state, cells, work, stream, rule, kind, record, near)


@numba.njit(cache=True, nogil=True)
def _next_cell(game, state, cells, work, rule, kind, after):
    """Return the first cell after ``after`` whose sprite of the fixed type ``kind`` is overlapped.

    -1 if there is none. Any record among the second sprites counts.
    """
    height, width = game[D_HEIGHT], game[D_WIDTH]
    best = np.int64(-1)
    for place in range(of_rule(game, rule, R_SECOND), of_rule(game, rule, R_SECOND_END)):
        second = game[place]
        if of_type(game, second, T_FIXED) or not work[NEAR + second] >> kind & 1:
            continue
        first = first_of(game, second)
        for record in range(first, first + work[LISTED + second]):
            if not work[TOUCH + record] >> kind & 1:
                continue
            at = record_at(game, record)
            x, y = np.int64(state[at + F_X]), np.int64(state[at + F_Y])
            for row in range(max(y // TILE, 0), min((y + TILE - 1) // TILE + 1, height)):
                for column in range(max(x // TILE, 0), min((x + TILE - 1) // TILE + 1, width)):
                    cell = row * width + column
                    if cell > after and cells[cell] >> kind & 1 and (best < 0 or cell < best):
                        best = cell
    return best


@numba.njit(cache=True, nogil=True)
def _meet(game, state, cells, work, stream, rule, kind, index, near):
    """Run the rule for one first sprite and all second sprites that it overlaps.

    Of the second ones that are records, only types in the mask ``near`` can be among them.
    """
    fixed = of_type(game, kind, T_FIXED)
    x, y, _, _ = rectangle(game, state, kind, index)
    found = game[D_FOUND]
    n_types = game[D_TYPES]
    n_found = np.int64(0)
    for place in range(of_rule(game, rule, R_SECOND), of_rule(game, rule, R_SECOND_END)):
        second = game[place]
        if of_type(game, second, T_FIXED):
            if not fixed and work[TOUCH + index] >> second & 1:
                n_found = _find_in_cells(game, cells, work, second, x, y, n_found)
            continue
        if not near >> second & 1:
            continue
        first = first_of(game, second)
        for record in range(first, first + work[LISTED + second]):
            at = record_at(game, record)
            across, down = state[at + F_X] - x, state[at + F_Y] - y
            if (
                -TILE < across < TILE
                and -TILE < down < TILE
                and not (second == kind and record == index)
            ):
                work[found + n_found] = record * n_types + second
                n_found += 1
    for number in range(n_found):
        if fixed:
            if work[game[D_DYING] + index] >> kind & 1:
                return
        elif state[record_at(game, index) + F_FLAGS] & DEAD:
            return
        second = work[found + number] % n_types
        other = work[found + number] // n_types
        x_1, y_1, _, _ = rectangle(game, state, kind, index)
        x_2, y_2, _, _ = rectangle(game, state, second, other)
        if -TILE < x_2 - x_1 < TILE and -TILE < y_2 - y_1 < TILE:
            state[H_SCORE] += execute(
                game, state, cells, work, stream, rule, kind, index, second, other
            )


@numba.njit(cache=True, nogil=True)
def _find_in_cells(game, cells, work, second, x, y, n_found):
    """Append the sprites of a fixed type that a tile at (x, y) overlaps; return how many now."""
    height, width = game[D_HEIGHT], game[D_WIDTH]
    for row in range(max(y // TILE, 0), min((y + TILE - 1) // TILE + 1, height)):
        for column in range(max(x // TILE, 0), min((x + TILE - 1) // TILE + 1, width)):
            cell = row * width + column
            if cells[cell] >> second & 1:
                work[game[D_FOUND] + n_found] = cell * game[D_TYPES] + second
                n_found += 1
    return n_found


@numba.njit(cache=True, nogil=True)
def bury(game, state, cells, work, planes, observed):
    """Remove the dead: fixed ones from cells and planes, records from their stretch."""
    n_types = game[D_TYPES]
    for number in range(work[M_DOOMED]):
        cell = work[game[D_DOOMED] + number] // n_types
        kind = work[game[D_DOOMED] + number] % n_types
        cells[cell] &= ~bit(kind)
        state[HEADER + kind] -= 1
        if observed:
            planes[kind * game[D_HEIGHT] * game[D_WIDTH] + cell] = 0
        work[game[D_DYING] + cell] = 0
    work[M_DOOMED] = 0
    if work[M_DEAD]:
        for place in range(game[D_RECORDED], game[D_RECORDED_END]):
            if work[M_DEAD] >> game[place] & 1:
                _close_ranks(game, state, game[place])
        work[M_DEAD] = 0


@numba.njit(cache=True, nogil=True)
def _close_ranks(game, state, kind):
    """Move the living records of a type together, in order."""
    first = first_of(game, kind)
    target = first
    for record in range(first, first + state[HEADER + kind]):
        source_at, target_at = record_at(game, record), record_at(game, target)
        if state[source_at + F_FLAGS] & DEAD:
            continue
        if target != record:
            for field in range(FIELDS):
                state[target_at + field] = state[source_at + field]
            n_resources = game[D_RESOURCES]
            for resource in range(n_resources):
                held = state[game[D_AMOUNTS] + record * n_resources + resource]
                state[game[D_AMOUNTS] + target * n_resources + resource] = held
            if state[H_AVATAR] == record and state[H_AVATAR_TYPE] == kind:
                state[H_AVATAR] = target
        target += 1
    state[HEADER + kind] = target - first


@numba.njit(cache=True, nogil=True)
def lift_shields(game, work):
    """Forget what was shielded in this tick."""
    if work[M_SHIELDED]:
        for rule in range(game[D_ALL_RULES]):
            work[game[D_BLOCKED] + rule] = 0
        work[M_SHIELDED] = 0


@numba.njit(cache=True, nogil=True)
def judge(game, state, most_ticks):
    """End the episode if a termination holds, the first listed deciding, or time is up."""
    for ending in range(game[D_ENDINGS], game[D_ENDINGS_END], TERMINATION_COLUMNS):
        limit = game[ending + X_LIMIT]
        if game[ending + X_KIND] == TIMEOUT:
            holds = state[H_TICK] >= limit
        else:
            count = np.int64(0)
            for place in range(game[ending + X_LIST], game[ending + X_LIST_END]):
                count += _living(game, state, game[place])
            if game[ending + X_KIND] == SPRITE_COUNTER:
                holds = count <= limit
            elif game[ending + X_MINIMUM]:
                holds = count >= limit
            else:
                holds = count == limit
        if holds:
            state[H_OVER] = 1
            state[H_WINNER] = PLAYER_WINS if game[ending + X_WIN] else PLAYER_LOSES
            return
    if state[H_TICK] >= most_ticks:
        state[H_OVER] = 1
        state[H_WINNER] = PLAYER_LOSES


@numba.njit(cache=True, nogil=True)
def _living(game, state, kind):
    """Return the number of sprites of a type, disabled avatars left out."""
    count = np.int64(state[HEADER + kind])
    if count and of_type(game, kind, T_CLASS) >= FIRST_AVATAR:
        first = first_of(game, kind)
        for record in range(first, first + state[HEADER + kind]):
            if state[record_at(game, record) + F_FLAGS] & DISABLED:
                count -= 1
    return count
