"""The confidence bound holds for nasty distributions, and the Pareto shape is recovered."""

import math

import numpy as np
import pytest
from scipy.stats import t

from reference import intervals as reference
from sidle import seeding
from sidle.errors import ArgumentError
from sidle.mi.intervals import lower_confidence_bound, pareto_shape

GENERATOR = seeding.numpy_generator


def maurer_pontil(values, low, high, confidence):
    """Lower confidence bound of Maurer & Pontil 2009, theorem 4 (one-sided)."""
    n, log_term = len(values), math.log(2 / (1 - confidence))
    spread = math.sqrt(2 * values.var(ddof=1) * log_term / n)
    return values.mean() - spread - 7 * (high - low) * log_term / (3 * (n - 1))


DISTRIBUTIONS = {
    # (draw, mean, low, high); the first has rare losses that most samples do not show
    "rare losses": (lambda g, n: np.where(g.random(n) < 0.03, -8.0, 2.0), 1.7, -8.0, 2.0),
    "two points": (lambda g, n: np.where(g.random(n) < 0.5, -1.0, 1.0), 0.0, -1.0, 1.0),
    "uniform": (lambda g, n: g.random(n), 0.5, 0.0, 1.0),
    "at the top": (lambda g, n: 1 - g.random(n) ** 8, 1 - 1 / 9, 0.0, 1.0),
}


@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_lies_below_the_mean_as_often_as_it_says(name, n):
    draw, mean, low, high = DISTRIBUTIONS[name]
    generator = GENERATOR(0)
    missed = sum(
        lower_confidence_bound(draw(generator, n), low, high, confidence=0.9) > mean
        for _ in range(1000)
    )
    # 100 in 1,000 are allowed; 4 standard deviations of a binomial count are 38.
    assert missed <= 138


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_it_plays_the_game_of_the_paper(name, n):
    draw, _, low, high = DISTRIBUTIONS[name]
    values = draw(GENERATOR(5), n)
    slow = reference.lower_confidence_bound(values, low, high, 0.9)
    found = lower_confidence_bound(values, low, high, confidence=0.9)
    assert found == pytest.approx(slow, abs=(high - low) / 2000)  # a step between two means


def test_a_t_bound_would_fail_where_this_one_holds():
    draw, mean, low, high = DISTRIBUTIONS["rare losses"]
    generator = GENERATOR(1)
    missed = {"t": 0, "ours": 0}
    for _ in range(300):
        values = draw(generator, 15)
        half = t.ppf(0.975, 14) * values.std(ddof=1) / math.sqrt(15)
        missed["t"] += values.mean() - half > mean
        missed["ours"] += lower_confidence_bound(values, low, high, confidence=0.975) > mean
    assert missed["t"] > 100
    assert missed["ours"] <= 18  # 2.5 % of 300, and 4 standard deviations


@pytest.mark.parametrize("n", [10, 100, 1000])
def test_it_is_tighter_than_maurer_and_pontil(n):
    values = np.clip(GENERATOR(2).normal(1.0, 0.3, n), -4.0, 3.0)
    ours = lower_confidence_bound(values, -4.0, 3.0, confidence=0.975)
    assert maurer_pontil(values, -4.0, 3.0, 0.975) < ours < values.mean()


def test_it_nears_the_t_bound_with_many_values():
    values = GENERATOR(3).random(20_000)
    ours = lower_confidence_bound(values, 0.0, 1.0, confidence=0.975)
    half = 1.96 * values.std() / math.sqrt(20_000)
    # Betting pays sqrt(2 log(1 / 0.025)) / 1.96 = 1.4 times the half-width of the normal bound.
    assert 1.0 < (values.mean() - ours) / half < 1.6


def test_it_falls_with_confidence_and_moves_with_its_unit():
    values = GENERATOR(4).random(50)
    bounds = [lower_confidence_bound(values, 0.0, 1.0, confidence=c) for c in (0.5, 0.9, 0.99)]
    assert bounds[0] > bounds[1] > bounds[2]
    moved = lower_confidence_bound(10 * values - 3, -3.0, 7.0, confidence=0.9)
    assert moved == pytest.approx(10 * bounds[1] - 3, abs=1e-4)
    assert lower_confidence_bound(np.zeros(9), 0.0, 1.0, confidence=0.9) == pytest.approx(
        0, abs=1e-5
    )
    assert lower_confidence_bound(np.ones(99), 0.0, 1.0, confidence=0.9) < 1


@pytest.mark.parametrize(
    ("values", "confidence", "said"),
    [
        (np.array([]), 0.9, "at least one, got 0"),
        (np.array([0.5, 1.1]), 0.9, "got 2 between 0.5 and 1.1"),
        (np.array([0.5, -0.1]), 0.9, "got 2 between -0.1 and 0.5"),
        (np.array([0.5]), 1.0, "confidence must lie in"),
        (np.array([np.nan]), 0.9, "expected values in"),
    ],
)
def test_bad_input_is_refused(values, confidence, said):
    with pytest.raises(ArgumentError, match=said):
        lower_confidence_bound(values, 0.0, 1.0, confidence=confidence)


@pytest.mark.parametrize("shape", [0.3, 0.7, 1.0, 1.5])
def test_shape_of_a_pareto_tail_is_recovered(shape):
    found = [pareto_shape(shape * -np.log(GENERATOR(seed).random(20_000))) for seed in range(5)]
    # 424 weights in the tail: a standard error of (1 + k) / sqrt(424), over 5 samples.
    assert np.mean(found) == pytest.approx(shape, abs=4 * (1 + shape) / math.sqrt(424 * 5))


def test_shape_does_not_depend_on_a_constant_however_large():
    log_weights = -np.log(GENERATOR(0).random(5000))
    assert pareto_shape(log_weights + 1e4) == pytest.approx(pareto_shape(log_weights), rel=1e-6)


def test_light_tails_have_small_shapes_and_no_tail_has_none():
    assert pareto_shape(np.log(GENERATOR(0).random(5000))) < 0.2
    assert pareto_shape(np.zeros(5000)) is None
    assert pareto_shape(GENERATOR(0).random(60)) is None
