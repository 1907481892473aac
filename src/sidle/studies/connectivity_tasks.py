"""What the study `connectivity` trains: networks, images, and the training between two steps.

A *task* is a network on a set of images with everything that decides its training. The table
`TASKS` holds those that fit a processor and, under names that end in "-paper", those of
[LMC, table 1 and appendix A].

Letters: N = images; B = images of a batch; C = channels; H, W = height and width; T = last step.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [RESNET] He et al. 2016,
arXiv:1512.03385, section 4.2.
"""

from __future__ import annotations

import bisect
import functools
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle import seeding, storage, training
from sidle.data import images
from sidle.errors import ArgumentError
from sidle.lmc.instability import noise
from sidle.lmc.masks import Mask
from sidle.lmc.networks import VGG, LeNet, ResNet
from sidle.runs import Run

LOG_EVERY = 100  # steps between records of the loss
SHIFT = 4  # pixels that augmentation moves an image at most, each way [RESNET]


@dataclass(frozen=True)
class Task:
    """A network, its images and its training.

    Attributes:
        network: "lenet", "resnet" or "vgg".
        dataset: name of the images.
        steps: T.
        batch_size: images of a batch.
        optimizer: "sgd" with momentum 0.9, or "adam".
        learning_rate: at its highest.
        warmup: steps over which it rises to that, in a straight line.
        drops: steps from which on it is a tenth of what it was.
        weight_decay: added to the gradient, times the weight.
        augment: mirror and move training images at random [RESNET].
        depth: layers with weights (not of "lenet").
        width: channels of the first layer (not of "lenet").
        stem_stride: stride of the first layer of "resnet".
    """

    network: Literal["lenet", "resnet", "vgg"]
    dataset: str
    steps: int
    batch_size: int
    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    warmup: int = 0
    drops: tuple[int, ...] = ()
    weight_decay: float = 0.0
    augment: bool = False
    depth: int = 0
    width: int = 0
    stem_stride: int = 1

    def rate(self, step: int) -> float:
        """Return the learning rate of step ``step``, counted from 0."""
        rising = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return self.learning_rate * rising * 0.1 ** bisect.bisect_right(self.drops, step)


_LENET = functools.partial(Task, "lenet", optimizer="adam")
_RESNET = functools.partial(
    Task, "resnet", optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, depth=8, width=8
)
_VGG = functools.partial(
    Task, "vgg", optimizer="sgd", learning_rate=0.1, weight_decay=1e-4, depth=8, width=8
)
# For a processor: a fiftieth of the paper's steps. Twice its learning rate in batches of half the
# size make as much noise in them as it takes for the copies of a small network to part.
_SMALL: dict[str, Any] = {"steps": 1250, "batch_size": 64, "drops": (625, 938), "augment": True}
_SMALL_RESNET = functools.partial(
    _RESNET, **_SMALL | {"learning_rate": 0.2, "width": 12, "stem_stride": 2}
)
_SMALL_VGG = functools.partial(_VGG, **_SMALL)
# CIFAR-10 networks of [LMC, table 1]: 63,000 steps, a tenth of the rate from 32,000 and 48,000 on.
_PAPER = {"steps": 63_000, "batch_size": 128, "drops": (32_000, 48_000), "augment": True}
_RESNET_20 = functools.partial(_RESNET, "cifar10", depth=20, width=16, **_PAPER)
_VGG_16 = functools.partial(_VGG, "cifar10", depth=16, width=64, **_PAPER)

TASKS: dict[str, Task] = {
    "lenet-digits": _LENET("digits", steps=300, batch_size=60, learning_rate=1.2e-3),
    "resnet-digits": _RESNET("digits", steps=100, batch_size=64, drops=(50, 75)),
    "lenet-fashion": _LENET("fashion_mnist", steps=2000, batch_size=60, learning_rate=1.2e-3),
    "resnet-cifar10": _SMALL_RESNET("cifar10"),
    "resnet-fashion": _SMALL_RESNET("fashion_mnist"),
    "vgg-cifar10": _SMALL_VGG("cifar10"),
    "vgg-fashion": _SMALL_VGG("fashion_mnist"),
    "lenet-paper": _LENET("mnist", steps=24_000, batch_size=60, learning_rate=1.2e-3),
    "resnet-20-paper": _RESNET_20(),
    "resnet-20-low-paper": _RESNET_20(learning_rate=0.01),
    "resnet-20-warmup-paper": _RESNET_20(learning_rate=0.03, warmup=30_000),
    "vgg-16-paper": _VGG_16(),
    "vgg-16-low-paper": _VGG_16(learning_rate=0.01),
    "vgg-16-warmup-paper": _VGG_16(warmup=30_000),
}


def network(task: Task) -> nn.Module:
    """Return the task's network, newly initialised from torch's global generator.

    Raises:
        ArgumentError: an unknown network, or images that it does not take.
    """
    shape, classes = _shape(task.dataset)
    if task.network == "lenet":
        return LeNet(shape, classes)
    if task.network == "resnet":
        return ResNet(
            shape, classes, depth=task.depth, width=task.width, stem_stride=task.stem_stride
        )
    if task.network == "vgg":
        return VGG(shape, classes, depth=task.depth, width=task.width)
    raise ArgumentError(f"network: expected 'lenet', 'resnet' or 'vgg', got {task.network!r}.")


@functools.lru_cache(maxsize=1)
def _load(dataset: str) -> tuple[images.Images, images.Images]:
    return images.load(dataset)


def _shape(dataset: str) -> tuple[tuple[int, int, int], int]:
    train, _ = _load(dataset)
    _, H, W, C = train.pixels.shape
    return (C, H, W), len(train.class_names)


def digest(dataset: str) -> str:
    """Return the digest of training and test images."""
    return storage.digest(*(part.digest() for part in _load(dataset)))


@dataclass(frozen=True, eq=False)
class Split:
    """Standardised images as tensors: each channel has mean 0 and deviation 1 in training.

    Attributes:
        train: x (N, C, H, W) float32 and labels (N,) to train on.
        test: the same, to test on; all there are.
        path_train: those of ``train`` that paths are measured on.
        path_test: those of ``test`` that paths are measured on.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    path_train: tuple[Tensor, Tensor]
    path_test: tuple[Tensor, Tensor]


def split(dataset: str, n_train: int, n_path: int, n_path_train: int) -> Split:
    """Return the first ``n_train`` images of a fixed random order, and all test images.

    Args:
        dataset: name of the images.
        n_train: how many to train on, at most; 0 takes all.
        n_path: how many test images to measure paths on, at most; 0 takes all.
        n_path_train: how many training images to measure paths on, at most; 0 takes all.
    """
    train, test = _load(dataset)
    generator = seeding.numpy_generator(seeding.split(0, "images", dataset))
    rows, test_rows = (generator.permutation(len(part)) for part in (train, test))
    rows = rows[: n_train or None]
    mean, deviation = _moments(train.pixels[rows])

    def tensors(part: images.Images, chosen: Any) -> tuple[Tensor, Tensor]:
        pixels_NHWC = (part.pixels[chosen].astype(np.float32) - mean) / deviation
        # The channels stay innermost in memory: convolutions are faster on that.
        x_NCHW = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2)
        return x_NCHW, torch.from_numpy(part.labels[chosen])

    x, y = tensors(train, rows)
    test_x, test_y = tensors(test, test_rows)
    n, m = n_path_train or len(y), n_path or len(test_y)
    return Split((x, y), (test_x, test_y), (x[:n], y[:n]), (test_x[:m], test_y[:m]))


def _moments(pixels_NHWC: Any) -> tuple[Any, Any]:
    C = pixels_NHWC.shape[-1]
    values = pixels_NHWC.reshape(-1, C)
    mean, deviation = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    return mean.astype(np.float32), np.maximum(deviation, 1e-3).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Training:
    """The training function of a task (`sidle.lmc.training_function`).

    Attributes:
        task: what is trained.
        x: training images, shape (N, C, H, W), standardised.
        y: labels, shape (N,).
        device: where to train.
    """

    task: Task
    x: Tensor
    y: Tensor
    device: str = "cpu"

    def __call__(
        self,
        state: Any,
        start: int,
        stop: int,
        seed: int,
        *,
        mask: Mask | None = None,
        run: Run | None = None,
    ) -> dict[str, Any]:
        """Train from step ``start`` to ``stop``; the tree holds "model" and "optimizer"."""
        task, seeds = self.task, noise(seed)
        # Convolutions train a seventh faster with the channels innermost.
        model = network(task).to(self.device)
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.load_state_dict(state["model"])
        optimizer = _optimizer(task, model)
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
        if mask is not None:
            mask.hold(model, optimizer)
        order = training.minibatches((self.x, self.y), task.batch_size, seed=seeds["data_order"])

        def batch(i: int) -> tuple[int, Tensor, Tensor]:
            x, y = order(start + i)
            if task.augment:
                drawn = seeding.split(seeds["augmentation"], "step", start + i)
                x = augmented(x, seeding.torch_generator(drawn))
            x = x.contiguous(memory_format=torch.channels_last)
            return start + i, x.to(self.device), y.to(self.device)

        update = training.supervised(
            model, optimizer, lambda module, pair: F.cross_entropy(module(pair[0]), pair[1])
        )

        def step(batch: tuple[int, Tensor, Tensor]) -> training.Metrics:
            number, x, y = batch
            for group in optimizer.param_groups:
                group["lr"] = task.rate(number)
            return update((x, y))

        training.fit(
            step,
            batch,
            stop - start,
            state={"model": model, "optimizer": optimizer},
            run=run,
            log_every=LOG_EVERY,
            description=f"{task.network} {start} to {stop}",
        )
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def _optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    if task.optimizer == "adam":
        return torch.optim.Adam(
            model.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=task.learning_rate,
        momentum=0.9,
        weight_decay=task.weight_decay,
        fused=True,
    )


def augmented(x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2 and move it by up to `SHIFT` pixels [RESNET].

    Args:
        x_BCHW: images; what they are moved away from becomes 0.
        generator: draws for each image.
    """
    B, C, H, W = x_BCHW.shape
    mirrored_B = torch.rand(B, generator=generator) < 0.5
    row_B, column_B = torch.randint(2 * SHIFT + 1, (2, B), generator=generator)
    rows_BH = row_B[:, None] + torch.arange(H)
    columns_BW = column_B[:, None] + torch.where(
        mirrored_B[:, None], torch.arange(W - 1, -1, -1), torch.arange(W)
    )
    padded_BHWC = F.pad(x_BCHW.permute(0, 2, 3, 1), (0, 0) + (SHIFT,) * 4)
    _, height, width, _ = padded_BHWC.shape
    image_B = torch.arange(B)[:, None, None]
    place_BHW = (image_B * height + rows_BH[:, :, None]) * width + columns_BW[:, None, :]
    # Pixel by pixel: a third of the time that indexing channels and rows apart takes.
    chosen = padded_BHWC.reshape(-1, C).index_select(0, place_BHW.flatten())
    return chosen.view(B, H, W, C).permute(0, 3, 1, 2)
