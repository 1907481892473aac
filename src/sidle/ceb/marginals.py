"""The marginal m(z), of which the rate R = E[log e(z|x) - log m(z)] >= I(X;Z) is taken.

In VIB the marginal is part of the loss and learns with the network. In CEB nothing needs it: it
learns beside, on draws held fixed and by an optimiser of its own, so that no method is helped or
hindered by being measured and rates of different methods compare [CEB1, section 4].

Letters: B = rows; D = dimensions of z; K = components; S = draws.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [VIB] Alemi et al. 2017, arXiv:1612.00410.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from sidle.ceb.families import Family
from sidle.errors import ArgumentError, ShapeError

SPREAD = 0.1  # of components at the start: apart enough to follow different rows


@final
class MixtureMarginal(nn.Module):
    """A mixture of K members of a family with learned weights [CEB1, appendix].

    Args:
        family: of the components; the encoder's.
        n_components: K, at least 1. It takes as many as there are clusters of z to be tight.

    Raises:
        ArgumentError: n_components is below 1.
    """

    def __init__(self, family: Family, n_components: int) -> None:
        super().__init__()
        if n_components < 1:
            raise ArgumentError(
                f"MixtureMarginal: n_components must be at least 1, got {n_components}."
            )
        self.family = family
        self.weights_K = nn.Parameter(torch.zeros(n_components))
        self.statistics_KP = nn.Parameter(SPREAD * torch.randn(n_components, family.n_statistics))

    def log_density(self, z: Tensor) -> Tensor:
        """Return log m(z) in nats, (...), for z of (..., D).

        Raises:
            ShapeError: z has another number of dimensions than the family.
        """
        if z.ndim < 2 or z.shape[-1] != self.family.dim:
            raise ShapeError(
                f"MixtureMarginal: z must have shape (..., B, {self.family.dim}), got "
                f"{tuple(z.shape)}."
            )
        logs_K = self.weights_K.log_softmax(0)
        # One more column of the same product; the carrier waits outside the sum.
        wide = self.family.precise(z)
        natural_KF = self.family.natural(self.family.precise(self.statistics_KP))
        pairs = self.family.features(wide) @ natural_KF.mT
        return ((pairs + logs_K).logsumexp(-1) + self.family.carrier(wide)).to(z.dtype)

    def loss(self, z: Tensor) -> Tensor:
        """Return -mean log m(z) in nats, z held fixed: what the marginal's own optimiser takes."""
        return -self.log_density(z.detach()).mean()

    def extra_repr(self) -> str:
        """Return the number of components, for printing."""
        return f"n_components={len(self.weights_K)}"
