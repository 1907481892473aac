"""Predictors: what the context says of the latents k steps ahead.

All share one face, ``predictor(context_BTUH, at_N, actions) -> prediction_SND``: the prediction of
each of S steps at the anchors, whose places in the flattened (B, T, U) are ``at_N``. A prediction p
scores a latent z by <z, p>; with `LinearPredictor` that is the paper's log-bilinear score
z_{t+k}^T W_k c_t [CPC, eq. 3]. Weights start so that scores of standardised contexts and latents
have about unit variance. Parameters are drawn by torch's initialisers: build inside
`sidle.seeding.scope` to fix them.

Letters: B = sequences; T = steps of latents; U = sites; N = anchors; S = predicted steps; H =
context features; D = latent features; F = hidden units; A = action features.
References: [CPC] van den Oord, Li & Vinyals 2018, arXiv:1807.03748. [CPCA] Riviere et al. 2020,
arXiv:2002.02848 (a transformer layer a step). [PBL] Guo et al. 2018, arXiv:1811.06407.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle.cpc.contexts import causal_mask
from sidle.cpc.positions import checked_steps
from sidle.errors import ArgumentError, ShapeError


@final
class LinearPredictor(nn.Module):
    """W_k c_t, one matrix a step [CPC, eq. 3].

    Args:
        context_features: H, at least 1.
        features: D, at least 1.
        n_steps: S, at least 1.
    """

    def __init__(self, context_features: int, features: int, n_steps: int) -> None:
        super().__init__()
        _check("LinearPredictor", context_features, features, n_steps)
        self.weight_SHD = nn.Parameter(torch.empty(n_steps, context_features, features))
        nn.init.normal_(self.weight_SHD, std=(context_features * features) ** -0.5)

    def forward(self, context_BTUH: Tensor, at_N: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return predictions (S, N, D); actions are not looked at."""
        return torch.matmul(_anchors(context_BTUH, at_N), self.weight_SHD)


@final
class MLPPredictor(nn.Module):
    """A perceptron with one hidden layer and ReLU a step.

    Args:
        context_features, features, n_steps: as `LinearPredictor`.
        hidden: F, at least 1.
    """

    def __init__(
        self, context_features: int, features: int, n_steps: int, *, hidden: int = 256
    ) -> None:
        super().__init__()
        _check("MLPPredictor", context_features, features, n_steps, hidden)
        self.first_SHF = nn.Parameter(torch.empty(n_steps, context_features, hidden))
        self.bias_S1F = nn.Parameter(torch.zeros(n_steps, 1, hidden))
        self.second_SFD = nn.Parameter(torch.empty(n_steps, hidden, features))
        nn.init.normal_(self.first_SHF, std=(2 / context_features) ** 0.5)
        nn.init.normal_(self.second_SFD, std=(hidden * features) ** -0.5)

    def forward(self, context_BTUH: Tensor, at_N: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return predictions (S, N, D); actions are not looked at."""
        context_NH = _anchors(context_BTUH, at_N)
        hidden_SNF = torch.matmul(context_NH, self.first_SHF) + self.bias_S1F
        return torch.bmm(hidden_SNF.relu(), self.second_SFD)


@final
class TransformerPredictor(nn.Module):
    """A causal transformer layer over the contexts up to t, and a matrix, a step [CPCA].

    Args:
        context_features, features, n_steps: as `LinearPredictor`.
        heads: of attention; divides ``context_features``.
        dropout: in [0, 1); drawn from torch's global generator.
    """

    def __init__(
        self,
        context_features: int,
        features: int,
        n_steps: int,
        *,
        heads: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check("TransformerPredictor", context_features, features, n_steps)
        if heads < 1 or context_features % heads:
            raise ArgumentError(
                f"TransformerPredictor: heads must divide the {context_features} context features, "
                f"got {heads}."
            )
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                context_features, heads, 4 * context_features, dropout,
                batch_first=True, norm_first=True,
            )
            for _ in range(n_steps)
        )  # fmt: skip
        self.last = LinearPredictor(context_features, features, n_steps)

    def forward(self, context_BTUH: Tensor, at_N: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return predictions (S, N, D); actions are not looked at."""
        B, T, U, H = context_BTUH.shape
        context_VTH = context_BTUH.transpose(1, 2).reshape(B * U, T, H)
        mask_TT = causal_mask(T, context_BTUH.device)
        parts = []
        for layer, weight_HD in zip(self.layers, self.last.weight_SHD, strict=True):
            seen_VTH = layer(context_VTH, src_mask=mask_TT, is_causal=True)
            seen_BTUH = seen_VTH.reshape(B, U, T, H).transpose(1, 2)
            parts.append(_anchors(seen_BTUH, at_N) @ weight_HD)
        return torch.stack(parts)


@final
class ActionPredictor(nn.Module):
    """What k actions lead to: a GRU that begins at the context and is fed actions in turn [PBL].

    Action t leads from observation t to t + 1, so that the prediction of step k has seen actions t
    to t + k - 1 and nothing else of what came after t. For latents with one site.

    Args:
        context_features, features: as `LinearPredictor`.
        steps: K for 1 to K, or which.
        n_actions: how many actions there are, where they are numbers; else
        action_features: A, where they are vectors.
        hidden: units of the GRU; None: as many as context features.

    Raises:
        ArgumentError: not exactly one of n_actions and action_features, or a number below 1.
    """

    def __init__(
        self,
        context_features: int,
        features: int,
        steps: int | Sequence[int],
        *,
        n_actions: int | None = None,
        action_features: int | None = None,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.steps = checked_steps(steps)
        units = context_features if hidden is None else hidden
        _check("ActionPredictor", context_features, features, units)
        if (n_actions is None) == (action_features is None):
            raise ArgumentError("ActionPredictor: give either n_actions or action_features.")
        self.n_actions = n_actions
        self.action_features = n_actions or action_features or 0
        _check("ActionPredictor", self.action_features)
        self.begin = nn.Linear(context_features, units)
        self.gru = nn.GRU(self.action_features, units, batch_first=True)
        self.last = LinearPredictor(units, features, len(self.steps))

    def forward(self, context_BTUH: Tensor, at_N: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return predictions (S, N, D).

        Args:
            context_BTUH: contexts, U = 1.
            at_N: places of the anchors.
            actions: int64 (B, T) or floating point (B, T, A). What lies behind the end of a
                sequence enters only predictions that have no positive.

        Raises:
            ShapeError: no actions, actions that do not fit, or several sites.
        """
        B, T, U, _ = context_BTUH.shape
        expected = (B, T) if self.n_actions else (B, T, self.action_features)
        if actions is None or tuple(actions.shape) != expected or U != 1:
            found = "none" if actions is None else tuple(actions.shape)
            raise ShapeError(
                f"ActionPredictor: needs actions of shape {expected} and latents with one site, "
                f"got {found} and {U} sites. Give the batch its actions."
            )
        if self.n_actions:
            actions = functional.one_hot(actions.clamp_min(0), self.n_actions)
        actions_BTA = actions.to(context_BTUH.dtype)
        longest = self.steps[-1]
        ahead_K = torch.arange(longest, device=at_N.device)
        time_NK = (at_N[:, None] % T + ahead_K).clamp_max(T - 1)
        actions_NKA = actions_BTA[(at_N // T)[:, None], time_NK]
        begun_1NH = self.begin(_anchors(context_BTUH, at_N)).tanh()[None]
        state_NKH, _ = self.gru(actions_NKA, begun_1NH)
        wanted = [k - 1 for k in self.steps]
        return torch.bmm(state_NKH[:, wanted].transpose(0, 1), self.last.weight_SHD)


def _anchors(context_BTUH: Tensor, at_N: Tensor) -> Tensor:
    return context_BTUH.reshape(-1, context_BTUH.shape[-1])[at_N]


def _check(name: str, *numbers: int) -> None:
    if min(numbers) < 1:
        raise ArgumentError(
            f"{name}: features, steps and hidden must be at least 1, got {numbers}."
        )
