"""Slow, obvious versions of the bounds: one score at a time, as the papers' formulas read.

scores[i][j] = f(x_i, y_j), lists of floats. No log space: for scores of moderate size only.
References: the sources named in `sidle.mi.bounds`.
"""

from __future__ import annotations

import math

Scores = list[list[float]]


def joint_mean(scores: Scores) -> float:
    """Mean of f over the pairs that belong together."""
    return sum(scores[i][i] for i in range(len(scores))) / len(scores)


def product_mean(scores: Scores, function) -> float:
    """Mean of function(f) over all pairs made of two different draws."""
    values = [
        function(scores[i][j]) for i in range(len(scores)) for j in range(len(scores)) if i != j
    ]
    return sum(values) / len(values)


def infonce(scores: Scores) -> float:
    total = 0.0
    for i, row in enumerate(scores):
        mean = sum(math.exp(score) for score in row) / len(row)
        total += math.log(math.exp(row[i]) / mean)
    return total / len(scores)


def nwj(scores: Scores) -> float:
    return joint_mean(scores) - product_mean(scores, math.exp) / math.e


def dv(scores: Scores) -> float:
    return joint_mean(scores) - math.log(product_mean(scores, math.exp))


def js_objective(scores: Scores) -> float:
    def sigmoid(score: float) -> float:
        return 1 / (1 + math.exp(-score))

    joint = sum(math.log(sigmoid(scores[i][i])) for i in range(len(scores))) / len(scores)
    return joint + product_mean(scores, lambda score: math.log(1 - sigmoid(score)))


def js(scores: Scores) -> float:
    return 1 + joint_mean(scores) - product_mean(scores, math.exp)
