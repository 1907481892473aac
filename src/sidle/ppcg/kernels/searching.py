"""What search needs beside steps: states drawn anew, and hashed."""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    D_RECORDED,
    D_RECORDED_END,
    D_RESOURCES,
    F_CELL,
    F_CLOCK,
    F_LAST_X,
    F_LAST_Y,
    F_PULL_TICK,
    F_PULLED,
    FIELDS,
    H_OVER,
    H_WINNER,
    HEADER,
    T_COOLDOWN,
)
from sidle.ppcg.kernels.memory import address, ahead, first_of, of_type
from sidle.ppcg.kernels.observing import draw_everything
from sidle.ppcg.kernels.records import amount_at, record_at
from sidle.ppcg.kernels.streams import mixed


@numba.njit(cache=True, nogil=True)
def redraw(slots, image, states, cells, planes):
    """Draw the planes of ``slots`` anew from their states."""
    for slot in slots:
        draw_everything(
            address(image),
            ahead(address(states), slot * states.shape[1]),
            ahead(address(cells), slot * cells.shape[1]),
            ahead(address(planes), slot * planes.shape[1]),
            planes.shape[1],
        )


@numba.njit(cache=True, nogil=True)
def hash_states(slots, image, states, cells, keys):
    """Write a hash of each state, without tick, score and random stream, into keys."""
    game = address(image)
    for place in range(slots.size):
        state = ahead(address(states), slots[place] * states.shape[1])
        bits = cells[slots[place]]
        key = mixed(np.uint64(state[H_OVER] * 4 + state[H_WINNER] + 1))
        for cell in range(bits.size):
            if bits[cell]:
                key += mixed(mixed(np.uint64(cell + 1)) ^ np.uint64(bits[cell]))
        for listed in range(game[D_RECORDED], game[D_RECORDED_END]):
            kind = game[listed]
            first = first_of(game, kind)
            for record in range(first, first + state[HEADER + kind]):
                own = mixed(np.uint64(kind + 1))
                at = record_at(game, record)
                for field in range(FIELDS):
                    if field in (F_LAST_X, F_LAST_Y, F_PULLED, F_PULL_TICK, F_CELL):
                        continue
                    value = np.int64(state[at + field])
                    if field == F_CLOCK:
                        value = min(value, of_type(game, kind, T_COOLDOWN))
                    own = mixed(own ^ np.uint64(value))
                for resource in range(game[D_RESOURCES]):
                    value = np.int64(state[amount_at(game, record, resource)])
                    own = mixed(own ^ np.uint64(value))
                # A sum: order of birth, which rarely matters, is left out.
                key += own
        keys[place] = mixed(key)
