"""Images as grids of overlapping patches, each encoded for itself.

A patch is twice as long as the way to the next one, as in the paper (64 pixels, 32 apart, a grid of
7 x 7 [CPC, section 3.2]), so that a row shares pixels with the next and none with the one after it:
what can be predicted of it by copying is left out if predictions begin two rows down [CPC2].

Letters: B = images; R, C = rows and columns of patches; N = patches; P = pixels a side of one; D =
features; K = channels of an image.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [CPC2] Henaff et al. 2020,
arXiv:1905.09272. [RESNET2] He et al. 2016, arXiv:1603.05027.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle.errors import ArgumentError, ShapeError


class PatchEncoder(nn.Module):
    """Patches of images, and a network for each of them alone.

    Subclasses say what a patch becomes: `ResidualPatchEncoder`, `MLPPatchEncoder`.

    Args:
        size: height and width of the images; where they do not fit the grid, zeros are put around
            them.
        channels: K, of the images.
        features: D, of latents.
        grid: patches a side, at least 2.

    Raises:
        ArgumentError: a number is too small.
    """

    def __init__(self, size: tuple[int, int], channels: int, features: int, grid: int) -> None:
        super().__init__()
        if min(*size, channels, features) < 1 or grid < 2:
            raise ArgumentError(
                f"{type(self).__name__}: size, channels and features must be at least 1 and grid "
                f"at least 2, got {size}, {channels}, {features}, {grid}."
            )
        self.size, self.channels, self.features, self.grid = tuple(size), channels, features, grid
        self.strides = tuple(-(-side // (grid + 1)) for side in size)
        self.patch = tuple(2 * stride for stride in self.strides)

    def latent_lengths(self, length_B: Tensor) -> Tensor:
        """Raise: images have no lengths."""
        raise ArgumentError(f"{type(self).__name__}: images all have one size; leave out lengths.")

    def patches(self, x_BKHW: Tensor) -> Tensor:
        """Return the patches, (B, R, C, K, patch, patch), without copying pixels."""
        missing = [
            stride * (self.grid + 1) - side
            for stride, side in zip(self.strides, self.size, strict=True)
        ]
        (top, bottom), (left, right) = ((m // 2, m - m // 2) for m in missing)
        padded = functional.pad(x_BKHW, (left, right, top, bottom))
        rows = padded.unfold(2, self.patch[0], self.strides[0])
        both = rows.unfold(3, self.patch[1], self.strides[1])  # (B, K, R, C, patch, patch)
        return both.permute(0, 2, 3, 1, 4, 5)

    def encode_patches(self, patch_NKPP: Tensor) -> Tensor:
        """Return latents of patches, (N, D)."""
        raise NotImplementedError

    def forward(self, x_BHWK: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return latents (B, R, C, D).

        Args:
            x_BHWK: images, uint8 from 0 to 255, which are scaled to -1 to 1, or floating point; or
                patches, floating point (B, R, C, K, patch, patch), that someone has altered.
            length_B: none.

        Raises:
            ShapeError: images of another size or other channels.
        """
        if x_BHWK.ndim == 6:
            patch_BRCKPP = x_BHWK
        else:
            if x_BHWK.ndim != 4 or tuple(x_BHWK.shape[1:]) != (*self.size, self.channels):
                raise ShapeError(
                    f"{type(self).__name__}: images must have shape (B, {self.size[0]}, "
                    f"{self.size[1]}, {self.channels}), got {tuple(x_BHWK.shape)}."
                )
            patch_BRCKPP = self.patches(scaled(x_BHWK).permute(0, 3, 1, 2))
        z_ND = self.encode_patches(patch_BRCKPP.flatten(0, 2))
        return z_ND.reshape(len(patch_BRCKPP), self.grid, self.grid, self.features)


@final
class ResidualPatchEncoder(PatchEncoder):
    """A small residual network for every patch of an image, averaged over its pixels [RESNET2].

    Its normalisation is of each patch alone (one group of channels and pixels), so that no patch
    knows of another.

    Args:
        size, channels, features, grid: as of `PatchEncoder`.
        width: channels of the first stage; the second has twice as many.
        blocks: residual blocks of each stage, at least 1.

    Raises:
        ArgumentError: a number is too small.
    """

    def __init__(
        self,
        size: tuple[int, int] = (32, 32),
        *,
        channels: int = 3,
        features: int = 256,
        grid: int = 7,
        width: int = 64,
        blocks: int = 1,
    ) -> None:
        super().__init__(size, channels, features, grid)
        _check_positive("ResidualPatchEncoder", width=width, blocks=blocks)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        for enters, leaves in ((width, width), (width, 2 * width)):
            shrink = 2 if leaves > enters and min(self.patch) >= 4 else 1
            layers += [_Residual(enters, leaves, shrink)]
            layers += [_Residual(leaves, leaves, 1) for _ in range(blocks - 1)]
        self.body = nn.Sequential(*layers, nn.GroupNorm(1, 2 * width), nn.ReLU())
        self.last = nn.Linear(2 * width, features)

    def encode_patches(self, patch_NKPP: Tensor) -> Tensor:
        """Return latents of patches, (N, D)."""
        z_ND: Tensor = self.last(self.body(patch_NKPP).mean((2, 3)))
        return z_ND


@final
class MLPPatchEncoder(PatchEncoder):
    """Two hidden layers for every patch, its pixels side by side: for patches of few pixels.

    Where a patch is ten pixels long, the place of a pixel in it says much, which an average over
    pixels forgets; and two products of matrices cost a CPU less than convolutions do. Hidden layers
    are normalised, for each patch alone.

    Args:
        size, channels, features, grid: as of `PatchEncoder`.
        width: units of the second hidden layer; the first has twice as many.

    Raises:
        ArgumentError: a number is too small.
    """

    def __init__(
        self,
        size: tuple[int, int] = (32, 32),
        *,
        channels: int = 3,
        features: int = 256,
        grid: int = 7,
        width: int = 256,
    ) -> None:
        super().__init__(size, channels, features, grid)
        _check_positive("MLPPatchEncoder", width=width)
        n_pixels = channels * self.patch[0] * self.patch[1]
        layers: list[nn.Module] = [nn.Flatten()]
        for enters, leaves in ((n_pixels, 2 * width), (2 * width, width)):
            layers += [nn.Linear(enters, leaves), nn.LayerNorm(leaves), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(width, features)

    def encode_patches(self, patch_NKPP: Tensor) -> Tensor:
        """Return latents of patches, (N, D)."""
        z_ND: Tensor = self.last(self.body(patch_NKPP))
        return z_ND


def _check_positive(name: str, **numbers: int) -> None:
    if min(numbers.values()) < 1:
        raise ArgumentError(
            f"{name}: {' and '.join(numbers)} must be at least 1, got "
            f"{', '.join(map(str, numbers.values()))}."
        )


class _Residual(nn.Module):
    """Normalise, ReLU, convolve, twice, beside a shortcut."""

    def __init__(self, enters: int, leaves: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, enters)
        self.first = nn.Conv2d(enters, leaves, 3, stride, 1, bias=False)
        self.middle = nn.GroupNorm(1, leaves)
        self.second = nn.Conv2d(leaves, leaves, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if enters != leaves or stride > 1:
            self.shortcut = nn.Conv2d(enters, leaves, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        begun = self.norm(x).relu()
        changed: Tensor = self.second(self.middle(self.first(begun)).relu())
        shortcut: Tensor = self.shortcut(x)
        return shortcut + changed


@final
@dataclass(frozen=True, eq=False)
class AlteredPatches:
    """Patches of images, each moved and made darker or brighter by chance, to learn from [CPC2].

    What patches of one image share beyond what they show then tells nothing: how bright the image
    is, or where exactly an edge was cut. Made for ``batches.images(augmentation=...)``.

    Args:
        encoder: whose patches they are.
        shift: by how many pixels each patch is moved down or up and left or right, at most;
            its edge pixels are repeated.
        brightness: each patch is multiplied, from black on, by a number between 1 minus this and 1
            plus this, in [0, 1).

    Raises:
        ArgumentError: a number outside its range.
    """

    encoder: PatchEncoder
    shift: int = 1
    brightness: float = 0.5

    def __post_init__(self) -> None:
        if self.shift < 0 or not 0 <= self.brightness < 1:
            raise ArgumentError(
                "AlteredPatches: shift must be at least 0 and brightness in [0, 1), got "
                f"{self.shift} and {self.brightness}."
            )

    def __call__(self, pixels_BHWK: Tensor, generator: torch.Generator) -> Tensor:
        """Return patches (B, R, C, K, patch, patch), floating point.

        Args:
            pixels_BHWK: images as the encoder takes them.
            generator: on the CPU; all chance comes from it.
        """
        whole = self.encoder.patches(scaled(pixels_BHWK).permute(0, 3, 1, 2))
        patch_NKPP = whole.flatten(0, 2)
        shape = (len(patch_NKPP), 2)
        moved_N2 = torch.randint(-self.shift, self.shift + 1, shape, generator=generator)
        factor_N = 1 + self.brightness * (2 * torch.rand(len(patch_NKPP), generator=generator) - 1)
        row_NP, column_NP = (
            (torch.arange(side) + moved_N2[:, axis, None]).clamp(0, side - 1)
            for axis, side in enumerate(self.encoder.patch)
        )
        rows = torch.arange(len(patch_NKPP))[:, None, None]
        # Indexed dimensions come first where a slice parts them: (N, P, P, K).
        moved_NPPK = patch_NKPP[rows, :, row_NP[:, :, None], column_NP[:, None, :]]
        altered = (moved_NPPK + 1) * factor_N[:, None, None, None] - 1
        return altered.permute(0, 3, 1, 2).reshape(whole.shape)


def scaled(pixels: Tensor) -> Tensor:
    """Return bytes from 0 to 255 as floating point from -1 to 1; floating point as it is."""
    if pixels.dtype != torch.uint8:
        return pixels
    return pixels.to(torch.get_default_dtype()) / 127.5 - 1
