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


def smile(scores: Scores, tau: float = 5.0) -> float:
    def clipped(score: float) -> float:
        return min(max(math.exp(score), math.exp(-tau)), math.exp(tau))

    return joint_mean(scores) - math.log(product_mean(scores, clipped))


def tuba(scores: Scores, log_baseline: list[float]) -> float:
    relative = [[s - b for s in row] for row, b in zip(scores, log_baseline, strict=True)]
    return 1 + joint_mean(relative) - product_mean(relative, math.exp)


def flo(scores: Scores, u: list[float]) -> float:
    n = len(scores)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                total += math.exp(scores[i][j] - scores[i][i] - u[i])
    return 1 - sum(u) / n - total / (n * (n - 1))


def interpolated(scores: Scores, alpha: float, log_q: list[float]) -> float:
    """Both expectations over all choices of the candidate that is left out."""
    n = len(scores)

    def baseline(i: int, left_out: int) -> float:
        others = [math.exp(scores[i][k]) for k in range(n) if k != left_out]
        return alpha * sum(others) / len(others) + (1 - alpha) * math.exp(log_q[i])

    joint, product = [], []
    for i in range(n):
        for j in range(n):
            if i != j:
                joint.append(scores[i][i] - math.log(baseline(i, j)))
                product.append(math.exp(scores[i][j]) / baseline(i, i))
    return 1 + sum(joint) / len(joint) - sum(product) / len(product)


def masked_infonce(scores: Scores, positives, mask) -> float:
    """Each joint pair against the product pairs of its row, one at a time."""
    values = []
    for i, row in enumerate(scores):
        negatives = [j for j in range(len(row)) if mask[i][j] and not positives[i][j]]
        for p in range(len(row)):
            if positives[i][p]:
                total = math.exp(row[p]) + sum(math.exp(row[j]) for j in negatives)
                values.append(math.log(math.exp(row[p]) / (total / (1 + len(negatives)))))
    return sum(values) / len(values)


def masked_means(scores: Scores, positives, mask, of_joint, of_product) -> tuple[float, float]:
    """Mean of one function over joint pairs and of another over allowed product pairs."""
    pairs = [(i, j) for i in range(len(scores)) for j in range(len(scores[0]))]
    joint = [of_joint(scores[i][j]) for i, j in pairs if positives[i][j]]
    product = [of_product(scores[i][j]) for i, j in pairs if mask[i][j] and not positives[i][j]]
    return sum(joint) / len(joint), sum(product) / len(product)


def structured_lower(log_conditional: Scores) -> float:
    n = len(log_conditional)
    total = 0.0
    for j in range(n):
        marginal = sum(math.exp(log_conditional[i][j]) for i in range(n)) / n
        total += log_conditional[j][j] - math.log(marginal)
    return total / n


def leave_one_out(log_conditional: Scores) -> float:
    n = len(log_conditional)
    total = 0.0
    for j in range(n):
        marginal = sum(math.exp(log_conditional[i][j]) for i in range(n) if i != j) / (n - 1)
        total += log_conditional[j][j] - math.log(marginal)
    return total / n


def club(log_conditional: Scores) -> float:
    return joint_mean(log_conditional) - product_mean(log_conditional, lambda value: value)
