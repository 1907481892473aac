"""Whether a training function honours its four arguments, found out in a few steps.

A training function that ignores its seed gives instability 0, one that ignores its start step
trains every copy from scratch; neither fails on its own. So before any long training a few short
stretches of p steps are trained and their outcomes compared bit for bit. What cannot be seen in
2 p steps (a schedule that changes later) is not spoken of.

    f(s, 0, p, A) = f(s, 0, p, A) again          else it is not reproducible
    f(s, 0, p, A) = f(s, 0, p, B)                it ignores its seed
    f(s, 0, p, A) = f(s', 0, p, A)               it ignores the state it is to start from
    f(s, 0, p, A) = f(s, 0, 2p, A)               it ignores its stop step
    f(s, p, 2p, A) = f(s, 0, 2p, A)              it ignores its start step: begins at 0 always
    f(s, p, 2p, A) = f(s, 0, p, A)               it ignores its start step: counts steps only

The last would also be so for a constant learning rate with an order of the data that begins anew
at each call. That is refused with reason: a network trained in stretches would see the batches of
the first stretch again in every other.

Letters: p = `PROBE_STEPS`; s, s' = states; A, B = seeds.
"""

from __future__ import annotations

import math

import torch

from sidle import seeding
from sidle.errors import ArgumentError
from sidle.lmc import training_function
from sidle.lmc.training_function import State, TrainingFunction

PROBE_STEPS = 4

# Atomic sums on accelerators round differently each time; that is small beside what a seed does.
_ROUNDING = 0.1


def check(train_fn: TrainingFunction, state: State, *, stop: int, seed: int = 0) -> tuple[str, ...]:
    """Refuse a training function that ignores its state, its steps or its seed.

    Trains some 40 short steps in all.

    Args:
        train_fn: see `sidle.lmc.training_function`.
        state: the tree at step 0.
        stop: the last step of the real training, at least 1; no step beyond it is asked for. The
            tests of start and stop step take at least 2.
        seed: from which the seeds of the probes are drawn.

    Returns:
        What a reader should know: training twice gave slightly different weights, or training in
        two stretches is not training in one.

    Raises:
        ArgumentError: it ignores an argument (named), or is not reproducible; or whatever
            `training_function.train` refuses.
        NonFiniteError: weights became NaN or infinite.
    """
    if stop < 1:
        raise ArgumentError(f"check: stop must be at least 1, got {stop}.")
    who = training_function.name_of(train_fn)
    p = max(1, min(PROBE_STEPS, stop // 2))
    a, b = seeding.split(seed, "probe", 0), seeding.split(seed, "probe", 1)

    def trained(state: State, start: int, stop: int, seed: int) -> State:
        return training_function.train(train_fn, state, start, stop, seed)

    notes = []
    first = trained(state, 0, p, a)
    other = trained(state, 0, p, b)
    if _equal(first, other):
        raise ArgumentError(_same_weights(who, _equal(first, state), p))
    again = trained(state, 0, p, a)
    if not _equal(first, again):
        if _distance(first, again) > _ROUNDING * _distance(first, other):
            raise ArgumentError(
                f"{who} is not reproducible: called twice with one state, steps 0 to {p} and one "
                "seed, it returned different weights. Draw everything random from the seed: order "
                "of the data, augmentation, dropout; workers of a DataLoader have generators of "
                "their own."
            )
        notes.append(
            "Training twice with one seed gave slightly different weights, as accelerators do: "
            "results are not repeated bit for bit."
        )
    elsewhere = training_function.with_weights(state, training_function.weights(other))
    if _equal(first, trained(elsewhere, 0, p, a)):
        raise ArgumentError(
            f"{who} ignores the state it is to start from: from two different states it returned "
            "the same weights. Load the given state into the model before training."
        )
    if stop < 2:
        return tuple(notes)
    longer = trained(state, 0, 2 * p, a)
    if _equal(first, longer):
        raise ArgumentError(
            f"{who} ignores its stop step: steps 0 to {p} and 0 to {2 * p} gave the same weights. "
            "Do the steps start, ..., stop - 1."
        )
    later = trained(state, p, 2 * p, a)
    if _equal(later, longer):
        raise ArgumentError(
            f"{who} ignores its start step: steps {p} to {2 * p} gave the same weights as 0 to "
            f"{2 * p}. Do the steps start, ..., stop - 1 only."
        )
    if _equal(later, first):
        raise ArgumentError(
            f"{who} does not heed its start step: steps {p} to {2 * p} gave the same weights as 0 "
            f"to {p} from the same state. Perhaps it draws from the global generator, which begins "
            "anew with every call. Make learning rate and order of the data functions of the "
            "step's number: batch = sidle.training.minibatches((x, y), size, seed=seed)(step)."
        )
    if not notes and not _equal(trained(first, p, 2 * p, a), longer):
        notes.append(
            f"Training to step {p} and on to step {2 * p} is not the same as training to step "
            f"{2 * p} at once: the state lacks something that training goes on with (the "
            "optimiser's momentum), or random draws begin anew with each call. Results then "
            "depend on which steps are asked for."
        )
    return tuple(notes)


def _same_weights(who: str, untrained: bool, p: int) -> str:
    if untrained:
        return (
            f"{who} does not train: after {p} steps it returned the weights it was given. Return "
            "the trained weights, and begin warm-up above a learning rate of 0."
        )
    return (
        f"{who} ignores its seed: two seeds gave the same weights after {p} steps. Draw the order "
        "of the data, augmentation and dropout from the seed; training without any noise has no "
        "instability to measure."
    )


def _equal(a: State, b: State) -> bool:
    first, second = training_function.weights(a), training_function.weights(b)
    return all(
        torch.equal(tensor, second[name])
        for name, tensor in first.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    )


def _distance(a: State, b: State) -> float:
    first, second = training_function.weights(a), training_function.weights(b)
    return math.sqrt(
        math.fsum(
            float((tensor.double() - second[name].double()).square().sum())
            for name, tensor in first.items()
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        )
    )
