"""Slow, obvious versions of P@k, nDCG@k and PSP@k: one row, one place at a time."""

import math


def precision(ranked, true, k):
    return sum(label in true for label in ranked[:k]) / k


def ndcg(ranked, true, k):
    gained = sum(
        1 / math.log2(place + 2) for place, label in enumerate(ranked[:k]) if label in true
    )
    best = sum(1 / math.log2(place + 2) for place in range(min(k, len(true))))
    return gained / best if best else 0.0


def psp(rankings, truths, propensities, k):
    gained = possible = 0.0
    for ranked, true in zip(rankings, truths, strict=True):
        gained += sum(1 / propensities[label] for label in ranked[:k] if label in true)
        possible += sum(sorted((1 / propensities[label] for label in true), reverse=True)[:k])
    return gained / possible
