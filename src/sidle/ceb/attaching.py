"""A bottleneck on a classifier that is already there.

    model = attach(resnet, "fc", rho=2.0)

References: [CEB2] Fischer and Alemi 2020, doi:10.3390/e22101081, section 3 (heads of ResNets).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from sidle.ceb import families
from sidle.ceb.bottleneck import Bottleneck
from sidle.ceb.families import Family
from sidle.errors import ArgumentError


def attach(
    model: nn.Module,
    layer: str,
    *,
    dim: int | None = None,
    family: str | Family = "identity",
    **settings: Any,
) -> Bottleneck:
    """Return a copy of a classifier with a bottleneck in place of its last layer.

    Without ``dim`` z has as many dimensions as that layer has inputs: the layer becomes c(y|z), and
    the mean of e(.|x) is what it was given before. So a trained network predicts as before, in
    evaluation mode, until it is trained on; not with the family "von-mises-fisher", for which z is
    what the layer was given at length 1. With ``dim`` a new linear layer makes statistics, and
    c(y|z) is new too. It is in the mode that the
    model is in.

    Args:
        model: a classifier, left as it is.
        layer: name of its last layer among ``model.named_modules()``, an `nn.Linear` whose output
            the model returns as it is: what would follow it, such as a softmax, would meet z.
        dim: D.
        family: of z.
        settings: of the `Bottleneck`, such as ``objective``, ``rho`` and ``classifier``.

    Raises:
        ArgumentError: there is no linear layer of that name, or a setting is bad.
    """
    modules = dict(model.named_modules())
    if layer not in modules or not isinstance(modules[layer], nn.Linear):
        linear = [name for name, one in modules.items() if isinstance(one, nn.Linear)]
        raise ArgumentError(
            f"attach: {layer!r} is no linear layer of this {type(model).__name__}; its linear "
            f"layers are {', '.join(linear) or 'none'}."
        )
    body = copy.deepcopy(model)
    last = body.get_submodule(layer)
    assert isinstance(last, nn.Linear)
    kept = dim is None and "classifier" not in settings
    found = families.find(family, last.in_features if dim is None else dim)
    new: nn.Module = nn.Identity()
    if dim is not None or found.n_statistics != last.in_features:
        new = nn.Linear(last.in_features, found.n_statistics).to(last.weight)
    if dim is None and isinstance(new, nn.Linear):
        _start_as_mean(new, found.dim)
    body = _replaced(body, layer, new)
    if kept:
        settings["classifier"] = last
    made = Bottleneck(body, last.out_features, found.dim, family=found, **settings)
    made.training = model.training  # what draws or not is the whole; no new part has modes
    return made.to(last.weight.device, last.weight.dtype)


def _start_as_mean(layer: nn.Linear, dim: int) -> None:
    """Let the first D statistics, which all families with more of them call the mean, be inputs."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:dim].copy_(torch.eye(dim))
        layer.bias.zero_()


def _replaced(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    """Return the model with another submodule of that name; the new one if the name is empty."""
    if not name:
        return new
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)
    return model
