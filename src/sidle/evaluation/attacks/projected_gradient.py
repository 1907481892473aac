"""Attacks that follow the gradient inside a ball: FGSM and projected gradient descent.

Each step moves an image by ``step_size`` in the steepest direction of the ball's norm
(`norms.ascent`) and projects it back (`norms.project`). What counts is every image on the way: an
image's result is the first one that is broken, or else the one with the largest loss. So a broken
image leaves the batch at once. Without ``early_stop`` it goes on, and its result is the broken one
with the largest loss: as many are broken, further from the boundary. Where the classifier draws at
random an image is broken only after all steps, by fresh draws, and its result is the one with the
largest loss.

Letters: B = images; S = samples.
References: [FGSM] Goodfellow et al. 2015, arXiv:1412.6572, section 4. [PGD] Madry et al. 2018,
arXiv:1706.06083, section 2.1; step size from its appendix: 2.5 epsilon / steps. [EOT] Athalye et
al. 2018, arXiv:1802.00420, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sidle.errors import ArgumentError
from sidle.evaluation import classifiers
from sidle.evaluation.attacks import attacked, norms, objectives
from sidle.evaluation.attacks.attacked import Attacked, Batch
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.attacks.objectives import Loss
from sidle.evaluation.classifiers import Classifier

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""``slope(x, y) -> (losses (B,), gradients (B, ...), broken (B,))`` of images x."""

RELATIVE_STEP = 2.5  # [PGD]: far enough to reach the boundary from anywhere, and to move along it


def fgsm(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    loss: Loss = "cross-entropy",
    target: Tensor | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
) -> Attacked:
    """Attack with one step of length epsilon from the image itself [FGSM]; see `pgd`."""
    return pgd(
        model,
        x,
        y,
        epsilon=epsilon,
        norm=norm,
        n_steps=1,
        step_size=epsilon,
        loss=loss,
        target=target,
        random_start=False,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        device=device,
    )


def pgd(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    n_steps: int = 20,
    step_size: float | None = None,
    loss: Loss = "cross-entropy",
    target: Tensor | None = None,
    restarts: int = 1,
    random_start: bool = True,
    samples: int = 1,
    noise: float = 0.0,
    early_stop: bool = True,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
) -> Attacked:
    """Attack by projected gradient descent [PGD] in L-inf, L2 or L1.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: images (N, ...), floating, in [0, 1].
        y: labels (N,), integers from 0.
        epsilon: radius of the ball, in the unit of the images; positive.
        norm: "linf", "l2" or "l1".
        n_steps: steps, each one gradient; at least 1.
        step_size: length of a step in ``norm``; by default 2.5 epsilon / n_steps.
        loss: what to raise: "cross-entropy" or "margin" (`objectives.losses`).
        target: the class wanted for each image, integers (N,); None for any wrong one.
        restarts: how many tries, each from another random point; the first success counts.
        random_start: start anywhere in the ball, not at the image. Tries after the first always
            start anywhere.
        samples: draws for each image, S, of a classifier that draws, or of the noise: the gradient
            is that of the logarithm of the mean probability [EOT].
        noise: standard deviation of normal noise added to the input while the attack is made (a
            transformation to take the expectation over); results are judged without it.
        early_stop: let images leave at their first success. Else all steps are taken, and of the
            broken images on the way the one with the largest loss is kept: no more of them, but
            further from the boundary. Without effect on classifiers that draw.
        seed: of starting points, noise and what the classifier draws.
        batch_size: images at once; S times as many go through the classifier.
        device: where to compute.

    Returns:
        Images at most epsilon away (up to rounding, 1e-6 of epsilon or of an entry), in [0, 1].

    Raises:
        ShapeError, ArgumentError: images, labels or settings out of range.
        NonFiniteError: the classifier's logits hold a NaN or an infinity.
    """
    norms.check_ball("pgd", norm, epsilon)
    objectives.check_loss("pgd", loss)
    classifiers.check_counts("pgd", n_steps=n_steps, restarts=restarts)
    length = step_length("pgd", epsilon, n_steps, step_size)

    def method(batch: Batch) -> Tensor:
        def slope(images: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            moving = images.detach().requires_grad_(True)
            logits = batch.predictor(moving)
            values = objectives.losses(logits, y, loss, targeted=batch.targeted)
            gradient = objectives.gradient("pgd", values, moving)
            found = objectives.broken(logits.detach(), y, targeted=batch.targeted)
            return values.detach(), gradient, found

        return climb(
            batch,
            slope,
            loss=loss,
            epsilon=epsilon,
            norm=norm,
            n_steps=n_steps,
            step_size=length,
            restarts=restarts,
            random_start=random_start,
            early_stop=early_stop,
        )

    return attacked.run(
        "pgd",
        method,
        model,
        x,
        y,
        norm=norm,
        target=target,
        samples=samples,
        noise=noise,
        seed=seed,
        batch_size=batch_size,
        device=device,
        gradients=True,
    )


def step_length(function: str, epsilon: float, n_steps: int, step_size: float | None) -> float:
    """Return the length of a step; raises ArgumentError unless it is positive and finite."""
    length = RELATIVE_STEP * epsilon / n_steps if step_size is None else step_size
    if not (0 < length < math.inf):
        raise ArgumentError(f"{function}: step_size must be positive, got {step_size}.")
    return length


def climb(
    batch: Batch,
    slope: Slope,
    *,
    loss: Loss,
    epsilon: float,
    norm: Norm,
    n_steps: int,
    step_size: float,
    restarts: int,
    random_start: bool,
    early_stop: bool,
) -> Tensor:
    """Return for every image of ``batch`` the worst one on its way, broken ones before others.

    Args:
        batch: images not yet broken.
        slope: losses, gradients and who is broken, of some images and their labels.
        loss: as `slope` uses it, for the last point of a way, where no gradient is needed.
        epsilon, norm, n_steps, step_size, restarts, random_start, early_stop: as `pgd`.
    """
    result = batch.x.clone()
    highest = torch.full((len(batch.x),), -torch.inf, device=batch.x.device)
    won = torch.zeros(len(batch.x), dtype=torch.bool, device=batch.x.device)
    may_leave = early_stop and not batch.random
    for attempt in range(restarts):
        rows = torch.arange(len(batch.x), device=batch.x.device)
        images = batch.x
        if random_start or attempt > 0:
            # Drawn for all, so that who left does not change what the others draw.
            images = norms.random_points(batch.x, epsilon, norm, batch.generator)
        if may_leave:
            rows = rows[~won]
            images = images[rows]
        for step in range(n_steps + 1):
            if len(rows) == 0:
                break
            x0, y = batch.x[rows], batch.y[rows]
            if step < n_steps:
                values, gradient, broken = slope(images, y)
            else:
                values, broken = _values(batch, images, y, loss)
            broken = broken & (not batch.random)
            first, higher = broken & ~won[rows], values > highest[rows]
            better = first | (higher & (broken | ~won[rows]))
            result[rows[better]] = images[better]
            highest[rows[better]] = values[better].to(highest.dtype)
            won[rows] |= broken
            if step == n_steps:
                break
            images = images + step_size * norms.ascent(gradient, images, norm)
            images = norms.project(images, x0, epsilon, norm)
            if may_leave and broken.any():
                rows, images = rows[~broken], images[~broken]
        if batch.random and attempt + 1 < restarts:
            won = batch.broken(result)  # fresh draws; the broken ones are kept as they are
    return result


def _values(batch: Batch, images: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Return losses and who is broken, without a gradient."""
    with torch.no_grad():
        logits = batch.predictor(images)
        values = objectives.losses(logits, y, loss, targeted=batch.targeted)
        return values, objectives.broken(logits, y, targeted=batch.targeted)
