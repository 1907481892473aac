"""Permutations: the function stays, for every kind of network; against orders written by hand."""

import copy

import pytest
import torch
from torch import nn

from lmc.architectures import (
    ARCHITECTURES,
    Tied,
    Two,
    flattened,
    mlp,
    outputs,
    permuted_copy,
    randomised,
    residual,
)
from sidle.errors import ArgumentError, ShapeError
from sidle.lmc import derive_specification


def sizes(specification):
    groups = specification.groups
    return ", ".join(
        f"{g.size} in {groups[g.outer].size}" if g.outer else f"{g.size}" for g in groups.values()
    )


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch says that it is slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_permutation_leaves_the_outputs(name):
    make, example, expected = ARCHITECTURES[name]
    network = randomised(make(), 0)
    specification = derive_specification(network, example)
    assert sizes(specification) == expected
    before = outputs(network, example)
    for seed in range(3):
        other, permutations = permuted_copy(network, example, seed)
        assert any(
            not torch.equal(a, b)
            for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
        )
        # Sums of a few dozen numbers in another order, in float64.
        torch.testing.assert_close(outputs(other, example), before, rtol=1e-11, atol=1e-12)
        inverse = specification.inverse(permutations)
        back = specification.permute(other.state_dict(), inverse)
        assert all(torch.equal(back[key], value) for key, value in network.state_dict().items())


def test_a_perceptron_against_indexing_by_hand():
    network = randomised(mlp(), 0)
    other, permutations = permuted_copy(network, torch.zeros(2, 6))
    p, q = permutations["0.weight[0]"], permutations["4.weight[0]"]
    expected = network.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
        expected[name] = expected[name][p]
    expected["4.weight"] = expected["4.weight"][q][:, p]
    expected["4.bias"] = expected["4.bias"][q]
    expected["6.weight"] = expected["6.weight"][:, q]
    assert all(torch.equal(other.state_dict()[name], value) for name, value in expected.items())


def test_flattened_channels_move_their_positions_along():
    network = randomised(flattened(), 0)
    other, permutations = permuted_copy(network, torch.zeros(2, 2, 6, 6))
    p, q = permutations["4.weight[0]"], permutations["7.weight[0]"]
    expected = network.state_dict()["7.weight"].reshape(8, 4, 9)[q][:, p].reshape(8, 36)
    assert torch.equal(other.state_dict()["7.weight"], expected)


def test_a_residual_stream_is_one_group():
    specification = derive_specification(residual(), torch.zeros(2, 3, 8, 8))
    stream = {name for name, _ in specification.groups["0.weight[0]"].axes}
    assert {"0.weight", "3.second.weight", "4.second.weight", "5.short.0.weight"} <= stream
    assert "3.first_norm.weight" not in stream
    assert "1.running_var" in specification.statistics


def test_heads_move_as_wholes_and_values_within_them():
    make, example, _ = ARCHITECTURES["hand_written"]
    network = randomised(make(), 0)
    other, found = permuted_copy(network, example)
    heads, query, value = (
        found[name] for name in ("query.weight[0]#0", "query.weight[0]#1", "value.weight[0]#1")
    )
    stream = found["embed.weight[1]"]
    for name, within in (("query", query), ("key", query), ("value", value)):
        weight = network.state_dict()[f"{name}.weight"].reshape(2, 3, 8)
        by_hand = [weight[heads[h], within[h, i]][stream] for h in range(2) for i in range(3)]
        assert torch.equal(other.state_dict()[f"{name}.weight"], torch.stack(by_hand))


def test_tied_tensors_move_under_all_their_names():
    network = randomised(Tied(), 0)
    specification = derive_specification(network, torch.zeros(1, 2, dtype=torch.long))
    assert specification.aliases == {"embedding.weight": ("out.weight",)}
    state = {name: value.clone() for name, value in network.state_dict().items()}  # no longer tied
    moved = specification.permute(state, specification.random(torch.Generator().manual_seed(0)))
    assert torch.equal(moved["embedding.weight"], moved["out.weight"])
    assert not torch.equal(moved["out.weight"], state["out.weight"])


def test_what_the_graph_does_not_use_stays():
    network = Two()
    specification = derive_specification(network, ARCHITECTURES["two"][1])
    assert specification.unused == ("unused.weight", "unused.bias")
    moved = specification.permute(
        network.state_dict(), specification.random(torch.Generator().manual_seed(0))
    )
    assert torch.equal(moved["unused.weight"], network.unused.weight)


def test_a_counter_of_batches_is_not_called_unused():
    assert derive_specification(mlp(), torch.zeros(2, 6)).unused == ()


def test_text_names_groups_and_reasons():
    make, example, _ = ARCHITECTURES["grouped"]
    text = str(derive_specification(make(), example))
    assert "0.weight[0]#1: 3 units in each of 2, 0.weight[0], 0.bias[0], 2.weight[1]" in text
    assert "fixed: 4.weight[0] (it is the network's output)" in text
    assert "fixed: 0.weight[2] (conv2d in 0 moves a kernel along it)" in text
    assert "unused: unused.bias" in str(derive_specification(Two(), ARCHITECTURES["two"][1]))


def test_a_buffer_outside_the_state_keeps_its_units():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)
            self.register_buffer("scale", torch.arange(4.0), persistent=False)

        def forward(self, x):
            return self.two(self.one(x) * self.scale)

    specification = derive_specification(Scaled(), torch.zeros(1, 3))
    assert not specification.groups
    assert "does not hold this buffer" in str(specification)


def test_constants_keep_the_units_they_meet():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.two(self.one(x) * torch.arange(4.0))

    assert not derive_specification(Scaled(), torch.zeros(1, 3)).groups


def test_random_permutations_are_uniform():
    specification = derive_specification(
        nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), torch.zeros(1, 2)
    )
    generator = torch.Generator().manual_seed(0)
    counts = {}
    for _ in range(600):
        key = tuple(specification.random(generator)["0.weight[0]"].tolist())
        counts[key] = counts.get(key, 0) + 1
    # Six orders, 100 of each expected with standard deviation 9.1: five of those.
    assert len(counts) == 6
    assert all(abs(count - 100) < 46 for count in counts.values())


def test_identity_and_mistakes_in_permutations():
    network = mlp()
    specification = derive_specification(network, torch.zeros(2, 6))
    identity = specification.identity()
    state = network.state_dict()
    assert all(torch.equal(specification.permute(state, identity)[k], v) for k, v in state.items())
    twice = identity | {"0.weight[0]": torch.zeros(9, dtype=torch.long)}
    with pytest.raises(ArgumentError, match=r"'0\.weight\[0\]' permutations of 9 units.*other num"):
        specification.permute(state, twice)
    short = identity | {"4.weight[0]": torch.arange(6)}
    with pytest.raises(ArgumentError, match="shape"):
        specification.permute(state, short)
    with pytest.raises(ArgumentError, match="got none"):
        specification.permute(state, {"0.weight[0]": identity["0.weight[0]"]})
    without = {name: value for name, value in state.items() if name != "0.bias"}
    with pytest.raises(ArgumentError, match=r"no tensor '0\.bias'"):
        specification.permute(without, identity)
    with pytest.raises(ShapeError, match=r"'0\.bias' must have shape \(9,\), got \(8,\)"):
        specification.permute(state | {"0.bias": torch.zeros(8)}, identity)


def test_deriving_changes_nothing():
    network = mlp().train()
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    derive_specification(network, torch.zeros(2, 6))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
