"""Structured pruning: channels and neurons that go as a whole, through Torch-Pruning.

Unlike single weights, a missing channel makes every layer around it smaller and faster on any
machine. Needs the extra ``structured``. The dependency graph of Torch-Pruning says which slices of
which tensors belong to one channel; here stands which channels go.

Reference: Fang, Ma, Song, Mi, Wang 2023, arXiv:2301.12900 (dependency graphs).
"""

from __future__ import annotations

import copy
import importlib
from typing import Any

import torch
from torch import Tensor, nn

from sidle.errors import ArgumentError, MissingExtraError

_ROOTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Outputs of one network in another order of summation: a few units in the last place of float32,
# relative to the largest output.
_TOLERANCE = 1e-4


def without_dead_channels(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy, in evaluation mode, without the channels that no output depends on.

    A channel (of a convolution) or neuron (of a linear layer) is dead when every layer that it
    feeds has zeros for it. Removing it changes no output, which is checked on ``example``. Repeated
    until none is left, since a layer that lost outputs may leave dead ones before it.

    Args:
        model: pruned, with zeros in place (`Mask.apply_`); stays as it is.
        example: a batch as the model takes it, on the model's device.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        ArgumentError: Torch-Pruning cannot trace the model, or outputs changed.
    """
    pruning = _torch_pruning()
    small = copy.deepcopy(model).eval()
    while True:
        graph = _graph(pruning, small, example)
        for group in _groups(graph, small):
            dead = _dead_channels(group)
            # A layer needs one channel at least, also if nothing depends on it.
            if dead and len(dead) == _n_channels(group):
                dead = dead[1:]
            if dead:
                root = group[0].dep
                graph.get_pruning_group(root.target.module, root.handler, dead).prune()
                break
        else:
            break
    _check_same(model, small, example)
    return small


def prune_channels(
    model: nn.Module, example: Tensor, fraction: float, *, scope: str = "layer"
) -> nn.Module:
    """Return a copy without the channels of least magnitude; train it on afterwards.

    The magnitude of a channel is the L2 norm of all weights that belong to it, in all layers that
    it passes through. Outputs change; layers that the model's outputs come from keep all theirs.

    Args:
        model: stays as it is.
        example: a batch as the model takes it, on the model's device.
        fraction: of the channels to prune, in (0, 1); weights go by about its square.
        scope: "layer" prunes each layer by ``fraction``, "global" compares all channels.

    Raises:
        MissingExtraError: Torch-Pruning is not installed.
        ArgumentError: an argument out of range, or Torch-Pruning cannot trace the model.
    """
    if not 0 < fraction < 1 or scope not in ("layer", "global"):
        raise ArgumentError(
            "prune_channels: expected a fraction between 0 and 1 and scope 'layer' or 'global', "
            f"got {fraction} and {scope!r}."
        )
    pruning = _torch_pruning()
    small = copy.deepcopy(model)
    modes = [(module, module.training) for module in small.modules()]
    graph = _graph(pruning, small.eval(), example)
    inner = {
        id(item.dep.target.module)
        for group in _groups(graph, small)
        for item in group
        if item.dep.handler.__name__ == "prune_out_channels"
    }
    outputs = [
        module
        for module in small.modules()
        if isinstance(module, _ROOTS) and id(module) not in inner
    ]
    pruner = pruning.pruner.MetaPruner(
        small,
        example,
        importance=pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=fraction,
        global_pruning=scope == "global",
        ignored_layers=outputs,
    )
    pruner.step()
    small.zero_grad(set_to_none=True)
    for module, mode in modes:
        module.training = mode
    return small


def _torch_pruning() -> Any:
    try:
        return importlib.import_module("torch_pruning")
    except ImportError as error:
        raise MissingExtraError("Structured pruning", "structured") from error


def _graph(pruning: Any, model: nn.Module, example: Tensor) -> Any:
    try:
        with torch.enable_grad():
            return pruning.DependencyGraph().build_dependency(model, example_inputs=example)
    except Exception as error:  # whatever the model's forward or the tracer raise
        raise ArgumentError(
            f"Torch-Pruning cannot trace a {type(model).__name__}: {error} Its forward must take "
            "the example alone and be run by autograd."
        ) from error


def _groups(graph: Any, model: nn.Module) -> list[Any]:
    """Return the groups of channels that feed another layer, whole, in the model's order."""
    found = [
        group
        for group in graph.get_all_groups(root_module_types=list(_ROOTS))
        if _consumers(group) and not _grouped(group)
    ]
    order = {id(module): i for i, module in enumerate(model.modules())}
    return sorted(found, key=lambda group: -order[id(group[0].dep.target.module)])


def _consumers(group: Any) -> list[tuple[nn.Module, list[int], list[int]]]:
    """Return the layers that a group's channels feed: (layer, its inputs, their channels)."""
    return [
        (item.dep.target.module, list(item.idxs), _channels_of(item))
        for item in group
        if item.dep.handler.__name__ == "prune_in_channels"
        and isinstance(item.dep.target.module, _ROOTS)
    ]


def _grouped(group: Any) -> bool:
    return any(getattr(item.dep.target.module, "groups", 1) > 1 for item in group)


def _channels_of(item: Any) -> list[int]:
    """Return which channel of the root each index belongs to (several after a flattening)."""
    return list(getattr(item, "root_idxs", None) or item.idxs)


def _n_channels(group: Any) -> int:
    return len(group[0].idxs)


def _dead_channels(group: Any) -> list[int]:
    """Return the channels of a group that every consumer has zeros for."""
    known = (*_ROOTS, *_NORMS)
    for item in group:
        module = item.dep.target.module
        # Other modules (layer normalisation, attention) mix channels: each has a say in all.
        if type(module).__module__.startswith("torch.nn") and not isinstance(module, known):
            return []
    dead = set(range(_n_channels(group)))
    for layer, inputs, channels in _consumers(group):
        weight = layer.get_parameter("weight")
        read = weight.detach().transpose(0, 1).flatten(1).ne(0).any(1)
        dead -= {channel for index, channel in zip(inputs, channels, strict=True) if read[index]}
    return sorted(dead)


def _check_same(model: nn.Module, small: nn.Module, example: Tensor) -> None:
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            before, after = model.eval()(example), small(example)
    finally:
        for module, mode in modes:
            module.training = mode
    scale = float(before.abs().max())
    if before.shape != after.shape or float((before - after).abs().max()) > _TOLERANCE * scale:
        raise ArgumentError(
            f"without_dead_channels: outputs of the {type(model).__name__} changed, so it uses "
            "channels in a way that the traced graph does not show. Use sidle.lmc.compacted."
        )
