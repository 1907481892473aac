"""Sprites as records and as bits of cells: birth, death, place, and what touches what.

A sprite is named by its type and an index: that of its record, or that of its cell where the
type is fixed. Layouts are in `codes`; game, state, cells and work are addresses.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    D_AMOUNTS,
    D_BROODS,
    D_COVERED,
    D_DOOMED,
    D_DYING,
    D_HEIGHT,
    D_RECORDED,
    D_RECORDED_END,
    D_RECORDS,
    D_RESOURCES,
    D_TYPES,
    D_WIDTH,
    DEAD,
    DISABLED,
    F_AGE,
    F_CELL,
    F_CLOCK,
    F_DX,
    F_DY,
    F_FLAGS,
    F_HEALTH,
    F_HEALTH_MAXIMUM,
    F_LAST_X,
    F_LAST_Y,
    F_PULL_TICK,
    F_START,
    F_X,
    F_Y,
    FIELDS,
    FIRST_AVATAR,
    FRESH,
    H_BIRTHS,
    H_FULL,
    HEADER,
    M_DEAD,
    M_DOOMED,
    M_PRESENT,
    NEAR,
    NOWHERE,
    ROOM,
    SEGMENTS,
    T_BORN,
    T_CLASS,
    T_DX,
    T_DY,
    T_FIXED,
    T_HEALTH,
    T_HEALTH_MAXIMUM,
    T_SINGLETON,
    T_TOUCHES,
    TILE,
    TOUCH,
)
from sidle.ppcg.kernels.covering import cover
from sidle.ppcg.kernels.memory import bit, first_of, of_type


@numba.njit(cache=True, nogil=True)
def record_at(game, record):
    """Return where a record lies in a state."""
    return game[D_RECORDS] + record * FIELDS


@numba.njit(cache=True, nogil=True)
def amount_at(game, record, resource):
    """Return where a record's amount of a resource lies in a state."""
    return game[D_AMOUNTS] + record * game[D_RESOURCES] + resource


@numba.njit(cache=True, nogil=True)
def touched(game, cells, x, y):
    """Return the mask of the fixed types in the cells that a tile at (x, y) covers."""
    height, width = game[D_HEIGHT], game[D_WIDTH]
    top, left = np.int64(y) // TILE, np.int64(x) // TILE
    bottom, right = (np.int64(y) + TILE - 1) // TILE, (np.int64(x) + TILE - 1) // TILE
    if top >= 0 and left >= 0 and bottom < height and right < width:
        return (
            cells[top * width + left]
            | cells[top * width + right]
            | cells[bottom * width + left]
            | cells[bottom * width + right]
        )
    mask = np.int64(0)
    for row in range(max(top, 0), min(bottom + 1, height)):
        for column in range(max(left, 0), min(right + 1, width)):
            mask |= cells[row * width + column]
    return mask


@numba.njit(cache=True, nogil=True)
def refresh_touch(game, state, cells, work, kind, record):
    """Note anew where the record is, and what fixed types it touches, where rules ask."""
    at = record_at(game, record)
    x, y = np.int64(state[at + F_X]), np.int64(state[at + F_Y])
    cover(game, work, kind, record, x, y)
    if of_type(game, kind, T_TOUCHES):
        mask = touched(game, cells, x, y)
        work[TOUCH + record] = mask
        work[NEAR + kind] |= mask


@numba.njit(cache=True, nogil=True)
def enter(game, state, kind, x, y):
    """Return the record of a new sprite at (x, y), -1 where there is no room, which is noted."""
    count = np.int64(state[HEADER + kind])
    if count >= game[SEGMENTS + 2 * kind + ROOM]:
        state[H_FULL] = kind + 1
        return np.int64(-1)
    state[HEADER + kind] = count + 1
    record = first_of(game, kind) + count
    at = record_at(game, record)
    state[at + F_X] = x
    state[at + F_Y] = y
    state[at + F_LAST_X] = x
    state[at + F_LAST_Y] = y
    state[at + F_CLOCK] = 0
    state[at + F_DX] = of_type(game, kind, T_DX)
    state[at + F_DY] = of_type(game, kind, T_DY)
    state[at + F_FLAGS] = FRESH
    state[at + F_HEALTH] = of_type(game, kind, T_HEALTH)
    state[at + F_HEALTH_MAXIMUM] = of_type(game, kind, T_HEALTH_MAXIMUM)
    state[at + F_AGE] = 0
    state[at + F_START] = -1
    state[at + F_PULL_TICK] = -1
    state[at + F_CELL] = -1
    for resource in range(game[D_RESOURCES]):
        state[amount_at(game, record, resource)] = 0
    return record


@numba.njit(cache=True, nogil=True)
def is_forbidden(game, state, kind):
    """Return whether a singleton of the kind's group lives, so that no other may be born."""
    singleton = of_type(game, kind, T_SINGLETON)
    if singleton:
        for other in range(game[D_TYPES]):
            if singleton >> other & 1 and state[HEADER + other] > 0:
                return True
    return False


@numba.njit(cache=True, nogil=True)
def give_birth(game, state, cells, work, kind, x, y, forced):
    """Return the record of a new sprite at (x, y), -1 where a singleton or lack of room forbids.

    Lack of room is noted in the state; the step then ends in an error.
    """
    if not forced and is_forbidden(game, state, kind):
        return np.int64(-1)
    state[H_BIRTHS] = 1
    record = enter(game, state, kind, x, y)
    if record >= 0:
        work[M_PRESENT] |= bit(kind)
        work[game[D_COVERED] + record] = NOWHERE
        refresh_touch(game, state, cells, work, kind, record)
    return record


@numba.njit(cache=True, nogil=True)
def kill(game, state, work, kind, index):
    """Mark a sprite for removal at the end of the tick; an avatar is disabled instead."""
    if of_type(game, kind, T_FIXED):
        if not work[game[D_DYING] + index] & bit(kind):
            work[game[D_DYING] + index] |= bit(kind)
            work[game[D_DOOMED] + work[M_DOOMED]] = index * game[D_TYPES] + kind
            work[M_DOOMED] += 1
    elif of_type(game, kind, T_CLASS) >= FIRST_AVATAR:
        state[record_at(game, index) + F_FLAGS] |= DISABLED
    else:
        remove(game, state, work, kind, index)


@numba.njit(cache=True, nogil=True)
def remove(game, state, work, kind, record):
    """Mark a record for removal at the end of the tick, an avatar like all others."""
    state[record_at(game, record) + F_FLAGS] |= DEAD
    work[M_DEAD] |= bit(kind)


@numba.njit(cache=True, nogil=True)
def is_crowded(game, state):
    """Return whether some type might lack room in the next tick.

    What a sprite can cause to be born in a tick is counted twice, and for two more sprites of
    each type, since those born in the tick may give birth in it.
    """
    n_types = game[D_TYPES]
    for kind in range(n_types):
        if of_type(game, kind, T_BORN):
            needed = np.int64(state[HEADER + kind])
            for place in range(game[D_RECORDED], game[D_RECORDED_END]):
                parent = game[place]
                brood = game[game[D_BROODS] + kind * n_types + parent]
                needed += 2 * brood * (state[HEADER + parent] + 2)
            if needed > game[SEGMENTS + 2 * kind + ROOM]:
                return True
    return False
