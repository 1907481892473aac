"""Five measures of two networks: known values, exact zeros, and what cannot be compared."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lmc.closed_forms import KINDS, Place, Product, Threshold, examples, grid, mlp, of_place, pair
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import Measurement, compare, measure

FOUR = torch.zeros(4, 1), torch.zeros(4, dtype=torch.long)
FAST = {"points": 5, "evaluation": "sequential"}


def compared(a, b, data, **settings):
    return compare(a.state_dict(), b.state_dict(), data, model=copy.deepcopy(a), settings=settings)


def test_a_hill_of_known_height():
    # From (3, 0) to (0, -4) the concave loss -|w|^2 is largest at distance 12/5 from 0.
    loss = of_place(lambda w: -w.square().sum(1))
    found = compared(Place(3.0, 0.0), Place(0.0, -4.0), FOUR, points=26, loss=loss)
    assert found.l2_distance == 5
    # The nearest point to 0 lies at 9/25 of the way, which is among 26 points.
    assert found.main.barrier.loss_barrier == pytest.approx(-(2.4**2) + (9 + 16) / 2, rel=1e-6)
    assert found.main.loss_distance == pytest.approx(7, rel=1e-6)
    assert found.main.loss == pytest.approx(-12.5, rel=1e-6)


def test_thresholds_disagree_between_them():
    # x is even on (-1, 1): thresholds at 0.2 and -0.4 label the 30 % of x between them differently.
    found = compared(Threshold(0.2), Threshold(-0.4), grid(1000), **FAST)
    assert found.main.disagreement == pytest.approx(0.3, abs=1e-9)
    assert found.main.error == pytest.approx((0.1 + 0.2) / 2, abs=1e-9)
    assert found.l2_distance == pytest.approx(0.6, rel=1e-6)


def test_far_apart_and_yet_equal_in_all_they_do():
    # u v x is positive for x > 0 at (1, 1) and at (-1, -1); half-way, at (0, 0), it is blind.
    found = compared(Product(1, 1), Product(-1, -1), grid(100), points=31)
    assert found.l2_distance == pytest.approx(math.sqrt(8))
    assert (found.main.disagreement, found.main.loss_distance, found.main.error) == (0, 0, 0)
    assert found.main.barrier.barrier == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_identical_copies_give_zero_in_every_measure(kind):
    a, _, data = pair(kind)
    found = compared(a, copy.deepcopy(a), data)
    barrier = found.main.barrier
    assert (found.l2_distance, found.main.disagreement, found.main.loss_distance) == (0, 0, 0)
    assert (barrier.barrier, barrier.loss_barrier, barrier.split_barrier) == (0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_measures_are_those_of_the_outputs(kind):
    a, b, (x, y) = pair(kind)
    found = compared(a, b, (x, y), **FAST)
    with torch.no_grad():
        logits = [network(x).double().numpy() for network in (a, b)]
    losses = [np.log(np.exp(one).sum(1)) - one[np.arange(len(y)), y.numpy()] for one in logits]
    labels = [one.argmax(1) for one in logits]
    # Cross-entropies of order 1, computed in float32 and averaged over 60 examples.
    assert found.main.loss_distance == pytest.approx(
        np.sqrt(np.square(losses[0] - losses[1]).mean()), rel=1e-4
    )
    assert found.main.disagreement == (labels[0] != labels[1]).mean()
    assert found.main.error == np.mean([(label != y.numpy()).mean() for label in labels])
    squares = [
        (ours - theirs).double().square().sum().item()
        for ours, theirs in zip(a.parameters(), b.parameters(), strict=True)
    ]
    assert found.l2_distance == pytest.approx(math.sqrt(sum(squares)), rel=1e-6)
    back = compared(b, a, (x, y), **FAST)
    assert back.l2_distance == pytest.approx(found.l2_distance, rel=1e-12)
    assert back.main.loss_distance == pytest.approx(found.main.loss_distance, rel=1e-12)


def test_running_statistics_are_no_distance():
    a = mlp(0, batch_norm=True)
    b = copy.deepcopy(a)
    b[1].running_mean += 3
    assert compared(a, b, examples(), **FAST).l2_distance == 0


def test_a_function_of_weights_measures_what_the_data_does():
    a, b, data = pair("residual with BatchNorm")
    vessel = copy.deepcopy(a)
    calls = []

    def evaluate(weights):
        calls.append(1)
        return measure(vessel, data, state=weights)

    by_function, by_data = (compared(a, b, what, **FAST) for what in (evaluate, data))
    assert len(calls) == 5
    assert by_function.as_dict()["l2_distance"] == by_data.as_dict()["l2_distance"]
    for name in ("disagreement", "loss_distance", "error", "loss"):
        assert getattr(by_function.main, name) == getattr(by_data.main, name)
    ours, theirs = by_function.main.barrier, by_data.main.barrier
    assert ours.error == theirs.error
    assert ours.loss == theirs.loss
    assert ours.split_barrier == theirs.split_barrier
    same = compared(a, copy.deepcopy(a), evaluate, **FAST)
    assert same.main.barrier.barrier == same.main.barrier.split_barrier == 0


def test_a_loader_that_shuffles_shows_both_networks_the_same_examples():
    a, b, (x, y) = pair("mlp")
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, generator=generator)
    itself = compared(a, copy.deepcopy(a), loader, **FAST).main
    assert (itself.disagreement, itself.loss_distance) == (0, 0)
    found, expected = (compared(a, b, data, **FAST).main for data in (loader, (x, y)))
    assert found.disagreement == expected.disagreement
    assert found.loss_distance == pytest.approx(expected.loss_distance, rel=1e-6)  # float32


def test_data_by_name_and_loaders():
    a, b, (x, y) = pair("mlp")
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    found = compared(a, b, {"held out": loader, "train": (x[:20], y[:20])}, **FAST)
    assert list(found.on) == ["held out", "train"]
    assert found.main is found.on["held out"]
    alone = compared(a, b, (x, y), **FAST)
    assert found.main.barrier.error == alone.main.barrier.error
    assert found.main.disagreement == alone.main.disagreement
    assert list(alone.on) == ["test"]
    json.dumps(found.as_dict())


def changed(name, tensor):
    state = mlp(1).state_dict()
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    return state


@pytest.mark.parametrize(
    ("b", "error", "said"),
    [
        (changed("0.bias", None), ArgumentError, r"not of one architecture: .*'0.bias'"),
        (changed("extra", torch.ones(1)), ArgumentError, "b alone has 'extra'"),
        (changed("0.bias", torch.ones(3)), ShapeError, r"'0.bias' has shape \(12,\) in a "),
        (changed("0.bias", torch.ones(12) / 0), NonFiniteError, r"'0.bias' of b holds a NaN or"),
        (changed("0.bias", torch.ones(12).double()), ArgumentError, "float64"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_compared_are_refused(b, error, said):
    with pytest.raises(error, match=said):
        compare(mlp(0).state_dict(), b, examples(), model=mlp(0))


def test_a_model_that_is_not_theirs_is_refused():
    state = mlp(0).state_dict()
    with pytest.raises(ArgumentError, match=r"the states lack '1.bias' of Sequential"):
        compare(state, mlp(1).state_dict(), examples(), model=mlp(0, batch_norm=True))
    with pytest.raises(ArgumentError, match=r"there is no setting 'point'"):
        compare(state, mlp(1).state_dict(), examples(), model=mlp(0), settings={"point": 3})


def of_size(n):
    return Measurement(torch.zeros(n), torch.zeros(n, dtype=torch.long), torch.zeros(n) > 0)


def test_functions_that_measure_nothing_comparable_are_refused():
    a, b, data = pair("mlp")
    with pytest.raises(ArgumentError, match=r"must return a sidle.lmc.Measurement, got float"):
        compared(a, b, lambda weights: 0.5)
    sizes = iter([3, 4] * 20)
    with pytest.raises(ShapeError, match=r"the same examples, two or more, .* measured \[3, 4\]"):
        compared(a, b, lambda weights: of_size(next(sizes)))
    with pytest.raises(ShapeError, match=r"measured \[1\]"):
        compared(a, b, lambda weights: of_size(1))
    with pytest.raises(ArgumentError, match="empty mapping"):
        compared(a, b, {})
    with pytest.raises((ArgumentError, ShapeError), match="train"):
        compared(a, b, {"test": data, "train": (data[0], data[1][:3])})
