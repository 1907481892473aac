"""Outliers: scores of how odd an input looks to a classifier, and how well they tell sets apart.

The objects all functions share are scores, one an example, higher = more outlying: those of N
*inliers* and M *outliers*. Ties are exact: equal scores never help or harm by the order they come
in. Swapping the order of examples changes nothing.

Letters: N = inliers, M = outliers, B = examples, C = classes.
References: [BASE] Hendrycks & Gimpel 2017, arXiv:1610.02136 (the measures, maximum probability).
[ENERGY] Liu et al. 2020, arXiv:2010.03759, equation 4. [ROC] Fawcett 2006, Pattern Recognition
Letters 27(8) (ties). [AP] Flach & Kull 2015, NeurIPS (why steps, not lines between points).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.evaluation import classifiers
from sidle.evaluation.classifiers import Classifier

_Array = np.ndarray[Any, Any]

Scores = Mapping[str, Callable[[Tensor], Tensor]]

NORMALISED = 1e-4
"""Logits whose probabilities sum to 1 within this many nats are log probabilities."""


@dataclass(frozen=True)
class Detection:
    """How well a score tells outliers from inliers; all in [0, 1].

    Attributes:
        auroc: probability that an outlier scores higher than an inlier, ties counting one half.
        aupr_out: area under precision and recall with the outliers as positives.
        aupr_in: the same with the inliers as positives.
        fpr_at_95_tpr: share of outliers accepted when at least 95 % of inliers are.
    """

    auroc: float
    aupr_out: float
    aupr_in: float
    fpr_at_95_tpr: float

    def as_dict(self) -> dict[str, float]:
        """Return the four numbers by name."""
        return asdict(self)


def detection(inliers: Any, outliers: Any) -> Detection:
    """Return all four measures; arguments and errors as in `auroc`."""
    return Detection(
        auroc=auroc(inliers, outliers),
        aupr_out=aupr(inliers, outliers),
        aupr_in=aupr(inliers, outliers, positive="inliers"),
        fpr_at_95_tpr=fpr_at_tpr(inliers, outliers),
    )


def auroc(inliers: Any, outliers: Any) -> float:
    """Return the area under the ROC curve: P(outlier > inlier) + P(equal) / 2 [ROC].

    Args:
        inliers: scores of inliers, (N,), tensor or array; infinities are allowed.
        outliers: scores of outliers, (M,).

    Raises:
        ShapeError: not one-dimensional, or empty.
        NonFiniteError: a score is NaN.
    """
    inside, outside = _checked("auroc", inliers, outliers)
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left")
    up_to = np.searchsorted(ordered, outside, side="right")
    # Whole numbers up to 2 N M: exact in 64 bits.
    return float((below.sum() + up_to.sum()) / (2 * len(inside) * len(outside)))


def aupr(
    inliers: Any, outliers: Any, positive: Literal["outliers", "inliers"] = "outliers"
) -> float:
    """Return the area under precision and recall as a step function: average precision [AP].

    The sum over distinct scores, from the most positive on, of precision times gain in recall;
    all examples of one score are accepted together.

    Args:
        inliers, outliers: as in `auroc`.
        positive: which of the two is to be found.

    Raises:
        ArgumentError: another ``positive``.
        ShapeError, NonFiniteError: as `auroc`.
    """
    if positive not in ("outliers", "inliers"):
        raise ArgumentError(f"aupr: positive must be 'outliers' or 'inliers', got {positive!r}.")
    inside, outside = _checked("aupr", inliers, outliers)
    found, others = (outside, inside) if positive == "outliers" else (-inside, -outside)
    thresholds = np.unique(found)[::-1]
    # How many of each are at or above each threshold.
    true = len(found) - np.searchsorted(np.sort(found), thresholds, side="left")
    false = len(others) - np.searchsorted(np.sort(others), thresholds, side="left")
    gained = np.diff(true, prepend=0) / len(found)
    return float((gained * (true / (true + false))).sum())


def fpr_at_tpr(inliers: Any, outliers: Any, tpr: float = 0.95) -> float:
    """Return the share of outliers accepted by the strictest threshold that accepts the inliers.

    As the papers count: inliers are the positives, accepted where their score is at most the
    threshold, which is the lowest score that accepts a share of at least ``tpr`` of them.

    Args:
        inliers, outliers: as in `auroc`.
        tpr: in (0, 1].

    Raises:
        ArgumentError: ``tpr`` lies outside (0, 1].
        ShapeError, NonFiniteError: as `auroc`.
    """
    if not 0 < tpr <= 1:
        raise ArgumentError(f"fpr_at_tpr: tpr must lie in (0, 1], got {tpr}.")
    inside, outside = _checked("fpr_at_tpr", inliers, outliers)
    # 0.95 * 20 is 19 up to rounding; without the allowance it could ask for the 20th.
    needed = max(1, math.ceil(tpr * len(inside) * (1 - 1e-12)))
    threshold = np.sort(inside)[needed - 1]
    return float((outside <= threshold).mean())


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the predicted class, in nats, shape (B,), in [0, log C].

    Args:
        logits: (B, C), finite.
    """
    log_p = F.log_softmax(_logits("entropy", logits), dim=1)
    return -(log_p.exp() * log_p).sum(1).clamp_max(0)


def max_probability(logits: Tensor) -> Tensor:
    """Return minus the logarithm of the largest probability, in nats, shape (B,), in [0, log C].

    Ordered as minus the maximum probability of [BASE], but probabilities near 1 stay apart.
    """
    ordered = _logits("max_probability", logits).sort(1, descending=True).values
    # -log p = log(1 + sum of the others over it): a difference of logarithms would end at 0.
    return (ordered[:, 1:] - ordered[:, :1]).exp().sum(1).log1p()


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the energy -T log sum_c exp(logit_c / T) [ENERGY], shape (B,).

    Args:
        logits: (B, C), finite. Log probabilities have the energy 0 at T = 1, whatever the input.
        temperature: T, positive.

    Raises:
        ArgumentError: T is not positive.
    """
    if not 0 < temperature < math.inf:
        raise ArgumentError(f"energy: temperature must be positive, got {temperature}.")
    return -temperature * (_logits("energy", logits) / temperature).logsumexp(1)


def outlier_scores(
    model: Classifier,
    x: Tensor,
    *,
    scores: Scores | None = None,
    samples: int = 1,
    batch_size: int = classifiers.BATCH_SIZE,
    device: str = "cpu",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return every score that the classifier offers, by name, each float64 (N,) on the CPU.

    "entropy", "max-probability" and "energy" of the (mean) prediction; and what the model itself
    offers: a method ``outlier_scores(x) -> {name: (B,)}`` (a bottleneck gives its rate "R" and
    residual information "Re", in nats), or the callables in ``scores``. The energy is left out
    where the model returns log probabilities, as the mean of several draws does: it would be 0.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: inputs (N, ...) in [0, 1].
        scores: further scores, by name, each x (B, ...) to (B,), higher = more outlying.
        samples: draws of the prediction for each input, of a classifier that draws.
        batch_size, device, seed: as in `classifiers.logits`.

    Raises:
        ShapeError: bad inputs or logits, or a score of another shape.
        ArgumentError, NonFiniteError: bad inputs, counts or logits.
    """
    found = classifiers.logits(
        model, x, samples=samples, batch_size=batch_size, device=device, seed=seed
    )
    made = {"entropy": entropy(found), "max-probability": max_probability(found)}
    own_energy = energy(found)
    if float(own_energy.abs().max()) > NORMALISED:
        made["energy"] = own_energy
    offered = getattr(model, "outlier_scores", None)
    parts: dict[str, list[Tensor]] = {}
    named = seeding.split(seed, "outlier_scores")
    with classifiers.frozen(model, device, named) as place:
        for part in torch.split(x, batch_size):
            images = part.to(place)
            of_model = dict(offered(images)) if callable(offered) else {}
            of_model |= {name: score(images) for name, score in (scores or {}).items()}
            for name, values in of_model.items():
                if values.shape != (len(images),):
                    raise ShapeError(
                        f"outlier_scores: the score '{name}' must have shape ({len(images)},), got "
                        f"{tuple(values.shape)}."
                    )
                parts.setdefault(name, []).append(values.detach().cpu().double())
    return made | {name: torch.cat(values) for name, values in parts.items()}


def outlier_table(
    model: Classifier,
    inliers: Tensor,
    outliers: Mapping[str, Tensor],
    *,
    scores: Scores | None = None,
    samples: int = 1,
    batch_size: int = classifiers.BATCH_SIZE,
    device: str = "cpu",
    seed: int = 0,
) -> dict[str, dict[str, Detection]]:
    """Return how well each score tells ``inliers`` from each set of outliers: set, then score.

    Args:
        model: a classifier.
        inliers: inputs of the kind it was trained on, (N, ...) in [0, 1].
        outliers: other inputs by the name of their set.
        scores, samples, batch_size, device, seed: as in `outlier_scores`.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: as `outlier_scores`.
    """

    def of(images: Tensor, name: str) -> dict[str, Tensor]:
        return outlier_scores(
            model,
            images,
            scores=scores,
            samples=samples,
            batch_size=batch_size,
            device=device,
            seed=seeding.split(seed, "set", name),
        )

    inside = of(inliers, "inliers")
    table: dict[str, dict[str, Detection]] = {}
    for name, images in outliers.items():
        outside = of(images, name)
        table[name] = {
            score: detection(inside[score], outside[score]) for score in inside if score in outside
        }
    return table


def _logits(function: str, logits: Tensor) -> Tensor:
    """Return logits in double: in float32 a certainty beyond 1e-7 would be a tie."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError(
            f"{function}: expected logits of shape (B, C) with C >= 2, got {tuple(logits.shape)}."
        )
    return logits.double()


def _checked(function: str, inliers: Any, outliers: Any) -> tuple[_Array, _Array]:
    made = []
    for name, values in (("inliers", inliers), ("outliers", outliers)):
        plain = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        if plain.ndim != 1 or len(plain) == 0:
            raise ShapeError(
                f"{function}: expected scores of {name} of shape (N,) with N >= 1, got "
                f"{plain.shape}."
            )
        double = plain.astype(np.float64)
        if np.isnan(double).any():
            raise NonFiniteError(f"{function}: a score of {name} is NaN.")
        made.append(double)
    return made[0], made[1]
