"""The networks of [LMC, table 1], at any width: LeNet-300-100, residual networks and VGG.

All take images x of shape (B, C, H, W) and return logits of shape (B, classes). Initial weights
are Kaiming normal, scales of BatchNorm uniform in [0, 1], biases 0.

Letters: B = images; C = channels; H, W = height and width.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [RESNET] He et al. 2016,
arXiv:1512.03385, section 4.2. [VGG] Simonyan & Zisserman 2015, arXiv:1409.1556, table 1.
"""

from __future__ import annotations

import itertools
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle.errors import ArgumentError

# Channels over the width of the first layer, and "M" for a maximum over 2 x 2 pixels.
_VGG_PLANS: dict[int, tuple[int | str, ...]] = {
    8: (1, "M", 2, "M", 4, 4, "M", 8, 8),
    11: (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8),
    16: (1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8),
}


@final
class LeNet(nn.Module):
    """LeNet-300-100: two hidden layers, no convolutions.

    Args:
        shape: (C, H, W) of an image.
        classes: how many.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int = 10,
        *,
        hidden: tuple[int, ...] = (300, 100),
    ) -> None:
        super().__init__()
        widths = (shape[0] * shape[1] * shape[2], *hidden)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.output = nn.Linear(widths[-1], classes)
        _initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape (B, classes)."""
        h = x_BCHW.flatten(1)
        for layer in self.hidden:
            h = F.relu(layer(h))
        logits: Tensor = self.output(h)
        return logits


@final
class _Block(nn.Module):
    """Two 3 x 3 convolutions with BatchNorm and a way around them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(h)) + self.shortcut(x))


@final
class ResNet(nn.Module):
    """A residual network for small images [RESNET]; ResNet-20 is ``depth=20, width=16``.

    Args:
        shape: (C, H, W) of an image.
        classes: how many.
        depth: layers with weights: 6 n + 2 for n blocks in each of three stages.
        width: channels of the first stage; the others have twice and four times as many.
        stem_stride: of the first convolution; 2 quarters the cost of large images.

    Raises:
        ArgumentError: no such depth.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int = 10,
        *,
        depth: int = 20,
        width: int = 16,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ArgumentError(f"ResNet: depth must be 6 n + 2 with n >= 1, got {depth}.")
        self.stem = nn.Conv2d(shape[0], width, 3, stem_stride, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        blocks, before = [], width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                after = width * 2**stage
                blocks.append(_Block(before, after, 2 if stage and not block else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(before, classes)
        _initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape (B, classes)."""
        h = self.blocks(F.relu(self.stem_norm(self.stem(x_BCHW))))
        logits: Tensor = self.output(h.mean((2, 3)))
        return logits


@final
class VGG(nn.Module):
    """A stack of 3 x 3 convolutions with BatchNorm [VGG]; VGG-16 is ``depth=16, width=64``.

    One linear layer follows the mean over what is left of the image, as in [LMC].

    Args:
        shape: (C, H, W) of an image, H and W at least 8, and at least 16 for depths above 8.
        classes: how many.
        depth: 8, 11 or 16.
        width: channels of the first convolution; the last ones have eight times as many.

    Raises:
        ArgumentError: no such depth, or images too small for it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int = 10,
        *,
        depth: int = 16,
        width: int = 64,
    ) -> None:
        super().__init__()
        if depth not in _VGG_PLANS:
            raise ArgumentError(f"VGG: depth must be one of {list(_VGG_PLANS)}, got {depth}.")
        plan = _VGG_PLANS[depth]
        smallest = 2 ** plan.count("M")
        if min(shape[1:]) < smallest:
            raise ArgumentError(
                f"VGG: images must have at least {smallest} x {smallest} pixels for depth {depth}, "
                f"got {shape[1]} x {shape[2]}."
            )
        layers: list[nn.Module] = []
        before = shape[0]
        for entry in plan:
            if isinstance(entry, str):
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [
                nn.Conv2d(before, width * entry, 3, padding=1),
                nn.BatchNorm2d(width * entry),
                nn.ReLU(),
            ]
            before = width * entry
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(before, classes)
        _initialise(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits, shape (B, classes)."""
        logits: Tensor = self.output(self.layers(x_BCHW).mean((2, 3)))
        return logits


def _initialise(network: nn.Module) -> None:
    """Draw initial weights as [LMC] does, from torch's global generator."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_()
