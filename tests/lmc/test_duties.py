"""Each duty broken on purpose is found out and named; an honest training function passes."""

import pytest
import torch

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import duties

STATE = {"model": {"w": torch.tensor([1.0, -2.0, 3.0])}}


def walk(state, start, stop, seed, mask=None):
    """A step shrinks the weights and adds noise; both follow from seed and number of the step."""
    w = state["model"]["w"]
    for i in range(start, stop):
        generator = seeding.torch_generator(seeding.split(seed, "step", i))
        w = w * (1 - 0.1 / (1 + i)) + 0.1 * torch.randn(3, generator=generator)
    return {"model": {"w": w}}


def ignores_seed(state, start, stop, seed):
    return walk(state, start, stop, 0)


def ignores_state(state, start, stop, seed):
    return walk(STATE, start, stop, seed)


def ignores_stop(state, start, stop, seed):
    return walk(state, start, start + 4, seed)


def begins_at_zero(state, start, stop, seed):
    return walk(state, 0, stop, seed)


def counts_steps_only(state, start, stop, seed):
    return walk(state, 0, stop - start, seed)


def does_not_train(state, start, stop, seed):
    return state


def no_noise(state, start, stop, seed):
    return {"model": {"w": state["model"]["w"] * 0.9 ** (stop - start) + start}}


@pytest.mark.parametrize(
    ("train_fn", "words"),
    [
        (ignores_seed, "ignores_seed' ignores its seed"),
        (no_noise, "no_noise' ignores its seed"),
        (ignores_state, "ignores_state' ignores the state it is to start from"),
        (ignores_stop, "ignores_stop' ignores its stop step"),
        (begins_at_zero, r"begins_at_zero' ignores its start step: steps 4 to 8 gave .* as 0 to 8"),
        (counts_steps_only, r"counts_steps_only' does not heed its start step: .* as 0 to 4 from"),
        (does_not_train, "does_not_train' does not train"),
    ],
)
def test_a_broken_duty_is_named(train_fn, words):
    with pytest.raises(ArgumentError, match=words):
        duties.check(train_fn, STATE, stop=100)


def test_an_honest_function_passes_without_notes():
    assert duties.check(walk, STATE, stop=100) == ()


def test_draws_from_elsewhere_are_not_reproducible():
    stray = torch.Generator().manual_seed(0)

    def unseeded(state, start, stop, seed):
        w = walk(state, start, stop, seed)["model"]["w"]
        return {"model": {"w": w + torch.randn(3, generator=stray)}}

    with pytest.raises(ArgumentError, match="unseeded' is not reproducible"):
        duties.check(unseeded, STATE, stop=100)


def test_rounding_that_differs_each_time_is_noted_and_not_refused():
    calls = iter(range(1000))

    def on_an_accelerator(state, start, stop, seed):
        w = walk(state, start, stop, seed)["model"]["w"]
        return {"model": {"w": w * (1 + 1e-6 * (next(calls) % 7))}}

    (note,) = duties.check(on_an_accelerator, STATE, stop=100)
    assert "not repeated bit for bit" in note


def test_what_two_stretches_lose_is_noted():
    def forgets_momentum(state, start, stop, seed):
        w, velocity = state["model"]["w"], torch.zeros(3)
        for i in range(start, stop):
            generator = seeding.torch_generator(seeding.split(seed, "step", i))
            velocity = 0.9 * velocity + torch.randn(3, generator=generator)
            w = w - 0.01 * velocity
        return {"model": {"w": w}}

    (note,) = duties.check(forgets_momentum, STATE, stop=100)
    assert "Training to step 4 and on to step 8 is not the same" in note


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_no_step_beyond_the_last_is_asked_for(stop):
    asked = []

    def noting(state, start, stop, seed):
        asked.append((start, stop))
        return walk(state, start, stop, seed)

    duties.check(noting, STATE, stop=stop)
    assert max(end for _, end in asked) <= stop
    assert all(begin < end for begin, end in asked)


def test_weights_that_are_not_finite_and_no_steps_are_refused():
    def explodes(state, start, stop, seed):
        return {"model": {"w": state["model"]["w"] / 0}}

    with pytest.raises(NonFiniteError, match="explodes"):
        duties.check(explodes, STATE, stop=10)
    with pytest.raises(ArgumentError, match="stop must be at least 1, got 0"):
        duties.check(walk, STATE, stop=0)


def test_the_state_is_left_as_it_was():
    before = STATE["model"]["w"].clone()
    duties.check(walk, STATE, stop=100)
    assert torch.equal(STATE["model"]["w"], before)
