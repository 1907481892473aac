"""Random streams of the level slots: one 64-bit state a slot, nothing shared.

A stream is splitmix64 [SPLIT]: the state grows by an odd constant, and each number is the state
mixed. Episode e of slot i starts from a state made of (seed, i, e) alone, so what happens in a
slot depends neither on how many others there are nor on the thread that steps it.
Reference: [SPLIT] G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number generators,
OOPSLA 2014.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import CERTAIN

_GROWTH = np.uint64(0x9E3779B97F4A7C15)
_FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _34 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(34)


@numba.njit(cache=True, nogil=True)
def mixed(state):
    """Return ``state``, uint64, with its bits mixed."""
    state = (state ^ (state >> _30)) * _FIRST_FACTOR
    state = (state ^ (state >> _27)) * _SECOND_FACTOR
    return state ^ (state >> _31)


@numba.njit(cache=True, nogil=True)
def episode_stream(seed, slot, episode):
    """Return the first state of the stream of this episode in this slot, uint64."""
    state = mixed(np.uint64(seed) + _GROWTH)
    state = mixed(state ^ (np.uint64(slot) + _GROWTH))
    return mixed(state ^ (np.uint64(episode) * _GROWTH))


@numba.njit(cache=True, nogil=True)
def draw(stream):
    """Return a whole number below 2^30, int64, from the stream at this address."""
    stream[0] += _GROWTH
    return np.int64(mixed(stream[0]) >> _34)


@numba.njit(cache=True, nogil=True)
def draw_below(stream, bound):
    """Return a whole number below ``bound``, int64, 1 <= bound <= 2^20.

    The excess of some numbers over others is at most bound / 2^30.
    """
    return (draw(stream) * bound) >> 30


@numba.njit(cache=True, nogil=True)
def happens(stream, probability):
    """Return whether something of this probability, of 2^30, happens; certainty draws nothing."""
    return probability >= CERTAIN or draw(stream) < probability
