"""What one execution of a rule does to a pair of sprites.

`execute` returns the change of score. The second sprite is absent (type -1) at the edge of the
level. A first sprite of a fixed type occurs only with effects that cannot move or change it.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    ADD_HEALTH_POINTS,
    ATTRACT_GAZE,
    BASE,
    BLOCKED,
    BOUNCE_FORWARD,
    CHANGE_RESOURCE,
    COLLECT_RESOURCE,
    D_AMOUNTS,
    D_CAPACITY,
    D_RECORDS,
    D_RESOURCES,
    D_TYPES,
    D_WIDTH,
    DISABLED,
    F_CLOCK,
    F_DX,
    F_DY,
    F_FLAGS,
    F_HEALTH,
    F_HEALTH_MAXIMUM,
    F_LAST_X,
    F_LAST_Y,
    F_PULLED,
    F_X,
    F_Y,
    FIRST_AVATAR,
    H_AVATAR,
    H_AVATAR_TYPE,
    H_HEIGHT,
    H_WIDTH,
    HEADER,
    KILL_BOTH,
    KILL_IF_FROM_ABOVE,
    KILL_IF_HAS_LESS,
    KILL_IF_OTHER_HAS_MORE,
    KILL_SPRITE,
    M_SHIELDED,
    MARKS,
    PULL_WITH_IT,
    R_ALIGN,
    R_BIT,
    R_EFFECT,
    R_EXCEPT,
    R_FORCE_ORIENTATION,
    R_KILL_RESOURCE,
    R_KILL_SECOND,
    R_LIMIT,
    R_LIST,
    R_LIST_END,
    R_OFFSET,
    R_OFFSET_FAR,
    R_PIXEL_PERFECT,
    R_PROBABILITY,
    R_RESOURCE,
    R_RESOURCE_LIMIT,
    R_SCORE,
    R_SCORE_IF_KILLED,
    R_SHIELD,
    R_SPEND,
    R_SUBTRACT,
    R_TYPE,
    R_VALUE,
    RESOURCE,
    REVERSE_DIRECTION,
    SHIELD_FROM,
    SPAWN,
    SPAWN_IF_HAS_MORE,
    STEP_BACK,
    SUBTRACT_HEALTH_POINTS,
    T_ACTIVE_PIXELS,
    T_CLASS,
    T_COOLDOWN,
    T_DX,
    T_DY,
    T_FIXED,
    T_HEALTH_LIMIT,
    T_LIMIT,
    T_ORIENTED,
    T_PIXELS,
    T_RESOURCE,
    T_SPEED,
    T_VALUE,
    TILE,
    TRANSFORM_TO,
    TRANSFORM_TO_ALL,
    UNDO_ALL,
    WRAP_AROUND,
)
from sidle.ppcg.kernels.movement import push, shift
from sidle.ppcg.kernels.records import give_birth, kill, refresh_touch, remove
from sidle.ppcg.kernels.streams import happens


@numba.njit(cache=True, nogil=True)
def sign(value):
    """Return -1, 0 or 1."""
    return np.int64(value > 0) - np.int64(value < 0)


@numba.njit(cache=True, nogil=True)
def rectangle(types, sizes, state, kind, index):
    """Return x, y and, from the start of the tick, last x, last y of a sprite."""
    if types[kind, T_FIXED]:
        x = (index % sizes[D_WIDTH]) * TILE
        y = (index // sizes[D_WIDTH]) * TILE
        return np.int64(x), np.int64(y), np.int64(x), np.int64(y)
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + index
    return (
        np.int64(state[at + F_X * capacity]),
        np.int64(state[at + F_Y * capacity]),
        np.int64(state[at + F_LAST_X * capacity]),
        np.int64(state[at + F_LAST_Y * capacity]),
    )


@numba.njit(cache=True, nogil=True)
def orientation(types, sizes, state, kind, index):
    """Return (dx, dy) of a sprite."""
    if types[kind, T_FIXED]:
        return types[kind, T_DX], types[kind, T_DY]
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + index
    return np.int64(state[at + F_DX * capacity]), np.int64(state[at + F_DY * capacity])


@numba.njit(cache=True, nogil=True)
def amount(types, sizes, state, kind, index, resource):
    """Return how much of a resource the sprite has; a fixed one has nothing."""
    if types[kind, T_FIXED]:
        return np.int64(0)
    return np.int64(state[sizes[D_AMOUNTS] + resource * sizes[D_CAPACITY] + index])


@numba.njit(cache=True, nogil=True)
def execute(
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
    kind_1,
    index_1,
    kind_2,
    index_2,
):
    """Run the rule's effect on the two sprites and return the change of score."""
    effect = rules[rule, R_EFFECT]
    score = rules[rule, R_SCORE]
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + index_1
    if effect == KILL_SPRITE:
        kill(types, sizes, state, scratch, kind_1, index_1)
    elif effect == STEP_BACK:
        if not types[kind_1, T_FIXED]:
            _step_back(types, rules, sizes, state, rule, kind_1, index_1, kind_2, index_2)
            refresh_touch(types, sizes, state, cells, scratch, kind_1, index_1)
    elif effect == KILL_BOTH:
        kill(types, sizes, state, scratch, kind_1, index_1)
        kill(types, sizes, state, scratch, kind_2, index_2)
    elif effect == COLLECT_RESOURCE:
        score = _collect(types, rules, sizes, state, scratch, rule, kind_1, index_1, index_2)
    elif effect == KILL_IF_FROM_ABOVE:
        _, _, _, last_y_1 = rectangle(types, sizes, state, kind_1, index_1)
        _, y_2, _, last_y_2 = rectangle(types, sizes, state, kind_2, index_2)
        if last_y_1 > last_y_2 + TILE // 2 and y_2 > last_y_2:
            kill(types, sizes, state, scratch, kind_1, index_1)
        else:
            score = np.int64(0)
    elif effect == PULL_WITH_IT:
        bit = rules[rule, R_BIT]
        if not state[at + F_PULLED * capacity] & bit:
            state[at + F_PULLED * capacity] |= bit
            x_2, y_2, last_x_2, last_y_2 = rectangle(types, sizes, state, kind_2, index_2)
            shift(
                state,
                at,
                capacity,
                sign(x_2 - last_x_2),
                sign(y_2 - last_y_2),
                types[kind_2, T_PIXELS],
                types[kind_1, T_SPEED],
                types[kind_1, T_COOLDOWN],
            )
            refresh_touch(types, sizes, state, cells, scratch, kind_1, index_1)
    elif effect == SHIELD_FROM:
        blocked = lists[lists[rules[rule, R_SHIELD] + kind_1] :]
        for place in range(1, 1 + blocked[0]):
            scratch[BLOCKED][blocked[place]] = 1
        scratch[MARKS][M_SHIELDED] = 1
    elif effect == REVERSE_DIRECTION:
        state[at + F_DX * capacity] = -state[at + F_DX * capacity]
        state[at + F_DY * capacity] = -state[at + F_DY * capacity]
    elif effect == WRAP_AROUND:
        _wrap_around(rules, state, at, capacity, rule)
        refresh_touch(types, sizes, state, cells, scratch, kind_1, index_1)
    elif effect == BOUNCE_FORWARD:
        _bounce(types, sizes, state, kind_1, index_1, kind_2, index_2)
        refresh_touch(types, sizes, state, cells, scratch, kind_1, index_1)
    elif effect == UNDO_ALL:
        _undo_all(types, segments, sizes, state, cells, scratch, rules[rule, R_EXCEPT])
    elif effect == TRANSFORM_TO:
        _transform(
            types,
            segments,
            sizes,
            state,
            cells,
            scratch,
            kind_1,
            index_1,
            kind_2,
            index_2,
            rules[rule, R_TYPE],
            False,
            rules[rule, R_KILL_SECOND],
            rules[rule, R_FORCE_ORIENTATION],
        )
    elif effect == TRANSFORM_TO_ALL:
        _transform_all(
            types,
            rules,
            lists,
            segments,
            sizes,
            state,
            cells,
            scratch,
            rule,
            kind_2,
            index_2,
        )
    elif effect == SPAWN:
        if happens(streams, slot, rules[rule, R_PROBABILITY]):
            x, y, _, _ = rectangle(types, sizes, state, kind_1, index_1)
            child = rules[rule, R_TYPE]
            give_birth(types, segments, sizes, state, cells, scratch, child, x, y, False)
    elif effect == SPAWN_IF_HAS_MORE:
        purse = sizes[D_AMOUNTS] + rules[rule, R_RESOURCE] * capacity + index_1
        if state[purse] >= rules[rule, R_LIMIT] and happens(
            streams, slot, rules[rule, R_PROBABILITY]
        ):
            x, y, _, _ = rectangle(types, sizes, state, kind_1, index_1)
            child = rules[rule, R_TYPE]
            give_birth(types, segments, sizes, state, cells, scratch, child, x, y, False)
            state[purse] -= rules[rule, R_SPEND]
        else:
            score = np.int64(0)
    elif effect == CHANGE_RESOURCE:
        purse = sizes[D_AMOUNTS] + rules[rule, R_RESOURCE] * capacity + index_1
        after = state[purse] + rules[rule, R_VALUE]
        if after <= rules[rule, R_RESOURCE_LIMIT]:
            state[purse] = max(after, 0)
            if rules[rule, R_KILL_RESOURCE] and kind_2 >= 0:
                kill(types, sizes, state, scratch, kind_2, index_2)
        else:
            score = np.int64(0)
    elif effect == KILL_IF_HAS_LESS:
        resource = rules[rule, R_RESOURCE]
        held = amount(types, sizes, state, kind_1, index_1, resource)
        if held <= rules[rule, R_LIMIT]:
            kill(types, sizes, state, scratch, kind_1, index_1)
        else:
            score = np.int64(0)
    elif effect == KILL_IF_OTHER_HAS_MORE:
        resource = rules[rule, R_RESOURCE]
        if amount(types, sizes, state, kind_2, index_2, resource) >= rules[rule, R_LIMIT]:
            kill(types, sizes, state, scratch, kind_1, index_1)
            if rules[rule, R_SUBTRACT]:
                purse = sizes[D_AMOUNTS] + resource * capacity + index_2
                state[purse] = max(state[purse] - rules[rule, R_LIMIT], 0)
        else:
            score = np.int64(0)
    elif effect == ADD_HEALTH_POINTS or effect == SUBTRACT_HEALTH_POINTS:
        score = _change_health(
            types,
            rules,
            lists,
            segments,
            sizes,
            state,
            scratch,
            rule,
            kind_1,
            index_1,
            kind_2,
            index_2,
        )
    elif effect == ATTRACT_GAZE:
        if (
            types[kind_1, T_ORIENTED]
            and types[kind_2, T_ORIENTED]
            and happens(streams, slot, rules[rule, R_PROBABILITY])
        ):
            dx, dy = orientation(types, sizes, state, kind_2, index_2)
            state[at + F_DX * capacity] = dx
            state[at + F_DY * capacity] = dy
            if rules[rule, R_ALIGN]:
                x, y, _, _ = rectangle(types, sizes, state, kind_2, index_2)
                if dx != 0:
                    state[at + F_Y * capacity] = y
                elif dy != 0:
                    state[at + F_X * capacity] = x
                refresh_touch(types, sizes, state, cells, scratch, kind_1, index_1)
    return score


@numba.njit(cache=True, nogil=True)
def _step_back(types, rules, sizes, state, rule, kind_1, index_1, kind_2, index_2):
    """Put the first sprite back to where the tick began, or up to the obstacle (pixelPerfect)."""
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + index_1
    if rules[rule, R_PIXEL_PERFECT] and kind_2 >= 0:
        x_1, y_1, last_x_1, last_y_1 = rectangle(types, sizes, state, kind_1, index_1)
        x_2, y_2, _, _ = rectangle(types, sizes, state, kind_2, index_2)
        dx, dy = sign(x_1 - last_x_1), sign(y_1 - last_y_1)
        if dx != 0 and dy == 0:
            state[at + F_X * capacity] = x_2 - dx * TILE
            return
        if dy != 0 and dx == 0:
            state[at + F_Y * capacity] = y_2 - dy * TILE
            return
    state[at + F_X * capacity] = state[at + F_LAST_X * capacity]
    state[at + F_Y * capacity] = state[at + F_LAST_Y * capacity]


@numba.njit(cache=True, nogil=True)
def _collect(types, rules, sizes, state, scratch, rule, kind_1, index_1, index_2):
    """Add the item to the second sprite's amount, up to the limit; return the score."""
    if types[kind_1, T_CLASS] != RESOURCE:
        return rules[rule, R_SCORE]
    limit = types[kind_1, T_LIMIT]
    purse = sizes[D_AMOUNTS] + types[kind_1, T_RESOURCE] * sizes[D_CAPACITY] + index_2
    if state[purse] >= limit:
        return np.int64(0)
    state[purse] = min(state[purse] + types[kind_1, T_VALUE], limit)
    if rules[rule, R_KILL_RESOURCE]:
        kill(types, sizes, state, scratch, kind_1, index_1)
    return rules[rule, R_SCORE]


@numba.njit(cache=True, nogil=True)
def _wrap_around(rules, state, at, capacity, rule):
    """Put the sprite at the border opposite to where it looks."""
    dx, dy = state[at + F_DX * capacity], state[at + F_DY * capacity]
    near, far = rules[rule, R_OFFSET], rules[rule, R_OFFSET_FAR]
    if dx > 0:
        state[at + F_X * capacity] = near
    elif dx < 0:
        state[at + F_X * capacity] = state[H_WIDTH] - TILE - far
    elif dy > 0:
        state[at + F_Y * capacity] = near
    elif dy < 0:
        state[at + F_Y * capacity] = state[H_HEIGHT] - TILE - far
    state[at + F_CLOCK * capacity] = 0


@numba.njit(cache=True, nogil=True)
def _bounce(types, sizes, state, kind_1, index_1, kind_2, index_2):
    """Push the first sprite along the displacement of the second."""
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + index_1
    x_2, y_2, last_x_2, last_y_2 = rectangle(types, sizes, state, kind_2, index_2)
    facing_x, facing_y = orientation(types, sizes, state, kind_2, index_2)
    dx, dy = sign(x_2 - last_x_2), sign(y_2 - last_y_2)
    if dx * facing_x < 0:
        dx = -dx
    if dy * facing_y < 0:
        dy = -dy
    pixels = types[kind_2, T_PIXELS]
    # A pusher without speed lends the pushed sprite's own; one slower than a pixel lends nothing.
    if pixels == 0 and types[kind_2, T_ACTIVE_PIXELS] != 0:
        pixels = types[kind_1, T_ACTIVE_PIXELS]
    push(types, kind_1, state, at, capacity, dx, dy, pixels)
    state[at + F_DX * capacity] = dx
    state[at + F_DY * capacity] = dy


@numba.njit(cache=True, nogil=True)
def _undo_all(types, segments, sizes, state, cells, scratch, spared):
    """Put everything back to where the tick began, but the types in the mask ``spared``."""
    capacity = sizes[D_CAPACITY]
    for kind in range(sizes[D_TYPES]):
        if types[kind, T_FIXED] or spared >> kind & 1:
            continue
        first = segments[kind, BASE]
        for record in range(first, first + state[HEADER + kind]):
            at = sizes[D_RECORDS] + record
            state[at + F_X * capacity] = state[at + F_LAST_X * capacity]
            state[at + F_Y * capacity] = state[at + F_LAST_Y * capacity]
            refresh_touch(types, sizes, state, cells, scratch, kind, record)


@numba.njit(cache=True, nogil=True)
def _transform(
    types,
    segments,
    sizes,
    state,
    cells,
    scratch,
    kind_1,
    index_1,
    kind_2,
    index_2,
    child,
    forced,
    kill_second,
    force_orientation,
):
    """Replace the first sprite by a new one of type ``child``, unless a singleton forbids."""
    capacity = sizes[D_CAPACITY]
    fixed = types[kind_1, T_FIXED]
    at = sizes[D_RECORDS] + index_1
    if not fixed and state[at + F_FLAGS * capacity] & DISABLED:
        return
    x, y, last_x, last_y = rectangle(types, sizes, state, kind_1, index_1)
    born = give_birth(types, segments, sizes, state, cells, scratch, child, x, y, forced)
    if born < 0:
        return
    born_at = sizes[D_RECORDS] + born
    has_none = state[born_at + F_DX * capacity] == 0 and state[born_at + F_DY * capacity] == 0
    if force_orientation or (types[child, T_ORIENTED] and types[kind_1, T_ORIENTED] and has_none):
        dx, dy = orientation(types, sizes, state, kind_1, index_1)
        state[born_at + F_DX * capacity] = dx
        state[born_at + F_DY * capacity] = dy
    state[born_at + F_LAST_X * capacity] = last_x
    state[born_at + F_LAST_Y * capacity] = last_y
    if not fixed:
        if state[at + F_HEALTH * capacity] > 0:
            health = state[at + F_HEALTH * capacity]
            state[born_at + F_HEALTH * capacity] = health
            state[born_at + F_HEALTH_MAXIMUM * capacity] = max(
                state[born_at + F_HEALTH_MAXIMUM * capacity], health
            )
        for resource in range(sizes[D_RESOURCES]):
            purse = sizes[D_AMOUNTS] + resource * capacity
            state[purse + born] = state[purse + index_1]
    if not fixed and state[H_AVATAR] == index_1 and types[child, T_CLASS] >= FIRST_AVATAR:
        state[H_AVATAR] = born
        state[H_AVATAR_TYPE] = child
        remove(types, sizes, state, scratch, kind_1, index_1)
    else:
        kill(types, sizes, state, scratch, kind_1, index_1)
    if kill_second and kind_2 >= 0:
        kill(types, sizes, state, scratch, kind_2, index_2)


@numba.njit(cache=True, nogil=True)
def _transform_all(
    types, rules, lists, segments, sizes, state, cells, scratch, rule, kind_2, index_2
):
    """Replace every sprite of the types meant, wherever it is; singletons do not forbid it."""
    for place in range(rules[rule, R_LIST], rules[rule, R_LIST_END]):
        kind = lists[place]
        first = segments[kind, BASE]
        for record in range(first, first + state[HEADER + kind]):
            _transform(
                types,
                segments,
                sizes,
                state,
                cells,
                scratch,
                kind,
                record,
                kind_2,
                index_2,
                rules[rule, R_TYPE],
                True,
                rules[rule, R_KILL_SECOND],
                rules[rule, R_FORCE_ORIENTATION],
            )


@numba.njit(cache=True, nogil=True)
def _change_health(
    types,
    rules,
    lists,
    segments,
    sizes,
    state,
    scratch,
    rule,
    kind_1,
    index_1,
    kind_2,
    index_2,
):
    """Add or subtract health points of the first sprite, or of the first of stype; the score."""
    capacity = sizes[D_CAPACITY]
    kind, record = kind_1, index_1
    if rules[rule, R_LIST_END] > rules[rule, R_LIST]:
        kind = np.int64(-1)
        for place in range(rules[rule, R_LIST], rules[rule, R_LIST_END]):
            if kind < 0 and state[HEADER + lists[place]] > 0:
                kind = lists[place]
                record = segments[kind, BASE]
        if kind < 0:
            return np.int64(0)
    health = sizes[D_RECORDS] + F_HEALTH * capacity + record
    maximum = sizes[D_RECORDS] + F_HEALTH_MAXIMUM * capacity + record
    if rules[rule, R_EFFECT] == ADD_HEALTH_POINTS:
        after = state[health] + rules[rule, R_VALUE]
        if after >= types[kind, T_HEALTH_LIMIT]:
            return np.int64(0)
        state[health] = after
        state[maximum] = max(state[maximum], after)
        if rules[rule, R_KILL_SECOND] and kind_2 >= 0:
            kill(types, sizes, state, scratch, kind_2, index_2)
        return rules[rule, R_SCORE]
    state[health] -= rules[rule, R_VALUE]
    if state[health] <= rules[rule, R_LIMIT]:
        kill(types, sizes, state, scratch, kind, record)
        return rules[rule, R_SCORE_IF_KILLED]
    return rules[rule, R_SCORE]
