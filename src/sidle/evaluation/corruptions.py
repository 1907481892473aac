"""Corruptions: does a classifier survive what happens to images outside of laboratories?

Thirteen kinds in five severities, for grey and colour images of any size, as of the benchmark
[COMMON] for small images; lengths (widths of blurs, waves, blocks) grow with the image, being given
for 32 pixels. All chance comes from a generator that a seed names, one stream for each kind and
severity: the same seed corrupts the same images alike, whoever is judged on them.

    noise     gaussian-noise  shot-noise  impulse-noise  speckle-noise
    blur      gaussian-blur  defocus-blur  motion-blur  pixelate
    light     brightness  contrast  fog
    digital   jpeg  elastic

Letters: N = images; C = channels (1 or 3); H, W = height and width.
References: [COMMON] Hendrycks & Dietterich 2019, arXiv:1903.12261 (CIFAR-10-C). [JPEG] Wallace
1992, IEEE Transactions on Consumer Electronics 38(1). [DIAMOND] Fournier, Fussell & Carpenter 1982,
Communications of the ACM 25(6) (fog by midpoint displacement; ours is a sum of smooth octaves).
[ELASTIC] Simard, Steinkraus & Platt 2003, ICDAR.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.evaluation import classifiers
from sidle.evaluation.classifiers import Classifier

SEVERITIES = (1, 2, 3, 4, 5)
_USUAL = 32  # pixels of the side for which lengths are given

Corrupt = Callable[[Tensor, float, torch.Generator], Tensor]


def _gaussian_noise(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return x + amount * torch.randn(x.shape, generator=generator)


def _shot_noise(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Photons: a Poisson number with mean x / amount."""
    return amount * torch.poisson(x / amount, generator=generator)


def _impulse_noise(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A share of the pixels becomes black or white, all channels alike."""
    drawn = torch.rand((len(x), 1, *x.shape[2:]), generator=generator)
    return torch.where(drawn < amount / 2, 0.0, torch.where(drawn > 1 - amount / 2, 1.0, x))


def _speckle_noise(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return x + amount * x * torch.randn(x.shape, generator=generator)


def _gaussian_blur(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return _smooth(x, amount * _scale(x))


def _defocus_blur(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A disk of this radius, its rim in shares."""
    radius = amount * _scale(x)
    reach = math.ceil(radius + 0.5)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    return _filtered(x, (radius + 0.5 - distance).clamp(0, 1))


def _motion_blur(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A straight stroke of this length, in a direction of each image's own."""
    length = amount * _scale(x)
    reach = math.ceil(length / 2 + 0.5)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32)
    angle = math.pi * torch.rand(len(x), generator=generator)
    along = angle.cos()[:, None, None] * axis + angle.sin()[:, None, None] * axis[:, None]
    across = angle.cos()[:, None, None] * axis[:, None] - angle.sin()[:, None, None] * axis
    strokes = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(0, 1)
    C, size = x.shape[1], len(axis)
    kernels = (strokes / strokes.sum((1, 2), keepdim=True)).repeat_interleave(C, 0)
    padded = F.pad(x, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    found = F.conv2d(padded, kernels.view(-1, 1, size, size), groups=len(x) * C)
    return found.view(x.shape)


def _pixelate(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Fewer pixels by averages, and back without smoothing."""
    size = [max(1, round(amount * side)) for side in x.shape[2:]]
    return F.interpolate(F.interpolate(x, size, mode="area"), x.shape[2:], mode="nearest")


def _brightness(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return x + amount


def _contrast(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return mean + amount * (x - mean)


def _fog(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """A cloud of smooth noise in octaves, added and then scaled to the image's range."""
    cloud = torch.zeros(len(x), 1, *x.shape[2:])
    octaves = max(1, int(math.log2(max(x.shape[2:]))))
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        drawn = torch.rand((len(x), 1, cells, cells), generator=generator)
        cloud += (
            F.interpolate(drawn, x.shape[2:], mode="bilinear", align_corners=True) / 1.7**octave
        )
    low, high = cloud.amin((2, 3), keepdim=True), cloud.amax((2, 3), keepdim=True)
    brightest = x.amax((1, 2, 3), keepdim=True)
    # Of a single pixel the cloud has one height, and no shape.
    shape = (cloud - low) / (high - low).clamp_min(1e-12)
    return (x + amount * shape) * brightest / (brightest + amount)


def _jpeg(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Written as JPEG of this quality and read again [JPEG]."""
    made = []
    for image in (x * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy():
        place = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(
            place, "JPEG", quality=round(amount)
        )
        read = np.asarray(Image.open(place), np.float32) / 255
        made.append(torch.from_numpy(read).view(image.shape))
    return torch.stack(made).permute(0, 3, 1, 2)


def _elastic(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Every pixel is moved by a smooth random field, this many pixels on average [ELASTIC]."""
    H, W = x.shape[2:]
    drawn = torch.randn((len(x), 2, H, W), generator=generator)
    field = _smooth(drawn, 4 * _scale(x))
    field = field / field.square().sum(1, keepdim=True).sqrt().mean((2, 3), keepdim=True)
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij"
    )
    moved = amount * _scale(x) * field * torch.tensor([2 / W, 2 / H]).view(1, 2, 1, 1)
    grid = torch.stack([columns + moved[:, 0], rows + moved[:, 1]], -1)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)


_KINDS: Mapping[str, tuple[Corrupt, Sequence[float]]] = MappingProxyType(
    {
        "gaussian-noise": (_gaussian_noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
        "shot-noise": (_shot_noise, (0.005, 0.01, 0.03, 0.06, 0.12)),
        "impulse-noise": (_impulse_noise, (0.01, 0.03, 0.06, 0.1, 0.17)),
        "speckle-noise": (_speckle_noise, (0.1, 0.15, 0.25, 0.35, 0.5)),
        "gaussian-blur": (_gaussian_blur, (0.5, 0.75, 1.0, 1.4, 2.0)),
        "defocus-blur": (_defocus_blur, (0.7, 1.0, 1.4, 1.9, 2.7)),
        "motion-blur": (_motion_blur, (2.0, 3.0, 4.5, 6.0, 8.0)),
        "pixelate": (_pixelate, (0.5, 0.45, 0.4, 0.3, 0.25)),
        "brightness": (_brightness, (0.05, 0.1, 0.2, 0.3, 0.4)),
        "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
        "fog": (_fog, (0.2, 0.5, 0.75, 1.0, 1.5)),
        "jpeg": (_jpeg, (60.0, 40.0, 25.0, 15.0, 8.0)),
        "elastic": (_elastic, (0.5, 0.8, 1.2, 1.7, 2.4)),
    }
)
CORRUPTIONS: tuple[str, ...] = tuple(_KINDS)


def corrupt(x: Tensor, kind: str, severity: int, *, seed: int = 0) -> Tensor:
    """Return corrupted images, float32 of the same shape, in [0, 1], on the CPU.

    Args:
        x: images, (N, C, H, W) with C of 1 or 3, in [0, 1].
        kind: one of `CORRUPTIONS`.
        severity: 1 to 5.
        seed: of all chance.

    Raises:
        ShapeError, ArgumentError: images of another shape or range, or no such kind or severity.
    """
    classifiers.check_images("corrupt", x)
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ShapeError(
            f"corrupt: expected images of shape (N, C, H, W) with 1 or 3 channels, got "
            f"{tuple(x.shape)}."
        )
    if kind not in _KINDS or severity not in SEVERITIES:
        raise ArgumentError(
            f"corrupt: expected a kind of {', '.join(CORRUPTIONS)} and a severity of 1 to 5, got "
            f"{kind!r} and {severity!r}."
        )
    method, amounts = _KINDS[kind]
    generator = seeding.torch_generator(seeding.split(seed, "corrupt", kind, severity))
    images = x.detach().cpu().to(torch.float32)
    # In the usual order of memory, whatever the method left: models may ask for a view.
    return method(images, amounts[severity - 1], generator).clamp(0, 1).contiguous()


@dataclass(frozen=True)
class CorruptionAccuracy:
    """Accuracy on corrupted images.

    Attributes:
        clean: share of the images that is right as they are.
        accuracy: by kind, for severities 1 to 5.
    """

    clean: float
    accuracy: Mapping[str, tuple[float, ...]]

    @property
    def mean(self) -> float:
        """Mean accuracy over kinds and severities."""
        return float(np.mean([list(some) for some in self.accuracy.values()]))

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "clean": self.clean,
            "mean": self.mean,
            "accuracy": {kind: list(some) for kind, some in self.accuracy.items()},
        }


def corruption_accuracy(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    kinds: Sequence[str] = CORRUPTIONS,
    samples: int = 1,
    batch_size: int = classifiers.BATCH_SIZE,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> CorruptionAccuracy:
    """Return a classifier's accuracy on images corrupted in every kind and severity.

    Args:
        model: a classifier (`sidle.evaluation.classifiers`).
        x: images, (N, C, H, W) with C of 1 or 3, in [0, 1].
        y: labels (N,).
        kinds: which, of `CORRUPTIONS`.
        samples, batch_size, device: as in `classifiers.logits`.
        seed: of all chance.
        progress: called before each kind with it, its place and how many there are.

    Raises:
        ShapeError, ArgumentError, NonFiniteError: as `corrupt` and `classifiers.logits`.
    """
    common = {"samples": samples, "batch_size": batch_size, "device": device}

    def accuracy(images: Tensor) -> float:
        named = seeding.split(seed, "draws")
        return classifiers.accuracy(model, images, y, seed=named, **common)  # type: ignore[arg-type]

    found: dict[str, tuple[float, ...]] = {}
    for place, kind in enumerate(kinds):
        if progress is not None:
            progress(kind, place, len(kinds))
        found[kind] = tuple(
            accuracy(corrupt(x, kind, severity, seed=seed)) for severity in SEVERITIES
        )
    return CorruptionAccuracy(accuracy(x), found)


def _scale(x: Tensor) -> float:
    return max(x.shape[2:]) / _USUAL


def _smooth(x: Tensor, deviation: float) -> Tensor:
    """Return images under a normal kernel, one axis after the other."""
    reach = max(1, math.ceil(3 * deviation))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1)
    wide = F.pad(x, (reach, reach, 0, 0), mode="replicate")
    rows = F.conv2d(wide, kernel[:, None, None, :], groups=x.shape[1])
    high = F.pad(rows, (0, 0, reach, reach), mode="replicate")
    return F.conv2d(high, kernel[:, None, :, None], groups=x.shape[1])


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    reach, C = len(kernel) // 2, x.shape[1]
    weights = (kernel / kernel.sum()).expand(C, 1, -1, -1)
    return F.conv2d(F.pad(x, (reach,) * 4, mode="replicate"), weights, groups=C)
