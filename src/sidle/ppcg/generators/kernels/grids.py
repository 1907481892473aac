"""Sets of cells as bits, one uint64 a row: who reaches whom, and counting neighbours.

``rows_H`` is a set: bit x of rows_H[y] is cell (y, x). Cells outside are never in it, so every
set used here keeps column 0, the last column, the first and the last row empty or, where it is
a set of walls, full. Neighbours are the four cells with a common side.
"""

from __future__ import annotations

import numba
import numpy as np

_0, _1, _2, _4, _8, _16, _32 = (np.uint64(n) for n in (0, 1, 2, 4, 8, 16, 32))


def _splits() -> np.ndarray:
    """Tell, for each set of free cells around a cell, whether blocking the cell may cut them.

    Bit k of the index is neighbour k of N, NE, E, SE, S, SW, W, NW. Where the free ones of
    N, E, S, W hang together around the ring, whoever passed through the cell can walk around it.
    """
    table = np.zeros(256, dtype=np.bool_)
    for free in range(256):
        pieces = 0
        for k in range(0, 8, 2):
            # A piece begins at a free side cell that cannot step back to the one before it.
            corner, before = (k - 1) % 8, (k - 2) % 8
            if free >> k & 1 and not (free >> corner & 1 and free >> before & 1):
                pieces += 1
        table[free] = pieces > 1
    return table


SPLITS = _splits()


@numba.njit(cache=True, nogil=True)
def has(rows_H, y, x):
    """Return whether cell (y, x) is in the set."""
    return (rows_H[y] >> np.uint64(x)) & _1 != _0


@numba.njit(cache=True, nogil=True)
def add(rows_H, y, x):
    """Put cell (y, x) into the set."""
    rows_H[y] |= _1 << np.uint64(x)


@numba.njit(cache=True, nogil=True)
def remove(rows_H, y, x):
    """Take cell (y, x) out of the set."""
    rows_H[y] &= ~(_1 << np.uint64(x))


@numba.njit(cache=True, nogil=True)
def size(rows_H, n_rows):
    """Return how many cells the set has."""
    count = 0
    for y in range(n_rows):
        bits = rows_H[y]
        while bits != _0:
            bits &= bits - _1
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def list_cells(rows_H, n_rows, width, cells_N):
    """Write the cells of the set into ``cells_N`` as y * width + x, in order; return how many."""
    n = 0
    for y in range(n_rows):
        for x in range(width):
            if has(rows_H, y, x):
                cells_N[n] = y * width + x
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def _along(bits, free):
    """Return all of ``free`` that hangs together with ``bits`` in this row (Kogge-Stone)."""
    left, right, through_left, through_right = bits, bits, free, free
    left |= through_left & (left << _1)
    right |= through_right & (right >> _1)
    for step in (_1, _2, _4, _8, _16):
        through_left &= through_left << step
        through_right &= through_right >> step
        double = step + step
        left |= through_left & (left << double)
        right |= through_right & (right >> double)
    return left | right


@numba.njit(cache=True, nogil=True)
def flood(free_H, n_rows, reached_H):
    """Grow ``reached_H`` to all cells of ``free_H`` that it can walk to.

    Preconditions: reached_H is part of free_H; at least one row.
    """
    changed = True
    while changed:
        changed = False
        above = _0
        for y in range(n_rows):
            grown = _along(reached_H[y] | (above & free_H[y]), free_H[y])
            changed |= grown != reached_H[y]
            reached_H[y] = grown
            above = grown
        if not changed:
            break
        changed = False
        under = _0
        for i in range(n_rows):
            y = n_rows - 1 - i
            grown = _along(reached_H[y] | (under & free_H[y]), free_H[y])
            changed |= grown != reached_H[y]
            reached_H[y] = grown
            under = grown


@numba.njit(cache=True, nogil=True)
def may_split(free_H, y, x):
    """Return False only if blocking cell (y, x) cannot cut any other two free cells apart.

    Precondition: the cell is not on the rim.
    """
    shift = np.uint64(x - 1)
    above = (free_H[y - 1] >> shift) & np.uint64(7)
    here = (free_H[y] >> shift) & np.uint64(7)
    under = (free_H[y + 1] >> shift) & np.uint64(7)
    ring = (above >> _1) & _1
    ring |= ((above >> _2) & _1) << _1
    ring |= ((here >> _2) & _1) << _2
    ring |= ((under >> _2) & _1) << np.uint64(3)
    ring |= ((under >> _1) & _1) << _4
    ring |= (under & _1) << np.uint64(5)
    ring |= (here & _1) << np.uint64(6)
    ring |= (above & _1) << np.uint64(7)
    return SPLITS[np.int64(ring)]


@numba.njit(cache=True, nogil=True)
def _add_three(a, b, c):
    odd = a ^ b
    return odd ^ c, (a & b) | (odd & c)


@numba.njit(cache=True, nogil=True)
def smooth(solid_H, n_rows, next_H):
    """Take one step of the cave automaton, for all cells but the first and last row.

    A cell turns solid with more than five solid cells among its eight neighbours, empty with more
    than four empty ones, and else stays. All columns of a row are counted at once: the eight
    neighbours are added as binary numbers whose digits lie in separate words.
    """
    next_H[0] = solid_H[0]
    next_H[n_rows - 1] = solid_H[n_rows - 1]
    for y in range(1, n_rows - 1):
        above, here, under = solid_H[y - 1], solid_H[y], solid_H[y + 1]
        one_a, two_a = _add_three(above << _1, above, above >> _1)
        one_b, two_b = _add_three(under << _1, under, under >> _1)
        west, east = here << _1, here >> _1
        one_c, two_c = west ^ east, west & east
        _, two_d = _add_three(one_a, one_b, one_c)
        two, four_a = _add_three(two_a, two_b, two_c)
        four_b = two & two_d
        two ^= two_d
        four, eight = four_a ^ four_b, four_a & four_b
        many = eight | (four & two)
        few = ~(eight | four)
        next_H[y] = many | (here & ~few)


@numba.njit(cache=True, nogil=True)
def distances(grid_C, width, wall, blocked, start, distance_C, queue_C):
    """Write the steps from cell ``start`` to every cell into ``distance_C``, -1 where none lead.

    Cells are numbered row by row. Cells holding ``wall`` and the cell ``blocked`` (-1: none)
    cannot be entered. Returns how many cells were reached; they are the first of ``queue_C``, in
    order of distance. Preconditions: the rim is wall; the arrays have one element a cell.
    """
    distance_C[:] = -1
    distance_C[start] = 0
    queue_C[0] = start
    head, tail = 0, 1
    while head < tail:
        cell = queue_C[head]
        head += 1
        for step in (-width, 1, width, -1):
            near = cell + step
            if distance_C[near] < 0 and grid_C[near] != wall and near != blocked:
                distance_C[near] = distance_C[cell] + 1
                queue_C[tail] = near
                tail += 1
    return tail
