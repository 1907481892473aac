"""Problems know their truth: against closed forms, torch's distributions, and their own draws."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.mi.problems import CorrelatedGaussians, Staircase


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


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.5), (5, 2.0), (20, 10.0)])
def test_mean_log_ratio_of_draws_is_the_information(dim, nats):
    problem = CorrelatedGaussians(dim, nats)
    x_ND, y_ND = problem.sample(2000, seeding.torch_generator(0))
    ratios = problem.log_ratio(x_ND, y_ND).diagonal().double()
    assert ratios.mean().item() == pytest.approx(nats, abs=4 * ratios.std().item() / 2000**0.5)


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
    with pytest.raises(ShapeError, match=r"y_MD must have shape \(rows, 3\), got \(5, 2\)"):
        problem.log_ratio(torch.zeros(4, 3), torch.zeros(5, 2))


def test_staircase_climbs_at_the_stated_steps():
    staircase = Staircase(dim=4, levels=(1.0, 3.0), steps_per_level=10)
    assert staircase.n_steps == 20
    assert [staircase.at(step).nats for step in (0, 9, 10, 19)] == [1.0, 1.0, 3.0, 3.0]
    assert staircase.at(0).dim == 4


def test_default_staircase_is_the_papers():
    staircase = Staircase()
    assert staircase.n_steps == 20_000
    assert staircase.at(8000) == CorrelatedGaussians(20, 6.0)


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
