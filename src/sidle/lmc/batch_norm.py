"""Running statistics of normalisation layers between networks: interpolated or estimated anew.

BatchNorm normalises with statistics of the data that it saw in training. Those of a point between
two networks are no mean of the ends' statistics: activations of averaged weights vary less, and
the mismatch can look like a barrier. Estimating them anew at every point takes inputs, but no
labels. They are averaged with equal weight over the calibration batches (``momentum=None``), as
Izmailov et al. 2018 (arXiv:1803.05407, section 3.2) do for averaged weights.

Letters: P = points; B = examples of a batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sidle import progress
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import measurement, states
from sidle.lmc.states import State

Calibration = Tensor | Iterable[Any]
"""Inputs (N, ...); a pair ``(x, y)``, whose labels are not used; or a list or loader of batches."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of ``model`` that keep running statistics, by each name that they have."""
    return {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _NormBase) and module.running_mean is not None
    }


def re_estimate(
    model: nn.Module,
    calibration: Calibration,
    *,
    batch_size: int = measurement.BATCH_SIZE,
    device: str | torch.device = "cpu",
) -> None:
    """Estimate the running statistics of ``model`` anew from ``calibration``, in place.

    All else of the model stays in evaluation mode (dropout draws nothing).

    Args:
        model: with at least one layer that keeps running statistics.
        calibration: inputs like those of training; a thousand are usually plenty.
        batch_size: examples a batch, where ``calibration`` is tensors; the batches are of nearly
            equal size, as each counts the same.
        device: where to compute.

    Raises:
        ArgumentError: no such layer, or calibration that is empty or has a batch of one.
        NonFiniteError: the statistics are not finite.
    """
    (found,) = re_estimated(
        model, [states.state_of(model)], calibration, batch_size=batch_size, device=device,
        function="re_estimate",
    )  # fmt: skip
    states.load(model, found)


def re_estimated(
    model: nn.Module,
    points: Sequence[State],
    calibration: Calibration,
    *,
    batch_size: int,
    device: str | torch.device,
    function: str,
) -> Sequence[State]:
    """Return ``points`` with the running statistics of each estimated anew.

    Every point sees the same batches, whatever the order in which a loader yields.

    Args:
        model: what the points are weights of; put back afterwards.
        points: P states that fit it, on ``device``.
        calibration, batch_size, device: as `re_estimate`.
        function: who asks, for messages.

    Raises:
        ArgumentError, NonFiniteError: as `re_estimate`.
    """
    found = layers(model)
    if not found:
        raise ArgumentError(
            f"{function}: {type(model).__name__} keeps no running statistics (it has no "
            "BatchNorm), so none can be estimated anew. Use batch_norm='interpolated'."
        )
    statistics = [_fresh(found, device) for _ in points]
    n_batches = 0
    with (
        measurement.borrowed(model, device),
        _estimating(found),
        progress.bar("estimating BatchNorm statistics", None) as bar,
    ):
        for x in _inputs(calibration, batch_size, function):
            n_batches += 1
            for place, state in enumerate(points):
                states.load(model, {**state, **statistics[place]})
                measurement.output_of(model, x.to(device), function)
                statistics[place] = _copied(found)
                bar.advance()
    if not n_batches:
        raise ArgumentError(
            f"{function}: calibration is empty. Give inputs like those of training."
        )
    for place, numbers in enumerate(statistics):
        for name, tensor in numbers.items():
            if not torch.isfinite(tensor).all():
                raise NonFiniteError(
                    f"{function}: '{name}' estimated at point {place} is not finite. Look for NaN "
                    "in the calibration inputs."
                )
    return _WithStatistics(points, statistics)


class _WithStatistics(Sequence[State]):
    """States with some of their tensors replaced; each is made when it is asked for."""

    def __init__(self, points: Sequence[State], replaced: Sequence[State]) -> None:
        self._points, self._replaced = points, replaced

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, index: int) -> State: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[State]: ...
    def __getitem__(self, index: int | slice) -> State | Sequence[State]:
        if isinstance(index, slice):
            return _WithStatistics(self._points[index], self._replaced[index])
        return {**self._points[index], **self._replaced[index]}


@contextlib.contextmanager
def _estimating(found: dict[str, nn.Module]) -> Iterator[None]:
    """Let the layers ``found`` average over batches; put their momentum back afterwards."""
    momenta = {name: module.momentum for name, module in found.items()}
    try:
        for module in found.values():
            module.train()
            module.momentum = None  # type: ignore[assignment]
        yield
    finally:
        for name, module in found.items():
            module.momentum = momenta[name]


def _fresh(found: dict[str, nn.Module], device: str | torch.device) -> dict[str, Tensor]:
    start = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    return {
        name: torch.full_like(tensor, start[name.rpartition(".")[2]], device=device)
        for name, tensor in _copied(found).items()
    }


def _copied(found: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{what}".lstrip("."): getattr(module, what).detach().clone()
        for name, module in found.items()
        for what in _STATISTICS
    }


def _inputs(calibration: Any, batch_size: int, function: str) -> Iterator[Tensor]:
    """Yield batches of inputs; of tensors, in parts of nearly equal size."""
    if isinstance(calibration, (tuple, list)) and len(calibration) == 2:
        x, y = calibration
        pair = isinstance(calibration, tuple) or (isinstance(y, Tensor) and y.ndim < 2)
        if pair and isinstance(x, Tensor) and isinstance(y, Tensor):
            calibration = x
    if isinstance(calibration, Tensor):
        n_parts = max(1, -(-len(calibration) // batch_size)) if calibration.ndim else 1
        parts: Any = calibration.tensor_split(n_parts) if calibration.ndim else [calibration]
    elif isinstance(calibration, Iterable) and not isinstance(calibration, (str, bytes, dict)):
        parts = calibration
    else:
        parts = [calibration]
    for part in parts:
        x = part[0] if isinstance(part, (tuple, list)) and part else part
        if not isinstance(x, Tensor):
            raise ArgumentError(
                f"{function}: calibration must be a tensor of inputs or an iterable of batches, "
                f"got {type(x).__name__}. Convert arrays with torch.as_tensor."
            )
        if x.ndim == 0 or len(x) < 2:
            raise ArgumentError(
                f"{function}: calibration needs batches of at least 2 examples to have a variance, "
                f"got shape {tuple(x.shape)}. Give more examples or larger batches."
            )
        yield x
