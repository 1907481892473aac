"""Updates of single rows of a matrix: Adam with decay over gaps, Adagrad, SGD.

Row r, last touched at step s, touched again at step t with gradient g (per entry):

    Adam      m <- b1^(t-s) m + (1 - b1) g,  v <- b2^(t-s) v + (1 - b2) g^2
              w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    Adagrad   v <- v + g^2,  w <- w - lr g / (sqrt(v) + eps)
    SGD       w <- w - lr g

With b1 = 0 Adam has no m, and what follows does not arise: an untouched row stays where it is.
In the steps between, dense Adam decays the moments as here, and moves w by what is left of m: that
drift is dropped. It has no closed form, for its denominator changes from step to step.

Preconditions of all: matrices C-contiguous; rows int64, none twice (so that any split of them
between threads gives the same bits); gradients finite. Letters: M = rows, D = their width.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import NUMBER, as_float, prefetch_row, store

_AHEAD = 6  # rows asked for before they are needed


@numba.njit(fastmath=NUMBER)
def adam_row(w_D, m_D, v_D, g_D, scale, d1, d2, b1, b2, rate, root, eps):
    """One row. d1, d2: decays over the gap; rate: lr / (1 - b1^t); root: 1 / sqrt(1 - b2^t)."""
    one = np.float32(1.0)
    for d in range(w_D.shape[0]):
        g = as_float(g_D[d]) * scale
        m = d1 * m_D[d] + (one - b1) * g
        v = d2 * v_D[d] + (one - b2) * g * g
        m_D[d] = m
        v_D[d] = v
        w_D[d] -= rate * m / (np.float32(math.sqrt(v)) * root + eps)


@numba.njit(fastmath=NUMBER)
def adam_row_without_mean(w_D, v_D, g_D, scale, d2, b2, lr, root, eps):
    """One row where b1 = 0, so that m = g."""
    one = np.float32(1.0)
    for d in range(w_D.shape[0]):
        g = as_float(g_D[d]) * scale
        v = d2 * v_D[d] + (one - b2) * g * g
        v_D[d] = v
        w_D[d] -= lr * g / (np.float32(math.sqrt(v)) * root + eps)


@numba.njit(fastmath=NUMBER)
def adagrad_row(w_D, v_D, g_D, scale, lr, eps):
    """One row."""
    for d in range(w_D.shape[0]):
        g = as_float(g_D[d]) * scale
        v = v_D[d] + g * g
        v_D[d] = v
        w_D[d] -= lr * g / (np.float32(math.sqrt(v)) + eps)


@numba.njit(fastmath=NUMBER)
def rowwise_adagrad_row(w_D, v_1, g_D, scale, lr, eps):
    """One row, whose second moment is one number: the mean of the squares of its gradient."""
    total = np.float32(0.0)
    for d in range(w_D.shape[0]):
        g = as_float(g_D[d]) * scale
        total += g * g
    v_1[0] += total / np.float32(w_D.shape[0])
    rate = lr / (np.float32(math.sqrt(v_1[0])) + eps) * scale
    for d in range(w_D.shape[0]):
        w_D[d] -= rate * as_float(g_D[d])


@numba.njit(fastmath=NUMBER)
def sgd_row(w_D, g_D, scale, lr):
    """One row."""
    for d in range(w_D.shape[0]):
        w_D[d] -= lr * as_float(g_D[d]) * scale


@numba.njit(inline="always")
def adam_factors(step, lr, beta1, beta2):
    """Return lr / (1 - b1^t) and 1 / sqrt(1 - b2^t), computed in float64."""
    rate = lr / (1.0 - beta1**step)
    root = 1.0 / math.sqrt(1.0 - beta2**step)
    return np.float32(rate), np.float32(root)


@numba.njit(cache=True, nogil=True)
def adam(w, m, v, last_R, rows_M, g_MD, scale, step, lr, beta1, beta2, eps, start, stop):
    """Update rows_M[start:stop] with g_MD (float32 or bfloat16 bits) times scale; set last_R."""
    rate, root = adam_factors(step, lr, beta1, beta2)
    b1, b2, small, s = np.float32(beta1), np.float32(beta2), np.float32(eps), np.float32(scale)
    for i in range(start, stop):
        if i + _AHEAD < stop:
            ahead = rows_M[i + _AHEAD]
            prefetch_row(w, ahead)
            prefetch_row(m, ahead)
            prefetch_row(v, ahead)
        r = rows_M[i]
        gap = step - last_R[r]
        d1, d2 = b1, b2
        if gap != 1:
            d1, d2 = np.float32(beta1**gap), np.float32(beta2**gap)
        last_R[r] = step
        adam_row(w[r], m[r], v[r], g_MD[i], s, d1, d2, b1, b2, rate, root, small)


@numba.njit(cache=True, nogil=True)
def adam_without_mean(w, v, last_R, rows_M, g_MD, scale, step, lr, beta2, eps, start, stop):
    """As `adam` with b1 = 0, which needs no first moments."""
    rate, root = adam_factors(step, lr, 0.0, beta2)
    b2, small, s = np.float32(beta2), np.float32(eps), np.float32(scale)
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(w, rows_M[i + _AHEAD])
            prefetch_row(v, rows_M[i + _AHEAD])
        r = rows_M[i]
        gap = step - last_R[r]
        d2 = b2 if gap == 1 else np.float32(beta2**gap)
        last_R[r] = step
        adam_row_without_mean(w[r], v[r], g_MD[i], s, d2, b2, rate, root, small)


@numba.njit(cache=True, nogil=True)
def adagrad(w, v, rows_M, g_MD, scale, lr, eps, start, stop):
    """Update rows_M[start:stop] with g_MD (float32 or bfloat16 bits) times scale."""
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(w, rows_M[i + _AHEAD])
            prefetch_row(v, rows_M[i + _AHEAD])
        r = rows_M[i]
        adagrad_row(w[r], v[r], g_MD[i], np.float32(scale), np.float32(lr), np.float32(eps))


@numba.njit(cache=True, nogil=True)
def rowwise_adagrad(w, v_R1, rows_M, g_MD, scale, lr, eps, start, stop):
    """As `adagrad`, with one second moment a row."""
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(w, rows_M[i + _AHEAD])
        r = rows_M[i]
        rowwise_adagrad_row(
            w[r], v_R1[r], g_MD[i], np.float32(scale), np.float32(lr), np.float32(eps)
        )


@numba.njit(cache=True, nogil=True)
def sgd(w, rows_M, g_MD, scale, lr, start, stop):
    """Update rows_M[start:stop] with g_MD (float32 or bfloat16 bits) times scale."""
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(w, rows_M[i + _AHEAD])
        sgd_row(w[rows_M[i]], g_MD[i], np.float32(scale), np.float32(lr))


@numba.njit(cache=True, nogil=True)
def gather(w, rows_M, out_MD, start, stop):
    """Copy w[rows_M[start:stop]] into out_MD, float32 or rounded to bfloat16 bits."""
    for i in range(start, stop):
        if i + _AHEAD < stop:
            prefetch_row(w, rows_M[i + _AHEAD])
        w_D, out_D = w[rows_M[i]], out_MD[i]
        for d in range(w_D.shape[0]):
            store(out_D, d, w_D[d])
