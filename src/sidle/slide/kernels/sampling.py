"""Which outputs a mini-batch looks at: labels, what the tables return, a uniform tail.

place_L maps an output to its place in the pool, -1 where it has none; it is all -1 between
batches. Preconditions: pool_M has room; indices in range; hits_L is all 0 before and after.
Letters: L = outputs, M = room of the pool, E = labels of all rows, Q = outputs hit by a query.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import random_below

_MOST_HITS = 65535  # of one output in one batch that are told apart


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
def add_most_hit(found_Q, n_found, hits_L, budget, place_L, pool_M, n):
    """Append up to ``budget`` outputs not in the pool, those hit most often first; return n.

    Among equals, those found first. Clears hits_L.
    """
    counts = np.zeros(_MOST_HITS + 1, np.int64)
    highest = 0
    for q in range(n_found):
        c = found_Q[q]
        if place_L[c] < 0:
            hits = np.int64(hits_L[c])
            counts[hits] += 1
            highest = max(highest, hits)
    # All outputs above the threshold fit; of those at the threshold, `rest` do.
    threshold, rest = highest, budget
    while threshold > 0 and counts[threshold] <= rest:
        rest -= counts[threshold]
        threshold -= 1
    for q in range(n_found):
        c = found_Q[q]
        hits = np.int64(hits_L[c])
        hits_L[c] = 0
        if place_L[c] >= 0:
            continue
        if hits > threshold or (hits == threshold and rest > 0):
            if hits == threshold:
                rest -= 1
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
