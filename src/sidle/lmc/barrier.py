"""How high the error rises between two networks, and how sure that is.

The functions share values_PN: an error or loss of each of N examples at each of P points of a
path; the first and the last point are the two networks.

Letters: P = points of the path; N = examples.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [AM] Agresti & Min 2005,
"Simple improved confidence intervals for comparing matched proportions", Statistics in Medicine 24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation import statistics

Values = npt.NDArray[np.float64]
Policy = Literal["interpolated", "re-estimated"]
Verdict = Literal["connected", "not connected", "undecided"]

THRESHOLD = 0.02  # "instability below 2 %" counts as stable [LMC, section 3]


@dataclass(frozen=True)
class SplitEstimate:
    """The barrier where a half of the examples chose the point and the other half was measured.

    Attributes:
        value: mean over both halves.
        interval: its two-sided confidence interval.
    """

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Barrier:
    """Error and loss along a path between two networks; errors are shares in [0, 1].

    Attributes:
        alphas: the P places on the path, from 0 (network a) to 1 (network b).
        error: error at each.
        loss: mean loss at each, in nats for cross-entropy.
        barrier: largest error on the path minus the mean error of its ends [LMC, section 2]; at
            least 0. As the largest of P noisy numbers it is biased upward on finite data.
        at: the alpha of that largest error.
        split_barrier: the barrier without that bias (`split_estimate`).
        interval: confidence interval around ``split_barrier``.
        loss_barrier: as ``barrier``, of the loss.
        loss_split_barrier: as ``split_barrier``, of the loss.
        loss_interval: as ``interval``, of the loss.
        confidence: of both intervals.
        n: examples.
        batch_norm: how running statistics between the ends were found; None in a network that
            keeps none.
        by_policy: with both policies asked for, the barrier of the other one.
        train: the barrier on the training data, if that was given.
        evaluation: how the points were computed, and why so.
        notes: what a reader should know.
    """

    alphas: tuple[float, ...]
    error: tuple[float, ...]
    loss: tuple[float, ...]
    barrier: float
    at: float
    split_barrier: float
    interval: tuple[float, float]
    loss_barrier: float
    loss_split_barrier: float
    loss_interval: tuple[float, float]
    confidence: float
    n: int
    batch_norm: Policy | None
    by_policy: Mapping[str, Barrier] = field(default_factory=dict)
    train: Barrier | None = None
    evaluation: str = ""
    notes: tuple[str, ...] = ()

    def linearly_connected(self, threshold: float = THRESHOLD) -> bool:
        """Return whether the barrier on this data is below ``threshold`` [LMC, section 3]."""
        return self.barrier < threshold

    def verdict(self, threshold: float = THRESHOLD) -> Verdict:
        """Return what the interval says: wholly below the threshold, wholly not, or undecided."""
        if self.interval[1] < threshold:
            return "connected"
        return "not connected" if self.interval[0] >= threshold else "undecided"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "alphas": list(self.alphas),
            "error": list(self.error),
            "loss": list(self.loss),
            "barrier": self.barrier,
            "at": self.at,
            "split_barrier": self.split_barrier,
            "interval": list(self.interval),
            "loss_barrier": self.loss_barrier,
            "loss_split_barrier": self.loss_split_barrier,
            "loss_interval": list(self.loss_interval),
            "confidence": self.confidence,
            "n": self.n,
            "batch_norm": self.batch_norm,
            "by_policy": {name: barrier.as_dict() for name, barrier in self.by_policy.items()},
            "train": None if self.train is None else self.train.as_dict(),
            "evaluation": self.evaluation,
            "notes": list(self.notes),
        }


def rise(values: Sequence[float]) -> float:
    """Return the largest of ``values`` minus the mean of the first and the last; at least 0."""
    return max(values) - (values[0] + values[-1]) / 2


def split_estimate(
    values_PN: Values, *, confidence: float = 0.95, seed: int = 0, errors: bool = True
) -> SplitEstimate:
    """Estimate the barrier of a path without the upward bias of a maximum.

    The examples are halved at random. The point with the largest mean on one half is measured on
    the other, as its mean minus the mean of the ends; then the halves swap. A point chosen
    without looking at an example gives that example an unbiased difference, so the expectation
    is the true barrier at the points that halves choose: never above the true maximum, and
    slightly below it where halves choose badly.

    The interval is Student's over the paired differences of the examples, d_n = value at the
    chosen point minus the mean of its values at the ends. For errors two examples are added, one
    that speaks for each network against the other, in the manner of [AM] (who add two halves);
    without them a path on which no prediction changes would get the interval [0, 0] however few
    the examples.

    Args:
        values_PN: values, shape (P, N), P >= 2, N >= 2; errors in [0, 1] or losses.
        confidence: in (0, 1).
        seed: names the halves.
        errors: whether the values are errors.

    Raises:
        ArgumentError: fewer than two points or examples, or a confidence outside (0, 1).
    """
    P, N = values_PN.shape
    if P < 2 or N < 2:
        raise ArgumentError(
            f"split_estimate: expected at least 2 points and 2 examples, got {P} and {N}. One half "
            "of the examples chooses the point, the other measures it."
        )
    rise_PN = values_PN - (values_PN[0] + values_PN[-1]) / 2
    order_N = seeding.numpy_generator(seeding.split(seed, "halves")).permutation(N)
    first, second = order_N[: N // 2], order_N[N // 2 :]
    differences_N = np.empty(N)
    for chooses, measures in ((first, second), (second, first)):
        point = int(rise_PN[:, chooses].mean(axis=1).argmax())
        differences_N[measures] = rise_PN[point, measures]
    value = float(differences_N.mean())
    if errors:
        differences_N = np.concatenate([differences_N, [1.0, -1.0]])
    found = statistics.t_interval(differences_N.tolist(), confidence=confidence)
    return SplitEstimate(value, (found.low, found.high))


def summarise(
    alphas: Sequence[float],
    error_PN: Values,
    loss_PN: Values,
    *,
    certain: bool,
    confidence: float,
    seed: int,
    batch_norm: Policy | None,
    evaluation: str,
    notes: Sequence[str] = (),
) -> Barrier:
    """Return the barrier of a path from the errors and losses at its points.

    Args:
        alphas: P places.
        error_PN: errors, shape (P, N).
        loss_PN: losses, shape (P, N).
        certain: whether both ends are one and the same network, so that chance plays no part.
        confidence, seed: as `split_estimate`.
        batch_norm, evaluation, notes: as `Barrier`.
    """
    error, loss = (tuple(map(float, values.mean(axis=1))) for values in (error_PN, loss_PN))
    of_error = split_estimate(error_PN, confidence=confidence, seed=seed)
    of_loss = split_estimate(loss_PN, confidence=confidence, seed=seed, errors=False)
    if certain and rise(error) == rise(loss) == 0.0:
        of_error = SplitEstimate(0.0, (0.0, 0.0))
    return Barrier(
        alphas=tuple(map(float, alphas)),
        error=error,
        loss=loss,
        barrier=rise(error),
        at=float(alphas[int(np.argmax(error))]),
        split_barrier=of_error.value,
        interval=of_error.interval,
        loss_barrier=rise(loss),
        loss_split_barrier=of_loss.value,
        loss_interval=of_loss.interval,
        confidence=confidence,
        n=error_PN.shape[1],
        batch_norm=batch_norm,
        evaluation=evaluation,
        notes=tuple(notes),
    )


def check_confidence(confidence: float, function: str) -> None:
    """Refuse a ``confidence`` that does not lie in (0, 1)."""
    if not (math.isfinite(confidence) and 0 < confidence < 1):
        raise ArgumentError(f"{function}: confidence must lie in (0, 1), got {confidence}.")
