"""Benchmark tasks: their truth against closed forms, their draws against the benchmark's own."""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.mi import beyond_normal
from sidle.mi.beyond_normal import BEYOND_NORMAL, AdditiveUniform, Normal, Student

DATA = [Path(part) for part in os.environ.get("SIDLE_DATA", "").split(os.pathsep) if part]
FOLDER = next((f / "mi_benchmark" for f in DATA if (f / "mi_benchmark").is_dir()), None)
needs_data = pytest.mark.skipif(FOLDER is None, reason="needs mi_benchmark in SIDLE_DATA")
every_task = pytest.mark.parametrize("name", BEYOND_NORMAL)
every_base = pytest.mark.parametrize(
    "base", dict.fromkeys(task.base for task in BEYOND_NORMAL.values()), ids=repr
)
# Float32 values rounded differently; where the benchmark's own arithmetic was float32 throughout,
# its bisection and its matrix exponential are worse.
ROUNDING = {
    "1v1-bimodal-0.75": 1e-3,
    "spiral-multinormal-sparse-3-3-2-2.0": 5e-4,
    "spiral-multinormal-sparse-5-5-2-2.0": 5e-5,
}
P_VALUE = 0.01  # below it, `two_sample_p_value` rejects; 999 permutations can reach 0.002


@cache
def reference():
    tasks = json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))["tasks"]
    return {task["name"]: task for task in tasks}


def drawn_by_the_benchmark(name):
    with np.load(FOLDER / "samples_seed0_n2000.npz") as samples:
        pair = samples[f"{name}__x"], samples[f"{name}__y"]
    return tuple(torch.from_numpy(part) for part in pair)


def two_sample_p_value(pair, other_pair, *, n_permutations=999, n_energy=500):
    """Smallest p-value of many tests that two samples of (x, y) have one distribution, at most 1.

    With Bonferroni's correction for their number. The columns are all coordinates of x and y, and
    the norms of x and of y. The tests are:

    - Kolmogorov-Smirnov on each column;
    - Welch's t-test on the log norms (heavy tails);
    - Welch's t-test on the squared sum and difference of the normal scores of many two columns
      (correlations, a shared scale);
    - energy distance of all normal scores, with permutations (everything else, if it is large).

    Normal scores come from ranks among both samples together, so that no moment need exist.
    """
    N, D = pair[0].shape
    x, y = (np.concatenate(parts) for parts in zip(pair, other_pair, strict=True))
    norms = np.stack([np.linalg.norm(part, axis=1) for part in (x, y)], axis=1)
    columns = np.concatenate([x, y, norms], axis=1)
    K = columns.shape[1]
    scores = stats.norm.ppf(stats.rankdata(columns, axis=0) / (len(columns) + 1))
    # Neighbours, x_i with y_i and y_i+1, and everything with both norms.
    pairs = [(i, j) for j in range(K) for i in range(j) if j - i in (1, D, D + 1) or j >= K - 2]
    i, j = np.array(pairs).T
    means = np.concatenate(
        [np.log(norms), (scores[:, i] - scores[:, j]) ** 2, (scores[:, i] + scores[:, j]) ** 2],
        axis=1,
    )
    p_values = np.concatenate(
        [
            [stats.ks_2samp(c[:N], c[N:], method="asymp").pvalue for c in columns.T],
            stats.ttest_ind(means[:N], means[N:], equal_var=False).pvalue,
        ]
    )
    p_values[np.isnan(p_values)] = 1.0  # x - |x| of a positive x

    # Energy distance is a quadratic form in labels, +1 for one sample and -1 for the other.
    # Permuting the labels is then one matrix product for all permutations.
    rows = np.concatenate([scores[:n_energy], scores[N : N + n_energy]])
    distances = cdist(rows, rows).astype(np.float32)
    labels = np.repeat(np.float32([1, -1]), n_energy)
    generator = np.random.default_rng(0)
    signs = np.stack([labels, *(generator.permutation(labels) for _ in range(n_permutations))])
    energies = -((signs @ distances) * signs).sum(1)
    energy_p_value = (energies >= energies[0]).mean()  # at least 1 / (1 + n_permutations)
    # Half of the error probability for the permutations, half for all other tests together.
    return min(1.0, 2 * min(len(p_values) * p_values.min(), energy_p_value))


@needs_data
def test_tasks_are_those_of_the_benchmark_in_its_order():
    assert list(BEYOND_NORMAL) == list(reference())
    assert len(BEYOND_NORMAL) == 40


@needs_data
@every_task
def test_truth_is_that_of_the_benchmark(name):
    task, expected = BEYOND_NORMAL[name], reference()[name]
    assert (task.name, task.title) == (name, expected["title"])
    assert (task.dim_x, task.dim_y) == (expected["dim_x"], expected["dim_y"])
    assert task.nats == pytest.approx(expected["mi_nats"], abs=1e-12)
    # The package itself computes one of the values in float32.
    assert task.nats == pytest.approx(expected["mi_nats_package"], abs=1e-7)


@needs_data
@every_task
def test_maps_of_the_benchmarks_base_draws_are_its_draws(name):
    task, base = BEYOND_NORMAL[name], BEYOND_NORMAL[reference()[name]["base_task"]]
    assert task.base == base.base
    assert not base.maps
    found = task.mapped(*(part.double() for part in drawn_by_the_benchmark(base.name)))
    tolerance = ROUNDING.get(name, 1e-6)
    for part, expected in zip(found, drawn_by_the_benchmark(name), strict=True):
        torch.testing.assert_close(part, expected.double(), rtol=tolerance, atol=tolerance)


@needs_data
@every_task
def test_mean_log_ratio_of_the_benchmarks_draws_is_its_own(name):
    expected = reference()[name]
    pair = drawn_by_the_benchmark(expected["base_task"])
    ratios_N = BEYOND_NORMAL[name].base.log_ratio(*(part.double() for part in pair)).diagonal()
    stated = expected["reference"]["oracle_mean_pmi"]
    assert ratios_N.mean().item() == pytest.approx(stated, abs=6e-7)  # it has six decimals


@needs_data
@every_task
def test_draws_have_the_benchmarks_distribution(name):
    ours = BEYOND_NORMAL[name].sample(2000, seeding.torch_generator(0))
    assert two_sample_p_value(ours, drawn_by_the_benchmark(name)) > P_VALUE


def without_last_map(name):
    task = BEYOND_NORMAL[name]
    return replace(task, maps=task.maps[:-1])


def with_base(name, base):
    return replace(BEYOND_NORMAL[name], base=base)


def with_maps(name, *maps):
    return replace(BEYOND_NORMAL[name], maps=maps)


SPIRAL, ROLL = "spiral-multinormal-sparse-25-25-2-2.0", "swissroll_x-normal_cdf-1v1-normal-0.75"
WRONG = [
    with_base("1v1-normal-0.75", Normal(1, 1, 0.68)),
    with_base("1v1-normal-0.75", Normal(1, 1, -0.75)),
    with_base("multinormal-dense-2-2-0.5", Normal(2, 2, 0.40)),
    with_base("multinormal-dense-50-50-0.5", Normal(50, 50, 0.45)),
    with_base("multinormal-sparse-5-5-2-2.0", Normal(5, 5, 0.74, n_pairs=2)),
    with_base("multinormal-sparse-25-25-2-2.0", Normal(25, 25, 0.8, n_pairs=1)),
    with_base("multinormal-sparse-25-25-2-2.0", Normal(25, 25, 0.8, n_pairs=3)),
    with_base("half_cube-multinormal-sparse-25-25-2-2.0", Normal(25, 25, 0.8, n_pairs=3)),
    with_base("1v1-additive-0.1", AdditiveUniform(0.12)),
    with_base("1v1-additive-0.75", AdditiveUniform(0.9)),
    with_base("student-identity-1-1-1", Student(1, 1, 2)),
    with_base("student-identity-2-2-2", Student(2, 2, 3)),
    with_base("student-identity-5-5-3", Student(5, 5, 2)),
    with_base("asinh-student-identity-5-5-2", Student(5, 5, 3)),
    with_base(ROLL, Normal(1, 1, 0.65)),
    with_maps("1v1-bimodal-0.75", tuple(reversed(BEYOND_NORMAL["1v1-bimodal-0.75"].maps[0]))),
    with_maps("wiggly-1v1-normal-0.75", (beyond_normal.wiggly_x, beyond_normal.wiggly_x)),
    with_maps(SPIRAL, tuple(reversed(BEYOND_NORMAL[SPIRAL].maps[0]))),
    *(without_last_map(name) for name, task in BEYOND_NORMAL.items() if task.maps and name != ROLL),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda task: f"{task.name}-{task.base}")
def test_two_sample_test_has_power(wrong):
    ours = wrong.sample(2000, seeding.torch_generator(0))
    right = BEYOND_NORMAL[wrong.name].sample(2000, seeding.torch_generator(1))
    assert two_sample_p_value(ours, right) < P_VALUE


@every_task
def test_two_sample_test_sees_that_pairs_belong_together(name):
    x_ND, y_NE = BEYOND_NORMAL[name].sample(2000, seeding.torch_generator(0))
    right = BEYOND_NORMAL[name].sample(2000, seeding.torch_generator(1))
    assert two_sample_p_value((x_ND, y_NE.roll(1, 0)), right) < P_VALUE


@every_base
def test_mean_log_ratio_of_draws_is_the_information(base):
    ratios_N = base.log_ratio(*base.draw(2000, seeding.torch_generator(0))).diagonal()
    error = ratios_N.std().item() / 2000**0.5
    assert base.nats == pytest.approx(ratios_N.mean().item(), abs=4 * error)
    assert error < 0.05


def log_densities(base, points):
    """Log densities by scipy of rows of the variables that the columns of ``points`` stand for."""
    size = points.shape[1]
    if isinstance(base, Student):
        return stats.multivariate_t(np.zeros(size), np.eye(size), base.dof).logpdf(points)
    return stats.multivariate_normal(np.zeros(size), base._covariance()[:size, :size]).logpdf(
        points
    )


@pytest.mark.parametrize(
    "base", [Normal(1, 1, 0.75), Normal(3, 2, 0.5), Student(1, 1, 1), Student(3, 2, 3)], ids=repr
)
def test_log_ratio_matches_densities_of_scipy(base):
    x_ND, y_ME = (
        base.draw(4, seeding.torch_generator(0))[0],
        base.draw(6, seeding.torch_generator(1))[1],
    )
    for n, x_D in enumerate(x_ND.numpy()):
        for m, y_E in enumerate(y_ME.numpy()):
            expected = log_densities(base, np.concatenate([x_D, y_E])[None])
            # All variables of these bases are alike, so that y has the density of as many x.
            expected = expected - log_densities(base, x_D[None]) - log_densities(base, y_E[None])
            found = base.log_ratio(x_ND, y_ME)[n, m].item()
            assert found == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


def test_only_the_named_pairs_are_correlated():
    base = Normal(3, 4, 0.8, n_pairs=2)
    x_ND, y_NE = base.draw(20_000, seeding.torch_generator(0))
    expected = torch.eye(7, dtype=torch.float64)
    for i in range(2):
        expected[i, 3 + i] = expected[3 + i, i] = 0.8
    found = torch.cov(torch.cat([x_ND, y_NE], dim=1).T)
    # The standard error of an empirical covariance of unit variables is at most sqrt(2 / n).
    torch.testing.assert_close(found, expected, atol=4 * (2 / 20_000) ** 0.5, rtol=0)
    assert base.nats == pytest.approx(-np.log(1 - 0.8**2))


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.75])
def test_additive_noise_has_the_log_ratio_of_its_trapezium(epsilon):
    base = AdditiveUniform(epsilon)
    x_N1 = torch.tensor([[0.02], [0.4], [0.97]], dtype=torch.float64)
    y_M1 = torch.linspace(-epsilon, 1 + epsilon, 400, dtype=torch.float64)[1:-1, None]
    top = sorted((1 / (1 + 2 * epsilon), 2 * epsilon / (1 + 2 * epsilon)))
    trapezium = stats.trapezoid(*top, loc=-epsilon, scale=1 + 2 * epsilon)
    expected_1M = -np.log(2 * epsilon) - trapezium.logpdf(y_M1.numpy().T)
    reached_NM = (y_M1.T - x_N1).abs().numpy() < epsilon
    expected_NM = np.where(reached_NM, expected_1M, -np.inf)
    np.testing.assert_allclose(base.log_ratio(x_N1, y_M1).numpy(), expected_NM, atol=1e-12)


MARGINALS = {
    "normal_cdf-1v1-normal-0.75": (stats.uniform.cdf, stats.uniform.cdf),
    "1v1-bimodal-0.75": (
        lambda t: 0.3 * stats.norm.cdf(t) + 0.7 * stats.norm.cdf(t, loc=5),
        lambda t: 0.5 * stats.norm.cdf(t, loc=-1) + 0.5 * stats.norm.cdf(t, loc=3),
    ),
    "half_cube-1v1-normal-0.75": (
        lambda t: stats.norm.cdf(np.sign(t) * np.abs(t) ** (2 / 3)),
        lambda t: stats.norm.cdf(np.sign(t) * np.abs(t) ** (2 / 3)),
    ),
    "student-identity-2-2-2": (stats.t(2).cdf, stats.t(2).cdf),
    "asinh-student-identity-1-1-1": (
        lambda t: stats.cauchy.cdf(np.sinh(t)),
        lambda t: stats.cauchy.cdf(np.sinh(t)),
    ),
    "1v1-additive-0.75": (
        stats.uniform.cdf,
        # Y + 0.75 is trapezoidal on (0, 2.5), its top from 1 to 1.5.
        stats.trapezoid(0.4, 0.6, loc=-0.75, scale=2.5).cdf,
    ),
}


@pytest.mark.parametrize("name", MARGINALS)
def test_marginals_are_the_known_ones(name):
    pair = BEYOND_NORMAL[name].sample(5000, seeding.torch_generator(0))
    for part, cdf in zip(pair, MARGINALS[name], strict=True):
        for column in part.double().numpy().T:
            assert stats.kstest(column, cdf).pvalue > 1e-3


def test_wiggly_maps_increase_as_steeply_as_they_say():
    z = torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    for function, low, high in (
        (beyond_normal.wiggly_x, 0.16, 1.84),
        (beyond_normal.wiggly_y, 0.53, 1.47),
    ):
        slopes = function(z).diff() / z.diff()
        assert slopes.min() > low
        assert slopes.max() < high


def test_swiss_roll_turns_one_and_a_half_times_while_it_widens():
    x_N1 = torch.linspace(0, 1, 1000, dtype=torch.float64)[:, None]
    rolled = beyond_normal.swiss_roll(x_N1)
    radius = rolled.norm(dim=1) * 21
    torch.testing.assert_close(radius, 1.5 * np.pi * (1 + 2 * x_N1[:, 0]))
    turned = torch.atan2(rolled[:, 1], rolled[:, 0]).diff().remainder(2 * np.pi).sum().item()
    assert turned == pytest.approx(3 * np.pi)


@pytest.mark.parametrize("axis", [0, 1])
def test_spiral_turns_one_plane_by_the_mean_square(axis):
    z_ND = torch.randn(50, 3, generator=seeding.torch_generator(0), dtype=torch.float64)
    turned = beyond_normal.spiral(z_ND, axis)
    torch.testing.assert_close(turned.norm(dim=1), z_ND.norm(dim=1))
    before, after = (
        torch.view_as_complex(part[:, axis : axis + 2].contiguous()) for part in (z_ND, turned)
    )
    torch.testing.assert_close(after, before * torch.exp(1j * z_ND.square().mean(1)))


@every_task
def test_draws_have_the_stated_shape_and_follow_the_generator(name):
    task = BEYOND_NORMAL[name]
    x_ND, y_NE = task.sample(7, seeding.torch_generator(0))
    assert (x_ND.shape, y_NE.shape) == ((7, task.dim_x), (7, task.dim_y))
    assert x_ND.dtype == y_NE.dtype == torch.float32
    assert torch.equal(task.sample(7, seeding.torch_generator(0))[1], y_NE)
    assert not torch.equal(task.sample(7, seeding.torch_generator(1))[1], y_NE)
    # The log ratio of the base's draws is the task's: they are what it maps.
    mapped = task.mapped(*task.base.draw(7, seeding.torch_generator(0)))
    assert torch.equal(mapped[0].float(), x_ND)


def test_no_draws_are_refused():
    with pytest.raises(ArgumentError, match="n must be at least 1, got 0"):
        BEYOND_NORMAL["1v1-normal-0.75"].sample(0, seeding.torch_generator(0))
