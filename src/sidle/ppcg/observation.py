"""What agents see: planes of tiles, of the whole level or of a window around the avatar.

One plane a type of sprite (1 where one has its centre), two of orientation, two of the offset
within the tile, one a resource (see `sidle.ppcg.engine`).

Letters: N = levels, C = planes, H, W = rows and columns, K = side of a window (odd).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sidle.errors import ArgumentError
from sidle.ppcg.kernels import cropping
from sidle.ppcg.kernels.codes import TILE
from sidle.ppcg.vgdl import Game

Planes = npt.NDArray[np.int8]

_LARGEST_WINDOW = 99


class View:
    """Turns the engine's planes (N, C, H, W) into what agents see.

    Args:
        game: whose planes.
        n: levels.
        shape: (H, W).
        ego_window: side K of a window with the avatar in its centre, odd; None shows all.

    Attributes:
        shape: (C, H, W), or (C, K, K).

    Raises:
        ArgumentError: an even window, or one larger than 99.
    """

    def __init__(
        self, game: Game, n: int, shape: tuple[int, int], *, ego_window: int | None = None
    ) -> None:
        if ego_window is not None and not (
            1 <= ego_window <= _LARGEST_WINDOW and ego_window % 2 == 1
        ):
            raise ArgumentError(
                f"ego_window must be odd and from 1 to {_LARGEST_WINDOW}, got {ego_window}."
            )
        self.game = game
        sides = shape if ego_window is None else (ego_window, ego_window)
        self.shape = (len(game.channels), *sides)
        self._window = None if ego_window is None else np.zeros((n, *self.shape), np.int8)
        self._avatars = np.array(game.avatars(), np.int64)
        self._centres = np.zeros((n, 2), np.int64)

    def of(self, planes: Planes) -> Planes:
        """Return what is seen; overwritten by the next call, or the planes themselves."""
        if self._window is None:
            return planes
        cropping.crop(planes, self._avatars, self._centres, self._window)
        return self._window

    def of_some(self, planes: Planes, slots: npt.NDArray[np.int64]) -> Planes:
        """Return a copy of what is seen in some slots, given their planes (S, C, H, W).

        For observations beside those of `of`: where the avatars were last is left as it is.
        """
        if self._window is None:
            return planes.copy()
        window = np.empty((len(slots), *self.shape), np.int8)
        cropping.crop(planes, self._avatars, self._centres[slots], window)
        return window

    def state_dict(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return where the avatars were last."""
        return {"centres": self._centres.copy()}

    def load_state_dict(self, state_dict: dict[str, npt.NDArray[np.int64]]) -> None:
        """Take over what `state_dict` returned."""
        self._centres[:] = state_dict["centres"]

    def space(self) -> spaces.Box:
        """Return the space of one observation, int8 (C, H, W)."""
        low, high = (np.empty(self.shape, np.int8) for _ in range(2))
        for number, name in enumerate(self.game.channels):
            low[number], high[number] = bounds(name)
        return spaces.Box(low, high, dtype=np.int8)


def bounds(channel: str) -> tuple[int, int]:
    """Return the least and the largest number in a plane of that name."""
    if channel.startswith("orientation_"):
        return -1, 1
    if channel.startswith("offset_"):
        return -(TILE // 2), TILE - TILE // 2 - 1
    if channel.startswith("resource:") or channel == "health":
        return -128, 127
    return 0, 1
