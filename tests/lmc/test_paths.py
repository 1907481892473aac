"""Barriers of known height, exact zeros, and clear words about what cannot be joined."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

from lmc.closed_forms import (
    KINDS,
    Place,
    Product,
    Threshold,
    examples,
    grid,
    mlp,
    of_place,
    pair,
)
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import Mask, error_barrier, error_barriers, interpolate, measure, random_mask

LABELS = torch.zeros(4, dtype=torch.int64)
FOUR = (torch.zeros(4, 1), LABELS)


def test_a_hill_between_two_networks_has_its_known_height():
    # Loss -|w|^2 from (-1, 2) to (3, 2): lowest ends -5 and -13, the middle (1, 2) at -5, and the
    # highest point w = (0, 2) with -4 a quarter of the way. Barrier: -4 - (-5 - 13) / 2 = 5.
    loss = of_place(lambda w: -w.square().sum(1))
    found = error_barrier(Place(-1, 2), Place(3, 2), FOUR, points=41, loss=loss)
    assert found.loss_barrier == pytest.approx(5, abs=1e-6)
    assert found.loss == pytest.approx([-((4 * a - 1) ** 2) - 4 for a in found.alphas], abs=1e-5)
    assert found.alphas[found.loss.index(max(found.loss))] == 0.25
    # All examples agree, so halves choose the same point and chance plays no part.
    assert found.loss_split_barrier == pytest.approx(5, abs=1e-6)
    assert found.loss_interval == pytest.approx((5, 5), abs=1e-6)


def test_a_model_whose_weights_a_mask_holds_measures_no_others():
    a, b, data = pair("mlp")
    mask = random_mask(Mask.ones(a), 0.5, seed=0)
    hold = mask.hold(a, torch.optim.SGD(a.parameters(), lr=0.1))
    states = a.state_dict(), b.state_dict()
    for networks in ((a, b), states):
        with pytest.raises(ArgumentError, match=r"does not keep .* a mask holds it"):
            error_barrier(*networks, data, model=a)
    sparse = mask.apply(b.state_dict())
    error_barrier(a, sparse, data)
    hold.remove()
    found = error_barrier(*states, data, model=a)
    assert found.error[-1] == measure(b, data).error


def test_in_a_valley_the_higher_end_is_the_barrier():
    loss = of_place(lambda w: w.square().sum(1))
    found = error_barrier(Place(-1.0, 0.0), Place(3.0, 0.0), FOUR, loss=loss)
    assert found.loss_barrier == pytest.approx((9 - 1) / 2, rel=1e-6)


def test_error_along_a_monotone_line():
    x, y = grid(1000)
    found = error_barrier(Threshold(0.0), Threshold(0.4), (x, y), points=21)
    # The threshold moves evenly, and each step takes in another 1 % of the inputs.
    assert found.error == pytest.approx([0.2 * alpha for alpha in found.alphas], abs=0.0011)
    assert found.barrier == pytest.approx(0.1, abs=1e-9)
    assert (found.at, found.n) == (1.0, 1000)


def test_two_right_networks_with_a_blind_one_between():
    x, y = grid(1000)
    found = error_barrier(Product(1, 1), Product(-1, -1), (x, y), points=31)
    assert found.error == (0.0,) * 15 + (0.5,) + (0.0,) * 15
    assert (found.barrier, found.at, found.split_barrier) == (0.5, 0.5, 0.5)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert found.verdict() == "not connected"
    # An even number of points steps over the one blind place.
    assert error_barrier(Product(1, 1), Product(-1, -1), (x, y), points=30).barrier == 0


def test_nothing_else_needs_to_be_given():
    a, b, (x, y) = pair("mlp")
    found = error_barrier(a, b, (x, y))
    assert isinstance(found.barrier, float)
    assert len(found.alphas) == len(found.error) == len(found.loss) == 30
    assert found.alphas[::29] == (0.0, 1.0)
    assert found.batch_norm is None


@pytest.mark.parametrize("kind", KINDS)
def test_identical_copies_give_exactly_zero(kind):
    a, _, data = pair(kind)
    policies = {"batch_norm": "both", "calibration": data[0]} if "BatchNorm" in kind else {}
    found = error_barrier(a, copy.deepcopy(a), data, batch_size=13, train=data, **policies)
    for one in (found, found.train, *found.by_policy.values()):
        assert one.barrier == one.loss_barrier == one.split_barrier == one.loss_split_barrier == 0.0
        assert one.interval == one.loss_interval == (0.0, 0.0)
        assert len(set(one.error)) == len(set(one.loss)) == 1
    assert ("BatchNorm" in kind) == bool(found.by_policy)


@pytest.mark.parametrize("kind", KINDS)
def test_each_point_is_what_that_network_measures(kind):
    a, b, data = pair(kind)
    found = error_barrier(a, b, data, points=4, batch_size=17)
    for alpha, error, loss in zip(found.alphas, found.error, found.loss, strict=True):
        alone = measure(a, data, state=interpolate(a, b, alpha), batch_size=17)
        assert (error, loss) == (alone.error, pytest.approx(alone.loss, rel=1e-7))
    assert (found.error[0], found.error[-1]) == (measure(a, data).error, measure(b, data).error)


def test_modules_states_and_a_model_for_them_are_the_same():
    a, b, data = pair("residual with BatchNorm")
    expected = error_barrier(a, b, data).as_dict()
    assert error_barrier(a, b.state_dict(), data).as_dict() == expected
    assert error_barrier(a.state_dict(), b, data).as_dict() == expected
    spare = copy.deepcopy(a)
    given = error_barrier(a.state_dict(), b.state_dict(), data, model=spare)
    assert given.as_dict() == expected
    own = error_barrier(a.state_dict(), b.state_dict(), data, model=a)
    assert own.as_dict() == expected


def test_the_networks_come_back_as_they_were():
    a, b, data = pair("residual with BatchNorm")
    a.train()
    before = [copy.deepcopy(network.state_dict()) for network in (a, b)]
    error_barrier(a, b, data, batch_norm="both", calibration=data[0])
    for network, state in zip((a, b), before, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert a.training
    assert not b.training


def test_turning_the_path_round_changes_nothing_else():
    a, b, data = pair("mlp")
    there, back = error_barrier(a, b, data), error_barrier(b, a, data)
    assert there.barrier == back.barrier
    assert there.loss == pytest.approx(back.loss[::-1], rel=1e-5)  # float32, other order


def test_a_shuffling_loader_keeps_examples_together():
    a, b, (x, y) = pair("mlp", n=64)
    loader = DataLoader(
        TensorDataset(x, y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    found, plain = error_barrier(a, b, loader), error_barrier(a, b, (x, y))
    assert found.error == plain.error
    assert found.loss == pytest.approx(plain.loss, rel=1e-6)


def test_training_data_is_measured_on_the_same_path():
    a, b, data = pair("mlp")
    other = examples(40, seed=9)
    found = error_barrier(a, b, data, train=other)
    assert found.train.as_dict() == error_barrier(a, b, other).as_dict()
    assert found.as_dict()["train"]["n"] == 40


def test_all_pairs():
    networks, data = [mlp(seed) for seed in range(3)], examples()
    found = error_barriers(networks, data, points=5)
    assert list(found.by_pair) == [(0, 1), (0, 2), (1, 2)]
    barriers = [
        error_barrier(a, b, data, points=5).barrier for a, b in itertools.combinations(networks, 2)
    ]
    assert [one.barrier for one in found.by_pair.values()] == barriers
    assert (found.mean, found.largest) == (pytest.approx(sum(barriers) / 3), max(barriers))
    matrix = found.matrix()
    assert matrix == [list(column) for column in zip(*matrix, strict=True)]
    assert matrix[0][2] == barriers[1]
    assert found.linearly_connected(1.0)
    assert not found.linearly_connected(found.largest)
    assert set(found.as_dict()["pairs"]) == {"0-1", "0-2", "1-2"}
    with pytest.raises(ArgumentError, match="at least two networks"):
        error_barriers(networks[:1], data)
    with pytest.raises(ArgumentError, match="network 0 and network 2 are not of one architecture"):
        error_barriers([networks[0], networks[1], nn.Linear(6, 3)], data)


def test_masks_of_torch_prune_travel_along():
    a, b, data = pair("mlp")
    for network in (a, b):
        prune.l1_unstructured(network[0], "weight", amount=0.5)
    found = error_barrier(a, b, data)
    assert found.error[0] == measure(a, data).error
    assert found.error[-1] == measure(b, data).error


def test_the_seed_names_the_halves_only():
    a, b, data = pair("mlp")
    found = [error_barrier(a, b, data, seed=seed) for seed in range(6)]
    assert len({one.error for one in found}) == 1
    assert len({one.loss_interval for one in found}) > 1
    assert error_barrier(a, b, data, seed=5).as_dict() == found[5].as_dict()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"b": nn.Linear(6, 3)}, ArgumentError, "not of one architecture"),
        ({"b": mlp(1).double()}, ArgumentError, "Convert one"),
        ({"data": (torch.zeros(0, 6), LABELS[:0])}, ArgumentError, "empty"),
        ({"data": (torch.zeros(1, 6), LABELS[:1])}, ArgumentError, "2 examples"),
        ({"data": (torch.zeros(4, 6), LABELS + 3)}, ArgumentError, r"\[0, 3\)"),
        ({"data": iter([FOUR])}, ArgumentError, "only once"),
        ({"train": (torch.zeros(3, 6), LABELS)}, ShapeError, "x and y of train"),
        ({"points": 1}, ArgumentError, "at least 2"),
        ({"batch_norm": "recomputed"}, ArgumentError, "'recomputed'"),
        ({"batch_norm": "re-estimated"}, ArgumentError, "Pass calibration=x"),
        ({"batch_norm": "both"}, ArgumentError, "Pass calibration=x"),
        ({"batch_norm": "both", "calibration": FOUR}, ArgumentError, "no running statistics"),
        ({"confidence": 95}, ArgumentError, "confidence must lie in"),
        ({"evaluation": "fast"}, ArgumentError, "'fast'"),
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"model": nn.Linear(6, 3)}, ArgumentError, "does not belong to Linear"),
    ],
)
def test_refuses(change, error, said):
    arguments = {"a": mlp(0), "b": mlp(1), "data": examples()} | change
    a, b, data = (arguments.pop(name) for name in ("a", "b", "data"))
    with pytest.raises(error, match=said):
        error_barrier(a, b, data, **arguments)


def test_refuses_states_without_a_model():
    with pytest.raises(ArgumentError, match="Pass model="):
        error_barrier(mlp(0).state_dict(), mlp(1).state_dict(), examples())


def test_refuses_architectures_that_only_look_alike():
    a, b = mlp(0), mlp(1)
    b[2] = nn.Tanh()
    with pytest.raises(ArgumentError, match="b's weights in Sequential give other outputs"):
        error_barrier(a, b, examples())
    with pytest.raises(ArgumentError, match="a's weights in Sequential give other outputs"):
        error_barrier(a, mlp(2), examples(), model=b)


def test_refuses_weights_and_losses_that_are_not_finite():
    broken = mlp(1)
    with torch.no_grad():
        broken[4].bias[1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"'4\.bias' of b"):
        error_barrier(mlp(0), broken, examples())
    # The logarithm of the middle point's weight is that of 0.
    loss = of_place(lambda w: w.abs().log().sum(1))
    with pytest.raises(NonFiniteError, match=r"the point at 0\.5 is NaN or infinite"):
        error_barrier(Place(-1, 1), Place(1, 1), FOUR, points=3, loss=loss)
