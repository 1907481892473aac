"""What all level generators are: a difficulty and a seed in, a grid of level characters out.

A grid is uint8 of shape (H, W), one ASCII code a cell, padded with walls (``w``) to the shape that
all levels of the game share. It is a function of difficulty and seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidle.errors import ArgumentError, ShapeError

Grid = NDArray[np.uint8]
_LARGEST_SEED = 2**63


@dataclass(frozen=True)
class Generator:
    """A level generator of one game.

    Args:
        name: the game's name.
        shape: (H, W) of all its levels.
        kernel: ``kernel(difficulties_N, seeds_N, grids_NHW)``, compiled, writing N levels.
    """

    name: str
    shape: tuple[int, int]
    kernel: Callable[[NDArray[np.float64], NDArray[np.uint64], Grid], Any]

    def generate(self, difficulty: float, seed: int) -> Grid:
        """Return one level, uint8 of shape (H, W).

        Args:
            difficulty: in [0, 1], 0 is the easiest.
            seed: in [0, 2^63); the same seed and difficulty give the same level everywhere.

        Raises:
            ArgumentError: either lies outside its range.
        """
        grid_HW: Grid = self.generate_many([difficulty], [seed])[0]
        return grid_HW

    def generate_many(self, difficulties: Any, seeds: Any) -> Grid:
        """Return N levels, uint8 of shape (N, H, W), for N difficulties and N seeds.

        Args:
            difficulties: N numbers in [0, 1].
            seeds: N integers in [0, 2^63).

        Raises:
            ArgumentError: a difficulty or a seed lies outside its range.
            ShapeError: they are not two sequences of one length.
        """
        difficulties_N = np.asarray(difficulties, dtype=np.float64)
        seeds_N = np.asarray(seeds)
        if difficulties_N.ndim != 1 or difficulties_N.shape != seeds_N.shape:
            raise ShapeError(
                f"generators.{self.name}: difficulties and seeds must be two sequences of one "
                f"length, got shapes {difficulties_N.shape} and {seeds_N.shape}."
            )
        if seeds_N.size and seeds_N.dtype.kind not in "ui":
            raise ArgumentError(
                f"generators.{self.name}: a seed must be an integer in [0, 2^63), got "
                f"{seeds_N.flat[0]!r}."
            )
        inside = (difficulties_N >= 0.0) & (difficulties_N <= 1.0)  # False for NaN
        if not inside.all():
            raise ArgumentError(
                f"generators.{self.name}: difficulty must lie in [0, 1], got "
                f"{difficulties_N[~inside][0]}."
            )
        outside = (seeds_N < 0) | (seeds_N >= _LARGEST_SEED)
        if outside.any():
            raise ArgumentError(
                f"generators.{self.name}: a seed must be an integer in [0, 2^63), got "
                f"{seeds_N[outside][0]}."
            )
        grids_NHW = np.empty((difficulties_N.size, *self.shape), dtype=np.uint8)
        self.fill(
            np.ascontiguousarray(difficulties_N),
            np.ascontiguousarray(seeds_N, dtype=np.uint64),
            grids_NHW,
        )
        return grids_NHW

    def fill(
        self,
        difficulties_N: NDArray[np.float64],
        seeds_N: NDArray[np.uint64],
        grids_NHW: Grid,
    ) -> None:
        """Write N levels into ``grids_NHW``, without the interpreter's lock: for level banks.

        Nothing is checked: difficulties_N is float64 in [0, 1], seeds_N is uint64, grids_NHW is
        uint8 of shape (N, H, W), all C-contiguous.
        """
        self.kernel(difficulties_N, seeds_N, grids_NHW)
