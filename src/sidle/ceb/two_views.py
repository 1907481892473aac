"""A bottleneck in both directions: what two views of a thing share, and little else.

Each view has an encoder, and the encoder of one is the backward encoder of the other: e(z|x) and
b(z|y). With z_X drawn from e and z_Y from b, minimise

    e^-rho (Re_X + Re_Y) - I_X - I_Y,
    Re_X = KL(e(.|x) || b(.|y)) >= I(X; Z_X | Y),   Re_Y = KL(b(.|y) || e(.|x)) >= I(Y; Z_Y | X),
    I_X  = E log b(z_X|y) / mean over the batch of b(z_X|y_k) <= I(Y; Z_X), and I_Y likewise:

InfoNCE, whose scores are log densities (`sidle.mi.contrast`). X and Y may be a picture and its
caption, two crops of a picture (one encoder for both), or inputs and labels (an `nn.Embedding`).

Letters: B = rows; D = dimensions of z; P = statistics; S = draws.
Reference: [CEB1] Fischer 2020, doi:10.3390/e22090999, section 2.4 (bidirectional CEB, CatGen).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sidle.ceb import families, objectives
from sidle.ceb.families import Family
from sidle.errors import ShapeError
from sidle.mi.contrast import info_nce


@dataclass(frozen=True, eq=False)
class TwoViewsLoss:
    """What a batch of pairs says, in nats.

    Attributes:
        loss: what to minimise, a scalar.
        residual_x: Re_X of each pair, (B,).
        residual_y: Re_Y.
        bound_x: I_X, a scalar: InfoNCE of Z_X and Y, at most log B.
        bound_y: I_Y.
    """

    loss: Tensor
    residual_x: Tensor
    residual_y: Tensor
    bound_x: Tensor
    bound_y: Tensor

    def metrics(self) -> dict[str, Tensor]:
        """Return ``loss``, ``Re_x``, ``Re_y``, ``I_x``, ``I_y``, detached."""
        return {
            "loss": self.loss.detach(),
            "Re_x": self.residual_x.detach().mean(),
            "Re_y": self.residual_y.detach().mean(),
            "I_x": self.bound_x.detach(),
            "I_y": self.bound_y.detach(),
        }


@final
class TwoViewsBottleneck(nn.Module):
    """Encoders of two views that describe each other.

    Args:
        encoder_x: maps views x to statistics (B, P) of z.
        encoder_y: the same for views y; may be the same module.
        dim: D.
        family: of z (`sidle.ceb.families`).
        rho: the knob; may be set anew at any time.

    Raises:
        ArgumentError: a setting lies outside its range.
    """

    def __init__(
        self,
        encoder_x: nn.Module,
        encoder_y: nn.Module,
        dim: int,
        *,
        family: str | Family = "identity",
        rho: float = 2.0,
    ) -> None:
        super().__init__()
        objectives.check_rho("TwoViewsBottleneck", rho)
        self.encoder_x, self.encoder_y = encoder_x, encoder_y
        self.family, self.dim, self.rho = families.find(family, dim), dim, rho

    def loss(
        self, x: Tensor, y: Tensor, samples: int = 1, *, generator: torch.Generator | None = None
    ) -> TwoViewsLoss:
        """Return the objective on B pairs, x_i belonging to y_i.

        Args:
            x: views, (B, ...).
            y: views, (B, ...).
            samples: draws of z for each row.
            generator: draws z; None: torch's global one.

        Raises:
            ShapeError: an encoder returns another shape than (B, P).
        """
        statistics = self.encoder_x(x), self.encoder_y(y)
        expected = (x.shape[0], self.family.n_statistics)
        for name, one in zip("xy", statistics, strict=True):
            if one.shape != expected:
                raise ShapeError(
                    f"TwoViewsBottleneck: encoder_{name} must return shape {expected}, got "
                    f"{tuple(one.shape)}."
                )
        forward, backward = statistics
        residual_x = self.family.divergence(forward, backward)
        residual_y = self.family.divergence(backward, forward)
        bound_x = self._bound(self.family.draw(forward, samples, generator), backward)
        bound_y = self._bound(self.family.draw(backward, samples, generator), forward)
        loss = objectives.ceb_loss(residual_x + residual_y, bound_x + bound_y, self.rho)
        return TwoViewsLoss(loss, residual_x, residual_y, bound_x, bound_y)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of e(.|x), (B, D): the representation of a view x."""
        return self.family.mean(self.encoder_x(x))

    def _bound(self, z_SBD: Tensor, statistics_BP: Tensor) -> Tensor:
        keys_BK = self.family.natural(statistics_BP)
        return math.log(len(keys_BK)) - info_nce(self.family.features(z_SBD), keys_BK).loss
