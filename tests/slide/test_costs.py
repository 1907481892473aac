"""The model of costs says what its formulas say, and chooses by them."""

import pytest
import torch

from sidle.errors import ArgumentError
from sidle.slide import costs, crossover
from sidle.slide.costs import Costs

MADE_UP = Costs(product=1e-3, softmax=2.0, update=3.0, gather=5.0, row=7.0, set=11.0)


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(costs, "measured", lambda dtype: MADE_UP)


def test_seconds_by_the_formulas():
    per_output = 10 * (6 * 4 * 1e-3 + 2) + 4 * 3
    assert MADE_UP.dense(10, 4, 100) == pytest.approx(100 * per_output)
    assert MADE_UP.sampled(10, 4, 30, "per_batch") == pytest.approx(30 * (per_output + 4 * 5))
    assert MADE_UP.sampled(10, 4, 30, "per_sample") == pytest.approx(30 * (4 * (7 + 3) + 11))


@pytest.mark.parametrize("sampling", ["per_batch", "per_sample"])
def test_the_choice_turns_at_the_crossover(made_up, sampling):
    n, d, candidates, labels = 10, 4, 25, 20
    turn = crossover(
        d, batch=n, candidates=candidates, labels_per_row=2, sampling=sampling, precision="float32"
    )
    assert turn > candidates

    def chosen(n_outputs):
        return costs.choose(d, n_outputs, n, labels, candidates, sampling, torch.float32)

    assert (chosen(turn - 1), chosen(turn + 1)) == ("dense", "sampled")


def test_constants_of_this_machine_are_sensible():
    found = costs.measured(torch.float32)
    # From a slow core to a fast one: 1 to 1000 GFLOP/s, and at most a microsecond per number.
    assert 1e-12 < found.product < 1e-9
    for name in ("update", "gather", "row"):
        assert 0 < getattr(found, name) < 1e-6
    assert 0 <= found.softmax < 1e-6
    assert crossover(128, precision="float32") > 4096


@pytest.mark.parametrize(
    "wrong",
    [{"in_features": 0}, {"batch": 0}, {"labels_per_row": -1}, {"sampling": "x"},
     {"precision": "int4"}],
)  # fmt: skip
def test_refuses_bad_arguments(wrong):
    with pytest.raises(ArgumentError):
        crossover(**{"in_features": 8} | wrong)
