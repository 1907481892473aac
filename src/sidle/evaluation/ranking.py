"""How good the first k labels of a ranking are: P@k, nDCG@k and propensity-scored PSP@k.

The objects all functions share: ranked_NK, for each row the predicted labels, best first (-1 where
there is none), and the true labels as a CSR matrix (N, L). Rows without a true label count as
misses in P@k and PSP@k, as everywhere in extreme classification; nDCG@k is 0 for them.
Letters: N = rows, L = labels, K = labels ranked in a row.
References: [P] Jain, Prabhu & Varma 2016, "Extreme Multi-label Loss Functions for Recommendation,
Tagging, Ranking & Other Missing Label Applications", KDD; [R] the Extreme Classification
Repository, http://manikvarma.org/downloads/XC/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sidle.errors import ArgumentError, ShapeError

_Array = np.ndarray[Any, Any]

CUTOFFS = (1, 3, 5)
"""The usual k."""


def precision_at_k(ranked_NK: _Array, labels: Any, k: int) -> float:
    """Return P@k, in [0, 1]: the mean over rows of the share of true ones among the first k.

    Args:
        ranked_NK: integers, (N, K) with K >= k, distinct within a row apart from -1.
        labels: CSR, (N, L); an entry other than 0 is a true label.
        k: at least 1.

    Raises:
        ShapeError: shapes that do not fit together, or K < k.
        ArgumentError: a label out of range, or one that comes twice in a row.
    """
    return float(_hits(ranked_NK, labels, k).mean())


def ndcg_at_k(ranked_NK: _Array, labels: Any, k: int) -> float:
    """Return nDCG@k, in [0, 1]: gains discounted by log2(1 + place), over the best possible [R].

    Arguments and errors as in `precision_at_k`.
    """
    hits_NK = _hits(ranked_NK, labels, k)
    discounts_K = 1.0 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(discounts_K)])
    ideal_N = best[np.minimum(_numbers(labels), k)]
    gained_N = hits_NK @ discounts_K
    return float(
        np.divide(gained_N, ideal_N, out=np.zeros_like(gained_N), where=ideal_N > 0).mean()
    )


def propensities(labels: Any, *, a: float = 0.55, b: float = 1.5) -> _Array:
    """Return the estimated probability that a true label of each kind is recorded, (L,), [P].

    p = 1 / (1 + C (n + b)^-a) with C = (log N - 1) (b + 1)^a and n the label's training rows.

    Args:
        labels: of the training rows, CSR (N, L), N >= 3 (below, C would be negative).
        a: 0.55 by default, as [P] says for sets not measured; 0.5 for Wikipedia, 0.6 for Amazon.
        b: 1.5 by default; 0.4 for Wikipedia, 2.6 for Amazon.

    Raises:
        ArgumentError: N < 3, or a or b are not positive.
    """
    rows_L = np.bincount(labels.indices[labels.data != 0], minlength=labels.shape[1])
    return propensities_of_counts(rows_L, labels.shape[0], a=a, b=b)


def propensities_of_counts(
    rows_L: _Array, n_rows: int, *, a: float = 0.55, b: float = 1.5
) -> _Array:
    """Return `propensities` of labels of which only the number of training rows is known.

    Args:
        rows_L: training rows of each label, (L,).
        n_rows: N, at least 3.
        a: as of `propensities`.
        b: as of `propensities`.

    Raises:
        ArgumentError: as `propensities`.
    """
    if n_rows < 3 or a <= 0 or b <= 0:
        raise ArgumentError(
            f"propensities: expected at least 3 rows, a > 0 and b > 0, got {n_rows}, {a} and {b}."
        )
    factor = (np.log(n_rows) - 1) * (b + 1) ** a
    propensities_L: _Array = 1 / (1 + factor * (rows_L + b) ** -a)
    return propensities_L


def psp_at_k(ranked_NK: _Array, labels: Any, propensities_L: _Array, k: int) -> float:
    """Return PSP@k, in [0, 1]: hits weighted by 1 / propensity, over the best possible [P], [R].

    Args:
        ranked_NK: as in `precision_at_k`.
        labels: as in `precision_at_k`.
        propensities_L: (L,), in (0, 1], of the training rows (`propensities`).
        k: at least 1.

    Raises:
        ShapeError, ArgumentError: as in `precision_at_k`, or propensities out of (0, 1].
    """
    n_labels = labels.shape[1]
    if propensities_L.shape != (n_labels,):
        raise ShapeError(
            f"psp_at_k: expected propensities of shape ({n_labels},), got {propensities_L.shape}."
        )
    if not ((propensities_L > 0) & (propensities_L <= 1)).all():
        raise ArgumentError("psp_at_k: propensities must lie in (0, 1]; see `propensities`.")
    hits_NK = _hits(ranked_NK, labels, k)
    weights_L = 1 / propensities_L
    gained = float((hits_NK * weights_L[np.maximum(np.asarray(ranked_NK)[:, :k], 0)]).sum())
    possible = 0.0
    true = labels.data != 0
    for start, stop in zip(labels.indptr[:-1], labels.indptr[1:], strict=True):
        weights = weights_L[labels.indices[start:stop][true[start:stop]]]
        possible += float(np.sort(weights)[::-1][:k].sum())
    return gained / possible if possible > 0 else 0.0


def ranking_metrics(
    ranked_NK: _Array,
    labels: Any,
    propensities_L: _Array | None = None,
    *,
    cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, float]:
    """Return "p@k", "ndcg@k" and, with propensities, "psp@k" for each k of ``cutoffs``."""
    found = {f"p@{k}": precision_at_k(ranked_NK, labels, k) for k in cutoffs}
    found |= {f"ndcg@{k}": ndcg_at_k(ranked_NK, labels, k) for k in cutoffs}
    if propensities_L is not None:
        found |= {f"psp@{k}": psp_at_k(ranked_NK, labels, propensities_L, k) for k in cutoffs}
    return found


def _numbers(labels: Any) -> _Array:
    """Return how many true labels each row has."""
    counts: _Array = np.diff(np.concatenate([[0], np.cumsum(labels.data != 0)])[labels.indptr])
    return counts


def _hits(ranked_NK: _Array, labels: Any, k: int) -> _Array:
    """Return, as float64 (N, k), which of the first k labels are true."""
    ranked = np.asarray(ranked_NK)
    if getattr(labels, "format", None) != "csr":
        raise ShapeError(f"ranking: labels must be a CSR matrix, got {type(labels).__name__}.")
    n_rows, n_labels = labels.shape
    if ranked.ndim != 2 or len(ranked) != n_rows or n_rows == 0 or not 1 <= k <= ranked.shape[1]:
        raise ShapeError(
            f"ranking: expected ranked labels of shape ({n_rows}, at least {k}) and at least one "
            f"row, got {ranked.shape}. Rank at least as many labels as the largest k."
        )
    ranked = ranked[:, :k].astype(np.int64)
    if ranked.size and not -1 <= ranked.min() <= ranked.max() < n_labels:
        raise ArgumentError(
            f"ranking: labels must be from 0 to {n_labels - 1}, or -1 for none, got "
            f"{ranked.min()} to {ranked.max()}."
        )
    ordered = np.sort(ranked, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ArgumentError("ranking: a label comes twice in the ranking of a row.")
    rows_E = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(labels.indptr))
    true_E = (rows_E * n_labels + labels.indices)[labels.data != 0]
    keys_NK = np.arange(n_rows, dtype=np.int64)[:, None] * n_labels + ranked
    hits: _Array = (np.isin(keys_NK, true_E) & (ranked >= 0)).astype(np.float64)
    return hits
