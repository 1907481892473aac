"""Problems whose mutual information is known exactly.

The object all functions share is a pair (x_ND, y_ND) of N independent draws, row n of x with
row n of y. A problem knows its information in nats and its log density ratio
log p(x, y) / (p(x) p(y)), which is the optimal critic up to what each bound leaves free.

Letters: N, M = draws; D = dimensions of x, and of y.
Reference: [VBMI] Poole et al. 2019, arXiv:1905.06922, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sidle.errors import ArgumentError, ShapeError

# Noise of standard deviation exp(-nats) a dimension vanishes in float32 (epsilon 1.2e-7) below.
MOST_NATS_A_DIMENSION = 10.0


@dataclass(frozen=True)
class CorrelatedGaussians:
    """Standard normal x and y with correlation rho between x_d and y_d, and none else.

    I(X; Y) = -(D / 2) log(1 - rho^2).

    Attributes:
        dim: D, dimensions of x and of y, at least 1.
        nats: I(X; Y), in [0, 10 D]: with more, the noise that limits it is lost to float32.

    Raises:
        ArgumentError: ``dim`` or ``nats`` lies outside its range.
    """

    dim: int
    nats: float

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ArgumentError(f"CorrelatedGaussians: dim must be at least 1, got {self.dim}.")
        if not 0 <= self.nats <= MOST_NATS_A_DIMENSION * self.dim:
            raise ArgumentError(
                f"CorrelatedGaussians: nats must lie in [0, {MOST_NATS_A_DIMENSION:g} * dim], "
                f"got {self.nats} with dim {self.dim}. Use more dimensions."
            )

    @classmethod
    def from_correlation(cls, dim: int, correlation: float) -> CorrelatedGaussians:
        """Return the problem with this correlation, in [0, 1), between x_d and y_d.

        A negative correlation is the same problem with y mirrored.

        Raises:
            ArgumentError: ``correlation`` lies outside [0, 1), or is too close to 1.
        """
        if not 0 <= correlation < 1:
            raise ArgumentError(
                f"CorrelatedGaussians: correlation must lie in [0, 1), got {correlation}."
            )
        return cls(dim, -0.5 * dim * math.log1p(-(correlation**2)))

    @property
    def correlation(self) -> float:
        """Correlation rho between x_d and y_d, in [0, 1)."""
        return math.sqrt(-math.expm1(-2 * self.nats / self.dim))

    def sample(
        self, n: int, generator: torch.Generator, *, device: str | torch.device = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Draw n independent pairs.

        Args:
            n: at least 1.
            generator: the draws are made on its device, so that a generator on the CPU gives
                the same pairs on every device.
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
        y_ND = self.correlation * x_ND + self._noise * noise_ND
        return x_ND.to(device), y_ND.to(device)

    def log_ratio(self, x_ND: Tensor, y_MD: Tensor) -> Tensor:
        """Exact log p(x_n, y_m) / (p(x_n) p(y_m)) of every pair, in nats.

        Args:
            x_ND: shape (N, D), floating point.
            y_MD: shape (M, D), of the same dtype.

        Returns:
            Shape (N, M); its mean over joint draws is I(X; Y). Memory is O(N M + N D + M D).

        Raises:
            ShapeError: x_ND or y_MD is not a matrix with D columns.
        """
        for name, value in (("x_ND", x_ND), ("y_MD", y_MD)):
            if value.ndim != 2 or value.shape[1] != self.dim:
                raise ShapeError(
                    f"CorrelatedGaussians.log_ratio: {name} must have shape (rows, {self.dim}), "
                    f"got {tuple(value.shape)}."
                )
        # Per dimension: I/D - (y - rho x)^2 / (2 (1 - rho^2)) + y^2 / 2, multiplied out.
        rho, variance = self.correlation, self._noise**2
        squares_NM = x_ND.square().sum(1)[:, None] + y_MD.square().sum(1)
        products_NM = torch.einsum("nd,md->nm", x_ND, y_MD)
        return self.nats + (rho * products_NM - 0.5 * rho**2 * squares_NM) / variance

    @property
    def _noise(self) -> float:
        """Standard deviation of y_d given x_d, without the cancellation in 1 - rho^2."""
        return math.exp(-self.nats / self.dim)


@dataclass(frozen=True)
class Staircase:
    """Correlated Gaussians whose information rises in steps during training [VBMI, figure 2].

    Attributes:
        dim: dimensions of x and of y.
        levels: information of each stair in nats, at least one.
        steps_per_level: training steps on each stair, at least 1.

    Raises:
        ArgumentError: no levels, a level outside the range of `CorrelatedGaussians`, or no steps.
    """

    dim: int = 20
    levels: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    steps_per_level: int = 4000

    def __post_init__(self) -> None:
        if not self.levels or self.steps_per_level < 1:
            raise ArgumentError(
                "Staircase: expected at least one level and steps_per_level >= 1, got levels "
                f"{self.levels} and steps_per_level {self.steps_per_level}."
            )
        for nats in self.levels:
            CorrelatedGaussians(self.dim, nats)

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
        return CorrelatedGaussians(self.dim, self.levels[step // self.steps_per_level])
