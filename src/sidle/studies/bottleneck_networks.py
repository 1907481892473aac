"""Networks of the study `bottleneck`: residual networks as in the papers, without BatchNorm.

All take x (B, C, H, W) in [0, 1] and return features (B, F). `Residual` is the Wide ResNet that the
papers trained on small images, with their one change: no normalisation. What normalisation did at
the start, each block's last convolution does by beginning at zero: every block is then the
identity, whatever the depth. `ResNet50` is the published network for large images.

Letters: B = images; C = channels; H, W = height and width; F = features.
References: [CEB2] Fischer and Alemi 2020, doi:10.3390/e22101081, section 3.1. [WIDE] Zagoruyko and
Komodakis 2016, arXiv:1605.07146. [RESNET] He et al. 2016, arXiv:1512.03385. [FIXUP] Zhang et al.
2019, arXiv:1901.09321.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """A Wide ResNet [WIDE] without normalisation [CEB2].

    Args:
        shape: (C, H, W) of the images.
        features: F.
        stem: channels of the first convolution.
        stem_stride: its stride.
        widths: channels of each group of blocks.
        strides: stride of the first block of each group.
        blocks: blocks of a group.
        pooled: average the last map over space, as in [WIDE], before the layer that makes
            features; a small network learns much faster where that layer sees all of the map.
        hidden: units of a layer between the map and the features; 0: none, as in [WIDE].
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        features: int,
        *,
        stem: int,
        stem_stride: int,
        widths: Sequence[int],
        strides: Sequence[int],
        blocks: int,
        pooled: bool,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.pooled = pooled
        self.stem = nn.Conv2d(channels, stem, 3, stem_stride, padding=1)
        layers: list[nn.Module] = []
        before = stem
        for after, stride in zip(widths, strides, strict=True):
            for index in range(blocks):
                layers.append(_Block(before, after, stride if index == 0 else 1))
                before = after
        self.blocks = nn.Sequential(*layers)
        for stride in (stem_stride, *strides):
            height, width = math.ceil(height / stride), math.ceil(width / stride)
        seen = before * (1 if pooled else height * width)
        self.hidden = nn.Linear(seen, hidden) if hidden else None
        self.features = nn.Linear(hidden or seen, features)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features, shape (B, F)."""
        map_BCHW = F.relu(self.blocks(self.stem(2 * x_BCHW - 1)))
        seen: Tensor = map_BCHW.mean((2, 3)) if self.pooled else map_BCHW.flatten(1)
        if self.hidden is not None:
            seen = F.relu(self.hidden(seen))
        features_BF: Tensor = self.features(seen)
        return features_BF


class _Block(nn.Module):
    """Two convolutions beside a shortcut, activations first [WIDE]."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # [FIXUP]: the block begins as its shortcut
        changes = before != after or stride > 1
        self.shortcut = nn.Conv2d(before, after, 1, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(x)
        added: Tensor = self.second(F.relu(self.first(active)))
        return added + (x if self.shortcut is None else self.shortcut(active))


class ResNet50(nn.Module):
    """The ResNet-50 of [RESNET], table 1, with BatchNorm, up to its features.

    Args:
        shape: (C, H, W) of the images.
        features: F.
    """

    def __init__(self, shape: tuple[int, int, int], features: int) -> None:
        super().__init__()
        stem = nn.Conv2d(shape[0], 64, 7, 2, padding=3, bias=False)
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        before = 64
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for index in range(blocks):
                layers.append(_Bottleneck(before, width, stride if index == 0 else 1))
                before = 4 * width
        self.layers = nn.Sequential(*layers)
        self.features = nn.Linear(before, features)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features, shape (B, F)."""
        features_BF: Tensor = self.features(self.layers(2 * x_BCHW - 1).mean((2, 3)))
        return features_BF


class _Bottleneck(nn.Module):
    """Three convolutions, the middle one narrow, beside a shortcut [RESNET, figure 5]."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            if before != after or stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.relu(self.layers(x) + self.shortcut(x))
        return out
