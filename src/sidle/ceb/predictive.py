"""A bottleneck of the past: what of a sequence's past its future needs.

X is the past up to t, summed up in a context c_t; Y is the latent u_{t+k} that comes k steps later.
For each step k a head makes statistics of e_k(z|c_t), and one head for all makes those of the
backward encoder b(z|u). With z drawn from e_k, minimise the mean over anchors t and steps k of

    e^-rho KL(e_k(.|c_t) || b(.|u_{t+k})) - log b(z|u_{t+k}) / mean over latents j of b(z|u_j):

InfoNCE (`sidle.mi.contrast`) among all latents of the batch beside the price of residual
information. As rho grows without bound the price vanishes, and what is left is the loss of
Contrastive Predictive Coding, scores being log densities: with von Mises-Fisher distributions,
kappa times the cosine of prediction and latent. Encoder and context network are passed in, such as
those of `sidle.cpc`.

Letters: B = sequences; T = steps; U, H = features of latents and contexts; N = anchors; M = all
latents; P = statistics; S = predicted steps.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CPC] van den Oord, Li & Vinyals 2018,
arXiv:1807.03748, equation 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sidle.ceb import families, objectives
from sidle.ceb.families import Family
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.contrast import Contrast, info_nce


@dataclass(frozen=True, eq=False)
class PredictiveLoss:
    """What a batch of sequences says, in nats.

    Attributes:
        loss: what to minimise, a scalar.
        residual: Re of each step and anchor, (S, N).
        contrast: InfoNCE of all steps and anchors: its loss, accuracy, bound and ceiling.
    """

    loss: Tensor
    residual: Tensor
    contrast: Contrast

    def metrics(self) -> dict[str, Tensor | float]:
        """Return ``loss``, ``Re``, ``I`` (bound on I(Y;Z)) and ``accuracy``, detached."""
        return {
            "loss": self.loss.detach(),
            "Re": self.residual.detach().mean(),
            "I": self.contrast.bound,
            "accuracy": self.contrast.accuracy,
        }


@final
class PredictiveBottleneck(nn.Module):
    """A bottleneck between the past of sequences and their future.

    Args:
        encoder: maps inputs (B, ...) to latents (B, T, U).
        context: maps latents to contexts (B, T, H), each of what came up to it.
        features: U and H; None: the attributes ``features`` of both modules.
        dim: D, dimensions of z; None takes U and lets b(z|u) be the member that u names (for the
            families with P = D), as in Contrastive Predictive Coding.
        steps: which steps ahead, rising numbers; K for 1 to K.
        family: of z.
        rho: the knob; may be set anew at any time.
        draws: whether z is drawn; if not it is the mean of e_k.

    Raises:
        ArgumentError: a setting lies outside its range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        context: nn.Module,
        *,
        features: tuple[int, int] | None = None,
        dim: int | None = None,
        steps: int | Sequence[int] = 4,
        family: str | Family = "identity",
        rho: float = 2.0,
        draws: bool = True,
    ) -> None:
        super().__init__()
        objectives.check_rho("PredictiveBottleneck", rho)
        self.encoder, self.context = encoder, context
        U, H = features or (_features("encoder", encoder), _features("context", context))
        self.steps = tuple(range(1, steps + 1)) if isinstance(steps, int) else tuple(steps)
        if not self.steps or self.steps[0] < 1 or sorted(set(self.steps)) != list(self.steps):
            raise ArgumentError(
                f"PredictiveBottleneck: steps must be rising numbers from 1, got {steps}."
            )
        self.family = families.find(family, U if dim is None else dim)
        if dim is None and self.family.n_statistics != U:
            raise ArgumentError(
                f"PredictiveBottleneck: the family {self.family.name} takes "
                f"{self.family.n_statistics} statistics, latents have {U}. Give dim."
            )
        self.rho, self.draws = rho, draws
        self.forward_head = nn.Linear(H, len(self.steps) * self.family.n_statistics)
        self.backward_head = (
            nn.Identity() if dim is None else nn.Linear(U, self.family.n_statistics)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return latents (B, T, U), and the statistics of e_k for every context, (S, B, T, P).

        Raises:
            ShapeError: encoder or context return no three dimensions, or disagree on T.
        """
        u: Tensor = self.encoder(x)
        c: Tensor = self.context(u)
        if u.ndim != 3 or c.ndim != 3 or u.shape[:2] != c.shape[:2]:
            raise ShapeError(
                "PredictiveBottleneck: expected latents (B, T, U) and contexts (B, T, H), got "
                f"{tuple(u.shape)} and {tuple(c.shape)}."
            )
        heads: Tensor = self.forward_head(c)
        return u, heads.view(*c.shape[:2], len(self.steps), -1).permute(2, 0, 1, 3)

    def loss(self, x: Tensor, *, generator: torch.Generator | None = None) -> PredictiveLoss:
        """Return the objective on sequences, all of the same length.

        Anchors are the steps t that have all of the predicted steps after them.

        Args:
            x: inputs, (B, ...).
            generator: draws z; None: torch's global one.

        Raises:
            ShapeError: as `encode`, or sequences are too short to predict in.
        """
        u, statistics_SBTP = self.encode(x)
        B, T, _ = u.shape
        n_anchors = T - self.steps[-1]
        if n_anchors < 1:
            raise ShapeError(
                f"PredictiveBottleneck: sequences of {T} latents are too short to predict "
                f"{self.steps[-1]} steps ahead."
            )
        forward_SNP = statistics_SBTP[:, :, :n_anchors].flatten(1, 2)
        place = torch.arange(B * T, device=u.device).view(B, T)
        positive_SN = torch.stack([place[:, k : k + n_anchors].flatten() for k in self.steps])
        backward_MP = self.backward_head(u).flatten(0, 1)
        residual_SN = self.family.divergence(forward_SNP, backward_MP[positive_SN])
        if self.draws:
            z_SND = self.family.draw(forward_SNP, 1, generator)[0]
        else:
            z_SND = self.family.mean(forward_SNP)
        contrast = info_nce(
            self.family.features(z_SND), self.family.natural(backward_MP), positive=positive_SN
        )
        # log c is the negative loss: log M more of it, a constant, would be the bound.
        loss = objectives.ceb_loss(residual_SN, -contrast.loss, self.rho)
        return PredictiveLoss(loss, residual_SN, contrast)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of e_k(.|c_t), (S, B, T, D): what is kept of the past for each step."""
        return self.family.mean(self.encode(x)[1])


def _features(name: str, module: nn.Module) -> int:
    found = getattr(module, "features", None)
    if not isinstance(found, int):
        raise ArgumentError(
            f"PredictiveBottleneck: the {name}, a {type(module).__name__}, has no attribute "
            "`features`. Give features=(U, H)."
        )
    return found
