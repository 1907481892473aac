"""Random numbers for level generators: SplitMix64, the same on every machine.

A stream is a uint64 array of one element, its state. Only integer arithmetic and exact products
are used, so that one seed gives one level everywhere.

Reference: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", OOPSLA.
"""

from __future__ import annotations

import numba
import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32, _11 = (np.uint64(n) for n in (30, 27, 31, 32, 11))
_UNIT = 2.0**-53


@numba.njit(cache=True, nogil=True)
def mix(bits):
    """Return the 64 bits of ``bits`` (uint64) scrambled, one to one."""
    bits = (bits ^ (bits >> _30)) * _MIX_1
    bits = (bits ^ (bits >> _27)) * _MIX_2
    return bits ^ (bits >> _31)


@numba.njit(cache=True, nogil=True)
def start(stream, seed):
    """Set ``stream`` to the beginning of what ``seed`` (uint64) gives."""
    # Mixed, for else the streams of two seeds whose difference is a multiple of _STEP would be
    # one another's continuation.
    stream[0] = mix(seed + _STEP)


@numba.njit(cache=True, nogil=True)
def draw_bits(stream):
    """Return 64 random bits."""
    stream[0] += _STEP
    return mix(stream[0])


@numba.njit(cache=True, nogil=True)
def uniform(stream):
    """Return a float64 in [0, 1), a multiple of 2^-53."""
    return np.float64(np.int64(draw_bits(stream) >> _11)) * _UNIT


@numba.njit(cache=True, nogil=True)
def below(stream, n):
    """Return an int64 in [0, n); 1 <= n < 2^31. No value is likelier by more than n / 2^32."""
    return np.int64(((draw_bits(stream) >> _32) * np.uint64(n)) >> _32)


@numba.njit(cache=True, nogil=True)
def shuffle(stream, items, n, n_first):
    """Bring a random choice of ``n_first`` of the first ``n`` items to the front, in random order.

    Preconditions: 0 <= n_first <= n <= items.size.
    """
    for i in range(n_first):
        j = i + below(stream, n - i)
        item = items[i]
        items[i] = items[j]
        items[j] = item
