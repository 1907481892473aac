"""Networks of one architecture as points of a vector space.

The object all functions share is a *state*: what ``state_dict`` of a module returns, tensors by
name. Its floating tensors are the coordinates. Integer tensors (BatchNorm's count of batches, say)
are no coordinates; every combination of states takes them from the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from sidle.errors import ArgumentError, NonFiniteError, ShapeError

State = Mapping[str, Tensor]
Network = nn.Module | State

_MOST_NAMED = 3  # names that a message lists


def state_of(network: Network) -> dict[str, Tensor]:
    """Return a copy of the tensors of a module's ``state_dict``, or of a state.

    Raises:
        ArgumentError: neither a module nor tensors by name, or a lazy module that never ran.
    """
    tensors = network.state_dict() if isinstance(network, nn.Module) else network
    if not isinstance(tensors, Mapping):
        raise ArgumentError(
            f"expected an nn.Module or a state (tensors by name), got {type(network).__name__}. "
            "Pass the module, or what its state_dict() returns."
        )
    found = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    refuse_lazy(found)
    return {name: value.detach().clone() for name, value in found.items()}


def refuse_lazy(tensors: Mapping[str, Any]) -> None:
    """Raise ArgumentError if one of ``tensors`` waits for the first batch to get its shape."""
    unfinished = [name for name, tensor in tensors.items() if is_lazy(tensor)]
    if unfinished:
        raise ArgumentError(
            f"'{unfinished[0]}' belongs to a lazy module that has no weights yet. Run one batch "
            "through it first."
        )


def alike(networks: Sequence[Network], names: Sequence[str], function: str) -> list[State]:
    """Return copies of the states of ``networks``, once they are points of one space.

    Args:
        networks: two or more modules or states.
        names: what the caller calls them, for messages.
        function: who asks, for messages.

    Raises:
        ArgumentError: a name that one has and another lacks, another dtype, no floating tensor.
        ShapeError: a tensor has another shape.
        NonFiniteError: a weight is NaN or infinite.
    """
    states = [state_of(network) for network in networks]
    first, first_name = states[0], names[0]
    for state, name in zip(states, names, strict=True):
        lacking, unknown = sorted(set(first) - set(state)), sorted(set(state) - set(first))
        if lacking or unknown:
            raise ArgumentError(
                f"{function}: {first_name} and {name} are not of one architecture: "
                + "; ".join(
                    f"{owner} alone has {_some(missing)}"
                    for owner, missing in ((first_name, lacking), (name, unknown))
                    if missing
                )
                + ". Only networks with the same tensors can be joined by a path."
            )
        for key, tensor in state.items():
            if tensor.shape != first[key].shape:
                raise ShapeError(
                    f"{function}: '{key}' has shape {tuple(first[key].shape)} in {first_name} and "
                    f"{tuple(tensor.shape)} in {name}. Both networks must be built alike."
                )
            if tensor.dtype != first[key].dtype:
                raise ArgumentError(
                    f"{function}: '{key}' is {first[key].dtype} in {first_name} and "
                    f"{tensor.dtype} in {name}. Convert one, for example with model.float()."
                )
            if is_coordinate(tensor) and not torch.isfinite(tensor).all():
                raise NonFiniteError(
                    f"{function}: '{key}' of {name} holds a NaN or an infinity: training "
                    "diverged, or the file is damaged. Use an earlier checkpoint."
                )
    if not any(is_coordinate(tensor) for tensor in first.values()):
        raise ArgumentError(
            f"{function}: the networks have no floating-point tensors, so there is nothing to "
            "interpolate. Pass modules with weights, or their state_dict()."
        )
    return list(states)


def fit(model: nn.Module, state: State, function: str) -> None:
    """Check that ``state`` belongs to ``model``.

    Raises:
        ArgumentError: names differ.
        ShapeError: a tensor has another shape.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    lacking, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if lacking or unknown:
        raise ArgumentError(
            f"{function}: the state does not belong to {type(model).__name__}: "
            + "; ".join(
                f"{what} {_some(keys)}"
                for what, keys in (("it lacks", lacking), ("the model lacks", unknown))
                if keys
            )
            + ". Pass the model that the weights were trained in."
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ShapeError(
                f"{function}: '{name}' has shape {tuple(tensor.shape)} in {type(model).__name__} "
                f"and {tuple(state[name].shape)} in the state. Build the model with the settings "
                "it was trained with."
            )


def load(model: nn.Module, state: State) -> None:
    """Copy ``state``, which was checked with `fit`, into ``model``; both keep their own memory.

    Raises:
        ArgumentError: a hook of the model's changes what was put into it, as `Mask.hold` does.
    """
    model.load_state_dict(dict(state), strict=False)
    if not any(module._load_state_dict_post_hooks for module in model.modules()):
        return
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor) and not torch.equal(tensor, state[name].to(tensor)):
            raise ArgumentError(
                f"the {type(model).__name__} does not keep '{name}' as it is put into it: a mask "
                "holds it, or another hook of load_state_dict. Call remove() on what Mask.hold "
                "returned, or pass another model."
            )


def is_coordinate(tensor: Tensor) -> bool:
    """Return whether ``tensor`` takes part in combinations of states."""
    return tensor.is_floating_point() or tensor.is_complex()


def identical(states: Sequence[State]) -> bool:
    """Return whether all ``states``, of one architecture, hold equal numbers."""
    return all(
        torch.equal(tensor, state[name])
        for state in states[1:]
        for name, tensor in states[0].items()
    )


def check_device(device: str | torch.device) -> None:
    """Refuse a device that does not exist or is not there.

    Raises:
        ArgumentError: so.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).partition("\n")[0].rstrip(".")
        raise ArgumentError(
            f"device: cannot compute on {str(device)!r}: {problem}. Use 'cpu', or a device that "
            "this installation of torch has."
        ) from error


def moved(state: State, device: str | torch.device) -> dict[str, Tensor]:
    """Return ``state`` on ``device``.

    Raises:
        ArgumentError: there is no such device.
    """
    check_device(device)
    return {name: tensor.to(device) for name, tensor in state.items()}


def between(a: State, b: State, alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) a + alpha b; numbers on which both agree come back bit for bit."""
    return {name: _between(tensor, b[name], alpha) for name, tensor in a.items()}


def combination(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the sum of ``states``, each times its weight; the weights should sum to 1."""
    made = {}
    for name, first in states[0].items():
        if not is_coordinate(first):
            made[name] = first
            continue
        total = weights[0] * first
        for state, weight in zip(states[1:], weights[1:], strict=True):
            total = total + weight * state[name]
        made[name] = total
    return made


def inner_product(a: State, b: State, names: Sequence[str]) -> float:
    """Return the inner product of ``a`` and ``b`` over the tensors ``names``, in float64."""
    return math.fsum(float(torch.dot(numbers(a[name]), numbers(b[name]))) for name in names)


def numbers(tensor: Tensor) -> Tensor:
    """Return the numbers in ``tensor`` in a row, in float64; a complex one is two."""
    # float32 sums over millions of weights lose the digits that nearly parallel lines need.
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.double().reshape(-1)


def distance(a: Network, b: Network) -> float:
    """Return the L2 distance of two networks over their parameters and floating buffers.

    Raises:
        ArgumentError, ShapeError, NonFiniteError: as `alike`.
    """
    first, second = alike((a, b), ("a", "b"), "distance")
    names = [name for name, tensor in first.items() if is_coordinate(tensor)]
    difference = {name: numbers(second[name]) - numbers(first[name]) for name in names}
    return math.sqrt(inner_product(difference, difference, names))


def _between(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    if not is_coordinate(a):
        return a
    # lerp alone would turn -0.0 into 0.0.
    return torch.where(a == b, a, torch.lerp(a, b, alpha))


def _some(keys: Sequence[str]) -> str:
    listed = ", ".join(f"'{key}'" for key in keys[:_MOST_NAMED])
    rest = len(keys) - _MOST_NAMED
    return f"{listed} and {rest} more" if rest > 0 else listed
