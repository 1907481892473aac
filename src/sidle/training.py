"""The one training loop: order, progress, metrics, checkpoints, resuming and stopping.

A method brings a *step*, ``step(batch) -> metrics``, which owns forward, backward and optimisers
(two optimisers, inner loops, masks and fused updates all fit). The loop owns the rest. Batches are
a function of the step's number, so that a resumed run sees exactly what it would have seen.

    module, optimizer = ...
    fit(supervised(module, optimizer, loss), minibatches((x, y), 64, seed=0), 1000,
        state={"module": module, "optimizer": optimizer}, run=run)
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from sidle import checkpoint, progress, seeding
from sidle.checkpoint import Restorable
from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.runs import CHECKPOINT, Run

Metrics = Mapping[str, "float | Tensor"]

SECONDS_BETWEEN_CHECKPOINTS = 30.0


def fit(
    step: Callable[[Any], Metrics],
    batches: Callable[[int], Any],
    n_steps: int,
    *,
    state: Mapping[str, Restorable],
    run: Run | None = None,
    evaluate: Callable[[int], Metrics] | None = None,
    evaluate_every: int = 0,
    stop: Callable[[Mapping[str, float]], bool] | None = None,
    log_every: int = 1,
    checkpoint_every: float = SECONDS_BETWEEN_CHECKPOINTS,
    description: str = "training",
) -> list[dict[str, float]]:
    """Train for ``n_steps`` steps, or until ``stop``, from scratch or from the run's checkpoint.

    Args:
        step: takes a batch, updates the model, returns scalar metrics.
        batches: ``batches(i)`` is the batch of step i, counted from 0; a function of i alone.
        n_steps: how many steps there are in all, at least 1.
        state: everything that training changes, by name. Optimisers among it are guarded: an
            update from a non-finite gradient never happens.
        run: where metrics and checkpoints go; None keeps metrics in memory only.
        evaluate: called after every ``evaluate_every`` steps with their number; its metrics join
            the record of that step.
        evaluate_every: steps between evaluations; 0 without ``evaluate``.
        stop: sees each record; True ends training. If it has a state (`Patience`), it is saved.
        log_every: steps between records. Every evaluation makes a record too. Metrics in
            between are not looked at.
        checkpoint_every: seconds between checkpoints; the last step always makes one.
        description: what the progress bar says.

    Returns:
        All records in order, each with "step" (steps done so far) and finite metrics; those made
        before an interruption are included.

    Raises:
        NonFiniteError: a loss, gradient or metric is NaN or infinite; names step and cause.
        KeyboardInterrupt: Ctrl-C; the step under way was finished and a checkpoint written.
        CheckpointError, RunError, StorageError: as `Run.resume` and `Run.save`.
    """
    _check_arguments(n_steps, log_every, evaluate, evaluate_every, state)
    objects = dict(state)
    if isinstance(stop, checkpoint.Stateful):
        objects["stop"] = stop
    start, stopped = _resume(run, objects)
    records: list[dict[str, float]] = []
    record: dict[str, float] = {}
    saved_at = time.monotonic()
    with (
        _guarded_updates(state),
        _deferred_interrupt() as interrupt,
        progress.bar(description, n_steps, done=start) as bar,
    ):
        for number in range(start + 1, 0 if stopped else n_steps + 1):
            with _naming(description, number):
                metrics = step(batches(number - 1))
                due = evaluate is not None and number % evaluate_every == 0
                if due or number % log_every == 0 or number == n_steps:
                    record = _finite(metrics)
                    if evaluate is not None and due:
                        record |= _finite(evaluate(number))
                    records.append({"step": number, **record})
                    stopped = stop is not None and stop(record)
                    if run is not None:
                        run.log(number, record)
            bar.advance(note=f"loss {record['loss']:.4g}" if "loss" in record else "")
            asked = interrupt.requested  # read once: a signal may come at any moment
            last = stopped or number == n_steps or asked
            if run is not None and (last or time.monotonic() - saved_at > checkpoint_every):
                run.save(number, _tree(objects, stopped))
                saved_at = time.monotonic()
            if asked:
                raise KeyboardInterrupt
            if stopped:
                break
        if interrupt.requested:
            raise KeyboardInterrupt
    return records if run is None else run.metrics()


def supervised(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> Callable[[Any], Metrics]:
    """Return the usual step: loss, backward, update, next learning rate.

    Args:
        module: what is trained; given to ``loss``.
        optimizer: holds the module's parameters.
        loss: ``loss(module, batch)`` is a scalar to minimise.
        scheduler: advanced once a step. Put it into ``state`` of `fit` too.

    Returns:
        ``step(batch) -> {"loss": ...}``; it raises NonFiniteError before the backward pass if
        the loss is NaN or infinite, and ShapeError if it is no scalar.
    """

    modules = list(module.modules())

    def step(batch: Any) -> Metrics:
        # Asking is a tenth of the work of telling; evaluation may have changed some of them.
        if not all(one.training for one in modules):
            module.train()
        optimizer.zero_grad(set_to_none=True)
        value = loss(module, batch)
        if value.ndim != 0:
            raise ShapeError(f"supervised: the loss must be a scalar, got {tuple(value.shape)}.")
        if not math.isfinite(found := value.item()):
            raise NonFiniteError(f"the loss is {found}; nothing was updated.")
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return {"loss": value.detach()}

    return step


def minibatches(
    tensors: Sequence[Tensor], batch_size: int, *, seed: int
) -> Callable[[int], tuple[Tensor, ...]]:
    """Return ``batches(i)``: rows in a new random order each epoch, the incomplete rest dropped.

    Args:
        tensors: any number of tensors with the same first dimension N.
        batch_size: rows a batch, in [1, N].
        seed: names the order; the order of an epoch depends on seed and epoch alone.

    Raises:
        ShapeError: no tensors, or first dimensions differ.
        ArgumentError: ``batch_size`` lies outside [1, N].
    """
    sizes = [len(tensor) for tensor in tensors]
    if len(set(sizes)) != 1:
        raise ShapeError(f"minibatches: all tensors must have the same length, got {sizes}.")
    n = sizes[0]
    if not 1 <= batch_size <= n:
        raise ArgumentError(f"minibatches: batch_size must lie in [1, {n}], got {batch_size}.")
    per_epoch = n // batch_size
    known: dict[int, Tensor] = {}

    def batches(i: int) -> tuple[Tensor, ...]:
        epoch, position = divmod(i, per_epoch)
        if epoch not in known:
            known.clear()
            generator = seeding.torch_generator(seeding.split(seed, "epoch", epoch))
            known[epoch] = torch.randperm(n, generator=generator).to(tensors[0].device)
        rows = known[epoch][position * batch_size : (position + 1) * batch_size]
        return tuple(_rows(tensor, rows) for tensor in tensors)

    return batches


def _rows(tensor: Tensor, rows: Tensor) -> Tensor:
    # Half the time of tensor[rows]; but it would undo another order of the axes in memory.
    return tensor.index_select(0, rows) if tensor.is_contiguous() else tensor[rows]


@dataclass
class Patience:
    """Stop when a metric has not improved for some records; give it to `fit` as ``stop``.

    Attributes:
        metric: which metric to watch; records without it are passed over.
        patience: how many records in a row may fail to improve on the best, at least 1.
        lower_is_better: the direction.
        best: the best value so far.
        waited: records since the best.
    """

    metric: str
    patience: int
    lower_is_better: bool = True
    best: float = math.inf
    waited: int = 0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ArgumentError(f"Patience: patience must be at least 1, got {self.patience}.")

    def __call__(self, record: Mapping[str, float]) -> bool:
        """Take note of ``record``; return whether to stop."""
        if self.metric not in record:
            return False
        value = record[self.metric] * (1 if self.lower_is_better else -1)
        self.waited = 0 if value < self.best else self.waited + 1
        self.best = min(self.best, value)
        return self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return best value (sign turned so that lower is better) and records since."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.best, self.waited = float(state_dict["best"]), int(state_dict["waited"])


def _check_arguments(
    n_steps: int,
    log_every: int,
    evaluate: Callable[..., Metrics] | None,
    evaluate_every: int,
    state: Mapping[str, Restorable],
) -> None:
    if n_steps < 1 or log_every < 1:
        raise ArgumentError(
            f"fit: n_steps and log_every must be at least 1, got {n_steps} and {log_every}."
        )
    if "stop" in state:
        raise ArgumentError("fit: the name 'stop' in state is taken; rename that entry.")
    if (evaluate is not None) != (evaluate_every > 0):
        raise ArgumentError("fit: give both evaluate and evaluate_every >= 1, or neither.")


def _resume(run: Run | None, objects: Mapping[str, Restorable]) -> tuple[int, bool]:
    """Restore ``objects`` from the run's checkpoint; return (steps done, whether it stopped)."""
    found = None if run is None else run.resume()
    if run is None or found is None:
        return 0, False
    step, tree = found
    checkpoint.restore(objects, tree["objects"], path=run.folder / CHECKPOINT)
    seeding.restore_global_states(tree["random"])
    return step, tree["stopped"]


def _tree(objects: Mapping[str, Restorable], stopped: bool) -> dict[str, Any]:
    return {
        "objects": checkpoint.capture(objects),
        "random": seeding.global_states(),
        "stopped": stopped,
    }


def _finite(metrics: Metrics) -> dict[str, float]:
    record = {
        name: float(value.detach() if isinstance(value, Tensor) else value)
        for name, value in metrics.items()
    }
    for name, value in record.items():
        if not math.isfinite(value):
            raise NonFiniteError(f"the metric '{name}' is {value}.")
    return record


@contextlib.contextmanager
def _naming(description: str, number: int) -> Iterator[None]:
    """Add what and which step to a NonFiniteError of the block."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(
            f"{description}: stopped at step {number}: {error} Lower the learning rate, or look "
            "for zeros under a logarithm or a division and for bad values in the data."
        ) from error


@contextlib.contextmanager
def _guarded_updates(state: Mapping[str, Restorable]) -> Iterator[None]:
    """Refuse every update of an optimiser in ``state`` from a gradient that is not finite."""
    names = {
        parameter: f"{name}.{inner}"
        for name, module in state.items()
        if isinstance(module, nn.Module)
        for inner, parameter in module.named_parameters()
    }

    def refuse(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if math.isfinite(_sum_of_gradients(optimizer)):
            return
        # A sum of finite numbers may overflow.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and not _is_finite(parameter.grad):
                    name = names.get(parameter, f"a parameter of shape {tuple(parameter.shape)}")
                    raise NonFiniteError(
                        f"the gradient of {name} is not finite; it was not applied."
                    )

    optimizers = [item for item in state.values() if isinstance(item, torch.optim.Optimizer)]
    hooks = [optimizer.register_step_pre_hook(refuse) for optimizer in optimizers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _sum_of_gradients(optimizer: torch.optim.Optimizer) -> float:
    """Return a number that is NaN or infinite if an entry of a gradient is; written for speed."""
    total = 0.0
    elsewhere: list[Tensor] = []  # on devices where each answer is waited for
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if (gradient := parameter.grad) is not None:
                if gradient.is_cpu:
                    total += abs(gradient.sum().item())
                else:
                    elsewhere.append(gradient.sum().abs())
    for device in {one.device for one in elsewhere}:
        total += torch.stack([one for one in elsewhere if one.device == device]).sum().item()
    return total


def _is_finite(gradient: Tensor) -> bool:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(torch.isfinite(values).all())


@dataclass
class _Interrupt:
    requested: bool = False


@contextlib.contextmanager
def _deferred_interrupt() -> Iterator[_Interrupt]:
    """Turn the first Ctrl-C in the block into a request; a second one interrupts at once.

    Signals reach the main thread of a process only; elsewhere nothing is changed.
    """
    interrupt = _Interrupt()

    def request(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, request)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
