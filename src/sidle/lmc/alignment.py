"""Permute the units of one network so that it lies as near as possible to another.

    from sidle.lmc import align
    aligned = align(a, b, example=x)       # computes what b computes, its units in a's order

The permutations come from the traced graph (`sidle.lmc.permutations`), and nothing is returned
unless the permuted network gives the outputs of the original.

References: [RB] Ainsworth et al. 2022, arXiv:2209.04836; [CL] Li et al. 2015, "Convergent
learning: do different neural networks learn the same representations?", arXiv:1511.07543 (matching
units by the correlations of their activations).
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sidle.errors import ArgumentError, NonFiniteError
from sidle.lmc import states, tracing
from sidle.lmc.matching import CorrelationTerm, Match, Term, WeightTerm, match
from sidle.lmc.permutations import Specification, derive_specification

# A permuted sum is the same sum in another order: in float64 it differs by rounding alone, far
# below the first bound; a wrong permutation moves outputs by as much as they are large. float32 has
# 2^29 times the rounding, which deep networks amplify; there the second bound only shows that the
# result is of use in the precision in which it came.
TOLERANCE_DOUBLE, TOLERANCE_SINGLE = 1e-9, 1e-2
MOST_UNITS = 8192  # of one value in the graph, when all pairs of them are correlated


@dataclass(frozen=True, eq=False)
class Alignment:
    """What `find_alignment` found.

    Attributes:
        model: a copy of b with its units in a's order.
        permutations: by group of the specification; unit i of ``model`` is unit
            ``permutations[group][i]`` of b.
        specification: which permutations there are, and which axes are fixed and why.
        match: the score reached, and by every start.
        notes: sentences on what could not be checked or is not aligned.
    """

    model: nn.Module
    permutations: dict[str, Tensor]
    specification: Specification
    match: Match
    notes: tuple[str, ...]


def align(
    a: nn.Module,
    b: nn.Module,
    *,
    example: Any,
    method: Literal["weights", "activations"] = "weights",
    data: Any = None,
    restarts: int = 5,
    batch_size: int = 256,
    seed: int = 0,
) -> nn.Module:
    """Return a copy of ``b`` that computes the same, its units in the order that fits ``a`` best.

    Args:
        a: any network that can be traced; neither it nor ``b`` is changed.
        b: another of the same architecture.
        example: an input, or the tuple of all positional arguments.
        method: "weights" finds the order in which the weights lie nearest to those of a
            [RB, section 3.2]; "activations" the one in which units correlate most over ``data``,
            in evaluation mode [CL; RB, section 3.1].
        data: for "activations": inputs as a tensor, or a tuple of tensors such as ``(x, y)`` of
            which as many as the network takes are used, or an iterable (a list, a DataLoader) of
            batches of either kind. By default, the example.
        restarts: starts of the coordinate descent, at least 1. One alone goes through the network
            from the input on.
        batch_size: rows of ``data`` at a time.
        seed: names the random starts.

    Returns:
        A module of b's class, in b's mode.

    Raises:
        ArgumentError: a network cannot be traced; their architectures differ; an argument lies
            outside its range; the permuted network does not give b's outputs; or activations do
            not show some units (those of the lower layers of a stacked LSTM).
        NonFiniteError: a weight, or an activation, is NaN or infinite.
    """
    return find_alignment(
        a,
        b,
        example=example,
        method=method,
        data=data,
        restarts=restarts,
        batch_size=batch_size,
        seed=seed,
    ).model


def find_alignment(
    a: nn.Module,
    b: nn.Module,
    *,
    example: Any,
    method: Literal["weights", "activations"] = "weights",
    data: Any = None,
    restarts: int = 5,
    batch_size: int = 256,
    seed: int = 0,
) -> Alignment:
    """Do what `align` does, and return with the network what was found on the way."""
    if method not in ("weights", "activations"):
        raise ArgumentError(
            f"align: method must be 'weights' or 'activations', got {method!r}. The first needs no "
            "data."
        )
    if restarts < 1 or batch_size < 1:
        raise ArgumentError(
            f"align: restarts and batch_size must be at least 1, got {restarts} and {batch_size}."
        )
    if data is not None and method == "weights":
        raise ArgumentError("align: data is used by method='activations' alone; leave one out.")
    inputs = tracing.arguments(example)
    ours, theirs = tracing.named_tensors(a), tracing.named_tensors(b)
    _check_same_tensors(ours, theirs)
    specification = derive_specification(a, example)
    _check_same_function(specification, b, theirs, inputs)
    terms: list[Term] = (
        _weight_terms(specification, ours, theirs)
        if method == "weights"
        else _correlation_terms(a, b, specification, inputs, data, batch_size)
    )
    found = match(specification, terms, restarts=restarts, seed=seed)
    model = _permuted(b, specification, found.permutations)
    notes = _check_outputs(b, model, inputs)
    if specification.unused:
        notes.append(
            "Left as they are, because evaluation does not use them: "
            f"{', '.join(specification.unused)}. If training does, train no further."
        )
    return Alignment(model, found.permutations, specification, found, tuple(notes))


def _check_same_tensors(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for tensors in (ours, theirs):
        states.refuse_lazy(tensors)
    for one, other, who in ((ours, theirs, "b"), (theirs, ours, "a")):
        missing = [name for name in one if name not in other]
        if missing:
            raise ArgumentError(
                f"align: a and b must have the same architecture, but {who} has no '{missing[0]}'"
                f"{f' (and {len(missing) - 1} more)' if len(missing) > 1 else ''}."
            )
    tied = [[names for names in tracing.shared_names(t) if len(names) > 1] for t in (ours, theirs)]
    if tied[0] != tied[1]:
        raise ArgumentError(
            "align: a and b must have the same architecture, but the weights that are one tensor "
            f"are {tied[0]} in a and {tied[1]} in b."
        )
    for name, tensor in ours.items():
        if tensor.shape != theirs[name].shape or tensor.dtype != theirs[name].dtype:
            raise ArgumentError(
                f"align: a and b must have the same architecture, but '{name}' has shape "
                f"{tuple(tensor.shape)} ({tensor.dtype}) in a and {tuple(theirs[name].shape)} "
                f"({theirs[name].dtype}) in b."
            )
        for who, checked in (("a", tensor), ("b", theirs[name])):
            if checked.is_floating_point() and not torch.isfinite(checked).all():
                raise NonFiniteError(
                    f"align: '{name}' of {who} holds NaN or infinite values; nothing can be "
                    "compared with them. Take a checkpoint from before training diverged."
                )


def _check_same_function(
    specification: Specification, b: nn.Module, theirs: dict[str, Tensor], inputs: tuple[Any, ...]
) -> None:
    """Run a's graph with b's tensors: it must compute what b computes."""
    expected = tracing.outputs(tracing.evaluating(b), inputs, "align")
    again = tracing.outputs(tracing.evaluating(b), inputs, "align")
    if not _close(again, expected, TOLERANCE_SINGLE):
        raise ArgumentError(
            "align: b gives other outputs when it is run again on the example, in evaluation mode. "
            "Align networks that draw nothing at random there."
        )
    if not _close(specification.graph.run(theirs, inputs), expected, TOLERANCE_SINGLE):
        raise ArgumentError(
            "align: a and b must have the same architecture, but b's weights in a's graph do not "
            "give b's outputs on the example, although names and shapes agree. Look for another "
            "activation function, order of layers or setting."
        )


def _weight_terms(
    specification: Specification, ours: dict[str, Tensor], theirs: dict[str, Tensor]
) -> list[Term]:
    # Running statistics are no weights: the distance between weights is without them.
    return [
        WeightTerm(block, ours[block.tensor], theirs[block.tensor], specification.groups)
        for block in specification.blocks
        if block.tensor not in specification.statistics and ours[block.tensor].is_floating_point()
    ]


def _permuted(
    b: nn.Module, specification: Specification, permutations: dict[str, Tensor]
) -> nn.Module:
    model = copy.deepcopy(b)
    tensors = tracing.named_tensors(model)
    with torch.no_grad():
        for name, value in specification.permute(tensors, permutations).items():
            if value is not tensors[name]:
                tensors[name].copy_(value)
    return model


def _check_outputs(b: nn.Module, model: nn.Module, inputs: tuple[Any, ...]) -> list[str]:
    """Refuse ``model`` unless it gives b's outputs; return what could not be checked."""
    expected, found = (
        tracing.outputs(tracing.evaluating(one), inputs, "align") for one in (b, model)
    )
    if not _close(found, expected, TOLERANCE_SINGLE):
        raise _refusal(found, expected, TOLERANCE_SINGLE)
    double = torch.utils._pytree.tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs
    )
    try:
        expected = tracing.outputs(tracing.evaluating(b, torch.float64), double, "align")
    except ArgumentError:
        # Networks that name float32 in their code run in nothing else.
        return [
            "The network does not run in float64, so its outputs were compared in its own "
            f"precision alone, to {TOLERANCE_SINGLE:g} of the largest."
        ]
    found = tracing.outputs(tracing.evaluating(model, torch.float64), double, "align")
    if not _close(found, expected, TOLERANCE_DOUBLE):
        raise _refusal(found, expected, TOLERANCE_DOUBLE)
    return []


def _differences(found: list[Tensor], expected: list[Tensor]) -> list[float]:
    """Return the largest difference in each output, relative to its largest entry."""
    differences = []
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return [float("inf")]
        if one.numel() == 0:
            continue
        if not one.is_floating_point():
            differences.append(0.0 if torch.equal(one, other) else float("inf"))
            continue
        largest = other.abs().max().clamp_min(torch.finfo(other.dtype).tiny)
        differences.append(float((one - other).abs().max() / largest))
    return differences


def _close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> bool:
    if len(found) != len(expected):
        return False
    return all(difference <= tolerance for difference in _differences(found, expected))


def _refusal(found: list[Tensor], expected: list[Tensor], tolerance: float) -> ArgumentError:
    largest = max(_differences(found, expected))
    return ArgumentError(
        "align: refused, because the permuted network's outputs differ from b's on the example by "
        f"{largest:.2g} of the largest output, more than {tolerance:g}. A rule in "
        "sidle.lmc.axis_rules does not hold for this network; please report it. Nothing was "
        "changed."
    )


def _correlation_terms(
    a: nn.Module,
    b: nn.Module,
    specification: Specification,
    inputs: tuple[Any, ...],
    data: Any,
    batch_size: int,
) -> list[Term]:
    """Return the correlations of a's units with b's over the data, for each value watched."""
    watches: dict[tuple[str, int], _Correlations] = {}
    specifications: dict[Any, Specification] = {}
    ours, theirs = tracing.named_tensors(a), tracing.named_tensors(b)
    for batch in _batches(data, inputs, batch_size):
        # A graph holds for inputs of one shape; a last, smaller batch has a graph of its own.
        key = tuple(tuple(part.shape) if isinstance(part, Tensor) else part for part in batch)
        if key not in specifications:
            specifications[key] = derive_specification(a, batch)
        graph, watched = specifications[key].graph, specifications[key].activations
        values: list[dict[str, Tensor]] = [{}, {}]
        for store, tensors in zip(values, (ours, theirs), strict=True):
            graph.run(tensors, batch, functools.partial(_keep, store, watched))
        for name, blocks in watched.items():
            for i, block in enumerate(blocks):
                free = tuple(label for label in block.labels if label is not None)
                sizes = [n for n, x in zip(block.sizes, block.labels, strict=True) if x is not None]
                order = sorted(range(len(block.labels)), key=lambda k: block.labels[k] is not None)
                one_NU, other_NU = (
                    block.read(store[name]).permute(order).reshape(-1, math.prod(sizes))
                    for store in values
                )
                known = watches.setdefault((name, i), _Correlations(free, sizes, name))
                known.add(one_NU, other_NU)
    if not watches and specification.groups:
        raise ArgumentError("align: data holds no batches.")
    hidden = [
        name
        for name in specification.groups
        if not any(name in watch.labels for watch in watches.values())
    ]
    if hidden:
        raise ArgumentError(
            f"align: no activation shows the units of '{hidden[0]}', because they stay inside one "
            "operation. Use method='weights', or split the module, as in two LSTMs of one layer."
        )
    return [watch.term(specification) for watch in watches.values()]


def _keep(store: dict[str, Tensor], watched: Container[str], node: Any, value: Any) -> None:
    if node.name in watched:
        store[node.name] = value.clone()


def _batches(data: Any, inputs: tuple[Any, ...], batch_size: int) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of the network, batch by batch."""
    if data is None:
        yield inputs
        return
    tensors = (data,) if isinstance(data, Tensor) else data
    if isinstance(tensors, tuple) and all(isinstance(t, Tensor) for t in tensors):
        used = tuple(tensors[: len(inputs)])
        if len(used) < len(inputs):
            raise ArgumentError(
                f"align: the network takes {len(inputs)} arguments, but data holds {len(used)}."
            )
        yield from zip(*(torch.split(tensor, batch_size) for tensor in used), strict=True)
        return
    if not isinstance(tensors, Iterable):
        raise ArgumentError(
            "align: data must be a tensor, a tuple of tensors or an iterable of batches, got "
            f"{type(data).__name__}."
        )
    for batch in tensors:
        parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
        yield parts[: len(inputs)]


class _Correlations:
    """The correlations of all pairs of units, gathered batch by batch in float64."""

    def __init__(self, labels: tuple[str, ...], sizes: list[int], name: str) -> None:
        units = math.prod(sizes)
        if units > MOST_UNITS:
            raise ArgumentError(
                f"align: '{name}' has {units} units to correlate with each other, more than "
                f"{MOST_UNITS}. Use method='weights'."
            )
        self.labels, self._sizes, self._name = labels, sizes, name
        self._shift: tuple[Tensor, Tensor] | None = None
        self._rows = 0
        self._sums: list[Tensor] = []

    def add(self, one_NU: Tensor, other_NU: Tensor) -> None:
        """Take in N observations of all U units of both networks."""
        one_NU, other_NU = one_NU.double(), other_NU.double()
        if self._shift is None:
            # Sums of squares keep their digits when the mean is about zero.
            self._shift = one_NU.mean(0), other_NU.mean(0)
        one_NU, other_NU = one_NU - self._shift[0], other_NU - self._shift[1]
        parts = [
            one_NU.sum(0),
            other_NU.sum(0),
            one_NU.square().sum(0),
            other_NU.square().sum(0),
            one_NU.T @ other_NU,
        ]
        if not torch.isfinite(parts[-1]).all():
            raise NonFiniteError(f"align: activations at '{self._name}' are NaN or infinite.")
        self._rows += len(one_NU)
        self._sums = (
            [a + b for a, b in zip(self._sums, parts, strict=True)] if self._sums else parts
        )

    def term(self, specification: Specification) -> CorrelationTerm:
        """Return the correlations; units that never vary correlate with none."""
        one, other, square_one, square_other, product = self._sums
        covariance = product - torch.outer(one, other) / self._rows
        deviations = [
            (squares - total.square() / self._rows).clamp_min(0).sqrt()
            for squares, total in ((square_one, one), (square_other, other))
        ]
        scale = torch.outer(*deviations)
        correlations = torch.where(scale > 0, covariance / scale.clamp_min(1e-300), 0.0)
        shape = [*self._sizes, *self._sizes]
        return CorrelationTerm(self.labels, correlations.reshape(shape).cpu(), specification.groups)
