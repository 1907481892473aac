"""Critics: networks that score how well an x and a y go together.

The object all of them share is the matrix of scores: x_BD and y_CE in, scores_BC out, with
scores_BC[i, j] = f(x_i, y_j). The separable and the bilinear critic factor into a part for x and
a part for y, so that all B C pairs cost B + C network evaluations and one matrix product. The last
three classes wrap a critic with what a bound learns beside it. Parameters are drawn by torch's
initialisers: build a critic inside `sidle.seeding.scope` to fix them.

Letters: B, C = rows of x and of y; D, E = dimensions of x and of y; K = embedding dimensions; H =
hidden units.
References: [CPC] van den Oord et al. 2018, arXiv:1807.03748. [VBMI] Poole et al. 2019,
arXiv:1905.06922. [MINE] Belghazi et al. 2018, arXiv:1801.04062. [FLO] Guo et al. 2022,
arXiv:2107.01131.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sidle.errors import ArgumentError, ShapeError


class KnowsLogRatio(Protocol):
    """A problem whose log density ratio is known."""

    def log_ratio(self, x_ND: Tensor, y_MD: Tensor, /) -> Tensor:
        """Return log p(x_n, y_m) / (p(x_n) p(y_m)) of every pair, shape (N, M)."""
        ...


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

    takes_leading_dimensions = True

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
        self.embed_x = perceptron(dim_x, hidden, layers, embedding)
        self.embed_y = perceptron(dim_y, hidden, layers, embedding)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Score every x with every y.

        Args:
            x_BD: shape (..., B, dim_x).
            y_CE: shape (..., C, dim_y).

        Returns:
            Scores, shape (..., B, C).

        Raises:
            ShapeError: x_BD or y_CE has another number of columns.
        """
        check_pair("SeparableCritic", x_BD, self.dim_x, y_CE, self.dim_y, leading=True)
        return torch.einsum("...bk,...ck->...bc", self.embed_x(x_BD), self.embed_y(y_CE))


@final
class BilinearCritic(nn.Module):
    """f(x, y) = x^T W y [CPC, eq. 3]: for inputs that are representations already.

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.

    Raises:
        ArgumentError: a dimension is below 1.
    """

    takes_leading_dimensions = True

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
            x_BD: shape (..., B, dim_x).
            y_CE: shape (..., C, dim_y).

        Returns:
            Scores, shape (..., B, C).

        Raises:
            ShapeError: x_BD or y_CE has another number of columns.
        """
        check_pair("BilinearCritic", x_BD, self.dim_x, y_CE, self.dim_y, leading=True)
        return torch.einsum("...bd,de,...ce->...bc", x_BD, self.weight_DE, y_CE)


@final
class ConcatenatedCritic(nn.Module):
    """f(x, y) = MLP([x, y]), a *joint* critic [VBMI, section 3]; scores all B C pairs one by one.

    The first layer is split into a part for x and one for y, so that only the layers above it run
    on every pair. They run on ``chunk`` pairs at a time and are recomputed in the backward pass:
    memory is O(B C + (B + C + chunk) hidden), whatever the batch.

    Args:
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of each hidden layer, at least 1.
        layers: hidden layers, at least 1.
        chunk: pairs scored at a time, at least 1.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    def __init__(
        self, dim_x: int, dim_y: int, *, hidden: int = 256, layers: int = 2, chunk: int = 16_384
    ) -> None:
        super().__init__()
        if min(dim_x, dim_y, hidden, layers, chunk) < 1:
            raise ArgumentError(
                "ConcatenatedCritic: dim_x, dim_y, hidden, layers and chunk must be at least 1, "
                f"got {dim_x}, {dim_y}, {hidden}, {layers} and {chunk}."
            )
        self.dim_x, self.dim_y, self.chunk = dim_x, dim_y, chunk
        self.first = nn.Linear(dim_x + dim_y, hidden)
        self.rest = nn.Sequential(nn.ReLU(), *perceptron(hidden, hidden, layers - 1, 1))

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
        check_pair("ConcatenatedCritic", x_BD, self.dim_x, y_CE, self.dim_y)
        weight = self.first.weight  # (H, D + E)
        x_BH = functional.linear(x_BD, weight[:, : self.dim_x], self.first.bias)
        y_CH = functional.linear(y_CE, weight[:, self.dim_x :])
        rows = max(1, self.chunk // len(y_CH))
        parts = []
        for some_BH in torch.split(x_BH, rows):
            if torch.is_grad_enabled() and len(some_BH) < len(x_BH):
                part = checkpoint(
                    self._scores, some_BH, y_CH, use_reentrant=False, preserve_rng_state=False
                )
            else:
                part = self._scores(some_BH, y_CH)
            parts.append(part)
        return torch.cat(parts)

    def _scores(self, x_BH: Tensor, y_CH: Tensor) -> Tensor:
        scores_BC1: Tensor = self.rest(x_BH[:, None] + y_CH)
        return scores_BC1.squeeze(-1)


@final
class OptimalCritic(nn.Module):
    """The log density ratio of a problem that knows it: what no training can improve.

    Optimal for InfoNCE, DV, MINE, JS and SMILE; plus ``Bound.shift`` for the others.

    Args:
        problem: has ``log_ratio(x_BD, y_CE) -> (B, C)``, such as
            `sidle.mi.problems.CorrelatedGaussians`.
    """

    def __init__(self, problem: KnowsLogRatio) -> None:
        super().__init__()
        self.problem = problem

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Return the exact log p(x, y) / (p(x) p(y)) of every pair, shape (B, C)."""
        return self.problem.log_ratio(x_BD, y_CE)


@final
class BaselineCritic(nn.Module):
    """f(x, y) - log a(x) with a learned baseline a, for `sidle.mi.bounds.tuba_bound`.

    Args:
        critic: maps x_BD, y_CE to scores_BC.
        dim_x: dimensions of x, at least 1.
        hidden: width of the baseline's hidden layer.
    """

    def __init__(self, critic: nn.Module, dim_x: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.critic = critic
        self.log_baseline = perceptron(dim_x, hidden, 1, 1)
        self.takes_leading_dimensions = takes_leading_dimensions(critic)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> Tensor:
        """Return scores less the log baseline of their row, shape (B, C)."""
        relative_BC: Tensor = self.critic(x_BD, y_CE) - self.log_baseline(x_BD)
        return relative_BC


@final
class MovingAverageCritic(nn.Module):
    """A critic with the moving average of exp(f) that `sidle.mi.bounds.mine_objective` divides by.

    In training mode each call takes the batch into the average, as batch normalisation does.

    Args:
        critic: maps x_BD, y_CE to scores_BC.
        rate: weight of a new batch, in (0, 1] [MINE, section 3.2].
    """

    log_average: Tensor

    def __init__(self, critic: nn.Module, *, rate: float = 0.01) -> None:
        super().__init__()
        self.critic = critic
        self.rate = rate
        self.register_buffer("log_average", torch.tensor(math.nan))
        self.takes_leading_dimensions = takes_leading_dimensions(critic)

    def forward(self, x_BD: Tensor, y_CE: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores, shape (B, C), and the log of the moving average, a scalar."""
        scores_BC: Tensor = self.critic(x_BD, y_CE)
        if self.training:
            with torch.no_grad():
                product_BC = scores_BC.masked_fill(
                    torch.eye(*scores_BC.shape, dtype=torch.bool, device=scores_BC.device),
                    -math.inf,
                )
                pairs = scores_BC.numel() - min(scores_BC.shape)
                log_mean = product_BC.logsumexp((0, 1)) - math.log(pairs)
                # Not a number until the first batch, which then is the average.
                old = torch.where(self.log_average.isnan(), log_mean, self.log_average)
                self.log_average.copy_(
                    torch.logaddexp(math.log1p(-self.rate) + old, math.log(self.rate) + log_mean)
                    if self.rate < 1
                    else log_mean
                )
        return scores_BC, self.log_average.clone()


@final
class FenchelCritic(nn.Module):
    """Scores with the variable u(x, y) that `sidle.mi.bounds.flo_bound` needs [FLO].

    Args:
        critic: maps x_BD, y_CE to scores_BC.
        dim_x: dimensions of x, at least 1.
        dim_y: dimensions of y, at least 1.
        hidden: width of each of the two hidden layers of u.
    """

    def __init__(self, critic: nn.Module, dim_x: int, dim_y: int, *, hidden: int = 256) -> None:
        super().__init__()
        self.critic = critic
        self.u = perceptron(dim_x + dim_y, hidden, 2, 1)
        self.takes_leading_dimensions = takes_leading_dimensions(critic)

    def forward(self, x_BD: Tensor, y_BE: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores, shape (B, B), and u of the joint pairs, shape (B,)."""
        return self.critic(x_BD, y_BE), self.u(torch.cat([x_BD, y_BE], dim=-1)).squeeze(-1)


CRITICS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "separable": SeparableCritic,
        "bilinear": BilinearCritic,
        "concatenated": ConcatenatedCritic,
    }
)


def perceptron(dim_in: int, hidden: int, layers: int, dim_out: int) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU and this many hidden layers."""
    widths = [dim_in, *[hidden] * layers]
    stack: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        stack += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*stack, nn.Linear(widths[-1], dim_out))


def takes_leading_dimensions(network: nn.Module) -> bool:
    """Whether the network scores many batches at once: (..., B, D), (..., C, E) to (..., B, C).

    Networks say so by an attribute of this name; any other is called batch by batch.
    """
    return bool(getattr(network, "takes_leading_dimensions", False))


def check_pair(
    critic: str, x_BD: Tensor, dim_x: int, y_CE: Tensor, dim_y: int, *, leading: bool = False
) -> None:
    """Raise ShapeError unless x and y have rows with these numbers of columns."""
    for name, value, dim in (("x_BD", x_BD, dim_x), ("y_CE", y_CE, dim_y)):
        if value.ndim < 2 or (value.ndim > 2 and not leading) or value.shape[-1] != dim:
            raise ShapeError(
                f"{critic}: {name} must have shape ({'..., ' * leading}rows, {dim}), got "
                f"{tuple(value.shape)}."
            )
