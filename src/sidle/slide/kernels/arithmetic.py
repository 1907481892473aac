"""Small pieces that all kernels here share: bit casts, bfloat16, exp, prefetching, random bits.

bfloat16 is the upper half of a float32 and is carried as uint16. Rounding to it is to the nearest,
ties to even, by adding half a unit and the lowest kept bit before cutting.

exp(x) = 2^k e^r with k the integer nearest to x / ln 2 and |r| <= ln 2 / 2; e^r is the Taylor
polynomial of degree 6, whose remainder r^7 / 7! stays below 1.3e-7 relative, about one unit in the
last place of float32. 2^k is written into the exponent bits. Below -87 the result is exp(-87),
some 1.6e-38: callers subtract a maximum first, so that nothing of weight is lost.

Random bits: splitmix64 of a counter, [S] figure 16; a stream is its seed, a draw its index.
Reference: [S] Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

NUMBER = {"nsz", "contract", "reassoc", "arcp"}
"""Floating-point freedom that keeps NaN and infinity what they are."""

_LOG2E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)  # few bits, so that k * _LN2_HIGH is exact
_LN2_LOW = np.float32(-2.12194440e-4)
_ROUND = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer
_LOWEST = np.float32(-87.0)
_HIGHEST = np.float32(88.0)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720))
_ONE = np.float32(1.0)


@intrinsic
def float_of_bits(typing_context, bits):
    """The float32 whose bits are a uint32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def bits_of_float(typing_context, value):
    """The bits of a float32 as a uint32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def prefetch(typing_context, array, offset):
    """Ask for the cache line of element ``offset`` (flat) of a C-contiguous array."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.gep(data, [arguments[1]])
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, word, word, word]),
            "llvm.prefetch.p0i8",
        )
        # To read, keep in all caches, data.
        builder.call(function, [builder.bitcast(address, byte), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@numba.njit(inline="always")
def prefetch_row(matrix, row):
    """Ask for row ``row`` of a C-contiguous float32 matrix."""
    width = np.int64(matrix.shape[1])
    first = np.int64(row) * width
    for offset in range(0, width, 16):
        prefetch(matrix, first + offset)


def as_float(value):
    """Return float32 for a float32, or for the bits of a bfloat16 (uint16)."""


@overload(as_float, inline="always")
def _as_float(value):
    if value == types.uint16:
        return lambda value: float_of_bits(np.uint32(value) << np.uint32(16))
    return lambda value: value


def store(array, index, value):
    """Write a float32 into a flat array of float32, or rounded into one of bfloat16 bits."""


@overload(store, inline="always")
def _store(array, index, value):
    if array.dtype == types.uint16:

        def store_rounded(array, index, value):
            bits = bits_of_float(value)
            odd = (bits >> np.uint32(16)) & np.uint32(1)
            array[index] = np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return store_rounded

    def store_whole(array, index, value):
        array[index] = value

    return store_whole


@numba.njit(inline="always")
def exponential(x):
    """exp of a float32 from -87 to 88, clipped to that range."""
    x = x if x > _LOWEST else _LOWEST
    x = x if x < _HIGHEST else _HIGHEST
    # Bits of the sum, not of a difference: reassociation must not undo the rounding.
    shifted = x * _LOG2E + _ROUND
    k = np.int32(bits_of_float(shifted)) - np.int32(0x4B400000)
    whole = np.float32(k)
    r = x - whole * _LN2_HIGH - whole * _LN2_LOW
    p = _C5 + r * _C6
    p = _C4 + r * p
    p = _C3 + r * p
    p = _C2 + r * p
    p = _ONE + r * p
    p = _ONE + r * p
    return p * float_of_bits(np.uint32(k + np.int32(127)) << np.uint32(23))


@numba.njit(inline="always")
def logarithm_of_one_plus(e):
    """log(1 + e) for a float32 from 0 to 1: 2 artanh(e / (2 + e)), whose series ends at z^15.

    z <= 1/3, so that what is cut off is below 1e-9 of the result.
    """
    z = e / (np.float32(2.0) + e)
    q = z * z
    p = np.float32(2 / 13) + q * np.float32(2 / 15)
    p = np.float32(2 / 11) + q * p
    p = np.float32(2 / 9) + q * p
    p = np.float32(2 / 7) + q * p
    p = np.float32(2 / 5) + q * p
    p = np.float32(2 / 3) + q * p
    return z * (np.float32(2.0) + q * p)


@numba.njit(inline="always")
def order(x):
    """An int32 that grows with the float32 x."""
    i = np.int32(bits_of_float(x))
    return i ^ ((i >> np.int32(31)) & np.int32(0x7FFFFFFF))


@numba.njit(inline="always")
def float_of_order(i):
    """The float32 whose `order` is the int32 i."""
    return float_of_bits(np.uint32(i ^ ((i >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@numba.njit(inline="always")
def random_bits(seed, index):
    """64 random bits: draw ``index`` of stream ``seed``, both uint64."""
    z = seed + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(inline="always")
def random_below(seed, index, n):
    """A random integer in [0, n), n < 2^32; off uniform by at most n / 2^32."""
    high = random_bits(seed, index) >> np.uint64(32)
    return np.int64((high * np.uint64(n)) >> np.uint64(32))
