"""Which weights to prune: criteria that score weights, and masks drawn at random.

Each function takes a `Mask` and returns one with fewer weights. The object that the criteria
share is a mapping of scores, one for each weight: the lowest scores among the kept weights go.
With *scope* "global" all weights are compared with each other, with "layer" those of one parameter
at a time. Of n weights that remain, exactly floor(fraction n + 1/2) go; of equal scores, the ones
that come first in the mask's order go first, so that the same numbers give the same mask.

References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [SNIP] Lee, Ajanthan, Torr
2019, arXiv:1810.02340. [MISS] Frankle, Dziugaite, Roy, Carbin 2021, arXiv:2009.08576 (magnitude at
initialisation and shuffled masks as controls).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidle import seeding
from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import measurement, states
from sidle.lmc.masks import Mask
from sidle.lmc.measurement import Data

Scope = Literal["global", "layer"]

FRACTION = 0.2  # [LMC, appendix A]: 20 % of the weights that remain, each round


def magnitude(
    state: Mapping[str, Any], mask: Mask, fraction: float = FRACTION, *, scope: Scope = "global"
) -> Mask:
    """Prune the weights closest to zero.

    Applied to the weights of step 0 this is the control "magnitude at initialisation" [MISS].

    Args:
        state: a ``state_dict``.
        mask: which weights remain.
        fraction: how many of those go, in (0, 1).
        scope: "global" or "layer".

    Raises:
        ArgumentError: a fraction or scope out of range, nothing would be left, or a masked
            parameter is absent.
        ShapeError: a masked parameter has another shape.
        NonFiniteError: a weight that remains is NaN or infinite.
    """
    mask.check(state, "magnitude")
    scores = {name: state[name].detach().abs() for name in mask}
    return _without_lowest(scores, mask, fraction, scope, "magnitude")


def random_mask(
    mask: Mask, fraction: float = FRACTION, *, seed: int, scope: Scope = "global"
) -> Mask:
    """Prune weights at random; `shuffled` is the control with the density of each layer kept.

    Raises:
        ArgumentError: a fraction or scope out of range, or nothing would be left.
    """
    scores = {
        name: torch.rand(
            mask[name].shape,
            dtype=torch.float64,
            generator=seeding.torch_generator(seeding.split(seed, "random", name)),
        )
        for name in mask
    }
    return _without_lowest(scores, mask, fraction, scope, "random_mask")


def shuffled(mask: Mask, *, seed: int) -> Mask:
    """Return a mask with as many weights in each parameter as ``mask``, at random places.

    The control "random pruning" of [LMC, section 4]: it keeps the densities that a ticket has,
    and nothing else of it.
    """
    drawn = {}
    for name, kept in mask.items():
        generator = seeding.torch_generator(seeding.split(seed, "shuffled", name))
        order = torch.randperm(kept.numel(), generator=generator)
        drawn[name] = kept.reshape(-1)[order].reshape(kept.shape)
    return Mask(drawn, tied=mask.tied)


def snip(
    model: nn.Module,
    data: Data,
    mask: Mask,
    fraction: float,
    *,
    scope: Scope = "global",
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Mask:
    """Prune the weights whose removal changes the loss least, to first order: |w dL/dw|.

    [SNIP, eqs. 5 and 6] at the model's present weights, in one shot; meant for the initial ones.
    The sensitivities are not normalised by their sum, which changes no order.

    Args:
        model: stays as it is; a copy is run in training mode, with the pruned weights at zero.
        data: examples to take the loss on, a pair (x, y) as one batch or an iterable of batches,
            whose gradients are added in proportion to their size.
        mask: which weights remain.
        fraction: how many of those go, in (0, 1).
        scope: "global" (as in the paper) or "layer".
        loss: ``loss(outputs, y)``, the mean over the batch; cross-entropy by default.
        seed: names the draws of dropout and the like.
        device: where to compute.

    Raises:
        ArgumentError: a fraction or scope out of range, nothing would be left, a masked parameter
            is absent, or it takes no part in the loss.
        ShapeError: a parameter, x or y has the wrong shape.
        NonFiniteError: a sensitivity is NaN or infinite.
    """
    measurement.check(data, 1, "snip")
    states.check_device(device)
    copied = copy.deepcopy(model).to(device).train()
    mask.apply_(copied)
    parameters = dict(copied.named_parameters(remove_duplicate=False))
    for parameter in parameters.values():
        parameter.grad = None
    for name in mask:
        parameters[name].requires_grad_(True)
    n = 0
    with seeding.scope(seed), torch.enable_grad():
        for x, y in measurement.batches(data, _length(data)):
            # The sum over examples, so that batches of different sizes count by their size.
            (len(x) * loss(copied(x.to(device)), y.to(device))).backward()  # type: ignore[no-untyped-call]
            n += len(x)
    scores = {}
    for name in mask:
        gradient = parameters[name].grad
        if gradient is None:
            raise ArgumentError(
                f"snip: the loss does not depend on '{name}'. Leave it out of the mask."
            )
        scores[name] = (parameters[name].detach() * gradient / n).abs()
    return _without_lowest(scores, mask, fraction, scope, "snip")


def reinitialised(model_fn: Callable[[], nn.Module], *, seed: int) -> dict[str, Any]:
    """Return a ``state_dict`` drawn anew: the control "random re-initialisation" [LMC, section 4].

    Trained under a ticket's mask, it shows what the ticket's own initial weights are worth.

    Args:
        model_fn: makes a freshly initialised model; torch's initialisers draw from ``seed``.
        seed: another one than the ticket's.
    """
    with seeding.scope(seed):
        return dict(model_fn().state_dict())


def n_pruned(n: int, fraction: float) -> int:
    """Return how many of n weights go: floor(fraction n + 1/2), without rounding errors.

    The fraction counts as the decimal number it prints as, so that 0.1 of 15 is 1.5, and 2 go.
    """
    return math.floor(Fraction(repr(float(fraction))) * n + Fraction(1, 2))


def check_fraction(fraction: float, scope: str, function: str) -> None:
    """Raise ArgumentError unless ``fraction`` lies in (0, 1) and ``scope`` is known."""
    if not 0 < fraction < 1:
        raise ArgumentError(
            f"{function}: fraction must lie strictly between 0 and 1, got {fraction}. It is the "
            "share of the remaining weights that goes; 0.2 leaves 80 % of them."
        )
    if scope not in ("global", "layer"):
        raise ArgumentError(f"{function}: scope must be 'global' or 'layer', got {scope!r}.")


def _without_lowest(
    scores: Mapping[str, Tensor], mask: Mask, fraction: float, scope: str, function: str
) -> Mask:
    check_fraction(fraction, scope, function)
    remaining: dict[str, Tensor] = {}
    for name in mask:
        remaining[name] = scores[name].cpu()[mask[name]]
        if not torch.isfinite(remaining[name]).all():
            raise NonFiniteError(
                f"{function}: '{name}' has scores that are NaN or infinite. Training diverged, "
                "or the weights were damaged; prune an earlier state."
            )
    if scope == "global":
        sizes = [len(part) for part in remaining.values()]
        lowest = _lowest(torch.cat(list(remaining.values())), fraction)
        go = dict(zip(remaining, torch.split(lowest, sizes), strict=True))
    else:
        go = {name: _lowest(part, fraction) for name, part in remaining.items()}
    if all(bool(part.all()) for part in go.values()):
        raise ArgumentError(
            f"{function}: of {mask.n_kept} weights, none would be left. Prune less."
        )
    kept = {}
    for name in mask:
        kept[name] = mask[name].clone()
        kept[name][mask[name]] = ~go[name]
    return Mask(kept, tied=mask.tied)


def _lowest(scores_N: Tensor, fraction: float) -> Tensor:
    """Return which of N scores are the lowest, bool (N,); of equal ones, the first."""
    n = n_pruned(len(scores_N), fraction)
    if n == 0:
        return torch.zeros(len(scores_N), dtype=torch.bool)
    threshold = scores_N.kthvalue(n).values
    chosen = scores_N < threshold
    ties = (scores_N == threshold).nonzero().reshape(-1)
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen


def _length(data: Data) -> int:
    return len(data[0]) if isinstance(data, (tuple, list)) and isinstance(data[0], Tensor) else 1
