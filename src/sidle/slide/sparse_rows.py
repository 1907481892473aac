"""Sparse rows as users have them, checked and turned into plain arrays.

What comes in: a SciPy CSR matrix or array, or a torch tensor of layout ``torch.sparse_csr``, of
shape (N, C); for labels also class indices of shape (N,). What comes out: ``SparseRows`` with
indptr (N + 1,), indices (E,) in [0, C) and values (E,).
Letters: N = rows, C = columns, E = entries of all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.slide.kernels import embedding as kernels


@dataclass(frozen=True, eq=False)
class SparseRows:
    """N rows: row n has the entries indptr[n] to indptr[n + 1].

    Attributes:
        indptr: int64, (N + 1,), from 0, never falling.
        indices: int32 or int64, (E,), columns.
        values: float32, (E,).
    """

    indptr: np.ndarray[Any, Any]
    indices: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.indptr) - 1


def read_rows(rows: Any, n_columns: int, where: str) -> SparseRows:
    """Return the checked arrays of a CSR matrix.

    Raises:
        ShapeError: no CSR matrix of ``n_columns`` columns.
        ArgumentError: an index out of range.
        NonFiniteError: a value is NaN or infinite.
    """
    if isinstance(rows, Tensor) and rows.layout == torch.sparse_csr:
        indptr, indices, values = (
            part.detach().cpu().numpy()
            for part in (rows.crow_indices(), rows.col_indices(), rows.values())
        )
    elif getattr(rows, "format", None) == "csr":
        indptr, indices, values = rows.indptr, rows.indices, rows.data
    else:
        raise ShapeError(
            f"{where}: expected a SciPy CSR matrix or a torch.sparse_csr tensor of shape "
            f"(N, {n_columns}), got {type(rows).__name__}. Convert with `.tocsr()` or "
            "`.to_sparse_csr()`."
        )
    shape = tuple(rows.shape)
    if len(shape) != 2 or shape[1] != n_columns:
        raise ShapeError(f"{where}: expected shape (N, {n_columns}), got {shape}.")
    return checked(indptr, indices, values, n_columns, where)


def checked(indptr: Any, indices: Any, values: Any, n_columns: int, where: str) -> SparseRows:
    """Return the arrays of a CSR matrix, checked and in our types.

    Raises:
        ShapeError: arrays that do not fit together.
        ArgumentError: an index out of range.
        NonFiniteError: a value is NaN or infinite.
    """
    indptr = np.ascontiguousarray(indptr, np.int64)
    indices = np.ascontiguousarray(indices)
    values = np.ascontiguousarray(values, np.float32)
    if indices.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
        raise ArgumentError(f"{where}: indices must be int32 or int64, got {indices.dtype}.")
    ends = (int(indptr[0]), int(indptr[-1])) if indptr.size else (-1, -1)
    if ends != (0, len(indices)) or len(values) != len(indices) or (np.diff(indptr) < 0).any():
        raise ShapeError(
            f"{where}: expected row starts that rise from 0 to the number of entries, and as many "
            f"values as indices; got starts from {ends[0]} to {ends[1]}, {len(indices)} indices "
            f"and {len(values)} values."
        )
    if len(indices):
        least, most = kernels.least_and_most(indices)
        if least < 0 or most >= n_columns:
            raise ArgumentError(
                f"{where}: indices must be from 0 to {n_columns - 1}, got "
                f"{least if least < 0 else most}."
            )
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise NonFiniteError(f"{where}: a value is NaN or infinite. Clean the rows first.")
    return SparseRows(indptr, indices, values)


def read_labels(
    labels: Any, n_rows: int, n_labels: int, objective: str, where: str
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return row starts (N + 1,) and labels (E,), both int64.

    Args:
        labels: class indices (N,), or CSR (N, n_labels) whose entries are 1.
        n_rows: N.
        n_labels: how many labels there are.
        objective: "softmax" takes one label a row, "multilabel" one or more, "one_versus_all" any
            number.
        where: for messages.

    Raises:
        ShapeError: another number of rows or columns.
        ArgumentError: a label out of range, a wrong number of labels in a row, entries other
            than 1.
    """
    if getattr(labels, "format", None) == "csr" or (
        isinstance(labels, Tensor) and labels.layout == torch.sparse_csr
    ):
        rows = read_rows(labels, n_labels, f"{where}: labels")
        indptr, indices = rows.indptr, rows.indices.astype(np.int64, copy=False)
        if not (rows.values == 1).all():
            raise ArgumentError(
                f"{where}: the entries of labels must be 1, got {rows.values[rows.values != 1][0]}."
                " Weighted labels are not supported; set `labels.data[:] = 1`."
            )
        disordered = kernels.first_disorder(indptr, indices)
        if disordered >= 0:
            raise ArgumentError(
                f"{where}: the labels of row {disordered} do not ascend, or one comes twice. Call "
                "`labels.sum_duplicates()` and set its entries to 1 again."
            )
    else:
        classes = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
        if classes.ndim != 1 or not np.issubdtype(classes.dtype, np.integer):
            raise ShapeError(
                f"{where}: labels must be integers of shape ({n_rows},) or CSR of shape "
                f"({n_rows}, {n_labels}), got {classes.dtype} of shape {classes.shape}."
            )
        indices = np.ascontiguousarray(classes, np.int64)
        indptr = np.arange(len(indices) + 1)
        if len(indices) and not 0 <= indices.min() <= indices.max() < n_labels:
            wrong = indices[(indices < 0) | (indices >= n_labels)][0]
            raise ArgumentError(
                f"{where}: labels must be from 0 to {n_labels - 1}, got {wrong}. Count classes "
                "from 0, or make the layer wider."
            )
    if len(indptr) - 1 != n_rows:
        raise ShapeError(f"{where}: got {n_rows} rows of hidden but {len(indptr) - 1} of labels.")
    _check_numbers(np.diff(indptr), objective, where)
    return indptr, indices


def _check_numbers(numbers_N: np.ndarray[Any, Any], objective: str, where: str) -> None:
    """Refuse rows with too few or too many labels for the objective."""
    if objective == "softmax" and (numbers_N != 1).any():
        row = int(np.flatnonzero(numbers_N != 1)[0])
        raise ArgumentError(
            f"{where}: objective 'softmax' takes one label a row, but row {row} has "
            f"{numbers_N[row]}. Use objective 'multilabel' or 'one_versus_all'."
        )
    if objective == "multilabel" and (numbers_N == 0).any():
        row = int(np.flatnonzero(numbers_N == 0)[0])
        raise ArgumentError(
            f"{where}: row {row} has no label, so that objective 'multilabel' has no target for "
            "it. Leave such rows out, or use objective 'one_versus_all'."
        )
