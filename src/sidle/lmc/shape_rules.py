"""Rules of axes for operations that move entries: reshaping, slicing, concatenating, indexing."""

from __future__ import annotations

import math

from sidle.lmc.axes import SINGLE, Axis
from sidle.lmc.operation import Call, Layout, broadcast


def reshape(call: Call) -> Layout:
    """Match runs of old axes with runs of new axes that hold as many entries."""
    why = f"{call.place} mixes it with others"
    old = [axis for axis in call.layout("self") if axis != SINGLE]
    shape = call.shape()
    if math.prod(shape) == 0:
        call.fix(old, "is empty")
        return [call.fixed(size) for size in shape]
    new = [size for size in shape if size != 1]
    found: list[Axis] = []
    while old or new:
        run, sizes = [old.pop(0)], [new.pop(0)]
        have, want = call.axes.size(run[0]), sizes[0]
        while have != want:
            if have < want:
                run.append(old.pop(0))
                have *= call.axes.size(run[-1])
            else:
                sizes.append(new.pop(0))
                want *= sizes[-1]
        merged = run[0] if len(run) == 1 else call.axes.product(run, why)
        found += [merged] if len(sizes) == 1 else call.axes.factors(merged, sizes, why)
    waiting = iter(found)
    return [SINGLE if size == 1 else next(waiting) for size in shape]


def transpose(call: Call) -> Layout:
    """Two axes exchanged."""
    layout = list(call.layout("self"))
    rank = len(layout)
    names = ("axis0", "axis1") if "axis0" in call.names else ("dim0", "dim1")
    i, j = (call.value(name, default) for name, default in zip(names, (-2, -1), strict=True))
    if rank > 1:
        layout[i % rank], layout[j % rank] = layout[j % rank], layout[i % rank]
    return layout


def reverse(call: Call) -> Layout:
    """All axes in reverse order."""
    return call.layout("self")[::-1]


def permute(call: Call) -> Layout:
    """Axes in another order."""
    layout = call.layout("self")
    return [layout[dim] for dim in call.value("dims")]


def movedim(call: Call) -> Layout:
    """Axes moved to other places."""
    layout = call.layout("self")
    source, target = (call.value(name) for name in ("source", "destination"))
    pairs = [(source, target)] if isinstance(source, int) else zip(source, target, strict=True)
    order = {to % len(layout): of % len(layout) for of, to in pairs}
    rest = iter(i for i in range(len(layout)) if i not in order.values())
    return [layout[order[i] if i in order else next(rest)] for i in range(len(layout))]


def expand(call: Call) -> Layout:
    """One entry repeated along an axis."""
    return broadcast(call, [call.layout("self")], call.shape())


def repeat(call: Call) -> Layout:
    """Copies along an axis."""
    layout, shape = call.layout("self"), call.shape()
    layout = [SINGLE] * (len(shape) - len(layout)) + layout
    result = []
    for axis, size in zip(layout, shape, strict=True):
        times = size // call.axes.size(axis)
        copies = [] if times == 1 else [call.axes.new(times)]
        result.append(call.axes.product([*copies, axis], f"{call.place} repeats it"))
    return result


def repeat_entries(call: Call) -> Layout:
    """Each entry of an axis several times in a row."""
    layout, dim = list(call.layout("self")), call.value("dim")
    if not isinstance(call.value("repeats"), int) or dim is None:
        call.fix(layout, "repeats its entries")
        return [call.fixed(size, "repeats entries") for size in call.shape()]
    copies = [layout[dim], call.axes.new(call.value("repeats"))]
    layout[dim] = call.axes.product(copies, f"{call.place} repeats its entries")
    return layout


def concatenate(call: Call) -> Layout:
    """Tensors one after the other along an axis."""
    layouts = [layout for layout in call.layouts("tensors") if layout]
    shape = call.shape()
    dim = call.value("dim", 0) % len(shape)
    result = []
    for i, size in enumerate(shape):
        meeting = [layout[i] for layout in layouts if len(layout) == len(shape)]
        if i == dim:
            fixed = all(call.axes.is_fixed(axis) for axis in meeting)
            joined = tuple(segment for axis in meeting for segment in axis)
            result.append(call.fixed(size, "concatenates along it") if fixed else joined)
        else:
            for other in meeting[1:]:
                call.unify(meeting[0], other)
            result.append(meeting[0])
    return result


def stack(call: Call) -> Layout:
    """Tensors along a new axis."""
    layouts, shape = call.layouts("tensors"), call.shape()
    dim = call.value("dim", 0) % len(shape)
    first, *others = layouts
    for other in others:
        for one, against in zip(first, other, strict=True):
            call.unify(one, against)
    return [*first[:dim], call.fixed(shape[dim], "stacks along it"), *first[dim:]]


def slice_entries(call: Call) -> Layout:
    """A range of entries of an axis."""
    layout = list(call.layout("self"))
    dim = call.value("dim", 0) % len(layout)
    size = call.axes.size(layout[dim])
    if "length" in call.names:
        start = call.value("start") % size
        start, stop, step = start, start + call.value("length"), 1
    else:
        start, stop, step = slice(
            call.value("start"), call.value("end"), call.value("step", 1)
        ).indices(size)
    layout[dim] = _taken(call, layout[dim], start, stop, step)
    return layout


def _taken(call: Call, axis: Axis, start: int, stop: int, step: int = 1) -> Axis:
    """Return entries start to stop of an axis."""
    size = call.axes.size(axis)
    if (start, stop, step) == (0, size, 1):
        return axis
    count = len(range(start, stop, step))
    if step == 1 and not call.axes.is_fixed(axis):
        behind = call.axes.cut(axis, start)
        middle = None if behind is None else call.axes.cut(behind[1], stop - start)
        if middle is not None:
            return middle[0]
    call.fix([axis], "takes some of its entries")
    return call.fixed(count, "takes some entries")


def split(call: Call) -> list[Layout]:
    """An axis cut into ranges."""
    layout = call.layout("self")
    dim = call.value("dim", 0) % len(layout)
    result, start = [], 0
    for part in call.node.meta["val"]:
        stop = start + int(part.shape[dim])
        taken = _taken(call, layout[dim], start, stop)
        result.append([*layout[:dim], taken, *layout[dim + 1 :]])
        start = stop
    return result


def select(call: Call) -> Layout:
    """One entry of an axis."""
    layout = call.layout("self")
    dim = call.value("dim", 0) % len(layout)
    call.fix([layout[dim]], "picks an entry of it")
    return [*layout[:dim], *layout[dim + 1 :]]


def unbind(call: Call) -> list[Layout]:
    """Every entry of an axis apart."""
    return [select(call) for _ in call.node.meta["val"]]


def index(call: Call) -> Layout:
    """Treat ``x[..., numbers, ...]`` with one tensor of numbers."""
    layout, indices = call.layout("self"), list(call.value("indices"))
    given = [i for i, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        for index in given:
            call.fix(call.layout_at(indices[index]), "indexes with it")
        call.fix(layout, "is indexed by several")
        return [call.fixed(size) for size in call.shape()]
    dim, rank = given[0], len(call.layout_at(indices[given[0]]))
    call.fix([layout[dim]], "is looked up in it by number")
    looked_up = [call.fixed(size) for size in call.shape()[dim : dim + rank]]
    return [*layout[:dim], *looked_up, *layout[dim + 1 :]]


def index_select(call: Call) -> Layout:
    """Entries looked up by number."""
    layout = list(call.layout("self"))
    dim = call.value("dim") % len(layout)
    call.fix([layout[dim]], "is looked up in it by number")
    layout[dim] = call.fixed(call.shape()[dim])
    return layout


def pad(call: Call) -> Layout:
    """Constant entries added at the ends of axes."""
    layout, amounts = list(call.layout("self")), list(call.value("pad"))
    constant = call.value("mode", "constant") == "constant"
    for back, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True), 1):
        if not before and not after:
            continue
        axis = call.axes.normal(layout[-back])
        if not constant or min(before, after) < 0 or call.axes.is_fixed(axis):
            call.fix([axis], "pads it")
            layout[-back] = call.fixed(call.shape()[-back], "pads it")
            continue
        # The entries added are all alike: any order among them will do.
        start = call.axes.new(before) if before else ()
        end = call.axes.new(after) if after else ()
        layout[-back] = (*start, *axis, *end)
    return layout
