"""What the room hands to a user's training function, and what it refuses to take back."""

import functools

import numpy as np
import pytest
import torch

from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import training_function
from sidle.lmc.masks import Mask
from sidle.lmc.training_function import copied, digest, source_digest, train, with_weights

STATE = {"w": torch.tensor([1.0, -2.0, 3.0])}
TREE = {"model": STATE, "optimizer": {"momentum": [torch.tensor([5.0])], "step": 7}}
MASK = Mask({"w": torch.tensor([True, False, True])})


def walk(state, start, stop, seed, mask=None):
    """Add noise from the global generator at each step."""
    w = state["w"]
    for _ in range(start, stop):
        w += torch.randn(3)
        if mask is not None:
            w *= mask["w"]
    return {"w": w}


def test_global_draws_follow_the_seed_and_the_callers_generator_goes_on():
    torch.manual_seed(5)
    first = train(walk, STATE, 0, 4, seed=1)
    drawn = torch.rand(1)
    again, other = (train(walk, STATE, 0, 4, seed=seed) for seed in (1, 2))
    assert torch.equal(first["w"], again["w"])
    assert not torch.equal(first["w"], other["w"])
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_memory_is_never_shared_with_the_function():
    kept = []

    def keeping(state, start, stop, seed):
        kept.append(state)
        state["model"]["w"].zero_()
        state["optimizer"]["momentum"][0].zero_()
        return state

    returned = train(keeping, TREE, 0, 1, seed=0)
    assert STATE["w"][0] == 1
    assert TREE["optimizer"]["momentum"][0] == 5
    kept[0]["model"]["w"].fill_(9)
    assert not returned["model"]["w"].any()


def test_no_steps_return_the_masked_state_untrained():
    def never(state, start, stop, seed, mask=None):
        raise AssertionError

    trained = train(never, TREE, 3, 3, seed=0, mask=MASK)
    assert trained["model"]["w"].tolist() == [1.0, 0.0, 3.0]
    assert trained["optimizer"]["step"] == 7


def test_weights_are_masked_before_they_are_handed_over():
    seen = []

    def look(state, start, stop, seed, *, mask):
        seen.append((state["model"]["w"].tolist(), start, stop, seed, mask))
        return state

    train(look, TREE, 2, 9, seed=4, mask=MASK)
    assert seen == [([1.0, 0.0, 3.0], 2, 9, 4, MASK)]


def test_a_dense_function_needs_no_mask_and_a_sparse_one_does():
    def dense(state, start, stop, seed):
        return state

    assert torch.equal(train(dense, STATE, 0, 1, seed=0)["w"], STATE["w"])
    with pytest.raises(ArgumentError, match=r"'.*dense' is to train a pruned .* takes no `mask`"):
        train(dense, STATE, 0, 1, seed=0, mask=MASK)
    train(lambda *arguments, **keywords: arguments[0], STATE, 0, 1, seed=0, mask=MASK)


def test_revived_weights_are_refused_and_named():
    def forgetful(state, start, stop, seed, mask=None):
        return {"w": state["w"] - 0.1}

    with pytest.raises(ArgumentError, match=r"revived pruned weights in 'w' \(1\)"):
        train(forgetful, STATE, 0, 1, seed=0, mask=MASK)


@pytest.mark.parametrize(
    ("returned", "error", "said"),
    [
        (None, ArgumentError, "must return the state at step 1 as a dictionary, got NoneType"),
        ({"v": torch.ones(3)}, ArgumentError, "'v', 'w' are in one of the two"),
        ({"w": torch.ones(4)}, ArgumentError, r"'w' with shape \(4,\)"),
        ({"w": torch.tensor([1, float("nan"), 1])}, NonFiniteError, "infinite weights in 'w'"),
        ({"model": {}}, ArgumentError, "holds no weights"),
    ],
)
def test_what_is_no_trained_state_is_refused(returned, error, said):
    def odd(state, start, stop, seed):
        return returned

    with pytest.raises(error, match=said):
        train(odd, STATE, 0, 1, seed=0)


def test_steps_out_of_range_are_refused():
    for start, stop in ((-1, 3), (4, 3)):
        with pytest.raises(ArgumentError, match="0 <= start <= stop"):
            train(walk, STATE, start, stop, seed=0)
    with pytest.raises(ArgumentError, match="holds no weights"):
        train(walk, {"model": {"count": torch.tensor(3)}}, 0, 1, seed=0)


def test_weights_stand_under_model_or_are_the_tree():
    assert training_function.weights(TREE) is STATE
    assert training_function.weights(STATE) is STATE
    named_model = {"model": torch.ones(2)}  # a module whose only parameter is called "model"
    assert training_function.weights(named_model) is named_model
    replaced = with_weights(TREE, {"w": torch.zeros(3)})
    assert replaced["optimizer"] is TREE["optimizer"]
    assert not replaced["model"]["w"].any()
    assert with_weights(STATE, {"w": 1}) == {"w": 1}


def test_copies_are_detached_and_stay_tied():
    shared = torch.ones(2, requires_grad=True) * 2
    made = copied({"a": shared.detach(), "b": [shared.detach()], "c": (shared,)})
    made["a"].zero_()
    assert not made["b"][0].any()
    assert shared.detach().all()
    assert not made["c"][0].requires_grad


def test_digest_sees_every_bit_and_place():
    trees = [
        TREE,
        {**TREE, "optimizer": {"momentum": [torch.tensor([5.0])], "step": 8}},
        {**TREE, "model": {"w": torch.tensor([1.0, -2.0, 3.0000002])}},
        {"model": STATE, "optimizer": {"momentum": [torch.tensor([5.0])], "Step": 7}},
        {"model": {"w": STATE["w"].double()}, "optimizer": TREE["optimizer"]},
        {"model": {"w": torch.tensor([1.0, -2.0, -0.0])}},
        {"model": {"w": torch.tensor([1.0, -2.0, 0.0])}},
        {"model": {"w": STATE["w"].reshape(3, 1)}},
        {"model": {"w": np.array([1.0, -2.0, 3.0], np.float32)}},
    ]
    assert len({digest(tree) for tree in trees}) == len(trees)
    assert digest({"a": STATE["w"], "b": 1}) == digest({"b": 1, "a": STATE["w"].clone()})
    with pytest.raises(ArgumentError, match=r"'/'x'' is a object"):
        digest({"x": object()})
    with pytest.raises(ArgumentError, match=r"'/'x'' is a sparse tensor"):
        digest({"x": torch.eye(2).to_sparse()})
    negative = torch.tensor([2j]).conj().imag  # a view that torch negates when it is read
    assert digest({"x": negative}) == digest({"x": torch.tensor([-2.0])})


def test_source_digest_notices_another_function_and_other_fixed_arguments():
    def one(state, start, stop, seed):
        return state

    def two(state, start, stop, seed):
        return dict(state)

    class Called:
        def __call__(self, state, start, stop, seed):
            return state

    partial = functools.partial(one, seed=1)
    digests = {source_digest(f) for f in (one, two, Called(), partial, len)}
    assert len(digests) == 5
    assert source_digest(one) == source_digest(one)
