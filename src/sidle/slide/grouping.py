"""Updates of the rows that samples touched, each with a factor: regrouped by row, then summed.

Entry (sample n, row r, value x) says that row r's gradient has the part x * source_n. The
deterministic way sorts all entries by row and updates each row once, whatever the number of
threads. Hogwild ([H]): each thread takes a part of the samples, sorts its own entries and updates
rows at once, without locks; rows that several parts touch are updated several times in a step, and
now and then one thread overwrites what another wrote.
Letters: N = samples, E = entries, R = rows of the matrix, U = rows touched, D = columns.
Reference: [H] Niu, Recht, Re & Wright 2011, NeurIPS, arXiv:1106.5730.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle.slide.kernels import embedding as kernels
from sidle.slide.kernels import per_sample
from sidle.slide.row_updates import RowUpdates
from sidle.slide.threads import at_once, spread

_Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Grouped:
    """Entries by row.

    Attributes:
        rows: int64, (U,), none twice.
        starts: int64, (U + 1,): the entries of row u are starts[u] to starts[u + 1].
        samples: int32, (E,).
        values: float32, (E,).
    """

    rows: _Array
    starts: _Array
    samples: _Array
    values: _Array

    def sums(self) -> _Array:
        """Return the sum of each row's values, float32, (U,)."""
        sums = np.empty(len(self.rows), np.float32)
        per_sample.sum_groups(self.starts, self.values, sums)
        return sums

    def gradient(self, source_ND: _Array, threads: int) -> Tensor:
        """Return the rows' gradients, (U, D)."""
        gradient = torch.empty(len(self.rows), source_ND.shape[1])
        spread(
            kernels.gradient, self.starts, self.samples, self.values, source_ND, gradient.numpy(),
            items=len(self.rows), threads=threads,
        )  # fmt: skip
        return gradient


class Grouper:
    """Sorts entries by row; holds the memory that this takes.

    Args:
        n_rows: R.
        parts: how many threads group at the same time.
    """

    def __init__(self, n_rows: int, parts: int = 1) -> None:
        self._n_rows, self.parts = n_rows, parts
        self._places: list[_Array] = []

    def group(self, indptr_N: _Array, rows_E: _Array, values_E: _Array, part: int = 0) -> Grouped:
        """Return the entries of samples, given as CSR, by row; within a row samples ascend."""
        while len(self._places) <= part:
            self._places.append(np.full(self._n_rows, -1, np.int32))
        n = len(rows_E)
        rows, starts = np.empty(n, np.int64), np.empty(n + 1, np.int64)
        samples, values = np.empty(n, np.int32), np.empty(n, np.float32)
        n_touched = kernels.regroup(
            indptr_N, rows_E, values_E, self._places[part], rows, starts, samples, values
        )
        return Grouped(rows[:n_touched], starts[: n_touched + 1], samples, values)

    def update(
        self,
        weight: Tensor,
        updates: RowUpdates,
        bias: tuple[Tensor, RowUpdates] | None,
        entries: tuple[_Array, _Array, _Array],
        source_ND: _Array,
        *,
        step: int,
        lr: float,
        threads: int,
    ) -> list[Grouped]:
        """Update the touched rows of ``weight`` and, if given, of a bias (R,), one per row.

        Args:
            weight: (R, D).
            updates: its optimiser.
            bias: a vector (R,) whose gradient is the sum of a row's values, and its optimiser.
            entries: indptr (N + 1,), rows (E,), values (E,).
            source_ND: what values multiply.
            step: number of this update.
            lr: learning rate.
            threads: of the deterministic way; Hogwild has ``parts`` of them.

        Returns:
            The entries by row, one object for each part.
        """
        indptr_N, rows_E, values_E = entries

        def part(number: int, first: int, stop: int, threads: int) -> Grouped:
            begin, end = indptr_N[first], indptr_N[stop]
            own = indptr_N[first : stop + 1] - begin
            grouped = self.group(own, rows_E[begin:end], values_E[begin:end], number)
            updates.update_grouped(
                weight, grouped.starts, grouped.samples, grouped.values, source_ND[first:stop],
                grouped.rows, step=step, lr=lr, threads=threads,
            )  # fmt: skip
            if bias is not None:
                sums = grouped.sums()[:, None]
                bias[1].update(
                    bias[0].unsqueeze(1), grouped.rows, sums, scale=1.0, step=step, lr=lr
                )
            return grouped

        n = len(indptr_N) - 1
        if self.parts == 1 or n < 2 * self.parts:
            return [part(0, 0, n, threads)]
        bounds = [n * number // self.parts for number in range(self.parts + 1)]
        return at_once(
            [
                functools.partial(part, number, bounds[number], bounds[number + 1], 1)
                for number in range(self.parts)
            ]
        )
