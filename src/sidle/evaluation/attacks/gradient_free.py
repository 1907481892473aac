"""Attacks that never ask for a gradient: SPSA and Square.

They need the classifier's logits alone, so that a gradient which vanishes, breaks off or lies does
not protect from them. Beside `pgd` they are a test of it: where one of them finds more, gradients
are masked (`sidle.evaluation.audit`).

Letters: B = images; C = channels; H, W = height and width; P = pairs of queries.
References: [SPSA] Uesato et al. 2018, arXiv:1802.05666, section 4. [SQUARE] Andriushchenko et al.
2020, arXiv:1912.00049, algorithms 1 and 2, appendix B (schedule of sizes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sidle.errors import ShapeError
from sidle.evaluation import classifiers
from sidle.evaluation.attacks import attacked, norms, objectives
from sidle.evaluation.attacks.attacked import Attacked, Batch
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.attacks.objectives import Loss
from sidle.evaluation.attacks.projected_gradient import climb, step_length
from sidle.evaluation.classifiers import Classifier

STEP_OF_DIFFERENCES = 0.01  # [SPSA], in the unit of the images
FIRST_SHARE = 0.05  # of the pixels that the first squares cover, as [SQUARE] for L-inf
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries [SQUARE]


def spsa(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    norm: Norm = "linf",
    n_steps: int = 20,
    n_pairs: int = 32,
    step_size: float | None = None,
    loss: Loss = "margin",
    target: Tensor | None = None,
    restarts: int = 1,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
) -> Attacked:
    """Attack as `pgd` does, with gradients estimated from differences of losses [SPSA].

    The estimate is the mean over P random sign vectors v of (loss(x + h v) - loss(x - h v)) v / 2h,
    h = 0.01. It begins at the image itself.

    Args:
        model, x, y, epsilon, norm, n_steps, step_size, target, restarts, samples, seed, device: as
            for `pgd`.
        n_pairs: P, pairs of queries a step, at least 1.
        loss: what to raise; the margin has slopes where the cross-entropy is flat.
        batch_size: images attacked at once; queries go through the classifier as many at a time.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: as `pgd`.
    """
    norms.check_ball("spsa", norm, epsilon)
    objectives.check_loss("spsa", loss)
    classifiers.check_counts("spsa", n_steps=n_steps, n_pairs=n_pairs, restarts=restarts)
    length = step_length("spsa", epsilon, n_steps, step_size)

    def method(batch: Batch) -> Tensor:
        @torch.no_grad()
        def slope(images: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = batch.predictor(images)
            values = objectives.losses(logits, y, loss, targeted=batch.targeted)
            total = torch.zeros_like(images)
            for _ in range(n_pairs):
                v = torch.rand(images.shape, generator=batch.generator) - 0.5
                v = v.sign().to(device=images.device, dtype=images.dtype)
                both = []
                for sign in (1, -1):
                    moved = (images + sign * STEP_OF_DIFFERENCES * v).clamp(0, 1)
                    both.append(
                        objectives.losses(batch.predictor(moved), y, loss, targeted=batch.targeted)
                    )
                scale = (both[0] - both[1]).view(-1, *[1] * (images.ndim - 1))
                total += scale * v
            gradient = total / (2 * STEP_OF_DIFFERENCES * n_pairs)
            return values, gradient, objectives.broken(logits, y, targeted=batch.targeted)

        return climb(
            batch,
            slope,
            loss=loss,
            epsilon=epsilon,
            norm=norm,
            n_steps=n_steps,
            step_size=length,
            restarts=restarts,
            random_start=False,
            early_stop=True,
        )

    return attacked.run(
        "spsa",
        method,
        model,
        x,
        y,
        norm=norm,
        target=target,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        device=device,
        gradients=False,
    )


def square(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    epsilon: float,
    n_queries: int = 500,
    loss: Loss = "margin",
    target: Tensor | None = None,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = attacked.BATCH_SIZE,
    device: str = "cpu",
) -> Attacked:
    """Attack in L-inf by random squares of constant change, kept where the loss rises [SQUARE].

    It begins with vertical stripes of +-epsilon; the squares shrink by the paper's schedule,
    stretched to ``n_queries``.

    Args:
        model, y, target, samples, seed, batch_size, device: as for `pgd`.
        x: images (N, C, H, W), in [0, 1].
        epsilon: largest change of an entry, positive.
        n_queries: images that each one may ask of the classifier, at least 1.
        loss: what to raise.

    Raises:
        ShapeError: images of another shape.
        ShapeError, ArgumentError, NonFiniteError: as `pgd`.
    """
    norms.check_ball("square", "linf", epsilon)
    objectives.check_loss("square", loss)
    classifiers.check_counts("square", n_queries=n_queries)
    if isinstance(x, Tensor) and x.ndim != 4:
        raise ShapeError(f"square: expected images of shape (N, C, H, W), got {tuple(x.shape)}.")

    @torch.no_grad()
    def method(batch: Batch) -> Tensor:
        B, C, H, W = batch.x.shape

        def signs(*shape: int) -> Tensor:
            drawn = torch.rand(shape, generator=batch.generator) - 0.5
            return epsilon * drawn.sign().to(batch.x)

        def judged(images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            logits, wanted = batch.predictor(images), batch.y[rows]
            return (
                objectives.losses(logits, wanted, loss, targeted=batch.targeted),
                objectives.broken(logits, wanted, targeted=batch.targeted) & (not batch.random),
            )

        result = (batch.x + signs(B, C, 1, W)).clamp(0, 1)
        left = torch.arange(B, device=batch.x.device)
        highest, won = judged(result, left)
        for query in range(1, n_queries):
            left = left[~won[left]]
            if len(left) == 0:
                break
            side = _side(query / n_queries, H, W)
            # Places and signs are drawn for all, so that who left changes nothing for the rest.
            tops = torch.randint(H - side + 1, (B,), generator=batch.generator)
            lefts = torch.randint(W - side + 1, (B,), generator=batch.generator)
            inside = (
                _within(tops, side, H)[:, None, :, None] & _within(lefts, side, W)[:, None, None]
            )
            moved = torch.where(inside.to(batch.x.device), batch.x + signs(B, C, 1, 1), result)[
                left
            ]
            moved = moved.clamp(0, 1)
            values, broken = judged(moved, left)
            better = broken | (values > highest[left])
            result[left[better]] = moved[better]
            highest[left[better]] = values[better]
            won[left] |= broken
        return result

    return attacked.run(
        "square",
        method,
        model,
        x,
        y,
        norm="linf",
        target=target,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        device=device,
        gradients=False,
    )


def _side(done: float, H: int, W: int) -> int:
    """Return the side of squares when a share ``done`` of the queries is spent."""
    halved = sum(done * 10_000 > threshold for threshold in HALVINGS)
    share = FIRST_SHARE / 2**halved
    return max(1, min(round(math.sqrt(share * H * W)), H, W))


def _within(start_B: Tensor, side: int, size: int) -> Tensor:
    places = torch.arange(size)
    return (places >= start_B[:, None]) & (places < start_B[:, None] + side)
