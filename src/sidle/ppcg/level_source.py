"""What an engine's resets draw from: levels placed by hand, or a bank with weights.

Letters: N = slots; H, W = rows and columns of the largest level; M = levels of the bank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError, ShapeError
from sidle.ppcg.bank import N_BINS, LevelBank
from sidle.ppcg.layout import count_characters, most_records, placing
from sidle.ppcg.vgdl import Game, Level


class LevelSource:
    """Levels of ``n`` slots, as the kernels read them.

    Args:
        game: the compiled game.
        n: slots.
        height: H.
        width: W.
        bank: what resets draw from; None where slots play levels placed by hand.

    Attributes:
        placed: characters placed by hand, uint8 (N, H, W).
        placed_sizes: rows and columns of those, int64 (N, 2), 0 where there are none.
        by_level: whether weights are of levels rather than of bins of difficulty.
        uses: times each level of the bank was drawn, int64 (M,).
        arrays: the kernels' arguments: placed levels and sizes, those of the bank, cumulative
            weights, and for weights of bins where the levels of each begin and which they are.
    """

    def __init__(
        self, game: Game, n: int, *, height: int, width: int, bank: LevelBank | None
    ) -> None:
        self.game, self.bank = game, bank
        self.placed = np.zeros((n, height, width), np.uint8)
        self.placed_sizes = np.zeros((n, 2), np.int64)
        self.by_level = True
        self._weights: npt.NDArray[np.float64] | None = None
        self._version = -1
        if bank is None:
            self._levels, self._sizes = self.placed[:0], self.placed_sizes[:0]
            self.uses = np.zeros(0, np.int64)
        self._set(np.zeros(1), np.zeros(1, np.int64), np.zeros(0, np.int64))

    @property
    def changed(self) -> bool:
        """Whether the bank or the weights changed since they were last looked at."""
        return self.bank is not None and self.bank.version != self._version

    def place(self, where: npt.NDArray[np.int64], levels: Sequence[Level]) -> npt.NDArray[np.int64]:
        """Put one level into each of the slots ``where``; return the most records of each type.

        Raises:
            ShapeError: not one level a slot, or one larger than H x W.
        """
        if len(levels) != len(where):
            raise ShapeError(f"Engine.reset: {len(levels)} levels for {len(where)} slots.")
        _, H, W = self.placed.shape
        for slot, level in zip(where.tolist(), levels, strict=True):
            if level.height > H or level.width > W:
                raise ShapeError(
                    f"Engine.reset: a level of {level.height} x {level.width} cells does not fit "
                    f"into {H} x {W}."
                )
            self.placed[slot] = 0
            self.placed[slot, : level.height, : level.width] = level.characters
            self.placed_sizes[slot] = level.height, level.width
        characters, amounts = placing(self.game)
        placed = count_characters(self.placed[where])[:, characters] @ amounts
        return most_records(self.game, placed)

    def weigh(self, weights: npt.ArrayLike | None, *, by_level: bool) -> None:
        """Draw by these weights, of levels (M,) or of bins (101,); None: evenly.

        Raises:
            ShapeError, ArgumentError: no bank, another number of weights, negative ones, all 0,
                or one of an empty bin.
        """
        if weights is None:
            self._weights, self.by_level, self._version = None, True, -1
            return
        if self.bank is None:
            raise ArgumentError("Engine: weights need a bank of levels. Give one when making it.")
        given = np.array(weights, np.float64)
        expected = len(self.bank) if by_level else N_BINS
        if given.shape != (expected,):
            raise ShapeError(f"Engine: expected {expected} weights, got shape {given.shape}.")
        if not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
            raise ArgumentError("Engine: weights must be finite, at least 0, and not all 0.")
        if not by_level:
            filled = np.bincount(self.bank.bins()[self.bank.bins() >= 0], minlength=N_BINS)
            empty = np.flatnonzero((given > 0) & (filled == 0))
            if len(empty):
                raise ArgumentError(
                    f"Engine.weigh_bins: bin {empty[0]} (difficulty {empty[0] / 100:.2f}) has a "
                    "weight and no level. Add levels of this difficulty to the bank first."
                )
        self._weights, self.by_level, self._version = given, by_level, -1

    def refresh(self) -> None:
        """Look at the bank and the weights anew. Levels added since they were given weigh 0."""
        assert self.bank is not None, "only a bank changes"
        bank = self.bank
        if self._weights is None:
            weights = np.ones(len(bank))
        elif self.by_level:
            weights = np.zeros(len(bank))
            weights[: len(self._weights)] = self._weights
        else:
            weights = self._weights
        if self.by_level:
            start, members = np.zeros(1, np.int64), np.zeros(0, np.int64)
        else:
            bins = bank.bins()
            order = np.argsort(bins, kind="stable")
            members = order[bins[order] >= 0]
            start = np.searchsorted(bins[members], np.arange(N_BINS + 1)).astype(np.int64)
        self._set(np.cumsum(weights), start, members)
        self._version = bank.version

    def _set(
        self,
        cumulative: npt.NDArray[np.float64],
        start: npt.NDArray[np.int64],
        members: npt.NDArray[np.int64],
    ) -> None:
        if self.bank is not None:
            # The bank grows by moving, so that its arrays are looked up each time.
            self._levels, self._sizes = self.bank.characters, self.bank.sizes
            self.uses = self.bank.uses
        self.arrays = (
            self.placed,
            self.placed_sizes,
            self._levels,
            self._sizes,
            cumulative,
            start,
            members,
        )
