"""Masks from and to the form in which `torch.nn.utils.prune` keeps them.

That module replaces a parameter ``weight`` by a parameter ``weight_orig`` and a buffer
``weight_mask`` of zeros and ones, and computes their product before each forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sidle.errors import ArgumentError, ShapeError
from sidle.lmc.masks import Mask

_ORIGINAL, _MASK = "_orig", "_mask"


def from_torch_prune(model: nn.Module | Mapping[str, Any]) -> tuple[dict[str, Any], Mask]:
    """Return the plain ``state_dict`` and the mask of what `torch.nn.utils.prune` pruned.

    The state has ``weight`` where there were ``weight_orig`` and ``weight_mask``, with zeros where
    weights are pruned; what else there is stays. A model pruned so is not changed.

    Args:
        model: a module, or a ``state_dict`` of one.

    Raises:
        ArgumentError: nothing in it is pruned by `torch.nn.utils.prune`; a mask holds other
            numbers than 0 and 1; or both ``weight`` and ``weight_orig`` are there.
        ShapeError: a mask's shape is not its parameter's.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    pruned = [
        name.removesuffix(_ORIGINAL)
        for name in state
        if name.endswith(_ORIGINAL) and name.removesuffix(_ORIGINAL) + _MASK in state
    ]
    if not pruned:
        raise ArgumentError(
            "from_torch_prune: found no pair of parameters NAME_orig and NAME_mask, so nothing is "
            "pruned by torch.nn.utils.prune. Use Mask.ones for a plain model."
        )
    kept: dict[str, Tensor] = {}
    for name in pruned:
        original, mask = state[name + _ORIGINAL], state[name + _MASK]
        if name in state:
            raise ArgumentError(
                f"from_torch_prune: there are both '{name}' and '{name}_orig'. Which is meant?"
            )
        if original.shape != mask.shape:
            raise ShapeError(
                f"from_torch_prune: '{name}_mask' must have the parameter's shape "
                f"{tuple(original.shape)}, got {tuple(mask.shape)}."
            )
        if not ((mask == 0) | (mask == 1)).all():
            raise ArgumentError(
                f"from_torch_prune: '{name}_mask' must hold zeros and ones alone. Apply your "
                "weighting to the weights and give a mask of what is pruned."
            )
        kept[name] = mask.detach() != 0
    plain: dict[str, Any] = {}
    for name, value in state.items():
        stem = name.removesuffix(_ORIGINAL)
        if name.endswith(_MASK) and name.removesuffix(_MASK) in kept:
            continue
        plain[stem if name.endswith(_ORIGINAL) and stem in kept else name] = value
    first: dict[int, str] = {}
    tied = {
        name: first[plain[name].data_ptr()]
        for name in kept
        if kept[name].numel() and first.setdefault(plain[name].data_ptr(), name) != name
    }
    for name, other in tied.items():
        if not torch.equal(kept.pop(name), kept[other]):
            raise ArgumentError(
                f"from_torch_prune: '{name}' and '{other}' are one tensor with two masks. Give "
                "both the same mask."
            )
    mask = Mask(kept, tied=tied)
    return mask.apply(plain), mask


def to_torch_prune(model: nn.Module, mask: Mask) -> nn.Module:
    """Prune ``model`` in place with `torch.nn.utils.prune`, and return it.

    Optimisers made before hold the old parameters; make a new one. The values of pruned weights
    are lost: ``weight_orig`` holds zeros there.

    Raises:
        ArgumentError: a masked parameter is absent, tied (torch would keep a mask for each name),
            or pruned by `torch.nn.utils.prune` already.
        ShapeError: a masked parameter has another shape.
    """
    if mask.tied:
        raise ArgumentError(
            f"to_torch_prune: {', '.join(sorted(mask.tied))} share their tensor with another "
            "layer, which torch.nn.utils.prune would silently untie. Untie them first."
        )
    mask.apply_(model)
    for name, kept in mask.items():
        path, _, parameter = name.rpartition(".")
        prune.custom_from_mask(  # type: ignore[no-untyped-call]
            model.get_submodule(path), parameter, kept.to(model.get_parameter(name).device)
        )
    return model


def to_torch_prune_state(state: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Return a ``state_dict`` as a model pruned by `torch.nn.utils.prune` would have.

    Raises:
        ArgumentError, ShapeError: a masked parameter is absent or of another shape.
    """
    named: dict[str, Any] = {}
    masks: dict[str, Tensor] = {}
    for name, value in mask.apply(state).items():
        kept = mask.get(mask.tied.get(name, name))
        if kept is None:
            named[name] = value
        else:
            named[name + _ORIGINAL] = value
            masks[name + _MASK] = kept.to(value)
    return named | masks
