"""Schedules are due when their definitions say so."""

import math

import pytest

from sidle.errors import ArgumentError
from sidle.slide.rebuilds import RebuildSchedule


def updates(schedule, steps, drift=lambda: 0.0):
    """Return the steps at which tables are updated."""
    made, last = [], 0
    for step in range(1, steps + 1):
        if schedule.due(step - last, len(made), drift):
            made.append(step)
            last = step
    return made


def test_fixed_gaps_are_equal():
    assert updates(RebuildSchedule("fixed", every=7), 30) == [7, 14, 21, 28]


def test_exponential_gaps_grow():
    made = updates(RebuildSchedule("exponential", every=10, growth=0.3), 400)
    gaps = [b - a for a, b in zip([0, *made], made, strict=False)]
    assert gaps == [math.ceil(10 * math.exp(0.3 * i)) for i in range(len(gaps))]
    assert updates(RebuildSchedule("exponential", every=10, growth=0.0), 30) == [10, 20, 30]


def test_drift_looks_rarely_and_updates_beyond_the_threshold():
    looks = []

    def drift():
        looks.append(len(looks))
        return 0.05 * len(looks)

    assert updates(RebuildSchedule("drift", every=5, threshold=0.12), 29, drift) == [15, 20, 25]
    assert len(looks) == 5


def test_never_is_never():
    assert updates(RebuildSchedule("never", every=1), 50) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "daily"}, "kind must be one of"),
        ({"every": 0}, "every must be at least 1"),
        ({"growth": -0.1}, "growth at least 0"),
        ({"growth": math.nan}, "growth at least 0"),
        ({"threshold": 1.5}, "threshold from 0"),
    ],
)
def test_refuses_bad_schedules(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        RebuildSchedule(**arguments)
