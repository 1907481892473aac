"""Frogs' levels: rows of street, water and grass between the start and the goal.

1. The field is floor(17 d + 3 u) + 6 wide and h = floor(2 d + 3 u) + 4 high, with a wall around.
   Top row: the goal among walls. Bottom row: grass with the avatar.
2. Between them, from the bottom up, runs of rows: street with weight (1 + 0.5 u) d, water
   (2 + u) d, grass 1 - d, the u drawn once a level. A run has 1 to
   floor((0.3 + 0.5 d + 0.2 u) 0.8 h) rows; a run of street or water of two or more rows ends in a
   row of grass.
3. A street has one direction and speed, and clumps of 1 to 4 trucks with 2 to 6 free cells
   between. Water has clumps of 1 to 3 logs with 3 to 7 free cells between, and at the right edge
   a spawner of more logs.

Gaps and clumps of logs are ours, fitted to the published mean counts; the rest is from
Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.generators.kernels import streams

HEIGHT, WIDTH = 10, 27

WALL, GRASS, STREET, WATER, LOG, SPAWNER, GOAL, AVATAR = np.frombuffer(b"w -~=sgA", dtype=np.uint8)
TRUCKS = np.frombuffer(b"lLrR", dtype=np.uint8)  # left slow, left quick, right slow, right quick
_STREET, _WATER, _GRASS = 0, 1, 2


@numba.njit(cache=True, nogil=True)
def fill(difficulties_N, seeds_N, grids_NHW):
    """Write one level for each difficulty (float64, in [0, 1]) and seed (uint64).

    Preconditions: grids_NHW is uint8 of shape (N, 10, 27).
    """
    stream = np.empty(1, dtype=np.uint64)
    for n in range(difficulties_N.size):
        streams.start(stream, seeds_N[n])
        _draw_level(difficulties_N[n], stream, grids_NHW[n])


@numba.njit(cache=True, nogil=True)
def _draw_level(difficulty, stream, grid):
    for y in range(HEIGHT):
        for x in range(WIDTH):
            grid[y, x] = WALL
    width = np.int64(17.0 * difficulty + 3.0 * streams.uniform(stream)) + 6
    height = np.int64(2.0 * difficulty + 3.0 * streams.uniform(stream)) + 4
    top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
    longest = np.int64((0.3 + 0.5 * difficulty + 0.2 * streams.uniform(stream)) * 0.8 * height)
    street = (1.0 + 0.5 * streams.uniform(stream)) * difficulty
    water = (2.0 + streams.uniform(stream)) * difficulty
    grass = 1.0 - difficulty

    grid[top, left + streams.below(stream, width)] = GOAL
    y = top + height - 1
    for x in range(left, left + width):
        grid[y, x] = GRASS
    grid[y, left + streams.below(stream, width)] = AVATAR
    y -= 1
    while y > top:
        n_rows = 1 + streams.below(stream, max(1, min(longest, y - top)))
        choice = streams.uniform(stream) * (street + water + grass)
        kind = _STREET if choice < street else (_WATER if choice < street + water else _GRASS)
        for i in range(n_rows):
            if kind == _GRASS or (n_rows > 1 and i == n_rows - 1):
                for x in range(left, left + width):
                    grid[y, x] = GRASS
            elif kind == _STREET:
                _draw_street(stream, grid[y, left : left + width])
            else:
                _draw_water(stream, grid[y, left : left + width])
            y -= 1


@numba.njit(cache=True, nogil=True)
def _draw_street(stream, row):
    truck = TRUCKS[streams.below(stream, TRUCKS.size)]
    row[:] = STREET
    x = streams.below(stream, 5)
    while x < row.size:
        for _ in range(1 + streams.below(stream, 4)):
            if x < row.size:
                row[x] = truck
            x += 1
        x += 2 + streams.below(stream, 5)


@numba.njit(cache=True, nogil=True)
def _draw_water(stream, row):
    row[:] = WATER
    x = streams.below(stream, 6)
    while x < row.size:
        for _ in range(1 + streams.below(stream, 3)):
            if x < row.size:
                row[x] = LOG
            x += 1
        x += 3 + streams.below(stream, 5)
    row[row.size - 1] = SPAWNER
