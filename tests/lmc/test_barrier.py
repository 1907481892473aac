"""The split estimate is free of a maximum's bias, and its interval covers what it says."""

import math

import numpy as np
import pytest

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.lmc.barrier import rise, split_estimate, summarise

P = 30


def draw(generator, error_P, n):
    """Return errors (P, n): each example has its own difficulty at each point, independent."""
    return (generator.random((len(error_P), n)) < np.asarray(error_P)[:, None]).astype(float)


def test_a_flat_path_has_no_barrier_on_average_but_its_maximum_says_otherwise():
    generator = seeding.numpy_generator(0)
    plain, split = [], []
    for repeat in range(400):
        values = draw(generator, [0.2] * P, 100)
        plain.append(rise(values.mean(axis=1).tolist()))
        split.append(split_estimate(values, seed=repeat).value)
    standard_error = np.std(split) / math.sqrt(400)
    assert abs(np.mean(split)) < 3 * standard_error
    # Expected maximum of 30 normals is 2.04 standard deviations of 0.04.
    assert np.mean(plain) == pytest.approx(0.08, abs=0.015)


def test_a_known_barrier_is_found_by_the_split_and_overstated_by_the_maximum():
    # Ten points share the top, so that whichever of them is chosen, the truth is 0.25.
    error = [0.1] * 10 + [0.35] * 10 + [0.1] * 10
    generator = seeding.numpy_generator(1)
    plain, split = [], []
    for repeat in range(400):
        values = draw(generator, error, 100)
        plain.append(rise(values.mean(axis=1).tolist()))
        split.append(split_estimate(values, seed=repeat).value)
    assert abs(np.mean(split) - 0.25) < 3 * np.std(split) / math.sqrt(400)
    assert np.mean(plain) - 0.25 > 10 * np.std(plain) / math.sqrt(400)


@pytest.mark.parametrize(
    ("top", "n"), [(0.0, 100), (0.02, 100), (0.2, 40), (0.2, 400)], ids=lambda value: f"{value}"
)
def test_the_interval_covers_the_truth_as_often_as_it_says(top, n):
    # Both ends are right everywhere; the middle is wrong on a share `top` of the examples, as where
    # two good networks are not connected. One point between, so that the truth is `top`.
    generator = seeding.numpy_generator(2)
    missed = 0
    for repeat in range(1000):
        low, high = split_estimate(draw(generator, [0.0, top, 0.0], n), seed=repeat).interval
        missed += not low <= top <= high
    # 50 in 1,000 are allowed; 4 standard deviations of a binomial count are 28.
    assert missed <= 78


def test_without_the_two_added_examples_rare_errors_would_be_missed():
    generator = seeding.numpy_generator(3)
    missed = 0
    for repeat in range(300):
        values = draw(generator, [0.0, 0.02, 0.0], 100)
        low, high = split_estimate(values, seed=repeat, errors=False).interval
        missed += not low <= 0.02 <= high
    assert missed > 30  # (1 - 0.02)^100 = 13 % of samples show no error at all


def test_the_estimate_is_the_mean_over_both_halves():
    values = np.array([[0.0] * 6, [1, 1, 0, 0, 1, 1.0], [0.0] * 6])
    found = split_estimate(values, seed=5)
    # Whichever half chooses sees an error at the one point between, so both choose it.
    assert found.value == pytest.approx(4 / 6)
    low, high = found.interval
    assert low < 4 / 6 < high
    assert split_estimate(values, seed=5) == found


def test_wider_confidence_gives_a_wider_interval():
    values = draw(seeding.numpy_generator(4), [0.1, 0.4, 0.1], 50)
    widths = [np.ptp(split_estimate(values, confidence=c).interval) for c in (0.5, 0.9, 0.99)]
    assert widths[0] < widths[1] < widths[2]


def summary(error_PN, certain=False):
    return summarise(
        np.linspace(0, 1, len(error_PN)), error_PN, 2 * error_PN, certain=certain, confidence=0.95,
        seed=0, batch_norm=None, evaluation="",
    )  # fmt: skip


def test_equal_ends_are_certain_and_others_never_are():
    nothing = np.zeros((5, 50))
    assert summary(nothing, certain=True).interval == (0.0, 0.0)
    low, high = summary(nothing).interval
    assert low < 0 < high
    # None of 50 wrong leaves room for 3 / 50 (rule of three).
    assert high == pytest.approx(3 / 50, rel=0.15)


def test_verdicts():
    generator = seeding.numpy_generator(6)
    flat, steep = np.zeros((3, 2000)), draw(generator, [0.0, 0.3, 0.0], 2000)
    close = draw(generator, [0.0, 0.02, 0.0], 300)
    assert summary(flat).verdict() == "connected"
    assert summary(steep).verdict() == "not connected"
    assert summary(close).verdict() == "undecided"
    assert summary(flat).linearly_connected()
    assert not summary(steep).linearly_connected()
    assert summary(steep).linearly_connected(threshold=0.5)
    assert summary(steep).verdict(threshold=0.5) == "connected"


def test_refuses_what_cannot_be_halved():
    with pytest.raises(ArgumentError, match="2 points and 2 examples, got 3 and 1"):
        split_estimate(np.zeros((3, 1)))
    with pytest.raises(ArgumentError, match="confidence"):
        split_estimate(np.zeros((3, 4)), confidence=1.0)
