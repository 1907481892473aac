"""Weights of words: tf-idf, where rows hold counts, and rows scaled to length 1.

weight = (1 + ln tf) ln(1 + N / df), with tf the count in the row and df the rows that have the
word; Manning, Raghavan & Schuetze 2008, Introduction to Information Retrieval, section 6.4.
Letters: N = rows, D = features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

SCHEMES = ("auto", "tfidf", "none")


def are_counts(rows: csr_array) -> bool:
    """Return whether every entry is a whole number of at least 1, and there is one."""
    return rows.nnz > 0 and bool((rows.data >= 1).all() and (rows.data == np.rint(rows.data)).all())


def inverse_frequency(rows: csr_array) -> np.ndarray[Any, Any]:
    """Return ln(1 + N / df) of each feature, float32 (D,); ln(1 + N) where no row has it."""
    frequency = np.bincount(rows.indices, minlength=rows.shape[1])
    weights: np.ndarray[Any, Any] = np.log1p(rows.shape[0] / np.maximum(frequency, 1))
    return weights.astype(np.float32)


def weigh(rows: csr_array, idf_D: np.ndarray[Any, Any] | None) -> csr_array:
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
