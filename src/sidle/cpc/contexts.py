"""Contexts: what is known at step t of the latents up to t, and of no later one.

`GRUContext` and `CausalTransformerContext` read latents of shape (B, T, D), or (B, T, U, D) site by
site; `MaskedConvolutionContext` and `RowGRUContext` read images, (B, R, C, D), rows from top to
bottom, and let neighbouring columns know of each other. Contexts have the layout of the latents,
with H features. As none looks ahead, padding behind the end of a sequence changes nothing before
it. Parameters are drawn by torch's initialisers: build inside `sidle.seeding.scope` to fix them.

Letters: B = sequences; T = steps; U = sites; R, C = rows and columns of patches; V = B U; D =
latent features; H = context features.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [PCNN] van den Oord et al.
2016, arXiv:1606.05328. [CPC2] Henaff et al. 2020, arXiv:1905.09272, appendix.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle.errors import ArgumentError, ShapeError


@final
class GRUContext(nn.Module):
    """A GRU over the latents [CPC, section 2.2].

    Args:
        in_features: D.
        features: H.
        layers: at least 1.
    """

    def __init__(self, in_features: int, features: int = 256, *, layers: int = 1) -> None:
        super().__init__()
        _check("GRUContext", in_features, features, layers)
        self.features = features
        self.gru = nn.GRU(in_features, features, layers, batch_first=True)

    def forward(self, z: Tensor) -> Tensor:
        """Return contexts, (B, T, H) of latents (B, T, D), or (B, T, U, H) of (B, T, U, D)."""
        z_VTD, shape = _by_site(z)
        context_VTH, _ = self.gru(z_VTD)
        return _back(context_VTH, shape)


@final
class CausalTransformerContext(nn.Module):
    """Transformer layers whose attention reaches back only, with sinusoids for the time.

    Args:
        in_features: D.
        features: H, even.
        layers: at least 1.
        heads: divides H.
        dropout: in [0, 1); drawn from torch's global generator.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(
        self,
        in_features: int,
        features: int = 256,
        *,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check("CausalTransformerContext", in_features, features, layers, heads)
        if features % heads or features % 2:
            raise ArgumentError(
                "CausalTransformerContext: features must be even and divisible by heads, got "
                f"{features} and {heads}."
            )
        self.features = features
        self.enter = nn.Linear(in_features, features)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                features, heads, 4 * features, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(features)

    def forward(self, z: Tensor) -> Tensor:
        """Return contexts, (B, T, H) of latents (B, T, D), or (B, T, U, H) of (B, T, U, D)."""
        z_VTD, shape = _by_site(z)
        T = z_VTD.shape[1]
        context_VTH = self.enter(z_VTD) + _sinusoids(T, self.features, z)
        mask_TT = causal_mask(T, z.device)
        for layer in self.layers:
            context_VTH = layer(context_VTH, src_mask=mask_TT, is_causal=True)
        return _back(self.norm(context_VTH), shape)


@final
class MaskedConvolutionContext(nn.Module):
    """Residual convolutions that see rows above and their own: PixelCNN by rows [PCNN; CPC2].

    Predictions are of rows below, so that a row may be seen whole; nothing of a lower row is.

    Args:
        in_features: D.
        features: H.
        layers: residual blocks, at least 1; each sees one row further up and one column further to
            both sides.
    """

    def __init__(self, in_features: int, features: int = 256, *, layers: int = 5) -> None:
        super().__init__()
        _check("MaskedConvolutionContext", in_features, features, layers)
        self.features = features
        self.enter = nn.Conv2d(in_features, features, 1)
        self.blocks = nn.ModuleList(_RowBlock(features) for _ in range(layers))

    def forward(self, z_BRCD: Tensor) -> Tensor:
        """Return contexts (B, R, C, H)."""
        _check_grid("MaskedConvolutionContext", z_BRCD)
        context_BHRC: Tensor = self.enter(z_BRCD.permute(0, 3, 1, 2))
        for block in self.blocks:
            context_BHRC = block(context_BHRC)
        return context_BHRC.permute(0, 2, 3, 1)


class _RowBlock(nn.Module):
    """ReLU, then a convolution over two rows (the one above and its own) and three columns."""

    def __init__(self, features: int) -> None:
        super().__init__()
        inside = max(1, features // 2)
        self.narrow = nn.Conv2d(features, inside, 1)
        self.look = nn.Conv2d(inside, inside, (2, 3), padding=(0, 1))
        self.widen = nn.Conv2d(inside, features, 1)

    def forward(self, x_BHRC: Tensor) -> Tensor:
        inside = self.narrow(x_BHRC.relu()).relu()
        above = functional.pad(inside, (0, 0, 1, 0))  # a row of zeros on top: nothing lies above
        widened: Tensor = self.widen(self.look(above).relu())
        return x_BHRC + widened


@final
class RowGRUContext(nn.Module):
    """A GRU down the rows, column by column, after columns were told of their neighbours.

    Args:
        in_features: D.
        features: H.
        reach: columns to each side that a column is told of, at least 0.
    """

    def __init__(self, in_features: int, features: int = 256, *, reach: int = 1) -> None:
        super().__init__()
        _check("RowGRUContext", in_features, features, reach + 1)
        self.features = features
        self.mix = nn.Conv2d(in_features, features, (1, 2 * reach + 1), padding=(0, reach))
        self.gru = nn.GRU(features, features, batch_first=True)

    def forward(self, z_BRCD: Tensor) -> Tensor:
        """Return contexts (B, R, C, H)."""
        _check_grid("RowGRUContext", z_BRCD)
        mixed_BRCH = self.mix(z_BRCD.permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
        mixed_VRH, shape = _by_site(mixed_BRCH)
        context_VRH, _ = self.gru(mixed_VRH)
        return _back(context_VRH, shape)


def causal_mask(T: int, device: torch.device) -> Tensor:
    """Return bool (T, T), True where attention may not look: at what comes later."""
    return torch.ones(T, T, dtype=torch.bool, device=device).triu(1)


def _sinusoids(T: int, features: int, like: Tensor) -> Tensor:
    """Return sines and cosines of the time at ``features / 2`` frequencies, (T, H)."""
    time_T1 = torch.arange(T, device=like.device, dtype=like.dtype)[:, None]
    exponent = torch.arange(0, features, 2, device=like.device, dtype=like.dtype) / features
    angle_TF = time_T1 * torch.exp(-math.log(10_000) * exponent)
    return torch.cat([angle_TF.sin(), angle_TF.cos()], dim=1)


def _by_site(z: Tensor) -> tuple[Tensor, torch.Size]:
    """Return latents as sequences, (V, T, D), and the shape they had."""
    if z.ndim not in (3, 4):
        raise ShapeError(
            f"latents must have shape (B, T, D) or (B, T, U, D), got {tuple(z.shape)}."
        )
    if z.ndim == 3:
        return z, z.shape
    B, T, U, D = z.shape
    return z.transpose(1, 2).reshape(B * U, T, D), z.shape


def _back(context_VTH: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) == 3:
        return context_VTH
    B, T, U, _ = shape
    return context_VTH.reshape(B, U, T, -1).transpose(1, 2)


def _check_grid(name: str, z: Tensor) -> None:
    if z.ndim != 4:
        raise ShapeError(
            f"{name}: latents of images must have shape (B, R, C, D), got {tuple(z.shape)}."
        )


def _check(name: str, *numbers: int) -> None:
    if min(numbers) < 1:
        raise ArgumentError(
            f"{name}: features, layers and heads must be at least 1, got {numbers}."
        )
