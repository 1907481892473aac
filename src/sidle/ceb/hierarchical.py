"""A chain of bottlenecks, each reading the representation before it.

    X -> Z_1 -> Z_2 -> ... ,   loss = sum over stages of  e^-rho_i Re_i - log c_i(y|z_i)

Every stage is a `Bottleneck` whose input is the draw of the stage before, with a knob of its own;
lower rho further up asks to keep ever less. Re_i bounds I(Z_{i-1}; Z_i | Y), and so I(X; Z_i | Y).

Letters: B = rows; C = classes; D = dimensions of z.
Reference: [CEB1] Fischer 2020, doi:10.3390/e22090999, section 2.4 (hierarchical models).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sidle.ceb.bottleneck import Bottleneck, BottleneckLoss
from sidle.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class HierarchicalLoss:
    """What a batch says of a chain.

    Attributes:
        loss: the sum of the stages' losses, in nats.
        marginal_loss: the sum of those that measure; None if there is none.
        stages: what each stage says.
    """

    loss: Tensor
    marginal_loss: Tensor | None
    stages: tuple[BottleneckLoss, ...]

    def metrics(self) -> dict[str, Tensor]:
        """Return ``loss``, and ``R``, ``Re`` and ``I`` of each stage as "2/Re", in nats."""
        found = {"loss": self.loss.detach()}
        for place, one in enumerate(self.stages, 1):
            found |= {f"{place}/{name}": v for name, v in one.metrics().items() if name != "loss"}
        return found


@final
class HierarchicalBottleneck(nn.Module):
    """Bottlenecks in a chain: the encoder of each takes what the one before drew, (B, D).

    Args:
        stages: at least two, for the same classes.

    Raises:
        ArgumentError: fewer than two, or their classes differ.
    """

    stages: nn.ModuleList

    def __init__(self, stages: Sequence[Bottleneck]) -> None:
        super().__init__()
        classes = {stage.n_classes for stage in stages}
        if len(stages) < 2 or len(classes) != 1:
            raise ArgumentError(
                "HierarchicalBottleneck: expected at least two stages with one number of classes, "
                f"got {len(stages)} with {sorted(classes)}."
            )
        self.stages = nn.ModuleList(stages)

    def _chain(self) -> Iterator[Bottleneck]:
        for stage in self.stages:
            assert isinstance(stage, Bottleneck)
            yield stage

    def network_parameters(self) -> Iterator[nn.Parameter]:
        """Return what the network's optimiser trains, of all stages."""
        return (one for stage in self._chain() for one in stage.network_parameters())

    def marginal_parameters(self) -> Iterator[nn.Parameter]:
        """Return what an optimiser of its own trains by ``marginal_loss``, of all stages."""
        return (one for stage in self._chain() for one in stage.marginal_parameters())

    def loss(
        self, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> HierarchicalLoss:
        """Return the objective on a batch; arguments and errors as `Bottleneck.loss`."""
        found, seen = [], x
        for stage in self._chain():
            found.append(stage.loss(seen, y, generator=generator))
            seen = found[-1].terms.z[0]
        measured = [one.marginal_loss for one in found if one.marginal_loss is not None]
        return HierarchicalLoss(
            torch.stack([one.loss for one in found]).sum(),
            torch.stack(measured).sum() if measured else None,
            tuple(found),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the last stage's logits (B, C), from draws in training and means otherwise."""
        *lower, last = self._chain()
        seen = x
        for stage in lower:
            statistics = stage.encode(seen)
            if self.training and stage.draws:
                seen = stage.family.draw(statistics, 1, None)[0]
            else:
                seen = stage.family.mean(statistics)
        logits: Tensor = last(seen)
        return logits
