"""Weights of words: tf-idf, where rows hold counts, and rows scaled to length 1.

Rows get their weights when they are taken (`WeightedRows`), a few at a time, so that rows that lie
on disk stay there and rows in memory are there once.

weight = (1 + ln tf) ln(1 + N / df), with tf the count in the row and df the rows that have the
word; Manning, Raghavan & Schuetze 2008, Introduction to Information Retrieval, section 6.4.
Letters: N = rows, D = features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sidle import seeding

SCHEMES = ("auto", "tfidf", "none")

_ENTRIES_AT_ONCE = 2**22
_ROWS_AT_ONCE = 8192
_Array = np.ndarray[Any, Any]


def are_counts(rows: csr_array) -> bool:
    """Return whether every entry is a whole number of at least 1, and there is one."""
    return rows.nnz > 0 and all(
        bool((part >= 1).all() and (part == np.rint(part)).all()) for part in _parts(rows.data)
    )


def are_positive(rows: csr_array) -> bool:
    """Return whether every entry is above 0."""
    return all(bool((part > 0).all()) for part in _parts(rows.data))


def inverse_frequency(rows: csr_array) -> _Array:
    """Return ln(1 + N / df) of each feature, float32 (D,); ln(1 + N) where no row has it."""
    frequency = np.zeros(rows.shape[1], np.int64)
    for part in _parts(rows.indices):
        frequency += np.bincount(part, minlength=rows.shape[1])
    weights: _Array = np.log1p(rows.shape[0] / np.maximum(frequency, 1))
    return weights.astype(np.float32)


def _parts(entries: _Array) -> Iterator[_Array]:
    for start in range(0, len(entries), _ENTRIES_AT_ONCE):
        yield entries[start : start + _ENTRIES_AT_ONCE]


@dataclass(frozen=True, eq=False)
class WeightedRows:
    """Rows that get their weights when they are taken.

    Attributes:
        rows: as they were given, CSR (N, D); its arrays may be mapped from a file.
        idf: as of `weigh`.
    """

    rows: csr_array
    idf: _Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        return self.rows.shape[0], self.rows.shape[1]

    def take(self, numbers: _Array) -> csr_array:
        """Return the weighted rows of these numbers, in their order."""
        return weigh(self.rows[numbers], self.idf)

    def blocks(self, numbers: _Array) -> Iterator[tuple[_Array, csr_array]]:
        """Yield some of the numbers and their rows, until all were taken."""
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            some = numbers[start : start + _ROWS_AT_ONCE]
            yield some, self.take(some)


def some_of(numbers: _Array, most: int | None, seed: int) -> _Array:
    """Return at most so many of the numbers, drawn by chance, in their order; None: all."""
    if most is None or len(numbers) <= most:
        return numbers
    chosen = seeding.numpy_generator(seed).permutation(len(numbers))[:most]
    found: _Array = numbers[np.sort(chosen)]
    return found


def weigh(rows: csr_array, idf_D: _Array | None) -> csr_array:
    """Return rows of length 1 (empty ones stay empty), float32.

    Args:
        rows: CSR, (N, D). With idf_D each entry must be positive.
        idf_D: (D,), from training rows; None: entries keep their weights.
    """
    values = rows.data.astype(np.float32)
    if idf_D is not None:
        values = (1 + np.log(values)) * idf_D[rows.indices]
    numbers = np.diff(rows.indptr)
    row_E = np.repeat(np.arange(rows.shape[0]), numbers)
    # float64, so that squares of float32 neither overflow nor vanish.
    squares = np.bincount(row_E, values.astype(np.float64) ** 2, minlength=rows.shape[0])
    scale = np.divide(1.0, np.sqrt(squares), out=np.zeros(rows.shape[0]), where=squares > 0)
    weighed = csr_array(
        ((values * scale[row_E]).astype(np.float32), rows.indices, rows.indptr), shape=rows.shape
    )
    weighed.has_sorted_indices = rows.has_sorted_indices
    return weighed
