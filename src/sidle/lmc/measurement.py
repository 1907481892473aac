"""What a classifier gets wrong on given data, example by example.

The object all functions share is *data*: a pair ``(x, y)`` of tensors with equal first dimension,
or anything that can be gone through more than once and yields such pairs as batches (a DataLoader).
Labels y are int64, shape (N,); the model returns logits, shape (N, C).

Letters: N = examples; B = examples of a batch; C = classes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sidle.errors import ArgumentError, NonFiniteError, ShapeError
from sidle.lmc import states
from sidle.lmc.states import State

Batch = tuple[Tensor, Tensor]
Data = tuple[Tensor, Tensor] | Iterable[Batch]
Loss = Callable[[Tensor, Tensor], Tensor | tuple[Tensor, Tensor]]
"""``loss(outputs, y)`` returns losses (B,), or losses and errors (B,): see `measure`."""

BATCH_SIZE = 1000


@dataclass(frozen=True, eq=False)
class Measurement:
    """Loss, prediction and error of one network on each of N examples, on the CPU.

    Attributes:
        loss_N: float32; cross-entropy in nats unless another loss was given.
        predicted_N: int64, the class with the largest output.
        wrong_N: bool, whether the prediction differs from the label; what the caller's own loss
            counts as an error, if it says so.
    """

    loss_N: Tensor
    predicted_N: Tensor
    wrong_N: Tensor

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.loss_N.double().mean())

    @property
    def error(self) -> float:
        """Share of examples that are wrong, in [0, 1]."""
        return float(self.wrong_N.double().mean())

    @classmethod
    def joined(cls, parts: list[Measurement]) -> Measurement:
        """Return the measurements of consecutive batches as one."""
        return cls(
            torch.cat([part.loss_N for part in parts]),
            torch.cat([part.predicted_N for part in parts]),
            torch.cat([part.wrong_N for part in parts]),
        )


def measure(
    model: nn.Module,
    data: Data,
    *,
    state: State | None = None,
    batch_size: int = BATCH_SIZE,
    device: str | torch.device = "cpu",
    loss: Loss | None = None,
) -> Measurement:
    """Measure ``model`` on ``data``, in evaluation mode and without gradients.

    The model comes back with the weights, modes and place that it had.

    Args:
        model: classifier; takes x of shape (B, ...), returns logits of shape (B, C).
        data: see the module.
        state: weights to use in place of the model's own.
        batch_size: examples a batch, where ``data`` is a pair of tensors.
        device: where to compute.
        loss: another loss; ``loss(outputs, y)`` returns losses of shape (B,), or a pair of losses
            and errors, both (B,). With a pair, outputs and labels may be tensors of any shape: the
            errors, bool or shares in [0, 1], say what counts as wrong.

    Raises:
        ArgumentError: no examples, labels outside [0, C) or not integers, inputs that the model
            cannot take, data that can be gone through only once, or a state of another
            architecture.
        ShapeError: x and y differ in length, or outputs or losses have another shape.
        NonFiniteError: a loss is NaN or infinite.
    """
    check(data, batch_size, "measure")
    if state is not None:
        states.fit(model, state, "measure")
    parts = []
    with borrowed(model, device):
        if state is not None:
            states.load(model, state)
        for x, y in batches(data, batch_size):
            outputs = tensor(output_of(model, x.to(device), "measure"), model, "measure")
            parts.append(score(outputs, y.to(device), loss, "measure", "the network"))
    if not parts:
        raise ArgumentError("measure: the data holds no batches. Give at least one example.")
    return Measurement.joined(parts)


def check(data: Any, batch_size: int, function: str, name: str = "data") -> None:
    """Refuse what is no data, before any work.

    Raises:
        ArgumentError: empty, not tensors, can be gone through only once, or a batch size below 1.
        ShapeError: x and y differ in length.
    """
    if batch_size < 1:
        raise ArgumentError(f"{function}: batch_size must be at least 1, got {batch_size}.")
    if _is_pair(data):
        _check_batch(data, function, name)
    elif not isinstance(data, Iterable) or isinstance(data, (str, bytes, dict, Tensor)):
        raise ArgumentError(
            f"{function}: {name} must be a pair of tensors (x, y) or an iterable of such batches, "
            f"got {_describe(data)}. Convert arrays with torch.as_tensor."
        )
    elif isinstance(data, Iterator):
        raise ArgumentError(
            f"{function}: {name} can be gone through only once (it is a "
            f"{type(data).__name__}). Pass a DataLoader or a list of batches."
        )


def batches(data: Data, batch_size: int, name: str = "data") -> Iterator[Batch]:
    """Yield the batches of ``data``, which passed `check`.

    Raises:
        ArgumentError, ShapeError: a batch that is no pair of tensors of one length.
    """
    if _is_pair(data):
        x, y = cast(Batch, data)
        for start in range(0, len(x), batch_size):
            yield x[start : start + batch_size], y[start : start + batch_size]
        return
    for batch in data:
        _check_batch(batch, "batches", name)
        yield batch[0], batch[1]


def output_of(model: nn.Module, x: Tensor, function: str) -> Any:
    """Return ``model(x)``.

    Raises:
        ArgumentError: the model raised an error over these inputs.
    """
    try:
        return model(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise ArgumentError(
            f"{function}: {type(model).__name__} failed on inputs of shape {tuple(x.shape)} and "
            f"type {x.dtype}: {problem}. Give inputs like those it was trained on."
        ) from error


def tensor(outputs: Any, model: nn.Module, function: str) -> Tensor:
    """Return ``outputs`` of ``model`` if they are one tensor, else raise ShapeError."""
    if not isinstance(outputs, Tensor):
        raise ShapeError(
            f"{function}: {type(model).__name__} must return a tensor, got {_describe(outputs)}. "
            "Wrap it into a module that returns the one that counts."
        )
    return outputs


def score(outputs: Tensor, y: Tensor, loss: Loss | None, function: str, where: str) -> Measurement:
    """Return what ``outputs`` for labels ``y`` are worth; raises as `measure`."""
    losses: Tensor
    if loss is None:
        labels = _labels(outputs, y, function)
        logits = outputs if outputs.dtype == torch.float64 else outputs.float()
        losses, predicted = F.cross_entropy(logits, labels, reduction="none"), logits.argmax(1)
        wrong = predicted != labels
    else:
        answer = loss(outputs, y)
        if isinstance(answer, tuple):
            losses, wrong = answer
            predicted = outputs.argmax(1) if outputs.ndim > 1 else (outputs > 0).long()
        else:
            losses, predicted = answer, outputs.argmax(1)
            wrong = predicted != _labels(outputs, y, function)
    for what, values in (("loss", losses), ("error", wrong)):
        if values.shape != (len(y),):
            raise ShapeError(
                f"{function}: the {what} must have one value an example, shape ({len(y)},), got "
                f"{tuple(values.shape)}. Use reduction='none'."
            )
    if not torch.isfinite(losses).all():
        raise NonFiniteError(
            f"{function}: a loss of {where} is NaN or infinite. Look for NaN in the inputs and "
            "for weights or running statistics that overflow."
        )
    return Measurement(losses.float().cpu(), predicted.cpu(), wrong.cpu())


@contextlib.contextmanager
def borrowed(model: nn.Module, device: str | torch.device) -> Iterator[None]:
    """Lend ``model`` out on ``device``, in evaluation mode, without gradients.

    Afterwards its parameters, buffers, modes and place are what they were, also if the block
    raises.

    Raises:
        ArgumentError: its tensors are spread over several devices, or not made yet (lazy modules);
            there is no such device.
    """
    states.check_device(device)
    states.refuse_lazy(_tensors(model))
    homes = {tensor.device for tensor in _tensors(model).values()}
    if len(homes) > 1:
        raise ArgumentError(
            f"the model's tensors lie on several devices ({', '.join(sorted(map(str, homes)))}). "
            "Move it to one: model.to(device)."
        )
    modes = [(module, module.training) for module in model.modules()]
    before = {name: tensor.detach().clone() for name, tensor in _tensors(model).items()}
    try:
        with torch.no_grad():
            model.to(device)
            model.eval()
            yield
    finally:
        with torch.no_grad():
            for home in homes:
                model.to(home)
            for name, tensor in _tensors(model).items():
                tensor.copy_(before[name])
        for module, mode in modes:
            module.training = mode


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and all buffers, also those that ``state_dict`` leaves out."""
    return dict(itertools.chain(model.named_parameters(), model.named_buffers()))


def _is_pair(data: Any) -> bool:
    return (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and any(isinstance(part, Tensor) for part in data)
    )


def _check_batch(batch: Any, function: str, name: str) -> None:
    if not (
        isinstance(batch, (tuple, list))
        and len(batch) == 2
        and all(isinstance(part, Tensor) for part in batch)
    ):
        raise ArgumentError(
            f"{function}: {name} must hold pairs of tensors (x, y), got {_describe(batch)}. "
            "Convert arrays with torch.as_tensor; wrap a model that takes several inputs into one "
            "that takes one."
        )
    x, y = batch
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError(
            f"{function}: {name} must hold batches, got a single example. Wrap a Dataset into a "
            "DataLoader."
        )
    if len(x) != len(y):
        raise ShapeError(
            f"{function}: x and y of {name} must have the same length, got {len(x)} and {len(y)}."
        )
    if len(x) == 0:
        raise ArgumentError(f"{function}: {name} is empty. Give at least one example.")


def _labels(outputs: Tensor, y: Tensor, function: str) -> Tensor:
    """Return ``y`` as int64 labels, once they fit logits ``outputs``."""
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(y):
        raise ShapeError(
            f"{function}: the model must return logits of shape ({len(y)}, C), got "
            f"{_describe(outputs)}. For another task give a loss that returns losses and errors."
        )
    if y.ndim != 1 or y.is_floating_point() or y.is_complex():
        raise ArgumentError(
            f"{function}: labels must be integers of shape (N,), got {y.dtype} of shape "
            f"{tuple(y.shape)}. For another task give a loss that returns losses and errors."
        )
    low, high, C = int(y.min()), int(y.max()), outputs.shape[1]
    if low < 0 or high >= C:
        raise ArgumentError(
            f"{function}: labels must lie in [0, {C}), as the model returns {C} logits, got "
            f"{low} to {high}. Number the classes from 0, or use the model that was trained on "
            "these labels."
        )
    return y.long()


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return (
            f"a {type(value).__name__} of {', '.join(type(p).__name__ for p in value) or 'nothing'}"
        )
    return type(value).__name__
