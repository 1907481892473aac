"""Linear probes: what can be read off frozen features by a linear classifier?

    found = linear_probe(train_features, train_labels, test_features, test_labels)
    found.accuracy, found.strength

Multinomial logistic regression (scikit-learn's) on features brought to mean 0 and variance 1 by the
training rows. How much weights are held small is chosen on held-out training rows, from much to
little until these are read worse; then all training rows are fitted again: test rows choose
nothing. Where rows come in groups (the frames of a recording, the recordings of a speaker), groups
are held out whole, as rows of one group tell each other's labels.

Levels: an image or a sequence is a row (`sidle.cpc`'s ``represent`` pools); `frames` makes a row of
every step of sequences. `label_fraction` picks the few labels that label efficiency is measured
with, `leave_groups_out` the rows of held-out speakers.

Letters: N = rows; F = features; B = sequences; T = steps.
References: Alain & Bengio 2016, arXiv:1610.01644 (linear probes). van den Oord et al. 2018,
arXiv:1807.03748, section 3 (their use for representations).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError

Array = npt.NDArray[Any]

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)
"""Penalties on half the squared weights, beside the sum of losses over the training rows."""
HELD_OUT = 0.2  # of the rows or groups, to choose the strength by
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Probe:
    """How well a linear classifier reads labels off features.

    Attributes:
        accuracy: share of test rows that is right.
        train_accuracy: of training rows.
        strength: the penalty chosen.
        n_train: rows fitted.
        n_test: rows tested.
        n_classes: classes among the training rows.
        converged: whether the fit came to rest within its iterations.
    """

    accuracy: float
    train_accuracy: float
    strength: float
    n_train: int
    n_test: int
    n_classes: int
    converged: bool

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


def linear_probe(
    train_features: Tensor | Array,
    train_labels: Tensor | Array,
    test_features: Tensor | Array,
    test_labels: Tensor | Array,
    *,
    groups: Sequence[Any] | Array | None = None,
    strengths: Sequence[float] = STRENGTHS,
    max_iterations: int = MAX_ITERATIONS,
    seed: int = 0,
) -> Probe:
    """Fit a linear classifier to training rows and test it.

    Args:
        train_features: (N, F), finite.
        train_labels: whole numbers (N,), of two classes at least.
        test_features: (M, F).
        test_labels: (M,); a class that training rows lack counts as wrong.
        groups: group of each training row, (N,), held out whole where the strength is chosen; None:
            each row is its own.
        strengths: penalties to choose from, positive, the largest tried first; a single one is
            taken as it is.
        max_iterations: of each fit.
        seed: of the rows held out.

    Raises:
        ShapeError: shapes that do not fit each other.
        NonFiniteError: a feature is NaN or infinite.
        ArgumentError: fewer than two classes, or settings out of range.
    """
    x, y = _rows("training", train_features, train_labels)
    x_test, y_test = _rows("test", test_features, test_labels)
    if x.shape[1] != x_test.shape[1]:
        raise ShapeError(
            f"linear_probe: training rows have {x.shape[1]} features, test rows {x_test.shape[1]}."
        )
    if len(np.unique(y)) < 2:
        raise ArgumentError("linear_probe: expected training labels of at least two classes.")
    if not strengths or min(strengths) <= 0 or max_iterations < 1:
        raise ArgumentError(
            "linear_probe: expected positive strengths and max_iterations of at least 1, got "
            f"{tuple(strengths)} and {max_iterations}."
        )
    group = np.arange(len(y)) if groups is None else np.asarray(groups)
    if group.shape != (len(y),):
        raise ShapeError(f"linear_probe: expected {len(y)} groups, got shape {group.shape}.")
    chosen = _chosen(x, y, group, tuple(strengths), max_iterations, seed)
    model = _Fit(x, y, max_iterations)
    converged = model.with_strength(chosen)
    return Probe(
        accuracy=float((model.predict(x_test) == y_test).mean()),
        train_accuracy=float((model.predict(x) == y).mean()),
        strength=chosen,
        n_train=len(y),
        n_test=len(y_test),
        n_classes=len(np.unique(y)),
        converged=converged,
    )


def frames(
    features: Tensor | Array, labels: Tensor | Array, lengths: Tensor | Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the steps of sequences as rows.

    Args:
        features: (B, T, F).
        labels: whole numbers (B, T), negative where a step has none; or (B,), the same for all.
        lengths: steps of each sequence, (B,); None: T.

    Returns:
        Features (N, F), labels (N,), and the sequence of each row (N,), which are its groups.

    Raises:
        ShapeError: shapes that do not fit each other.
    """
    x, y = _array(features), _array(labels)
    if x.ndim != 3 or y.shape not in (x.shape[:1], x.shape[:2]):
        raise ShapeError(
            f"frames: expected features (B, T, F) and labels (B, T) or (B,), got {x.shape} and "
            f"{y.shape}."
        )
    B, T = x.shape[:2]
    length_B = np.full(B, T) if lengths is None else _array(lengths)
    if length_B.shape != (B,):
        raise ShapeError(f"frames: expected {B} lengths, got shape {length_B.shape}.")
    y_BT = np.broadcast_to(y[:, None], (B, T)) if y.ndim == 1 else y
    there = (np.arange(T) < length_B[:, None]) & (y_BT >= 0)
    sequence_BT = np.broadcast_to(np.arange(B)[:, None], (B, T))
    return x[there], y_BT[there], sequence_BT[there]


def label_fraction(labels: Tensor | Array, fraction: float, *, seed: int = 0) -> Array:
    """Return which rows keep their label, ascending, int64: a share of each class.

    Each class keeps its share, rounded, one row at least, so that no class is lost. With one seed,
    a smaller fraction keeps a part of what a larger one keeps.

    Args:
        labels: whole numbers (N,).
        fraction: in (0, 1].
        seed: of the choice.

    Raises:
        ArgumentError: ``fraction`` lies outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ArgumentError(f"label_fraction: fraction must lie in (0, 1], got {fraction}.")
    y = _array(labels)
    order = seeding.numpy_generator(seeding.split(seed, "label_fraction")).permutation(len(y))
    kept = []
    for name in np.unique(y):
        rows = order[y[order] == name]
        kept.append(rows[: max(1, round(fraction * len(rows)))])
    found: Array = np.sort(np.concatenate(kept))
    return found


def leave_groups_out(groups: Sequence[Any] | Array) -> Iterator[tuple[Any, Array, Array]]:
    """Yield for every group its name, the rows of all others, and its own rows.

    Raises:
        ArgumentError: fewer than two groups.
    """
    group = np.asarray(groups)
    names = np.unique(group)
    if len(names) < 2:
        raise ArgumentError(f"leave_groups_out: expected at least two groups, found {len(names)}.")
    for name in names:
        own = group == name
        yield name, np.flatnonzero(~own), np.flatnonzero(own)


def _chosen(
    x: Array, y: Array, group: Array, strengths: tuple[float, ...], max_iterations: int, seed: int
) -> float:
    """Return the strength with the best accuracy on held-out groups; of equal ones the largest.

    From the largest on, each fit begins where the last one ended; the first one that reads the
    held-out rows worse than the one before ends the search, as what follows would only fit the
    training rows closer, and takes longest.
    """
    if len(strengths) == 1:
        return strengths[0]
    held_out = _held_out(y, group, seed)
    if held_out is None:
        return max(strengths)
    fit = _Fit(x[~held_out], y[~held_out], max_iterations)
    best, score = max(strengths), -1.0
    for strength in sorted(strengths, reverse=True):
        fit.with_strength(strength)
        last, score = score, float((fit.predict(x[held_out]) == y[held_out]).mean())
        if score < last:
            break
        if score > last:
            best = strength
    return best


def _held_out(y: Array, group: Array, seed: int) -> Array | None:
    """Return which rows to hold out, bool (N,); None if no two classes would be left."""
    generator = seeding.numpy_generator(seeding.split(seed, "probe"))
    names, which = np.unique(group, return_inverse=True)
    # Of every class its share of groups, so that few groups of many classes stay balanced.
    first = np.zeros(len(names), np.int64)
    first[which[::-1]] = np.arange(len(y))[::-1]
    label_of_group = y[first]
    drawn = np.zeros(len(names), dtype=bool)
    for name in np.unique(label_of_group):
        members = generator.permutation(np.flatnonzero(label_of_group == name))
        drawn[members[: round(HELD_OUT * len(members))]] = True
    held_out: Array = drawn[which]
    if not held_out.any() or len(np.unique(y[~held_out])) < 2:
        return None
    return held_out


class _Fit:
    """Logistic regression on rows brought to mean 0 and variance 1, fitted again and again."""

    def __init__(self, x: Array, y: Array, max_iterations: int) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        self.scale = StandardScaler().fit(x)
        self.x, self.y = self.scale.transform(x), y
        self.model = LogisticRegression(max_iter=max_iterations, warm_start=True)

    def with_strength(self, strength: float) -> bool:
        """Fit from where the last fit ended, at first from 0; return whether it came to rest."""
        from sklearn.exceptions import ConvergenceWarning

        self.model.set_params(C=1 / strength)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self.model.fit(self.x, self.y)
        return not any(issubclass(one.category, ConvergenceWarning) for one in told)

    def predict(self, x: Array) -> Array:
        found: Array = self.model.predict(self.scale.transform(x))
        return found


def _rows(which: str, features: Tensor | Array, labels: Tensor | Array) -> tuple[Array, Array]:
    x, y = _array(features).astype(np.float32), _array(labels)
    if x.ndim != 2 or y.shape != (len(x),) or len(x) == 0 or y.dtype.kind not in "iu":
        raise ShapeError(
            f"linear_probe: expected {which} features (N, F) and whole numbers (N,) as labels, "
            f"N >= 1, got {x.shape} and {y.dtype} {y.shape}."
        )
    if not np.isfinite(x).all():
        raise NonFiniteError(f"linear_probe: a {which} feature is NaN or infinite.")
    return x, y


def _array(values: Tensor | Array) -> Array:
    found: Array = (
        values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    )
    return found
