"""Levels from which the engine draws when an episode begins, grouped by difficulty.

A level is kept as its characters; setting it up in the step is a pass over them, under a
microsecond for the sizes of the published games, so that refilling the bank costs no more than
writing the characters. Difficulties lie in [0, 1]; bin b holds those nearest to b / 100.
Letters: M = levels, H, W = rows and columns of the largest level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError, DataError, ShapeError
from sidle.ppcg.layout import count_characters, most_records, placing
from sidle.ppcg.vgdl import Game, Level

N_BINS = 101
"""Bins of difficulty, 0.00 to 1.00."""

_LARGEST_BANK = 4_000_000_000  # bytes of characters


class LevelBank:
    """A growing store of levels of one game.

    Args:
        game: the game they belong to.
        height: rows of the largest level.
        width: columns of the largest level.

    Attributes:
        version: raised with every change, so that engines know to look again.
    """

    def __init__(self, game: Game, *, height: int, width: int) -> None:
        if height < 1 or width < 1 or height > 255 or width > 255:
            raise ArgumentError(
                f"LevelBank: height and width must be from 1 to 255, got {height} x {width}."
            )
        self.game, self.height, self.width = game, height, width
        self.version = 0
        self._n = 0
        self._characters = np.zeros((0, height, width), np.uint8)
        self._sizes = np.zeros((0, 2), np.int64)
        self._difficulties = np.zeros(0, np.float64)
        self._bins = np.zeros(0, np.int64)
        self._ids = np.zeros(0, np.int64)
        self._uses = np.zeros(0, np.int64)
        self._rooms = np.zeros(len(game.types), np.int64)
        self._known = np.array(sorted({" ", *game.mapping}), "U1").view(np.uint32)
        self._placing, self._amounts = placing(game)
        self._avatars = np.array(game.avatars(), np.int64)

    def __len__(self) -> int:
        return self._n

    @property
    def characters(self) -> npt.NDArray[np.uint8]:
        """Codes of the levels' characters, uint8 (M, H, W), 0 outside of a smaller level."""
        return self._characters[: self._n]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Rows and columns of each level, int64 (M, 2)."""
        return self._sizes[: self._n]

    @property
    def difficulties(self) -> npt.NDArray[np.float64]:
        """Difficulty of each level, float64 (M,), NaN where it has none."""
        return self._difficulties[: self._n]

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """What the caller calls each level, int64 (M,)."""
        return self._ids[: self._n]

    @property
    def uses(self) -> npt.NDArray[np.int64]:
        """How many episodes began on each level, int64 (M,); 0 again once it is replaced."""
        return self._uses[: self._n]

    @property
    def rooms(self) -> npt.NDArray[np.int64]:
        """Most sprites of each type in a level so far, int64 (T,), 0 for fixed types."""
        return self._rooms

    def bins(self) -> npt.NDArray[np.int64]:
        """Return the bin of each level, int64 (M,), -1 where it has no difficulty."""
        return self._bins[: self._n]

    def level(self, index: int) -> Level:
        """Return the level at ``index``."""
        height, width = self.sizes[index].tolist()
        return Level(np.array(self.characters[index, :height, :width]))

    def add(
        self,
        levels: Sequence[Level] | npt.NDArray[np.uint8],
        *,
        difficulties: Sequence[float] | npt.NDArray[np.float64] | float | None = None,
        ids: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Append levels and return their indices, int64 (M,).

        Args:
            levels: checked levels, or codes (M, h, w) of levels of one size.
            difficulties: of each, or of all, in [0, 1].
            ids: what to call them in the log of episodes; by default their indices.

        Raises:
            ShapeError, ArgumentError, DataError: sizes, numbers or characters do not fit.
        """
        count = len(levels)
        indices = np.arange(self._n, self._n + count)
        if (self._n + count) * self.height * self.width > _LARGEST_BANK:
            raise ArgumentError(
                f"LevelBank.add: {self._n + count} levels of {self.height} x {self.width} "
                "exceed 4 GB. Replace old levels instead."
            )
        if self._n + count > len(self._characters):
            self._enlarge(max(2 * len(self._characters), self._n + count, 64))
        self._n += count
        try:
            self._write(indices, levels, difficulties, indices if ids is None else ids)
        except Exception:
            self._n -= count
            raise
        return indices

    def replace(
        self,
        indices: npt.NDArray[np.int64],
        levels: Sequence[Level] | npt.NDArray[np.uint8],
        *,
        difficulties: Sequence[float] | npt.NDArray[np.float64] | float | None = None,
        ids: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Put other levels in the place of some; arguments and errors as `add`.

        Episodes that are under way are not touched.
        """
        where = np.asarray(indices, np.int64)
        if where.ndim != 1 or len(where) != len(levels):
            raise ShapeError(
                f"LevelBank.replace: {len(levels)} levels need as many indices, got {where.shape}."
            )
        if len(where) and (where.min() < 0 or where.max() >= self._n):
            raise ArgumentError(
                f"LevelBank.replace: indices must be from 0 to {self._n - 1}, "
                f"got {where.min()} to {where.max()}."
            )
        self._write(where, levels, difficulties, where if ids is None else ids)

    def _write(
        self,
        where: npt.NDArray[np.int64],
        levels: Sequence[Level] | npt.NDArray[np.uint8],
        difficulties: Sequence[float] | npt.NDArray[np.float64] | float | None,
        ids: Sequence[int] | npt.NDArray[np.int64],
    ) -> None:
        count = len(where)
        given = np.nan if difficulties is None else difficulties
        difficulty = np.broadcast_to(np.asarray(given, np.float64), count)
        names = np.asarray(ids, np.int64)
        if names.shape != (count,):
            raise ShapeError(f"LevelBank: {count} levels need as many ids, got {names.shape}.")
        if difficulties is not None and not ((difficulty >= 0) & (difficulty <= 1)).all():
            raise ArgumentError("LevelBank: difficulties must lie in [0, 1].")
        characters = np.zeros((count, self.height, self.width), np.uint8)
        sizes = np.zeros((count, 2), np.int64)
        if isinstance(levels, np.ndarray):
            if levels.ndim != 3 or levels.dtype != np.uint8:
                raise ShapeError(
                    "LevelBank: an array of levels must be uint8 of shape (M, H, W), "
                    f"got {levels.dtype} {levels.shape}."
                )
            self._check_fits(*levels.shape[1:])
            characters[:, : levels.shape[1], : levels.shape[2]] = levels
            sizes[:] = levels.shape[1:]
        else:
            for place, level in enumerate(levels):
                self._check_fits(level.height, level.width)
                characters[place, : level.height, : level.width] = level.characters
                sizes[place] = level.height, level.width
        counts = count_characters(characters)
        placed = counts[:, self._placing] @ self._amounts
        self._check(characters, sizes, counts, placed)
        np.maximum(self._rooms, most_records(self.game, placed), out=self._rooms)
        self._characters[where], self._sizes[where] = characters, sizes
        self._difficulties[where], self._ids[where] = difficulty, names
        self._bins[where] = -1 if difficulties is None else np.rint(difficulty * (N_BINS - 1))
        self._uses[where] = 0
        self.version += 1

    def _check_fits(self, height: int, width: int) -> None:
        if height < 1 or width < 1 or height > self.height or width > self.width:
            raise ShapeError(
                f"LevelBank: a level of {height} x {width} cells does not fit into "
                f"{self.height} x {self.width}. Make the bank as large as its largest level."
            )

    def _check(
        self,
        characters: npt.NDArray[np.uint8],
        sizes: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
        placed: npt.NDArray[np.int64],
    ) -> None:
        """Raise DataError unless all characters are known and each level has one avatar."""
        n_known = counts[:, self._known].sum(axis=1)
        if (n_known != sizes.prod(axis=1)).any():
            index = int(np.argmax(n_known != sizes.prod(axis=1)))
            level = characters[index, : sizes[index, 0], : sizes[index, 1]]
            row, column = np.argwhere(~np.isin(level, self._known))[0].tolist()
            raise DataError(
                f"level {index} of {self.game.name}",
                f"character {chr(level[row, column])!r} in row {row + 1}, "
                f"column {column + 1} has no meaning.",
                f"The game's LevelMapping defines: {' '.join(self.game.mapping)}.",
            )
        n_avatars = placed[:, self._avatars].sum(axis=1)
        if (n_avatars != 1).any():
            index = int(np.argmax(n_avatars != 1))
            raise DataError(
                f"level {index} of {self.game.name}",
                f"{n_avatars[index]} avatars in it.",
                "Place exactly one.",
            )

    def _enlarge(self, size: int) -> None:
        for name in ("_characters", "_sizes", "_difficulties", "_bins", "_ids", "_uses"):
            old = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), old.dtype)
            new[: self._n] = old[: self._n]
            setattr(self, name, new)
