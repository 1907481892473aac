"""Channels that go as a whole: without a trace where they were dead, by their share otherwise."""

import importlib

import pytest
import torch
from torch import nn

from sidle import seeding
from sidle.errors import ArgumentError, MissingExtraError
from sidle.lmc.compact import CompactLinear, compacted, load_compact, save_compact
from sidle.lmc.structured import prune_channels, without_dead_channels

pytest.importorskip("torch_pruning", reason="needs the extra 'structured'")


class Residual(nn.Module):
    """Two convolutions with normalisation around a shortcut, and a classifier on the pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.outer = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.hidden, self.head = nn.Linear(6 * 16, 9), nn.Linear(9, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.outer(torch.relu(self.inner(x)))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


def network(seed=0):
    with seeding.scope(seed):
        return Residual()


def inputs():
    return torch.randn(4, 2, 4, 4, generator=seeding.torch_generator(1))


def kill(model):
    """Let nothing read channels 1 and 4 of the trunk, 0 of the branch, and five hidden neurons."""
    with torch.no_grad():
        model.inner.weight[:, [1, 4]] = 0
        model.hidden.weight.view(9, 6, 16)[:, [1, 4]] = 0
        model.outer.weight[:, 0] = 0
        model.head.weight[:, 2:7] = 0


def test_dead_channels_go_and_outputs_stay():
    model = network()
    model.norm.running_mean.normal_(generator=seeding.torch_generator(2))
    kill(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = without_dead_channels(model, inputs())
    assert small.stem.weight.shape == (4, 2, 3, 3)
    assert small.norm.num_features == 4
    assert small.inner.weight.shape == (4, 4, 3, 3)
    assert small.outer.weight.shape == (4, 4, 3, 3)
    assert small.hidden.weight.shape == (4, 4 * 16)
    assert small.head.weight.shape == (3, 4)
    # float32 sums of up to a hundred terms, in another order.
    torch.testing.assert_close(small(inputs()), model.eval()(inputs()), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_what_fed_only_dead_channels_dies_with_them():
    with seeding.scope(0):
        model = nn.Sequential(
            nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 2)
        )
    with torch.no_grad():
        model[4].weight[:, 3:] = 0  # neurons 3 to 6 of the second layer are not read,
        model[2].weight[:3, 2:] = 0  # and alone read neurons 2 to 5 of the first
    small = without_dead_channels(model, torch.ones(1, 5))
    assert [small[i].out_features for i in (0, 2, 4)] == [2, 3, 2]
    x = torch.randn(10, 5, generator=seeding.torch_generator(0))
    torch.testing.assert_close(small(x), model(x), atol=1e-6, rtol=1e-5)


def test_nothing_dead_nothing_gone_and_one_channel_is_left_at_least():
    model = network()
    assert without_dead_channels(model, inputs()).state_dict().keys() == model.state_dict().keys()
    same = without_dead_channels(model, inputs())
    assert all(same.state_dict()[k].shape == v.shape for k, v in model.state_dict().items())
    with torch.no_grad():
        model.head.weight.zero_()
    small = without_dead_channels(model, inputs())
    assert small.hidden.out_features == 1
    torch.testing.assert_close(small(inputs()), model.head.bias.expand(4, 3))


def test_channels_that_a_normalisation_mixes_stay():
    with seeding.scope(0):
        model = nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    with torch.no_grad():
        model[2].weight[:, :3] = 0
    assert without_dead_channels(model, torch.ones(2, 5))[0].out_features == 6


class Counts(nn.Module):
    """Uses how many channels there are, which no graph shows."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden) * hidden.shape[1]


def test_changed_outputs_are_refused():
    model = Counts()
    with torch.no_grad():
        model.last.weight[:, :3] = 0
    with pytest.raises(ArgumentError, match="outputs of the Counts changed"):
        without_dead_channels(model, torch.ones(2, 5))


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_channels_of_least_magnitude_go_and_outputs_keep_their_size(scope):
    model = network().train()
    with torch.no_grad():
        for layer in (model.hidden, model.inner):
            layer.weight[::2] *= 1e-3
            layer.bias[::2] *= 1e-3
        model.head.weight[:, ::2] *= 1e-3
        model.outer.weight[:, ::2] *= 1e-3
    small = prune_channels(model, inputs(), 0.4, scope=scope)
    assert small.training
    assert small(inputs()).shape == (4, 3)
    assert small.hidden.out_features < 9
    assert small.inner.out_channels < 5
    strong = model.hidden.weight.detach()[1::2].norm()
    # What is left of the strong rows: all, if the weak ones went first.
    assert small.hidden.weight.detach().norm() > 0.5 * strong
    assert model.hidden.out_features == 9
    if scope == "layer":
        # Torch-Pruning keeps floor(0.6 n) of n channels.
        assert (small.stem.out_channels, small.outer.out_channels) == (3, 3)
        assert (small.inner.out_channels, small.hidden.out_features) == (3, 5)


def test_a_smaller_architecture_comes_back_from_its_file(tmp_path):
    model = network()
    kill(model)
    with torch.no_grad():
        model.hidden.weight[:, ::3] = 0
        model.hidden.weight[:, 1::3] = 0
    small = compacted(without_dead_channels(model, inputs()))
    assert isinstance(small.hidden, CompactLinear)
    save_compact(tmp_path / "small", small)
    loaded = load_compact(tmp_path / "small", network(seed=3))
    assert loaded.stem.out_channels == 4
    assert loaded.norm.num_features == 4
    assert torch.equal(loaded(inputs()), small(inputs()))


def test_bad_arguments_and_a_missing_extra_are_refused(monkeypatch):
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        prune_channels(network(), inputs(), 1.0)
    with pytest.raises(ArgumentError, match="cannot trace a Residual"):
        without_dead_channels(network(), torch.ones(1, 3, 4, 4))

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"sidle\[structured\]"):
        prune_channels(network(), inputs(), 0.5)
