"""What search needs beside steps: states drawn anew, and hashed."""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    BASE,
    D_AMOUNTS,
    D_CAPACITY,
    D_RECORDS,
    D_RESOURCES,
    D_TYPES,
    F_CELL,
    F_CLOCK,
    F_LAST_X,
    F_LAST_Y,
    F_PULLED,
    FIELDS,
    H_OVER,
    H_WINNER,
    HEADER,
    T_COOLDOWN,
    T_FIXED,
)
from sidle.ppcg.kernels.observing import draw_everything
from sidle.ppcg.kernels.streams import mixed


@numba.njit(cache=True, nogil=True)
def redraw(slots, types, segments, sizes, states, cells, planes):
    """Draw the planes of ``slots`` anew from their states."""
    for slot in slots:
        draw_everything(types, segments, sizes, states[slot], cells[slot], planes[slot])


@numba.njit(cache=True, nogil=True)
def hash_states(slots, types, segments, sizes, states, cells, keys):
    """Write a hash of each state, without tick, score and random stream, into keys."""
    capacity = sizes[D_CAPACITY]
    for place in range(slots.size):
        state, bits = states[slots[place]], cells[slots[place]]
        key = mixed(np.uint64(state[H_OVER] * 4 + state[H_WINNER] + 1))
        for cell in range(bits.size):
            if bits[cell]:
                key += mixed(
                    np.uint64(cell) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(bits[cell])
                )
        for kind in range(sizes[D_TYPES]):
            if types[kind, T_FIXED]:
                continue
            for record in range(segments[kind, BASE], segments[kind, BASE] + state[HEADER + kind]):
                own = mixed(np.uint64(kind + 1))
                for field in range(FIELDS):
                    if (
                        field == F_LAST_X
                        or field == F_LAST_Y
                        or field == F_PULLED
                        or field == F_CELL
                    ):
                        continue
                    value = np.int64(state[sizes[D_RECORDS] + field * capacity + record])
                    if field == F_CLOCK:
                        value = min(value, types[kind, T_COOLDOWN])
                    own = mixed(own ^ np.uint64(value))
                for resource in range(sizes[D_RESOURCES]):
                    value = np.int64(state[sizes[D_AMOUNTS] + resource * capacity + record])
                    own = mixed(own ^ np.uint64(value))
                # Order of birth rarely matters; a sum leaves it out.
                key += own
        keys[place] = mixed(key)
