"""Which outputs a mini-batch looks at: labels, what the tables return, a uniform tail.

place_L maps an output to its place in the pool, -1 where it has none; it is all -1 between
batches. Preconditions: pool_M has room; indices in range.
Letters: L = outputs, M = room of the pool, E = labels of all rows, Q = queries, C = found by one.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import random_below


@numba.njit(cache=True, nogil=True)
def add_labels(labels_E, place_L, pool_M, label_place_E):
    """Put the distinct labels at the front of the pool; return how many there are."""
    n = 0
    for e in range(labels_E.shape[0]):
        c = labels_E[e]
        if place_L[c] < 0:
            place_L[c] = n
            pool_M[n] = c
            n += 1
        label_place_E[e] = place_L[c]
    return n


@numba.njit(cache=True, nogil=True)
def add_found(found_QC, n_found_Q, budget, place_L, pool_M, n):
    """Append up to ``budget`` outputs not in the pool: the first of every query, then the second
    of every query, and so on; return n."""
    end = n + budget
    for rank in range(found_QC.shape[1]):
        for q in range(found_QC.shape[0]):
            if n == end:
                return n
            if rank >= n_found_Q[q]:
                continue
            c = found_QC[q, rank]
            if place_L[c] < 0:
                place_L[c] = n
                pool_M[n] = c
                n += 1
    return n


@numba.njit(cache=True, nogil=True)
def add_uniform(seed, n_tail, place_L, pool_M, n):
    """Append n_tail different outputs drawn uniformly from those not in the pool; return n.

    Precondition: at least twice as many outputs as n_tail lie outside the pool, so that a draw is
    refused with probability at most (L - outside + n_tail) / L. ``seed``: uint64.
    """
    n_outputs = place_L.shape[0]
    draw = np.uint64(0)
    end = n + n_tail
    while n < end:
        c = random_below(seed, draw, n_outputs)
        draw += np.uint64(1)
        if place_L[c] < 0:
            place_L[c] = n
            pool_M[n] = c
            n += 1
    return n


@numba.njit(cache=True, nogil=True)
def add_rest(place_L, pool_M, n):
    """Append every output that is not in the pool; return n = L."""
    for c in range(place_L.shape[0]):
        if place_L[c] < 0:
            place_L[c] = n
            pool_M[n] = c
            n += 1
    return n


@numba.njit(cache=True, nogil=True)
def forget(pool_M, n, place_L):
    """Make place_L all -1 again."""
    for i in range(n):
        place_L[pool_M[i]] = -1
