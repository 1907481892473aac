"""Sprites as records and as bits of cells: birth, death, place, and what touches what.

A sprite is named by its type and an index: that of its record, or that of its cell where the
type is fixed. Letters and layouts are in `codes`.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    BASE,
    BROOD,
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
    F_PULLED,
    F_START,
    F_X,
    F_Y,
    FIRST_AVATAR,
    FRESH,
    H_BIRTHS,
    H_FULL,
    HEADER,
    M_DEAD,
    M_DOOMED,
    M_PRESENT,
    MARKS,
    NEAR,
    ROOM,
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


@numba.njit(cache=True, nogil=True)
def touched(sizes, cells, x, y):
    """Return the mask of the fixed types in the cells that a tile at (x, y) covers."""
    height, width = sizes[D_HEIGHT], sizes[D_WIDTH]
    row, column = y // TILE, x // TILE
    aligned_x, aligned_y = x == column * TILE, y == row * TILE
    if aligned_x and aligned_y:
        if 0 <= row < height and 0 <= column < width:
            return cells[row * width + column]
        return np.int64(0)
    mask = np.int64(0)
    for r in range(max(row, 0), min(row + 2 - aligned_y, height)):
        for c in range(max(column, 0), min(column + 2 - aligned_x, width)):
            mask |= cells[r * width + c]
    return mask


@numba.njit(cache=True, nogil=True)
def refresh_touch(types, sizes, state, cells, scratch, kind, record):
    """Note anew what fixed types the record touches, where rules ask."""
    if types[kind, T_TOUCHES]:
        at = sizes[D_RECORDS] + record
        capacity = sizes[D_CAPACITY]
        mask = touched(sizes, cells, state[at + F_X * capacity], state[at + F_Y * capacity])
        scratch[TOUCH][record] = mask
        scratch[NEAR][kind] |= mask


@numba.njit(cache=True, nogil=True)
def give_birth(types, segments, sizes, state, cells, scratch, kind, x, y, forced):
    """Return the record of a new sprite at (x, y), -1 where a singleton or lack of room forbids.

    Lack of room is noted in the state; the step then ends in an error.
    """
    singleton = types[kind, T_SINGLETON]
    if singleton and not forced:
        for other in range(sizes[D_TYPES]):
            if singleton >> other & 1 and state[HEADER + other] > 0:
                return np.int64(-1)
    count = np.int64(state[HEADER + kind])
    state[H_BIRTHS] = 1
    if count >= segments[kind, ROOM]:
        state[H_FULL] = kind + 1
        return np.int64(-1)
    state[HEADER + kind] = count + 1
    record = segments[kind, BASE] + count
    capacity = sizes[D_CAPACITY]
    at = sizes[D_RECORDS] + record
    state[at + F_X * capacity] = x
    state[at + F_Y * capacity] = y
    state[at + F_LAST_X * capacity] = x
    state[at + F_LAST_Y * capacity] = y
    state[at + F_CLOCK * capacity] = 0
    state[at + F_DX * capacity] = types[kind, T_DX]
    state[at + F_DY * capacity] = types[kind, T_DY]
    state[at + F_FLAGS * capacity] = FRESH
    state[at + F_HEALTH * capacity] = types[kind, T_HEALTH]
    state[at + F_HEALTH_MAXIMUM * capacity] = types[kind, T_HEALTH_MAXIMUM]
    state[at + F_AGE * capacity] = 0
    state[at + F_START * capacity] = -1
    state[at + F_PULLED * capacity] = 0
    state[at + F_CELL * capacity] = -1
    for resource in range(sizes[D_RESOURCES]):
        state[sizes[D_AMOUNTS] + resource * capacity + record] = 0
    scratch[MARKS][M_PRESENT] |= np.int64(1) << kind
    refresh_touch(types, sizes, state, cells, scratch, kind, record)
    return record


@numba.njit(cache=True, nogil=True)
def kill(types, sizes, state, scratch, kind, index):
    """Mark a sprite for removal at the end of the tick; an avatar is disabled instead."""
    marks = scratch[MARKS]
    bit = np.int64(1) << kind
    if types[kind, T_FIXED]:
        if not scratch[DYING][index] & bit:
            scratch[DYING][index] |= bit
            scratch[DOOMED][marks[M_DOOMED]] = index * sizes[D_TYPES] + kind
            marks[M_DOOMED] += 1
        return
    flags = sizes[D_RECORDS] + F_FLAGS * sizes[D_CAPACITY] + index
    if types[kind, T_CLASS] >= FIRST_AVATAR:
        state[flags] |= DISABLED
    else:
        state[flags] |= DEAD
        marks[M_DEAD] |= bit


@numba.njit(cache=True, nogil=True)
def remove(types, sizes, state, scratch, kind, index):
    """Mark a sprite for removal at the end of the tick, an avatar like all others."""
    if types[kind, T_FIXED]:
        kill(types, sizes, state, scratch, kind, index)
    else:
        state[sizes[D_RECORDS] + F_FLAGS * sizes[D_CAPACITY] + index] |= DEAD
        scratch[MARKS][M_DEAD] |= np.int64(1) << kind


@numba.njit(cache=True, nogil=True)
def is_crowded(types, segments, sizes, state):
    """Return whether some type might lack room in the next tick, see BROOD."""
    total = np.int64(0)
    for kind in range(sizes[D_TYPES]):
        if not types[kind, T_FIXED]:
            total += state[HEADER + kind]
    for kind in range(sizes[D_TYPES]):
        if types[kind, T_BORN] and state[HEADER + kind] + BROOD * total > segments[kind, ROOM]:
            return True
    return False
