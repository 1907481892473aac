"""What a sample of readings says about their expectation: intervals, and when there is none.

The object all functions share is a vector values_M: one reading for each of M disjoint, hence
independent, batches.

Letters: M = disjoint batches; W = importance weights.
References: [WSR] Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
betting", JRSS B 86(1), arXiv:2010.09686. [MP] Maurer & Pontil 2009, arXiv:0907.3740. [PSIS] Vehtari
et al. 2024, "Pareto smoothed importance sampling", JMLR 25, arXiv:1507.02646.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sidle.errors import ArgumentError

Values = npt.NDArray[np.float64]

LARGEST_BET = 0.75  # share of the capital a batch can take at most [WSR, section 4.3]
MEANINGFUL_PARETO_SHAPE = 0.7  # above, no feasible number of draws suffices [PSIS, section 3.2]
FEWEST_TAIL_WEIGHTS = 20  # a shape fitted to fewer says nothing


def lower_confidence_bound(
    values_M: Values, low: float, high: float, *, confidence: float
) -> float:
    """Return a lower confidence bound on the mean of independent values in [low, high].

    Valid for every number of values and every distribution on [low, high] [WSR, theorem 3]: for
    a supposed mean m, a gambler who bets on values above m makes a capital whose expectation is at
    most 1 if m is right; every m at which it grows beyond 1 / (1 - confidence) is given up. The
    bets are the empirical-Bernstein ones of the values before, so that the width adapts to the
    observed variance; it is smaller than that of the empirical-Bernstein bound of [MP] throughout
    (for 20 values, typically by a factor of three).

    Args:
        values_M: M >= 1 values in the order in which they were drawn.
        low: smallest possible value.
        high: largest possible value, above ``low``.
        confidence: probability that the bound lies below the mean, in (0, 1).

    Returns:
        A number in [low, high].

    Raises:
        ArgumentError: no values, one outside [low, high], or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ArgumentError(
            f"lower_confidence_bound: confidence must lie in (0, 1), got {confidence}."
        )
    tolerance = 1e-9 * (high - low)  # of a value computed at an end of the range
    if len(values_M) == 0 or not (
        low - tolerance <= values_M.min() and values_M.max() <= high + tolerance
    ):
        raise ArgumentError(
            f"lower_confidence_bound: expected values in [{low:g}, {high:g}], at least one, got "
            f"{len(values_M)} between {min(values_M, default=math.nan):g} and "
            f"{max(values_M, default=math.nan):g}."
        )
    unit_M = np.clip((values_M - low) / (high - low), 0, 1)
    log_capital_needed = -math.log1p(-confidence)
    count_M = np.arange(1, len(unit_M) + 1)
    mean_M = (0.5 + np.cumsum(unit_M)) / (count_M + 1)
    variance_M = (0.25 + np.cumsum((unit_M - mean_M) ** 2)) / (count_M + 1)
    before_M = np.concatenate([[0.25], variance_M[:-1]])  # a bet may use earlier values only
    bet_M = np.sqrt(2 * log_capital_needed / (len(unit_M) * before_M))
    given_up, kept = 0.0, 1.0  # the capital falls with the supposed mean
    while kept - given_up > 1e-6:
        mean = (given_up + kept) / 2
        capital = np.log1p(np.minimum(bet_M, LARGEST_BET / mean) * (unit_M - mean)).sum()
        if capital >= log_capital_needed:
            given_up = mean
        else:
            kept = mean
    return float(low + (high - low) * given_up)


def pareto_shape(log_weights_W: Values) -> float | None:
    """Return the shape k of the Pareto tail of the largest weights [PSIS, section 3].

    Fitted to the largest min(W / 5, 3 sqrt W) of them. Moments of order 1 / k and above do not
    exist: above 0.5 the variance of their mean is infinite, above 0.7 no feasible number of draws
    makes that mean reliable.

    Args:
        log_weights_W: logs of the weights, up to a constant.

    Returns:
        The shape; None where fewer than 20 weights form the tail or they hardly differ.
    """
    from scipy.stats import genpareto

    n_tail = math.ceil(min(len(log_weights_W) / 5, 3 * math.sqrt(len(log_weights_W))))
    if n_tail < FEWEST_TAIL_WEIGHTS or n_tail >= len(log_weights_W):
        return None
    largest = np.sort(log_weights_W)[-n_tail - 1 :]
    weights = np.exp(largest - largest[-1])  # the largest is 1
    excess = weights[1:] - weights[0]
    excess = excess[excess > 0]
    if len(excess) < FEWEST_TAIL_WEIGHTS or excess.max() < 1e-9:
        return None
    shape, _, _ = genpareto.fit(excess / excess.mean(), floc=0)
    return float(shape)
