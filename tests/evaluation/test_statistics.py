"""Intervals cover as often as they say, and verdicts err as rarely as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from sidle.errors import ArgumentError, NonFiniteError
from sidle.evaluation.statistics import t_interval, verdict, wrong_by_chance

STUDIES = 20_000


def simulated_verdicts(true_mean, n_seeds, margin=0.3):
    draws = np.random.default_rng(n_seeds).normal(true_mean, 1.7, (STUDIES, n_seeds))
    verdicts = [verdict(list(row), margin)[0] for row in draws]
    return {
        word: verdicts.count(word) / STUDIES for word in ("holds", "does not hold", "undecided")
    }


@pytest.mark.parametrize("n", [2, 5, 10])
def test_interval_equals_scipys(n):
    values = np.random.default_rng(n).normal(size=n)
    interval = t_interval(list(values))
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((values.mean(), low, high))
    assert (interval.n, interval.confidence) == (n, 0.95)


@pytest.mark.parametrize("n_seeds", [5, 10])
def test_at_the_margin_each_wrong_verdict_comes_in_one_of_forty_studies(n_seeds):
    share = simulated_verdicts(0.3, n_seeds)
    # Three standard errors of a share of 2.5 % in 20,000 studies.
    tolerance = 3 * math.sqrt(0.025 * 0.975 / STUDIES)
    assert share["holds"] == pytest.approx(0.025, abs=tolerance)
    assert share["does not hold"] == pytest.approx(0.025, abs=tolerance)


def test_a_large_effect_is_found_and_its_absence_too():
    assert simulated_verdicts(0.3 + 5 * 1.7, 5)["holds"] > 0.98
    assert simulated_verdicts(0.3 - 5 * 1.7, 5)["does not hold"] > 0.98


def test_verdict_on_either_side_and_on_the_edge():
    assert verdict([2.0, 2.1, 1.9, 2.0, 2.0], 1.5)[0] == "holds"
    assert verdict([2.0, 2.1, 1.9, 2.0, 2.0], 2.5)[0] == "does not hold"
    assert verdict([2.0, 2.1, 1.9, 2.0, 2.0], 2.0)[0] == "undecided"
    # Without any spread the interval is a point: above, or "at or below".
    assert verdict([1.0] * 5, 0.9)[0] == "holds"
    assert verdict([1.0] * 5, 1.0)[0] == "does not hold"


def test_fewer_than_five_seeds_decide_nothing():
    word, interval = verdict([9.0, 9.0, 9.0, 9.0], 0.0)
    assert word == "undecided"
    assert interval.low == 9.0


def test_one_value_has_no_interval():
    interval = t_interval([4.0])
    assert (interval.mean, interval.low, interval.high) == (4.0, -math.inf, math.inf)


def test_bad_values_are_refused():
    with pytest.raises(ArgumentError, match="at least one value"):
        t_interval([])
    with pytest.raises(ArgumentError, match="confidence"):
        t_interval([1.0], confidence=1.0)
    with pytest.raises(NonFiniteError):
        verdict([1.0, math.nan], 0.0)
    with pytest.raises(NonFiniteError):
        t_interval([1e200, 0.0])
    with pytest.raises(NonFiniteError):
        verdict([1.0], math.inf)


def test_chance_counts_claims_with_enough_seeds():
    assert wrong_by_chance([5, 4, 0, 10]) == pytest.approx(0.05)


@pytest.mark.parametrize("true_mean", [0.3 - 1e-9, 0.3 + 1e-9, 0.3 - 0.5, 0.3 + 0.5])
def test_no_truth_makes_wrong_verdicts_likelier_than_counted(true_mean):
    wrong = "does not hold" if true_mean > 0.3 else "holds"
    bound = wrong_by_chance([5])
    tolerance = 3 * math.sqrt(bound * (1 - bound) / STUDIES)
    assert simulated_verdicts(true_mean, 5)[wrong] <= bound + tolerance
