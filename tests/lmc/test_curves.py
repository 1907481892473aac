"""Curves: their ends and weights, the bend's gradient, and a ring that only a curve can follow."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

from lmc.closed_forms import KINDS, Place, Tied, examples, mlp, of_place, pair
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import Curve, curve_barrier, error_barrier, states, train_curve
from sidle.lmc.curves import weights

LABELS = torch.zeros(8, dtype=torch.int64)
EIGHT = (torch.zeros(8, 1), LABELS)


def ring(outputs):
    """Loss that is 0 on the unit circle alone."""
    return (outputs.square().sum(1) - 1).square()


@pytest.mark.parametrize("kind", ["bezier", "polygonal"])
def test_weights_sum_to_one_and_the_ends_are_the_networks(kind):
    for t in (0.0, 0.1, 0.5, 0.75, 1.0):
        assert sum(weights(kind, t)) == pytest.approx(1)
        assert min(weights(kind, t)) >= 0
    a, b, _ = pair("mlp")
    curve = Curve(kind, states.state_of(a), states.state_of(mlp(2)), states.state_of(b), a)
    for t, end in ((0.0, a), (1.0, b)):
        assert all(torch.equal(curve.at(t)[name], own) for name, own in end.state_dict().items())
    with pytest.raises(ArgumentError, match="t must lie in"):
        curve.at(1.5)


def test_known_places():
    corners = [states.state_of(Place(*place)) for place in ((0, 0), (4, 4), (8, 0))]
    bezier = Curve("bezier", *corners, nn.Identity())
    assert bezier.at(0.5)["weights"].tolist() == [4, 2]
    assert bezier.at(0.25)["weights"].tolist() == [2, 1.5]
    polygonal = Curve("polygonal", *corners, nn.Identity())
    assert polygonal.at(0.5)["weights"].tolist() == [4, 4]
    assert polygonal.at(0.75)["weights"].tolist() == [6, 2]


@pytest.mark.parametrize(("kind", "left"), [("bezier", 0.002), ("polygonal", 0.03)])
def test_a_curve_follows_the_ring_that_the_line_cuts(kind, left):
    a, b = Place(1, 0), Place(0, 1)
    line = error_barrier(a, b, EIGHT, points=31, loss=of_place(ring))
    assert line.loss_barrier == pytest.approx(0.25, abs=1e-6)  # (1/2 - 1)^2 half-way
    curve = train_curve(
        a, b, EIGHT, kind=kind, n_steps=400, learning_rate=0.03, weight_decay=0.0,
        loss=lambda outputs, y: ring(outputs).mean(),
    )  # fmt: skip
    found = curve_barrier(curve, EIGHT, points=31, loss=of_place(ring))
    # No parabola and no corner is a circle: the best ones stay this close to it.
    assert found.loss_barrier < left
    assert found.loss[0] == found.loss[-1] == 0
    first, second = curve.bend["weights"].tolist()
    # Mirrored at the diagonal, but for the last places that were drawn.
    assert first == pytest.approx(second, abs=0.15)


@pytest.mark.parametrize("kind", ["bezier", "polygonal"])
def test_the_first_step_goes_down_the_gradient_of_the_curve(kind):
    a, b, (x, y) = pair("mlp")
    drawn = []

    def loss(outputs, labels):
        drawn.append(outputs.detach())
        return F.cross_entropy(outputs, labels)

    curve = train_curve(
        a, b, lambda i: (x, y), kind=kind, n_steps=1, learning_rate=0.5, weight_decay=0.1, loss=loss
    )
    start, end = a.state_dict(), b.state_dict()
    half = {name: torch.lerp(start[name], end[name], 0.5) for name in start}
    # Which place was drawn is told by the outputs there.
    places = [index / 4000 for index in range(4001)]
    model = copy.deepcopy(a)

    def outputs_at(t, bend):
        u, v, w = weights(kind, t)
        here = {name: u * start[name] + v * bend[name] + w * end[name] for name in start}
        return functional_call(model, here, (x,)), here

    gaps = [(outputs_at(t, half)[0] - drawn[0]).abs().max().item() for t in places]
    t = places[gaps.index(min(gaps))]
    bend = {name: tensor.clone().requires_grad_() for name, tensor in half.items()}
    outputs, here = outputs_at(t, bend)
    penalty = sum(tensor.square().sum() for tensor in here.values()) / 2
    (F.cross_entropy(outputs, y) + 0.1 * penalty).backward()
    for name, tensor in bend.items():
        # The rate of the last step of one is a hundredth; the place is known to 1 / 8000.
        expected = half[name] - 0.005 * tensor.grad
        moved = (expected - half[name]).abs().max()
        torch.testing.assert_close(curve.bend[name], expected, rtol=0, atol=0.01 * moved.item())


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_leaves_the_networks_alone(kind):
    a, b, data = pair(kind)
    a.train()
    before = [copy.deepcopy(network.state_dict()) for network in (a, b)]
    curve = train_curve(a, b, data, n_steps=80, batch_size=60, learning_rate=0.1, weight_decay=0)
    for network, state in zip((a, b), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert a.training
    assert all(parameter.grad is None for parameter in a.parameters())
    assert sum(curve.losses[-20:]) < sum(curve.losses[:20])
    assert torch.isfinite(torch.tensor(curve.losses)).all()
    policy = {"batch_norm": "re-estimated", "calibration": data[0]} if "Norm" in kind else {}
    middle = curve_barrier(curve, data, points=3, **policy).loss[1]
    assert middle < error_barrier(a, b, data, points=3, **policy).loss[1]


def test_tied_weights_stay_tied():
    curve = train_curve(Tied(0), Tied(1), examples(), n_steps=3, batch_size=20)
    assert torch.equal(curve.bend["first.weight"], curve.bend["second.weight"])
    half = states.between(Tied(0).state_dict(), Tied(1).state_dict(), 0.5)
    assert not torch.equal(curve.bend["first.weight"], half["first.weight"])


def test_frozen_parameters_stay_half_way():
    a, b, data = pair("mlp")
    a[0].requires_grad_(False)
    curve = train_curve(a, b, data, n_steps=3)
    half = states.between(a.state_dict(), b.state_dict(), 0.5)
    assert torch.equal(curve.bend["0.weight"], half["0.weight"])
    assert not torch.equal(curve.bend["4.weight"], half["4.weight"])


def test_same_seed_same_bend():
    a, b = mlp(0, dropout=0.5), mlp(1, dropout=0.5)
    data, random_state = examples(), torch.get_rng_state()
    bends = [train_curve(a, b, data, n_steps=5, seed=seed).bend for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(bends[0][name], bends[1][name]) for name in bends[0])
    assert not torch.equal(bends[0]["0.weight"], bends[2]["0.weight"])


def test_the_bend_gets_its_own_statistics():
    a, b, data = pair("mlp with BatchNorm")
    curve = train_curve(a, b, data, n_steps=5, batch_size=60)
    model = copy.deepcopy(a)
    model.load_state_dict(curve.bend)
    with torch.no_grad():
        hidden = model[0](data[0])
    torch.testing.assert_close(curve.bend["1.running_mean"], hidden.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"b": nn.Linear(6, 3)}, ArgumentError, "not of one architecture"),
        ({"kind": "cubic"}, ArgumentError, "'cubic'"),
        ({"data": (torch.zeros(0, 6), LABELS[:0])}, ArgumentError, "empty"),
        ({"data": DataLoader(TensorDataset(*examples()))}, ArgumentError, "what step i saw"),
        ({"n_steps": 0}, ArgumentError, "n_steps"),
        ({"learning_rate": 1e30, "n_steps": 9}, NonFiniteError, "training the bend: stopped"),
    ],
)
def test_refuses(change, error, said):
    arguments = {"a": mlp(0), "b": mlp(1), "data": examples()} | change
    with pytest.raises(error, match=said):
        train_curve(**arguments)


def test_refuses_more():
    a, b, data = pair("mlp")
    with pytest.raises(ArgumentError, match="needs a gradient"):
        train_curve(a.requires_grad_(False), b, data)
    curve = Curve("bezier", *(a.state_dict() for _ in range(3)), a)
    with pytest.raises(ArgumentError, match="no setting 'point'"):
        curve_barrier(curve, data, point=3)
    with pytest.raises(ArgumentError, match="points must be at least 2"):
        curve_barrier(curve, data, points=1)
    assert math.isclose(curve_barrier(curve, data).loss_barrier, 0, abs_tol=1e-6)
