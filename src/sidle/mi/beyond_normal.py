"""The 40 tasks of the benchmark Beyond Normal: known information, awkward distributions.

    x_ND, y_NE = BEYOND_NORMAL["wiggly-1v1-normal-0.75"].sample(2000, generator)

The object all functions share is a pair (x_ND, y_NE) of N independent draws, row n of x with row
n of y. A task is a base distribution followed by one-to-one maps of x and of y, which leave the
information alone. Every base has `nats`, its information I(X; Y); `draw(n, generator)`, which
returns n pairs in float64; and `log_ratio(x_ND, y_ME)`, the exact log density ratio of every
pair, shape (N, M), float64, in nats. Since the maps are one-to-one, the ratio of the base at its
draws is that of the task at the mapped ones.

Letters: N, M = draws; D, E = dimensions of x and of y.
Reference: [BN] Czyż, Grabowski, Vogt, Beerenwinkel, Marx 2023, "Beyond Normal: On the Evaluation
of Mutual Information Estimators", arXiv:2306.11078.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import ClassVar

import torch
from scipy.special import digamma, gammaln
from torch import Tensor

from sidle.errors import ArgumentError

Pair = tuple[Tensor, Tensor]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Normal:
    """Multivariate normal variables of mean 0 and variance 1.

    Attributes:
        dim_x: D.
        dim_y: E.
        correlation: of any two of the D + E variables, or of the pairs that `n_pairs` names.
        n_pairs: if given, only x_i and y_i with i < n_pairs are correlated.
    """

    dim_x: int
    dim_y: int
    correlation: float
    n_pairs: int | None = None

    @property
    def nats(self) -> float:
        """I(X; Y) = (log |S_xx| + log |S_yy| - log |S|) / 2, S being the covariance."""
        S, D = self._covariance(), self.dim_x
        return 0.5 * float(S[:D, :D].logdet() + S[D:, D:].logdet() - S.logdet())

    def draw(self, n: int, generator: torch.Generator) -> Pair:
        """Return n pairs, float64."""
        root = torch.linalg.cholesky(self._covariance()).to(generator.device)
        both = _normal(n, len(root), generator) @ root.T
        return both[:, : self.dim_x], both[:, self.dim_x :]

    def log_ratio(self, x_ND: Tensor, y_ME: Tensor) -> Tensor:
        """Return the log density ratio of every pair, (N, M), in nats."""
        S, D = self._covariance().to(x_ND.device), self.dim_x
        P = S.inverse()
        x_part_N = ((x_ND @ (P[:D, :D] - S[:D, :D].inverse())) * x_ND).sum(1)
        y_part_M = ((y_ME @ (P[D:, D:] - S[D:, D:].inverse())) * y_ME).sum(1)
        across_NM = x_ND @ P[:D, D:] @ y_ME.T
        return self.nats - 0.5 * (x_part_N[:, None] + y_part_M) - across_NM

    def _covariance(self) -> Tensor:
        size = self.dim_x + self.dim_y
        if self.n_pairs is None:
            S = torch.full((size, size), self.correlation, dtype=torch.float64)
        else:
            S = torch.zeros(size, size, dtype=torch.float64)
            x, y = torch.arange(self.n_pairs), self.dim_x + torch.arange(self.n_pairs)
            S[x, y] = S[y, x] = self.correlation
        return S.fill_diagonal_(1.0)


@dataclass(frozen=True)
class Student:
    """Multivariate Student t: D + E standard normal variables over one common random scale.

    The variables are uncorrelated, yet dependent through that scale.

    Attributes:
        dim_x: D.
        dim_y: E.
        dof: degrees of freedom, an integer of at least 1.
    """

    dim_x: int
    dim_y: int
    dof: int

    @property
    def nats(self) -> float:
        """I(X; Y) = h(D) + h(E) - h(D + E), h(k) being the entropy of k of the variables."""

        def entropy(k: int) -> float:
            half, whole = self.dof / 2, (self.dof + k) / 2
            log_volume = gammaln(half) - gammaln(whole) + k / 2 * math.log(self.dof * math.pi)
            return float(log_volume + whole * (digamma(whole) - digamma(half)))

        return entropy(self.dim_x) + entropy(self.dim_y) - entropy(self.dim_x + self.dim_y)

    def draw(self, n: int, generator: torch.Generator) -> Pair:
        """Return n pairs, float64."""
        normal = _normal(n, self.dim_x + self.dim_y, generator)
        chi_squared_N = _normal(n, self.dof, generator).square().sum(1)
        both = normal / (chi_squared_N / self.dof).sqrt()[:, None]
        return both[:, : self.dim_x], both[:, self.dim_x :]

    def log_ratio(self, x_ND: Tensor, y_ME: Tensor) -> Tensor:
        """Return the log density ratio of every pair, (N, M), in nats."""
        x_squares_N1, y_squares_M = x_ND.square().sum(1)[:, None], y_ME.square().sum(1)

        def log_density(k: int, squares: Tensor) -> Tensor:
            # Powers of (dof pi) cancel in the ratio and are left out.
            half, whole = self.dof / 2, (self.dof + k) / 2
            log_height = float(gammaln(whole) - gammaln(half))
            return log_height - whole * torch.log1p(squares / self.dof)

        return (
            log_density(self.dim_x + self.dim_y, x_squares_N1 + y_squares_M)
            - log_density(self.dim_x, x_squares_N1)
            - log_density(self.dim_y, y_squares_M)
        )


@dataclass(frozen=True)
class AdditiveUniform:
    """X uniform on (0, 1), and Y = X plus noise uniform on (-epsilon, epsilon).

    Attributes:
        epsilon: half the width of the noise, above 0.
    """

    dim_x: ClassVar[int] = 1
    dim_y: ClassVar[int] = 1

    epsilon: float

    @property
    def nats(self) -> float:
        """I(X; Y) = h(Y) - log(2 epsilon), Y having a trapezium for its density."""
        if self.epsilon <= 0.5:
            return self.epsilon - math.log(2 * self.epsilon)
        return 1 / (4 * self.epsilon)

    def draw(self, n: int, generator: torch.Generator) -> Pair:
        """Return n pairs, float64."""
        x_N1, noise_N1 = torch.rand(
            2, n, 1, generator=generator, device=generator.device, dtype=torch.float64
        )
        return x_N1, x_N1 + self.epsilon * (2 * noise_N1 - 1)

    def log_ratio(self, x_N1: Tensor, y_M1: Tensor) -> Tensor:
        """Return the log density ratio of every pair, (N, M), in nats; -inf where p(x, y) = 0."""
        # p(y) is the length of the x from which y can be reached, over 2 epsilon.
        low_M1, high_M1 = (y_M1 - self.epsilon).clamp(min=0), (y_M1 + self.epsilon).clamp(max=1)
        log_ratio_1M = -(high_M1 - low_M1).log().T
        possible_NM = (x_N1 - y_M1.T).abs() <= self.epsilon
        return torch.where(possible_NM, log_ratio_1M, -math.inf)


@dataclass(frozen=True)
class Task:
    """A benchmark task.

    Attributes:
        name: key in `BEYOND_NORMAL`, the name of [BN].
        title: name for people, likewise.
        base: where the information comes from.
        maps: pairs of one-to-one maps, of x and of y, applied in this order.
    """

    name: str
    title: str
    base: Normal | Student | AdditiveUniform
    maps: tuple[tuple[Map, Map], ...] = ()

    @property
    def dim_x(self) -> int:
        """D."""
        return self.mapped(*self._zeros())[0].shape[1]

    @property
    def dim_y(self) -> int:
        """E."""
        return self.mapped(*self._zeros())[1].shape[1]

    @property
    def nats(self) -> float:
        """I(X; Y), in nats, from a closed form."""
        return self.base.nats

    def sample(
        self, n: int, generator: torch.Generator, *, device: str | torch.device = "cpu"
    ) -> Pair:
        """Draw n independent pairs.

        Args:
            n: at least 1.
            generator: the draws are made on its device, so that a generator on the CPU gives
                the same pairs on every device. Tasks with one base make the same draws of it.
            device: where the pairs go.

        Returns:
            x_ND and y_NE, float32.

        Raises:
            ArgumentError: ``n`` is below 1.
        """
        if n < 1:
            raise ArgumentError(f"Task.sample: n must be at least 1, got {n}.")
        x_ND, y_NE = self.mapped(*self.base.draw(n, generator))
        return x_ND.float().to(device), y_NE.float().to(device)

    def mapped(self, x_ND: Tensor, y_NE: Tensor) -> Pair:
        """Return what the maps make of a draw of the base."""
        for map_x, map_y in self.maps:
            x_ND, y_NE = map_x(x_ND), map_y(y_NE)
        return x_ND, y_NE

    def _zeros(self) -> Pair:
        return torch.zeros(1, self.base.dim_x), torch.zeros(1, self.base.dim_y)


def identity(z_ND: Tensor) -> Tensor:
    """Return the argument."""
    return z_ND


def half_cube(z_ND: Tensor) -> Tensor:
    """Return the power 3/2 of each coordinate, its sign kept."""
    return z_ND * z_ND.abs().sqrt()


def wiggly_x(x_ND: Tensor) -> Tensor:
    """Return an increasing function of x with slopes between 0.16 and 1.84."""
    return x_ND + 0.4 * x_ND.sin() + 0.2 * (1.7 * x_ND + 1).sin() + 0.03 * (3.3 * x_ND - 2.5).sin()


def wiggly_y(y_NE: Tensor) -> Tensor:
    """Return an increasing function of y with slopes between 0.53 and 1.47."""
    first, second = 0.4 * (0.4 * y_NE).sin(), 0.17 * (1.3 * y_NE + 3.5).sin()
    return y_NE - first + second + 0.02 * (4.3 * y_NE - 2.5).sin()


def bimodal(z_ND: Tensor, weight: float, first: float, second: float) -> Tensor:
    """Return the variable that has a mixture's distribution where z is standard normal.

    Args:
        z_ND: any shape, float64.
        weight: of the first of two normal distributions of variance 1; the other has the rest.
        first: mean of the first.
        second: mean of the second.
    """
    probability_ND = torch.special.ndtr(z_ND)
    # Each component alone would put the answer at its mean plus z; the mixture's lies between.
    low_ND, high_ND = z_ND + min(first, second), z_ND + max(first, second)
    for _ in range(60):  # 6 / 2^60 is below the spacing of float64 numbers near 1
        middle_ND = (low_ND + high_ND) / 2
        reached_ND = weight * torch.special.ndtr(middle_ND - first)
        reached_ND = reached_ND + (1 - weight) * torch.special.ndtr(middle_ND - second)
        below_ND = reached_ND < probability_ND
        low_ND = torch.where(below_ND, middle_ND, low_ND)
        high_ND = torch.where(below_ND, high_ND, middle_ND)
    return (low_ND + high_ND) / 2


def swiss_roll(x_N1: Tensor) -> Tensor:
    """Roll the interval (0, 1) up in the plane; returns shape (N, 2)."""
    angle_N1 = 1.5 * math.pi * (1 + 2 * x_N1)
    return torch.cat([angle_N1 * angle_N1.cos(), angle_N1 * angle_N1.sin()], dim=1) / 21


def spiral(z_ND: Tensor, axis: int) -> Tensor:
    """Rotate coordinates ``axis`` and ``axis + 1`` by the mean square of all D of them."""
    angle_N = z_ND.square().mean(1)
    first_N, second_N = z_ND[:, axis], z_ND[:, axis + 1]
    out_ND = z_ND.clone()
    out_ND[:, axis] = angle_N.cos() * first_N - angle_N.sin() * second_N
    out_ND[:, axis + 1] = angle_N.sin() * first_N + angle_N.cos() * second_N
    return out_ND


def _normal(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Return standard normal draws, (n, size), float64."""
    return torch.randn(n, size, generator=generator, device=generator.device, dtype=torch.float64)


def _then(task: Task, name: str, title: str, map_x: Map, map_y: Map) -> Task:
    maps = (*task.maps, (map_x, map_y))
    return Task(f"{name}-{task.name}", f"{title} @ {task.title}", task.base, maps)


def _normal_cdf(task: Task) -> Task:
    return _then(task, "normal_cdf", "Normal CDF", torch.special.ndtr, torch.special.ndtr)


def _half_cube(task: Task) -> Task:
    return _then(task, "half_cube", "Half-cube", half_cube, half_cube)


def _asinh(task: Task) -> Task:
    return _then(task, "asinh", "Asinh", torch.asinh, torch.asinh)


def _spiral(task: Task) -> Task:
    return _then(task, "spiral", "Spiral", partial(spiral, axis=0), partial(spiral, axis=1))


def _student(dim: int, dof: int) -> Task:
    name, title = f"student-identity-{dim}-{dim}-{dof}", f"Student-t {dim} × {dim} (dof={dof})"
    return Task(name, title, Student(dim, dim, dof))


def _tasks() -> Iterator[Task]:
    """Yield the tasks in the order of [BN]."""
    normal = Task("1v1-normal-0.75", "Bivariate normal 1 × 1", Normal(1, 1, 0.75))
    yield normal
    yield _normal_cdf(normal)
    for epsilon in (0.1, 0.75):
        title = f"Uniform 1 × 1 (additive noise={epsilon})"
        yield Task(f"1v1-additive-{epsilon}", title, AdditiveUniform(epsilon))
    bimodal_x = partial(bimodal, weight=0.3, first=0.0, second=5.0)
    bimodal_y = partial(bimodal, weight=0.5, first=-1.0, second=3.0)
    yield Task("1v1-bimodal-0.75", "Bimodal 1 × 1", normal.base, ((bimodal_x, bimodal_y),))
    yield _then(normal, "wiggly", "Wiggly", wiggly_x, wiggly_y)
    yield _half_cube(normal)
    yield _student(1, 1)
    yield _asinh(_student(1, 1))
    rolled = _then(_normal_cdf(normal), "swissroll_x", "Swiss roll", swiss_roll, identity)
    yield replace(rolled, title="Swiss roll 2 × 1")
    for dim in (2, 3, 5, 25, 50):
        title = f"Multinormal {dim} × {dim} (dense)"
        yield Task(f"multinormal-dense-{dim}-{dim}-0.5", title, Normal(dim, dim, 0.5))
    sparse = {
        dim: Task(
            f"multinormal-sparse-{dim}-{dim}-2-2.0",
            f"Multinormal {dim} × {dim} (2-pair)",
            # x_i and y_i share a signal of strength 2 below noise of strength 1: 2^2 / (2^2 + 1).
            Normal(dim, dim, 0.8, n_pairs=2),
        )
        for dim in (2, 3, 5, 25)
    }
    yield from sparse.values()
    for dim, dof in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3)):
        yield _student(dim, dof)
    wider = [sparse[dim] for dim in (3, 5, 25)]
    yield from map(_normal_cdf, wider)
    yield from map(_half_cube, wider)
    yield from map(_spiral, wider)
    yield from map(_spiral, map(_normal_cdf, wider))
    for dim, dof in ((2, 1), (3, 2), (5, 2)):
        yield _asinh(_student(dim, dof))


BEYOND_NORMAL: Mapping[str, Task] = MappingProxyType({task.name: task for task in _tasks()})
