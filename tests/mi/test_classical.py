"""Classical estimators: against slow versions, other people's numbers, and closed forms."""

import json
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from scipy.special import digamma
from sklearn.cross_decomposition import CCA
from sklearn.feature_selection import mutual_info_regression

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.classical import cca, ksg
from sidle.mi.problems import CorrelatedGaussians

DATA = [Path(part) for part in os.environ.get("SIDLE_DATA", "").split(os.pathsep) if part]
FOLDER = next((f / "mi_benchmark" for f in DATA if (f / "mi_benchmark").is_dir()), None)
needs_data = pytest.mark.skipif(FOLDER is None, reason="needs mi_benchmark in SIDLE_DATA")
every_task = pytest.mark.parametrize("name", BEYOND_NORMAL)
both = pytest.mark.parametrize("estimator", [ksg, cca])


@cache
def reference():
    tasks = json.loads((FOLDER / "tasks.json").read_text(encoding="utf-8"))["tasks"]
    return {task["name"]: task["reference"] for task in tasks}


def drawn_by_the_benchmark(name):
    with np.load(FOLDER / "samples_seed0_n2000.npz") as samples:
        return samples[f"{name}__x"], samples[f"{name}__y"]


def gaussians(dim, nats, n, seed=0):
    return CorrelatedGaussians(dim, nats).sample(n, seeding.torch_generator(seed))


def slow_ksg(x_ND, y_NE, k):
    """Equation 8 with one distance at a time; columns are standardised already."""
    N, total = len(x_ND), 0.0
    for i in range(N):
        others = [j for j in range(N) if j != i]
        in_x = {j: math.dist(x_ND[i], x_ND[j]) for j in others}
        in_y = {j: math.dist(y_NE[i], y_NE[j]) for j in others}
        radius = sorted(max(in_x[j], in_y[j]) for j in others)[k - 1]
        n_x = sum(in_x[j] < radius for j in others)
        n_y = sum(in_y[j] < radius for j in others)
        total += digamma(n_x + 1) + digamma(n_y + 1)
    return digamma(k) + digamma(N) - total / N


def standardised(rows_ND):
    return (rows_ND - rows_ND.mean(0)) / rows_ND.std(0)


@pytest.mark.parametrize(("D", "E", "k"), [(1, 1, 1), (1, 2, 3), (3, 2, 10), (2, 2, 39)])
def test_ksg_matches_its_formula(D, E, k):
    generator = seeding.numpy_generator(0)
    x_ND = standardised(generator.standard_normal((40, D)))
    y_NE = standardised(generator.standard_normal((40, E)) + x_ND[:, :1])
    expected = slow_ksg(x_ND.tolist(), y_NE.tolist(), k)
    assert ksg(x_ND, y_NE, n_neighbors=k) == pytest.approx(expected, abs=1e-12)


def test_ksg_survives_values_that_repeat_in_x_or_in_y():
    generator = seeding.numpy_generator(0)
    # Mean 0 and variance 4, and so a grid of halves once standardised, which floating point holds
    # exactly: equal distances are equal. y has no ties.
    x_N1 = np.repeat([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0], [16, 58, 24, 4, 24, 58, 16])[:, None]
    assert (x_N1.mean(), x_N1.var()) == (0, 4)
    y_N1 = x_N1 + 3 * generator.standard_normal((200, 1))
    expected = slow_ksg(standardised(x_N1).tolist(), standardised(y_N1).tolist(), 5)
    for factor in (1.0, 0.1, 3e7):
        assert ksg(factor * x_N1 + 0.7, y_N1, n_neighbors=5) == pytest.approx(expected, abs=1e-9)
        assert ksg(y_N1, factor * x_N1, n_neighbors=5) == pytest.approx(expected, abs=1e-9)


@needs_data
@every_task
def test_ksg_reads_what_the_benchmarks_package_reads(name):
    x_ND, y_NE = drawn_by_the_benchmark(name)
    found = {k: ksg(x_ND, y_NE, n_neighbors=k) for k in (5, 10)}
    # The package clips at 0. Values have six decimals; a near tie may fall to the other side.
    for k, nats in found.items():
        assert max(nats, 0.0) == pytest.approx(reference()[name][f"ksg_package_k{k}"], abs=1e-5)
    # Its own estimate is the mean of both.
    mean = (found[5] + found[10]) / 2
    assert max(mean, 0.0) == pytest.approx(reference()[name]["ksg_package"], abs=1e-5)


@pytest.mark.parametrize("k", [3, 10])
@pytest.mark.parametrize("nats", [0.0, 0.5, 2.0])
def test_ksg_reads_what_scikit_learn_reads_in_one_dimension(nats, k):
    x_N1, y_N1 = (part.double().numpy() for part in gaussians(1, nats, 1000))
    expected = mutual_info_regression(x_N1, y_N1[:, 0], n_neighbors=k, random_state=0).item()
    # It clips at 0 and adds noise of 1e-10 to break ties.
    assert max(ksg(x_N1, y_N1, n_neighbors=k), 0.0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.0), (1, 0.5), (1, 2.0), (2, 1.0)])
def test_ksg_finds_the_information_of_gaussians(dim, nats):
    found = [ksg(*gaussians(dim, nats, 1000, seed)) for seed in range(10)]
    error = np.std(found, ddof=1) / math.sqrt(10)
    # A bias of a few hundredths is left in two dimensions.
    assert np.mean(found) == pytest.approx(nats, abs=4 * error + 0.04 * (dim - 1))


@pytest.mark.parametrize("n", [1, 500, 1200])
def test_ksg_does_not_depend_on_its_blocks(n, monkeypatch):
    x_ND, y_ND = gaussians(2, 1.0, 600)
    whole = ksg(x_ND, y_ND)
    monkeypatch.setattr("sidle.mi.classical.DISTANCES_AT_ONCE", n)
    assert ksg(x_ND, y_ND) == pytest.approx(whole, abs=1e-12)


@both
def test_units_order_and_direction_do_not_matter(estimator):
    x_ND, y_ND = (part.double().numpy() for part in gaussians(3, 1.0, 300))
    found = estimator(x_ND, y_ND)
    order = seeding.numpy_generator(0).permutation(300)
    assert estimator(y_ND, x_ND) == pytest.approx(found, abs=1e-9)
    assert estimator(x_ND[order], y_ND[order]) == pytest.approx(found, abs=1e-9)
    factors = np.array([1e-200, 3.0, -1e200])
    assert estimator(x_ND * factors + np.array([0, 7, 0]), y_ND) == pytest.approx(found, abs=1e-9)
    assert estimator(x_ND[:, ::-1], y_ND) == pytest.approx(found, abs=1e-9)


@both
def test_constants_tell_nothing(estimator):
    x_ND, y_ND = gaussians(2, 1.0, 300)
    assert estimator(torch.full((300,), 0.1), y_ND) == 0
    assert estimator(x_ND, np.full((300, 2), 1e9)) == 0
    assert math.copysign(1.0, estimator(torch.ones(300), torch.ones(300))) == 1
    with_constant = torch.cat([x_ND, torch.full((300, 1), 0.1)], dim=1)
    assert estimator(with_constant, y_ND) == pytest.approx(estimator(x_ND, y_ND), abs=1e-9)


@both
def test_takes_vectors_tensors_and_integers(estimator):
    x_ND, y_ND = gaussians(1, 1.0, 300)
    found = estimator(x_ND, y_ND)
    assert isinstance(found, float)
    assert estimator(x_ND[:, 0], y_ND[:, 0].numpy()) == found
    whole = (1000 * x_ND).round()
    assert estimator(whole.int(), y_ND) == estimator(whole, y_ND)


@needs_data
@every_task
def test_cca_reads_what_the_benchmarks_package_reads(name):
    found = cca(*drawn_by_the_benchmark(name))
    assert found == pytest.approx(reference()[name]["cca_svd"], abs=1e-6)  # six decimals
    # The package's own is iterative.
    assert found == pytest.approx(reference()[name]["cca_package"], abs=5e-6)


def test_cca_has_the_correlations_of_scikit_learn():
    generator = seeding.numpy_generator(0)
    x_ND = generator.standard_normal((200, 3))
    y_NE = np.stack([x_ND[:, 0] + x_ND[:, 2], x_ND[:, 1]], 1) + generator.standard_normal((200, 2))
    pairs = CCA(n_components=2, tol=1e-12, max_iter=5000).fit(x_ND, y_NE).transform(x_ND, y_NE)
    rho = [np.corrcoef(pairs[0][:, i], pairs[1][:, i])[0, 1] for i in range(2)]
    expected = -0.5 * np.log1p(-np.square(rho)).sum()
    assert cca(x_ND, y_NE) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("dim", "nats"), [(1, 0.5), (5, 0.0), (5, 3.0), (20, 40.0)])
def test_cca_finds_the_information_of_gaussians(dim, nats):
    found = [cca(*gaussians(dim, nats, 2000, seed)) for seed in range(10)]
    error = np.std(found, ddof=1) / math.sqrt(10)
    # The bias of D E / (2 N), stated in the docstring, is known to about a quarter of itself.
    bias = dim**2 / 4000
    assert np.mean(found) == pytest.approx(nats + bias, abs=4 * error + bias / 4)


def test_cca_of_one_dimension_is_the_correlation():
    x_N1, y_N1 = (part.double().numpy() for part in gaussians(1, 3.0, 50))
    rho = np.corrcoef(x_N1[:, 0], y_N1[:, 0])[0, 1]
    assert cca(x_N1, y_N1) == pytest.approx(-0.5 * math.log1p(-(rho**2)), abs=1e-12)


def test_cca_is_exact_where_x_nearly_determines_y():
    # Orthogonal columns by construction: y = x + 1e-9 z has 1 - rho^2 = 1e-18, below what
    # float64 can hold next to 1.
    x_N, z_N = np.tile([1.0, -1.0], 50), np.tile([1.0, 1.0, -1.0, -1.0], 25)
    assert cca(x_N, x_N + 1e-9 * z_N) == pytest.approx(9 * math.log(10), abs=1e-6)


@pytest.mark.parametrize("size", range(2, 30))
def test_cca_of_orthogonal_columns_is_zero_and_not_below(size):
    waves_NK = hadamard(64)[:, 1 : 2 * size + 1]
    found = cca(waves_NK[:, :size], waves_NK[:, size:])
    assert 0 <= found < 1e-12
    assert math.copysign(1.0, found) == 1


def test_cca_of_a_linear_function_is_infinite():
    x_ND = seeding.numpy_generator(0).standard_normal((100, 3))
    assert cca(x_ND, x_ND) == math.inf
    assert cca(x_ND, 3 * x_ND[:, 0] - x_ND[:, 2] + 5) == math.inf
    assert cca(-x_ND[:, 1], np.stack([x_ND[:, 0] ** 2, 1e6 * x_ND[:, 1]], 1)) == math.inf


def test_cca_ignores_repeated_columns():
    x_ND, y_ND = (part.double() for part in gaussians(3, 1.0, 200))
    repeated = torch.cat([x_ND, x_ND[:, :2], x_ND.sum(1, keepdim=True)], dim=1)
    assert cca(repeated, y_ND) == pytest.approx(cca(x_ND, y_ND), abs=1e-9)


def test_cca_rejects_too_few_rows():
    generator = seeding.numpy_generator(0)
    x_ND, y_NE = generator.standard_normal((12, 6)), generator.standard_normal((12, 5))
    with pytest.raises(ArgumentError, match="at least 13 rows for x of rank 6 and y of rank 5"):
        cca(x_ND, y_NE)
    assert math.isfinite(cca(x_ND[:, :5], y_NE))
    with pytest.raises(ArgumentError, match="rank 11 and y of rank 11, got 12"):
        cca(generator.standard_normal((12, 40)), generator.standard_normal((12, 40)))


def test_ksg_rejects_what_has_no_meaning(monkeypatch):
    x_N = torch.arange(20.0)
    for n_neighbors in (0, 20, -1, 2.0):
        with pytest.raises(ArgumentError, match=r"n_neighbors must be an integer in \[1, 19\]"):
            ksg(x_N, x_N, n_neighbors=n_neighbors)
    x_N[3:15] = 7.0
    monkeypatch.setattr("sidle.mi.classical.DISTANCES_AT_ONCE", 40)  # blocks of two rows
    with pytest.raises(ArgumentError, match=r"row 3 .* more than n_neighbors = 10 times"):
        ksg(x_N, x_N)
    assert math.isfinite(ksg(x_N, x_N, n_neighbors=12))


@both
def test_wrong_rows_are_rejected_by_name(estimator):
    name = estimator.__name__
    with pytest.raises(ShapeError, match=f"{name}: x and y must have the same number of rows"):
        estimator(torch.zeros(20), torch.zeros(19))
    with pytest.raises(ShapeError, match=f"{name}: y must have shape"):
        estimator(torch.zeros(20), torch.zeros(20, 1, 1))
    with pytest.raises(NonFiniteError, match=f"{name}: x must be finite.* row 4 "):
        estimator([0.0, 1, 2, 3, math.nan, 5], torch.zeros(6))
    with pytest.raises(ArgumentError, match=f"{name}: x must hold real numbers"):
        estimator(["a", "b"], [1, 2])
    for n in (0, 1):
        with pytest.raises(ArgumentError, match=f"{name}: expected at least 2 rows, got {n}"):
            estimator(np.zeros(n), np.zeros(n))
