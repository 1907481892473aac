"""Paired rows as users bring them: checked, divided at random into parts, and scaled.

The object all functions share is a pair of matrices x_ND and y_NE, row n of one belonging to row
n of the other, rows independent draws of one distribution.

Letters: N = pairs; D, E = dimensions of x and of y; K = pairs in a batch; P = random partitions of
rows into batches; M = batches in each partition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError

Array = npt.ArrayLike | Tensor
Matrix = npt.NDArray[np.float64]
Pair = tuple[Tensor, Tensor]

VALIDATION_PERCENT, TEST_PERCENT = 15, 25
NORMAL_QUARTILE_RANGE = 1.349  # of a standard normal variable


def paired(x: Array, y: Array, function: str) -> tuple[Matrix, Matrix]:
    """Return x and y as float64 matrices with as many rows.

    Args:
        x: N rows, shape (N,) or (N, D); NumPy, torch, or what `numpy.asarray` takes; finite real
            numbers, integers or booleans.
        y: N rows, shape (N,) or (N, E), likewise.
        function: who asks, for the message of an error.

    Raises:
        ShapeError: x or y is no vector or matrix, has no columns, or their rows differ in number.
        NonFiniteError: x or y holds a NaN or an infinity; says in which row.
        ArgumentError: they do not hold real numbers.
    """
    x_ND, y_NE = matrix(x, "x", function), matrix(y, "y", function)
    if len(x_ND) != len(y_NE):
        raise ShapeError(
            f"{function}: x and y must have the same number of rows, got {len(x_ND)} and "
            f"{len(y_NE)}. Row n of x must belong to row n of y."
        )
    return x_ND, y_NE


def matrix(values: Array, name: str, function: str) -> Matrix:
    """Return ``values`` as a float64 matrix with a row a sample; raises as `paired`."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ArgumentError(
            f"{function}: {name} must hold real numbers, got dtype {array.dtype}. Encode "
            "categories one-hot."
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ShapeError(
            f"{function}: {name} must have shape (N,) or (N, D) with D >= 1, got {array.shape}. "
            "Flatten each sample into one row."
        )
    found = array.astype(np.float64).reshape(len(array), -1 if len(array) else 1)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise NonFiniteError(
            f"{function}: {name} must be finite, but {len(bad)} of {len(found)} rows hold a NaN "
            f"or an infinity, the first in row {bad[0]} (counted from 0). Drop these rows from x "
            "and from y."
        )
    return found


def sizes(n: int) -> tuple[int, int, int]:
    """Return how many of n rows are for training, validation and test."""
    n_validation, n_test = n * VALIDATION_PERCENT // 100, n * TEST_PERCENT // 100
    return n - n_validation - n_test, n_validation, n_test


def divide(n: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Return the row numbers of train, validation and test, drawn at random from range(n)."""
    order = seeding.numpy_generator(seeding.split(seed, "division")).permutation(n)
    return np.split(order, np.cumsum(sizes(n))[:-1])


@dataclass(frozen=True)
class Scaling:
    """One-to-one map of each column: asinh((value - centre) / spread), which tames heavy tails.

    Attributes:
        centre_D: median of each column.
        spread_D: quartile range over that of a normal variable; standard deviation where that is
            0, and 1 for a constant column.
    """

    centre_D: Matrix
    spread_D: Matrix

    @classmethod
    def of(cls, rows_ND: Matrix) -> Scaling:
        """Return the scaling that these rows, at least one, ask for."""
        low, centre, high = np.quantile(rows_ND, (0.25, 0.5, 0.75), axis=0)
        # A column that mostly repeats one value has no quartile range; a constant one, no spread.
        spread = np.where(high > low, (high - low) / NORMAL_QUARTILE_RANGE, rows_ND.std(axis=0))
        spread = np.where(rows_ND.max(axis=0) > rows_ND.min(axis=0), spread, 1.0)
        return cls(centre, spread)

    def __call__(self, rows_ND: Matrix) -> npt.NDArray[np.float32]:
        """Return the rows scaled, float32."""
        return np.arcsinh((rows_ND - self.centre_D) / self.spread_D).astype(np.float32)


def partitions(n: int, K: int, n_batches: int, seed: int) -> Tensor:
    """Return row numbers, shape (P, M, K): random partitions into M = n // K disjoint batches.

    As many partitions as it takes to have ``n_batches`` batches in all, at least one; the rows
    left over differ from one partition to the next.
    """
    M = n // K
    orders = [
        torch.randperm(n, generator=seeding.torch_generator(seeding.split(seed, "partition", i)))
        for i in range(-(-n_batches // M))
    ]
    return torch.stack([order[: M * K].reshape(M, K) for order in orders])
