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
    BOUNCE_FORWARD,
    CHANGE_RESOURCE,
    COLLECT_RESOURCE,
    D_BLOCKED,
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
    F_PULL_TICK,
    F_PULLED,
    F_X,
    F_Y,
    FIRST_AVATAR,
    H_AVATAR,
    H_AVATAR_TYPE,
    H_HEIGHT,
    H_TICK,
    H_WIDTH,
    HEADER,
    KILL_BOTH,
    KILL_IF_FROM_ABOVE,
    KILL_IF_HAS_LESS,
    KILL_IF_OTHER_HAS_MORE,
    KILL_SPRITE,
    M_SHIELDED,
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
from sidle.ppcg.kernels.memory import first_of, of_rule, of_type
from sidle.ppcg.kernels.movement import push, shift
from sidle.ppcg.kernels.records import amount_at, give_birth, kill, record_at, refresh_touch, remove
from sidle.ppcg.kernels.streams import happens


@numba.njit(cache=True, nogil=True)
def sign(value):
    """Return -1, 0 or 1."""
    return np.int64(value > 0) - np.int64(value < 0)


@numba.njit(cache=True, nogil=True)
def rectangle(game, state, kind, index):
    """Return x, y and, from the start of the tick, last x, last y of a sprite."""
    if of_type(game, kind, T_FIXED):
        x = (index % game[D_WIDTH]) * TILE
        y = (index // game[D_WIDTH]) * TILE
        return np.int64(x), np.int64(y), np.int64(x), np.int64(y)
    at = record_at(game, index)
    return (
        np.int64(state[at + F_X]),
        np.int64(state[at + F_Y]),
        np.int64(state[at + F_LAST_X]),
        np.int64(state[at + F_LAST_Y]),
    )


@numba.njit(cache=True, nogil=True)
def orientation(game, state, kind, index):
    """Return (dx, dy) of a sprite."""
    if of_type(game, kind, T_FIXED):
        return of_type(game, kind, T_DX), of_type(game, kind, T_DY)
    at = record_at(game, index)
    return np.int64(state[at + F_DX]), np.int64(state[at + F_DY])


@numba.njit(cache=True, nogil=True)
def amount(game, state, kind, index, resource):
    """Return how much of a resource the sprite has; a fixed one has nothing."""
    if of_type(game, kind, T_FIXED):
        return np.int64(0)
    return np.int64(state[amount_at(game, index, resource)])


@numba.njit(cache=True, nogil=True)
def execute(
    game,
    state,
    cells,
    work,
    stream,
    rule,
    kind_1,
    index_1,
    kind_2,
    index_2,
):
    """Run the rule's effect on the two sprites and return the change of score."""
    effect = of_rule(game, rule, R_EFFECT)
    score = of_rule(game, rule, R_SCORE)
    at = record_at(game, index_1)
    if effect == KILL_SPRITE:
        kill(game, state, work, kind_1, index_1)
    elif effect == STEP_BACK:
        if not of_type(game, kind_1, T_FIXED):
            _step_back(game, state, rule, kind_1, index_1, kind_2, index_2)
            refresh_touch(game, state, cells, work, kind_1, index_1)
    elif effect == KILL_BOTH:
        kill(game, state, work, kind_1, index_1)
        kill(game, state, work, kind_2, index_2)
    elif effect == COLLECT_RESOURCE:
        score = _collect(game, state, work, rule, kind_1, index_1, index_2)
    elif effect == KILL_IF_FROM_ABOVE:
        _, _, _, last_y_1 = rectangle(game, state, kind_1, index_1)
        _, y_2, _, last_y_2 = rectangle(game, state, kind_2, index_2)
        if last_y_1 > last_y_2 + TILE // 2 and y_2 > last_y_2:
            kill(game, state, work, kind_1, index_1)
        else:
            score = np.int64(0)
    elif effect == PULL_WITH_IT:
        mine = of_rule(game, rule, R_BIT)
        if state[at + F_PULL_TICK] != state[H_TICK]:
            state[at + F_PULL_TICK] = state[H_TICK]
            state[at + F_PULLED] = 0
        if not state[at + F_PULLED] & mine:
            state[at + F_PULLED] |= mine
            x_2, y_2, last_x_2, last_y_2 = rectangle(game, state, kind_2, index_2)
            shift(
                state,
                at,
                sign(x_2 - last_x_2),
                sign(y_2 - last_y_2),
                of_type(game, kind_2, T_PIXELS),
                of_type(game, kind_1, T_SPEED),
                of_type(game, kind_1, T_COOLDOWN),
            )
            if of_rule(game, rule, R_PIXEL_PERFECT):
                state[at + F_X] = x_2
                state[at + F_Y] = y_2
            refresh_touch(game, state, cells, work, kind_1, index_1)
    elif effect == SHIELD_FROM:
        blocked = game[of_rule(game, rule, R_SHIELD) + kind_1]  # their number, then the rules
        for place in range(blocked + 1, blocked + 1 + game[blocked]):
            work[game[D_BLOCKED] + game[place]] = 1
        work[M_SHIELDED] = 1
    elif effect == REVERSE_DIRECTION:
        state[at + F_DX] = -state[at + F_DX]
        state[at + F_DY] = -state[at + F_DY]
    elif effect == WRAP_AROUND:
        _wrap_around(game, state, at, rule)
        refresh_touch(game, state, cells, work, kind_1, index_1)
    elif effect == BOUNCE_FORWARD:
        _bounce(game, state, kind_1, index_1, kind_2, index_2)
        refresh_touch(game, state, cells, work, kind_1, index_1)
    elif effect == UNDO_ALL:
        _undo_all(game, state, cells, work, of_rule(game, rule, R_EXCEPT))
    elif effect == TRANSFORM_TO:
        if of_type(game, kind_1, T_FIXED) or not state[at + F_FLAGS] & DISABLED:
            _transform(
                game,
                state,
                cells,
                work,
                kind_1,
                index_1,
                kind_2,
                index_2,
                of_rule(game, rule, R_TYPE),
                False,
                of_rule(game, rule, R_KILL_SECOND),
                of_rule(game, rule, R_FORCE_ORIENTATION),
            )
    elif effect == TRANSFORM_TO_ALL:
        _transform_all(
            game,
            state,
            cells,
            work,
            rule,
            kind_2,
            index_2,
        )
    elif effect == SPAWN:
        if happens(stream, of_rule(game, rule, R_PROBABILITY)):
            x, y, _, _ = rectangle(game, state, kind_1, index_1)
            child = of_rule(game, rule, R_TYPE)
            give_birth(game, state, cells, work, child, x, y, False)
    elif effect == SPAWN_IF_HAS_MORE:
        purse = amount_at(game, index_1, of_rule(game, rule, R_RESOURCE))
        if state[purse] >= of_rule(game, rule, R_LIMIT) and happens(
            stream, of_rule(game, rule, R_PROBABILITY)
        ):
            x, y, _, _ = rectangle(game, state, kind_1, index_1)
            child = of_rule(game, rule, R_TYPE)
            give_birth(game, state, cells, work, child, x, y, False)
            state[purse] = max(state[purse] - of_rule(game, rule, R_SPEND), 0)
        else:
            score = np.int64(0)
    elif effect == CHANGE_RESOURCE and kind_2 >= 0:  # at the edge it only scores
        purse = amount_at(game, index_1, of_rule(game, rule, R_RESOURCE))
        after = state[purse] + of_rule(game, rule, R_VALUE)
        if after <= of_rule(game, rule, R_RESOURCE_LIMIT):
            state[purse] = max(after, 0)
            if of_rule(game, rule, R_KILL_RESOURCE):
                kill(game, state, work, kind_2, index_2)
        else:
            score = np.int64(0)
    elif effect == KILL_IF_HAS_LESS:
        resource = of_rule(game, rule, R_RESOURCE)
        held = amount(game, state, kind_1, index_1, resource)
        if held <= of_rule(game, rule, R_LIMIT):
            kill(game, state, work, kind_1, index_1)
        else:
            score = np.int64(0)
    elif effect == KILL_IF_OTHER_HAS_MORE:
        resource = of_rule(game, rule, R_RESOURCE)
        if amount(game, state, kind_2, index_2, resource) >= of_rule(game, rule, R_LIMIT):
            kill(game, state, work, kind_1, index_1)
            if of_rule(game, rule, R_SUBTRACT):
                purse = amount_at(game, index_2, resource)
                state[purse] = max(state[purse] - of_rule(game, rule, R_LIMIT), 0)
        else:
            score = np.int64(0)
    elif effect in (ADD_HEALTH_POINTS, SUBTRACT_HEALTH_POINTS):
        score = _change_health(
            game,
            state,
            work,
            rule,
            kind_1,
            index_1,
            kind_2,
            index_2,
        )
    elif effect == ATTRACT_GAZE and (
        of_type(game, kind_1, T_ORIENTED)
        and of_type(game, kind_2, T_ORIENTED)
        and happens(stream, of_rule(game, rule, R_PROBABILITY))
    ):
        dx, dy = orientation(game, state, kind_2, index_2)
        state[at + F_DX] = dx
        state[at + F_DY] = dy
        if of_rule(game, rule, R_ALIGN):
            x, y, _, _ = rectangle(game, state, kind_2, index_2)
            if dx != 0:
                state[at + F_Y] = y
            else:
                state[at + F_X] = x
            refresh_touch(game, state, cells, work, kind_1, index_1)
    return score


@numba.njit(cache=True, nogil=True)
def _step_back(game, state, rule, kind_1, index_1, kind_2, index_2):
    """Put the first sprite back to where the tick began, or up to the obstacle (pixelPerfect)."""
    at = record_at(game, index_1)
    if of_rule(game, rule, R_PIXEL_PERFECT) and kind_2 >= 0:
        x_1, y_1, last_x_1, last_y_1 = rectangle(game, state, kind_1, index_1)
        x_2, y_2, _, _ = rectangle(game, state, kind_2, index_2)
        dx, dy = sign(x_1 - last_x_1), sign(y_1 - last_y_1)
        if dx != 0 and dy == 0:
            state[at + F_X] = x_2 - dx * TILE
            return
        if dy != 0 and dx == 0:
            state[at + F_Y] = y_2 - dy * TILE
            return
    state[at + F_X] = state[at + F_LAST_X]
    state[at + F_Y] = state[at + F_LAST_Y]


@numba.njit(cache=True, nogil=True)
def _collect(game, state, work, rule, kind_1, index_1, index_2):
    """Add the item to the second sprite's amount, up to the limit; return the score."""
    if of_type(game, kind_1, T_CLASS) != RESOURCE:
        return of_rule(game, rule, R_SCORE)
    limit = of_type(game, kind_1, T_LIMIT)
    purse = amount_at(game, index_2, of_type(game, kind_1, T_RESOURCE))
    if state[purse] >= limit:
        return np.int64(0)
    state[purse] = max(min(state[purse] + of_type(game, kind_1, T_VALUE), limit), 0)
    if of_rule(game, rule, R_KILL_RESOURCE):
        kill(game, state, work, kind_1, index_1)
    return of_rule(game, rule, R_SCORE)


@numba.njit(cache=True, nogil=True)
def _wrap_around(game, state, at, rule):
    """Put the sprite at the border opposite to where it looks."""
    dx, dy = state[at + F_DX], state[at + F_DY]
    near, far = of_rule(game, rule, R_OFFSET), of_rule(game, rule, R_OFFSET_FAR)
    if dx > 0:
        state[at + F_X] = near
    elif dx < 0:
        state[at + F_X] = state[H_WIDTH] - TILE - far
    elif dy > 0:
        state[at + F_Y] = near
    elif dy < 0:
        state[at + F_Y] = state[H_HEIGHT] - TILE - far
    state[at + F_CLOCK] = 0


@numba.njit(cache=True, nogil=True)
def _bounce(game, state, kind_1, index_1, kind_2, index_2):
    """Push the first sprite along the displacement of the second."""
    at = record_at(game, index_1)
    x_2, y_2, last_x_2, last_y_2 = rectangle(game, state, kind_2, index_2)
    facing_x, facing_y = orientation(game, state, kind_2, index_2)
    dx, dy = sign(x_2 - last_x_2), sign(y_2 - last_y_2)
    if dx * facing_x < 0:
        dx = -dx
    if dy * facing_y < 0:
        dy = -dy
    pixels = of_type(game, kind_2, T_PIXELS)
    # A pusher without speed lends the pushed sprite's own; one slower than a pixel lends nothing.
    if pixels == 0 and of_type(game, kind_2, T_ACTIVE_PIXELS) != 0:
        pixels = of_type(game, kind_1, T_ACTIVE_PIXELS)
    push(game, kind_1, state, at, dx, dy, pixels)
    state[at + F_DX] = dx
    state[at + F_DY] = dy


@numba.njit(cache=True, nogil=True)
def _undo_all(game, state, cells, work, spared):
    """Put everything back to where the tick began, but the types in the mask ``spared``."""
    for kind in range(game[D_TYPES]):
        if of_type(game, kind, T_FIXED) or spared >> kind & 1:
            continue
        first = first_of(game, kind)
        for record in range(first, first + state[HEADER + kind]):
            at = record_at(game, record)
            state[at + F_X] = state[at + F_LAST_X]
            state[at + F_Y] = state[at + F_LAST_Y]
            refresh_touch(game, state, cells, work, kind, record)


@numba.njit(cache=True, nogil=True)
def _transform(
    game,
    state,
    cells,
    work,
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
    fixed = of_type(game, kind_1, T_FIXED)
    at = record_at(game, index_1)
    x, y, last_x, last_y = rectangle(game, state, kind_1, index_1)
    born = give_birth(game, state, cells, work, child, x, y, forced)
    if born < 0:
        return
    born_at = record_at(game, born)
    has_none = state[born_at + F_DX] == 0 and state[born_at + F_DY] == 0
    if force_orientation or (
        of_type(game, child, T_ORIENTED) and of_type(game, kind_1, T_ORIENTED) and has_none
    ):
        dx, dy = orientation(game, state, kind_1, index_1)
        state[born_at + F_DX] = dx
        state[born_at + F_DY] = dy
    state[born_at + F_LAST_X] = last_x
    state[born_at + F_LAST_Y] = last_y
    state[born_at + F_HEALTH] = 0 if fixed else state[at + F_HEALTH]
    if not fixed:
        for resource in range(game[D_RESOURCES]):
            held = state[amount_at(game, index_1, resource)]
            state[amount_at(game, born, resource)] = held
    if not fixed and min(of_type(game, kind_1, T_CLASS), of_type(game, child, T_CLASS)) >= (
        FIRST_AVATAR
    ):
        state[H_AVATAR] = born
        state[H_AVATAR_TYPE] = child
        remove(game, state, work, kind_1, index_1)
    else:
        kill(game, state, work, kind_1, index_1)
    if kill_second and kind_2 >= 0:
        kill(game, state, work, kind_2, index_2)


@numba.njit(cache=True, nogil=True)
def _transform_all(game, state, cells, work, rule, kind_2, index_2):
    """Replace every sprite of the type meant, wherever it is; singletons do not forbid it.

    A killed avatar is replaced like all others, and the player controls the new one.
    """
    for place in range(of_rule(game, rule, R_LIST), of_rule(game, rule, R_LIST_END)):
        kind = game[place]
        first = first_of(game, kind)
        for record in range(first, first + state[HEADER + kind]):
            _transform(
                game,
                state,
                cells,
                work,
                kind,
                record,
                kind_2,
                index_2,
                of_rule(game, rule, R_TYPE),
                True,
                of_rule(game, rule, R_KILL_SECOND),
                of_rule(game, rule, R_FORCE_ORIENTATION),
            )


@numba.njit(cache=True, nogil=True)
def _change_health(
    game,
    state,
    work,
    rule,
    kind_1,
    index_1,
    kind_2,
    index_2,
):
    """Add or subtract health points of the first sprite; return the score.

    Where subtractHealthPoints names a type, its oldest sprite is meant, if there is any; of a
    parent type, that of the last subtype that has sprites.
    """
    kind, record = kind_1, index_1
    for place in range(of_rule(game, rule, R_LIST), of_rule(game, rule, R_LIST_END)):
        if state[HEADER + game[place]] > 0:
            kind = game[place]
            record = first_of(game, kind)
    health = record_at(game, record) + F_HEALTH
    maximum = record_at(game, record) + F_HEALTH_MAXIMUM
    if of_rule(game, rule, R_EFFECT) == ADD_HEALTH_POINTS:
        after = state[health] + of_rule(game, rule, R_VALUE)
        if after >= of_type(game, kind, T_HEALTH_LIMIT):
            return np.int64(0)
        state[health] = after
        state[maximum] = max(state[maximum], after)
        if of_rule(game, rule, R_KILL_SECOND) and kind_2 >= 0:
            kill(game, state, work, kind_2, index_2)
        return of_rule(game, rule, R_SCORE)
    state[health] -= of_rule(game, rule, R_VALUE)
    if state[health] <= of_rule(game, rule, R_LIMIT):
        kill(game, state, work, kind, record)
        return of_rule(game, rule, R_SCORE_IF_KILLED)
    return of_rule(game, rule, R_SCORE)
