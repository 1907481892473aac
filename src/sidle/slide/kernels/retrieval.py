"""Nearest rows by dot product, and what words and nearest rows say about labels, from postings.

A posting list of feature f names what has f: rows, or labels, each with a weight. A row's entries
are given with the rarest feature first; lists are read until ``budget`` postings were, but at least
one list, so that the cost of a row is bounded and what is left out are the commonest words.

Per posting: 8 to 12 bytes read in order, and one addition to a random place of a vector of scores
that stays in a level-2 cache for up to some 100,000 places.

Preconditions: indices in range; scratch arrays hold zeros before (and after) a call.
Letters: N = rows asked about, E = their entries, F = features, P = postings, M = rows that postings
name, K = places of a ranking, L = labels, C = candidates of a row, Q = proposed labels of a row.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def _offer(values_K, items_K, n, value, item):
    """Put an item into the heap of the best (worst on top); return how many it holds."""
    if n < values_K.shape[0]:
        at = n
        n += 1
        while at > 0 and values_K[(at - 1) // 2] > value:
            values_K[at], items_K[at] = values_K[(at - 1) // 2], items_K[(at - 1) // 2]
            at = (at - 1) // 2
    elif value > values_K[0]:
        at = 0
        while True:
            child = 2 * at + 1
            if child >= n:
                break
            if child + 1 < n and values_K[child + 1] < values_K[child]:
                child += 1
            if values_K[child] >= value:
                break
            values_K[at], items_K[at] = values_K[child], items_K[child]
            at = child
    else:
        return n
    values_K[at], items_K[at] = value, item
    return n


@numba.njit(cache=True, nogil=True)
def nearest(
    indptr_N, indices_E, values_E, starts_F, rows_P, weights_P, budget, found_NK, products_NK,
    scores_M, seen_M, touched_M, start, stop,
):  # fmt: skip
    """Write the K rows of the largest positive products, in no order; -1 and 0 where fewer.

    Scratch: scores_M float32, seen_M bool, touched_M int32.
    """
    for n in range(start, stop):
        n_touched = read = 0
        for e in range(indptr_N[n], indptr_N[n + 1]):
            f, x = indices_E[e], values_E[e]
            read += starts_F[f + 1] - starts_F[f]
            if read > budget and e > indptr_N[n]:
                break
            for p in range(starts_F[f], starts_F[f + 1]):
                m = rows_P[p]
                if not seen_M[m]:
                    seen_M[m] = True
                    touched_M[n_touched] = m
                    n_touched += 1
                scores_M[m] += weights_P[p] * x
        kept = 0
        for t in range(n_touched):
            m = touched_M[t]
            if scores_M[m] > 0:
                kept = _offer(products_NK[n], found_NK[n], kept, scores_M[m], m)
            scores_M[m] = 0
            seen_M[m] = False
        found_NK[n, kept:] = -1
        products_NK[n, kept:] = 0


@numba.njit(cache=True, nogil=True)
def evidence(
    indptr_N, indices_E, values_E, starts_F, labels_P, profile_P, share_P, budget, near_NK,
    products_NK, label_starts, labels_of_rows, proposed_NQ, candidates_NC, evidence_NC5, sums_L5,
    seen_L, touched_L, heap_C, start, stop,
):  # fmt: skip
    """Write candidate labels of rows start to stop and five numbers for each; -1 where fewer.

    The numbers: cosine to the label's mean row; its share in the rows that have the word, averaged
    over words; votes of the nearest rows, weighted by product^2 and product^4; largest product.
    Proposed labels (-1 for none) are candidates whatever the evidence; they come last.
    Scratch: sums_L5 float32, seen_L uint8, touched_L int32, heap_C float32 (C - Q).
    """
    n_best = heap_C.shape[0]
    for n in range(start, stop):
        n_touched = read = 0
        for e in range(indptr_N[n], indptr_N[n + 1]):
            f, x = indices_E[e], values_E[e]
            read += starts_F[f + 1] - starts_F[f]
            if read > budget and e > indptr_N[n]:
                break
            for p in range(starts_F[f], starts_F[f + 1]):
                label = labels_P[p]
                if seen_L[label] == 0:
                    seen_L[label] = 1
                    touched_L[n_touched] = label
                    n_touched += 1
                sums_L5[label, 0] += profile_P[p] * x
                sums_L5[label, 1] += share_P[p] * x * x
        total2 = total4 = np.float32(1e-12)
        for k in range(near_NK.shape[1]):
            row = near_NK[n, k]
            if row < 0:
                break
            square = products_NK[n, k] * products_NK[n, k]
            total2 += square
            total4 += square * square
            for q in range(label_starts[row], label_starts[row + 1]):
                label = labels_of_rows[q]
                if seen_L[label] == 0:
                    seen_L[label] = 1
                    touched_L[n_touched] = label
                    n_touched += 1
                sums_L5[label, 2] += square
                sums_L5[label, 3] += square * square
                sums_L5[label, 4] = max(sums_L5[label, 4], products_NK[n, k])
        kept = 0
        for t in range(n_touched):
            label = touched_L[t]
            merit = (
                sums_L5[label, 0]
                + np.float32(0.5) * sums_L5[label, 1]
                + sums_L5[label, 3] / np.sqrt(total4)
            )
            kept = _offer(heap_C, candidates_NC[n], kept, merit, label)
        for c in range(kept):
            seen_L[candidates_NC[n, c]] = 2
        for q in range(proposed_NQ.shape[1]):
            label = proposed_NQ[n, q]
            if label < 0 or seen_L[label] == 2:
                continue
            if seen_L[label] == 0:
                touched_L[n_touched] = label
                n_touched += 1
            seen_L[label] = 2
            candidates_NC[n, kept] = label
            kept += 1
        for c in range(kept):
            label = candidates_NC[n, c]
            evidence_NC5[n, c, 0] = sums_L5[label, 0]
            evidence_NC5[n, c, 1] = sums_L5[label, 1]
            evidence_NC5[n, c, 2] = sums_L5[label, 2] / total2
            evidence_NC5[n, c, 3] = sums_L5[label, 3] / total4
            evidence_NC5[n, c, 4] = sums_L5[label, 4]
        candidates_NC[n, kept:] = -1
        evidence_NC5[n, kept:] = 0
        for t in range(n_touched):
            seen_L[touched_L[t]] = 0
            sums_L5[touched_L[t]] = 0
        heap_C[: min(n_best, n_touched)] = 0


@numba.njit(cache=True, nogil=True)
def dots(hidden_ND, weight_LD, bias_L, candidates_NC, scores_NC, start, stop):
    """Write the score of each candidate of rows start to stop; 0 for candidate -1."""
    for n in range(start, stop):
        for c in range(candidates_NC.shape[1]):
            label = candidates_NC[n, c]
            total = np.float32(0)
            if label >= 0:
                total = bias_L[label] + np.dot(hidden_ND[n], weight_LD[label])
            scores_NC[n, c] = total
