"""Levels for any game: a walled room with as many of each character as the difficulty asks for.

1. The room is h by w cells, rim included, centred in the grid; a number that depends on
   difficulty is low + (high - low) d, rounded up or down at random so that its mean is exact.
2. Cells inside are tried for walls; one stays if all cells that are not walls still hang together.
3. Characters are put on free cells, in the order given, until there is no free cell left.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.generators.kernels import grids, streams

LONGEST_SIDE = 64  # columns are bits of one word
WALL, EMPTY = np.frombuffer(b"w ", dtype=np.uint8)
_0, _1 = np.uint64(0), np.uint64(1)


@numba.njit(cache=True, nogil=True)
def fill(difficulties_N, seeds_N, grids_NHW, characters_K, ranges_R2, fewest_K):
    """Write one level for each difficulty (float64, in [0, 1]) and seed (uint64).

    Args:
        grids_NHW: uint8; 3 <= H, W <= 64.
        characters_K: uint8, what to place.
        ranges_R2: float64, low and high of the room's height, its width, the tries for a wall,
            then of each character's count; R = 3 + K, heights in [3, H], widths in [3, W].
        fewest_K: int64, at least so many of each.
    """
    n_levels, height, width = grids_NHW.shape
    stream = np.empty(1, dtype=np.uint64)
    free = np.empty(height, dtype=np.uint64)
    reached = np.empty(height, dtype=np.uint64)
    cells = np.empty(height * width, dtype=np.int64)
    for n in range(n_levels):
        difficulty, grid = difficulties_N[n], grids_NHW[n]
        streams.start(stream, seeds_N[n])
        h = _draw_number(stream, ranges_R2[0], difficulty)
        w = _draw_number(stream, ranges_R2[1], difficulty)
        top, left = (height - h) // 2, (width - w) // 2
        for y in range(height):
            free[y] = _0
            for x in range(width):
                grid[y, x] = WALL
                if top < y < top + h - 1 and left < x < left + w - 1:
                    grid[y, x] = EMPTY
                    grids.add(free, y, x)
        for _ in range(_draw_number(stream, ranges_R2[2], difficulty)):
            y = top + 1 + streams.below(stream, h - 2)
            x = left + 1 + streams.below(stream, w - 2)
            if grid[y, x] == EMPTY and _can_block(free, height, y, x, reached):
                grid[y, x] = WALL
                grids.remove(free, y, x)
        n_free = grids.list_cells(free, height, width, cells)
        streams.shuffle(stream, cells, n_free, n_free)
        used = 0
        for k in range(characters_K.size):
            count = max(_draw_number(stream, ranges_R2[3 + k], difficulty), fewest_K[k])
            for _ in range(min(count, n_free - used)):
                grid[cells[used] // width, cells[used] % width] = characters_K[k]
                used += 1


@numba.njit(cache=True, nogil=True)
def _draw_number(stream, bounds, difficulty):
    mean = bounds[0] + (bounds[1] - bounds[0]) * difficulty
    return np.int64(mean + streams.uniform(stream))


@numba.njit(cache=True, nogil=True)
def _can_block(free, height, y, x, reached):
    """Return whether all free cells but (y, x), of which there must be one, hang together."""
    if not grids.may_split(free, y, x):
        return grids.size(free, height) > 1
    grids.remove(free, y, x)
    for k in range(height):
        reached[k] = _0
    for k in range(height):
        if free[k] != _0:
            reached[k] = free[k] & (~free[k] + _1)
            break
    grids.flood(free, height, reached)
    whole = True
    for k in range(height):
        whole &= free[k] == reached[k]
    grids.add(free, y, x)
    return whole
