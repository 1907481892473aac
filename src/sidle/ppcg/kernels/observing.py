"""The planes of a level: kept up to date, not drawn anew.

planes is int8, C H W long: a plane for each type, two for orientation, two for the offset from
the cell's corner, one for each resource, one for health where the game has it. Fixed sprites are
drawn when the level is loaded and erased when they die; the records are erased before and drawn
after each tick, in order of type and birth, so that the last one decides in a shared cell.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    BASE,
    D_AMOUNTS,
    D_CAPACITY,
    D_HEALTH,
    D_HEIGHT,
    D_RECORDS,
    D_RESOURCES,
    D_SHOWN,
    D_TYPES,
    D_WIDTH,
    F_CELL,
    F_DX,
    F_DY,
    F_HEALTH,
    F_X,
    F_Y,
    H_AVATAR,
    HEADER,
    T_FIXED,
    T_ORIENTED,
    TILE,
)

_MOST = 127  # of an int8


@numba.njit(cache=True, nogil=True)
def erase_records(types, segments, sizes, state, planes):
    """Erase the records from the planes."""
    capacity, n_types = sizes[D_CAPACITY], sizes[D_TYPES]
    n_cells = sizes[D_HEIGHT] * sizes[D_WIDTH]
    shared = n_types * n_cells
    for kind in range(n_types):
        count = state[HEADER + kind]
        if count == 0 or types[kind, T_FIXED]:
            continue
        first = sizes[D_RECORDS] + F_CELL * capacity + segments[kind, BASE]
        for at in range(first, first + count):
            cell = np.int64(state[at])
            if cell >= 0:
                planes[kind * n_cells + cell] = 0
                planes[shared + cell] = 0
                planes[shared + n_cells + cell] = 0
                planes[shared + 2 * n_cells + cell] = 0
                planes[shared + 3 * n_cells + cell] = 0


@numba.njit(cache=True, nogil=True)
def draw_records(types, segments, sizes, state, planes):
    """Draw the records, and the amounts that the avatar has where they changed."""
    capacity, n_types = sizes[D_CAPACITY], sizes[D_TYPES]
    height, width = sizes[D_HEIGHT], sizes[D_WIDTH]
    n_cells = height * width
    shared = n_types * n_cells
    for kind in range(n_types):
        count = state[HEADER + kind]
        if count == 0 or types[kind, T_FIXED]:
            continue
        oriented = types[kind, T_ORIENTED]
        first = sizes[D_RECORDS] + segments[kind, BASE]
        for at in range(first, first + count):
            x, y = np.int64(state[at + F_X * capacity]), np.int64(state[at + F_Y * capacity])
            column, row = (x + TILE // 2) // TILE, (y + TILE // 2) // TILE
            if row < 0 or row >= height or column < 0 or column >= width:
                state[at + F_CELL * capacity] = -1
                continue
            cell = row * width + column
            state[at + F_CELL * capacity] = cell
            planes[kind * n_cells + cell] = 1
            if oriented:
                planes[shared + cell] = state[at + F_DX * capacity]
                planes[shared + n_cells + cell] = state[at + F_DY * capacity]
            planes[shared + 2 * n_cells + cell] = x - column * TILE
            planes[shared + 3 * n_cells + cell] = y - row * TILE
    record = state[H_AVATAR]
    for place in range(sizes[D_RESOURCES] + sizes[D_HEALTH]):
        if place < sizes[D_RESOURCES]:
            held = np.int64(state[sizes[D_AMOUNTS] + place * capacity + record])
        else:
            held = np.int64(state[sizes[D_RECORDS] + F_HEALTH * capacity + record])
        held = min(max(held, -_MOST), _MOST)
        shown = sizes[D_SHOWN] + place
        if state[shown] != held:
            state[shown] = held
            begin = shared + (4 + place) * n_cells
            planes[begin : begin + n_cells] = held


@numba.njit(cache=True, nogil=True)
def draw_everything(types, segments, sizes, state, cells, planes):
    """Draw a state whose planes are lost."""
    n_types, n_cells = sizes[D_TYPES], sizes[D_HEIGHT] * sizes[D_WIDTH]
    planes[:] = 0
    for place in range(sizes[D_RESOURCES] + sizes[D_HEALTH]):
        state[sizes[D_SHOWN] + place] = 0
    for kind in range(n_types):
        if types[kind, T_FIXED] and state[HEADER + kind] > 0:
            for cell in range(n_cells):
                planes[kind * n_cells + cell] = cells[cell] >> kind & 1
    draw_records(types, segments, sizes, state, planes)
