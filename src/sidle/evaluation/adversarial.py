"""Adversarial training: the images of a batch, attacked, to train on in their place.

    x = adversarial_batch(model, x, y, epsilon=0.1, n_steps=7, generator=generator)
    loss = F.cross_entropy(model(x), y)

The inner maximisation of min over weights of E max over the ball of the loss: projected gradient
ascent of the training loss from a random point, on the model as it is being trained.
Letters: B = images.
References: [PGD] Madry et al. 2018, arXiv:1706.06083, section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sidle.evaluation import classifiers
from sidle.evaluation.attacks import norms, objectives
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.attacks.projected_gradient import step_length


def adversarial_batch(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    n_steps: int = 7,
    step_size: float | None = None,
    generator: torch.Generator,
) -> Tensor:
    """Return images of a batch at the end of projected gradient ascent of the cross-entropy.

    The model's gradients of parameters are left as they are; its mode is evaluation meanwhile, so
    that BatchNorm statistics do not see attacked images twice.

    Args:
        model: maps images to logits (B, C).
        x: images (B, ...) in [0, 1], on the model's device.
        y: labels (B,).
        epsilon: radius of the ball in ``norm``, positive.
        norm: "linf", "l2" or "l1".
        n_steps: steps, at least 1.
        step_size: length of a step; by default 2.5 epsilon / n_steps.
        generator: on the CPU, draws the starting points.

    Returns:
        Images of the same shape, detached, at most epsilon away, in [0, 1].

    Raises:
        ShapeError, ArgumentError: images, labels or settings out of range.
    """
    function = "adversarial_batch"
    norms.check_ball(function, norm, epsilon)
    classifiers.check_images(function, x)
    classifiers.check_labels(function, y, len(x))
    classifiers.check_counts(function, n_steps=n_steps)
    length = step_length(function, epsilon, n_steps, step_size)
    with classifiers.evaluating(model):
        moved = norms.random_points(x, epsilon, norm, generator)
        for _ in range(n_steps):
            moving = moved.detach().requires_grad_(True)
            values = objectives.losses(model(moving), y, "cross-entropy")
            gradient = objectives.gradient(function, values, moving)
            moved = moving.detach() + length * norms.ascent(gradient, moving.detach(), norm)
            moved = norms.project(moved, x, epsilon, norm)
    return moved.detach()
