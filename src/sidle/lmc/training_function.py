"""Training as the user brings it: one function from a state at one step to a state at a later one.

    def train_fn(state, start, stop, seed, mask=None):
        ...  # load the state, do steps start, start + 1, ..., stop - 1, return the new state

The user's duty is to honour all four arguments:

state
    A *tree*, as `sidle.checkpoint` writes them: dictionaries, lists and tuples of tensors, arrays,
    numbers and strings. Its entry "model" is the network's ``state_dict``; whatever else training
    goes on with (optimiser, scheduler, averaged weights) stands beside it under any name. A bare
    ``state_dict`` will do where there is nothing else. The function may change what it is given,
    and may return tensors that it goes on using: both are copies. It must build what the tree does
    not hold (at step 0 there may be the "model" alone: then a fresh optimiser).
start, stop
    The function does the steps start, ..., stop - 1. Learning rate and other schedules are
    functions of the step's number, so that training 0 to k and then k to T is training 0 to T.
seed
    Everything random comes from it: order of the data, augmentation, dropout. Two calls that
    differ in the seed alone are two samples of the noise of training. Functions that draw from
    the global generators of torch, NumPy and `random` honour it without doing anything: each call
    is made inside `sidle.seeding.scope(seed)`.
mask
    A `Mask`, passed by keyword, and only when a pruned network is trained; a function that is
    used for dense networks alone needs no such parameter. With torch's optimisers one line does
    it: ``if mask is not None: mask.hold(model, optimizer)``. Any other training may set
    ``mask.apply`` after every step. Weights that revive are found, and refused by name.
run
    A `sidle.runs.Run`, passed by keyword to functions that have such a parameter, where the
    stretch is kept in a folder (`sidle.lmc.stretches`). Given to `sidle.training.fit`, it lets a
    killed training go on from its last checkpoint; without it the stretch begins anew.

Letters: T = the last step; k = a step to which training is rewound or at which it is forked.
"""

from __future__ import annotations

import copy
import functools
import inspect
import textwrap
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from sidle import seeding, storage
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc.masks import Mask
from sidle.runs import Run

State = Mapping[str, Any]


class TrainingFunction(Protocol):
    """``train_fn(state, start, stop, seed) -> state``, and ``mask=`` where networks are pruned."""

    def __call__(self, state: Any, start: int, stop: int, seed: int, /) -> Any:
        """Return the state after the steps start, ..., stop - 1 from ``state``."""
        ...


def train(
    train_fn: TrainingFunction,
    state: State,
    start: int,
    stop: int,
    seed: int,
    *,
    mask: Mask | None = None,
    run: Run | None = None,
) -> dict[str, Any]:
    """Call ``train_fn`` as the room's contract says, and check what it returns.

    Args:
        train_fn: see the module.
        state: the tree at step ``start``; stays as it is. With a mask, its weights are masked
            before they are handed over.
        start: at least 0.
        stop: at least ``start``; where they are equal the (masked) state is returned untrained.
        seed: names the noise of this stretch.
        mask: which weights are kept; None trains the dense network.
        run: handed to ``train_fn`` if that takes a ``run``.

    Returns:
        The tree at step ``stop``, in memory of its own.

    Raises:
        ArgumentError: steps out of range; ``train_fn`` takes no ``mask``; it returns no tree, or
            one whose weights differ in names or shapes; or it revived pruned weights (named).
        NonFiniteError: returned weights are NaN or infinite (named).
    """
    if not 0 <= start <= stop:
        raise ArgumentError(f"train: expected 0 <= start <= stop, got {start} and {stop}.")
    given = weights(state)
    keywords: dict[str, Any] = {}
    if mask is not None:
        check_takes_mask(train_fn)
        given = mask.apply(given)
        keywords["mask"] = mask
    if run is not None and _takes(train_fn, "run"):
        keywords["run"] = run
    handed: dict[str, Any] = copied(with_weights(state, given))
    if start == stop:
        return handed
    with seeding.scope(seed):
        returned = cast(Any, train_fn)(handed, start, stop, seed, **keywords)
    if not isinstance(returned, Mapping):
        raise ArgumentError(
            f"{name_of(train_fn)} must return the state at step {stop} as a dictionary, got "
            f"{type(returned).__name__}. Return {{'model': model.state_dict(), ...}}."
        )
    _check_returned(train_fn, given, weights(returned), mask)
    result: dict[str, Any] = copied(returned)
    return result


def weights(state: State) -> Mapping[str, Any]:
    """Return the network's ``state_dict`` inside a tree: its entry "model", or the tree itself.

    Raises:
        ArgumentError: there is no floating-point tensor in it.
    """
    inner = state.get("model")
    found = inner if isinstance(inner, Mapping) else state
    if not any(isinstance(item, Tensor) and item.is_floating_point() for item in found.values()):
        raise ArgumentError(
            "The state holds no weights: expected a dictionary with a state_dict under 'model', or "
            f"a state_dict itself, got the entries {sorted(map(str, state))}."
        )
    return found


def with_weights(state: State, replacement: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree with other weights in the place of its own, all else as it is."""
    if isinstance(state.get("model"), Mapping):
        return {**state, "model": dict(replacement)}
    return dict(replacement)


def copied(tree: Any) -> Any:
    """Return a copy of a tree in memory of its own, tensors detached; tied tensors stay tied."""
    return copy.deepcopy(_detached(tree))


def digest(tree: Any) -> str:
    """Return the SHA-256 of a tree: every name, number and bit of a tensor in it.

    Raises:
        ArgumentError: a leaf is of a type that a checkpoint cannot hold.
    """
    parts: list[Any] = []
    _gather(tree, "", parts)
    return storage.digest(*parts)


def source_digest(function: Any) -> str:
    """Return the SHA-256 of a function's source text, so that a changed one is noticed.

    Of a `functools.partial`, the function's with the names of the fixed arguments; of an object
    that is called, its class's. Values that the function takes from elsewhere (data, learning
    rates, other functions) do not count: name those in the settings of a run.
    """
    fixed: list[str] = []
    while isinstance(function, functools.partial):
        fixed += [str(len(function.args)), *sorted(function.keywords)]
        function = function.func
    described = function if inspect.isroutine(function) else type(function)
    try:
        text = textwrap.dedent(inspect.getsource(described))
    except (OSError, TypeError):  # made by exec, or written in C: its name is all there is
        text = f"{described.__module__}.{described.__qualname__}"
    return storage.digest(text, *fixed)


def check_takes_mask(train_fn: TrainingFunction) -> None:
    """Raise unless ``train_fn`` can be called with ``mask=``.

    Raises:
        ArgumentError: it has no such parameter.
    """
    if not _takes(train_fn, "mask"):
        raise ArgumentError(
            f"{name_of(train_fn)} is to train a pruned network, but takes no `mask`. Give it a "
            "parameter mask=None, and hold the weights with mask.hold(model, optimizer)."
        )


def name_of(train_fn: Any) -> str:
    """Return what to call a training function in a message."""
    while isinstance(train_fn, functools.partial):
        train_fn = train_fn.func
    return f"The training function '{getattr(train_fn, '__qualname__', type(train_fn).__name__)}'"


def _takes(train_fn: TrainingFunction, name: str) -> bool:
    try:
        parameters = inspect.signature(train_fn).parameters.values()
    except (TypeError, ValueError):  # a function written in C need not tell
        return False
    return any(
        item.kind is inspect.Parameter.VAR_KEYWORD
        or (item.name == name and item.kind is not inspect.Parameter.POSITIONAL_ONLY)
        for item in parameters
    )


def _check_returned(
    train_fn: TrainingFunction,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    mask: Mask | None,
) -> None:
    who = name_of(train_fn)
    if set(before) != set(after):
        odd = ", ".join(f"'{name}'" for name in sorted(set(before) ^ set(after)))
        raise ArgumentError(
            f"{who} must return the weights it was given, trained; {odd} are in one of the two "
            "only. Return the whole state_dict under 'model'."
        )
    for name, tensor in after.items():
        if not isinstance(tensor, Tensor):
            continue
        if tensor.shape != before[name].shape:
            raise ArgumentError(
                f"{who} returned '{name}' with shape {tuple(tensor.shape)}; it was given "
                f"{tuple(before[name].shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NonFiniteError(
                f"{who} returned NaN or infinite weights in '{name}'. Lower the learning rate, or "
                "look for bad values in the data."
            )
    revived = mask.revived(after) if mask is not None else {}
    if revived:
        counts = ", ".join(f"'{name}' ({count})" for name, count in revived.items())
        raise ArgumentError(
            f"{who} revived pruned weights in {counts}: the mask was not held. Call "
            "mask.hold(model, optimizer) before training, which also clears momentum."
        )


def _detached(node: Any) -> Any:
    if isinstance(node, Tensor):
        return node.detach()
    if isinstance(node, Mapping):
        return {key: _detached(item) for key, item in node.items()}
    if isinstance(node, (list, tuple)):
        items = [_detached(item) for item in node]
        return tuple(items) if isinstance(node, tuple) else items
    return node


def _gather(node: Any, place: str, parts: list[Any]) -> None:
    if isinstance(node, Tensor) and node.layout is not torch.strided:
        raise ArgumentError(
            f"digest: '{place or '/'}' is a sparse tensor, which a checkpoint cannot hold. Give "
            "tensor.to_dense()."
        )
    if isinstance(node, Tensor):
        # A single number may have any stride, and conjugation may be still to come.
        flat = node.detach().cpu().resolve_conj().resolve_neg().reshape(-1)
        flat = flat.as_strided(flat.shape, (1,)) if len(flat) == 1 else flat.contiguous()
        parts += [f"{place} {node.dtype} {list(node.shape)}", flat.view(torch.uint8).numpy()]
    elif isinstance(node, np.ndarray) and node.dtype.kind in "biufc":
        parts += [f"{place} array", node]
    elif isinstance(node, Mapping):
        parts.append(f"{place} {len(node)} entries")
        for key in sorted(node, key=repr):
            _gather(node[key], f"{place}/{key!r}", parts)
    elif isinstance(node, (list, tuple)):
        parts.append(f"{place} {len(node)} items")
        for i, item in enumerate(node):
            _gather(item, f"{place}/{i}", parts)
    elif node is None or isinstance(node, (bool, int, float, str, np.generic)):
        parts.append(f"{place} {node!r}")
    else:
        raise ArgumentError(
            f"digest: '{place or '/'}' is a {type(node).__name__}, which a checkpoint cannot hold. "
            "Give tensors, arrays, numbers, strings, None, and lists and dictionaries of them."
        )
