"""What training rows say about the labels of a new row, without any training.

Each label has a profile, the mean of its rows, scaled to length 1; each word gives a share of its
rows to every label; and the nearest training rows vote. All three are sparse links from features to
labels, found in one pass over the training rows, and complement a network, whose bottleneck
forgets what rare words say. They name few candidate labels a row and give each of them `FEATURES`.
Letters: N = rows, D = features, L = labels, C = candidates of a row, K = nearest rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sidle.slide import memory
from sidle.slide.kernels import retrieval as kernels
from sidle.slide.threads import spread

_Array = np.ndarray[Any, Any]

FEATURES = (
    "cosine", "log cosine", "word share", "log word share", "votes", "log votes", "sharp votes",
    "log sharp votes", "largest product", "log rows",
)  # fmt: skip

_PRIOR_ROWS = 2.0  # a word seen in few rows says little: shares are n / (df + 2)
_FLOORS = (1e-2, 1e-3, 1e-3, 1e-3)  # added before a logarithm is taken


@dataclass(frozen=True, eq=False)
class _Postings:
    """For each feature, what has it: starts (D + 1,), items and two weights a posting."""

    starts: _Array
    items: _Array
    weights: _Array
    shares: _Array


class Evidence:
    """An index of training rows.

    Args:
        rows: (N, D), float32 CSR of weighted rows, each of length 1 (or empty).
        labels: (N, L), CSR with entries 1.
        neighbours: K, how many nearest rows vote; 0: none.
        budget: postings read for a row at most, rarest words first.
        candidates: labels that the evidence names for a row at most.
        threads: how many share the work.
        rows_of_label: how often each label occurs, (L,); None: as in these rows.

    Raises:
        ArgumentError: the index would not fit into memory.
    """

    def __init__(
        self,
        rows: csr_array,
        labels: csr_array,
        *,
        neighbours: int,
        budget: int,
        candidates: int,
        threads: int,
        rows_of_label: _Array | None = None,
    ) -> None:
        pairs = int(np.diff(rows.indptr).astype(np.int64) @ np.diff(labels.indptr))
        memory.require(
            48 * pairs, "ExtremeClassifier", f"{pairs:,} links from words to labels (evidence)",
            remedy="Draw it from fewer rows (evidence_rows), or use a larger machine.",
        )  # fmt: skip
        self.rows, self.labels = rows, labels
        self.neighbours = min(neighbours, rows.shape[0])
        self.budget, self.threads = budget, threads
        self.candidates = min(candidates, labels.shape[1])
        if rows_of_label is None:
            rows_of_label = np.bincount(labels.indices, minlength=labels.shape[1])
        self.rows_of_label = rows_of_label
        self._near = _by_feature(rows) if self.neighbours else None
        self._profiles = _profiles(rows, labels)

    def __call__(self, rows: csr_array, proposed_NQ: _Array) -> tuple[_Array, _Array]:
        """Return candidate labels (N, C), -1 where fewer, and their features (N, C, 10).

        Args:
            rows: weighted as the training rows, (N, D).
            proposed_NQ: labels that shall be candidates too, (N, Q) int64, -1 for none.
        """
        n, n_labels = rows.shape[0], self.labels.shape[1]
        near, products = self._nearest(rows)
        width = self.candidates + proposed_NQ.shape[1]
        found = np.full((n, width), -1, np.int32)
        numbers = np.zeros((n, width, 5), np.float32)
        profiles = self._profiles
        spread(
            kernels.evidence, *_rarest_first(rows, profiles.starts), profiles.starts,
            profiles.items, profiles.weights, profiles.shares, self.budget, near, products,
            self.labels.indptr, self.labels.indices, proposed_NQ, found, numbers,
            items=n, threads=self.threads, least=16,
            of_part=[
                (
                    np.zeros((n_labels, 5), np.float32), np.zeros(n_labels, np.uint8),
                    np.zeros(n_labels + 1, np.int32), np.zeros(self.candidates, np.float32),
                )
                for _ in range(self.threads)
            ],
        )  # fmt: skip
        return found, self._features(found, numbers)

    def _nearest(self, rows: csr_array) -> tuple[_Array, _Array]:
        """Return the nearest training rows and products with them, best first."""
        n = rows.shape[0]
        found = np.full((n, self.neighbours), -1, np.int32)
        products = np.zeros((n, self.neighbours), np.float32)
        if self._near is None:
            return found, products
        n_train = self.rows.shape[0]
        spread(
            kernels.nearest, *_rarest_first(rows, self._near.starts), self._near.starts,
            self._near.items, self._near.weights, self.budget, found, products,
            items=n, threads=self.threads, least=16,
            of_part=[
                (np.zeros(n_train, np.float32), np.zeros(n_train, np.bool_),
                 np.zeros(n_train, np.int32))
                for _ in range(self.threads)
            ],
        )  # fmt: skip
        order = np.argsort(-products, axis=1, kind="stable")
        return np.take_along_axis(found, order, 1), np.take_along_axis(products, order, 1)

    def _features(self, found_NC: _Array, numbers_NC5: _Array) -> _Array:
        columns = []
        for j, floor in enumerate(_FLOORS):
            number = numbers_NC5[:, :, j]
            columns += [number, np.log(np.maximum(number, 0) + np.float32(floor))]
        log_rows = np.log(self.rows_of_label + 1.0).astype(np.float32)
        columns += [numbers_NC5[:, :, 4], log_rows[np.maximum(found_NC, 0)]]
        return np.stack(columns, axis=2)


def _by_feature(rows: csr_array) -> _Postings:
    turned = rows.T.tocsr()
    return _Postings(
        turned.indptr.astype(np.int64), turned.indices.astype(np.int32), turned.data, turned.data
    )


def _profiles(rows: csr_array, labels: csr_array) -> _Postings:
    """Return, by feature, the labels it is linked to, with profile weights and shares."""
    turned = labels.T.tocsr().astype(np.float32)
    sums = (turned @ rows).tocsr()
    there = rows.copy()
    there.data = np.ones_like(rows.data)
    counts = (turned @ there).tocsr()
    sums.sort_indices()
    counts.sort_indices()
    lengths = np.sqrt(
        np.bincount(
            np.repeat(np.arange(sums.shape[0]), np.diff(sums.indptr)),
            sums.data.astype(np.float64) ** 2, minlength=sums.shape[0],
        )
    )  # fmt: skip
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    frequency = np.bincount(rows.indices, minlength=rows.shape[1])
    sums.data *= np.repeat(scale, np.diff(sums.indptr)).astype(np.float32)
    counts.data /= (frequency[counts.indices] + _PRIOR_ROWS).astype(np.float32)
    by_sums, by_counts = sums.T.tocsr(), counts.T.tocsr()
    return _Postings(
        by_sums.indptr.astype(np.int64), by_sums.indices.astype(np.int32), by_sums.data,
        by_counts.data,
    )  # fmt: skip


def _rarest_first(rows: csr_array, starts_F: _Array) -> tuple[_Array, _Array, _Array]:
    """Return the arrays of ``rows``, the entries of each row by length of their posting list."""
    row_E = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((np.diff(starts_F)[rows.indices], row_E))
    return rows.indptr.astype(np.int64), rows.indices[order], rows.data[order]
