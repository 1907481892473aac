"""One operation in a traced graph, as the rules of axes see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

from torch import Tensor
from torch.fx import Node

from sidle.lmc.axes import Axes, Axis

Layout = list[Axis]  # the axes of one tensor, in order


@final
class Call:
    """One operation in a graph: its arguments by name, and the axes of its tensor arguments."""

    def __init__(self, node: Node, axes: Axes, layouts: dict[Node, Any], tensors: list[Layout]):
        self.node, self.axes, self._layouts, self._tensors = node, axes, layouts, tensors
        self.place = place_of(node)
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        self._arguments = {a.name: a.default_value for a in schema if a.has_default_value()}
        self._arguments |= {a.name: value for a, value in zip(schema, node.args, strict=False)}
        self._arguments |= dict(node.kwargs)

    @property
    def names(self) -> list[str]:
        """The names of all arguments that were given or have a default."""
        return list(self._arguments)

    def value(self, name: str, default: Any = None) -> Any:
        """Return an argument as it stands in the graph."""
        found = self._arguments.get(name)
        return default if found is None else found

    def layout(self, name: str) -> Layout:
        """Return the axes of a tensor argument."""
        found: Layout = self._layouts[self._arguments[name]]
        return found

    def optional(self, name: str) -> Layout | None:
        """Return the axes of a tensor argument, or None where none was given."""
        return self.layout(name) if isinstance(self._arguments.get(name), Node) else None

    def layouts(self, name: str) -> list[Layout]:
        """Return the axes of each tensor of a list."""
        return [self._layouts[node] for node in self._arguments[name]]

    def layout_at(self, node: Node) -> Layout:
        """Return the axes of a tensor in the graph."""
        found: Layout = self._layouts[node]
        return found

    def shape(self) -> tuple[int, ...]:
        """Return the shape of the (first) result."""
        found = self.node.meta["val"]
        return tuple(int(n) for n in (found if isinstance(found, Tensor) else found[0]).shape)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor argument."""
        return tuple(int(n) for n in self._arguments[name].meta["val"].shape)

    def unify(self, one: Axis, other: Axis) -> None:
        """Let two axes be permuted alike."""
        self.axes.unify(one, other, f"{self.place} joins axes that no permutation fits")

    def fix(self, axes: Iterable[Axis], why: str) -> None:
        """Keep the order of ``axes``."""
        for axis in axes:
            self.axes.fix(axis, f"{self.place} {why}")

    def fixed(self, size: int, why: str = "gives it its order") -> Axis:
        """Return a new axis whose order is kept."""
        return self.axes.new(size, f"{self.place} {why}")

    def inside(self, layout: Layout) -> None:
        """Note a tensor that the operation makes inside, a statistic for example."""
        self._tensors.append(layout)


def broadcast(call: Call, layouts: Sequence[Layout], shape: Sequence[int]) -> Layout:
    """Unify the axes of tensors that meet entry by entry, from the last on; return the result's."""
    result: Layout = []
    for back in range(len(shape), 0, -1):
        size = shape[len(shape) - back]
        meeting = [layout[-back] for layout in layouts if len(layout) >= back]
        meeting = [axis for axis in meeting if call.axes.size(axis) == size]
        for other in meeting[1:]:
            call.unify(meeting[0], other)
        # Along an axis that broadcasting made, all entries are alike: any order will do.
        result.append(meeting[0] if meeting else call.axes.new(size))
    return result


def pointwise(call: Call) -> Layout:
    """Return the axes of an operation that works entry by entry on all tensors it is given."""
    sources = [call.optional(name) for name in call.names]
    return broadcast(call, [s for s in sources if s is not None], call.shape())


def place_of(node: Node) -> str:
    """Return operation and module, as in "conv2d in layer1.0"."""
    target = node.target
    name = getattr(target, "_opname", None) or getattr(target, "__name__", str(target))
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return f"{name} in {path}" if path else f"{name}"
