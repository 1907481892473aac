"""A generator for any game, which learns from hand-made levels how many of what to place.

For each character the counts in the levels, which are taken to rise in difficulty, are fitted by
a line; so are the levels' sides and their inner walls. Levels are walled rooms in which all cells
that are not walls hang together. What characters mean is not known, so nothing is promised about
winning them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidle.errors import ArgumentError
from sidle.ppcg.generators.generator import Generator, Grid
from sidle.ppcg.generators.kernels import general as kernels

SHORTEST_SIDE, LONGEST_SIDE = 3, kernels.LONGEST_SIDE
"""Cells of a side of levels that others are generated after."""


def from_levels(name: str, levels: Sequence[str | Grid]) -> Generator:
    """Return a generator of levels like ``levels``.

    Difficulty 0 gives levels like the first, 1 like the last. A character that every level has,
    is in each generated level; one that every level has exactly once, exactly once. With a single
    level, difficulty has no influence.

    Args:
        name: the game's name, for messages.
        levels: one or more, rows of text joined by line ends or uint8 grids, 3 to 64 cells a side,
            in order of difficulty. ``w`` is wall, a blank is empty.

    Raises:
        ArgumentError: there is no level, or one is smaller or larger than that, or ragged.
    """
    grids = [to_grid(level, f"generators.from_levels: level {i} of {name}")
             for i, level in enumerate(levels)]  # fmt: skip
    if not grids:
        raise ArgumentError("generators.from_levels: expected at least one level, got none.")
    inner = [grid[1:-1, 1:-1] for grid in grids]
    ignored = {int(kernels.WALL), int(kernels.EMPTY)}
    characters = sorted({int(c) for grid in grids for c in np.unique(grid)} - ignored)
    counts = {c: [int((grid == c).sum()) for grid in grids] for c in characters}
    # Whatever there is most of goes last: there, running out of room does the least harm.
    characters.sort(key=lambda c: (max(counts[c]), c))
    rows = [[grid.shape[0] for grid in grids], [grid.shape[1] for grid in grids]]
    rows += [[int((grid == kernels.WALL).sum()) for grid in inner]]
    rows += [counts[c] for c in characters]
    kernel = functools.partial(
        _fill,
        np.array(characters, dtype=np.uint8),
        np.array([_ends_of_line(row) for row in rows], dtype=np.float64),
        np.array([1 if min(counts[c]) > 0 else 0 for c in characters], dtype=np.int64),
    )
    return Generator(name, (max(rows[0]), max(rows[1])), kernel)


def to_grid(level: str | Grid, where: str) -> Grid:
    """Return a level as uint8 grid of shape (H, W), each side 3 to 64.

    Args:
        level: rows joined by line ends, or a grid already.
        where: beginning of the message, should it be refused.

    Raises:
        ArgumentError: rows differ in length, or a side has fewer than 3 or more than 64 cells, or
            a character is not ASCII.
    """
    if isinstance(level, str):
        rows = level.splitlines()
        if len({len(row) for row in rows}) > 1:
            raise ArgumentError(f"{where}: all rows must have one length, got {[*map(len, rows)]}.")
        if not level.isascii():
            raise ArgumentError(f"{where}: characters must be ASCII, got {ascii(level)[:60]}.")
        cells = np.frombuffer("".join(rows).encode("ascii"), dtype=np.uint8)
        level = cells.reshape(len(rows), len(rows[0]) if rows else 0)
    if level.ndim != 2 or not all(SHORTEST_SIDE <= n <= LONGEST_SIDE for n in level.shape):
        raise ArgumentError(
            f"{where}: expected {SHORTEST_SIDE} to {LONGEST_SIDE} cells a side, got {level.shape}."
        )
    return level


def _ends_of_line(values: Sequence[int]) -> tuple[float, float]:
    """Return the values at both ends of the least-squares line, kept inside the values' range."""
    low, high = min(values), max(values)
    if low == high:
        return float(low), float(high)
    slope, start = np.polyfit(np.linspace(0.0, 1.0, len(values)), values, 1)
    first, last = np.clip([start, start + slope], low, high)
    return float(first), float(last)


def _fill(
    characters_K: NDArray[np.uint8],
    ranges_R2: NDArray[np.float64],
    fewest_K: NDArray[np.int64],
    difficulties_N: NDArray[np.float64],
    seeds_N: NDArray[np.uint64],
    grids_NHW: Grid,
) -> None:
    kernels.fill(difficulties_N, seeds_N, grids_NHW, characters_K, ranges_R2, fewest_K)
