"""Learned conditional densities: what the bounds in `sidle.mi.densities` are fed with.

Parameters are drawn by torch's initialisers: build a model inside `sidle.seeding.scope` to fix
them.

Letters: B, C = rows of x and of y; D, E = dimensions of x and of y; H = hidden units; Q = bins.
References: [CLUB] Cheng et al. 2020, arXiv:2006.12013. [NJEE] Shalev, Painsky, Ben-Gal 2022,
arXiv:2012.11197. [MADE] Germain et al. 2015, arXiv:1502.03509.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle.errors import ArgumentError
from sidle.mi.critics import check_pair, perceptron

SMALLEST_LOG_DEVIATION, LARGEST_LOG_DEVIATION = -6.0, 4.0  # of columns of about unit spread


@final
class GaussianConditional(nn.Module):
    """q(y | x): independent normals, mean and deviation multilayer perceptrons of x [CLUB, 4.1].

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of each hidden layer, at least 1.
        layers: hidden layers; 0 makes mean and log deviation affine.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    takes_leading_dimensions = True

    def __init__(self, dim_x: int, dim_y: int, *, hidden: int = 256, layers: int = 2) -> None:
        super().__init__()
        if min(dim_x, dim_y, hidden) < 1 or layers < 0:
            raise ArgumentError(
                "GaussianConditional: dim_x, dim_y and hidden must be at least 1 and layers at "
                f"least 0, got {dim_x}, {dim_y}, {hidden} and {layers}."
            )
        self.dim_x, self.dim_y = dim_x, dim_y
        self.parameters_of_y = perceptron(dim_x, hidden, layers, 2 * dim_y)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Return log q(y_j | x_i) of every pair, in nats.

        Args:
            x_BD: shape (..., B, dim_x).
            y_CE: shape (..., C, dim_y).

        Returns:
            Shape (..., B, C). Memory is O((B + C) E + B C): no (B, C, E) tensor is made.

        Raises:
            ShapeError: x_BD or y_CE has another number of columns.
        """
        check_pair("GaussianConditional", x_BD, self.dim_x, y_CE, self.dim_y, leading=True)
        mean_BE, log_deviation_BE = self.parameters_of_y(x_BD).chunk(2, dim=-1)
        log_deviation_BE = _softly_clipped(
            log_deviation_BE, SMALLEST_LOG_DEVIATION, LARGEST_LOG_DEVIATION
        )
        precision_BE = torch.exp(-2 * log_deviation_BE)
        # (y - m)^2 / s^2, multiplied out, so that every pair costs one matrix product.
        y_EC = y_CE.mT
        squares_BC = precision_BE @ y_EC.square() - 2 * (precision_BE * mean_BE) @ y_EC
        own_B1 = (precision_BE * mean_BE.square() + 2 * log_deviation_BE).sum(-1, keepdim=True)
        minus_twice_BC: Tensor = squares_BC + own_B1 + self.dim_y * math.log(2 * math.pi)
        return -0.5 * minus_twice_BC


@final
class AutoregressiveClassifier(nn.Module):
    """q(y | x) and r(y) of a binned y, each a product of classifiers along the chain rule [NJEE].

    Every column of y is cut into Q bins at the quantiles of a standard normal variable; column e
    is classified from x (or nothing) and the columns before it. One masked network does so for all
    columns at once [MADE]. Binning can only lose information.

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of the hidden layers, at least 1.
        bins: Q, at least 2.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    edges_Q: Tensor

    def __init__(self, dim_x: int, dim_y: int, *, hidden: int = 256, bins: int = 16) -> None:
        super().__init__()
        if min(dim_x, dim_y, hidden) < 1 or bins < 2:
            raise ArgumentError(
                "AutoregressiveClassifier: dim_x, dim_y and hidden must be at least 1 and bins at "
                f"least 2, got {dim_x}, {dim_y}, {hidden} and {bins}."
            )
        self.dim_x, self.dim_y = dim_x, dim_y
        self.register_buffer(
            "edges_Q", torch.special.ndtri(torch.arange(1, bins) / bins), persistent=False
        )
        self.conditional = _MaskedClassifier(dim_x, dim_y, hidden, bins)
        self.marginal = _MaskedClassifier(0, dim_y, hidden, bins)

    def forward(self, x_BD: Tensor, y_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(y_i | x_i) and log r(y_i) of joint pairs, in nats, shape (B,) each.

        Args:
            x_BD: shape (B, dim_x).
            y_BE: shape (B, dim_y), columns of about unit spread.

        Raises:
            ShapeError: x_BD or y_BE has another number of columns.
        """
        check_pair("AutoregressiveClassifier", x_BD, self.dim_x, y_BE, self.dim_y)
        bins_BE = torch.bucketize(y_BE, self.edges_Q)
        return self.conditional(x_BD, y_BE, bins_BE), self.marginal(x_BD[:, :0], y_BE, bins_BE)


@final
class _MaskedClassifier(nn.Module):
    """Logits of each column's bin from x and the columns before it, in one pass [MADE]."""

    before_HE: Tensor
    before_EH: Tensor

    def __init__(self, dim_x: int, dim_y: int, hidden: int, bins: int) -> None:
        super().__init__()
        self.dim_x, self.bins = dim_x, bins
        # Hidden unit h may see x and the first degree_h columns of y: 0 to E - 1, evenly spread.
        degree_H = torch.linspace(0, dim_y - 1, hidden).round().long()
        column_E = torch.arange(dim_y)
        self.register_buffer("before_HE", column_E < degree_H[:, None], persistent=False)
        self.register_buffer("before_EH", degree_H <= column_E[:, None], persistent=False)
        self.hidden = nn.Linear(dim_x + dim_y, hidden)
        self.logits = nn.Linear(hidden, dim_y * bins)
        # Units that see no y are few where y has many columns: x gets a way of its own.
        self.of_x = perceptron(dim_x, hidden, 1, dim_y * bins) if dim_x else None

    def forward(self, x_BD: Tensor, y_BE: Tensor, bins_BE: Tensor) -> Tensor:
        weight_HE = self.hidden.weight[:, self.dim_x :] * self.before_HE
        hidden_BH = functional.linear(x_BD, self.hidden.weight[:, : self.dim_x], self.hidden.bias)
        hidden_BH = functional.relu(hidden_BH + functional.linear(y_BE, weight_HE))
        mask = self.before_EH.repeat_interleave(self.bins, dim=0)
        logits = functional.linear(hidden_BH, self.logits.weight * mask, self.logits.bias)
        if self.of_x is not None:
            logits = logits + self.of_x(x_BD)
        logits_BQE = logits.reshape(*y_BE.shape, self.bins).transpose(1, 2)
        return -functional.cross_entropy(logits_BQE, bins_BE, reduction="none").sum(-1)


def _softly_clipped(values: Tensor, low: float, high: float) -> Tensor:
    """Keep values inside (low, high), with a gradient everywhere; about the same near zero."""
    centre, half = (low + high) / 2, (high - low) / 2
    return centre + half * torch.tanh((values - centre) / half)
