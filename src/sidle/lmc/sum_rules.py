"""Rules of axes for operations that sum: products, convolutions, attention, norms, reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.fx import Node

from sidle.lmc.axes import SINGLE, Axis
from sidle.lmc.operation import Call, Layout, broadcast, pointwise


def linear(call: Call) -> Layout:
    """``x @ weight.T + bias``: contracts the last axes."""
    layout, weight, bias = call.layout("input"), call.layout("weight"), call.optional("bias")
    call.unify(layout[-1], weight[-1])
    if bias is not None and len(weight) == 2:
        call.unify(weight[0], bias[0])
    return [*layout[:-1], *weight[:-1]]


def _matrix_product(call: Call, one: Layout, other: Layout) -> Layout:
    left, right = list(one), list(other)
    row = [left[-2]] if len(left) > 1 else []
    column = [right[-1]] if len(right) > 1 else []
    call.unify(left[-1], right[-2] if len(right) > 1 else right[-1])
    shape = call.shape()
    batch = broadcast(call, [left[:-2], right[:-2]], shape[: len(shape) - len(row + column)])
    return [*batch, *row, *column]


def matmul(call: Call) -> Layout:
    """Products of matrices, with broadcasting over batches."""
    names = [name for name in ("self", "other", "mat2", "vec", "tensor") if name in call.names]
    return _matrix_product(call, *(call.layout(name) for name in names))


def added_product(call: Call) -> Layout:
    """A tensor plus a product of matrices."""
    names = ("mat1", "mat2") if "mat1" in call.names else ("batch1", "batch2")
    product = _matrix_product(call, *(call.layout(name) for name in names))
    return broadcast(call, [product, call.layout("self")], call.shape())


def einsum(call: Call) -> Layout:
    """Sums of products by letters."""
    inputs, _, output = call.value("equation").replace(" ", "").partition("->")
    terms, layouts = inputs.split(","), call.layouts("tensors")
    known: dict[str, Axis] = {}
    repeats = any(len(set(term)) < len(term) for term in terms)
    if "." in inputs or repeats or "->" not in call.value("equation"):
        for layout in layouts:
            call.fix(layout, "repeats or leaves out letters")
        return [call.fixed(size) for size in call.shape()]
    for term, layout in zip(terms, layouts, strict=True):
        for letter, axis in zip(term, layout, strict=True):
            if letter in known and call.axes.size(known[letter]) == call.axes.size(axis):
                call.unify(known[letter], axis)
            elif known.get(letter, SINGLE) == SINGLE:
                known[letter] = axis
    return [known[letter] for letter in output]


def convolution(call: Call) -> Layout:
    """Convolutions, transposed and grouped ones too."""
    layout, weight, bias = call.layout("input"), call.layout("weight"), call.optional("bias")
    groups, transposed = call.value("groups", 1), "transpose" in call.node.target._opname  # type: ignore[union-attr]
    transposed = transposed or bool(call.value("transposed", False))
    channel = len(layout) - len(weight) + 1  # 1, or 0 for an input without a batch
    spatial = layout[channel + 1 :]
    call.fix(spatial, "moves a kernel along it")
    call.fix(weight[2:], "moves a kernel along it")
    if groups == 1:
        inner, outer = (0, 1) if transposed else (1, 0)
        call.unify(layout[channel], weight[inner])
        out = weight[outer]
    else:
        # Row-major: groups, then the channels of each; the first axis of the weight has both.
        group = call.axes.new(groups)
        first = call.axes.size(weight[0]) // groups
        why = f"{call.place} groups channels"
        call.unify(weight[0], call.axes.product([group, call.axes.new(first)], why))
        grouped = call.axes.product([group, weight[1]], why)
        call.unify(layout[channel], weight[0] if transposed else grouped)
        out = grouped if transposed else weight[0]
    if bias is not None:
        call.unify(out, bias[0])
    positions = [call.fixed(size) for size in call.shape()[channel + 1 :]]
    return [*layout[:channel], out, *positions]


def attention(call: Call) -> Layout:
    """Scaled dot-product attention."""
    query, key, value = (call.layout(name) for name in ("query", "key", "value"))
    if call.value("enable_gqa", False) or call.value("dropout_p", 0.0):
        for layout in (query, key, value):
            call.fix(layout, "groups its heads or drops at random")
        return [call.fixed(size) for size in call.shape()]
    call.unify(query[-1], key[-1])
    call.unify(key[-2], value[-2])
    if call.value("is_causal", False):
        call.fix([query[-2], key[-2]], "looks back only")
    shape = call.shape()
    batch = broadcast(call, [query[:-2], key[:-2], value[:-2]], shape[:-2])
    scores = [*batch, query[-2], key[-2]]
    mask = call.optional("attn_mask")
    if mask is not None:
        broadcast(call, [scores, mask], [call.axes.size(axis) for axis in scores])
    call.inside(scores)
    return [*batch, query[-2], value[-1]]


def embedding(call: Call) -> Layout:
    """Rows looked up by number."""
    weight = call.layout("weight")
    call.fix([weight[0]], "is looked up in it by number")
    return [*call.layout("indices"), weight[1]]


def batch_norm(call: Call) -> Layout:
    """Statistics for each channel over batch and positions."""
    layout = call.layout("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        other = call.optional(name)
        if other is not None:
            call.unify(layout[1], other[0])
    call.inside([layout[1]])
    return layout


def layer_norm(call: Call) -> Layout:
    """Statistics over the last axes."""
    layout = call.layout("input")
    n = len(call.value("normalized_shape"))
    for name in ("weight", "bias"):
        other = call.optional(name)
        for one, against in zip(layout[-n:], other or [], strict=False):
            call.unify(one, against)
    call.inside(layout[:-n])
    return layout


def group_norm(call: Call) -> Layout:
    """Statistics for each group of channels."""
    layout, groups = call.layout("input"), call.value("num_groups")
    group = call.axes.new(groups)
    within = call.axes.new(call.axes.size(layout[1]) // groups)
    call.unify(layout[1], call.axes.product([group, within], f"{call.place} groups channels"))
    for name in ("weight", "bias"):
        other = call.optional(name)
        if other is not None:
            call.unify(layout[1], other[0])
    call.inside([layout[0], group])
    return layout


def _dims(call: Call, rank: int) -> list[int]:
    dims = call.value("dim")
    if dims is None or dims == []:
        return list(range(rank))
    return [dim % rank for dim in ([dims] if isinstance(dims, int) else dims)] if rank else []


def reduction(call: Call) -> Layout | list[Layout]:
    """Sums, means, maxima: axes that go, whose order does not matter."""
    if isinstance(call.value("other"), Node):  # the larger or smaller of two tensors
        return pointwise(call)
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    if call.value("keepdim", False):
        result = [SINGLE if i in dims else axis for i, axis in enumerate(layout)]
    else:
        result = [axis for i, axis in enumerate(layout) if i not in dims]
    found = call.node.meta["val"]
    if isinstance(found, Tensor):
        return result
    call.fix([layout[i] for i in dims], "tells where along it")  # values and places
    return [result for _ in found]


def place_reduction(call: Call) -> Layout:
    """The place of the largest or smallest entry."""
    layout = call.layout("self")
    call.fix([layout[i] for i in _dims(call, len(layout))], "tells where along it")
    found = reduction(call)
    assert not found or not isinstance(found[0], list)
    return found  # type: ignore[return-value]


def softmax(call: Call) -> Layout:
    """Normalisation along an axis."""
    layout = call.layout("self")
    dims = _dims(call, len(layout))
    call.inside([axis for i, axis in enumerate(layout) if i not in dims])
    return layout


def along(call: Call) -> Layout:
    """Treat operations that run along an axis in its order: sums so far, rolling, flipping."""
    layout = call.layout("self")
    dims = call.value("dims", call.value("dim"))
    chosen = (
        range(len(layout)) if dims in (None, []) else ([dims] if isinstance(dims, int) else dims)
    )
    call.fix([layout[dim] for dim in chosen], "runs along it")
    return layout


def triangle(call: Call) -> Layout:
    """A triangle of a matrix."""
    call.fix(call.layout("self")[-2:], "keeps a triangle of it")
    return call.layout("self")


def window(n: int) -> Callable[[Call], Any]:
    """Return the rule of what works on the last ``n`` axes alone: pooling, resizing."""

    def rule(call: Call) -> Any:
        layout = call.layout("input" if "input" in call.names else "self")
        call.fix(layout[-n:], "works on its neighbours")
        result = [*layout[:-n], *(call.fixed(size) for size in call.shape()[-n:])]
        found = call.node.meta["val"]
        return result if isinstance(found, Tensor) else [result for _ in found]

    return rule
