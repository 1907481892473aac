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
    BASE,
    BLOCKED,
    D_AMOUNTS,
    D_CAPACITY,
    D_HEIGHT,
    D_RECORDS,
    D_RESOURCES,
    D_TYPES,
    D_WIDTH,
    DEAD,
    DISABLED,
    DOOMED,
    DYING,
    F_FLAGS,
    F_X,
    F_Y,
    FIELDS,
    FIRST_AVATAR,
    FOUND,
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
    M_DEAD,
    M_DOOMED,
    M_PRESENT,
    M_SHIELDED,
    MARKS,
    NEAR,
    PLAYER_LOSES,
    PLAYER_WINS,
    R_BLOCKABLE,
    R_FIRST,
    R_FIRST_END,
    R_FIRST_FIXED,
    R_FIRST_RECORDS,
    R_REPEAT,
    R_SECOND,
    R_SECOND_END,
    R_SECOND_FIXED,
    R_SECOND_RECORDS,
    SPRITE_COUNTER,
    T_CLASS,
    T_FIXED,
    T_TOUCHES,
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
from sidle.ppcg.kernels.effects import execute, rectangle
from sidle.ppcg.kernels.records import touched


@numba.njit(cache=True, nogil=True)
def note_touches(types, segments, sizes, state, cells, scratch):
    """Note for every record what fixed types it touches, where rules ask."""
    capacity = sizes[D_CAPACITY]
    for kind in range(sizes[D_TYPES]):
        if not types[kind, T_TOUCHES] or types[kind, T_FIXED]:
            continue
        near = np.int64(0)
        first = segments[kind, BASE]
        for record in range(first, first + state[HEADER + kind]):
            at = sizes[D_RECORDS] + record
            mask = touched(sizes, cells, state[at + F_X * capacity], state[at + F_Y * capacity])
            scratch[TOUCH][record] = mask
            near |= mask
        scratch[NEAR][kind] = near


@numba.njit(cache=True, nogil=True)
def run_edge_rules(
    types, rules, n_edge, lists, segments, sizes, state, cells, scratch, streams, slot
):
    """Run the rules of the edge on every sprite that is not wholly inside the level."""
    capacity = sizes[D_CAPACITY]
    most_x, most_y = state[H_WIDTH] - TILE, state[H_HEIGHT] - TILE
    for rule in range(n_edge):
        for _ in range(rules[rule, R_REPEAT]):
            for place in range(rules[rule, R_FIRST], rules[rule, R_FIRST_END]):
                kind = lists[place]
                first = segments[kind, BASE]
                for record in range(first, first + state[HEADER + kind]):
                    at = sizes[D_RECORDS] + record
                    x, y = state[at + F_X * capacity], state[at + F_Y * capacity]
                    if 0 <= x <= most_x and 0 <= y <= most_y:
                        continue
                    if state[at + F_FLAGS * capacity] & DEAD:
                        continue
                    state[H_SCORE] += execute(
                        types,
                        rules,
                        lists,
                        segments,
                        sizes,
                        state,
                        cells,
                        scratch,
                        streams,
                        slot,
                        rule,
                        kind,
                        record,
                        np.int64(-1),
                        np.int64(-1),
                    )


@numba.njit(cache=True, nogil=True)
def run_pair_rules(
    types, rules, n_edge, lists, segments, sizes, state, cells, scratch, streams, slot
):
    """Run the rules of pairs."""
    marks = scratch[MARKS]
    for rule in range(n_edge, rules.shape[0]):
        present = marks[M_PRESENT]
        first_records = rules[rule, R_FIRST_RECORDS] & present
        second_records = rules[rule, R_SECOND_RECORDS] & present
        first_fixed = rules[rule, R_FIRST_FIXED] & present
        second_fixed = rules[rule, R_SECOND_FIXED] & present
        if first_records | first_fixed == 0 or second_records | second_fixed == 0:
            continue
        if second_records == 0 and not _any_near(
            lists, scratch, rules[rule, R_FIRST], rules[rule, R_FIRST_END], second_fixed
        ):
            continue
        if first_records == 0 and not _any_near(
            lists, scratch, rules[rule, R_SECOND], rules[rule, R_SECOND_END], first_fixed
        ):
            continue
        for _ in range(rules[rule, R_REPEAT]):
            if rules[rule, R_BLOCKABLE] and scratch[BLOCKED][rule]:
                break
            _run_pair_rule(
                types, rules, lists, segments, sizes, state, cells, scratch, streams, slot, rule
            )


@numba.njit(cache=True, nogil=True)
def _any_near(lists, scratch, start, stop, fixed):
    """Return whether a record of the types in lists[start:stop] may touch one of ``fixed``."""
    near = np.int64(0)
    for place in range(start, stop):
        near |= scratch[NEAR][lists[place]]
    return near & fixed != 0


@numba.njit(cache=True, nogil=True)
def _run_pair_rule(
    types, rules, lists, segments, sizes, state, cells, scratch, streams, slot, rule
):
    listed, touch = scratch[LISTED], scratch[TOUCH]
    capacity = sizes[D_CAPACITY]
    for place in range(rules[rule, R_FIRST], rules[rule, R_FIRST_END]):
        listed[lists[place]] = state[HEADER + lists[place]]
    for place in range(rules[rule, R_SECOND], rules[rule, R_SECOND_END]):
        listed[lists[place]] = state[HEADER + lists[place]]
    second_fixed = rules[rule, R_SECOND_FIXED]
    records = rules[rule, R_SECOND_RECORDS] != 0
    for place in range(rules[rule, R_FIRST], rules[rule, R_FIRST_END]):
        kind = lists[place]
        if listed[kind] == 0:
            continue
        if types[kind, T_FIXED]:
            cell = _next_cell(
                types, rules, lists, segments, sizes, state, cells, scratch, rule, kind, -1
            )
            while cell >= 0:
                if not scratch[DYING][cell] >> kind & 1:
                    _meet(
                        types,
                        rules,
                        lists,
                        segments,
                        sizes,
                        state,
                        cells,
                        scratch,
                        streams,
                        slot,
                        rule,
                        kind,
                        cell,
                    )
                cell = _next_cell(
                    types, rules, lists, segments, sizes, state, cells, scratch, rule, kind, cell
                )
            continue
        first = segments[kind, BASE]
        flags = sizes[D_RECORDS] + F_FLAGS * capacity
        for record in range(first, first + listed[kind]):
            if state[flags + record] & DEAD:
                continue
            if not records and touch[record] & second_fixed == 0:
                continue
            _meet(
                types,
                rules,
                lists,
                segments,
                sizes,
                state,
                cells,
                scratch,
                streams,
                slot,
                rule,
                kind,
                record,
            )


@numba.njit(cache=True, nogil=True)
def _next_cell(types, rules, lists, segments, sizes, state, cells, scratch, rule, kind, after):
    """Return the first cell after ``after`` whose sprite of the fixed type ``kind`` is overlapped.

    -1 if there is none. Any record among the second sprites counts.
    """
    height, width, capacity = sizes[D_HEIGHT], sizes[D_WIDTH], sizes[D_CAPACITY]
    best = np.int64(-1)
    for place in range(rules[rule, R_SECOND], rules[rule, R_SECOND_END]):
        second = lists[place]
        if types[second, T_FIXED]:
            continue
        if not scratch[NEAR][second] >> kind & 1:
            continue
        first = segments[second, BASE]
        for record in range(first, first + scratch[LISTED][second]):
            if not scratch[TOUCH][record] >> kind & 1:
                continue
            at = sizes[D_RECORDS] + record
            x, y = np.int64(state[at + F_X * capacity]), np.int64(state[at + F_Y * capacity])
            for row in range(max(y // TILE, 0), min((y + TILE - 1) // TILE + 1, height)):
                for column in range(max(x // TILE, 0), min((x + TILE - 1) // TILE + 1, width)):
                    cell = row * width + column
                    if cell > after and cells[cell] >> kind & 1 and (best < 0 or cell < best):
                        best = cell
    return best


@numba.njit(cache=True, nogil=True)
def _meet(
    types,
    rules,
    lists,
    segments,
    sizes,
    state,
    cells,
    scratch,
    streams,
    slot,
    rule,
    kind,
    index,
):
    """Run the rule for one first sprite and all second sprites that it overlaps."""
    height, width, capacity = sizes[D_HEIGHT], sizes[D_WIDTH], sizes[D_CAPACITY]
    n_types = sizes[D_TYPES]
    found = scratch[FOUND]
    fixed = types[kind, T_FIXED]
    x, y, _, _ = rectangle(types, sizes, state, kind, index)
    field_x = sizes[D_RECORDS] + F_X * capacity
    field_y = sizes[D_RECORDS] + F_Y * capacity
    n_found = 0
    for place in range(rules[rule, R_SECOND], rules[rule, R_SECOND_END]):
        second = lists[place]
        if types[second, T_FIXED]:
            if fixed or not scratch[TOUCH][index] >> second & 1:
                continue
            for row in range(max(y // TILE, 0), min((y + TILE - 1) // TILE + 1, height)):
                for column in range(max(x // TILE, 0), min((x + TILE - 1) // TILE + 1, width)):
                    cell = row * width + column
                    if cells[cell] >> second & 1:
                        found[n_found] = cell * n_types + second
                        n_found += 1
            continue
        first = segments[second, BASE]
        for record in range(first, first + scratch[LISTED][second]):
            across, down = state[field_x + record] - x, state[field_y + record] - y
            if (
                -TILE < across < TILE
                and -TILE < down < TILE
                and not (second == kind and record == index)
            ):
                found[n_found] = record * n_types + second
                n_found += 1
    flags = sizes[D_RECORDS] + F_FLAGS * capacity + index
    for number in range(n_found):
        if fixed:
            if scratch[DYING][index] >> kind & 1:
                return
        elif state[flags] & DEAD:
            return
        second = found[number] % n_types
        other = found[number] // n_types
        x_1, y_1, _, _ = rectangle(types, sizes, state, kind, index)
        x_2, y_2, _, _ = rectangle(types, sizes, state, second, other)
        if -TILE < x_2 - x_1 < TILE and -TILE < y_2 - y_1 < TILE:
            state[H_SCORE] += execute(
                types,
                rules,
                lists,
                segments,
                sizes,
                state,
                cells,
                scratch,
                streams,
                slot,
                rule,
                kind,
                index,
                second,
                other,
            )


@numba.njit(cache=True, nogil=True)
def bury(types, segments, sizes, state, cells, scratch, planes, observed):
    """Remove the dead: fixed ones from cells and planes, records from their stretch."""
    marks = scratch[MARKS]
    n_types, capacity = sizes[D_TYPES], sizes[D_CAPACITY]
    n_cells = sizes[D_HEIGHT] * sizes[D_WIDTH]
    for number in range(marks[M_DOOMED]):
        cell = scratch[DOOMED][number] // n_types
        kind = scratch[DOOMED][number] % n_types
        cells[cell] &= ~(np.int64(1) << kind)
        state[HEADER + kind] -= 1
        if observed:
            planes[kind * n_cells + cell] = 0
        scratch[DYING][cell] = 0
    marks[M_DOOMED] = 0
    if marks[M_DEAD]:
        for kind in range(n_types):
            if marks[M_DEAD] >> kind & 1:
                _close_ranks(types, segments, sizes, state, kind, capacity)
        marks[M_DEAD] = 0


@numba.njit(cache=True, nogil=True)
def _close_ranks(types, segments, sizes, state, kind, capacity):
    """Move the living records of a type together, in order."""
    first = segments[kind, BASE]
    flags = sizes[D_RECORDS] + F_FLAGS * capacity
    target = first
    for record in range(first, first + state[HEADER + kind]):
        if state[flags + record] & DEAD:
            continue
        if target != record:
            for field in range(FIELDS):
                base = sizes[D_RECORDS] + field * capacity
                state[base + target] = state[base + record]
            for resource in range(sizes[D_RESOURCES]):
                base = sizes[D_AMOUNTS] + resource * capacity
                state[base + target] = state[base + record]
            if state[H_AVATAR] == record and state[H_AVATAR_TYPE] == kind:
                state[H_AVATAR] = target
        target += 1
    state[HEADER + kind] = target - first


@numba.njit(cache=True, nogil=True)
def lift_shields(scratch):
    """Forget what was shielded in this tick."""
    if scratch[MARKS][M_SHIELDED]:
        scratch[BLOCKED][:] = 0
        scratch[MARKS][M_SHIELDED] = 0


@numba.njit(cache=True, nogil=True)
def judge(types, endings, lists, segments, sizes, state, most_ticks):
    """End the episode if a termination holds, the first listed deciding, or time is up."""
    for ending in range(endings.shape[0]):
        limit = endings[ending, X_LIMIT]
        if endings[ending, X_KIND] == TIMEOUT:
            holds = state[H_TICK] >= limit
        else:
            count = np.int64(0)
            for place in range(endings[ending, X_LIST], endings[ending, X_LIST_END]):
                count += _living(types, segments, sizes, state, lists[place])
            if endings[ending, X_KIND] == SPRITE_COUNTER:
                holds = count <= limit
            elif endings[ending, X_MINIMUM]:
                holds = count >= limit
            else:
                holds = count == limit
        if holds:
            state[H_OVER] = 1
            state[H_WINNER] = PLAYER_WINS if endings[ending, X_WIN] else PLAYER_LOSES
            return
    if state[H_TICK] >= most_ticks:
        state[H_OVER] = 1
        state[H_WINNER] = PLAYER_LOSES


@numba.njit(cache=True, nogil=True)
def _living(types, segments, sizes, state, kind):
    """Return the number of sprites of a type, disabled avatars left out."""
    count = np.int64(state[HEADER + kind])
    if count and types[kind, T_CLASS] >= FIRST_AVATAR:
        first = sizes[D_RECORDS] + F_FLAGS * sizes[D_CAPACITY] + segments[kind, BASE]
        for flags in range(first, first + state[HEADER + kind]):
            count -= (state[flags] & DISABLED) != 0
    return count
