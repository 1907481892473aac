"""Flat hash tables: building by counting sort, moving single items, querying.

T tables of B buckets lie in one array. Bucket b of table t has room for the places
starts_TB[t, b] to starts_TB[t, b + 1] of items_S; the first filled_TB[t, b] of them are taken.
seen_TB[t, b] counts the items whose code it is, also those that found no room. codes_TN[t, i] is
the bucket of item i.

Full buckets: "fifo" keeps the items that came last, in order of coming; a reservoir keeps each item
that came with the same probability (Vitter 1985, algorithm R). After items have left, a reservoir
is only nearly uniform, for what found no room before does not come back until the next build.

Counting hits takes, per query and table, one random read of a bucket (filled * 4 bytes in a row)
and, per item there, one read and write of a byte-sized counter that lies in a second-level cache.

Preconditions: C-contiguous; codes below B; hits_L all 0 before (and after, where said).
Letters: T = tables, B = buckets, S = places, N = items, Q = queries, C = room for candidates.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import prefetch, random_below, random_bits

_AHEAD = 3
_ITEMS_OF_A_LINE = 16
_MOST_HITS = 65535  # told apart


@numba.njit(cache=True, nogil=True)
def count(codes_TN, counts_TB, start, stop):
    """Count the items of every bucket of tables start to stop."""
    for t in range(start, stop):
        counts_TB[t, :] = 0
        for i in range(codes_TN.shape[1]):
            counts_TB[t, codes_TN[t, i]] += 1


@numba.njit(cache=True, nogil=True)
def lay_out(counts_TB, bucket_size, starts_TB):
    """Give each bucket room for its items and half as many more, bucket_size at most."""
    place = 0
    for t in range(counts_TB.shape[0]):
        for b in range(counts_TB.shape[1]):
            starts_TB[t, b] = place
            n = np.int64(counts_TB[t, b])
            place += min(bucket_size, n + n // 2 + 2)
        starts_TB[t, -1] = place
    return place


@numba.njit(cache=True, nogil=True)
def fill(codes_TN, counts_TB, starts_TB, fifo, seed, items_S, filled_TB, seen_TB, start, stop):
    """Put every item into its buckets of tables start to stop, in order of items."""
    for t in range(start, stop):
        seen_TB[t, :] = 0
        for i in range(codes_TN.shape[1]):
            b = np.int64(codes_TN[t, i])
            first, rank = starts_TB[t, b], np.int64(seen_TB[t, b])
            room = starts_TB[t, b + 1] - first
            seen_TB[t, b] = rank + 1
            if fifo:
                place = rank - max(np.int64(counts_TB[t, b]) - room, 0)
            elif rank < room:
                place = rank
            else:
                place = random_below(seed, np.uint64(t) << np.uint64(40) | np.uint64(i), rank + 1)
            if 0 <= place < room:
                items_S[first + place] = i
        for b in range(counts_TB.shape[1]):
            room = starts_TB[t, b + 1] - starts_TB[t, b]
            filled_TB[t, b] = min(np.int64(counts_TB[t, b]), room)


@numba.njit(inline="always")
def _leave(item, first, filled, items_S):
    """Remove an item from a bucket, if it is there; return what is filled then."""
    for place in range(first, first + filled):
        if items_S[place] == item:
            for later in range(place, first + filled - 1):
                items_S[later] = items_S[later + 1]
            return filled - 1
    return filled


@numba.njit(cache=True, nogil=True)
def move(
    items_M, new_MT, codes_TN, starts_TB, fifo, seed, items_S, filled_TB, seen_TB, start, stop
):  # fmt: skip
    """Give items_M their new codes in tables start to stop; return how many codes changed."""
    changed = 0
    for t in range(start, stop):
        for k in range(items_M.shape[0]):
            i = items_M[k]
            old, new = np.int64(codes_TN[t, i]), np.int64(new_MT[k, t])
            if old == new:
                continue
            changed += 1
            filled_TB[t, old] = _leave(i, starts_TB[t, old], filled_TB[t, old], items_S)
            seen_TB[t, old] -= 1
            codes_TN[t, i] = new
            first, n = starts_TB[t, new], np.int64(filled_TB[t, new])
            room = starts_TB[t, new + 1] - first
            seen = np.int64(seen_TB[t, new]) + 1
            seen_TB[t, new] = seen
            if n < room:
                items_S[first + n] = i
                filled_TB[t, new] = n + 1
            elif fifo:
                for place in range(first, first + room - 1):
                    items_S[place] = items_S[place + 1]
                items_S[first + room - 1] = i
            else:
                mixed = random_bits(seed, np.uint64(t) << np.uint64(40) | np.uint64(i))
                place = random_below(mixed, np.uint64(seen), seen)
                if place < room:
                    items_S[first + place] = i
    return changed


@numba.njit(inline="always")
def _count_hits(codes_T, starts_TB, filled_TB, items_S, hits_L, found_L, n_found):
    """Count the items in a query's buckets; append those not hit before to found_L."""
    n_tables = codes_T.shape[0]
    for t in range(-_AHEAD, n_tables):
        # First where a bucket lies and how full it is, then the bucket, then its items' counters.
        if t + 2 * _AHEAD < n_tables:
            later = t + 2 * _AHEAD
            prefetch(starts_TB, later * starts_TB.shape[1] + np.int64(codes_T[later]))
            prefetch(filled_TB, later * filled_TB.shape[1] + np.int64(codes_T[later]))
        if t + _AHEAD < n_tables:
            first = starts_TB[t + _AHEAD, codes_T[t + _AHEAD]]
            prefetch(items_S, first)
            prefetch(items_S, first + _ITEMS_OF_A_LINE)
        if t < 0:
            continue
        b = np.int64(codes_T[t])
        first = starts_TB[t, b]
        for place in range(first, first + np.int64(filled_TB[t, b])):
            c = items_S[place]
            hits = hits_L[c]
            if hits == 0:
                found_L[n_found] = c
                n_found += 1
            if hits < _MOST_HITS:
                hits_L[c] = hits + 1
    return n_found


@numba.njit(cache=True, nogil=True)
def query_each(
    codes_QT, starts_TB, filled_TB, items_S, out_QC, n_out_Q, hits_L, found_L, start, stop
):  # fmt: skip
    """Write for queries start to stop the C items hit most often, ties as found; clear hits_L."""
    room = out_QC.shape[1]
    n_tables = codes_QT.shape[1]
    counts = np.empty(n_tables + 2, np.int64)
    for q in range(start, stop):
        n_found = _count_hits(codes_QT[q], starts_TB, filled_TB, items_S, hits_L, found_L, 0)
        counts[:] = 0
        for k in range(n_found):
            counts[hits_L[found_L[k]]] += 1
        # Items hit more often than h come before those hit h times.
        before = np.int64(0)
        for h in range(n_tables, 0, -1):
            n = counts[h]
            counts[h] = before
            before += n
        for k in range(n_found):
            c = found_L[k]
            h = np.int64(hits_L[c])
            hits_L[c] = 0
            if counts[h] < room:
                out_QC[q, counts[h]] = c
            counts[h] += 1
        n_out_Q[q] = min(n_found, room)
