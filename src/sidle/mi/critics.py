"""Critics: networks that score how well an x and a y go together.

The object all of them share is the matrix of scores: x_BD and y_CE in, scores_BC out, with
scores_BC[i, j] = f(x_i, y_j). Both critics here factor into a part for x and a part for y, so
that all B C pairs cost B + C network evaluations and one matrix product. Parameters are drawn by
torch's initialisers: build a critic inside `sidle.seeding.scope` to fix them.

Letters: B, C = rows of x and of y; D, E = dimensions of x and of y; K = embedding dimensions.
References: [CPC] van den Oord et al. 2018, arXiv:1807.03748. [VBMI] Poole et al. 2019,
arXiv:1905.06922.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from sidle.errors import ArgumentError, ShapeError


@final
class SeparableCritic(nn.Module):
    """f(x, y) = <g(x), h(y)> with two multilayer perceptrons g and h [VBMI, section 3].

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of each hidden layer, at least 1.
        layers: hidden layers in each of g and h; 0 makes both affine.
        embedding: dimensions of g(x) and h(y), at least 1.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(
        self, dim_x: int, dim_y: int, *, hidden: int = 256, layers: int = 2, embedding: int = 32
    ) -> None:
        super().__init__()
        if min(dim_x, dim_y, hidden, embedding) < 1 or layers < 0:
            raise ArgumentError(
                "SeparableCritic: dim_x, dim_y, hidden and embedding must be at least 1 and "
                f"layers at least 0, got {dim_x}, {dim_y}, {hidden}, {embedding} and {layers}."
            )
        self.dim_x, self.dim_y = dim_x, dim_y
        self.embed_x = _perceptron(dim_x, hidden, layers, embedding)
        self.embed_y = _perceptron(dim_y, hidden, layers, embedding)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Score every x with every y.

        Args:
            x_BD: shape (B, dim_x).
            y_CE: shape (C, dim_y).

        Returns:
            Scores, shape (B, C).

        Raises:
            ShapeError: x_BD or y_CE has another number of columns.
        """
        _check_pair("SeparableCritic", x_BD, self.dim_x, y_CE, self.dim_y)
        return torch.einsum("bk,ck->bc", self.embed_x(x_BD), self.embed_y(y_CE))


@final
class BilinearCritic(nn.Module):
    """f(x, y) = x^T W y [CPC, eq. 3]: for inputs that are representations already.

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.

    Raises:
        ArgumentError: a dimension is below 1.
    """

    def __init__(self, dim_x: int, dim_y: int) -> None:
        super().__init__()
        if min(dim_x, dim_y) < 1:
            raise ArgumentError(
                f"BilinearCritic: dim_x and dim_y must be at least 1, got {dim_x} and {dim_y}."
            )
        self.dim_x, self.dim_y = dim_x, dim_y
        self.weight_DE = nn.Parameter(torch.empty(dim_x, dim_y))
        # Scores of standardised inputs then start at about unit variance.
        nn.init.normal_(self.weight_DE, std=(dim_x * dim_y) ** -0.5)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Score every x with every y.

        Args:
            x_BD: shape (B, dim_x).
            y_CE: shape (C, dim_y).

        Returns:
            Scores, shape (B, C).

        Raises:
            ShapeError: x_BD or y_CE has another number of columns.
        """
        _check_pair("BilinearCritic", x_BD, self.dim_x, y_CE, self.dim_y)
        return torch.einsum("bd,de,ce->bc", x_BD, self.weight_DE, y_CE)


CRITICS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {"separable": SeparableCritic, "bilinear": BilinearCritic}
)


def _perceptron(dim_in: int, hidden: int, layers: int, dim_out: int) -> nn.Sequential:
    widths = [dim_in, *[hidden] * layers]
    stack: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        stack += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*stack, nn.Linear(widths[-1], dim_out))


def _check_pair(critic: str, x_BD: Tensor, dim_x: int, y_CE: Tensor, dim_y: int) -> None:
    for name, value, dim in (("x_BD", x_BD, dim_x), ("y_CE", y_CE, dim_y)):
        if value.ndim != 2 or value.shape[1] != dim:
            raise ShapeError(
                f"{critic}: {name} must have shape (rows, {dim}), got {tuple(value.shape)}."
            )
