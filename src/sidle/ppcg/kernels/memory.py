"""Plain addresses instead of arrays inside the engine.

A tick passes the same few arrays through dozens of small functions. Numba passes an array as
seven words, counts references to it, and checks each index for being negative; an address is one
word and costs nothing. Only this module knows how it is done; the arrays stay alive in the face.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from sidle.ppcg.kernels.codes import (
    D_GATES,
    D_RULES,
    GATE_COLUMNS,
    RULE_COLUMNS,
    SEGMENTS,
    TYPE_COLUMNS,
    TYPES,
)


@intrinsic
def address(typing_context, array):
    """Return the address of the first element of a C-contiguous array."""
    result = types.CPointer(array.dtype)

    def generate(context, builder, signature, arguments):
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return result(array), generate


@intrinsic
def ahead(typing_context, start, count):
    """Return the address of the element ``count``, int64, elements after ``start``."""

    def generate(context, builder, signature, arguments):
        return builder.gep(arguments[0], [arguments[1]])

    return start(start, types.int64), generate


@numba.njit(cache=True, nogil=True)
def of_type(game, kind, column):
    """Return an entry of the table of types."""
    return game[TYPES + kind * TYPE_COLUMNS + column]


@numba.njit(cache=True, nogil=True)
def of_rule(game, rule, column):
    """Return an entry of the table of rules."""
    return game[game[D_RULES] + rule * RULE_COLUMNS + column]


@numba.njit(cache=True, nogil=True)
def of_gate(game, rule, column):
    """Return a mask of types of the rule."""
    return game[game[D_GATES] + rule * GATE_COLUMNS + column]


@numba.njit(cache=True, nogil=True)
def first_of(game, kind):
    """Return the first record of a type."""
    return game[SEGMENTS + 2 * kind]


@numba.njit(cache=True, nogil=True)
def bit(kind):
    """Return the mask of one type."""
    return np.int64(1) << kind
