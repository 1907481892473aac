"""Synthetic rows for extreme classification: power laws over features and labels, learnable.

Labels and features are ranked by popularity; rank r is drawn with probability about proportional
to r^-a. Every label has a fixed signature of `SIGNATURE` features and a fixed set of `RELATED`
other labels. A row draws a first label, adds labels mostly related to it, and then draws features:
mostly from the signatures of its labels, the rest from all features. So features tell labels, as
far as a label occurs often enough to learn its signature, and most of many labels hardly ever
occur. It is synthetic, and named so wherever it appears.

Values grow with rarity (as tf-idf does), with noise; each row has length 1. Rows are made in blocks
that depend on the seed, the part and the block's number only.
Letters: N = rows, D = features, L = labels, E = entries of all rows of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from sidle import seeding
from sidle.data.extreme import ExtremeDataset
from sidle.errors import ArgumentError

SIGNATURE = 16
"""Features that tell a label."""
RELATED = 6
"""Labels that often occur with a label."""

# In Amazon-670K the most frequent label belongs to 0.4 % of the rows: so does rank 1 here.
_LABEL_EXPONENT = 0.6
_FEATURE_EXPONENT = 0.95  # words of a text without its commonest ones are near 1
_SIGNATURE_EXPONENT = 0.7  # what tells a label is rarer than what any text holds
_FROM_SIGNATURES = 0.6
_FROM_RELATED = 0.7
_ROWS_AT_ONCE = 8192
_Array = np.ndarray[Any, Any]


def power_law_rows(
    n_rows: int,
    *,
    n_features: int,
    n_labels: int,
    features_per_row: float,
    labels_per_row: float,
    seed: int,
    part: str = "train",
) -> ExtremeDataset:
    """Draw rows of one synthetic problem.

    The problem (signatures and related labels) depends on ``seed`` and the sizes, the rows also on
    ``part``: "train" and "test" are independent rows of the same problem.

    Args:
        n_rows: N, at least 1.
        n_features: D, at least 2 * `SIGNATURE`.
        n_labels: L, at least 2 * `RELATED`.
        features_per_row: mean number of non-zeros, from 1 to D / 4; a row has at least one.
        labels_per_row: mean number of labels, from 1 to L / 4; a row has at least one. Repeated
            draws are one, so that both means come out some per cent lower.
        seed: a non-negative integer.
        part: any name.

    Raises:
        ArgumentError: a size out of its range.
    """
    if n_rows < 1 or n_features < 2 * SIGNATURE or n_labels < 2 * RELATED:
        raise ArgumentError(
            f"power_law_rows: needs n_rows of at least 1, n_features of at least {2 * SIGNATURE} "
            f"and n_labels of at least {2 * RELATED}, got {n_rows}, {n_features} and {n_labels}."
        )
    for name, mean, most in (
        ("features_per_row", features_per_row, n_features / 4),
        ("labels_per_row", labels_per_row, n_labels / 4),
    ):
        if not 1 <= mean <= most:
            raise ArgumentError(f"power_law_rows: {name} must be from 1 to {most}, got {mean}.")
    blocks = []
    for block, first in enumerate(range(0, n_rows, _ROWS_AT_ONCE)):
        generator = seeding.numpy_generator(seeding.split(seed, "rows", part, block))
        rows = min(_ROWS_AT_ONCE, n_rows - first)
        labels = _labels(rows, n_labels, labels_per_row, seed, generator)
        features = _features(labels, n_features, n_labels, features_per_row, seed, generator)
        blocks.append((features, labels))
    return ExtremeDataset(
        _stacked([features for features, _ in blocks], n_features, seed, "feature"),
        _stacked([(*labels, None) for _, labels in blocks], n_labels, seed, "label"),
    )


def _rank(uniform: _Array, n: int, exponent: float) -> _Array:
    """Return ranks from 0 to n - 1, int64, with P(rank r) about proportional to (r + 1)^-a."""
    power = 1 - exponent
    ranks = (1 + uniform * ((n + 1) ** power - 1)) ** (1 / power)
    capped: _Array = np.minimum(ranks.astype(np.int64) - 1, n - 1)
    return capped


def _fixed(seed: int, name: str, *keys: _Array) -> _Array:
    """Return numbers in [0, 1) that are a fixed random function of ``keys``."""
    mixed: _Array = np.full(len(keys[0]), seeding.split(seed, name), np.uint64)
    for key in keys:
        # The finaliser of splitmix64 (Steele, Lea & Flood 2014, figure 16); it wraps on purpose.
        mixed = (mixed ^ key.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    uniform: _Array = (mixed >> np.uint64(11)) * 2.0**-53
    return uniform


def _labels(
    n_rows: int, n_labels: int, mean: float, seed: int, generator: np.random.Generator
) -> tuple[_Array, _Array]:
    """Return row starts and ranks of labels; the first of a row is its first label."""
    numbers = 1 + generator.poisson(mean - 1, n_rows)
    first = _rank(generator.random(n_rows), n_labels, _LABEL_EXPONENT)
    ranks = np.repeat(first, numbers)
    related = _fixed(seed, "related", ranks, generator.integers(0, RELATED, len(ranks)))
    drawn = generator.random(len(ranks))
    source = np.where(generator.random(len(ranks)) < _FROM_RELATED, related, drawn)
    starts = np.concatenate([[0], np.cumsum(numbers)])
    others = _rank(source, n_labels, _LABEL_EXPONENT)
    others[starts[:-1]] = first
    return _distinct(starts, others)[:2]


def _features(
    labels: tuple[_Array, _Array],
    n_features: int,
    n_labels: int,
    mean: float,
    seed: int,
    generator: np.random.Generator,
) -> tuple[_Array, _Array, _Array]:
    """Return row starts, ranks of features and values."""
    label_starts, label_ranks = labels
    n_rows = len(label_starts) - 1
    # Lengths vary as those of texts: a Poisson whose mean is itself drawn (gamma, shape 4).
    lengths = np.maximum(generator.poisson(generator.gamma(4.0, mean / 4.0, n_rows)), 1)
    row_E = np.repeat(np.arange(n_rows), lengths)
    n_of_row = np.diff(label_starts)[row_E]
    which = (generator.random(len(row_E)) * n_of_row).astype(np.int64)
    label_E = label_ranks[label_starts[row_E] + which]
    telling = _rank(
        _fixed(seed, "signature", label_E, generator.integers(0, SIGNATURE, len(row_E))),
        n_features,
        _SIGNATURE_EXPONENT,
    )
    other = _rank(generator.random(len(row_E)), n_features, _FEATURE_EXPONENT)
    ranks = np.where(generator.random(len(row_E)) < _FROM_SIGNATURES, telling, other)
    starts, ranks, counts = _distinct(np.concatenate([[0], np.cumsum(lengths)]), ranks)
    values = (1 + np.log(counts)) * np.log(ranks + 3.0)
    values *= np.exp(generator.normal(0, 0.2, len(values)))
    norms = np.sqrt(np.add.reduceat(values**2, starts[:-1]))
    return starts, ranks, (values / np.repeat(norms, np.diff(starts))).astype(np.float32)


def _distinct(starts: _Array, ranks: _Array) -> tuple[_Array, _Array, _Array]:
    """Sort each row and merge what comes twice; return starts, ranks and how often each came."""
    row_E = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    # One number for both, so that one sort does; ranks stay far below 2^32.
    both, counts = np.unique(row_E << 32 | ranks, return_counts=True)
    lengths = np.bincount(both >> 32, minlength=len(starts) - 1)
    return np.concatenate([[0], np.cumsum(lengths)]), both & 0xFFFFFFFF, counts


def _stacked(
    blocks: list[tuple[_Array, _Array, _Array | None]], n_columns: int, seed: int, name: str
) -> csr_array:
    """Return one matrix; ranks become columns by a fixed shuffle, so that order tells nothing."""
    generator = seeding.numpy_generator(seeding.split(seed, "columns", name))
    column_of_rank = generator.permutation(n_columns).astype(np.int32)
    indices = np.concatenate([column_of_rank[ranks] for _, ranks, _ in blocks])
    lengths = np.concatenate([np.diff(starts) for starts, _, _ in blocks])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    if indptr[-1] < 2**31:
        indptr = indptr.astype(np.int32)
    values = np.ones(len(indices), np.float32)
    if blocks[0][2] is not None:
        values = np.concatenate([block for _, _, block in blocks if block is not None])
    matrix = csr_array((values, indices, indptr), shape=(len(lengths), n_columns))
    matrix.sort_indices()
    return matrix
