"""Slow, obvious version of the confidence bound: one bet after the other, one mean after the other.

Reference: Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting",
arXiv:2010.09686, theorem 3.
"""

from __future__ import annotations

import math


def capital(values, mean, confidence):
    """Capital after betting on each value in [0, 1] to lie above a mean; 1 at the start."""
    total, squares, money = 0.5, 0.25, 1.0
    for i, value in enumerate(values):
        variance = squares / (i + 1)  # of the values before alone: a bet may not know its outcome
        bet = math.sqrt(-2 * math.log(1 - confidence) / (len(values) * variance))
        money *= 1 + min(bet, 0.75 / mean) * (value - mean)
        total += value
        squares += (value - total / (i + 2)) ** 2
    return money


def lower_confidence_bound(values, low, high, confidence, steps=2000):
    """Largest of evenly spaced means at which the capital reaches 1 / (1 - confidence)."""
    unit = [(value - low) / (high - low) for value in values]
    means = [step / steps for step in range(1, steps)]
    given_up = [m for m in means if capital(unit, m, confidence) >= 1 / (1 - confidence)]
    return low + (high - low) * max(given_up, default=0.0)
