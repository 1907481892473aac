"""Cross-checks say what the estimators say, and disagreements name what stands out."""

import dataclasses

import numpy as np
import pytest

from sidle.errors import ShapeError
from sidle.mi import agreement, cca, ksg
from sidle.mi.agreement import cross_checks, disagreements
from sidle.mi.reading import Estimate

LOWER = Estimate("infonce", 1.0, "lower", 4.0, (0.8, 1.2), 60, 15, 25, 8, 100, 0)


def reading(bound, nats, interval=None):
    guarantee = "lower" if bound in {"infonce", "nwj"} else "none"
    return dataclasses.replace(
        LOWER, bound=bound, nats=nats, guarantee=guarantee, interval=interval, ceiling=None
    )


def test_agreement_is_silent():
    assert disagreements([LOWER, reading("mine", 1.1, (1.0, 1.2))], {"ksg": 1.05, "cca": 0.9}) == []
    assert disagreements([LOWER]) == []


def test_reading_below_what_is_there_at_least_is_named():
    (said,) = disagreements([LOWER, reading("njee", 0.4, (0.2, 0.6))])
    assert said.startswith("NJEE reads 0.40 nats, less than the 0.80 nats that InfoNCE shows")
    # An interval that reaches above it is no disagreement; nor is a lower bound that reads less.
    assert disagreements([LOWER, reading("njee", 0.4, (0.0, 0.9))]) == []
    assert disagreements([LOWER, reading("nwj", 0.4, (0.2, 0.6))]) == []
    (said,) = disagreements([LOWER], {"ksg": 0.7, "cca": None})
    assert said.startswith("KSG reads 0.70 nats")
    # Only InfoNCE's low end holds for the information itself, and none at 0 says anything.
    assert disagreements([LOWER, reading("nwj", 1.5, (1.4, 1.6))], {"ksg": 1.3}) == []
    nothing = dataclasses.replace(LOWER, nats=0.01, interval=(0.0, 0.1))
    assert disagreements([nothing], {"ksg": -0.02, "cca": 0.01}) == []


def test_reading_far_above_the_others_is_named():
    (said,) = disagreements([LOWER, reading("club", 1.8)], {"cca": 1.1})
    assert said.startswith("CLUB reads 1.80 nats, far above the others (median 1.05)")
    assert disagreements([LOWER, reading("club", 1.5)], {"cca": 1.1}) == []
    # Two that are too high do not hide each other, and a wild one hides none.
    many = [LOWER, reading("nwj", 6.0), reading("dv", 4.5), reading("club", 5.0)]
    said = disagreements(many, {"ksg": 1.0, "cca": 0.9})
    assert [words.split(" reads")[0] for words in said] == ["NWJ", "Donsker-Varadhan", "CLUB"]
    # A lower bound with an interval is never too high.
    assert disagreements([LOWER, reading("nwj", 3.0, (2.9, 3.1))], {"ksg": 1.0}) == []


def test_cross_checks_are_the_two_estimators():
    draw = np.random.default_rng(0)
    x_N = draw.normal(size=500)
    y_N = x_N + draw.normal(size=500)
    found = cross_checks(x_N, y_N)
    assert found == {"ksg": ksg(x_N, y_N), "cca": cca(x_N, y_N)}
    assert found["cca"] == pytest.approx(0.5 * np.log(2), abs=0.1)
    with pytest.raises(ShapeError, match="same number of rows"):
        cross_checks(x_N, y_N[1:])


def test_cross_checks_of_data_they_cannot_take_are_none():
    discrete = np.arange(500.0) % 2
    assert cross_checks(discrete, discrete) == {"ksg": None, "cca": None}


def test_many_rows_are_sampled(monkeypatch):
    monkeypatch.setattr(agreement, "MOST_ROWS", 100)
    draw = np.random.default_rng(0)
    x_N = draw.normal(size=300)
    first, other = (cross_checks(x_N, x_N + draw.normal(size=300), seed=s) for s in (0, 1))
    assert first != other
    assert first["ksg"] is not None
