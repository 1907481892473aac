"""The network of our agents: one convolution over the planes of tiles, one dense layer.

Published agents see 84 x 84 pixels through three convolutions. Planes of tiles hold the same
state in a hundredth of the numbers, so that one convolution does.

Letters: B = observations, C = planes, H, W = rows and columns, F = features, A = actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle.ppcg.agents.settings import NetworkSettings
from sidle.ppcg.kernels.codes import TILE

_PLENTY = 10.0  # of a resource or of health: what is divided by


class TilePlanes(nn.Module):
    """Features (B, F) of planes (B, C, H, W).

    Args:
        channels: names of the planes, which say how each is scaled to about [-1, 1].
        shape: (H, W).
        settings: of the network.

    Attributes:
        features_dim: F, under the name by which Stable-Baselines3 asks for it.
    """

    def __init__(
        self, channels: Sequence[str], shape: tuple[int, int], settings: NetworkSettings
    ) -> None:
        super().__init__()
        self.features_dim = settings.features
        stride, filters = settings.stride, settings.filters
        self.register_buffer("scale", torch.tensor([scale_of(name) for name in channels]))
        self.convolution = nn.Conv2d(
            len(channels), filters, settings.kernel, stride, settings.kernel // 2
        )
        rows, columns = ((side - 1) // stride + 1 for side in shape)
        self.dense = nn.Linear(filters * rows * columns, settings.features)
        for weight in (self.convolution.weight, self.dense.weight):
            nn.init.orthogonal_(weight, 2**0.5)
        for bias in (self.convolution.bias, self.dense.bias):
            nn.init.zeros_(cast(Tensor, bias))

    def forward(self, planes_BCHW: Tensor) -> Tensor:
        """Return the features, (B, F)."""
        scaled = planes_BCHW * self.scale[:, None, None]  # type: ignore[index]
        hidden = F.relu(self.convolution(scaled))
        return F.relu(self.dense(hidden.flatten(1)))


class PlaneNetwork(nn.Module):
    """Scores (B, A) of planes (B, C, H, W): logits of a policy, or values of actions.

    Args:
        channels: names of the planes.
        shape: (H, W) of what is seen.
        n_actions: A.
        settings: of the network.
    """

    def __init__(
        self,
        channels: Sequence[str],
        shape: tuple[int, int],
        n_actions: int,
        settings: NetworkSettings,
    ) -> None:
        super().__init__()
        self.features = TilePlanes(channels, shape, settings)
        self.scores = nn.Linear(settings.features, n_actions)

    def forward(self, planes_BCHW: Tensor) -> Tensor:
        """Return the scores, (B, A)."""
        return cast(Tensor, self.scores(self.features(planes_BCHW)))


def scale_of(channel: str) -> float:
    """Return what a plane of that name is multiplied with."""
    if channel.startswith("offset_"):
        return 2 / TILE
    if channel.startswith("resource:") or channel == "health":
        return 1 / _PLENTY
    return 1.0
