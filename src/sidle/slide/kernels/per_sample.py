"""Each sample its own active set: drawing it, then scores, loss and gradients over it alone.

The set of sample n lies at indptr_N[n] to indptr_N[n + 1] of a flat array: its labels, then what
the tables returned, then a uniform tail without repetition, whose outputs stand for e^a each,
a = log(left / drawn). Loss and gradient are those of `softmax`, over the set:

    s_c = w_c h_n + b_c,   g_c = dloss / ds_c / N,   dloss / dh_n = sum_c g_c w_c

Per output of a set and feature: 4 flops; 4 bytes from memory (the row of w; when the gradient is
summed it lies in a second-level cache).
Preconditions: C-contiguous; sets within range and without repetition; marks_L all 0 before.
Letters: N = samples, A = outputs of all sets, L = outputs, D = features, E = labels of all rows,
C = room for what the tables found.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import (
    NUMBER,
    exponential,
    logarithm_of_one_plus,
    prefetch_row,
    random_below,
    random_bits,
)
from sidle.slide.kernels.softmax import TINY

_AHEAD = 6


@numba.njit(inline="always")
def _take_in_order(seed, n_tail, left, marks_L, sets_A, place):
    """Algorithm S of Knuth (1997, section 3.4.2): a uniform sample in one pass over the outputs."""
    draw = np.uint64(0)
    for c in range(marks_L.shape[0]):
        if n_tail == 0:
            break
        if marks_L[c]:
            continue
        if random_below(seed, draw, left) < n_tail:
            sets_A[place] = c
            place += 1
            n_tail -= 1
        draw += np.uint64(1)
        left -= 1


@numba.njit(cache=True, nogil=True)
def draw(
    label_indptr_N, labels_E, found_NC, n_found_N, most_found, indptr_N, seed, sets_A,
    n_hashed_N, log_weight_N, marks_L, start, stop,
):  # fmt: skip
    """Fill the sets of samples start to stop; clear marks_L. The size of each set is given."""
    n_outputs = marks_L.shape[0]
    for n in range(start, stop):
        first, end = indptr_N[n], indptr_N[n + 1]
        place = first
        for e in range(label_indptr_N[n], label_indptr_N[n + 1]):
            sets_A[place] = labels_E[e]
            marks_L[labels_E[e]] = 1
            place += 1
        most = min(place + most_found, end)
        before = place
        for k in range(n_found_N[n]):
            if place == most:
                break
            c = found_NC[n, k]
            if marks_L[c] == 0:
                marks_L[c] = 1
                sets_A[place] = c
                place += 1
        n_hashed_N[n] = place - before
        left, n_tail = n_outputs - (place - first), end - place
        log_weight_N[n] = math.log(left / n_tail) if n_tail else 0.0
        own = random_bits(seed, np.uint64(n))
        marked = place
        if 2 * n_tail > left:
            _take_in_order(own, n_tail, left, marks_L, sets_A, place)
        else:
            attempt = np.uint64(0)
            while place < end:
                c = random_below(own, attempt, n_outputs)
                attempt += np.uint64(1)
                if marks_L[c] == 0:
                    marks_L[c] = 1
                    sets_A[place] = c
                    place += 1
            marked = end
        for k in range(first, marked):
            marks_L[sets_A[k]] = 0


@numba.njit(fastmath=NUMBER)
def dot(w_D, h_D):
    """The product of two float32 vectors."""
    total = np.float32(0.0)
    for d in range(w_D.shape[0]):
        total += w_D[d] * h_D[d]
    return total


@numba.njit(fastmath=NUMBER)
def _add_scaled(out_D, row_D, x):
    for d in range(out_D.shape[0]):
        out_D[d] += x * row_D[d]


@numba.njit(nogil=True)
def _score(h_D, w, bias_L, set_C, scores_C):
    for k in range(set_C.shape[0]):
        if k + _AHEAD < set_C.shape[0]:
            prefetch_row(w, set_C[k + _AHEAD])
        c = set_C[k]
        scores_C[k] = dot(w[c], h_D) + bias_L[c]


@numba.njit(fastmath=NUMBER)
def _exponentials(row_C, top):
    total = np.float32(0.0)
    for k in range(row_C.shape[0]):
        e = exponential(row_C[k] - top)
        row_C[k] = e
        total += e
    return total


@numba.njit(cache=True, nogil=True)
def softmax(
    h_ND, w, bias_L, indptr_N, sets_A, n_labels_N, n_hashed_N, log_weight_N, scale,
    g_A, grad_ND, loss_N, start, stop,
):  # fmt: skip
    """Write g_A, the gradient of the hidden rows and the losses for samples start to stop."""
    for n in range(start, stop):
        first, last = indptr_N[n], indptr_N[n + 1]
        set_C, g_C, h_D, grad_D = sets_A[first:last], g_A[first:last], h_ND[n], grad_ND[n]
        _score(h_D, w, bias_L, set_C, g_C)
        n_labels = n_labels_N[n]
        share = 1.0 / n_labels
        target = 0.0
        for k in range(n_labels):
            target += share * g_C[k]
        weight = np.float32(log_weight_N[n])
        top = g_C[0]
        bad = False
        for k in range(g_C.shape[0]):
            if k >= n_labels + n_hashed_N[n]:
                g_C[k] += weight
            bad = bad or not math.isfinite(g_C[k])
            top = max(top, g_C[k])
        total = np.float64(_exponentials(g_C, top))
        loss_N[n] = math.nan if bad else top + math.log(total) - target
        factor = np.float32(scale / total)
        least = TINY / factor
        grad_D[:] = 0
        for k in range(g_C.shape[0]):
            g = (g_C[k] if g_C[k] >= least else np.float32(0.0)) * factor
            if k < n_labels:
                g -= np.float32(share * scale)
            g_C[k] = g
            _add_scaled(grad_D, w[set_C[k]], g)


@numba.njit(cache=True, nogil=True)
def one_versus_all(
    h_ND, w, bias_L, indptr_N, sets_A, n_labels_N, n_hashed_N, log_weight_N, scale,
    g_A, grad_ND, loss_N, start, stop,
):  # fmt: skip
    """As `softmax`, for independent logistic outputs."""
    one, zero = np.float32(1.0), np.float32(0.0)
    for n in range(start, stop):
        first, last = indptr_N[n], indptr_N[n + 1]
        set_C, g_C, h_D, grad_D = sets_A[first:last], g_A[first:last], h_ND[n], grad_ND[n]
        _score(h_D, w, bias_L, set_C, g_C)
        n_labels = n_labels_N[n]
        tail = np.float32(math.exp(log_weight_N[n]))
        loss = 0.0
        grad_D[:] = 0
        for k in range(g_C.shape[0]):
            x = g_C[k]
            weight = tail if k >= n_labels + n_hashed_N[n] else one
            e = exponential(-abs(x))
            loss += weight * ((x if x > zero else zero) + logarithm_of_one_plus(e))
            g = weight * (one if x >= zero else e) / (one + e)
            if k < n_labels:
                g -= one
                loss -= x
            if not math.isfinite(x):
                loss = math.nan
            g_C[k] = g * np.float32(scale)
            _add_scaled(grad_D, w[set_C[k]], g_C[k])
        loss_N[n] = loss


@numba.njit(cache=True, nogil=True, fastmath=NUMBER)
def sum_groups(starts_U, values_A, sum_U):
    """Write the sum of every group."""
    for u in range(sum_U.shape[0]):
        total = np.float32(0.0)
        for k in range(starts_U[u], starts_U[u + 1]):
            total += values_A[k]
        sum_U[u] = total


@numba.njit(cache=True, nogil=True)
def best(h_ND, w, bias_L, found_NC, n_found_N, values_NK, outputs_NK, start, stop):
    """Write the K found outputs of highest score, best first; each row has found K at least."""
    room = values_NK.shape[1]
    scores_C = np.empty(found_NC.shape[1], np.float32)
    for n in range(start, stop):
        size = n_found_N[n]
        _score(h_ND[n], w, bias_L, found_NC[n, :size], scores_C)
        kept = 0
        for k in range(size):
            s = scores_C[k]
            if kept == room and not s > values_NK[n, room - 1]:
                continue
            place = kept if kept < room else room - 1
            kept = min(kept + 1, room)
            while place > 0 and values_NK[n, place - 1] < s:
                values_NK[n, place] = values_NK[n, place - 1]
                outputs_NK[n, place] = outputs_NK[n, place - 1]
                place -= 1
            values_NK[n, place] = s
            outputs_NK[n, place] = found_NC[n, k]
