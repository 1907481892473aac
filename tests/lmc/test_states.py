"""Networks as points: combinations, distances, and what has no place in one space."""

import math

import pytest
import torch
from torch import nn

from lmc.closed_forms import KINDS, Place, mlp, pair
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import Mask, align, distance, interpolate, measure, state_of, states


def test_half_way_is_the_mean():
    a, b, _ = pair("residual with BatchNorm")
    half = interpolate(a, b, 0.5)
    for name, tensor in a.state_dict().items():
        other = b.state_dict()[name]
        expected = (tensor + other) / 2 if tensor.is_floating_point() else tensor
        torch.testing.assert_close(half[name], expected)  # one rounding apart


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_a_network_and_its_copy_give_the_network_bit_for_bit(kind, alpha):
    a, _, _ = pair(kind)
    with torch.no_grad():
        next(a.parameters()).view(-1)[0] = -0.0
    found = interpolate(a, a.state_dict(), alpha)
    for name, tensor in a.state_dict().items():
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_the_ends_are_the_networks_bit_for_bit():
    a, b, _ = pair("mlp with BatchNorm")
    for alpha, end in ((0.0, a), (1.0, b)):
        found = interpolate(a, b, alpha)
        for name, tensor in end.state_dict().items():
            assert not tensor.is_floating_point() or torch.equal(found[name], tensor)


def test_integers_come_from_the_first():
    a, b, data = pair("mlp with BatchNorm")
    b.train()(data[0])
    counts = [network.state_dict()["1.num_batches_tracked"].item() for network in (a, b)]
    assert counts == [1, 2]
    assert interpolate(a, b, 1.0)["1.num_batches_tracked"] == 1


def test_beyond_the_ends_the_line_goes_on():
    assert interpolate(Place(0.0), Place(2.0), 1.5)["weights"].tolist() == [3.0]


def test_distance_is_euclidean():
    assert distance(Place(0, 0, 1), Place(3, 4, 1)) == 5
    a, b, _ = pair("mlp")
    flat = [nn.utils.parameters_to_vector(network.parameters()).double() for network in (a, b)]
    assert distance(a, b) == pytest.approx((flat[0] - flat[1]).norm().item(), rel=1e-12)
    assert distance(a, a) == 0


def test_complex_weights_are_two_numbers_each():
    a = {"weight": torch.tensor([1.0, 2.0]), "phase": torch.tensor([1 + 1j, 2j])}
    b = {"weight": torch.tensor([1.0, 2.0]), "phase": torch.tensor([1 + 5j, 3 + 2j])}
    assert distance(a, b) == 5  # 4 along the imaginary axis, 3 along the real one
    assert states.inner_product(a, b, ["phase"]) == 1 + 5 + 4


def test_combinations_are_weighted_sums():
    corners = [state_of(Place(*place)) for place in ((1, 0), (0, 1), (2, 2))]
    found = states.combination(corners, (0.25, 0.5, 0.25))
    assert found["weights"].tolist() == [0.75, 1.0]
    parameters = states.inner_product(corners[0], corners[2], ["weights"])
    assert math.isclose(parameters, 2)


def test_states_are_copies():
    model = Place(1.0)
    state = state_of(model)
    with torch.no_grad():
        model.weights += 1
    assert state["weights"].item() == 1


@pytest.mark.parametrize(
    ("b", "error", "said"),
    [
        (nn.Linear(6, 12), ArgumentError, r"a alone has '0.bias', '0.weight', '4.bias' and 1 more"),
        (nn.Linear(6, 12), ArgumentError, r"b alone has 'bias', 'weight'"),
        (mlp(1, batch_norm=True), ArgumentError, "b alone has '1.bias'"),
        (mlp(0).double(), ArgumentError, "float32 in a and torch.float64 in b"),
        (
            mlp(0).state_dict() | {"0.bias": torch.zeros(5)},
            ShapeError,
            r"'0.bias' has shape \(12,\)",
        ),
        (
            mlp(0).state_dict() | {"4.bias": torch.tensor([0, torch.nan, 0])},
            NonFiniteError,
            "'4.bias' of b holds a NaN",
        ),
        (3, ArgumentError, "got int"),
        ({}, ArgumentError, "not of one architecture"),
    ],
)  # fmt: skip
def test_refuses_networks_that_are_not_alike(b, error, said):
    with pytest.raises(error, match=said):
        interpolate(mlp(0), b, 0.5)


def test_refuses_what_cannot_be_interpolated():
    with pytest.raises(ArgumentError, match="no floating-point tensors"):
        interpolate(nn.ReLU(), nn.ReLU(), 0.5)
    with pytest.raises(ArgumentError, match="alpha must be finite"):
        interpolate(mlp(0), mlp(1), math.nan)
    with pytest.raises(ArgumentError, match="lazy module"):
        interpolate(nn.LazyLinear(2), nn.LazyLinear(2), 0.5)
    with pytest.raises(NonFiniteError, match="of a holds"):
        interpolate(Place(math.inf), Place(0.0), 0.5)


@pytest.mark.parametrize(
    "used",
    [
        state_of,
        Mask.ones,
        lambda model: measure(model, (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64))),
        lambda model: align(model, model, example=torch.zeros(2, 3)),
    ],
)
def test_a_lazy_module_without_weights_is_refused(used):
    with pytest.raises(ArgumentError, match=r"'0.weight' belongs to a lazy module .* one batch"):
        used(nn.Sequential(nn.LazyLinear(4)))
