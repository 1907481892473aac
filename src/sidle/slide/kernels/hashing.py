"""Digits of locality-sensitive hash functions, and their packing into bucket numbers.

A function family gives, for a vector, K digits in each of L tables; a bucket is the K digits of
one table, packed side by side (digit k shifted by k times its width, so that no two digits
overlap), or, where they need more bits than the table has, mixed into it by multiplication.

WTA: of the m entries at the places of one permutation, which is largest (the first of equals).
DWTA: the same over the non-zeros of a sparse vector, for bins of m places that all lie in one
permutation; a bin without non-zeros borrows from another bin, chosen by a fixed random function of
bin and attempt, the same for all vectors, until one is found.
Densified MinHash: the places of one permutation in bins; the digit of a bin is the lowest place
among the set's elements, cut to its lowest bits; empty bins borrow as above.

Preconditions: C-contiguous; digits_NH, codes_NL allocated; places within range.
Letters: N = vectors, D = their length, H = K * L hash functions, L = tables, K = digits of one,
m = places of a bin, E = non-zeros.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.slide.kernels.arithmetic import random_bits

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MOST_ATTEMPTS = 64  # to borrow; a vector of one non-zero in 2^10 bins still finds it, see below


@numba.njit(cache=True, nogil=True)
def sign_digits(projections_NH, digits_NH, start, stop):
    """1 where a projection is at least 0."""
    for n in range(start, stop):
        for h in range(projections_NH.shape[1]):
            digits_NH[n, h] = np.uint8(projections_NH[n, h] >= 0)


@numba.njit(cache=True, nogil=True)
def sparse_projections(x_ND, places_HP, signs_HP, out_NH, start, stop):
    """Projections on vectors of P entries +1 and -1: places_HP in [0, D), signs_HP +1 or -1."""
    for n in range(start, stop):
        for h in range(places_HP.shape[0]):
            total = np.float32(0.0)
            for p in range(places_HP.shape[1]):
                total += signs_HP[h, p] * x_ND[n, places_HP[h, p]]
            out_NH[n, h] = total


@numba.njit(cache=True, nogil=True)
def entry_projections(indptr_N, indices_E, values_E, planes_DH, out_NH, start, stop):
    """Projections of sparse rows on the columns of planes_DH."""
    for n in range(start, stop):
        out_NH[n, :] = 0
        for e in range(indptr_N[n], indptr_N[n + 1]):
            d, x = indices_E[e], values_E[e]
            for h in range(planes_DH.shape[1]):
                out_NH[n, h] += x * planes_DH[d, h]


@numba.njit(cache=True, nogil=True)
def winners(x_ND, places_Hm, digits_NH, start, stop):
    """WTA digits: which of x[places_Hm[h]] is largest."""
    for n in range(start, stop):
        for h in range(places_Hm.shape[0]):
            best = 0
            top = x_ND[n, places_Hm[h, 0]]
            for j in range(1, places_Hm.shape[1]):
                x = x_ND[n, places_Hm[h, j]]
                if x > top:
                    top = x
                    best = j
            digits_NH[n, h] = best


@numba.njit(inline="always")
def _lender(bin_, attempt, n_bins, seed):
    """The bin that an empty bin turns to at its attempt-th attempt."""
    mixed = random_bits(seed, np.uint64(bin_) * np.uint64(1 << 20) + np.uint64(attempt))
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(n_bins)) >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def _borrow(digits_H, filled_H, seed):
    """Fill empty bins from others; a row without any filled bin gets digits 0."""
    n_bins = digits_H.shape[0]
    n_filled = 0
    for h in range(n_bins):
        n_filled += filled_H[h]
    for h in range(n_bins):
        if filled_H[h]:
            continue
        if n_filled == 0:
            digits_H[h] = 0
            continue
        lender = h
        for attempt in range(_MOST_ATTEMPTS):
            lender = _lender(h, attempt, n_bins, seed)
            if filled_H[lender]:
                break
        while not filled_H[lender]:  # so few are filled that chance did not find one: the next
            lender = lender + 1 if lender + 1 < n_bins else 0
        digits_H[h] = digits_H[lender]


@numba.njit(cache=True, nogil=True)
def densified_winners(
    indptr_N, indices_E, values_E, bins_RD, slots_RD, seed, digits_NH, start, stop
):  # fmt: skip
    """DWTA digits of sparse rows: permutation r puts entry d into slot slots_RD[r, d] of bin
    bins_RD[r, d] (-1: into none)."""
    n_bins = digits_NH.shape[1]
    tops_H = np.empty(n_bins, np.float32)
    filled_H = np.empty(n_bins, np.uint8)
    for n in range(start, stop):
        digits_H = digits_NH[n]
        filled_H[:] = 0
        for e in range(indptr_N[n], indptr_N[n + 1]):
            x, d = values_E[e], indices_E[e]
            if x == 0:
                continue
            for r in range(bins_RD.shape[0]):
                h = bins_RD[r, d]
                if h < 0:
                    continue
                slot = slots_RD[r, d]
                # Of equals the lower slot, so that the order of the non-zeros does not matter.
                first = not filled_H[h]
                if first or x > tops_H[h] or (x == tops_H[h] and slot < digits_H[h]):
                    filled_H[h] = 1
                    tops_H[h] = x
                    digits_H[h] = slot
        _borrow(digits_H, filled_H, seed)


@numba.njit(cache=True, nogil=True)
def densified_minima(
    indptr_N, indices_E, bins_D, ranks_D, n_bits, seed, digits_NH, start, stop
):  # fmt: skip
    """Densified MinHash digits of sets: entry d has rank ranks_D[d] in bin bins_D[d]."""
    n_bins = digits_NH.shape[1]
    lowest_H = np.empty(n_bins, np.int64)
    filled_H = np.empty(n_bins, np.uint8)
    mask = np.uint64((1 << n_bits) - 1)
    for n in range(start, stop):
        filled_H[:] = 0
        for e in range(indptr_N[n], indptr_N[n + 1]):
            d = indices_E[e]
            h = bins_D[d]
            rank = np.int64(ranks_D[d])
            if not filled_H[h] or rank < lowest_H[h]:
                filled_H[h] = 1
                lowest_H[h] = rank
        for h in range(n_bins):
            if filled_H[h]:
                # Mixed first: which bits are kept must not depend on how many ranks there are.
                digits_NH[n, h] = random_bits(seed, np.uint64(lowest_H[h])) & mask
        _borrow(digits_NH[n], filled_H, seed)


@numba.njit(cache=True, nogil=True)
def pack(digits_NH, n_digits, digit_bits, table_bits, codes_NL, start, stop):
    """Pack K = n_digits digits of digit_bits bits each into bucket numbers below 2^table_bits."""
    fits = n_digits * digit_bits <= table_bits
    shift = np.uint64(64 - table_bits)
    for n in range(start, stop):
        for table in range(codes_NL.shape[1]):
            code = np.uint64(0)
            for k in range(n_digits):
                digit = np.uint64(digits_NH[n, table * n_digits + k])
                if fits:
                    code |= digit << np.uint64(k * digit_bits)
                else:
                    code = (code ^ digit) * _MULTIPLIER
                    code ^= code >> np.uint64(29)
            if not fits:
                code = (code * _MULTIPLIER) >> shift
            codes_NL[n, table] = code
