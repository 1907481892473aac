"""Densities, divergences and draws of every family agree with each other and with SciPy."""

import math

import pytest
import torch
from scipy import stats
from scipy.special import ive
from torch.distributions import MultivariateNormal

from sidle.ceb import MixtureMarginal, families
from sidle.errors import ArgumentError

MADE = {
    "identity": lambda: families.Identity(4),
    "diagonal": lambda: families.Diagonal(4),
    "full": lambda: families.FullCovariance(4),
    "von-mises-fisher": lambda: families.VonMisesFisher(4, 3.0),
    "von-mises-fisher in a plane": lambda: families.VonMisesFisher(2, 7.0),
}


@pytest.fixture(params=MADE, ids=list(MADE))
def family(request):
    return MADE[request.param]().double()


def statistics(family, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, family.n_statistics, generator=generator, dtype=torch.float64)


def drawn(family, of, n, seed=1):
    return family.draw(of, n, torch.Generator().manual_seed(seed))


def normal(family, of):
    """The distribution by torch, of one row of statistics of a normal family."""
    mean = of[: family.dim]
    if family.name == "identity":
        return MultivariateNormal(mean, torch.eye(family.dim, dtype=torch.float64))
    if family.name == "diagonal":
        deviation = families._deviation(of[family.dim :])
        return MultivariateNormal(mean, scale_tril=deviation.diag())
    triangle = torch.zeros(family.dim, family.dim, dtype=torch.float64)
    rows, columns = torch.tril_indices(family.dim, family.dim)
    triangle[rows, columns] = of[family.dim :]
    triangle.diagonal().copy_(families._deviation(triangle.diagonal().clone()))
    return MultivariateNormal(mean, scale_tril=triangle)


@pytest.mark.parametrize("name", ["identity", "diagonal", "full"])
def test_normal_families_have_the_densities_and_divergences_of_torch(name):
    family = families.find(name, 4).double()
    p, q = statistics(family, 2)
    z = drawn(family, p, 5)
    torch.testing.assert_close(family.log_density(z, p), normal(family, p).log_prob(z))
    torch.testing.assert_close(
        family.divergence(p, q),
        torch.distributions.kl_divergence(normal(family, p), normal(family, q)),
    )
    torch.testing.assert_close(family.mean(p), normal(family, p).mean)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.5), (3, 4.0), (10, 25.0)])
def test_von_mises_fisher_has_the_density_of_scipy(dim, concentration):
    family = families.VonMisesFisher(dim, concentration)
    mu = statistics(family, 1)[0]
    z = torch.nn.functional.normalize(statistics(family, 6, seed=3), dim=-1)
    expected = stats.vonmises_fisher((mu / mu.norm()).numpy(), concentration).logpdf(z.numpy())
    torch.testing.assert_close(family.log_density(z, mu), torch.from_numpy(expected))
    ratio = ive(dim / 2, concentration) / ive(dim / 2 - 1, concentration)
    assert family.mean_cosine == pytest.approx(ratio, rel=1e-9)


def test_a_narrow_distribution_in_many_dimensions_keeps_finite_numbers():
    family = families.VonMisesFisher(512)
    mu = statistics(family, 3)
    z = drawn(family, mu, 200)
    assert torch.isfinite(family.log_density(z, mu)).all()
    cosines = (z * family.mean(mu)).sum(-1)
    error = cosines.std() / math.sqrt(cosines.numel())
    assert abs(float(cosines.mean()) - family.mean_cosine) < 4 * float(error)


def test_densities_of_all_pairs_are_those_of_each_pair(family):
    p, q = statistics(family, 3), statistics(family, 5, seed=2)
    z = drawn(family, p, 2)
    each = family.log_density(z[:, :, None], q)
    torch.testing.assert_close(family.log_densities(z, q), each)
    pairs = family.divergences(p, q)
    torch.testing.assert_close(pairs, family.divergence(p[:, None], q))
    assert (pairs > 0).all()
    torch.testing.assert_close(
        family.divergence(p, p), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_residual_information_by_draws_is_the_closed_form_within_its_error(family):
    p, q = statistics(family, 2, seed=4)
    z = drawn(family, p, 40_000)
    each = family.log_density(z, p) - family.log_density(z, q)
    error = float(each.std()) / math.sqrt(len(each))
    assert abs(float(each.mean() - family.divergence(p, q))) < 4 * error
    assert error < 0.2


def test_densities_integrate_to_one():
    for family in (families.Diagonal(2).double(), families.FullCovariance(2).double()):
        of = statistics(family, 1, seed=5)[0]
        axis = torch.linspace(-9, 9, 721, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        total = family.log_density(grid, of).exp().sum() * (axis[1] - axis[0]) ** 2
        assert float(total) == pytest.approx(1, abs=1e-4)
    circle = families.VonMisesFisher(2, 5.0).double()
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:-1]
    on_it = torch.stack([angle.cos(), angle.sin()], -1)
    density = circle.log_density(on_it, statistics(circle, 1)[0]).exp()
    assert float(density.mean() * 2 * math.pi) == pytest.approx(1, abs=1e-9)


def test_draws_have_gradients_of_their_statistics(family):
    of = statistics(family, 1, seed=6)[0].requires_grad_()
    weight = torch.linspace(-1, 1, family.dim, dtype=torch.float64)

    def expectation(given):
        return (drawn(family, given, 64, seed=7) @ weight).mean()

    (gradient,) = torch.autograd.grad(expectation(of), of)
    steps = 1e-6 * torch.eye(len(of), dtype=torch.float64)
    with torch.no_grad():
        slopes = [(expectation(of + h) - expectation(of - h)) / 2e-6 for h in steps]
    torch.testing.assert_close(gradient, torch.stack(slopes), atol=1e-6, rtol=1e-5)


def test_same_generator_same_draws_and_no_other_one_is_touched(family):
    state = torch.get_rng_state()
    of = statistics(family, 2)
    assert torch.equal(drawn(family, of, 3), drawn(family, of, 3))
    assert not torch.equal(drawn(family, of, 3), drawn(family, of, 3, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


def test_families_are_found_by_name_and_misfits_refused():
    assert families.find("full", 3).n_statistics == 9
    own = families.Identity(3)
    assert families.find(own, 3) is own
    for family, dim, says in (
        ("normal", 3, "identity, diagonal"),
        (own, 4, "4 dimensions"),
        ("full", 129, "at most 128"),
        ("identity", 0, "at least 1"),
        ("von-mises-fisher", 1, "at least 2"),
    ):
        with pytest.raises(ArgumentError, match=says):
            families.find(family, dim)


@pytest.mark.parametrize("name", ["identity", "diagonal", "full", "von-mises-fisher"])
def test_densities_of_pairs_keep_their_digits_far_out_and_with_small_deviations(name):
    family = families.find(name, 4)
    statistics = torch.zeros(6, family.n_statistics)
    statistics[:, :4] = 30 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    if name == "diagonal":
        statistics[:, 4:] = -4.0
    if name == "full":
        statistics[:, 4 + family.rows_T.eq(family.columns_T).nonzero()[:, 0]] = -4.0
    z = family.draw(statistics, 1, torch.Generator().manual_seed(1))[0]
    row_by_row = family.log_density(z, statistics)
    close = {"atol": 2e-3, "rtol": 1e-4}
    torch.testing.assert_close(family.log_densities(z, statistics).diagonal(), row_by_row, **close)
    torch.testing.assert_close(
        family.divergences(statistics, statistics).diagonal(), torch.zeros(6), **close
    )
    marginal = MixtureMarginal(family, 1)
    for one, own, wanted in zip(z, statistics, row_by_row, strict=True):
        marginal.statistics_KP.data[0] = own
        found = marginal.log_density(one[None])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found[0], wanted, **close)
