"""Curves of low loss between two networks that a straight line does not join.

A curve leads from network a to network b by way of a *bend*, a third point that is trained: each
step draws a place t on the curve and lowers the loss there [MC, section 3]. With weights w(t):

    bezier      (1 - t)^2 a + 2 t (1 - t) bend + t^2 b
    polygonal   from a straight to the bend at t = 1/2, from there straight to b

References: [MC] Garipov, Izmailov, Podoprikhin, Vetrov, Wilson 2018, "Loss Surfaces, Mode
Connectivity, and Fast Ensembling of DNNs", arXiv:1802.10026.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle import seeding, training
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import batch_norm, measurement, paths, states
from sidle.lmc.barrier import Barrier
from sidle.lmc.measurement import Batch, Data
from sidle.lmc.paths import Settings
from sidle.lmc.points import Points
from sidle.lmc.states import Network, State
from sidle.runs import Run

Kind = Literal["bezier", "polygonal"]

_CONSTANT_UNTIL, _DECAYED_FROM, _LAST_RATE = 0.5, 0.9, 0.01  # [MC, section 5]
_MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve between two networks.

    Attributes:
        kind: bezier or polygonal.
        start: state of network a.
        bend: the point in between that gives the curve its form.
        end: state of network b.
        model: module that the states belong to.
        losses: mean loss of each training step's batch, at that step's place on the curve.
    """

    kind: Kind
    start: State
    bend: State
    end: State
    model: nn.Module
    losses: tuple[float, ...] = ()

    def at(self, t: float) -> dict[str, Tensor]:
        """Return the state at place ``t`` in [0, 1]."""
        if not 0 <= t <= 1:
            raise ArgumentError(f"Curve.at: t must lie in [0, 1], got {t}.")
        return states.combination((self.start, self.bend, self.end), weights(self.kind, t))


def weights(kind: Kind, t: float) -> tuple[float, float, float]:
    """Return how much of start, bend and end there is at place ``t``; they sum to 1."""
    if kind == "bezier":
        return (1 - t) ** 2, 2 * t * (1 - t), t**2
    return max(0.0, 1 - 2 * t), 1 - abs(1 - 2 * t), max(0.0, 2 * t - 1)


def train_curve(
    a: Network,
    b: Network,
    data: tuple[Tensor, Tensor] | Callable[[int], Batch],
    *,
    kind: Kind = "bezier",
    n_steps: int = 2000,
    learning_rate: float = 0.03,
    weight_decay: float = 5e-4,
    batch_size: int = 128,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    model: nn.Module | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    run: Run | None = None,
) -> Curve:
    """Train the bend of a curve from network ``a`` to network ``b``; both stay as they are.

    The bend starts half-way. SGD with momentum 0.9; the rate is constant for half of the steps,
    then falls linearly to a hundredth over the next four tenths [MC, section 5]. BatchNorm
    normalises with the batch while training; afterwards the bend's statistics are estimated anew
    from 20 batches.

    Args:
        a: classifier: a module, or the state of one.
        b: classifier of the same architecture.
        data: training data ``(x, y)``; or ``batches(i)``, the batch of step i, a function of i
            alone.
        kind: "bezier" (quadratic) or "polygonal".
        n_steps: at least 1.
        learning_rate: at the start.
        weight_decay: factor of half the squared norm of the parameters at the place drawn.
        batch_size: examples a batch, where ``data`` is a pair of tensors.
        loss: ``loss(outputs, y)``, a scalar to minimise.
        model: module to put states into; where both networks are states it is needed. Parameters
            that need no gradient stay half-way.
        seed: names the order of the data, the places and what dropout draws.
        device: where to train.
        run: where metrics and checkpoints go, as `training.fit`.

    Raises:
        ArgumentError, ShapeError, NonFiniteError: as `paths.error_barrier`; a loss that diverged.
    """
    if kind not in ("bezier", "polygonal"):
        raise ArgumentError(f"train_curve: kind must be 'bezier' or 'polygonal', got {kind!r}.")
    if n_steps < 1:
        raise ArgumentError(f"train_curve: n_steps must be at least 1, got {n_steps}.")
    start, end = states.alike((a, b), ("a", "b"), "train_curve")
    model = paths.vessel((a, b), model, "train_curve")
    batches = _batches(data, batch_size, seed)
    start, end = (states.moved(state, device) for state in (start, end))
    bend = _Bend(states.between(start, end, 0.5), model)
    curve = Curve(kind, start, bend.state, end, model)
    optimizer = torch.optim.SGD(bend.parameters.values(), lr=learning_rate, momentum=_MOMENTUM)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate((step + 1) / n_steps)
    )

    def step(batch: tuple[Tensor, Tensor, float]) -> dict[str, Tensor]:
        x, y, t = batch
        states.load(model, curve.at(t))
        value = loss(model(x.to(device)), y.to(device))
        if not torch.isfinite(value):
            raise NonFiniteError(f"the loss is {value.item()}; nothing was updated.")
        of_model = dict(model.named_parameters())
        trained = [of_model[name] for name in bend.parameters]
        gradients = torch.autograd.grad(value, trained, allow_unused=True)
        share = weights(kind, t)[1]  # d w(t) / d bend
        for parameter, here, gradient in zip(
            bend.parameters.values(), trained, gradients, strict=True
        ):
            decay = weight_decay * here.detach()
            parameter.grad = share * (decay if gradient is None else gradient + decay)
        optimizer.step()
        schedule.step()
        return {"loss": value.detach()}

    with (
        seeding.scope(seeding.split(seed, "curve")),
        measurement.borrowed(model, device),
        torch.enable_grad(),
    ):
        model.train()
        records = training.fit(
            step,
            lambda i: (*batches(i), _place(seed, i)),
            n_steps,
            state={"bend": bend, "optimizer": optimizer, "schedule": schedule},
            run=run,
            description="training the bend",
        )
    final = {name: tensor.detach().clone() for name, tensor in bend.state.items()}
    if batch_norm.layers(model):
        (found,) = batch_norm.re_estimated(
            model, [final], [batches(i)[0] for i in range(20)], batch_size=batch_size,
            device=device, function="train_curve",
        )  # fmt: skip
        final = dict(found)
    losses = tuple(record["loss"] for record in records)
    return dataclasses.replace(curve, bend=final, losses=losses)


def curve_barrier(curve: Curve, data: Data, **settings: Unpack[Settings]) -> Barrier:
    """Measure error and loss along ``curve``, as `paths.error_barrier` does along a line.

    Statistics of BatchNorm follow the curve as weights do, which means little so far from the
    ends: estimate them anew (``batch_norm="re-estimated"`` with ``calibration``), as [MC] does.

    Args:
        curve: as `train_curve` returns it.
        data: test data.
        settings: keywords of `paths.error_barrier`; ``points`` are evenly spaced places t. The
            curve knows its own model.

    Raises:
        ArgumentError, ShapeError, NonFiniteError: as `paths.error_barrier`.
    """
    full = paths.complete(settings, "curve_barrier")
    paths.check_settings(full, "curve_barrier")
    start, bend, end = (
        states.moved(state, full["device"]) for state in (curve.start, curve.bend, curve.end)
    )
    here = dataclasses.replace(curve, start=start, bend=bend, end=end)
    places = paths.line(full["points"])
    return paths.along(
        curve.model,
        Points(here.at, places),
        places,
        data,
        certain=False,
        function="curve_barrier",
        settings=full,
    )


class _Bend:
    """The trained point: a state whose trained tensors are parameters.

    Attributes:
        state: all tensors; a parameter that a model has under two names is one tensor under both.
        parameters: the trained ones, by their first name.
    """

    def __init__(self, state: State, model: nn.Module) -> None:
        self.parameters = {
            name: nn.Parameter(state[name].clone())
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        first = {id(parameter): name for name, parameter in model.named_parameters()}
        self.state: dict[str, Tensor] = dict(state)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                self.state[name] = self.parameters[first[id(parameter)]]
        if not self.parameters:
            raise ArgumentError(
                f"train_curve: no parameter of {type(model).__name__} needs a gradient, so there "
                "is nothing to train. Call model.requires_grad_()."
            )

    def state_dict(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state_dict[name])


def _batches(data: Any, batch_size: int, seed: int) -> Callable[[int], Batch]:
    if callable(data):
        found: Callable[[int], Batch] = data
        return found
    measurement.check(data, batch_size, "train_curve")
    if not (isinstance(data, (tuple, list)) and isinstance(data[0], Tensor)):
        raise ArgumentError(
            "train_curve: data must be a pair of tensors (x, y), or a function that returns the "
            f"batch of step i, got {type(data).__name__}. A loader cannot say what step i saw."
        )
    x, y = data
    drawn = training.minibatches(
        (x, y), min(batch_size, len(x)), seed=seeding.split(seed, "data_order")
    )

    def batches(i: int) -> Batch:
        inputs, labels = drawn(i)
        return inputs, labels

    return batches


def _place(seed: int, step: int) -> float:
    generator = seeding.torch_generator(seeding.split(seed, "place", step))
    return float(torch.rand((), generator=generator))


def _rate(done: float) -> float:
    """Return the learning rate, as a share of the first, when ``done`` of the steps are done."""
    progress = (done - _CONSTANT_UNTIL) / (_DECAYED_FROM - _CONSTANT_UNTIL)
    return 1 - (1 - _LAST_RATE) * min(max(progress, 0.0), 1.0)
