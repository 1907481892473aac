"""Which cells the records cover, so that most pairs that do not meet are never compared.

Two tiles that overlap share a pixel, hence a cell, unless both reach out of the level. For each
cell there are two masks of types: those of which some record may cover it, and those of which
more than one may. They are made at most once a tick and never forget: a record that moves is added
where it comes, and stays where it was. A record that reaches out of the level counts as being
everywhere.
"""

from __future__ import annotations

import numba
import numpy as np

from sidle.ppcg.kernels.codes import (
    D_COVER,
    D_COVERED,
    D_HEIGHT,
    D_MEETING_SECOND,
    D_RECORDED,
    D_RECORDED_END,
    D_RECORDS,
    D_WIDTH,
    F_X,
    F_Y,
    FIELDS,
    HEADER,
    M_COVERED,
    M_OUTSIDE,
    TILE,
)
from sidle.ppcg.kernels.memory import bit, first_of

EVERYTHING = np.int64(-1)


@numba.njit(cache=True, nogil=True)
def corners(x, y):
    """Return the first column and row that a tile at (x, y) covers, then the last ones."""
    return x // TILE, y // TILE, (x + TILE - 1) // TILE, (y + TILE - 1) // TILE


@numba.njit(cache=True, nogil=True)
def note_cover(game, state, work):
    """Note for every record that others may meet which cells it covers."""
    for place in range(2 * game[D_HEIGHT] * game[D_WIDTH]):
        work[game[D_COVER] + place] = 0
    work[M_OUTSIDE] = 0
    work[M_COVERED] = 1
    for place in range(game[D_RECORDED], game[D_RECORDED_END]):
        kind = game[place]
        if game[D_MEETING_SECOND] >> kind & 1:
            first = first_of(game, kind)
            for record in range(first, first + state[HEADER + kind]):
                at = game[D_RECORDS] + record * FIELDS
                _add(game, work, kind, record, np.int64(state[at + F_X]), np.int64(state[at + F_Y]))


@numba.njit(cache=True, nogil=True)
def cover(game, work, kind, record, x, y):
    """Note that the record is at (x, y) now, if others may meet it and cells are noted."""
    if work[M_COVERED] and game[D_MEETING_SECOND] >> kind & 1:
        left, top, right, down = corners(x, y)
        before = work[game[D_COVERED] + record]
        if (
            top >= before >> 24
            and left >= (before >> 16 & 255)
            and down <= (before >> 8 & 255)
            and right <= (before & 255)
        ):
            return
        _add(game, work, kind, record, x, y)


@numba.njit(cache=True, nogil=True)
def _add(game, work, kind, record, x, y):
    left, top, right, down = corners(x, y)
    height, width = game[D_HEIGHT], game[D_WIDTH]
    own = bit(kind)
    if top < 0 or left < 0 or down >= height or right >= width:
        work[M_OUTSIDE] |= own
        return
    work[game[D_COVERED] + record] = top << 24 | left << 16 | down << 8 | right
    cell = game[D_COVER] + 2 * (top * width + left)
    _add_to(work, cell, own)
    if right > left:
        _add_to(work, cell + 2, own)
    if down > top:
        cell += 2 * width
        _add_to(work, cell, own)
        if right > left:
            _add_to(work, cell + 2, own)


@numba.njit(cache=True, nogil=True)
def _add_to(work, cell, own):
    work[cell + 1] |= work[cell] & own
    work[cell] |= own


@numba.njit(cache=True, nogil=True)
def company(game, work, kind, x, y):
    """Return the mask of the types of which a record may overlap one of ``kind`` at (x, y)."""
    left, top, right, down = corners(x, y)
    height, width = game[D_HEIGHT], game[D_WIDTH]
    if top < 0 or left < 0 or down >= height or right >= width:
        return EVERYTHING
    right, down = 2 * (right - left), 2 * (down - top) * width
    cell = game[D_COVER] + 2 * (top * width + left)
    once = work[cell] | work[cell + right] | work[cell + down] | work[cell + down + right]
    cell += 1
    twice = work[cell] | work[cell + right] | work[cell + down] | work[cell + down + right]
    return once & ~bit(kind) | twice & bit(kind) | work[M_OUTSIDE]
