"""Attacks made on one classifier and tried on another.

Reference: Papernot et al. 2016, arXiv:1605.07277 (transferability).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sidle import seeding
from sidle.evaluation import classifiers
from sidle.evaluation.attacks import attacked, norms, objectives
from sidle.evaluation.attacks.attacked import Attacked
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.attacks.projected_gradient import pgd
from sidle.evaluation.classifiers import Classifier


def transfer(
    surrogate: Classifier,
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    target: Tensor | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
    **settings: Any,
) -> Attacked:
    """Attack ``surrogate`` by `pgd` and count whom that breaks of ``model``.

    All steps are taken, as a first success on the surrogate lies near its boundary and seldom
    carries over. Untargeted, what the surrogate says itself is attacked, whether right or wrong.
    Images that ``model`` already gets wrong count as broken, at distance 0.

    Args:
        surrogate: the classifier whose gradients are used.
        model: the one that is judged.
        x, y, epsilon, norm, target, samples, seed, batch_size, device: as for `pgd`.
        settings: further ones of `pgd`: n_steps, step_size, loss, restarts...

    Raises:
        ShapeError, ArgumentError, NonFiniteError: as `pgd`.
    """
    classifiers.check_images("transfer", x)
    classifiers.check_labels("transfer", y, len(x))
    common: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "device": device}

    def logits(model: Classifier, x: Tensor, name: str) -> Tensor:
        return classifiers.logits(model, x, seed=seeding.split(seed, "transfer", name), **common)

    attacked_labels = y if target is not None else logits(surrogate, x, "surrogate").argmax(1)
    made = pgd(
        surrogate, x, attacked_labels, epsilon=epsilon, norm=norm, target=target, seed=seed,
        early_stop=False, **common, **settings,
    )  # fmt: skip
    wanted, targeted = (y if target is None else target).cpu().long(), target is not None
    before = logits(model, x, "before")
    classifiers.check_classes("transfer", wanted, before.shape[1])
    already = objectives.broken(before, wanted, targeted=targeted)
    plain = x.cpu()
    images = torch.where(already.view(-1, *[1] * (x.ndim - 1)), plain, made.x)
    after = objectives.broken(logits(model, images, "after"), wanted, targeted=targeted)
    return Attacked(
        x=images,
        success=already | after,
        distance=norms.distance(images, plain, norm),
        norm=norm,
        n_evaluations=made.n_evaluations + (2 + (target is None)) * samples * len(x),
    )
