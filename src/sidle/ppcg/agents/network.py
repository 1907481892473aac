"""The network of our agents: one convolution over the planes of tiles, one dense layer.

Published agents see 84 x 84 pixels through three convolutions. Planes of tiles hold the same
state in a hundredth of the numbers, so that one convolution does.

Letters: B = observations, C = planes, H, W = rows and columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from sidle.errors import MissingExtraError
from sidle.ppcg.kernels.codes import TILE

try:
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ImportError as error:
    raise MissingExtraError("Agents", "rl") from error

_PLENTY = 10.0  # of a resource or of health: what is divided by


class TilePlanes(BaseFeaturesExtractor):
    """Features (B, F) of planes (B, C, H, W).

    Args:
        observation_space: of one observation, (C, H, W).
        channels: names of the planes, which say how each is scaled to about [-1, 1].
        filters: of the convolution.
        kernel: its side, odd.
        stride: its step.
        features: F, units of the dense layer.
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        *,
        channels: Sequence[str],
        filters: int,
        kernel: int,
        stride: int,
        features: int,
    ) -> None:
        super().__init__(observation_space, features)
        C, H, W = observation_space.shape
        self.register_buffer("scale", torch.tensor([scale_of(name) for name in channels]))
        self.convolution = nn.Conv2d(C, filters, kernel, stride, kernel // 2)
        rows, columns = ((side - 1) // stride + 1 for side in (H, W))
        self.dense = nn.Linear(filters * rows * columns, features)
        for weight in (self.convolution.weight, self.dense.weight):
            nn.init.orthogonal_(weight, 2**0.5)
        for bias in (self.convolution.bias, self.dense.bias):
            nn.init.zeros_(cast(Tensor, bias))

    def forward(self, planes_BCHW: Tensor) -> Tensor:
        """Return the features."""
        scaled = planes_BCHW * self.scale[:, None, None]  # type: ignore[index]
        hidden = F.relu(self.convolution(scaled))
        return F.relu(self.dense(hidden.flatten(1)))


def scale_of(channel: str) -> float:
    """Return what a plane of that name is multiplied with."""
    if channel.startswith("offset_"):
        return 2 / TILE
    if channel.startswith("resource:") or channel == "health":
        return 1 / _PLENTY
    return 1.0
