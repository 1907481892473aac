"""Lottery tickets: train, prune, rewind, train again; and the controls they are compared with.

The object all functions share is the *round*: a mask, the state that training was taken back to,
and the state that training under the mask led to. Round 0 is the dense network; each later round
prunes what the one before trained. [LMC, algorithm 2], with `sidle.lmc.training_function` for the
user's training:

    tickets = list(iterative(train_fn, {"model": model.state_dict()}, Mask.ones(model),
                             stop=2000, rounds=5, rewind_step=100))
    tickets[5].mask.density, tickets[5].metrics

Letters: k = the step rewound to; T = the last step.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [LTH] Frankle, Carbin
2019, arXiv:1803.03635. [RENDA] Renda, Frankle, Carbin 2020, arXiv:2003.02389. [SNIP] Lee, Ajanthan,
Torr 2019, arXiv:1810.02340. [MISS] Frankle, Dziugaite, Roy, Carbin 2021, arXiv:2009.08576.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from sidle import progress, seeding
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import criteria, stretches, training_function
from sidle.lmc.criteria import FRACTION, Scope
from sidle.lmc.masks import Mask
from sidle.lmc.measurement import Data
from sidle.lmc.training_function import State, TrainingFunction

Rewind = Literal["weights", "learning_rate", "initialisation"]
Control = Literal["random", "reinitialised", "snip", "magnitude"]
Evaluate = Callable[[State], Mapping[str, float]]
"""Takes the trained tree, returns numbers by name."""


@dataclass(frozen=True, eq=False)
class Round:
    """One round of pruning, trained.

    Attributes:
        number: rounds of pruning before it; 0 is the dense network.
        mask: which weights it keeps.
        initial: the tree at step 0, before any training.
        rewound: the tree that training was taken back to; dense, unless only the learning rate
            was rewound: then weights that earlier rounds pruned are zero.
        start: the step that training under the mask began at, k.
        stop: the last step, T.
        seed: of the noise of its training.
        trained: the tree at step T.
        metrics: what ``evaluate_fn`` said of ``trained``; empty without one.
        name: "dense", "ticket", or which control it is.
        rewind: what was taken back, see `iterative`; of a control, its ticket's.
    """

    number: int
    mask: Mask
    initial: State = field(repr=False)
    rewound: State = field(repr=False)
    start: int
    stop: int
    seed: int
    trained: State = field(repr=False)
    metrics: Mapping[str, float]
    name: str
    rewind: Rewind = "weights"

    @property
    def density(self) -> float:
        """The share of prunable weights that it keeps, in (0, 1]."""
        return self.mask.density

    @property
    def ticket(self) -> dict[str, Any]:
        """The tree that training began from: ``rewound`` with the pruned weights at zero."""
        masked = self.mask.apply(training_function.weights(self.rewound))
        return training_function.with_weights(self.rewound, masked)


@dataclass(frozen=True)
class _Trainer:
    """What all rounds of one procedure are trained and evaluated with."""

    train_fn: TrainingFunction
    evaluate_fn: Evaluate | None
    folder: str | Path | None
    settings: Mapping[str, Any] | None

    def train(self, state: State, start: int, stop: int, seed: int, mask: Mask) -> State:
        return stretches.trained(
            self.train_fn,
            state,
            start,
            stop,
            seed,
            mask=None if mask.n_kept == mask.n_weights else mask,
            folder=self.folder,
            settings=self.settings,
        )

    def metrics(self, trained: State) -> dict[str, float]:
        if self.evaluate_fn is None:
            return {}
        # A copy, so that an evaluation that changes what it is given changes nothing else.
        found = self.evaluate_fn(training_function.copied(trained))
        numbers = {name: float(value) for name, value in found.items()}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"evaluate_fn: the metric '{name}' is {value}.")
        return numbers


def iterative(
    train_fn: TrainingFunction,
    state: State,
    mask: Mask,
    *,
    stop: int,
    rounds: int,
    fraction: float = FRACTION,
    scope: Scope = "global",
    rewind: Rewind = "weights",
    rewind_step: int = 0,
    evaluate_fn: Evaluate | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Round]:
    """Prune by magnitude in rounds, retraining after each; yield every round once it is trained.

    The dense network is trained from step 0 to k; from there each round trains to T under its own
    noise, and then loses the ``fraction`` of its remaining weights closest to zero. What the next
    round starts from is the matter of ``rewind``:

    - "weights": the tree of step k [LMC].
    - "learning_rate": the weights stay as trained; all else in the tree (optimiser, scheduler),
      and the step's number, and with it the learning rate, go back to step k [RENDA].
    - "initialisation": the tree of step 0 [LTH]; "weights" with k = 0 under its own name.

    Args:
        train_fn: see `sidle.lmc.training_function`; takes ``mask``.
        state: the tree at step 0, such as ``{"model": model.state_dict()}``.
        mask: which weights may be pruned, `Mask.ones` of the model; one that prunes already is
            gone on with, and round 0 is then trained under it.
        stop: T, at least 1.
        rounds: rounds of pruning, at least 1; n of them leave (1 - fraction)^n of the weights.
        fraction: of the weights that remain, pruned each round, in (0, 1).
        scope: "global" compares all weights, "layer" those of one parameter at a time.
        rewind: see above.
        rewind_step: k, in [0, T).
        evaluate_fn: takes a trained tree, returns finite numbers for `Round.metrics`.
        seed: names the noise of each stretch of training.
        folder: where each stretch is kept in a run folder, so that a killed procedure goes on and
            nothing is trained twice (`sidle.lmc.stretches`); None keeps nothing.
        settings: what else training depends on (data, learning rate), as JSON values; they name
            the run folders.

    Yields:
        Rounds 0 (dense) to ``rounds``.

    Raises:
        ArgumentError: an argument out of range (before any work), weights that revived (named by
            parameter), or whatever else `training_function.train` refuses.
        ShapeError: the mask is not of this model.
        NonFiniteError: trained weights or metrics are NaN or infinite.
        CheckpointError, StorageError: as `stretches.trained`.
    """
    criteria.check_fraction(fraction, scope, "iterative")
    if rewind not in ("weights", "learning_rate", "initialisation"):
        raise ArgumentError(
            "iterative: rewind must be 'weights', 'learning_rate' or 'initialisation', got "
            f"{rewind!r}."
        )
    if stop < 1 or rounds < 1 or not 0 <= rewind_step < stop:
        raise ArgumentError(
            "iterative: expected stop >= 1, rounds >= 1 and 0 <= rewind_step < stop, got stop "
            f"{stop}, rounds {rounds}, rewind_step {rewind_step}."
        )
    if rewind == "initialisation" and rewind_step != 0:
        raise ArgumentError(
            f"iterative: rewind='initialisation' goes back to step 0, but rewind_step is "
            f"{rewind_step}. Use rewind='weights' for a later step."
        )
    mask.check(training_function.weights(state), "iterative")
    training_function.check_takes_mask(train_fn)
    trainer = _Trainer(train_fn, evaluate_fn, folder, settings)
    initial = training_function.copied(state)

    def prune_in_rounds() -> Iterator[Round]:
        with progress.bar("pruning", rounds + 1) as bar:
            noise = seeding.split(seed, "trunk")
            trunk = trainer.train(initial, 0, rewind_step, noise, mask)
            rewound, kept = trunk, mask
            for number in range(rounds + 1):
                noise = seeding.split(seed, "round", number)
                trained = trainer.train(rewound, rewind_step, stop, noise, kept)
                bar.advance(note=f"{kept.density:.1%} of the weights")
                yield Round(
                    number=number,
                    mask=kept,
                    initial=initial,
                    rewound=rewound,
                    start=rewind_step,
                    stop=stop,
                    seed=noise,
                    trained=trained,
                    metrics=trainer.metrics(trained),
                    name="ticket" if number else "dense",
                    rewind=rewind,
                )
                if number == rounds:
                    return
                weights = training_function.weights(trained)
                kept = criteria.magnitude(weights, kept, fraction, scope=scope)
                if rewind == "learning_rate":
                    rewound = training_function.with_weights(trunk, weights)

    return prune_in_rounds()


def one_shot(
    train_fn: TrainingFunction,
    state: State,
    mask: Mask,
    *,
    stop: int,
    density: float,
    **settings: Any,
) -> tuple[Round, Round]:
    """Train, prune to ``density`` at once, rewind and train again; return dense round and ticket.

    Args:
        train_fn: as for `iterative`, as for all but ``density``.
        state: the tree at step 0.
        mask: which weights may be pruned.
        stop: T, at least 1.
        density: the share of the mask's weights to keep, in (0, 1).
        **settings: other keywords of `iterative`, without ``rounds`` and ``fraction``.

    Raises:
        As `iterative`.
    """
    if not 0 < density < 1:
        raise ArgumentError(f"one_shot: density must lie between 0 and 1, got {density}.")
    dense, ticket = iterative(
        train_fn, state, mask, stop=stop, rounds=1, fraction=1 - density, **settings
    )
    return dense, ticket


def control(
    found: Round,
    train_fn: TrainingFunction,
    kind: Control,
    *,
    seed: int,
    model_fn: Callable[[], nn.Module] | None = None,
    data: Data | None = None,
    evaluate_fn: Evaluate | None = None,
    folder: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Round:
    """Train what a ticket is compared with, as sparse as the ticket.

    - "random": the ticket's rewound weights and steps, and a mask with the ticket's density in
      each layer, shuffled [LMC, section 4].
    - "reinitialised": the ticket's mask over newly drawn initial weights, trained from step 0 to T.
    - "snip": the initial weights, pruned before training by [SNIP]; trained from step 0 to T.
    - "magnitude": the initial weights, pruned before training by magnitude over all layers [MISS];
      trained from step 0 to T.

    Args:
        found: the ticket, of `iterative`.
        train_fn: as for `iterative`.
        kind: see above.
        seed: names what is drawn for the control, and the noise of its training.
        model_fn: makes a freshly initialised model; for "reinitialised" and "snip".
        data: examples to take the sensitivities on; for "snip".
        evaluate_fn: as for `iterative`.
        folder: as for `iterative`.
        settings: as for `iterative`.

    Raises:
        ArgumentError: an unknown kind, or one whose ``model_fn`` or ``data`` is missing; all else
            as `iterative`.
    """
    needs = {"random": (), "reinitialised": ("model_fn",), "snip": ("model_fn", "data")}
    needs["magnitude"] = ()
    if kind not in needs:
        raise ArgumentError(f"control: kind must be one of {', '.join(needs)}, got {kind!r}.")
    given = {"model_fn": model_fn, "data": data}
    if missing := [name for name in needs[kind] if given[name] is None]:
        raise ArgumentError(f"control: the control '{kind}' needs {' and '.join(missing)}.")
    if found.mask.n_kept == found.mask.n_weights:
        raise ArgumentError("control: the round keeps every weight; give a later one, a ticket.")
    if kind == "random" and found.rewind == "learning_rate":
        raise ArgumentError(
            "control: 'random' takes the ticket's rewound weights, but with "
            "rewind='learning_rate' these are zero wherever earlier rounds pruned, so that the "
            "control would begin with less than the ticket. Compare with a ticket of "
            "rewind='weights', or with another control."
        )
    training_function.check_takes_mask(train_fn)
    drawn = seeding.split(seed, "control", kind)
    mask, rewound, start = found.mask, found.initial, 0
    if kind == "random":
        mask, rewound, start = criteria.shuffled(mask, seed=drawn), found.rewound, found.start
    elif kind == "reinitialised":
        assert model_fn is not None
        weights = criteria.reinitialised(model_fn, seed=drawn)
        mask.check(weights, "control")
        before = training_function.weights(found.initial)
        if all(torch.equal(weights[name], before[name]) for name in mask):
            raise ArgumentError(
                "control: model_fn made the weights that the ticket began with. It must leave its "
                "random draws to torch's global generator, which is seeded here."
            )
        rewound = training_function.with_weights(found.initial, weights)
    else:
        weights = dict(training_function.weights(found.initial))
        every = Mask({name: kept | True for name, kept in mask.items()}, tied=mask.tied)
        fraction = 1 - mask.n_kept / mask.n_weights
        if kind == "magnitude":
            mask = criteria.magnitude(weights, every, fraction)
        else:
            assert model_fn is not None
            assert data is not None
            with seeding.scope(drawn):
                model = model_fn()
            model.load_state_dict(weights)
            mask = criteria.snip(model, data, every, fraction, seed=drawn)
    trainer = _Trainer(train_fn, evaluate_fn, folder, settings)
    noise = seeding.split(seed, "noise")
    trained = trainer.train(rewound, start, found.stop, noise, mask)
    return Round(
        number=found.number,
        mask=mask,
        initial=found.initial,
        rewound=rewound,
        start=start,
        stop=found.stop,
        seed=noise,
        trained=trained,
        metrics=trainer.metrics(trained),
        name=kind,
        rewind=found.rewind,
    )
