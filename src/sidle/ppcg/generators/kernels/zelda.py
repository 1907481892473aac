"""Zelda's levels: a maze with walls taken out, an exit, a key and monsters.

1. A random spanning tree (depth first) over 6 x 4 rooms, which lie on odd coordinates.
2. Walls between two open cells on opposite sides are listed once; a random
   floor(96 (0.3 (1 - d) + 0.1 u + 0.1)) of them are taken out, all if there are fewer.
3. The avatar anywhere. Then the exit, then the key: each on the free cell with the highest
   preference * distance + u, where distance is the number of steps from the avatar as a share of
   the longest, for the key averaged with that from the exit; preference 0.7 d + 0.3 u + 1.
   The exit is closed to an avatar without key, so the key lies where it is reached without it.
4. floor((0.4 d + 0.2 u) 0.05 * 117) monsters, farthest from the avatar first.

u is a fresh uniform number at each place. Source: Justesen et al. 2018, arXiv:1806.10729.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.generators.kernels import grids, streams

HEIGHT, WIDTH = 9, 13
_CELLS = HEIGHT * WIDTH
_ROOMS_Y, _ROOMS_X = 4, 6
_STEPS = (-WIDTH, 1, WIDTH, -1)

WALL, EMPTY, AVATAR, EXIT, KEY = np.frombuffer(b"w Ag+", dtype=np.uint8)
MONSTERS = np.frombuffer(b"123", dtype=np.uint8)


@numba.njit(cache=True, nogil=True)
def fill(difficulties_N, seeds_N, grids_NHW):
    """Write one level for each difficulty (float64, in [0, 1]) and seed (uint64).

    Preconditions: grids_NHW is uint8 of shape (N, 9, 13).
    """
    stream = np.empty(1, dtype=np.uint64)
    cells = np.empty(_CELLS, dtype=np.int64)
    from_avatar = np.empty(_CELLS, dtype=np.int64)
    from_exit = np.empty(_CELLS, dtype=np.int64)
    scores = np.empty(_CELLS, dtype=np.float64)
    for n in range(difficulties_N.size):
        streams.start(stream, seeds_N[n])
        grid = grids_NHW[n].reshape(_CELLS)
        _carve_maze(stream, grid, cells)
        _remove_walls(difficulties_N[n], stream, grid, cells)
        avatar = _place_avatar(stream, grid, cells)
        _place_exit_and_key(
            difficulties_N[n], stream, grid, avatar, cells, from_avatar, from_exit, scores
        )
        _place_monsters(difficulties_N[n], stream, grid, avatar, cells, from_avatar, scores)


@numba.njit(cache=True, nogil=True)
def _carve_maze(stream, grid, stack):
    grid[:] = WALL
    room = streams.below(stream, _ROOMS_Y * _ROOMS_X)
    cell = (2 * (room // _ROOMS_X) + 1) * WIDTH + 2 * (room % _ROOMS_X) + 1
    grid[cell] = EMPTY
    stack[0] = cell
    depth = 1
    while depth > 0:
        cell = stack[depth - 1]
        y, x = cell // WIDTH, cell % WIDTH
        # The ways out, two bits each, packed into one number.
        ways, n_ways = 0, 0
        for k in range(4):
            inside = (y > 1, x < WIDTH - 2, y < HEIGHT - 2, x > 1)[k]
            if inside and grid[cell + 2 * _STEPS[k]] == WALL:
                ways |= k << (2 * n_ways)
                n_ways += 1
        if n_ways == 0:
            depth -= 1
            continue
        step = _STEPS[(ways >> (2 * streams.below(stream, n_ways))) & 3]
        grid[cell + step] = EMPTY
        grid[cell + 2 * step] = EMPTY
        stack[depth] = cell + 2 * step
        depth += 1


@numba.njit(cache=True, nogil=True)
def _remove_walls(difficulty, stream, grid, walls):
    n_walls = 0
    for y in range(1, HEIGHT - 1):
        for c in range(y * WIDTH + 1, (y + 1) * WIDTH - 1):
            if grid[c] == WALL and (
                (grid[c - 1] == EMPTY and grid[c + 1] == EMPTY)
                or (grid[c - WIDTH] == EMPTY and grid[c + WIDTH] == EMPTY)
            ):
                walls[n_walls] = c
                n_walls += 1
    share = 0.3 * (1.0 - difficulty) + 0.1 * streams.uniform(stream) + 0.1
    n_removed = min(np.int64(96 * share), n_walls)
    streams.shuffle(stream, walls, n_walls, n_removed)
    for i in range(n_removed):
        grid[walls[i]] = EMPTY


@numba.njit(cache=True, nogil=True)
def _place_avatar(stream, grid, cells):
    n_free = 0
    for c in range(_CELLS):
        if grid[c] == EMPTY:
            cells[n_free] = c
            n_free += 1
    avatar = cells[streams.below(stream, n_free)]
    grid[avatar] = AVATAR
    return avatar


@numba.njit(cache=True, nogil=True)
def _place_exit_and_key(difficulty, stream, grid, avatar, queue, from_avatar, from_exit, scores):
    n_free = grids.distances(grid, WIDTH, WALL, -1, avatar, from_avatar, queue)
    farthest = from_avatar[queue[n_free - 1]]
    preference = 0.7 * difficulty + 0.3 * streams.uniform(stream) + 1.0
    for c in range(_CELLS):
        scores[c] = -1.0
        if from_avatar[c] > 0:
            scores[c] = preference * from_avatar[c] / farthest + streams.uniform(stream)
    gate = -1
    n_reached = 0
    while n_reached < 2:  # the avatar's own cell and one for the key
        if gate >= 0:
            scores[gate] = -1.0
        gate = np.argmax(scores)
        n_reached = grids.distances(grid, WIDTH, WALL, gate, avatar, from_avatar, queue)
    farthest = from_avatar[queue[n_reached - 1]]
    n_free = grids.distances(grid, WIDTH, WALL, -1, gate, from_exit, queue)
    farthest_from_exit = from_exit[queue[n_free - 1]]
    preference = 0.7 * difficulty + 0.3 * streams.uniform(stream) + 1.0
    for c in range(_CELLS):
        scores[c] = -1.0
        if from_avatar[c] > 0:
            distance = from_avatar[c] / farthest + from_exit[c] / farthest_from_exit
            scores[c] = preference * 0.5 * distance + streams.uniform(stream)
    grid[gate] = EXIT
    grid[np.argmax(scores)] = KEY


@numba.njit(cache=True, nogil=True)
def _place_monsters(difficulty, stream, grid, avatar, queue, from_avatar, scores):
    share = 0.4 * difficulty + 0.2 * streams.uniform(stream)
    n_monsters = np.int64(share * 0.05 * _CELLS)
    if n_monsters == 0:
        return
    grids.distances(grid, WIDTH, WALL, -1, avatar, from_avatar, queue)
    for c in range(_CELLS):
        scores[c] = -1.0
        if grid[c] == EMPTY:
            # A number below 1 decides among cells at the same distance.
            scores[c] = from_avatar[c] + streams.uniform(stream)
    for _ in range(n_monsters):
        cell = np.argmax(scores)
        scores[cell] = -1.0
        grid[cell] = MONSTERS[streams.below(stream, MONSTERS.size)]
