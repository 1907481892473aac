"""Problems whose mutual information is known exactly.

The object all functions share is a pair (x_ND, y_ND) of N independent draws, row n of x with
row n of y. A problem knows its information in nats, its densities p(y | x) and p(y), and its log
density ratio log p(x, y) / (p(x) p(y)), which is the optimal critic up to what each bound leaves
free. A one-to-one map of y makes a problem harder to learn and leaves its information alone.

Letters: N, M = draws; D = dimensions of x, and of y.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError

# Noise of standard deviation exp(-nats) a dimension vanishes in float32 (epsilon 1.2e-7) below.
MOST_NATS_A_DIMENSION = 10.0

Transform = Literal["none", "cubic", "full-rank-cubic"]


@dataclass(frozen=True)
class CorrelatedGaussians:
    """Standard normal x and z with correlation rho between x_d and z_d, and none else; y of z.

    I(X; Y) = I(X; Z) = -(D / 2) log(1 - rho^2), as y is a one-to-one map of z [VBMI, figure 2]:

    - ``none``: y = z;
    - ``cubic``: y = z^3, coordinate by coordinate;
    - ``full-rank-cubic``: y = (W z)^3. The paper asks only that W be of full rank. Ours is a
      rotation or reflection, drawn once and for all for each D, so that W^-1 does not magnify the
      rounding of float32 draws. p(y) is then that of ``cubic``, but every y_d depends on all of x.

    Attributes:
        dim: D, dimensions of x and of y, at least 1.
        nats: I(X; Y), in [0, 10 D]: with more, the noise that limits it is lost to float32.
        transform: "none", "cubic" or "full-rank-cubic".

    Raises:
        ArgumentError: ``dim`` or ``nats`` lies outside its range, or ``transform`` is unknown.
    """

    dim: int
    nats: float
    transform: Transform = "none"

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ArgumentError(f"CorrelatedGaussians: dim must be at least 1, got {self.dim}.")
        if not 0 <= self.nats <= MOST_NATS_A_DIMENSION * self.dim:
            raise ArgumentError(
                f"CorrelatedGaussians: nats must lie in [0, {MOST_NATS_A_DIMENSION:g} * dim], "
                f"got {self.nats} with dim {self.dim}. Use more dimensions."
            )
        if self.transform not in get_args(Transform):
            raise ArgumentError(
                f"CorrelatedGaussians: transform must be one of {', '.join(get_args(Transform))}, "
                f"got {self.transform!r}."
            )

    @classmethod
    def from_correlation(
        cls, dim: int, correlation: float, transform: Transform = "none"
    ) -> CorrelatedGaussians:
        """Return the problem with this correlation, in [0, 1), between x_d and z_d.

        A negative correlation is the same problem with z mirrored.

        Raises:
            ArgumentError: ``correlation`` lies outside [0, 1), or is too close to 1.
        """
        if not 0 <= correlation < 1:
            raise ArgumentError(
                f"CorrelatedGaussians: correlation must lie in [0, 1), got {correlation}."
            )
        return cls(dim, -0.5 * dim * math.log1p(-(correlation**2)), transform)

    @property
    def correlation(self) -> float:
        """Correlation rho between x_d and z_d, in [0, 1)."""
        return math.sqrt(-math.expm1(-2 * self.nats / self.dim))

    @property
    def entropy_y(self) -> float:
        """Differential entropy h(Y), in nats; without transform (D / 2) log(2 pi e).

        Both transforms add E log |dy / dz|, which is E log(3 z^2) = log 3 - gamma - log 2 a
        dimension for standard normal z, gamma being Euler's constant. W adds nothing: |det W| = 1.
        """
        entropy_z = 0.5 * math.log(2 * math.pi * math.e)
        stretch = 0.0 if self.transform == "none" else math.log(1.5) - float(np.euler_gamma)
        return self.dim * (entropy_z + stretch)

    def sample(
        self, n: int, generator: torch.Generator, *, device: str | torch.device = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Draw n independent pairs.

        Args:
            n: at least 1.
            generator: the draws are made on its device, so that a generator on the CPU gives
                the same pairs on every device. Every transform makes the same draws of x and z.
            device: where the pairs go.

        Returns:
            x_ND and y_ND, float32.

        Raises:
            ArgumentError: ``n`` is below 1.
        """
        if n < 1:
            raise ArgumentError(f"CorrelatedGaussians: n must be at least 1, got {n}.")
        x_ND, noise_ND = torch.randn(
            2, n, self.dim, generator=generator, device=generator.device, dtype=torch.float32
        )
        z_ND = self.correlation * x_ND + self._noise * noise_ND
        return x_ND.to(device), self._transformed(z_ND).to(device)

    def log_ratio(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        """Exact log p(x_n, y_m) / (p(x_n) p(y_m)) of every pair, in nats.

        Args:
            x_ND: shape (N, D), floating point.
            y_MD: shape (M, D), floating point.

        Returns:
            Shape (N, M), float64: float32 would lose it wherever the noise of z given x is small.
            Its mean over joint draws is I(X; Y). Memory is O(N M + N D + M D).

        Raises:
            ShapeError: x_ND or y_MD is not a matrix with D columns.
        """
        self._check("log_ratio", x_ND=x_ND, y_MD=y_MD)
        # The Jacobian of z -> y stands in p(y | x) and in p(y), and cancels.
        x_ND, z_MD = x_ND.double(), self._base(y_MD)
        # Per dimension: I/D - (z - rho x)^2 / (2 (1 - rho^2)) + z^2 / 2, multiplied out.
        rho, variance = self.correlation, self._noise**2
        squares_NM = x_ND.square().sum(1)[:, None] + z_MD.square().sum(1)
        products_NM = torch.einsum("nd,md->nm", x_ND, z_MD)
        return self.nats + (rho * products_NM - 0.5 * rho**2 * squares_NM) / variance

    def log_marginal(self, y_MD: Tensor) -> Tensor:
        """Log density log p(y_m), in nats.

        Args:
            y_MD: shape (M, D), floating point.

        Returns:
            Shape (M,), float64; minus its mean over draws is h(Y). Infinite where a transformed
            y_m has a coordinate of exactly 0.

        Raises:
            ShapeError: y_MD is not a matrix with D columns.
        """
        self._check("log_marginal", y_MD=y_MD)
        log_normal_M = -0.5 * (self._base(y_MD).square() + math.log(2 * math.pi)).sum(1)
        if self.transform == "none":
            return log_normal_M
        # Per dimension |dy / du| = 3 u^2 with u = W z (or z) the cube root of y, and |det W| = 1.
        return log_normal_M - (3 * _cube_root(y_MD.double()).square()).log().sum(1)

    def log_conditional(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        """Log density log p(y_m | x_n) of every pair, in nats: `log_ratio` plus `log_marginal`.

        Args:
            x_ND: shape (N, D), floating point.
            y_MD: shape (M, D), floating point.

        Returns:
            Shape (N, M), float64; infinite where `log_marginal` is.

        Raises:
            ShapeError: x_ND or y_MD is not a matrix with D columns.
        """
        self._check("log_conditional", x_ND=x_ND, y_MD=y_MD)
        return self.log_ratio(x_ND, y_MD) + self.log_marginal(y_MD)

    @property
    def _noise(self) -> float:
        """Standard deviation of z_d given x_d, without the cancellation in 1 - rho^2."""
        return math.exp(-self.nats / self.dim)

    def _transformed(self, z_ND: Tensor) -> Tensor:
        """Return y of z, float32, rounded once."""
        if self.transform == "none":
            return z_ND
        u_ND = z_ND.double()
        if self.transform == "full-rank-cubic":
            u_ND = u_ND @ torch.from_numpy(_mixing(self.dim)).to(z_ND.device).T
        return (u_ND**3).float()

    def _base(self, y_MD: Tensor) -> Tensor:
        """Return z of y, float64."""
        if self.transform == "none":
            return y_MD.double()
        u_MD = _cube_root(y_MD.double())
        if self.transform == "full-rank-cubic":
            # W^-1 is the transpose of W.
            return u_MD @ torch.from_numpy(_mixing(self.dim)).to(y_MD.device)
        return u_MD

    def _check(self, function: str, **matrices: Tensor) -> None:
        for name, value in matrices.items():
            if value.ndim != 2 or value.shape[1] != self.dim:
                raise ShapeError(
                    f"CorrelatedGaussians.{function}: {name} must have shape (rows, {self.dim}), "
                    f"got {tuple(value.shape)}."
                )


@dataclass(frozen=True)
class Staircase:
    """Correlated Gaussians whose information rises in steps during training [VBMI, figure 2].

    Attributes:
        dim: dimensions of x and of y.
        levels: information of each stair in nats, at least one.
        steps_per_level: training steps on each stair, at least 1.
        transform: as in `CorrelatedGaussians`, the same on all stairs.

    Raises:
        ArgumentError: no levels, no steps, or a level or transform that `CorrelatedGaussians`
            does not take.
    """

    dim: int = 20
    levels: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    steps_per_level: int = 4000
    transform: Transform = "none"

    def __post_init__(self) -> None:
        if not self.levels or self.steps_per_level < 1:
            raise ArgumentError(
                "Staircase: expected at least one level and steps_per_level >= 1, got levels "
                f"{self.levels} and steps_per_level {self.steps_per_level}."
            )
        for nats in self.levels:
            CorrelatedGaussians(self.dim, nats, self.transform)

    @property
    def n_steps(self) -> int:
        """Training steps on all stairs together."""
        return len(self.levels) * self.steps_per_level

    def at(self, step: int) -> CorrelatedGaussians:
        """Return the problem of this training step, counted from 0.

        Raises:
            ArgumentError: ``step`` lies outside [0, n_steps).
        """
        if not 0 <= step < self.n_steps:
            raise ArgumentError(f"Staircase.at: step must lie in [0, {self.n_steps}), got {step}.")
        nats = self.levels[step // self.steps_per_level]
        return CorrelatedGaussians(self.dim, nats, self.transform)


def _cube_root(values: Tensor) -> Tensor:
    """Return the real cube root, of the sign of its argument."""
    return values.sign() * values.abs() ** (1 / 3)


@lru_cache(maxsize=8)
def _mixing(dim: int) -> npt.NDArray[np.float64]:
    """Return W of "full-rank-cubic", (D, D): orthogonal, drawn uniformly.

    It belongs to the problem like ``dim`` does, hence no seed of the caller's.
    """
    generator = seeding.numpy_generator(seeding.split(0, "full-rank-cubic", dim))
    orthogonal_DD, upper_DD = np.linalg.qr(generator.standard_normal((dim, dim)))
    # QR leaves the sign of each column open; a positive diagonal makes the matrix uniform
    # (Mezzadri 2007, arXiv:math-ph/0609050), and the same with every LAPACK.
    mixing_DD: npt.NDArray[np.float64] = orthogonal_DD * np.sign(np.diagonal(upper_DD))
    return mixing_DD
