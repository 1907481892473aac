"""Solarfox's levels: gems in a symmetric pattern between two cannons, in an 8 x 9 room.

1. The avatar is near the centre; one cannon in the top row, one in the bottom row.
2. floor((0.8 d + 0.1 u + 0.1) 0.7 * 72) gems are drawn with replacement in a centred rectangle
   whose sides are 0.4 d + 0.2 u + 0.4 of the room's, rounded so that it can be centred. Each draw
   gives all mirror images of its cell, so a draw counts for two gems (mirrored horizontally or
   vertically) or four (both). Coinciding gems count once.
3. All gems are plain, or all powered, or each draw is one or the other.

Source: Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.generators.kernels import streams

HEIGHT, WIDTH = 11, 10
_ROOM_H, _ROOM_W = 9, 8

WALL, EMPTY, AVATAR, TOP, BOTTOM = np.frombuffer(b"w A12", dtype=np.uint8)
GEMS = np.frombuffer(b"bp", dtype=np.uint8)


@numba.njit(cache=True, nogil=True)
def fill(difficulties_N, seeds_N, grids_NHW):
    """Write one level for each difficulty (float64, in [0, 1]) and seed (uint64).

    Preconditions: grids_NHW is uint8 of shape (N, 11, 10).
    """
    stream = np.empty(1, dtype=np.uint64)
    for n in range(difficulties_N.size):
        streams.start(stream, seeds_N[n])
        _draw_level(difficulties_N[n], stream, grids_NHW[n])


@numba.njit(cache=True, nogil=True)
def _draw_level(difficulty, stream, grid):
    for y in range(HEIGHT):
        for x in range(WIDTH):
            rim = y == 0 or x == 0 or y == HEIGHT - 1 or x == WIDTH - 1
            grid[y, x] = WALL if rim else EMPTY
    grid[4 + streams.below(stream, 3), 4 + streams.below(stream, 2)] = AVATAR
    grid[1, 1 + streams.below(stream, _ROOM_W)] = TOP
    grid[HEIGHT - 2, 1 + streams.below(stream, _ROOM_W)] = BOTTOM

    spread = 0.4 * difficulty + 0.2 * streams.uniform(stream) + 0.4
    half = np.int64(4.0 * spread + 0.5)  # from 2 to 4
    side_h, side_w = 2 * half + 1, 2 * half
    y_first, x_first = 1 + (_ROOM_H - side_h) // 2, 1 + (_ROOM_W - side_w) // 2
    mirrored = streams.below(stream, 3)  # horizontally, vertically, both
    horizontal, vertical = mirrored != 1, mirrored != 0
    images = 4 if mirrored == 2 else 2
    kinds = streams.below(stream, 3)  # all plain, all powered, mixed

    share = 0.8 * difficulty + 0.1 * streams.uniform(stream) + 0.1
    n_gems = np.int64(share * 0.7 * _ROOM_H * _ROOM_W)
    for _ in range((n_gems + images // 2) // images):
        y, x = streams.below(stream, side_h), streams.below(stream, side_w)
        gem = GEMS[streams.below(stream, 2) if kinds == 2 else kinds]
        for image in range(4):
            flip_y, flip_x = image // 2, image % 2
            if (flip_y and not vertical) or (flip_x and not horizontal):
                continue
            cell_y = y_first + (side_h - 1 - y if flip_y else y)
            cell_x = x_first + (side_w - 1 - x if flip_x else x)
            if grid[cell_y, cell_x] == EMPTY:
                grid[cell_y, cell_x] = gem
