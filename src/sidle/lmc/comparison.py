"""How far two trained networks are from each other, in five measures.

Beside the error barrier on the line between them [LMC, section 2] these are the alternatives of
[LMC, appendix]: the distance of their weights, how often they label differently, and the distance
of their losses. A pair can be far apart by these and yet linearly connected.

Letters: N = examples; P = points of a path.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from sidle.errors import ArgumentError, ShapeError
from sidle.lmc import barrier as barriers
from sidle.lmc import measurement, paths, states
from sidle.lmc.barrier import Barrier
from sidle.lmc.measurement import Data, Measurement
from sidle.lmc.paths import Settings, check_settings, complete
from sidle.lmc.points import measure_points
from sidle.lmc.states import State

EvaluationFunction = Callable[[dict[str, Tensor]], Measurement]
Evaluate = Data | Mapping[str, Data] | EvaluationFunction
"""What networks are compared on: data, data by name (the first counts), or a function of weights
that returns a `Measurement` of the same examples in the same order each time."""

DATA = "test"  # what data without a name is called


@dataclass(frozen=True, eq=False)
class OnData:
    """What two networks do on the same N examples.

    Attributes:
        barrier: error and loss on the line between them.
        disagreement: share of examples that they label differently, in [0, 1].
        loss_distance: root mean square, over examples, of the difference of their losses, in nats
            for cross-entropy; the Euclidean distance of the vectors of losses over sqrt(N).
    """

    barrier: Barrier
    disagreement: float
    loss_distance: float

    @property
    def error(self) -> float:
        """Mean error of the two, in [0, 1]."""
        return (self.barrier.error[0] + self.barrier.error[-1]) / 2

    @property
    def loss(self) -> float:
        """Mean loss of the two."""
        return (self.barrier.loss[0] + self.barrier.loss[-1]) / 2


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks of one architecture, compared.

    Attributes:
        l2_distance: Euclidean distance of their parameters (tied ones count once, running
            statistics not at all).
        on: by name of the data; the first is what the others stand beside.
    """

    l2_distance: float
    on: Mapping[str, OnData]

    @property
    def main(self) -> OnData:
        """What they do on the first data."""
        return next(iter(self.on.values()))

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "l2_distance": self.l2_distance,
            "on": {
                name: {
                    "barrier": found.barrier.as_dict(),
                    "disagreement": found.disagreement,
                    "loss_distance": found.loss_distance,
                }
                for name, found in self.on.items()
            },
        }


def compare(
    a: State,
    b: State,
    evaluate: Evaluate,
    *,
    model: nn.Module,
    settings: Settings | None = None,
) -> Comparison:
    """Compare two networks by barrier, weights, labels and losses.

    Args:
        a: a network's ``state_dict``.
        b: another's, of the same architecture.
        evaluate: see `Evaluate`. A function is called at every point of the path.
        model: module that the weights belong to.
        settings: keywords of `paths.error_barrier`; with a function only ``points``,
            ``confidence`` and ``seed`` count, and running statistics are interpolated.

    Raises:
        ArgumentError: different architectures, no data, a function that measures other examples
            each time or returns no `Measurement`, or as `paths.error_barrier`.
        ShapeError, NonFiniteError: as `paths.error_barrier`.
    """
    settings = complete(settings or Settings(), "compare")
    settings["model"] = model
    check_settings(settings, "compare")
    first, second = states.alike((a, b), ("a", "b"), "compare")
    names = {name for name, _ in model.named_parameters()}
    if missing := sorted(names - set(first)):
        raise ArgumentError(
            f"compare: the states lack '{missing[0]}' of {type(model).__name__}. Pass the model "
            "that the weights were trained in."
        )
    distance = states.distance(*({n: state[n] for n in names} for state in (first, second)))
    if is_function(evaluate):
        measured = _on_function(first, second, cast(EvaluationFunction, evaluate), settings)
        return Comparison(distance, {DATA: measured})
    found = {}
    for name, data in data_by_name(evaluate).items():
        barrier = paths.error_barrier(first, second, data, **settings)
        # In one pass, so that a loader that shuffles shows both the same examples.
        ends, _ = measure_points(
            model,
            data,
            [states.moved(state, settings["device"]) for state in (first, second)],
            batch_size=settings["batch_size"],
            device=settings["device"],
            loss=settings["loss"],
            evaluation="sequential",
            function="compare",
            names=("a", "b"),
        )
        found[name] = _on_data(barrier, *ends)
    return Comparison(distance, found)


def is_function(evaluate: Any) -> bool:
    """Return whether ``evaluate`` is a function of weights and not data."""
    return callable(evaluate) and not hasattr(evaluate, "__iter__")


def data_by_name(evaluate: Any) -> dict[str, Data]:
    """Return data by name: as given, or under the one name "test".

    Raises:
        ArgumentError: no data.
    """
    named = dict(evaluate) if isinstance(evaluate, Mapping) else {DATA: evaluate}
    if not named:
        raise ArgumentError("evaluate_fn: expected data by name, got an empty mapping.")
    for name, data in named.items():
        measurement.check(data, 1, "evaluate_fn", name)
    return named


def _on_function(a: State, b: State, function: EvaluationFunction, settings: Settings) -> OnData:
    alphas = paths.line(settings["points"])
    measured = []
    for alpha in alphas:
        found = function(states.between(a, b, alpha))
        if not isinstance(found, Measurement):
            raise ArgumentError(
                f"compare: the evaluation function must return a sidle.lmc.Measurement, got "
                f"{type(found).__name__}. Return measure(model, data, state=weights), or fill one."
            )
        measured.append(found)
    sizes = {len(found.loss_N) for found in measured}
    if len(sizes) > 1 or min(sizes) < 2:
        raise ShapeError(
            "compare: the evaluation function must measure the same examples, two or more, each "
            f"time; it measured {sorted(sizes)}."
        )
    barrier = barriers.summarise(
        alphas,
        np.stack([found.wrong_N.double().numpy() for found in measured]),
        np.stack([found.loss_N.double().numpy() for found in measured]),
        certain=states.identical((a, b)),
        confidence=settings["confidence"],
        seed=settings["seed"],
        batch_norm=None,
        evaluation="sequential: by the given function",
    )
    return _on_data(barrier, measured[0], measured[-1])


def _on_data(barrier: Barrier, first: Measurement, second: Measurement) -> OnData:
    differences_N = first.loss_N.double() - second.loss_N.double()
    return OnData(
        barrier=barrier,
        disagreement=float((first.predicted_N != second.predicted_N).double().mean()),
        loss_distance=math.sqrt(float(differences_N.square().mean())),
    )
