"""Many states of one model measured in one pass over the data, one by one or stacked.

Each batch of data is drawn once and shown to all states, so that example n is the same example for
each, whatever the order in which a loader yields. Stacked, ``torch.func`` runs several states at
once (``functional_call`` under ``vmap``); whether that is faster depends on model and machine,
which a timed probe on the first batch finds out.

Letters: P = states; B = examples of a batch.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from sidle import progress
from sidle.errors import ArgumentError
from sidle.lmc import measurement, states
from sidle.lmc.measurement import Data, Loss, Measurement
from sidle.lmc.states import State

Evaluation = Literal["auto", "sequential", "batched"]

STACKED = 8
"""States that run at once: activations take as many times the memory."""

SPEEDUP_THAT_PAYS = 1.5
"""Below, timing noise could turn the choice, and with it the last digits of the results."""

_BATCHES_WORTH_A_PROBE = 4  # the probe costs up to 16 evaluations of one batch
_TOLERANCE = 1e-3  # relative to the largest output: far above float32 rounding, below other weights


class Points(Sequence[State]):
    """The states ``at(place)`` for each of ``places``, each made when it is asked for."""

    def __init__(self, at: Callable[[float], State], places: Sequence[float]) -> None:
        self._at, self._places = at, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> Points: ...
    def __getitem__(self, index: int | slice) -> State | Points:
        """Return the state at one place, or the points of several."""
        if isinstance(index, slice):
            return Points(self._at, self._places[index])
        return self._at(self._places[index])


@dataclass(frozen=True)
class _Choice:
    stacked: bool
    reason: str


def measure_points(
    model: nn.Module,
    data: Data,
    points: Sequence[State],
    *,
    batch_size: int,
    device: str | torch.device,
    loss: Loss | None,
    evaluation: Evaluation,
    function: str,
    names: Sequence[str],
) -> tuple[list[Measurement], str]:
    """Measure ``model`` with the weights of each of ``points`` on ``data``.

    Args:
        model: its weights are put back afterwards.
        data: as `measurement`, checked.
        points: P states that fit the model, on ``device``.
        batch_size, device, loss: as `measurement.measure`.
        evaluation: "auto" stacks where a probe says that it is at least `SPEEDUP_THAT_PAYS` times
            faster; "sequential" never does, and gives the same bits every time; "batched" always.
            The two agree up to rounding.
        function: who asks, for messages.
        names: what each point is called in messages.

    Returns:
        A measurement for each point, and how they were computed and why.

    Raises:
        ArgumentError: no data, labels that do not fit, or a model that cannot be stacked although
            "batched" was asked for.
        ShapeError, NonFiniteError: as `measurement.measure`.
    """
    if evaluation not in ("auto", "sequential", "batched"):
        raise ArgumentError(
            f"{function}: evaluation must be 'auto', 'sequential' or 'batched', got {evaluation!r}."
        )
    parts: list[list[Measurement]] = [[] for _ in points]
    stream = measurement.batches(data, batch_size)
    first = list(itertools.islice(stream, _BATCHES_WORTH_A_PROBE))
    if not first:
        raise ArgumentError(f"{function}: the data holds no batches. Give at least one example.")
    choice = _Choice(evaluation == "batched", "as asked")
    with (
        measurement.borrowed(model, device),
        progress.bar("measuring the path", _count(data, batch_size, len(points))) as bar,
    ):
        if evaluation == "auto":
            choice = _Choice(False, "too few batches for a timed probe")
            if len(first) == _BATCHES_WORTH_A_PROBE and len(points) > 1:
                choice = _probe(model, points, first[0][0].to(device), function)
        for x, y in itertools.chain(first, stream):
            inputs, labels = x.to(device), y.to(device)
            outputs = _stacked if choice.stacked else _one_by_one
            for place, out in enumerate(outputs(model, points, inputs, function)):
                measured = measurement.score(out, labels, loss, function, names[place])
                parts[place].append(measured)
                bar.advance()
    how = "batched" if choice.stacked else "sequential"
    return [Measurement.joined(part) for part in parts], f"{how}: {choice.reason}"


def _one_by_one(
    model: nn.Module, points: Sequence[State], x: Tensor, function: str
) -> Iterator[Tensor]:
    for state in points:
        states.load(model, state)
        # Perhaps a view of weights, which the next state overwrites.
        yield measurement.tensor(measurement.output_of(model, x, function), model, function)


def _stacked(
    model: nn.Module, points: Sequence[State], x: Tensor, function: str
) -> Iterator[Tensor]:
    def forward(state: dict[str, Tensor], x: Tensor) -> Tensor:
        # Tied weights come under each of their names, so nothing has to be tied again.
        out: Tensor = functional_call(model, state, (x,), tie_weights=False)
        return out

    for start in range(0, len(points), STACKED):
        group = list(points[start : start + STACKED])
        stacked = {name: torch.stack([state[name] for state in group]) for name in group[0]}
        try:
            with warnings.catch_warnings():
                # Slow fallbacks are what the probe is there to find out.
                warnings.filterwarnings("ignore", message="There is a performance drop")
                outputs = vmap(forward, in_dims=(0, None), randomness="error")(stacked, x)
        except Exception as error:  # whatever a model's own code raises over stacked tensors
            raise ArgumentError(
                f"{function}: the model cannot run with stacked weights "
                f"({' '.join(str(error).split())[:120]}). Use evaluation='sequential'."
            ) from error
        yield from measurement.tensor(outputs, model, function)


def _probe(model: nn.Module, points: Sequence[State], x: Tensor, function: str) -> _Choice:
    """Time both ways on a few of the points and one batch, and compare what they compute."""
    few = points[:STACKED]

    def timed(outputs: Callable[..., Iterator[Tensor]]) -> tuple[Tensor, float]:
        _wait_for(x)
        started = time.perf_counter()
        found = torch.stack([out.clone() for out in outputs(model, few, x, function)])
        _wait_for(x)
        return found, time.perf_counter() - started

    list(_one_by_one(model, few[:1], x, function))  # what a library sets up once does not count
    expected, seconds = timed(_one_by_one)
    try:
        found, seconds_stacked = timed(_stacked)
    except ArgumentError as error:
        reason = str(error).removeprefix(f"{function}: ").partition(". Use evaluation")[0]
        return _Choice(False, reason)
    if (found - expected).abs().max() > _TOLERANCE * expected.abs().max():
        return _Choice(False, "stacked weights give other outputs in this model")
    if seconds_stacked < 3 * seconds:  # else no warming up could make it pay
        seconds_stacked = min(seconds_stacked, timed(_stacked)[1])
    speedup = seconds / seconds_stacked
    reason = f"stacked points ran at {speedup:.2g} times the speed of single ones"
    return _Choice(speedup >= SPEEDUP_THAT_PAYS, reason)


def _wait_for(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _count(data: Data, batch_size: int, n_points: int) -> int | None:
    if isinstance(data, (tuple, list)) and isinstance(data[0], Tensor):
        return n_points * -(-len(data[0]) // batch_size)
    return n_points * len(data) if isinstance(data, Sized) else None
