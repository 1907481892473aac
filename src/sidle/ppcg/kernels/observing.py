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
    D_HEALTH,
    D_HEIGHT,
    D_RECORDED,
    D_RECORDED_END,
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
    FIELDS,
    H_AVATAR,
    HEADER,
    T_FIXED,
    T_ORIENTED,
    TILE,
)
from sidle.ppcg.kernels.memory import first_of, of_type
from sidle.ppcg.kernels.records import amount_at, record_at

_MOST = 127  # of an int8


@numba.njit(cache=True, nogil=True)
def erase_records(game, state, planes):
    """Erase the records from the planes."""
    n_cells = game[D_HEIGHT] * game[D_WIDTH]
    shared = game[D_TYPES] * n_cells
    for place in range(game[D_RECORDED], game[D_RECORDED_END]):
        kind = game[place]
        count = np.int64(state[HEADER + kind])
        first = record_at(game, first_of(game, kind))
        for at in range(first, first + count * FIELDS, FIELDS):
            cell = np.int64(state[at + F_CELL])
            if cell >= 0:
                planes[kind * n_cells + cell] = 0
                planes[shared + cell] = 0
                planes[shared + n_cells + cell] = 0
                planes[shared + 2 * n_cells + cell] = 0
                planes[shared + 3 * n_cells + cell] = 0


@numba.njit(cache=True, nogil=True)
def draw_records(game, state, planes):
    """Draw the records, and the amounts that the avatar has where they changed."""
    height, width = game[D_HEIGHT], game[D_WIDTH]
    n_cells = height * width
    shared = game[D_TYPES] * n_cells
    for place in range(game[D_RECORDED], game[D_RECORDED_END]):
        kind = game[place]
        count = np.int64(state[HEADER + kind])
        first = record_at(game, first_of(game, kind))
        oriented = of_type(game, kind, T_ORIENTED)
        for at in range(first, first + count * FIELDS, FIELDS):
            x, y = np.int64(state[at + F_X]), np.int64(state[at + F_Y])
            column, row = (x + TILE // 2) // TILE, (y + TILE // 2) // TILE
            if row < 0 or row >= height or column < 0 or column >= width:
                state[at + F_CELL] = -1
                continue
            cell = row * width + column
            state[at + F_CELL] = cell
            planes[kind * n_cells + cell] = 1
            planes[shared + cell] = state[at + F_DX] if oriented else 0
            planes[shared + n_cells + cell] = state[at + F_DY] if oriented else 0
            planes[shared + 2 * n_cells + cell] = x - column * TILE
            planes[shared + 3 * n_cells + cell] = y - row * TILE
    _draw_amounts(game, state, planes, shared + 4 * n_cells, n_cells)


@numba.njit(cache=True, nogil=True)
def _draw_amounts(game, state, planes, begin, n_cells):
    """Fill the planes of what the avatar has, where the amount is not the one on display."""
    record = np.int64(state[H_AVATAR])
    for place in range(game[D_RESOURCES] + game[D_HEALTH]):
        if place < game[D_RESOURCES]:
            held = np.int64(state[amount_at(game, record, place)])
        else:
            held = np.int64(state[record_at(game, record) + F_HEALTH])
        held = min(max(held, -_MOST), _MOST)
        shown = game[D_SHOWN] + place
        if state[shown] != held:
            state[shown] = held
            for cell in range(n_cells):
                planes[begin + place * n_cells + cell] = held


@numba.njit(cache=True, nogil=True)
def draw_everything(game, state, cells, planes, n_pixels):
    """Draw a state whose planes are lost."""
    n_types, n_cells = game[D_TYPES], game[D_HEIGHT] * game[D_WIDTH]
    for pixel in range(n_pixels):
        planes[pixel] = 0
    for place in range(game[D_RESOURCES] + game[D_HEALTH]):
        state[game[D_SHOWN] + place] = 0
    for kind in range(n_types):
        if of_type(game, kind, T_FIXED) and state[HEADER + kind] > 0:
            for cell in range(n_cells):
                planes[kind * n_cells + cell] = cells[cell] >> kind & 1
    draw_records(game, state, planes)
