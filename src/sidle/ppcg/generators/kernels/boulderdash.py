"""Boulderdash's levels: a cave of earth with gems, boulders, enemies and an exit.

1. A field of w = floor(14 d + 2 u) + 10 by h = floor(d + 2 u) + 10 cells, rim included. Inside,
   a cell is solid with probability 0.5 (0.6 d + 0.2 + 0.2 u); then
   floor(10 (0.5 (1 - d) + 0.3 + 0.2 u) + 1) steps of the automaton `grids.smooth`. Caves with
   fewer than 48 cells that are not solid are drawn anew. Regions are joined to the largest by
   corridors with one corner. What is not solid is earth.
2. The avatar anywhere; the exit anywhere at least four steps from it, if there is such a place;
   10 + floor((0.7 (1 - d) + 0.1 + 0.2 u) 0.05 w h) gems.
3. floor(2 (0.7 + 0.3 u) d (10 + further gems)) times a cell that is not solid is tried for a
   boulder. It stays if the cell is earth, nothing but earth, wall or boulder is under it, and with
   all boulders as walls every gem and the exit can still be reached.
4. floor((0.7 + 0.3 u) d 0.05 w h) enemies of either kind, more than five steps from the avatar
   and two from the exit, each with a corridor of up to five empty cells. Nothing is dug away from
   under a boulder, so no boulder falls by itself.

Source: Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.generators.kernels import grids, streams

HEIGHT, WIDTH = 13, 26
_CELLS = HEIGHT * WIDTH
_FEWEST_CELLS = 48  # the gems of an easy level, avatar, exit, and as much again to dig in

WALL, EARTH, EMPTY, AVATAR, EXIT, GEM, BOULDER = np.frombuffer(b"w. Aexo", dtype=np.uint8)
ENEMIES = np.frombuffer(b"cb", dtype=np.uint8)
_0, _1 = np.uint64(0), np.uint64(1)


@numba.njit(cache=True, nogil=True)
def fill(difficulties_N, seeds_N, grids_NHW):
    """Write one level for each difficulty (float64, in [0, 1]) and seed (uint64).

    Preconditions: grids_NHW is uint8 of shape (N, 13, 26).
    """
    stream = np.empty(1, dtype=np.uint64)
    free = np.empty(HEIGHT, dtype=np.uint64)
    rows = np.empty((3, HEIGHT), dtype=np.uint64)
    cells = np.empty(_CELLS, dtype=np.int64)
    for n in range(difficulties_N.size):
        difficulty, grid = difficulties_N[n], grids_NHW[n]
        streams.start(stream, seeds_N[n])
        width = np.int64(14.0 * difficulty + 2.0 * streams.uniform(stream)) + 10
        height = np.int64(difficulty + 2.0 * streams.uniform(stream)) + 10
        top, left = (HEIGHT - height) // 2, (WIDTH - width) // 2
        _dig_cave(difficulty, stream, top, left, height, width, free, rows)
        _join_regions(stream, free, rows, cells)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                grid[y, x] = EARTH if grids.has(free, y, x) else WALL
        avatar, gate, n_gems = _place_gems(difficulty, stream, height * width, grid, free, cells)
        _place_boulders(difficulty, stream, n_gems, avatar, grid, free, rows, cells)
        _place_enemies(difficulty, stream, height * width, avatar, gate, grid, cells)


@numba.njit(cache=True, nogil=True)
def _dig_cave(difficulty, stream, top, left, height, width, free, rows):
    solid, following = rows[0], rows[1]
    inside = ((_1 << np.uint64(width - 2)) - _1) << np.uint64(left + 1)
    n_free = 0
    while n_free < _FEWEST_CELLS:
        share = 0.5 * (0.6 * difficulty + 0.2 + 0.2 * streams.uniform(stream))
        steps = 10.0 * (0.5 * (1.0 - difficulty) + 0.3 + 0.2 * streams.uniform(stream)) + 1.0
        for y in range(HEIGHT):
            solid[y] = ~_0
        for y in range(top + 1, top + height - 1):
            for x in range(left + 1, left + width - 1):
                if streams.uniform(stream) >= share:
                    grids.remove(solid, y, x)
        for _ in range(np.int64(steps)):
            grids.smooth(solid, HEIGHT, following)
            for y in range(HEIGHT):
                in_field = top < y < top + height - 1
                solid[y] = following[y] | ~inside if in_field else ~_0
        for y in range(HEIGHT):
            free[y] = ~solid[y]
        n_free = grids.size(free, HEIGHT)


@numba.njit(cache=True, nogil=True)
def _join_regions(stream, free, rows, cells):
    main, region, left_over = rows[0], rows[1], rows[2]
    # The largest region becomes the main one.
    largest = 0
    for y in range(HEIGHT):
        left_over[y] = free[y]
    while _take_region(free, left_over, region):
        n = grids.size(region, HEIGHT)
        if n > largest:
            largest = n
            for y in range(HEIGHT):
                main[y] = region[y]
    for y in range(HEIGHT):
        left_over[y] = free[y] & ~main[y]
    while _take_region(free, left_over, region):
        n = grids.list_cells(region, HEIGHT, WIDTH, cells)
        here = cells[streams.below(stream, n)]
        n = grids.list_cells(main, HEIGHT, WIDTH, cells)
        there = cells[streams.below(stream, n)]
        y, x = here // WIDTH, here % WIDTH
        there_y, there_x = there // WIDTH, there % WIDTH
        while x != there_x:
            x += 1 if there_x > x else -1
            grids.add(free, y, x)
        while y != there_y:
            y += 1 if there_y > y else -1
            grids.add(free, y, x)
        # The corridor may have joined other regions as well.
        grids.add(main, there_y, there_x)
        grids.flood(free, HEIGHT, main)
        for y in range(HEIGHT):
            left_over[y] = free[y] & ~main[y]


@numba.njit(cache=True, nogil=True)
def _take_region(free, left_over, region):
    """Move the region of the first cell of ``left_over`` to ``region``; False if none is left."""
    for y in range(HEIGHT):
        region[y] = _0
    for y in range(HEIGHT):
        if left_over[y] != _0:
            region[y] = left_over[y] & (~left_over[y] + _1)  # its lowest bit
            grids.flood(free, HEIGHT, region)
            for k in range(HEIGHT):
                left_over[k] &= ~region[k]
            return True
    return False


@numba.njit(cache=True, nogil=True)
def _steps(cell, other):
    return abs(cell // WIDTH - other // WIDTH) + abs(cell % WIDTH - other % WIDTH)


@numba.njit(cache=True, nogil=True)
def _place_gems(difficulty, stream, area, grid, free, cells):
    n = grids.list_cells(free, HEIGHT, WIDTH, cells)
    streams.shuffle(stream, cells, n, n)
    avatar = cells[0]
    grid[avatar // WIDTH, avatar % WIDTH] = AVATAR
    chosen = 1
    for i in range(1, n):
        if _steps(cells[i], avatar) >= 4:
            chosen = i
            break
        if _steps(cells[i], avatar) > _steps(cells[chosen], avatar):
            chosen = i
    gate = cells[chosen]
    grid[gate // WIDTH, gate % WIDTH] = EXIT
    cells[chosen] = cells[1]
    cells[1] = gate
    share = 0.7 * (1.0 - difficulty) + 0.1 + 0.2 * streams.uniform(stream)
    n_gems = min(10 + np.int64(share * 0.05 * area), n - 2)
    for i in range(2, 2 + n_gems):
        grid[cells[i] // WIDTH, cells[i] % WIDTH] = GEM
    return avatar, gate, n_gems


@numba.njit(cache=True, nogil=True)
def _place_boulders(difficulty, stream, n_gems, avatar, grid, free, rows, cells):
    wanted, reached = rows[0], rows[1]
    for y in range(HEIGHT):
        wanted[y] = _0
        for x in range(WIDTH):
            if grid[y, x] == GEM or grid[y, x] == EXIT:
                grids.add(wanted, y, x)
    n = grids.list_cells(free, HEIGHT, WIDTH, cells)
    n_tries = np.int64(2.0 * (0.7 + 0.3 * streams.uniform(stream)) * difficulty * n_gems)
    for _ in range(n_tries):
        cell = cells[streams.below(stream, n)]
        y, x = cell // WIDTH, cell % WIDTH
        under = grid[y + 1, x]
        if grid[y, x] != EARTH or under not in (EARTH, WALL, BOULDER):
            continue
        keeps = True
        splits = grids.may_split(free, y, x)
        grids.remove(free, y, x)
        if splits:
            for k in range(HEIGHT):
                reached[k] = _0
            grids.add(reached, avatar // WIDTH, avatar % WIDTH)
            grids.flood(free, HEIGHT, reached)
            for k in range(HEIGHT):
                keeps &= wanted[k] & ~reached[k] == _0
        if keeps:
            grid[y, x] = BOULDER
        else:
            grids.add(free, y, x)


@numba.njit(cache=True, nogil=True)
def _place_enemies(difficulty, stream, area, avatar, gate, grid, cells):
    n_enemies = np.int64((0.7 + 0.3 * streams.uniform(stream)) * difficulty * 0.05 * area)
    n = 0
    for c in range(WIDTH, _CELLS - WIDTH):
        if _can_dig(grid, c // WIDTH, c % WIDTH) and _steps(c, avatar) > 5 and _steps(c, gate) > 2:
            cells[n] = c
            n += 1
    streams.shuffle(stream, cells, n, n)
    n_placed = 0
    for i in range(n):
        if n_placed == n_enemies:
            break
        y, x = cells[i] // WIDTH, cells[i] % WIDTH
        if grid[y, x] != EARTH:
            continue  # in the corridor of another
        grid[y, x] = ENEMIES[streams.below(stream, ENEMIES.size)]
        n_placed += 1
        k = streams.below(stream, 4)
        for _ in range(2 + streams.below(stream, 4)):
            y, x = y + (-1, 0, 1, 0)[k], x + (0, 1, 0, -1)[k]
            if not _can_dig(grid, y, x):
                break
            grid[y, x] = EMPTY


@numba.njit(cache=True, nogil=True)
def _can_dig(grid, y, x):
    return grid[y, x] == EARTH and grid[y - 1, x] != BOULDER
