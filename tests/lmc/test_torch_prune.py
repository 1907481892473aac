"""Masks to torch.nn.utils.prune and back, compared with what torch itself does."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sidle import seeding
from sidle.errors import ArgumentError, ShapeError
from sidle.lmc.criteria import random_mask
from sidle.lmc.masks import Mask
from sidle.lmc.torch_prune import from_torch_prune, to_torch_prune, to_torch_prune_state


def network(seed=0):
    with seeding.scope(seed):
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))


def inputs():
    return torch.randn(5, 2, 4, 4, generator=seeding.torch_generator(1))


@pytest.mark.parametrize("as_state", [False, True])
def test_what_torch_pruned_comes_in_whole(as_state):
    model, plain = network(), network()
    prune.l1_unstructured(model[0], "weight", 0.5)
    prune.random_unstructured(model[2], "bias", 1)
    state, mask = from_torch_prune(model.state_dict() if as_state else model)
    assert set(mask) == {"0.weight", "2.bias"}
    assert mask.density == pytest.approx((36 + 2) / (72 + 3))
    plain.load_state_dict(state)
    # The same numbers go into the same operations.
    assert torch.equal(plain(inputs()), model(inputs()))
    for part, name in ((model[0], "weight"), (model[2], "bias")):
        prune.remove(part, name)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_what_goes_out_is_pruned_by_torch_and_comes_back():
    model = network()
    mask = random_mask(Mask.ones(model), 0.5, seed=0)
    expected = mask.apply(model.state_dict())
    state = to_torch_prune_state(model.state_dict(), mask)
    pruned = to_torch_prune(model, mask)
    assert pruned is model
    assert prune.is_pruned(model)
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    back, same = from_torch_prune(model)
    assert same == mask
    assert all(torch.equal(back[name], expected[name]) for name in expected)
    pruned(inputs()).sum().backward()
    assert not pruned[2].weight_orig.grad[~mask["2.weight"]].any()


def test_what_is_no_pruned_model_is_refused():
    with pytest.raises(ArgumentError, match="nothing is pruned"):
        from_torch_prune(network())
    state = {"w_orig": torch.ones(2), "w_mask": torch.tensor([0.5, 1.0])}
    with pytest.raises(ArgumentError, match="zeros and ones alone"):
        from_torch_prune(state)
    with pytest.raises(ArgumentError, match="both 'w' and 'w_orig'"):
        from_torch_prune(state | {"w": torch.ones(2)})
    with pytest.raises(ShapeError, match=r"'w_mask' must have .* \(2,\), got \(3,\)"):
        from_torch_prune(state | {"w_mask": torch.ones(3)})


def test_tied_weights_come_in_with_one_mask_and_do_not_go_out():
    shared, kept = torch.ones(2), torch.tensor([0.0, 1.0])
    state = {"a_orig": shared, "a_mask": kept, "b_orig": shared, "b_mask": kept.clone()}
    plain, mask = from_torch_prune(state)
    assert (set(mask), dict(mask.tied)) == ({"a"}, {"b": "a"})
    assert plain["b"].tolist() == [0, 1]
    with pytest.raises(ArgumentError, match="one tensor with two masks"):
        from_torch_prune(state | {"b_mask": 1 - kept})
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    with pytest.raises(ArgumentError, match=r"1.weight share their tensor"):
        to_torch_prune(model, Mask.ones(model))
