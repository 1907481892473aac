"""What the study `bottleneck` trains: methods, networks and images.

A *method* is an objective with its one knob, called by a name such as "ceb-2". A *task* is a
network on a set of images with everything that decides its training, the same for every method: the
papers' optimiser and schedule (Adam, the learning rate falling to 0.3 of itself after a third, two
thirds and five sixths of training), no BatchNorm, no weight decay, no augmentation.

Letters: N = images; C = channels; H, W = height and width; D = dimensions of z.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081, section 3.1 and appendix A.1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from sidle import seeding, storage
from sidle.data import images
from sidle.errors import ArgumentError
from sidle.studies.bottleneck_networks import Residual, ResNet50

Objective = Literal["deterministic", "label-smoothing", "vib", "ceb", "consistent", "adversarial"]
SMOOTHING = 0.1  # of the control: the usual share (Szegedy et al. 2016, section 7)
DROPS = (1 / 3, 2 / 3, 5 / 6)  # shares of training [CEB2, section 3.1]
DROP = 0.3


@dataclass(frozen=True)
class Method:
    """An objective and its knob.

    Attributes:
        name: "deterministic", "label-smoothing", "vib-BETA", "ceb-RHO", "consistent-RHO",
            "adversarial-linf" or "adversarial-l2".
        objective: the name up to the knob.
        rho: of CEB, and that of the same multiplier of VIB; None of the others.
        beta: 1 / (1 + e^rho); None where rho is.
        norm: of the attacks it is trained against; None of the others.
    """

    name: str
    objective: Objective
    rho: float | None = None
    beta: float | None = None
    norm: Literal["linf", "l2"] | None = None


def method(name: str) -> Method:
    """Return the method called ``name``.

    Raises:
        ArgumentError: there is none.
    """
    if name in ("deterministic", "label-smoothing"):
        return Method(name, name)  # type: ignore[arg-type]
    objective, _, knob = name.partition("-")
    if objective == "adversarial" and knob in ("linf", "l2"):
        return Method(name, "adversarial", norm=knob)  # type: ignore[arg-type]
    value = _number(knob)
    if objective == "vib" and 0 < value < 1:
        return Method(name, "vib", math.log(1 / value - 1), value)
    if objective in ("ceb", "consistent") and math.isfinite(value):
        return Method(name, objective, value, 1 / (1 + math.exp(value)))  # type: ignore[arg-type]
    raise ArgumentError(
        "method: expected deterministic, label-smoothing, vib-BETA with BETA in (0, 1), ceb-RHO, "
        f"consistent-RHO, adversarial-linf or adversarial-l2, got {name!r}."
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class Task:
    """A network, its images and its training.

    Attributes:
        dataset: name of the images.
        network: "residual" or "resnet-50".
        epochs: passes over the training images.
        batch_size: images of a batch.
        learning_rate: at the start.
        dim: D, dimensions of z.
        stem: channels of the first convolution (of "residual", as all below).
        stem_stride: its stride.
        widths: channels of each group of blocks.
        strides: stride of the first block of each group.
        blocks: blocks of a group.
        pooled: average the last map over space.
        hidden: units of a layer between the map and the features; 0: none.
        attack_steps: steps of the attacks that adversarial training trains against.
        annealing: share of training over which rho falls to its value.
        target: class that Carlini-Wagner aims at ("Trouser" of Fashion-MNIST, as in [CEB1]).
        size: height and width to resize to, of a folder of images; 0 takes them as they are.
    """

    dataset: str
    network: Literal["residual", "resnet-50"]
    epochs: int
    batch_size: int
    learning_rate: float
    dim: int
    stem: int = 0
    stem_stride: int = 1
    widths: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    blocks: int = 1
    pooled: bool = False
    hidden: int = 0
    attack_steps: int = 7
    annealing: float = 0.1
    target: int = 1
    size: int = 0

    def rate(self, share: float) -> float:
        """Return the learning rate when this share of training is done."""
        return self.learning_rate * DROP ** sum(share >= drop for drop in DROPS)


_SMALL = functools.partial(
    Task,
    network="residual",
    batch_size=100,
    learning_rate=4e-3,
    dim=64,
    stem=16,
    stem_stride=2,
    widths=(32, 64),
    strides=(2, 2),
    hidden=256,
    annealing=0.5,
    attack_steps=4,
)
_WIDE = functools.partial(
    Task, network="residual", widths=(160, 320, 640), strides=(1, 2, 2), stem=16, blocks=4
)

TASKS: dict[str, Task] = {
    "digits": _SMALL(
        "digits", epochs=30, batch_size=50, dim=32, stem_stride=1, widths=(24, 48), hidden=64
    ),
    "fashion_mnist": _SMALL("fashion_mnist", epochs=24),
    "cifar10": _SMALL("cifar10", epochs=40, stem=48, widths=(96, 192), hidden=512),
    # Wide ResNet 28x10 [CEB2, section 3.1]; AutoAugment is left out.
    "cifar10-paper": _WIDE(
        "cifar10", epochs=1500, batch_size=128, learning_rate=1e-3, dim=128, pooled=True
    ),
    "imagenet-paper": Task(
        "imagenet", "resnet-50", epochs=90, batch_size=256, learning_rate=1e-3, dim=1024, size=224
    ),
}


def encoder(task: Task) -> nn.Module:
    """Return the task's network up to D features, initialised from torch's global generator."""
    shape, _ = shape_and_classes(task)
    if task.network == "resnet-50":
        return ResNet50(shape, task.dim)
    return Residual(
        shape,
        task.dim,
        stem=task.stem,
        stem_stride=task.stem_stride,
        widths=task.widths,
        strides=task.strides,
        blocks=task.blocks,
        pooled=task.pooled,
        hidden=task.hidden,
    )


@functools.lru_cache(maxsize=3)
def _load(dataset: str, size: int = 0) -> tuple[images.Images, images.Images]:
    return images.load(dataset, size=(size, size) if size else None)


def shape_and_classes(task: Task) -> tuple[tuple[int, int, int], int]:
    """Return (C, H, W) of the task's images, and how many classes they have."""
    train, _ = _load(task.dataset, task.size)
    return _shape(task.dataset, task.size), len(train.class_names)


def _shape(dataset: str, size: int = 0) -> tuple[int, int, int]:
    _, H, W, C = _load(dataset, size)[0].pixels.shape
    return C, H, W


def digest(task: Task, outliers: Sequence[str]) -> str:
    """Return the digest of training and test images, and of the sets that bring outliers."""
    sets = [_load(task.dataset, task.size)]
    sets += [_load(name) for name in outliers if name not in MADE_OUTLIERS]
    return storage.digest(*(part.digest() for some in sets for part in some))


@dataclass(frozen=True, eq=False)
class Split:
    """Images as bytes, with labels.

    Attributes:
        train: x (N, C, H, W) uint8 and labels (N,) to train on.
        test: the same, to test on, in a random order.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def split(task: Task, n_train: int, *, held_out: int = 0) -> Split:
    """Return the first ``n_train`` training images of a fixed random order, and all test images.

    Args:
        task: whose images.
        n_train: how many to train on, at most; 0 takes all.
        held_out: test on so many images from the end of the training set, which are then not
            trained on, in place of the test set: for choosing hyper-parameters.
    """
    train, test = _load(task.dataset, task.size)
    generator = seeding.numpy_generator(seeding.split(0, "images", task.dataset))
    rows, test_rows = (generator.permutation(len(part)) for part in (train, test))
    if held_out:
        test, test_rows, rows = train, rows[-held_out:], rows[:-held_out]
    return Split(_tensors(train, rows[: n_train or None]), _tensors(test, test_rows))


def _tensors(part: images.Images, rows: Any) -> tuple[Tensor, Tensor]:
    pixels_NHWC = torch.from_numpy(np.ascontiguousarray(part.pixels[rows]))
    return pixels_NHWC.permute(0, 3, 1, 2), torch.from_numpy(part.labels[rows])


def scaled(x: Tensor) -> Tensor:
    """Return bytes as shares in [0, 1], float32."""
    return x.to(torch.float32) / 255


MADE_OUTLIERS = ("uniform", "flipped")


def fitting_outliers(task: Task, names: Sequence[str]) -> tuple[str, ...]:
    """Return those sets of outliers whose images have the shape of the task's."""
    shape, _ = shape_and_classes(task)
    found = [name for name in names if name in MADE_OUTLIERS or _shape(name) == shape]
    return tuple(found)


def outliers(name: str, test: Tensor, seed: int) -> Tensor:
    """Return images that are none of the task's, at most as many as ``test`` has, in [0, 1].

    Args:
        name: "uniform" (each pixel drawn from [0, 1]), "flipped" (the test images upside down), or
            the name of another set, whose test images are taken.
        test: the test images, shape (N, C, H, W) in [0, 1].
        seed: names what is drawn.
    """
    if name == "flipped":
        return test.flip(2)
    if name == "uniform":
        return torch.rand(test.shape, generator=seeding.torch_generator(seed))
    _, other = _load(name)
    rows = seeding.numpy_generator(seed).permutation(len(other))[: len(test)]
    return scaled(_tensors(other, rows)[0])
