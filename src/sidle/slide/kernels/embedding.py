"""The sparse input layer: sums of rows forward, rows regrouped by feature backward.

Forward, for sample n with entries (f, x):  out_n = sum x W_f (+ bias). Backward, for feature f with
entries (n, x):  dW_f = sum x g_n. Entries are regrouped by feature with one counting sort, so that
each touched row is summed in registers and updated once, right then; its gradient is never stored.

Bytes per entry and column: 4 read forward (row of W), 4 read backward (row of g, from a cache: a
batch of 512 x 128 takes 256 KB); per touched row and column, Adam moves 24 (w, m, v in and out).

Preconditions: matrices float32, C-contiguous; indices in range; indptr of N + 1 entries.
Letters: N = samples, E = entries, F = features, D = width, U = features touched by the batch.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import NUMBER, prefetch_row
from sidle.slide.kernels.rows import (
    adagrad_row,
    adam_factors,
    adam_row,
    adam_row_without_mean,
    rowwise_adagrad_row,
    sgd_row,
)

_AHEAD = 8


@numba.njit(fastmath=NUMBER)
def _add_scaled(out_D, row_D, x):
    for d in range(out_D.shape[0]):
        out_D[d] += x * row_D[d]


@numba.njit(cache=True, nogil=True)
def forward(indptr_N, indices_E, values_E, w_FD, bias_D, out_ND, start, stop):
    """Write samples start to stop of the layer's output. bias_D: shape (D,)."""
    last = indptr_N[stop]
    for n in range(start, stop):
        out_D = out_ND[n]
        out_D[:] = bias_D
        for e in range(indptr_N[n], indptr_N[n + 1]):
            if e + _AHEAD < last:
                prefetch_row(w_FD, indices_E[e + _AHEAD])
            _add_scaled(out_D, w_FD[indices_E[e]], values_E[e])


@numba.njit(cache=True, nogil=True)
def regroup(indptr_N, indices_E, values_E, place_F, features_U, starts_U, samples_E, regrouped_E):
    """Sort entries by feature; return U.

    place_F: int32, all -1 before and after. Room: features_U (E), starts_U (E + 1). Within a
    feature, samples ascend.
    """
    n_features = 0
    for e in range(indptr_N[-1]):
        f = indices_E[e]
        place = place_F[f]
        if place < 0:
            place = n_features
            place_F[f] = place
            features_U[place] = f
            starts_U[place + 1] = 0
            n_features += 1
        starts_U[place + 1] += 1
    starts_U[0] = 0
    for u in range(n_features):
        starts_U[u + 1] += starts_U[u]
    # While filling, starts_U[u] is where the next entry of u goes; then it is the end of u.
    for n in range(indptr_N.shape[0] - 1):
        for e in range(indptr_N[n], indptr_N[n + 1]):
            u = place_F[indices_E[e]]
            slot = starts_U[u]
            samples_E[slot] = n
            regrouped_E[slot] = values_E[e]
            starts_U[u] = slot + 1
    for u in range(n_features, 0, -1):
        starts_U[u] = starts_U[u - 1]
    starts_U[0] = 0
    for u in range(n_features):
        place_F[features_U[u]] = -1
    return n_features


@numba.njit(inline="always")
def _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D):
    sum_D[:] = 0
    for e in range(starts_U[u], starts_U[u + 1]):
        _add_scaled(sum_D, g_ND[samples_E[e]], values_E[e])


@numba.njit(cache=True, nogil=True)
def gradient(starts_U, samples_E, values_E, g_ND, grad_UD, start, stop):
    """Write the gradient of each touched row."""
    for u in range(start, stop):
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, grad_UD[u])


@numba.njit(cache=True, nogil=True)
def adam(
    starts_U, samples_E, values_E, g_ND, features_U, w, m, v, last_F,
    step, lr, beta1, beta2, eps, start, stop,
):  # fmt: skip
    """Sum the gradient of touched rows start to stop and apply Adam (see `rows`)."""
    rate, root = adam_factors(step, lr, beta1, beta2)
    b1, b2, small = np.float32(beta1), np.float32(beta2), np.float32(eps)
    sum_D = np.empty(w.shape[1], np.float32)
    for u in range(start, stop):
        if u + _AHEAD < stop:
            ahead = features_U[u + _AHEAD]
            prefetch_row(w, ahead)
            prefetch_row(m, ahead)
            prefetch_row(v, ahead)
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D)
        f = features_U[u]
        gap = step - last_F[f]
        d1, d2 = b1, b2
        if gap != 1:
            d1, d2 = np.float32(beta1**gap), np.float32(beta2**gap)
        last_F[f] = step
        one = np.float32(1.0)
        adam_row(w[f], m[f], v[f], sum_D, one, d1, d2, b1, b2, rate, root, small)


@numba.njit(cache=True, nogil=True)
def adam_without_mean(
    starts_U, samples_E, values_E, g_ND, features_U, w, v, last_F,
    step, lr, beta2, eps, start, stop,
):  # fmt: skip
    """As `adam` with b1 = 0, which needs no first moments."""
    rate, root = adam_factors(step, lr, 0.0, beta2)
    b2, small = np.float32(beta2), np.float32(eps)
    sum_D = np.empty(w.shape[1], np.float32)
    for u in range(start, stop):
        if u + _AHEAD < stop:
            prefetch_row(w, features_U[u + _AHEAD])
            prefetch_row(v, features_U[u + _AHEAD])
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D)
        f = features_U[u]
        gap = step - last_F[f]
        d2 = b2 if gap == 1 else np.float32(beta2**gap)
        last_F[f] = step
        adam_row_without_mean(w[f], v[f], sum_D, np.float32(1.0), d2, b2, rate, root, small)


@numba.njit(cache=True, nogil=True)
def adagrad(
    starts_U, samples_E, values_E, g_ND, features_U, w, v, lr, eps, start, stop
):  # fmt: skip
    """Sum the gradient of touched rows start to stop and apply Adagrad."""
    sum_D = np.empty(w.shape[1], np.float32)
    for u in range(start, stop):
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D)
        f = features_U[u]
        adagrad_row(w[f], v[f], sum_D, np.float32(1.0), np.float32(lr), np.float32(eps))


@numba.njit(cache=True, nogil=True)
def rowwise_adagrad(
    starts_U, samples_E, values_E, g_ND, features_U, w, v_R1, lr, eps, start, stop
):  # fmt: skip
    """As `adagrad`, with one second moment a row."""
    sum_D = np.empty(w.shape[1], np.float32)
    for u in range(start, stop):
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D)
        f = features_U[u]
        rowwise_adagrad_row(w[f], v_R1[f], sum_D, np.float32(1.0), np.float32(lr), np.float32(eps))


@numba.njit(cache=True, nogil=True)
def sgd(starts_U, samples_E, values_E, g_ND, features_U, w, lr, start, stop):
    """Sum the gradient of touched rows start to stop and apply SGD."""
    sum_D = np.empty(w.shape[1], np.float32)
    for u in range(start, stop):
        _sum_entries(starts_U, samples_E, values_E, g_ND, u, sum_D)
        sgd_row(w[features_U[u]], sum_D, np.float32(1.0), np.float32(lr))


@numba.njit(cache=True, nogil=True)
def least_and_most(indices_E):
    """Return the smallest and the largest index; E >= 1."""
    least = most = np.int64(indices_E[0])
    for e in range(1, indices_E.shape[0]):
        i = np.int64(indices_E[e])
        least = min(least, i)
        most = max(most, i)
    return least, most


@numba.njit(cache=True, nogil=True)
def first_disorder(indptr_N, indices_E):
    """Return the first row whose indices do not strictly ascend, -1 if there is none."""
    for n in range(indptr_N.shape[0] - 1):
        for e in range(indptr_N[n] + 1, indptr_N[n + 1]):
            if indices_E[e] <= indices_E[e - 1]:
                return n
    return -1
