"""Which weights go: against sorting, against finite differences, and with exact counts."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from reference import pruning as reference
from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import criteria
from sidle.lmc.masks import Mask, prunable


def lists(tensors):
    return {name: tensor.reshape(-1).tolist() for name, tensor in tensors.items()}


def drawn(seed, *, steps=50):
    """Weights of few distinct values, so that ties abound, and a mask that prunes some already."""
    generator = seeding.torch_generator(seed)
    shapes = {"a": (7, 5), "b": (3, 2, 3), "c": (11, 1)}
    state = {
        name: (torch.randn(shape, generator=generator) * steps).round() / steps
        for name, shape in shapes.items()
    }
    kept = {name: torch.rand(shape, generator=generator) < 0.8 for name, shape in shapes.items()}
    return state, Mask(kept)


@pytest.mark.parametrize("steps", [1, 3, 1000])
@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_magnitude_takes_what_sorting_takes(fraction, scope, steps):
    for seed in range(5):
        state, mask = drawn(seed, steps=steps)
        pruned = criteria.magnitude(state, mask, fraction, scope=scope)
        absolute = {name: tensor.abs() for name, tensor in state.items()}
        expected = reference.without_lowest(
            lists(absolute), lists(mask), fraction, together=scope == "global"
        )
        assert lists(pruned) == expected


@pytest.mark.parametrize(
    ("n", "fraction", "gone"),
    [(15, 0.1, 2), (100, 0.2, 20), (5, 0.1, 1), (4, 0.1, 0), (10**9, 0.2, 2 * 10**8), (25, 0.3, 8)],
)
def test_counts_are_rounded_half_up_without_rounding_errors(n, fraction, gone):
    assert criteria.n_pruned(n, fraction) == gone


def test_rounds_of_a_fifth_leave_what_the_paper_says():
    mask = Mask({"w": torch.ones(100_000, dtype=torch.bool)})
    state = {"w": torch.randn(100_000, generator=seeding.torch_generator(0))}
    for n in range(1, 6):
        pruned = criteria.magnitude(state, mask)
        assert mask.n_kept - pruned.n_kept == criteria.n_pruned(mask.n_kept, 0.2)
        mask = pruned
        assert mask.density == pytest.approx(0.8**n, abs=2e-5)  # a count is rounded each round


def test_of_equal_weights_the_first_go():
    state = {"b": torch.ones(4), "a": torch.ones(4)}
    mask = Mask({name: torch.ones(4, dtype=torch.bool) for name in state})
    pruned = criteria.magnitude(state, mask, 0.75)
    assert pruned["b"].tolist() == [False] * 4
    assert pruned["a"].tolist() == [False, False, True, True]


def test_tied_names_go_along():
    mask = Mask({"w": torch.ones(4) > 0}, tied={"v": "w"})
    weights = torch.arange(4.0)
    pruned = criteria.magnitude({"w": weights, "v": weights}, mask, 0.5)
    assert dict(pruned.tied) == {"v": "w"}
    assert pruned.apply({"w": weights, "v": weights})["v"].tolist() == [0, 0, 2, 3]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_random_masks_have_exact_counts_and_follow_the_seed(scope):
    _, mask = drawn(0)
    first, again, other = (criteria.random_mask(mask, 0.3, seed=s, scope=scope) for s in (1, 1, 2))
    assert first == again
    assert first != other
    for name in mask:
        assert not (first[name] & ~mask[name]).any()
    gone = mask.n_kept - first.n_kept
    if scope == "global":
        assert gone == criteria.n_pruned(mask.n_kept, 0.3)
    else:
        assert gone == sum(criteria.n_pruned(int(kept.sum()), 0.3) for kept in mask.values())


def test_shuffled_keeps_the_count_of_each_layer_and_nothing_else():
    mask = Mask({"a": torch.arange(4000).reshape(40, 100) < 1000, "b": torch.arange(10) < 3})
    shuffled = criteria.shuffled(mask, seed=0)
    assert shuffled.densities() == mask.densities()
    assert shuffled == criteria.shuffled(mask, seed=0)
    assert shuffled != criteria.shuffled(mask, seed=1)
    # Each place is kept with chance 1/4: the overlap is hypergeometric, sd about 11.9 around 250.
    assert abs(int((shuffled["a"] & mask["a"]).sum()) - 250) < 5 * 11.9


def network(seed=0):
    with seeding.scope(seed):
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def examples(n=30):
    x = torch.randn(n, 4, generator=seeding.torch_generator(0), dtype=torch.float64)
    return x, x[:, :3].argmax(1)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_snip_ranks_by_the_effect_of_removal(scope):
    model, (x, y) = network(), examples()
    mask = Mask.ones(model)
    found = criteria.snip(model, (x, y), mask, 0.6, scope=scope)
    effects = {
        name: reference.removal_effects(
            model, name, lambda m: functional.cross_entropy(m(x), y)
        ).abs()
        for name in prunable(model)
    }
    expected = reference.without_lowest(
        lists(effects), lists(mask), 0.6, together=scope == "global"
    )
    assert lists(found) == expected


def test_snip_over_batches_is_snip_over_all_and_changes_no_model():
    model, (x, y) = network(), examples()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mask = Mask.ones(model)
    whole = criteria.snip(model, (x, y), mask, 0.6)
    parts = [(x[:7], y[:7]), (x[7:], y[7:])]  # unequal, so that weighting matters
    assert criteria.snip(model, parts, mask, 0.6) == whole
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_snip_leaves_running_statistics_and_frozen_weights_alone_and_follows_its_seed():
    with seeding.scope(0):
        model = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.Dropout(), nn.Linear(64, 3))
    model.requires_grad_(False)
    x, y = examples()
    data = x.float(), y
    mask = Mask.ones(model)
    first, again, other = (criteria.snip(model, data, mask, 0.5, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert model[1].num_batches_tracked == 0
    assert not model[0].weight.requires_grad


def test_reinitialised_follows_its_seed():
    first, again, other = (
        criteria.reinitialised(lambda: nn.Sequential(nn.Linear(4, 3)), seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(first["0.weight"], again["0.weight"])
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_bad_arguments_are_refused():
    state, mask = drawn(0)
    for fraction in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ArgumentError, match="strictly between 0 and 1"):
            criteria.magnitude(state, mask, fraction)
    with pytest.raises(ArgumentError, match="'global' or 'layer', got 'row'"):
        criteria.magnitude(state, mask, 0.5, scope="row")
    with pytest.raises(ArgumentError, match="'a' is absent"):
        criteria.magnitude({"b": state["b"]}, mask, 0.5)
    with pytest.raises(ShapeError, match="'b' must have"):
        criteria.magnitude(state | {"b": torch.ones(2)}, mask, 0.5)
    with pytest.raises(NonFiniteError, match="'c' has scores that are NaN"):
        criteria.magnitude(state | {"c": state["c"] / 0 * 0}, mask, 0.5)
    with pytest.raises(ArgumentError, match="none would be left"):
        criteria.magnitude({"w": torch.ones(1)}, Mask({"w": torch.ones(1) > 0}), 0.9)
    with pytest.raises(ArgumentError, match=r"does not depend on '1.weight'"):
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3))
        model.forward = model[0].forward
        x, y = examples()
        criteria.snip(model, (x.float(), y), Mask.ones(model), 0.5)
