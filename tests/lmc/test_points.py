"""Stacked and single points give equal results, and the probe's choice is what it measured."""

import pytest
import torch
from torch import nn

from lmc.closed_forms import KINDS, examples, mlp, pair
from sidle.errors import ArgumentError
from sidle.lmc import error_barrier, points


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "recurrent"])
def test_batched_equals_sequential(kind):
    a, b, data = pair(kind)
    settings = {"points": 11, "batch_size": 25}  # groups of 8 and 3; batches of 25, 25 and 10
    if "BatchNorm" in kind:
        settings |= {"batch_norm": "both", "calibration": data[0]}
    one, many = (
        error_barrier(a, b, data, evaluation=how, **settings) for how in ("sequential", "batched")
    )
    assert (one.evaluation, many.evaluation) == ("sequential: as asked", "batched: as asked")
    for single, stacked in zip(
        (one, *one.by_policy.values()), (many, *many.by_policy.values()), strict=True
    ):
        assert stacked.error == single.error
        # float32 products summed in another order
        assert stacked.loss == pytest.approx(single.loss, rel=1e-5)


def test_what_torch_cannot_stack_is_said():
    a, b, data = pair("recurrent")
    with pytest.raises(ArgumentError, match=r"stacked weights \(.*lstm.*Use evaluation"):
        error_barrier(a, b, data, evaluation="batched")
    found = error_barrier(a, b, data, batch_size=10)
    assert found.evaluation.startswith("sequential: the model cannot run with stacked weights")


class Clock:
    """Time that passes only where the code under test is said to take some."""

    def __init__(self, monkeypatch, *, single, stacked):
        self.now = 0.0
        monkeypatch.setattr(points.time, "perf_counter", lambda: self.now)
        for name, seconds in (("_one_by_one", single), ("_stacked", stacked)):
            monkeypatch.setattr(points, name, self.taking(seconds, getattr(points, name)))

    def taking(self, seconds, function):
        def slowed(*arguments):
            self.now += seconds
            return function(*arguments)

        return slowed


@pytest.mark.parametrize(
    ("stacked", "said"),
    [
        (1.0, "batched: stacked points ran at 4 times the speed"),
        (2.5, "batched: stacked points ran at 1.6 times"),
        (3.0, "sequential: stacked points ran at 1.3 times"),
        (16.0, "sequential: stacked points ran at 0.25 times"),
    ],
)
def test_the_faster_way_is_taken_and_said(stacked, said, monkeypatch):
    a, b, data = pair("mlp")
    Clock(monkeypatch, single=4.0, stacked=stacked)
    found = error_barrier(a, b, data, batch_size=10)
    assert found.evaluation.startswith(said)


def test_little_work_is_not_probed(monkeypatch):
    monkeypatch.setattr(points, "_probe", None)  # calling it would raise
    a, b, data = pair("mlp")
    found = error_barrier(a, b, data, batch_size=20)
    assert found.evaluation == "sequential: too few batches for a timed probe"


def test_equal_networks_are_never_stacked(monkeypatch):
    a, _, data = pair("mlp")
    Clock(monkeypatch, single=4.0, stacked=0.1)
    found = error_barrier(a, a, data, batch_size=10)
    assert found.evaluation.startswith("sequential")
    assert found.loss_barrier == 0


class Unstackable(nn.Module):
    """Looks at a value, which torch.func cannot do for several values at once."""

    def __init__(self):
        super().__init__()
        self.inner = mlp(0)

    def forward(self, x):
        return self.inner(x) if self.inner[0].bias.sum().item() > -1e9 else x


class Stubborn(nn.Module):
    """Keeps a copy of its weights apart, as quantised layers do: stacking does not reach it."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, 6))
        self.used = [self.weight]

    def forward(self, x):
        return x @ self.used[0].T


def test_a_model_that_cannot_be_stacked_runs_one_by_one():
    a, b, data = Unstackable(), Unstackable(), examples()
    with torch.no_grad():
        b.inner[0].bias += 1
    found = error_barrier(a, b, data, batch_size=10)
    assert found.evaluation.startswith("sequential: the model cannot run with stacked weights")
    with pytest.raises(ArgumentError, match="Use evaluation='sequential'"):
        error_barrier(a, b, data, batch_size=10, evaluation="batched")


def test_stacking_that_changes_outputs_is_noticed():
    found = error_barrier(Stubborn(0), Stubborn(1), examples(), batch_size=10)
    assert found.evaluation == "sequential: stacked weights give other outputs in this model"
