"""What the study `bottleneck` puts a trained network to.

Every prediction is the mean of the probabilities of S draws of z; a network that does not draw
predicts at once. The *papers' protocol* attacks a single draw, towards a target, and asks the mean
prediction afterwards. *Adaptive* attacks (`sidle.evaluation.suites`) have gradients of the mean
prediction itself.

Letters: N = images; C = classes; S = draws of z.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081. [CW] Carlini and Wagner 2017, arXiv:1608.04644.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sidle import seeding
from sidle.evaluation import attacks, calibration, classifiers, corruptions, outliers
from sidle.evaluation.attacks import Norm
from sidle.evaluation.robustness import Robustness, robustness
from sidle.evaluation.suites import Budgets
from sidle.studies import bottleneck_tasks as tasks

NORMS: tuple[Norm, ...] = ("linf", "l2")  # of the papers' targeted PGD
# Of Carlini-Wagner: searches for the weight of its loss, the weight to begin with, and step length.
# From the usual 1e-3, three searches end at 0.1, where most deterministic networks still withstand;
# with these all of them give in.
SEARCHES, FIRST_WEIGHT, STEP = 3, 1.0, 0.1
BATCH_SIZE = 200  # images attacked at once


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network as the trials see it.

    Attributes:
        predicts: the mean prediction over S draws: x (B, C, H, W) in [0, 1] to logits (B, classes).
            A method ``outlier_scores(x)`` brings its own scores of outliers.
        draws_once: the prediction of one draw.
    """

    predicts: nn.Module
    draws_once: nn.Module


def all_trials(
    subject: Subject, x: Tensor, y: Tensor, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return what the network does on the test images x, (N, C, H, W) in [0, 1].

    Returns:
        ``calibration``, ``robustness``, ``paper_protocol``, ``outliers`` and ``corruptions``.
    """
    few = slice(settings["attack_images"])
    protocol, attacked = paper_protocol(subject, x[few], y[few], settings, seed)
    return {
        "calibration": calibrated(subject, x, y, settings, seed),
        "robustness": adaptive(subject, x[few], y[few], settings, seed),
        "paper_protocol": protocol,
        "outliers": outlier_table(subject, x, attacked, settings, seed),
        "corruptions": corrupted(subject, x, y, settings, seed),
    }


def calibrated(
    subject: Subject, x: Tensor, y: Tensor, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return ``accuracy``, ``ece``, ``ece_adaptive``, ``nll``, ``brier`` and ``bins``."""
    logits = classifiers.logits(subject.predicts, x, device=settings["device"], seed=seed)
    found = calibration.calibration(logits, y)
    bins = found.bins
    return {
        **{
            name: round(float(getattr(found, name)), 5)
            for name in ("accuracy", "ece", "ece_adaptive", "nll", "brier")
        },
        "bins": {
            "count": [int(value) for value in bins.count],
            "confidence": _rounded(bins.confidence),
            "accuracy": _rounded(bins.accuracy),
        },
    }


def adaptive(
    subject: Subject, x: Tensor, y: Tensor, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return accuracy under each attack of the suite, worst cases, and the masking audit.

    Returns:
        ``accuracy`` on the same images; ``attacks``: by name, ``norm``, ``epsilon``,
        ``robust_accuracy``; ``worst``: by norm; ``worst_overall``; ``audit``: by norm, ``verdict``
        and ``checks`` (outcome by name).
    """
    found = robustness(
        subject.predicts,
        x,
        y,
        settings["suite"],
        samples=1,  # S draws are inside
        n_images=len(x),
        audit_images=settings["audit_images"],
        seed=seeding.split(seed, "suite"),
        batch_size=BATCH_SIZE,
        device=settings["device"],
    )
    return _plain(found)


def _plain(found: Robustness) -> dict[str, Any]:
    return {
        "accuracy": round(found.accuracy, 5),
        "attacks": {
            one.name: {
                "norm": one.norm,
                "epsilon": None if one.norm is None else one.epsilon,
                "robust_accuracy": round(one.robust_accuracy, 5),
            }
            for one in found.attacks
        },
        "worst": {norm: round(value, 5) for norm, value in found.worst.items()},
        "worst_overall": round(found.worst_overall, 5),
        "audit": {
            norm: {
                "verdict": one.verdict,
                "checks": {check.name: check.outcome for check in one.checks},
            }
            for norm, one in found.audit.items()
        },
    }


def paper_protocol(
    subject: Subject, x: Tensor, y: Tensor, settings: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], Tensor]:
    """Attack one draw towards a target: PGD in L-inf and L2 [CEB2], Carlini-Wagner [CEB1].

    Returns:
        By attack, ``accuracy`` (of the mean prediction on the attacked images), ``success`` (share
        that is taken for the target) and ``epsilon``, or ``distance``, the median length of
        Carlini-Wagner's changes that reach it (null if none does); and the images of the latter.
    """
    device = settings["device"]
    budgets = Budgets.for_images(tuple(x.shape[1:]))
    classes = int(settings["classes"])
    found: dict[str, Any] = {}
    wanted = attacks.choose_targets(y, classes, "random", seed=seeding.split(seed, "targets"))
    for norm in NORMS:
        epsilon = budgets.of(norm)
        attacked = attacks.pgd(
            subject.draws_once,
            x,
            y,
            epsilon=epsilon,
            norm=norm,
            n_steps=settings["paper_steps"],
            target=wanted,
            seed=seeding.split(seed, "pgd", norm),
            batch_size=BATCH_SIZE,
            device=device,
        )
        named = seeding.split(seed, "judge", norm)
        found[f"pgd-{norm}"] = {
            **_judged(subject, attacked.x, y, wanted, device, named),
            "epsilon": epsilon,
        }
    others = y != settings["task"]["target"]
    target = torch.full_like(y[others], settings["task"]["target"])
    attacked = attacks.foolbox_attack(
        subject.draws_once,
        x[others],
        y[others],
        "carlini-wagner",
        target=target,
        settings={
            "steps": settings["carlini_wagner_steps"],
            "binary_search_steps": SEARCHES,
            "initial_const": FIRST_WEIGHT,
            "stepsize": STEP,
        },
        seed=seeding.split(seed, "carlini-wagner"),
        batch_size=BATCH_SIZE,
        device=device,
    )
    named = seeding.split(seed, "judge", "carlini-wagner")
    judged = _judged(subject, attacked.x, y[others], target, device, named)
    lengths = attacked.distance[attacked.success]
    found["carlini-wagner"] = {
        **judged,
        "distance": round(float(lengths.median()), 4) if len(lengths) else None,
    }
    return found, attacked.x[attacked.success]


def _judged(
    subject: Subject, x: Tensor, y: Tensor, target: Tensor, device: str, seed: int
) -> dict[str, float]:
    labels = classifiers.logits(subject.predicts, x, device=device, seed=seed).argmax(1)
    return {
        "accuracy": round(float((labels == y).float().mean()), 5),
        "success": round(float((labels == target).float().mean()), 5),
    }


def outlier_table(
    subject: Subject, x: Tensor, attacked: Tensor, settings: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return by set of outliers and score ``auroc``, ``aupr_out``, ``aupr_in``, ``fpr_at_95_tpr``.

    The set "attacked" holds the images that Carlini-Wagner made of this network's own test images;
    it is left out where there are none.
    """
    sets = {
        name: tasks.outliers(name, x, seeding.split(seed, "outliers", name))
        for name in settings["outlier_sets"]
    }
    if len(attacked):
        sets["attacked"] = attacked
    table = outliers.outlier_table(
        subject.predicts,
        x,
        sets,
        device=settings["device"],
        seed=seeding.split(seed, "scores"),
    )
    return {
        name: {
            score: {measure: round(value, 5) for measure, value in found.as_dict().items()}
            for score, found in row.items()
        }
        for name, row in table.items()
    }


def corrupted(
    subject: Subject, x: Tensor, y: Tensor, settings: Mapping[str, Any], seed: int
) -> dict[str, list[float | None]]:
    """Return accuracy by kind of corruption, an entry a severity."""
    few = slice(settings["corruption_images"])
    found = corruptions.corruption_accuracy(
        subject.predicts,
        x[few],
        y[few],
        device=settings["device"],
        seed=seeding.split(seed, "corruptions"),
    )
    return {kind: _rounded(values) for kind, values in found.accuracy.items()}


def _rounded(values: Any) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 5) for value in values]
