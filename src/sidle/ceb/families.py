"""Families of distributions of z: what encoders, backward encoders and marginals are made of.

A network returns *statistics*, P numbers a row; a family says which distribution they name. Every
family here is exponential, and that is its whole interface:

    log p(z | statistics) = <features(z), natural(statistics)> + carrier(z),

the last feature being 1. The densities of N draws under M distributions are then one matrix
product, and so are the logits of a classifier made of a backward encoder and the scores of a
contrastive one (`sidle.mi.contrast`), in which the carrier cancels. Expected features give
divergences in closed form, so residual information has no sampling noise:

    KL(p || q) = -H(p) - <E_p features, natural(q)> - E_p carrier.

No family but `FullCovariance` makes anything of size D x D.

Letters: D = dimensions of z; P = statistics; K = features; S = draws; N, M = rows.
References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [WOOD] Wood 1994, Communications in
Statistics 23(1) (the construction of von Mises-Fisher draws). [BG] Banerjee et al. 2005, JMLR 6
(its normaliser and mean).
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor, nn

from sidle.errors import ArgumentError

Array = NDArray[np.float64]

LOG_TWO_PI = math.log(2 * math.pi)
SMALLEST_DEVIATION = 1e-3  # of learned standard deviations, which are this plus a softplus
MOST_FULL_DIMENSIONS = 128  # of a full covariance: K is D^2 + D + 1
_ANGLES = 2**14  # points at which the distribution of von Mises-Fisher's angle is tabulated
_NEGLIGIBLE = 45.0  # nats below the largest density, where the table ends: 3e-20


class Family(nn.Module, abc.ABC):
    """A family of distributions of z in D dimensions.

    Attributes:
        name: how `Bottleneck` calls it.
        dim: D.
        n_statistics: P, what a network must return for each row.
        cancels: whether products of features and natural parameters lose digits; see `precise`.
    """

    cancels = False
    name: str
    dim: int
    n_statistics: int

    @abc.abstractmethod
    def mean(self, statistics: Tensor) -> Tensor:
        """Return what stands for the distribution where nothing is drawn, (..., D)."""

    @abc.abstractmethod
    def draw(self, statistics: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
        """Return n draws, (n, ..., D), with the gradient of the statistics in them."""

    @abc.abstractmethod
    def log_density(self, z: Tensor, statistics: Tensor) -> Tensor:
        """Return log p(z | statistics) in nats, row by row; (...), leading dimensions broadcast."""

    @abc.abstractmethod
    def features(self, z: Tensor) -> Tensor:
        """Return the features of z, (..., K), the last of them 1."""

    @abc.abstractmethod
    def natural(self, statistics: Tensor) -> Tensor:
        """Return natural parameters, (..., K), the last minus the log of the partition function."""

    @abc.abstractmethod
    def carrier(self, z: Tensor) -> Tensor:
        """Return the part of the log density that depends on z alone, (...)."""

    @abc.abstractmethod
    def divergence(self, p: Tensor, q: Tensor) -> Tensor:
        """Return KL(p || q) = E_p[log p - log q] in nats, row by row; (...)."""

    @abc.abstractmethod
    def _expected(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return E_p features, (..., K), and H(p) + E_p carrier, (...)."""

    def log_densities(self, z_ND: Tensor, statistics_MP: Tensor) -> Tensor:
        """Return log p(z_n | statistics_m) of every pair, (..., N, M), for z of (..., N, D)."""
        z, statistics = self.precise(z_ND), self.precise(statistics_MP)
        pairs = self.features(z) @ self.natural(statistics).mT
        return (pairs + self.carrier(z)[..., None]).to(z_ND.dtype)

    def divergences(self, p_NP: Tensor, q_MP: Tensor) -> Tensor:
        """Return KL(p_n || q_m) of every pair in nats, (N, M), by one matrix product."""
        features_NK, own_N = self._expected(self.precise(p_NP))
        pairs_NM = features_NK @ self.natural(self.precise(q_MP)).mT
        return (-own_N[:, None] - pairs_NM).to(p_NP.dtype)

    def precise(self, values: Tensor) -> Tensor:
        """Return z or statistics in the precision that densities of all pairs need.

        Where deviations are learned they may be small: then squares of means over squares of
        deviations are subtracted from each other, and in float32 whole nats are lost.
        """
        wide = self.cancels and values.device.type != "mps"  # which has no double
        return values.double() if wide else values

    def extra_repr(self) -> str:
        """Return the dimensions, for printing."""
        return f"dim={self.dim}"


def _with_one(*parts: Tensor) -> Tensor:
    return torch.cat([*parts, torch.ones_like(parts[0][..., :1])], dim=-1)


def _check_dim(name: str, dim: int, smallest: int = 1) -> None:
    if dim < smallest:
        raise ArgumentError(f"{name}: dim must be at least {smallest}, got {dim}.")


def _noise(like: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn((n, *like.shape), generator=generator, dtype=like.dtype, device=like.device)


@final
class Identity(Family):
    """Normal distributions with covariance one: the statistics are the mean, P = D.

    KL(p || q) = 0.5 ||mean_p - mean_q||^2 [CEB1, section 3]: nothing but sums of squares.

    Args:
        dim: D, at least 1.
    """

    name = "identity"

    def __init__(self, dim: int) -> None:
        super().__init__()
        _check_dim("Identity", dim)
        self.dim = self.n_statistics = dim

    def mean(self, statistics: Tensor) -> Tensor:  # noqa: D102
        return statistics

    def draw(  # noqa: D102
        self, statistics: Tensor, n: int, generator: torch.Generator | None
    ) -> Tensor:
        return statistics + _noise(statistics, n, generator)

    def log_density(self, z: Tensor, statistics: Tensor) -> Tensor:  # noqa: D102
        return -0.5 * ((z - statistics).square().sum(-1) + self.dim * LOG_TWO_PI)

    def features(self, z: Tensor) -> Tensor:  # noqa: D102
        return _with_one(z)

    def natural(self, statistics: Tensor) -> Tensor:  # noqa: D102
        return torch.cat([statistics, -0.5 * statistics.square().sum(-1, keepdim=True)], dim=-1)

    def carrier(self, z: Tensor) -> Tensor:  # noqa: D102
        return -0.5 * (z.square().sum(-1) + self.dim * LOG_TWO_PI)

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:  # noqa: D102
        return 0.5 * (p - q).square().sum(-1)

    def _expected(self, p: Tensor) -> tuple[Tensor, Tensor]:
        return _with_one(p), -0.5 * p.square().sum(-1)


def _deviation(raw: Tensor) -> Tensor:
    """Return a standard deviation above SMALLEST_DEVIATION, which is 1 where ``raw`` is 0."""
    shift = math.log(math.expm1(1 - SMALLEST_DEVIATION))
    return SMALLEST_DEVIATION + F.softplus(raw + shift)


@final
class Diagonal(Family):
    """Normal distributions with a learned diagonal covariance, P = 2 D.

    The statistics are the mean and D numbers that a softplus makes standard deviations of; zeros
    give 1. They stay above 0.001, for a vanishing one has no finite density.

    Args:
        dim: D, at least 1.
    """

    name = "diagonal"
    cancels = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        _check_dim("Diagonal", dim)
        self.dim, self.n_statistics = dim, 2 * dim

    def _parts(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = statistics.chunk(2, dim=-1)
        return mean, _deviation(raw)

    def mean(self, statistics: Tensor) -> Tensor:  # noqa: D102
        return statistics[..., : self.dim]

    def draw(  # noqa: D102
        self, statistics: Tensor, n: int, generator: torch.Generator | None
    ) -> Tensor:
        mean, deviation = self._parts(statistics)
        return mean + deviation * _noise(mean, n, generator)

    def log_density(self, z: Tensor, statistics: Tensor) -> Tensor:  # noqa: D102
        mean, deviation = self._parts(statistics)
        squares = ((z - mean) / deviation).square() + 2 * deviation.log()
        return -0.5 * (squares.sum(-1) + self.dim * LOG_TWO_PI)

    def features(self, z: Tensor) -> Tensor:  # noqa: D102
        return _with_one(z.square(), z)

    def natural(self, statistics: Tensor) -> Tensor:  # noqa: D102
        mean, deviation = self._parts(statistics)
        precision = deviation**-2
        last = precision * mean.square() + 2 * deviation.log() + LOG_TWO_PI
        return torch.cat(
            [-0.5 * precision, precision * mean, -0.5 * last.sum(-1, keepdim=True)], dim=-1
        )

    def carrier(self, z: Tensor) -> Tensor:  # noqa: D102
        return z.new_zeros(z.shape[:-1])

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:  # noqa: D102
        (mean_p, deviation_p), (mean_q, deviation_q) = self._parts(p), self._parts(q)
        ratio = deviation_p / deviation_q
        squares = ratio.square() + ((mean_p - mean_q) / deviation_q).square()
        return (0.5 * (squares - 1) - ratio.log()).sum(-1)

    def _expected(self, p: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = self._parts(p)
        entropy = (0.5 * (1 + LOG_TWO_PI) + deviation.log()).sum(-1)
        return _with_one(mean.square() + deviation.square(), mean), entropy


@final
class FullCovariance(Family):
    """Normal distributions with a learned full covariance, P = D + D (D + 1) / 2; small D only.

    The statistics are the mean and the rows of a lower triangle L with covariance L L^T, whose
    diagonal a softplus makes positive as in `Diagonal`; zeros give the identity.

    Args:
        dim: D, in [1, 128].

    Raises:
        ArgumentError: dim lies outside; features and natural parameters have D^2 entries.
    """

    name = "full"
    cancels = True
    rows_T: Tensor
    columns_T: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        _check_dim("FullCovariance", dim)
        if dim > MOST_FULL_DIMENSIONS:
            raise ArgumentError(
                f"FullCovariance: dim must be at most {MOST_FULL_DIMENSIONS}, got {dim}. Take the "
                "family identity or diagonal."
            )
        self.dim, self.n_statistics = dim, dim + dim * (dim + 1) // 2
        rows, columns = torch.tril_indices(dim, dim)
        # Each in memory of its own: programs that are exported cannot share a part.
        self.register_buffer("rows_T", rows.clone(), persistent=False)
        self.register_buffer("columns_T", columns.clone(), persistent=False)

    def _parts(self, statistics: Tensor) -> tuple[Tensor, Tensor]:
        mean, entries = statistics[..., : self.dim], statistics[..., self.dim :]
        entries = torch.where(self.rows_T == self.columns_T, _deviation(entries), entries)
        triangle = entries.new_zeros((*entries.shape[:-1], self.dim, self.dim))
        triangle[..., self.rows_T, self.columns_T] = entries
        return mean, triangle

    def mean(self, statistics: Tensor) -> Tensor:  # noqa: D102
        return statistics[..., : self.dim]

    def draw(  # noqa: D102
        self, statistics: Tensor, n: int, generator: torch.Generator | None
    ) -> Tensor:
        mean, triangle = self._parts(statistics)
        return mean + (triangle @ _noise(mean, n, generator)[..., None])[..., 0]

    def log_density(self, z: Tensor, statistics: Tensor) -> Tensor:  # noqa: D102
        mean, triangle = self._parts(statistics)
        white: Tensor = torch.linalg.solve_triangular(triangle, (z - mean)[..., None], upper=False)[
            ..., 0
        ]
        return -0.5 * (white.square().sum(-1) + self.dim * LOG_TWO_PI) - _log_diagonal(triangle)

    def features(self, z: Tensor) -> Tensor:  # noqa: D102
        return _with_one((z[..., :, None] * z[..., None, :]).flatten(-2), z)

    def natural(self, statistics: Tensor) -> Tensor:  # noqa: D102
        mean, triangle = self._parts(statistics)
        precision = torch.cholesky_inverse(triangle)
        pull = (precision @ mean[..., None])[..., 0]
        last = -0.5 * ((pull * mean).sum(-1) + self.dim * LOG_TWO_PI) - _log_diagonal(triangle)
        return torch.cat([-0.5 * precision.flatten(-2), pull, last[..., None]], dim=-1)

    def carrier(self, z: Tensor) -> Tensor:  # noqa: D102
        return z.new_zeros(z.shape[:-1])

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:  # noqa: D102
        (mean_p, triangle_p), (mean_q, triangle_q) = self._parts(p), self._parts(q)
        lead = torch.broadcast_shapes(p.shape[:-1], q.shape[:-1])  # type: ignore[no-untyped-call]
        apart = (mean_p - mean_q)[..., None]
        both = torch.cat([triangle_p.expand(*lead, -1, -1), apart], dim=-1)
        white: Tensor = torch.linalg.solve_triangular(
            triangle_q.expand(*lead, -1, -1), both, upper=False
        )
        squares = white.square().sum((-2, -1)) - self.dim
        return 0.5 * squares + _log_diagonal(triangle_q) - _log_diagonal(triangle_p)

    def _expected(self, p: Tensor) -> tuple[Tensor, Tensor]:
        mean, triangle = self._parts(p)
        second = mean[..., :, None] * mean[..., None, :] + triangle @ triangle.mT
        entropy = 0.5 * self.dim * (1 + LOG_TWO_PI) + _log_diagonal(triangle)
        return _with_one(second.flatten(-2), mean), entropy


def _log_diagonal(triangle: Tensor) -> Tensor:
    return triangle.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@final
class VonMisesFisher(Family):
    """Von Mises-Fisher distributions on the unit sphere, one fixed concentration; P = D.

    p(z) is proportional to exp(kappa <z, mu>), mu the statistics at length 1. kappa is a setting
    like the covariance of `Identity`, of forward and backward encoder and marginal alike: draws
    then have an exact gradient of mu, and

        KL(p || q) = kappa A (1 - <mu_p, mu_q>),  A = E<z, mu> = I_{D/2}(kappa) / I_{D/2-1}(kappa).

    A draw is w mu + sqrt(1 - w^2) v with v uniform across mu [WOOD]. The angle arccos w is drawn
    by inverting its distribution function, a table of 16,384 points in float64.

    Args:
        dim: D, at least 2.
        concentration: kappa, above 0; None takes D, where A is about 0.6 for any D.

    Raises:
        ArgumentError: an argument lies outside its range.
    """

    name = "von-mises-fisher"
    angle_Q: Tensor
    below_Q: Tensor

    def __init__(self, dim: int, concentration: float | None = None) -> None:
        super().__init__()
        _check_dim("VonMisesFisher", dim, 2)
        concentration = float(dim) if concentration is None else float(concentration)
        if not 0 < concentration <= 1e6:
            raise ArgumentError(
                f"VonMisesFisher: concentration must lie in (0, 1e6], got {concentration}."
            )
        self.dim = self.n_statistics = dim
        self.concentration = concentration
        order = dim / 2 - 1
        log_bessel = _log_bessel(order, concentration)
        self.mean_cosine = math.exp(_log_bessel(order + 1, concentration) - log_bessel)
        self.log_normaliser = order * math.log(concentration) - dim / 2 * LOG_TWO_PI - log_bessel
        angle_Q, below_Q = _angles(dim, concentration)
        self.register_buffer("angle_Q", torch.from_numpy(angle_Q), persistent=False)
        self.register_buffer("below_Q", torch.from_numpy(below_Q), persistent=False)

    def mean(self, statistics: Tensor) -> Tensor:
        """Return the mean direction, (..., D), of length 1."""
        return F.normalize(statistics, dim=-1)

    def draw(  # noqa: D102
        self, statistics: Tensor, n: int, generator: torch.Generator | None
    ) -> Tensor:
        mu = self.mean(statistics)
        angle = self._draw_angles((n, *mu.shape[:-1]), generator, mu)[..., None]
        noise = _noise(mu, n, generator)
        across = noise - (noise * mu).sum(-1, keepdim=True) * mu
        return angle.cos() * mu + angle.sin() * F.normalize(across, dim=-1)

    def _draw_angles(
        self, shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor
    ) -> Tensor:
        u = torch.rand(shape, generator=generator, dtype=torch.float64, device=like.device)
        right = torch.searchsorted(self.below_Q.double(), u, right=True)
        right = right.clamp_(1, len(self.below_Q) - 1)
        low, high = self.below_Q[right - 1], self.below_Q[right]
        share = ((u - low) / (high - low)).nan_to_num_(0.0)  # where two points coincide
        found = torch.lerp(self.angle_Q[right - 1].double(), self.angle_Q[right].double(), share)
        return found.to(like.dtype)

    def log_density(self, z: Tensor, statistics: Tensor) -> Tensor:
        """Return the log density on the sphere's surface, (...)."""
        cosine = (z * self.mean(statistics)).sum(-1)
        return self.concentration * cosine + self.log_normaliser

    def features(self, z: Tensor) -> Tensor:  # noqa: D102
        return _with_one(z)

    def natural(self, statistics: Tensor) -> Tensor:  # noqa: D102
        mu = self.mean(statistics)
        last = torch.full_like(mu[..., :1], self.log_normaliser)
        return torch.cat([self.concentration * mu, last], dim=-1)

    def carrier(self, z: Tensor) -> Tensor:  # noqa: D102
        return z.new_zeros(z.shape[:-1])

    def divergence(self, p: Tensor, q: Tensor) -> Tensor:  # noqa: D102
        # 1 - <mu, mu'> as half a squared distance, which keeps its digits near 0.
        apart = 0.5 * (self.mean(p) - self.mean(q)).square().sum(-1)
        return self.concentration * self.mean_cosine * apart

    def _expected(self, p: Tensor) -> tuple[Tensor, Tensor]:
        mu = self.mean(p)
        own = -self.concentration * self.mean_cosine - self.log_normaliser
        return _with_one(self.mean_cosine * mu), torch.full_like(mu[..., 0], own)

    def extra_repr(self) -> str:
        """Return dimensions and concentration, for printing."""
        return f"dim={self.dim}, concentration={self.concentration:g}"


def _log_bessel(order: float, x: float) -> float:
    """Return log I_order(x) by its power series, whose terms are all positive; order >= 0, x > 0.

    In logs: for hundreds of dimensions the function itself underflows.
    """
    peak = (math.hypot(order, x) - order) / 2  # the largest term
    terms = np.arange(int(peak + 12 * math.sqrt(peak + x) + 100), dtype=np.float64)
    logs = (2 * terms + order) * math.log(x / 2) - gammaln(terms + 1) - gammaln(terms + order + 1)
    return float(np.logaddexp.reduce(logs))


def _angles(dim: int, concentration: float) -> tuple[Array, Array]:
    """Return angles to mu, ascending, and the probability of a smaller one at each, float64."""

    def log_density(angle: Array) -> Array:
        # cos - 1 without losing digits where all angles are small.
        found: Array = (dim - 2) * np.log(np.sin(angle)) - 2 * concentration * np.sin(
            angle / 2
        ) ** 2
        return found

    coarse = np.linspace(0, math.pi, 200_001)[1:-1]
    logs = log_density(coarse)
    kept = np.flatnonzero(logs > logs.max() - _NEGLIGIBLE)
    step = coarse[0]
    low, high = max(coarse[kept[0]] - step, 0.0), min(coarse[kept[-1]] + step, math.pi)
    angle = np.linspace(low, high, _ANGLES)
    # The midpoint rule needs no value at the poles, and is exact to the square of a step.
    middle = (angle[1:] + angle[:-1]) / 2
    weights = np.exp(log_density(middle) - logs.max())
    below = np.concatenate([[0.0], np.cumsum(weights)])
    return angle, below / below[-1]


FAMILIES: Mapping[str, Callable[[int], Family]] = MappingProxyType(
    {
        "identity": Identity,
        "diagonal": Diagonal,
        "full": FullCovariance,
        "von-mises-fisher": VonMisesFisher,
    }
)


def find(family: str | Family, dim: int) -> Family:
    """Return the family called so, in ``dim`` dimensions.

    Raises:
        ArgumentError: there is none of that name, or the one given has other dimensions.
    """
    if isinstance(family, Family):
        if family.dim != dim:
            raise ArgumentError(f"family: expected {dim} dimensions, got one of {family.dim}.")
        return family
    if family not in FAMILIES:
        raise ArgumentError(f"family: expected one of {', '.join(FAMILIES)}, got {family!r}.")
    return FAMILIES[family](dim)
