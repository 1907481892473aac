"""Intervals over seeds and the verdict on a claim.

The object all functions share is a sequence of N values, one a seed: paired differences between
two methods, with everything inside a seed (test images, levels) already averaged. A claim says
that the mean difference exceeds a margin fixed before any run.

Letters: N = seeds.
Reference: Student 1908, "The probable error of a mean", Biometrika 6(1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sidle.errors import ArgumentError, NonFiniteError

Verdict = Literal["holds", "does not hold", "undecided"]

CONFIDENCE = 0.95
SEEDS_FOR_A_VERDICT = 5
MOST = 1e150  # squares of larger numbers overflow


@dataclass(frozen=True)
class Interval:
    """A mean with its two-sided confidence interval.

    Attributes:
        mean: mean of the values.
        low: lower end; minus infinity from one value alone.
        high: upper end; infinity from one value alone.
        n: how many values.
        confidence: probability that such an interval covers the true mean, in (0, 1).
    """

    mean: float
    low: float
    high: float
    n: int
    confidence: float


def t_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Student's t-interval of the mean of independent, about normal values.

    Args:
        values: N >= 1 finite numbers.
        confidence: in (0, 1).

    Raises:
        ArgumentError: no values, or a confidence outside (0, 1).
        NonFiniteError: a value is NaN or infinite.
    """
    if not 0 < confidence < 1:
        raise ArgumentError(f"t_interval: confidence must lie in (0, 1), got {confidence}.")
    if len(values) == 0:
        raise ArgumentError("t_interval: expected at least one value, got none.")
    if not all(abs(value) < MOST for value in values):
        raise NonFiniteError(f"t_interval: expected numbers below {MOST:g}, got {list(values)}.")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf, n, confidence)
    from scipy.stats import t

    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * math.sqrt(variance / n)
    return Interval(mean, mean - half, mean + half, n, confidence)


def verdict(differences: Sequence[float], margin: float) -> tuple[Verdict, Interval]:
    """Judge the claim "the mean difference exceeds ``margin``".

    It holds when the 95 % t-interval lies wholly above the margin, and does not hold when the
    interval lies wholly at or below it. Otherwise, or with fewer than 5 seeds, it is undecided.
    A claim whose true mean difference equals its margin is called "holds" in 2.5 % of studies.

    Args:
        differences: N >= 1 finite numbers, one a seed.
        margin: the bar, in the same unit, fixed before any run.

    Raises:
        ArgumentError: no differences.
        NonFiniteError: a difference or the margin is NaN or infinite.
    """
    if not math.isfinite(margin):
        raise NonFiniteError(f"verdict: the margin must be finite, got {margin}.")
    interval = t_interval(differences)
    if interval.n < SEEDS_FOR_A_VERDICT:
        return "undecided", interval
    if interval.low > margin:
        return "holds", interval
    if interval.high <= margin:
        return "does not hold", interval
    return "undecided", interval


def wrong_by_chance(seeds: Sequence[int]) -> float:
    """Return how many of several claims are expected to get a wrong verdict, at most.

    A claim with enough seeds is misjudged with a probability of at most 2.5 %, which is reached
    where its true effect lies at the margin; one with fewer seeds is left undecided.

    Args:
        seeds: for each claim, over how many seeds it was judged.
    """
    return (1 - CONFIDENCE) / 2 * sum(n >= SEEDS_FOR_A_VERDICT for n in seeds)
