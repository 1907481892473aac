"""Straight lines between networks, and the error and loss on them.

The objects are networks of one architecture: modules, or states (tensors by name, `states`) with a
module to put them into. Their parameters and floating buffers are interpolated; integer buffers are
those of the first network.

    error_barrier(a, b, (x, y)).barrier

Letters: P = points of a path; N = examples.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, cast

import numpy as np
import torch
from torch import nn

from sidle.errors import ArgumentError
from sidle.lmc import barrier as barriers
from sidle.lmc import batch_norm as normalisation
from sidle.lmc import measurement, states
from sidle.lmc.barrier import THRESHOLD, Barrier, Policy
from sidle.lmc.batch_norm import Calibration
from sidle.lmc.measurement import Data, Loss
from sidle.lmc.points import Evaluation, Points, measure_points
from sidle.lmc.states import Network, State

POINTS = 30  # evenly spaced, the ends included [LMC, section 2]
BatchNorm = Literal["interpolated", "re-estimated", "both"]

_SAME_OUTPUTS = 1e-3  # relative: above what devices and algorithms round differently
_EXAMPLES_COMPARED = 64


class Settings(TypedDict, total=False):
    """Keywords of `error_barrier`."""

    points: int
    batch_norm: BatchNorm
    calibration: Calibration | None
    model: nn.Module | None
    batch_size: int
    device: str | torch.device
    confidence: float
    seed: int
    loss: Loss | None
    train: Data | None
    evaluation: Evaluation


def interpolate(a: Network, b: Network, alpha: float) -> dict[str, torch.Tensor]:
    """Return the state (1 - alpha) a + alpha b.

    Numbers on which both agree come back bit for bit, so that a network interpolated with its own
    copy is itself; so do the ends at alpha 0 and 1.

    Args:
        a: network; a module, or its ``state_dict()``.
        b: network of the same architecture.
        alpha: any finite number; in [0, 1] between the two.

    Raises:
        ArgumentError, ShapeError, NonFiniteError: different architectures, or weights that are not
            finite.
    """
    if not math.isfinite(alpha):
        raise ArgumentError(f"interpolate: alpha must be finite, got {alpha}.")
    first, second = states.alike((a, b), ("a", "b"), "interpolate")
    return states.between(first, second, alpha)


def error_barrier(
    a: Network,
    b: Network,
    data: Data,
    *,
    points: int = POINTS,
    batch_norm: BatchNorm = "interpolated",
    calibration: Calibration | None = None,
    model: nn.Module | None = None,
    batch_size: int = measurement.BATCH_SIZE,
    device: str | torch.device = "cpu",
    confidence: float = 0.95,
    seed: int = 0,
    loss: Loss | None = None,
    train: Data | None = None,
    evaluation: Evaluation = "auto",
) -> Barrier:
    """Measure error and loss on the straight line from network ``a`` to network ``b``.

    The barrier is the largest error on the line minus the mean error of its ends [LMC, section 2];
    0 exactly for a network and its own copy. It speaks of this data only. The networks come back
    unchanged.

    Args:
        a: classifier: a module that returns logits (N, C), or the state of one.
        b: classifier of the same architecture.
        data: test data: tensors ``(x, y)`` with N >= 2 labels in [0, C), or an iterable of such
            batches that can be gone through more than once.
        points: P >= 2 evenly spaced places, the ends included.
        batch_norm: running statistics between the ends: "interpolated" as weights are;
            "re-estimated" from ``calibration`` at every point, the ends included; "both" gives the
            first with the second in ``by_policy``.
        calibration: inputs to estimate them from, best from the training data.
        model: module to put states into; where both networks are states it is needed.
        batch_size: examples a batch, where the data is tensors.
        device: where to compute.
        confidence: of the intervals, in (0, 1).
        seed: names the halves of the data behind ``split_barrier``.
        loss: as `measurement.measure`; cross-entropy in nats by default.
        train: training data, to be measured on the same path.
        evaluation: "sequential" gives the same bits every time; "batched" runs several points at
            once with ``torch.func``; "auto" does so where a timed probe finds it at least 1.5
            times faster. They agree up to rounding; ``Barrier.evaluation`` says what was done.

    Raises:
        ArgumentError: different architectures, no data, labels outside [0, C), no calibration
            where it is needed, or a setting outside its range.
        ShapeError: tensors of different shapes, x and y of different lengths, other outputs.
        NonFiniteError: weights or losses that are NaN or infinite.
    """
    settings = Settings(
        points=points, batch_norm=batch_norm, calibration=calibration, model=model,
        batch_size=batch_size, device=device, confidence=confidence, seed=seed, loss=loss,
        train=train, evaluation=evaluation,
    )  # fmt: skip
    check_settings(settings, "error_barrier")
    first, second = states.alike((a, b), ("a", "b"), "error_barrier")
    model = vessel((a, b), model, "error_barrier")
    for network, state, name in ((a, first, "a"), (b, second, "b")):
        _check_same_function(network, state, name, model, data, batch_size, device)
    here, there = (states.moved(state, device) for state in (first, second))
    return along(
        model,
        Points(lambda alpha: states.between(here, there, alpha), line(points)),
        line(points),
        data,
        certain=states.identical((here, there)),
        function="error_barrier",
        settings=settings,
    )


@dataclass(frozen=True, eq=False)
class Barriers:
    """Barriers of all pairs among M networks.

    Attributes:
        by_pair: (i, j), i < j, to the barrier between networks i and j.
    """

    by_pair: Mapping[tuple[int, int], Barrier]

    @property
    def mean(self) -> float:
        """Mean barrier over the pairs."""
        return float(np.mean([found.barrier for found in self.by_pair.values()]))

    @property
    def largest(self) -> float:
        """Largest barrier over the pairs."""
        return max(found.barrier for found in self.by_pair.values())

    def matrix(self) -> list[list[float]]:
        """Return the barriers as M symmetric rows, 0 on the diagonal."""
        M = 1 + max(j for _, j in self.by_pair)
        rows = [[0.0] * M for _ in range(M)]
        for (i, j), found in self.by_pair.items():
            rows[i][j] = rows[j][i] = found.barrier
        return rows

    def linearly_connected(self, threshold: float = THRESHOLD) -> bool:
        """Return whether every pair's barrier is below ``threshold``."""
        return self.largest < threshold

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; a pair is named "i-j"."""
        pairs = {f"{i}-{j}": found.as_dict() for (i, j), found in self.by_pair.items()}
        return {"mean": self.mean, "largest": self.largest, "pairs": pairs}


def error_barriers(
    networks: Sequence[Network], data: Data, **settings: Unpack[Settings]
) -> Barriers:
    """Measure the straight lines between all pairs of two or more networks.

    Args:
        networks: M >= 2 networks of one architecture.
        data: as `error_barrier`.
        settings: its keywords.

    Returns:
        M (M - 1) / 2 barriers.

    Raises:
        ArgumentError: fewer than two networks; else as `error_barrier`.
    """
    if len(networks) < 2:
        raise ArgumentError(f"error_barriers: expected at least two networks, got {len(networks)}.")
    names = [f"network {index}" for index in range(len(networks))]
    states.alike(networks, names, "error_barriers")
    return Barriers(
        {
            (i, j): error_barrier(networks[i], networks[j], data, **settings)
            for i, j in itertools.combinations(range(len(networks)), 2)
        }
    )


def line(points: int) -> list[float]:
    """Return ``points`` evenly spaced numbers from 0 to 1."""
    return [index / (points - 1) for index in range(points)]


def vessel(networks: Sequence[Network], model: nn.Module | None, function: str) -> nn.Module:
    """Return the module that the networks' weights are put into.

    Raises:
        ArgumentError: none is there, or the weights do not fit it.
        ShapeError: a tensor has another shape.
    """
    if model is None:
        modules = [network for network in networks if isinstance(network, nn.Module)]
        if not modules:
            raise ArgumentError(
                f"{function}: both networks are states, so the module they belong to must be given "
                "too. Pass model=..."
            )
        return modules[0]
    for network in networks:
        states.fit(model, states.state_of(network), function)
    return model


def along(
    model: nn.Module,
    path: Sequence[State],
    alphas: Sequence[float],
    data: Data,
    *,
    certain: bool,
    function: str,
    settings: Settings,
) -> Barrier:
    """Measure the states of ``path`` and return the barrier between the first and the last.

    Args:
        model: what the states belong to.
        path: P states on the device of ``settings``.
        alphas: the places of the points on the path, for the result and for messages.
        data: as `error_barrier`.
        certain: whether all points are one and the same network.
        function: who asks, for messages.
        settings: all keywords of `error_barrier` (see `complete`).

    Raises:
        ArgumentError, ShapeError, NonFiniteError: as `error_barrier`.
    """
    batch_size, device = settings["batch_size"], settings["device"]
    wanted, calibration = settings["batch_norm"], settings["calibration"]
    sets = {"data": data} | ({} if settings["train"] is None else {"train": settings["train"]})
    for name, one in sets.items():
        measurement.check(one, batch_size, function, name)
    keeps_statistics = bool(normalisation.layers(model))

    def measured(points: Sequence[State], one: Data, policy: Policy) -> Barrier:
        found, how = measure_points(
            model, one, points, batch_size=batch_size, device=device, loss=settings["loss"],
            # Slices of one stacked product may be rounded differently, and equal networks must
            # come out exactly equal.
            evaluation="sequential" if certain else settings["evaluation"],
            function=function, names=[f"the point at {alpha:.3g}" for alpha in alphas],
        )  # fmt: skip
        return barriers.summarise(
            alphas,
            np.stack([point.wrong_N.double().numpy() for point in found]),
            np.stack([point.loss_N.double().numpy() for point in found]),
            certain=certain,
            confidence=settings["confidence"],
            seed=settings["seed"],
            batch_norm=policy if keeps_statistics else None,
            evaluation=how,
            notes=_notes(wanted, keeps_statistics),
        )

    policies: list[Policy] = ["interpolated", "re-estimated"] if wanted == "both" else [wanted]
    results: dict[Policy, Barrier] = {}
    for policy in policies:
        points = path
        if policy == "re-estimated":
            assert calibration is not None  # `check_settings` saw to it
            points = normalisation.re_estimated(
                model, path, calibration, batch_size=batch_size, device=device, function=function
            )
        by_set = {name: measured(points, one, policy) for name, one in sets.items()}
        results[policy] = dataclasses.replace(by_set["data"], train=by_set.get("train"))
    main, *others = policies
    return dataclasses.replace(results[main], by_policy={other: results[other] for other in others})


def _notes(wanted: BatchNorm, keeps_statistics: bool) -> list[str]:
    if wanted == "interpolated" and keeps_statistics:
        return [
            "BatchNorm statistics between the networks were interpolated. Estimating them anew "
            "often lowers the barrier: batch_norm='both' shows it."
        ]
    return []


def complete(settings: Settings, function: str) -> Settings:
    """Return ``settings`` with the defaults of `error_barrier` where they say nothing.

    Raises:
        ArgumentError: a keyword that `error_barrier` does not have.
    """
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(error_barrier).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ArgumentError(
            f"{function}: there is no setting '{unknown[0]}'. Known are: {', '.join(known)}."
        )
    return cast(Settings, {**known, **settings})


def check_settings(settings: Settings, function: str) -> None:
    """Refuse settings outside their range, before any work.

    Raises:
        ArgumentError: fewer than two points, an unknown policy, no calibration where statistics
            are to be estimated anew, or a confidence outside (0, 1).
    """
    points, policy = settings["points"], settings["batch_norm"]
    if points < 2:
        raise ArgumentError(f"{function}: points must be at least 2 (the two ends), got {points}.")
    if policy not in ("interpolated", "re-estimated", "both"):
        raise ArgumentError(
            f"{function}: batch_norm must be 'interpolated', 're-estimated' or 'both', got "
            f"{policy!r}."
        )
    if settings["calibration"] is None and policy != "interpolated":
        raise ArgumentError(
            f"{function}: batch_norm='{policy}' estimates running statistics anew and needs "
            "inputs for that. Pass calibration=x, best from the training data."
        )
    barriers.check_confidence(settings["confidence"], function)
    states.check_device(settings["device"])


def _check_same_function(
    network: Network,
    state: State,
    name: str,
    model: nn.Module,
    data: Data,
    batch_size: int,
    device: str | torch.device,
) -> None:
    """Refuse a module that computes something else than ``model`` with the module's weights.

    Two architectures can have the same tensors (other activations, another order of layers).
    """
    if not isinstance(network, nn.Module) or network is model:
        return
    measurement.check(data, batch_size, "error_barrier")
    batch = next(iter(measurement.batches(data, batch_size)), None)
    if batch is None:
        return  # said in full where the data is measured
    x = batch[0][:_EXAMPLES_COMPARED].to(device)
    with measurement.borrowed(network, device):
        expected = _copied(measurement.output_of(network, x, "error_barrier"))
    with measurement.borrowed(model, device):
        states.load(model, state)
        found = _copied(measurement.output_of(model, x, "error_barrier"))
    if expected is None or found is None:
        return  # said in full where the outputs are scored, unless the loss understands them
    if expected.shape != found.shape or not torch.allclose(
        expected, found, rtol=_SAME_OUTPUTS, atol=_SAME_OUTPUTS * float(expected.abs().max())
    ):
        raise ArgumentError(
            f"error_barrier: {name}'s weights in {type(model).__name__} give other outputs than "
            f"{name} itself, so the two networks are of different architectures although their "
            "tensors have the same names and shapes. Build both alike."
        )


def _copied(outputs: Any) -> torch.Tensor | None:
    """Return outputs that do not change when weights of which they may be views are put back."""
    return outputs.detach().clone() if isinstance(outputs, torch.Tensor) else None
