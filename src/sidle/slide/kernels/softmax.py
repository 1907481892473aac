"""From scores to loss and gradient in one pass over memory that lies in a cache.

The pool holds M outputs; output c stands for e^{a_c} outputs (a_c = 0 for those chosen on purpose,
log of the inverse inclusion probability in the uniform tail). With scores s_nc and bias b_c:

    softmax            Z_n = sum_c exp(s_nc + b_c + a_c)
                       loss_n = log Z_n - sum_c y_nc (s_nc + b_c)
                       g_nc = exp(s_nc + b_c + a_c) / Z_n - y_nc
    one versus all     loss_n = sum_c e^{a_c} log(1 + exp(s_nc + b_c)) - sum_c y_nc (s_nc + b_c)
                       g_nc = e^{a_c} sigmoid(s_nc + b_c) - y_nc

y_nc is the share of label c in row n: 1 / (number of labels) in the softmax, 1 in one versus all.
Labels are always in the pool with a_c = 0. g is written times 1 / N, as bfloat16 or float32.

Flops per entry: 16 (exp) + 8. Bytes per entry: with bfloat16 scores 2 read, 4 written and read in
the scratch row (a first-level cache), 2 written.
Preconditions: C-contiguous; label_place_E in [0, M). Non-finite scores give a non-finite loss.
Letters: N = rows, M = outputs in the pool, E = labels of all rows.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import (
    NUMBER,
    as_float,
    exponential,
    float_of_order,
    logarithm_of_one_plus,
    order,
    store,
)


@numba.njit(fastmath=NUMBER)
def _add_bias_and_find_maximum(s_M, bias_M, log_weight_M, row_M):
    # Floats are compared as integers of the same order, for a maximum of integers is vectorised
    # and one of floats is not. With NaN the maximum may be anything; the exponentials then show it.
    top = np.int32(-0x7FFFFFFF)
    for c in range(row_M.shape[0]):
        x = as_float(s_M[c]) + bias_M[c] + log_weight_M[c]
        row_M[c] = x
        top = max(top, order(x))
    return float_of_order(top)


@numba.njit(fastmath=NUMBER)
def _exponentials(row_M, top):
    total = np.float32(0.0)
    for c in range(row_M.shape[0]):
        e = exponential(row_M[c] - top)
        row_M[c] = e
        total += e
    return total


# Gradients of the softmax below it are written as 0: sums with others lose them anyway. As denormal
# numbers they would make the matrix products that follow a hundred times as slow.
TINY = np.float32(1e-30)


@numba.njit(fastmath=NUMBER)
def _write_scaled(row_M, factor, g_M):
    zero, least = np.float32(0.0), TINY / factor
    for c in range(row_M.shape[0]):
        e = row_M[c] if row_M[c] >= least else zero  # before the product, which is slow too
        store(g_M, c, e * factor)


@numba.njit(cache=True, nogil=True)
def softmax(
    s_NM, bias_M, log_weight_M, label_indptr_N, label_place_E, scale, g_NM, loss_N, start, stop
):  # fmt: skip
    """Write loss_N (float64) and g_NM times ``scale`` for rows start to stop; may be in place."""
    row_M = np.empty(s_NM.shape[1], np.float32)
    for n in range(start, stop):
        first, last = label_indptr_N[n], label_indptr_N[n + 1]
        share = 1.0 / (last - first)
        target = 0.0
        for e in range(first, last):
            c = label_place_E[e]
            target += share * (as_float(s_NM[n, c]) + bias_M[c])
        top = _add_bias_and_find_maximum(s_NM[n], bias_M, log_weight_M, row_M)
        total = np.float64(_exponentials(row_M, top))
        loss_N[n] = top + math.log(total) - target
        factor = np.float32(scale / total)
        _write_scaled(row_M, factor, g_NM[n])
        for e in range(first, last):
            c = label_place_E[e]
            store(g_NM[n], c, row_M[c] * factor - np.float32(share * scale))


@numba.njit(fastmath=NUMBER)
def _logistic(s_M, bias_M, weight_M, scale, row_M, g_M):
    zero, one = np.float32(0.0), np.float32(1.0)
    loss = np.float32(0.0)
    for c in range(row_M.shape[0]):
        x = as_float(s_M[c]) + bias_M[c]
        e = exponential(-abs(x))
        positive = x if x > zero else zero
        loss += weight_M[c] * (positive + logarithm_of_one_plus(e))
        sigmoid = (one if x >= zero else e) / (one + e)
        g = weight_M[c] * sigmoid * scale
        row_M[c] = g if g >= TINY else zero
        store(g_M, c, row_M[c])
    return loss


@numba.njit(cache=True, nogil=True)
def one_versus_all(
    s_NM, bias_M, weight_M, label_indptr_N, label_place_E, scale, g_NM, loss_N, start, stop
):  # fmt: skip
    """As `softmax`, for independent logistic outputs; weight_M is e^a, not a."""
    row_M = np.empty(s_NM.shape[1], np.float32)
    for n in range(start, stop):
        first, last = label_indptr_N[n], label_indptr_N[n + 1]
        target = 0.0
        for e in range(first, last):
            c = label_place_E[e]
            target += as_float(s_NM[n, c]) + bias_M[c]
        loss_N[n] = _logistic(s_NM[n], bias_M, weight_M, np.float32(scale), row_M, g_NM[n]) - target
        for e in range(first, last):
            c = label_place_E[e]
            store(g_NM[n], c, row_M[c] - np.float32(scale))


@numba.njit(cache=True, nogil=True, fastmath=NUMBER)
def add_rows(g_NM, sum_M):
    """Write the sum over N of g_NM (float32 or bfloat16 bits) into sum_M, float32."""
    sum_M[:] = 0
    for n in range(g_NM.shape[0]):
        g_M = g_NM[n]
        for c in range(g_M.shape[0]):
            sum_M[c] += as_float(g_M[c])
