"""What an attack made, and the frame that all attacks share: checks, batches, honest recounting.

The object all functions share is a `Problem`: images x (N, ...) in [0, 1] with labels y (N,), the
classes wanted if the attack is targeted, and the predictor under attack. An untargeted attack need
not touch images that are already wrong: they count as broken, at distance 0.

A classifier that draws at random may be wrong once by luck. So whatever an attack believes to have
found is put to the classifier again, with fresh draws, before it counts.

Letters: N = images; B = images of a batch; S = samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.evaluation import classifiers
from sidle.evaluation.attacks import norms, objectives
from sidle.evaluation.attacks.norms import Norm
from sidle.evaluation.classifiers import Classifier, Predictor

BATCH_SIZE = 200


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack made of N images, on the CPU.

    Attributes:
        x: images (N, ...) in [0, 1], and within the budget where there is one. An image that the
            attack failed on is there as the attack left it (foolbox's: unchanged).
        success: bool (N,), whether the classifier is wrong on it; targeted: of the class wanted.
        distance: (N,), how far it was moved, in ``norm``.
        norm: the norm of ``distance``; "l2" for attacks bound by none.
        n_evaluations: images that went through the classifier (forward) in all.
    """

    x: Tensor
    success: Tensor
    distance: Tensor
    norm: Norm
    n_evaluations: int

    @property
    def robust_accuracy(self) -> float:
        """Share of images that the attack did not break, in [0, 1]."""
        return 1 - float(self.success.double().mean())

    def robust_accuracy_within(self, epsilon: float) -> float:
        """Share of images that the attack did not break by moving them at most ``epsilon``."""
        inside = self.success & (self.distance <= epsilon * (1 + 1e-6))
        return 1 - float(inside.double().mean())


@dataclass(frozen=True, eq=False)
class Batch:
    """A part of the images, on the device of the classifier.

    Attributes:
        x: images (B, ...).
        y: int64 (B,), true labels, or the classes wanted.
        targeted: which of the two.
        predictor: the classifier under attack.
        random: whether it draws.
        generator: draws for the attack, on the CPU; a stream of its own for each batch.
    """

    x: Tensor
    y: Tensor
    targeted: bool
    predictor: Predictor
    random: bool
    generator: torch.Generator

    def broken(self, x: Tensor) -> Tensor:
        """Return whether the attacker has won each of the images ``x`` (B, ...), bool (B,)."""
        with torch.no_grad():
            return objectives.broken(self.predictor(x), self.y, targeted=self.targeted)


def run(
    function: str,
    method: Callable[[Batch], Tensor],
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    norm: Norm,
    target: Tensor | None,
    samples: int,
    noise: float = 0.0,
    seed: int,
    batch_size: int,
    device: str,
    gradients: bool,
) -> Attacked:
    """Check everything, attack batch by batch with ``method``, and recount what it made.

    Args:
        function: whose errors these are.
        method: makes images (B, ...) of a batch; it may see only images not yet broken.
        model, x, y: a classifier, N images and their labels.
        norm: of the distances.
        target: classes wanted, (N,), or None.
        samples: draws for each image, where the classifier draws, or ``noise`` is added.
        noise: standard deviation of noise on the input, while the attack is made.
        seed, batch_size, device: as everywhere.
        gradients: whether ``method`` asks for gradients.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad images, labels, counts or logits.
    """
    classifiers.check_images(function, x)
    classifiers.check_labels(function, y, len(x))
    classifiers.check_counts(function, samples=samples, batch_size=batch_size)
    if target is not None:
        classifiers.check_labels(f"{function}: target", target, len(x))
    if not (0 <= noise < math.inf):
        raise ArgumentError(f"{function}: noise must be at least 0, got {noise}.")
    wanted = y if target is None else target
    made, success, counted = [], [], 0
    with classifiers.frozen(model, device, seed, gradients=gradients) as place:
        random = classifiers.draws(model, x[:8].to(place))
        honest = Predictor(model, samples if random else 1)
        under_attack = Predictor(model, samples if random or noise > 0 else 1, noise)
        for index, rows in enumerate(torch.split(torch.arange(len(x)), batch_size)):
            images, labels = x[rows].to(place), wanted[rows].to(place, torch.int64)
            generator = seeding.torch_generator(seeding.split(seed, function, "batch", index))
            under_attack.generator = generator
            with torch.no_grad():
                logits = honest(images)
            classifiers.check_classes(function, labels, logits.shape[1])
            open_ = ~objectives.broken(logits, labels, targeted=target is not None)
            found = images.clone()
            if open_.any():
                targeted = target is not None
                left = Batch(
                    images[open_], labels[open_], targeted, under_attack, random, generator
                )
                found[open_] = method(left).detach().to(found.dtype)
            with torch.no_grad():
                won = objectives.broken(honest(found), labels, targeted=target is not None)
            made.append(found.cpu())
            success.append((won | ~open_).cpu())
        counted = honest.n_evaluations + under_attack.n_evaluations
    together = torch.cat(made)
    return Attacked(
        x=together,
        success=torch.cat(success),
        distance=norms.distance(together, x.cpu(), norm),
        norm=norm,
        n_evaluations=counted,
    )


def choose_targets(y: Tensor, n_classes: int, how: str = "next", *, seed: int = 0) -> Tensor:
    """Return a wrong class for each label, int64 (N,).

    Args:
        y: labels, (N,), from 0 to n_classes - 1.
        n_classes: at least 2.
        how: "next": the following class, the first after the last; "random": any other class, each
            as likely.
        seed: of the random choice.

    Raises:
        ShapeError, ArgumentError: bad labels, fewer than two classes, or another ``how``.
    """
    classifiers.check_labels("choose_targets", y, len(y))
    if n_classes < 2 or how not in ("next", "random"):
        raise ArgumentError(
            "choose_targets: expected at least 2 classes and how 'next' or 'random', got "
            f"{n_classes} and {how!r}."
        )
    classifiers.check_classes("choose_targets", y, n_classes)
    steps = torch.ones_like(y, dtype=torch.int64)
    if how == "random":
        generator = seeding.torch_generator(seeding.split(seed, "targets"))
        steps = torch.randint(1, n_classes, y.shape, generator=generator).to(y.device)
    return (y.to(torch.int64) + steps) % n_classes
