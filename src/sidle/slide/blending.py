"""One score from several features of (row, label) pairs, weighted by what held-out rows say.

The score is linear in the features. Its weights maximise the softmax likelihood, over the
candidates of a row, of the row's true labels, with a pull towards given weights that matters only
where few rows were held out. A logistic curve then turns scores into probabilities.
Letters: N = held-out rows, C = candidates of a row, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

_PULL = 3.0  # rows that the given weights count for
_PULL_OF_CURVE = 1e-2
_MOST_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Blend:
    """Weights of features, and the curve from scores to probabilities.

    Attributes:
        weights: (F,).
        slope, intercept: probability = logistic(slope * log-softmax of the score + intercept).
    """

    weights: tuple[float, ...]
    slope: float = 1.0
    intercept: float = 0.0

    def scores(self, features_NCF: _Array, candidates_NC: _Array) -> _Array:
        """Return log-softmax scores of the candidates, (N, C) float64; -inf for candidate -1."""
        return _log_softmax(features_NCF @ np.array(self.weights, np.float32), candidates_NC >= 0)

    def probabilities(self, scores_NC: _Array) -> _Array:
        """Return the probability that each label is true, on its own, (N, C)."""
        return _logistic(self.slope * np.maximum(scores_NC, -1e3) + self.intercept)


def fit_blend(features_NCF: _Array, candidates_NC: _Array, true_NC: _Array, start: _Array) -> Blend:
    """Return the blend that explains held-out rows best.

    Args:
        features_NCF: float32.
        candidates_NC: labels, -1 for none.
        true_NC: which candidates are true, bool.
        start: weights to begin with and to be pulled to, (F,).
    """
    from scipy.optimize import minimize

    some = true_NC.any(axis=1)
    features, there, true = features_NCF[some], candidates_NC[some] >= 0, true_NC[some]
    if len(features) == 0:
        return Blend(tuple(float(w) for w in start))
    spread = np.maximum(features[there].std(axis=0, dtype=np.float64), 1e-6)
    scaled = features / spread.astype(np.float32)
    target = true / true.sum(axis=1, keepdims=True)
    aim = start * spread
    n = len(features)

    def negative_likelihood(weights: _Array) -> tuple[float, _Array]:
        logs = _log_softmax(scaled @ weights.astype(np.float32), there)
        away = weights - aim
        loss = -np.where(true, logs, 0.0)[true].dot(target[true]) / n
        residual = ((np.exp(logs) - target) / n).astype(np.float32)
        gradient = np.einsum("nc,ncf->f", residual, scaled).astype(np.float64)
        return loss + _PULL / n * away @ away, gradient + 2 * _PULL / n * away

    found = minimize(
        negative_likelihood, aim, jac=True, method="L-BFGS-B",
        options={"maxiter": _MOST_ITERATIONS},
    )  # fmt: skip
    weights = tuple(float(w) for w in found.x / spread)
    scores = Blend(weights).scores(features_NCF, candidates_NC)
    slope, intercept = _fit_curve(scores[candidates_NC >= 0], true_NC[candidates_NC >= 0])
    return Blend(weights, slope, intercept)


def _fit_curve(scores: _Array, true: _Array) -> tuple[float, float]:
    """Return slope and intercept of the logistic curve (Platt 1999)."""
    from scipy.optimize import minimize

    sign = np.where(true, 1.0, -1.0)

    def loss(parameters: _Array) -> tuple[float, _Array]:
        margins = sign * (parameters[0] * scores + parameters[1])
        away = parameters - np.array([1.0, 0.0])
        slopes = -sign * _logistic(-margins) / len(scores)
        return (
            float(np.logaddexp(0, -margins).mean() + _PULL_OF_CURVE / len(scores) * away @ away),
            np.array([slopes @ scores, slopes.sum()]) + 2 * _PULL_OF_CURVE / len(scores) * away,
        )

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B")
    return float(found.x[0]), float(found.x[1])


def _log_softmax(scores_NC: _Array, there_NC: _Array) -> _Array:
    masked = np.where(there_NC, scores_NC.astype(np.float64), -np.inf)
    top = masked.max(axis=1, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    total = np.exp(masked - top).sum(axis=1, keepdims=True)
    logs: _Array = masked - top - np.log(np.where(total > 0, total, 1.0))
    return logs


def _logistic(values: _Array) -> _Array:
    from scipy.special import expit

    result: _Array = expit(values)
    return result
