"""Which permutations of its units leave a network's function as it is, derived from its graph.

    specification = derive_specification(network, example=x)
    print(specification)                                  # what may be permuted, and what not
    permutations = specification.random(generator)
    state = specification.permute(network.state_dict(), permutations)

The permutations form groups, each of which moves some axes of some tensors at once: the rows of one
weight, its bias, the statistics after it and the columns of the next weight. A group may lie
*within* another: the entries of an attention head (or the channels of a normalisation's group) are
permuted in each head on their own, and heads as wholes.

References: [RB] Ainsworth, Hayase, Srinivasa 2022, "Git Re-Basin: merging models modulo
permutation symmetries", arXiv:2209.04836, section 2 (there by hand for each architecture).
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from sidle.errors import ArgumentError, ShapeError
from sidle.lmc import tracing
from sidle.lmc.axes import Axes
from sidle.lmc.axis_rules import layout_of
from sidle.lmc.operation import Layout
from sidle.lmc.tracing import Graph

Permutations = Mapping[str, Tensor]  # by group: int64, (size,), or (size of outer, size)

MOST_BLOCKS = 10_000  # pieces of one tensor, before its concatenations become too many to follow


@dataclass(frozen=True)
class Group:
    """Units that are permuted by one permutation.

    Attributes:
        name: the first tensor and axis it moves, as in "0.weight[0]"; factors of one axis are
            numbered: "attention.weight[0]#1".
        size: how many units.
        outer: the group within which it lies, with a permutation for each unit there; or None.
        axes: all (tensor, axis) that it moves, or of which it moves a part.
    """

    name: str
    size: int
    outer: str | None
    axes: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class FixedAxis:
    """An axis of a parameter, or a part of one, whose order must stay, and why."""

    tensor: str
    axis: int
    reason: str


@dataclass(frozen=True)
class Block:
    """A part of a tensor that is a product of groups and fixed axes.

    Attributes:
        tensor: its name.
        ranges: (start, stop) along each axis of the tensor.
        sizes: its shape when each axis is cut into its factors.
        labels: the group of each factor; None where the order is fixed.
    """

    tensor: str
    ranges: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]
    labels: tuple[str | None, ...]

    def read(self, tensor: Tensor) -> Tensor:
        """Return a copy of the block, of shape ``sizes``."""
        return tensor[tuple(slice(*r) for r in self.ranges)].reshape(self.sizes)

    def write(self, tensor: Tensor, value: Tensor) -> None:
        """Put the block, of shape ``sizes``, into its place."""
        part = tensor[tuple(slice(*r) for r in self.ranges)]
        part.copy_(value.reshape(part.shape))


@dataclass(frozen=True, eq=False)
class Specification:
    """The permutations that leave a network's function as it is.

    Attributes:
        groups: by name.
        blocks: all parts of all tensors that a group moves.
        shapes: of those tensors, by name.
        fixed: axes of parameters that stay as they are, and why.
        unused: tensors that the graph does not use, a head for training alone, say; they are left
            as they are.
        aliases: further names of tensors that have several.
        statistics: tensors that are moved but no weights: running means and variances.
        activations: blocks of the graph's values by their node's name, for activation matching.
        graph: what was traced.
    """

    groups: Mapping[str, Group]
    blocks: tuple[Block, ...]
    shapes: Mapping[str, tuple[int, ...]]
    fixed: tuple[FixedAxis, ...]
    unused: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]]
    statistics: frozenset[str]
    activations: Mapping[str, tuple[Block, ...]]
    graph: Graph

    def __str__(self) -> str:
        lines = [
            f"{group.name}: {group.size} units"
            + (f" in each of {self.groups[group.outer].size}, " if group.outer else ", ")
            + ", ".join(f"{name}[{axis}]" for name, axis in group.axes)
            for group in self.groups.values()
        ]
        lines += [f"fixed: {one.tensor}[{one.axis}] ({one.reason})" for one in self.fixed]
        lines += [f"unused: {name}" for name in self.unused]
        return "\n".join(lines)

    def identity(self) -> dict[str, Tensor]:
        """Return the permutations that move nothing."""
        return {
            name: torch.arange(group.size).expand(self._shape(group)).clone()
            for name, group in self.groups.items()
        }

    def random(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return permutations drawn uniformly with a CPU generator."""
        return {
            name: torch.rand(self._shape(group), generator=generator).argsort(dim=-1)
            for name, group in self.groups.items()
        }

    def inverse(self, permutations: Permutations) -> dict[str, Tensor]:
        """Return the permutations that undo ``permutations``."""
        found = {name: permutations[name].argsort(dim=-1) for name in self.groups}
        for name, group in self.groups.items():
            if group.outer is not None:
                found[name] = found[name][found[group.outer]]
        return found

    def permute(self, state: Mapping[str, Tensor], permutations: Permutations) -> dict[str, Tensor]:
        """Return ``state`` with its units in another order; what no group moves is shared.

        Unit i of the result is unit ``permutations[group][i]`` of ``state``.

        Args:
            state: tensors by name, as of ``state_dict()``.
            permutations: one for each group.

        Raises:
            ArgumentError: a group's permutation is missing or is none, or a tensor is missing.
            ShapeError: a tensor's shape does not fit.
        """
        self._check(state, permutations)
        result = dict(state)
        for name in self.shapes:
            for alias in (name, *self.aliases.get(name, ())):
                if alias in state:
                    result[alias] = state[alias].detach().clone()
        for block in self.blocks:
            for alias in (block.tensor, *self.aliases.get(block.tensor, ())):
                if alias in state:
                    value = reorder(
                        block.read(state[alias].detach()), block.labels, permutations, self.groups
                    )
                    block.write(result[alias], value)
        return result

    def _shape(self, group: Group) -> tuple[int, ...]:
        outer = () if group.outer is None else (self.groups[group.outer].size,)
        return (*outer, group.size)

    def _check(self, state: Mapping[str, Tensor], permutations: Permutations) -> None:
        for name, group in self.groups.items():
            found = permutations.get(name)
            expected = torch.arange(group.size).expand(self._shape(group))
            if found is None or not torch.equal(found.cpu().sort(dim=-1).values, expected):
                raise ArgumentError(
                    f"permute: expected for '{name}' permutations of {group.size} units, of shape "
                    f"{self._shape(group)}, got "
                    f"{'none' if found is None else f'other numbers, shape {tuple(found.shape)}'}."
                )
        for name, shape in self.shapes.items():
            if name not in state:
                raise ArgumentError(f"permute: the state has no tensor '{name}'.")
            if tuple(state[name].shape) != shape:
                raise ShapeError(
                    f"permute: '{name}' must have shape {shape}, got {tuple(state[name].shape)}."
                )


def derive_specification(network: nn.Module, example: Any) -> Specification:
    """Derive from the graph of ``network`` which permutations leave its function as it is.

    Inputs and outputs keep their order. Operations without a rule in `sidle.lmc.axis_rules` fix
    what they touch; ``fixed`` names them. What runs in training mode alone is not seen.

    Args:
        network: any module that can be traced; it is not changed.
        example: an input, or the tuple of its positional arguments.

    Raises:
        ArgumentError: the network cannot be copied, run or traced, or two of its tensors share
            memory without being one.
    """
    graph = tracing.trace(network, tracing.arguments(example))
    tensors = tracing.named_tensors(network)
    shared = tracing.shared_names(tensors)
    used = {
        _first_name(target, shared)
        for node in graph.nodes
        if (target := graph.tensors.get(node.name)) is not None and node.users
    }
    axes = Axes()
    layouts, inside = _follow(graph, tensors, shared, used, axes)
    by_name: dict[str, Layout] = {}
    for node in graph.nodes:
        target = graph.tensors.get(node.name) if node.op == "placeholder" else None
        if target is not None:
            by_name.setdefault(_first_name(target, shared), layouts[node])
    every = [*by_name.values(), *_tensor_layouts(layouts.values()), *inside]
    names, outers = _name_groups(axes, by_name, _settled(axes, every))
    groups = _groups(axes, by_name, names, outers)
    blocks = [
        block
        for name, layout in by_name.items()
        for block in _blocks(name, layout, axes, names)
        if any(block.labels)
    ]
    return Specification(
        groups=groups,
        blocks=tuple(blocks),
        shapes={block.tensor: tuple(tensors[block.tensor].shape) for block in blocks},
        fixed=_fixed(axes, by_name, used.intersection(dict(network.named_parameters()))),
        # Counters, of no dimension, have no order that training could miss.
        unused=tuple(one for one, *_ in shared if one not in used and tensors[one].ndim),
        aliases={group[0]: tuple(group[1:]) for group in shared if len(group) > 1},
        statistics=_statistics(graph, shared),
        activations=_activations(graph, layouts, axes, names),
        graph=graph,
    )


def reorder(
    value: Tensor,
    labels: Sequence[str | None],
    permutations: Permutations,
    groups: Mapping[str, Group],
    skip: Iterable[int] = (),
) -> Tensor:
    """Return ``value`` with the axes that bear labels permuted, but for those in ``skip``."""
    skipped = set(skip)
    within = []
    for axis, label in enumerate(labels):
        if label is None or axis in skipped:
            continue
        if groups[label].outer is None:
            value = value.index_select(axis, permutations[label].to(value.device))
        else:
            within.append((axis, label))
    for axis, label in within:
        outer = labels.index(groups[label].outer)
        shape = [1] * value.ndim
        index = permutations[label].to(value.device)
        shape[outer], shape[axis] = index.shape
        index = (index if outer < axis else index.T).reshape(shape)
        value = torch.take_along_dim(value, index, axis)
    return value


def _settled(axes: Axes, layouts: Sequence[Layout]) -> list[Layout]:
    """Return all layouts in normal form; finding it may fix more, so until nothing changes."""
    before: list[Layout] = []
    while (now := [[axes.normal(axis) for axis in layout] for layout in layouts]) != before:
        before = now
    return now


def _follow(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    shared: list[list[str]],
    used: set[str],
    axes: Axes,
) -> tuple[dict[Node, Any], list[Layout]]:
    """Return the axes of every value in the graph, and of tensors inside operations."""
    layouts: dict[Node, Any] = {}
    inside: list[Layout] = []
    seen: dict[str, Layout] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            value = node.meta.get("val")
            shape = [int(n) for n in value.shape] if isinstance(value, Tensor) else []
            target = graph.tensors.get(node.name)
            if target is None:
                layouts[node] = [axes.new(n, "it belongs to the input") for n in shape]
                continue
            name = _first_name(target, shared)
            why = None if name in used else "the graph does not use it"
            if target in graph.passing:
                why = "the state does not hold this buffer"
            if name not in seen:
                seen[name] = [axes.new(n, why) for n in shape]
            layouts[node] = seen[name]
        elif node.op == "call_function":
            layouts[node] = layout_of(node, axes, layouts, inside)
        elif node.op == "output":
            for source in node.all_input_nodes:
                for layout in _tensor_layouts([layouts[source]]):
                    for axis in layout:
                        axes.fix(axis, "it is the network's output")
        else:
            layouts[node] = []
    return layouts, inside


def _first_name(target: str, shared: list[list[str]]) -> str:
    return next(group[0] for group in shared if target in group)


def _tensor_layouts(found: Iterable[Any]) -> list[Layout]:
    result: list[Layout] = []
    for one in found:
        if one and isinstance(one[0], list):
            result += _tensor_layouts(one)
        else:
            result.append(one)
    return result


def _pieces(layout: Layout) -> Iterable[tuple[int, ...]]:
    """Return the classes of every block of a tensor, in the order of its axes."""
    for segments in itertools.product(*layout):
        yield tuple(c for segment in segments for c in segment)


def _name_groups(
    axes: Axes, by_name: Mapping[str, Layout], normal: Sequence[Layout]
) -> tuple[dict[int, str], dict[int, int]]:
    """Return the name of every class that may be permuted, and the class within which it lies."""
    names: dict[int, str] = {}
    for name, layout in by_name.items():
        for i, axis in enumerate(layout):
            members = [c for segment in axes.normal(axis) for c in segment]
            for position, member in enumerate(members):
                if axes.reason(member) is None and member not in names:
                    number = f"#{position}" if len(members) > 1 else ""
                    names[member] = f"{name}[{i}]{number}"
    # Classes that stand beside a class, once, in every tensor in which it occurs.
    beside: dict[int, set[int]] = {}
    for layout in normal:
        count = 1
        for axis in layout:
            count *= len(axis)
        pieces = _pieces(layout) if count <= MOST_BLOCKS else [()]
        for piece in pieces:
            once = {c for c in piece if piece.count(c) == 1 and c in names}
            for member in set(piece).intersection(names):
                others = once - {member} if member in once else set()
                beside[member] = beside.get(member, others) & others
    candidates = {
        member: {other for other in found if member not in beside[other]}
        for member, found in beside.items()
    }
    outers = {}
    for member, found in candidates.items():
        possible = [other for other in found if not candidates[other]]
        if possible:
            outers[member] = max(possible, key=lambda c: (axes.segment_size((c,)), -c))
    return names, outers


def _groups(
    axes: Axes,
    by_name: Mapping[str, Layout],
    names: Mapping[int, str],
    outers: Mapping[int, int],
) -> dict[str, Group]:
    moved: dict[int, dict[tuple[str, int], None]] = {member: {} for member in names}
    for name, layout in by_name.items():
        for i, axis in enumerate(layout):
            for segment in axes.normal(axis):
                for member in segment:
                    if member in names:
                        moved[member][name, i] = None
    return {
        name: Group(
            name,
            axes.segment_size((member,)),
            names[outers[member]] if member in outers else None,
            tuple(moved[member]),
        )
        for member, name in names.items()
    }


def _blocks(name: str, layout: Layout, axes: Axes, names: Mapping[int, str]) -> list[Block]:
    ranges = []
    for axis in layout:
        start, found = 0, []
        for segment in axes.normal(axis):
            size = axes.segment_size(segment)
            found.append(((start, start + size), segment))
            start += size
        ranges.append(found)
    blocks = []
    for parts in itertools.product(*ranges):
        members = [c for _, segment in parts for c in segment]
        blocks.append(
            Block(
                name,
                tuple(span for span, _ in parts),
                tuple(axes.segment_size((c,)) for c in members),
                tuple(names.get(c) for c in members),
            )
        )
    return blocks


def _fixed(
    axes: Axes, by_name: Mapping[str, Layout], parameters: Container[str]
) -> tuple[FixedAxis, ...]:
    found: dict[tuple[str, int, str], None] = {}
    for name, layout in by_name.items():
        for i, axis in enumerate(layout if name in parameters else []):
            for segment in axes.normal(axis):
                for member in segment:
                    reason = axes.reason(member)
                    if reason is not None:
                        found[name, i, reason] = None
    return tuple(FixedAxis(*key) for key in found)


def _statistics(graph: Graph, shared: list[list[str]]) -> frozenset[str]:
    """Return the names of running means and variances."""
    found = set()
    for node in graph.nodes:
        if node.op == "call_function" and "batch_norm" in str(node.target):
            for source in node.args[3:5]:
                target = graph.tensors.get(getattr(source, "name", ""))
                if target is not None:
                    found.add(_first_name(target, shared))
    return frozenset(found)


def _activations(
    graph: Graph, layouts: Mapping[Node, Any], axes: Axes, names: Mapping[int, str]
) -> dict[str, tuple[Block, ...]]:
    """Return where the units of each group can be watched.

    Where a sum or a norm reads or writes them: as inputs of the next layer, and before any
    nonlinearity, where no unit is dead. For groups that occur at none of these, wherever they do.
    """
    chosen = {}
    every = {}
    for node in graph.nodes:
        layout = layouts.get(node)
        if node.op != "call_function" or not layout or isinstance(layout[0], list):
            continue
        if not isinstance(node.meta.get("val"), Tensor) or not node.meta["val"].is_floating_point():
            continue
        blocks = tuple(b for b in _blocks(node.name, layout, axes, names) if any(b.labels))
        if blocks:
            every[node.name] = blocks
            if any(_sums(one) for one in (node, *node.users)):
                chosen[node.name] = blocks
    covered = {label for blocks in chosen.values() for b in blocks for label in b.labels}
    for name, blocks in every.items():
        kept = tuple(b for b in blocks if not covered.issuperset({x for x in b.labels if x}))
        if kept and name not in chosen:
            chosen[name] = kept
    return chosen


def _sums(node: Node) -> bool:
    words = ("linear", "conv", "mm", "matmul", "attention", "einsum", "norm")
    return any(word in str(node.target) for word in words)
