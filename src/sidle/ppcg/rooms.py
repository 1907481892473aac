"""How many records of each type a state has room for, and when a game asks for too many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sidle.errors import SidleError
from sidle.ppcg.kernels import codes
from sidle.ppcg.vgdl import Game

_MOST_RECORDS = 20_000  # of a type in one level
_MOST_ROOM = 5 * _MOST_RECORDS  # ... and what a tick may add to them
_SPARE_ROOM = 16  # records a type has room for beyond twice what a level places


class RoomError(SidleError, RuntimeError):
    """Sprites multiplied within one tick beyond all room; the levels must be reset."""


def enough(
    game: Game, rooms: npt.NDArray[np.int64], most: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return room for levels with ``most`` records of each type and what they bring forth.

    Args:
        game: the compiled game.
        rooms: records that each type has room for, (T,); returned itself where that suffices.
        most: records of each type in the fullest level, (T,).

    Raises:
        RoomError: there are more records than any level may have.
    """
    born = game.tables.types[:, codes.T_BORN] > 0
    needed = np.minimum(most + 2 * game.tables.broods @ (most + 2), _MOST_ROOM)
    short = needed > rooms
    if not short.any():
        return rooms
    if most.max() > _MOST_RECORDS:
        raise RoomError(
            f"Engine: sprites of type '{game.types[int(most.argmax())]}' multiplied to "
            f"{int(most.max())} in a level; the levels must be reset. Limit how the game brings "
            "them forth."
        )
    generous = np.where(born, 2 * needed + _SPARE_ROOM, needed)
    return np.where(short, np.minimum(generous, _MOST_ROOM), rooms).astype(np.int64)
