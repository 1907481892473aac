"""Classifiers as evaluation sees them: images in [0, 1] in, logits out, nothing left changed.

The object all functions share is a *classifier*: any callable that takes x of shape (B, ...) with
values in [0, 1] and returns logits of shape (B, C). Normalisation belongs to the classifier. A
module is run in evaluation mode on the device asked for; afterwards every part is again in the mode
and on the device it was found in.

A classifier may draw at random, from torch's global generator, which is seeded around every
evaluation. It is then judged by the mean of the probabilities of S draws, each draw one call over a
batch that holds every image S times. The logits of that predictor are the logarithm of this mean,
and gradients go through the mean: expectation over samples (Athalye et al. 2018, section 4.2).

Letters: N = examples; B = examples of a batch; C = classes; S = samples.
Reference: Athalye, Carlini & Wagner 2018, "Obfuscated gradients give a false sense of security",
arXiv:1802.00420.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError

Classifier = Callable[[Tensor], Tensor]

BATCH_SIZE = 500
ROWS_TO_TELL = 8  # examples on which two calls of a classifier are compared


@dataclass
class Predictor:
    """The logits of a classifier's mean prediction over ``samples`` draws; checks what comes out.

    Attributes:
        classifier: what is asked.
        samples: draws for each image, S.
        noise: standard deviation of normal noise added to each of the S copies of an image.
        generator: draws the noise.
        classes: how many classes, once known.
        n_evaluations: images that went through the classifier so far, S for each image asked.
    """

    classifier: Classifier
    samples: int = 1
    noise: float = 0.0
    generator: torch.Generator | None = None
    classes: int | None = None
    n_evaluations: int = field(default=0)

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits, shape (B, C); for S > 1 the logarithm of the mean probability.

        Raises:
            ShapeError: the classifier returned another shape than (B, C), C >= 2.
            NonFiniteError: a logit is NaN or infinite.
        """
        if self.samples == 1 and self.noise == 0:
            return self._checked(x)
        copies = x.repeat_interleave(self.samples, dim=0)
        if self.noise > 0:
            drawn = torch.randn(copies.shape, generator=self.generator, dtype=x.dtype)
            copies = copies + self.noise * drawn.to(x.device)
        logits_BC = self._checked(copies)
        logits_BSC = logits_BC.reshape(len(x), self.samples, logits_BC.shape[-1])
        return F.log_softmax(logits_BSC, dim=2).logsumexp(dim=1) - math.log(self.samples)

    def _checked(self, x: Tensor) -> Tensor:
        logits = self.classifier(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ShapeError(
                f"evaluation: expected logits of shape ({len(x)}, classes) from the model, got "
                f"{found}. Wrap the model so that it returns its logits alone."
            )
        if logits.shape[1] < 2 or (self.classes is not None and logits.shape[1] != self.classes):
            raise ShapeError(
                f"evaluation: expected logits of {self.classes or 'at least 2'} classes, got "
                f"{logits.shape[1]}."
            )
        if not math.isfinite(logits.detach().sum().item()) and not logits.isfinite().all():
            raise NonFiniteError(
                "evaluation: the model's logits hold a NaN or an infinity. Look at its weights, "
                "and for logarithms or divisions by 0 in it."
            )
        self.classes = logits.shape[1]
        self.n_evaluations += len(x)
        return logits


@contextlib.contextmanager
def evaluating(model: Classifier) -> Iterator[None]:
    """Run the block with ``model`` in evaluation mode, then give every part its own mode back.

    Not one mode to all: parts may be kept in evaluation while others train, as BatchNorm often is.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [one.training for one in modules]
    try:
        if isinstance(model, nn.Module):
            model.eval()
        yield
    finally:
        for one, mode in zip(modules, modes, strict=True):
            one.training = mode


@contextlib.contextmanager
def frozen(
    model: Classifier, device: str | torch.device, seed: int, *, gradients: bool = False
) -> Iterator[torch.device]:
    """Run the block with ``model`` in evaluation mode on ``device`` and global generators seeded.

    Its parameters ask for no gradients meanwhile; those of the input are kept with ``gradients``.
    Modes, devices, wishes for gradients and states of generators are restored.
    """
    place = _place(device)
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    wishes = [one.requires_grad for one in parameters]
    before = parameters[0].device if parameters else place
    with evaluating(model):
        try:
            if isinstance(model, nn.Module):
                model.to(place)
            for one in parameters:
                one.requires_grad_(False)
            with seeding.scope(seed), torch.set_grad_enabled(gradients):
                yield place
        finally:
            for one, wish in zip(parameters, wishes, strict=True):
                one.requires_grad_(wish)
            if isinstance(model, nn.Module):
                model.to(before)


def _place(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise ArgumentError(
            f"evaluation: the device {str(device)!r} cannot be used here: {said}. Take cpu."
        ) from error
    return place


def check_images(function: str, x: Tensor) -> None:
    """Raise unless x holds at least one example, floating, in [0, 1].

    Raises:
        ShapeError: no floating tensor of at least two dimensions, or no examples.
        ArgumentError: values outside [0, 1], or NaN.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(
            f"{function}: expected a floating tensor of shape (N, ...) with N >= 1 and values from "
            f"0 to 1, got {found}."
        )
    low, high = float(x.detach().min()), float(x.detach().max())
    if not (low >= 0 and high <= 1):
        raise ArgumentError(
            f"{function}: expected values from 0 to 1, found {low:g} to {high:g}. Give images "
            "before normalisation (bytes divided by 255) and put the normalisation into the model."
        )


def check_labels(function: str, y: Tensor, n: int) -> None:
    """Raise unless y holds ``n`` integers of at least 0.

    Raises:
        ShapeError: another shape, or no integers.
        ArgumentError: a negative label.
    """
    integers = isinstance(y, Tensor) and not (y.is_floating_point() or y.dtype == torch.bool)
    if not integers or y.shape != (n,):
        found = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ShapeError(f"{function}: expected {n} integer labels, shape ({n},), got {found}.")
    if int(y.min()) < 0:
        raise ArgumentError(f"{function}: expected labels from 0, found {int(y.min())}.")


def check_classes(function: str, y: Tensor, classes: int) -> None:
    """Raise ArgumentError if a label is not below ``classes``."""
    if int(y.max()) >= classes:
        raise ArgumentError(
            f"{function}: expected labels from 0 to {classes - 1}, for the model has {classes} "
            f"outputs, found {int(y.max())}. Do model and data belong together?"
        )


def check_counts(function: str, **counts: int) -> None:
    """Raise ArgumentError if one of ``counts`` is below 1."""
    for name, value in counts.items():
        if value < 1:
            raise ArgumentError(f"{function}: {name} must be at least 1, got {value}.")


def is_random(model: Classifier, x: Tensor, *, seed: int = 0, device: str = "cpu") -> bool:
    """Return whether two calls of the classifier on the same few images of ``x`` differ.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad images or logits.
    """
    check_images("is_random", x)
    with frozen(model, device, seed) as place:
        return draws(model, x.to(place))


def draws(model: Classifier, x: Tensor) -> bool:
    """As `is_random`, inside `frozen`."""
    few = x[:ROWS_TO_TELL].detach()
    with torch.no_grad():
        predictor = Predictor(model)
        return not torch.equal(predictor(few), predictor(few))


def logits(
    model: Classifier,
    x: Tensor,
    *,
    samples: int = 1,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    seed: int = 0,
) -> Tensor:
    """Return the classifier's logits on all of ``x``: float32 on the CPU, shape (N, C).

    Args:
        model: a classifier.
        x: images, (N, ...), in [0, 1].
        samples: draws for each image, if the classifier draws: then the logarithm of the mean
            probability comes back. One that draws nothing is called once.
        batch_size: images at once.
        device: where to compute.
        seed: of what the classifier draws.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: bad images, counts or logits.
    """
    check_images("logits", x)
    check_counts("logits", samples=samples, batch_size=batch_size)
    with frozen(model, device, seed) as place:
        if samples > 1 and not draws(model, x[:ROWS_TO_TELL].to(place)):
            samples = 1
        predictor = Predictor(model, samples)
        parts = [predictor(part.to(place)).float().cpu() for part in torch.split(x, batch_size)]
    return torch.cat(parts)


def accuracy(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    samples: int = 1,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    seed: int = 0,
) -> float:
    """Return the share of ``x`` whose largest logit is that of its label, in [0, 1].

    Arguments and errors as in `logits`; y are N integers from 0 to C - 1.
    """
    check_images("accuracy", x)
    check_labels("accuracy", y, len(x))
    found = logits(model, x, samples=samples, batch_size=batch_size, device=device, seed=seed)
    check_classes("accuracy", y, found.shape[1])
    return float((found.argmax(1) == y.cpu()).double().mean())
