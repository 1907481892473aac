"""Problems know their truth: against closed forms, torch's distributions, and their own draws."""

import math

import pytest
import torch
from torch.distributions import (
    Independent,
    MultivariateNormal,
    Normal,
    PowerTransform,
)

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi import problems
from sidle.mi.problems import CorrelatedGaussians, Staircase

every_transform = pytest.mark.parametrize("transform", ["none", "cubic", "full-rank-cubic"])
TRANSFORMED = ["cubic", "full-rank-cubic"]


def mixing(dim):
    return torch.from_numpy(problems._mixing(dim))


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.5), (5, 2.0), (20, 10.0), (3, 0.0)])
def test_correlation_gives_the_closed_form_information(dim, nats):
    problem = CorrelatedGaussians(dim, nats)
    rho = problem.correlation
    assert -dim / 2 * math.log(1 - rho**2) == pytest.approx(nats)
    assert CorrelatedGaussians.from_correlation(dim, rho).nats == pytest.approx(nats)


def test_draws_have_unit_variance_and_the_stated_correlation():
    problem, n = CorrelatedGaussians(2, 1.0), 100_000
    x_ND, y_ND = problem.sample(n, seeding.torch_generator(0))
    covariance = torch.cov(torch.cat([x_ND, y_ND], dim=1).T.double())
    expected = torch.eye(4, dtype=torch.float64)
    for d in range(2):
        expected[d, d + 2] = expected[d + 2, d] = problem.correlation
    # The standard error of an empirical covariance of unit variables is at most sqrt(2 / n).
    torch.testing.assert_close(covariance, expected, atol=4 * math.sqrt(2 / n), rtol=0)


@every_transform
@pytest.mark.parametrize(("dim", "nats"), [(1, 0.5), (5, 2.0), (20, 10.0), (1, 10.0), (5, 50.0)])
def test_mean_log_ratio_of_draws_is_the_information(dim, nats, transform):
    # 10 nats a dimension are the limit: float32 arithmetic on float32 draws would miss by far.
    problem = CorrelatedGaussians(dim, nats, transform)
    x_ND, y_ND = problem.sample(2000, seeding.torch_generator(0))
    ratios = problem.log_ratio(x_ND, y_ND).diagonal()
    assert ratios.mean().item() == pytest.approx(nats, abs=4 * ratios.std().item() / 2000**0.5)
    assert ratios.var().item() == pytest.approx(problem.correlation**2 * dim, rel=0.2)


@every_transform
@pytest.mark.parametrize("dim", [1, 2, 20])
def test_every_transform_draws_the_same_x_and_hides_the_same_z(dim, transform):
    problem = CorrelatedGaussians(dim, 0.5 * dim, transform)
    x_ND, z_ND = CorrelatedGaussians(dim, 0.5 * dim).sample(50, seeding.torch_generator(0))
    same_ND, y_ND = problem.sample(50, seeding.torch_generator(0))
    assert torch.equal(x_ND, same_ND)
    assert y_ND.dtype == torch.float32
    mixed_ND = z_ND.double()
    if transform == "full-rank-cubic":
        mixed_ND = torch.stack([mixing(dim) @ z_D for z_D in mixed_ND])
    if transform != "none":
        mixed_ND = mixed_ND * mixed_ND * mixed_ND
    # float32 keeps seven digits of each coordinate.
    torch.testing.assert_close(y_ND.double(), mixed_ND, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 20])
def test_mixing_is_invertible_and_touches_every_coordinate(dim):
    W = mixing(dim)
    torch.testing.assert_close(W @ W.T, torch.eye(dim, dtype=torch.float64))
    assert (W != 0).all()


def test_mixing_is_part_of_the_problem():
    # Another matrix would be another problem, and change what was measured on it.
    expected = torch.tensor([-0.87895085, 0.45279698, -0.14973407], dtype=torch.float64)
    torch.testing.assert_close(mixing(3)[0], expected, rtol=0, atol=1e-8)


@every_transform
@pytest.mark.parametrize(("dim", "nats"), [(1, 0.0), (1, 2.0), (3, 0.5), (4, 12.0)])
def test_densities_match_those_of_torch(dim, nats, transform):
    problem = CorrelatedGaussians(dim, nats, transform)
    generator = seeding.torch_generator(0)
    x_ND = torch.randn(6, dim, generator=generator, dtype=torch.float64)
    u_MD = torch.randn(4, dim, generator=generator, dtype=torch.float64)
    eye, W = torch.eye(dim, dtype=torch.float64), mixing(dim)
    if transform != "full-rank-cubic":
        W = eye

    def log_density(mean_D, covariance_DD):
        # torch's cube is defined on positive numbers only; its slope depends on the size alone.
        normal_u = MultivariateNormal(W @ mean_D, W @ covariance_DD @ W.T)
        if transform == "none":
            return normal_u.log_prob(u_MD)
        stretch = PowerTransform(torch.tensor(3.0, dtype=torch.float64))
        sizes = u_MD.abs()
        log_slope_MD = stretch.log_abs_det_jacobian(sizes, stretch(sizes))
        return normal_u.log_prob(u_MD) - log_slope_MD.sum(1)

    y_MD = u_MD if transform == "none" else u_MD**3
    zero_D = torch.zeros(dim, dtype=torch.float64)
    marginal_M = log_density(zero_D, eye)
    conditional_NM = torch.stack(
        [log_density(problem.correlation * x_D, math.exp(-2 * nats / dim) * eye) for x_D in x_ND]
    )
    torch.testing.assert_close(problem.log_marginal(y_MD), marginal_M)
    torch.testing.assert_close(problem.log_conditional(x_ND, y_MD), conditional_NM)
    torch.testing.assert_close(problem.log_ratio(x_ND, y_MD), conditional_NM - marginal_M)


@pytest.mark.parametrize("transform", TRANSFORMED)
def test_transformed_marginal_is_a_density(transform):
    problem = CorrelatedGaussians(1, 0.5, transform)
    # Integrated over u, the cube root of y: dy = 3 u^2 du. The offset keeps u off 0.
    u_M1 = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None] + 1e-9
    mass = problem.log_marginal(u_M1**3).exp() * 3 * u_M1[:, 0] ** 2
    assert torch.trapezoid(mass, u_M1[:, 0]).item() == pytest.approx(1.0, abs=1e-9)


@every_transform
@pytest.mark.parametrize("dim", [1, 7])
def test_entropy_is_minus_the_mean_log_marginal(dim, transform):
    problem, n = CorrelatedGaussians(dim, 1.0, transform), 100_000
    _, y_ND = problem.sample(n, seeding.torch_generator(0))
    surprise_N = -problem.log_marginal(y_ND)
    error = surprise_N.std().item() / math.sqrt(n)
    assert problem.entropy_y == pytest.approx(surprise_N.mean().item(), abs=4 * error)
    if transform == "none":
        standard = Independent(Normal(torch.zeros(dim), 1.0), 1)
        assert problem.entropy_y == pytest.approx(standard.entropy().item(), rel=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMED)
def test_a_coordinate_of_zero_has_infinite_density_and_a_finite_ratio(transform):
    problem, x_ND, y_MD = CorrelatedGaussians(3, 1.0, transform), torch.ones(2, 3), torch.eye(3)
    assert problem.log_marginal(y_MD).isposinf().all()
    assert problem.log_conditional(x_ND, y_MD).isposinf().all()
    assert problem.log_ratio(x_ND, y_MD).isfinite().all()


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.0), (1, 2.0), (3, 0.5), (4, 12.0)])
def test_log_ratio_matches_densities_of_torch(dim, nats):
    problem = CorrelatedGaussians(dim, nats)
    generator = seeding.torch_generator(0)
    x_ND = torch.randn(6, dim, generator=generator, dtype=torch.float64)
    y_MD = torch.randn(4, dim, generator=generator, dtype=torch.float64)
    eye = torch.eye(dim, dtype=torch.float64)
    across = problem.correlation * eye
    joint = MultivariateNormal(
        torch.zeros(2 * dim, dtype=torch.float64),
        torch.cat([torch.cat([eye, across], 1), torch.cat([across, eye], 1)]),
    )
    marginal = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    for i, x_D in enumerate(x_ND):
        for j, y_D in enumerate(y_MD):
            expected = joint.log_prob(torch.cat([x_D, y_D]))
            expected -= marginal.log_prob(x_D).sum() + marginal.log_prob(y_D).sum()
            torch.testing.assert_close(problem.log_ratio(x_ND, y_MD)[i, j], expected)


def test_log_ratio_never_holds_all_pairs_and_dimensions_at_once():
    problem, n = CorrelatedGaussians(2000, 100.0), 2000
    x_ND, y_ND = problem.sample(n, seeding.torch_generator(0))
    assert problem.log_ratio(x_ND, y_ND).shape == (n, n)  # (n, n, dim) would take 32 GB


def test_generator_decides_the_draws():
    problem = CorrelatedGaussians(3, 1.0)
    first = problem.sample(10, seeding.torch_generator(0))
    again = problem.sample(10, seeding.torch_generator(0))
    other = problem.sample(10, seeding.torch_generator(1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("dim", "nats", "said"),
    [
        (0, 1.0, "dim"),
        (1, -0.1, "nats"),
        (1, math.inf, "nats"),
        (1, math.nan, "nats"),
        (2, 20.1, "more dimensions"),
    ],
)
def test_gaussians_reject_what_has_no_meaning(dim, nats, said):
    with pytest.raises(ArgumentError, match=said):
        CorrelatedGaussians(dim, nats)


@pytest.mark.parametrize("correlation", [-0.1, 1.0, math.nan])
def test_gaussians_reject_correlations_out_of_range(correlation):
    with pytest.raises(ArgumentError, match=r"correlation must lie in \[0, 1\)"):
        CorrelatedGaussians.from_correlation(1, correlation)


def test_gaussians_reject_wrong_draws():
    problem = CorrelatedGaussians(3, 1.0)
    with pytest.raises(ArgumentError, match="n must be at least 1"):
        problem.sample(0, seeding.torch_generator(0))
    for function in (problem.log_ratio, problem.log_conditional):
        name = f"CorrelatedGaussians.{function.__name__}"
        with pytest.raises(ShapeError, match=rf"{name}: y_MD must have shape \(rows, 3\), got"):
            function(torch.zeros(4, 3), torch.zeros(5, 2))
        with pytest.raises(ShapeError, match=rf"{name}: x_ND must have shape .* got \(4, 2\)"):
            function(torch.zeros(4, 2), torch.zeros(5, 3))
    with pytest.raises(ShapeError, match=r"log_marginal: y_MD must have shape .* got \(3,\)"):
        problem.log_marginal(torch.zeros(3))


def test_unknown_transforms_are_named():
    with pytest.raises(ArgumentError, match=r"one of none, cubic, .*'square'"):
        CorrelatedGaussians(3, 1.0, "square")
    with pytest.raises(ArgumentError, match="'square'"):
        Staircase(transform="square")


def test_staircase_climbs_at_the_stated_steps():
    staircase = Staircase(dim=4, levels=(1.0, 3.0), steps_per_level=10)
    assert staircase.n_steps == 20
    assert [staircase.at(step).nats for step in (0, 9, 10, 19)] == [1.0, 1.0, 3.0, 3.0]
    assert staircase.at(0).dim == 4


def test_default_staircase_is_the_papers():
    staircase = Staircase()
    assert staircase.n_steps == 20_000
    assert staircase.at(8000) == CorrelatedGaussians(20, 6.0)


def test_staircase_transforms_every_stair():
    staircase = Staircase(4, (1.0, 3.0), 10, "full-rank-cubic")
    assert staircase.at(0) == CorrelatedGaussians(4, 1.0, "full-rank-cubic")
    assert staircase.at(19) == CorrelatedGaussians(4, 3.0, "full-rank-cubic")
    assert staircase.at(0) != Staircase(4, (1.0, 3.0), 10).at(0)


@every_transform
def test_from_correlation_keeps_the_transform(transform):
    problem = CorrelatedGaussians.from_correlation(2, 0.5, transform)
    assert problem == CorrelatedGaussians(2, -math.log(0.75), transform)


def test_staircase_rejects_what_has_no_meaning():
    with pytest.raises(ArgumentError, match="at least one level"):
        Staircase(levels=())
    with pytest.raises(ArgumentError, match="steps_per_level"):
        Staircase(steps_per_level=0)
    with pytest.raises(ArgumentError, match="nats must lie"):
        Staircase(dim=1, levels=(2.0, 40.0))
    for step in (-1, 20_000):
        with pytest.raises(ArgumentError, match=r"step must lie in \[0, 20000\)"):
            Staircase().at(step)
