"""How the axes of an operation's results follow from the axes of its inputs.

`RULES` maps an operation of torch's aten set to a rule. A rule unifies axes that must be permuted
alike, fixes those whose order matters, and returns the axes of the results. An operation without a
rule fixes every axis that touches it, so that a missing rule costs permutations, never correctness.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from sidle.lmc import recurrent_rules, shape_rules, sum_rules
from sidle.lmc.axes import SINGLE, Axes
from sidle.lmc.operation import Call, Layout, place_of, pointwise


def layout_of(node: Node, axes: Axes, layouts: dict[Node, Any], tensors: list[Layout]) -> Any:
    """Return the axes of what ``node`` computes: a layout, or a list of layouts."""
    if node.target is operator.getitem:
        return layouts[node.args[0]][node.args[1]]  # type: ignore[index]
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return _unknown(node, axes, layouts, place_of(node))
    name = target._schema.name.removeprefix("aten::").rstrip("_")
    if name.startswith(("sym_", "_assert")):
        return []
    rule = RULES.get(name)
    if rule is None and torch.Tag.pointwise in target.tags:
        rule = pointwise if torch.Tag.nondeterministic_seeded not in target.tags else None
    if rule is None or not isinstance(node.meta.get("val"), (Tensor, list, tuple)):
        return _unknown(node, axes, layouts, place_of(node))
    found = rule(Call(node, axes, layouts, tensors))
    shapes = [tuple(axes.size(axis) for axis in layout) for layout in _flat(found)]
    assert shapes == _shapes(node.meta["val"]), (place_of(node), shapes)
    return found


def _unknown(node: Node, axes: Axes, layouts: dict[Node, Any], place: str) -> Any:
    for source in node.all_input_nodes:
        for layout in _flat(layouts.get(source, [])):
            for axis in layout:
                axes.fix(axis, f"{place}: no rule says how it treats permutations")
    return _fixed_like(node.meta.get("val"), axes, place)


def _flat(found: Any) -> list[Layout]:
    """Return the layouts in what a node computes."""
    if not found:
        return []
    if isinstance(found[0], list):
        return [layout for part in found for layout in _flat(part)]
    return [found]


def _shapes(value: Any) -> list[tuple[int, ...]]:
    if isinstance(value, Tensor):
        return [tuple(int(n) for n in value.shape)] if value.ndim else []
    return [shape for part in value for shape in _shapes(part)]


def _fixed_like(value: Any, axes: Axes, place: str) -> Any:
    if isinstance(value, Tensor):
        why = f"{place}: no rule says how it treats permutations"
        return [axes.new(int(n), why) for n in value.shape]
    if isinstance(value, (list, tuple)):
        return [_fixed_like(part, axes, place) for part in value]
    return []


def _same(call: Call) -> Layout:
    return call.layout("input" if "input" in call.names else "self")


def _dropout(call: Call) -> Layout:
    if call.value("train"):
        call.fix(call.layout("input"), "draws at random")
    return call.layout("input")


def _prelu(call: Call) -> Layout:
    layout, weight = call.layout("self"), call.layout("weight")
    if weight and weight[0] != SINGLE:
        call.unify(layout[1] if len(layout) > 1 else layout[0], weight[0])
    return layout


def _glu(call: Call) -> Layout:
    layout = list(call.layout("self"))
    dim = call.value("dim", -1) % len(layout)
    halves = call.axes.cut(layout[dim], call.shape()[dim])
    if halves is None:
        call.fix([layout[dim]], "halves it")
        layout[dim] = call.fixed(call.shape()[dim])
    else:
        call.unify(*halves)
        layout[dim] = halves[0]
    return layout


def _constant(call: Call) -> Layout:
    # All entries are equal, so any order will do.
    return [call.axes.new(size) for size in call.shape()]


def _ordered(call: Call) -> Layout:
    return [call.fixed(size, "counts along it") for size in call.shape()]


_TABLE: tuple[tuple[Callable[[Call], Any], str], ...] = (
    (_same, "alias clone contiguous detach detach_copy to _to_copy type_as lift_fresh"),
    (_same, "lift_fresh_copy hardswish log_sigmoid relu6"),
    (pointwise, "where masked_fill rsub clip square copy _prelu_kernel _weight_norm"),
    (_dropout, "dropout feature_dropout alpha_dropout"),
    (_constant, "zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full"),
    (_ordered, "arange linspace eye"),
    (_prelu, "prelu"),
    (_glu, "glu"),
    (sum_rules.linear, "linear"),
    (sum_rules.matmul, "matmul mm bmm mv dot vdot"),
    (sum_rules.added_product, "addmm baddbmm"),
    (sum_rules.einsum, "einsum"),
    (recurrent_rules.cell(1), "rnn_tanh_cell rnn_relu_cell"),
    (recurrent_rules.cell(3), "gru_cell"),
    (recurrent_rules.cell(4), "lstm_cell"),
    (recurrent_rules.sequence(1), "rnn_tanh rnn_relu"),
    (recurrent_rules.sequence(3), "gru"),
    (recurrent_rules.sequence(4), "lstm"),
    (sum_rules.convolution, "conv1d conv2d conv3d convolution"),
    (sum_rules.convolution, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    (sum_rules.attention, "scaled_dot_product_attention"),
    (sum_rules.embedding, "embedding"),
    (sum_rules.batch_norm, "batch_norm instance_norm"),
    (sum_rules.layer_norm, "layer_norm rms_norm"),
    (sum_rules.group_norm, "group_norm"),
    (sum_rules.reduction, "mean sum amax amin max min var std norm linalg_vector_norm"),
    (sum_rules.reduction, "logsumexp any all prod"),
    (sum_rules.place_reduction, "argmax argmin"),
    (sum_rules.softmax, "softmax log_softmax _softmax _log_softmax"),
    (sum_rules.along, "cumsum cumprod roll flip"),
    (sum_rules.triangle, "tril triu"),
    *((sum_rules.window(n), f"max_pool{n}d avg_pool{n}d") for n in (1, 2, 3)),
    *((sum_rules.window(n), f"adaptive_avg_pool{n}d adaptive_max_pool{n}d") for n in (1, 2, 3)),
    (sum_rules.window(1), "upsample_nearest1d upsample_linear1d"),
    (sum_rules.window(2), "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d"),
    (sum_rules.window(3), "upsample_nearest3d upsample_trilinear3d"),
    (shape_rules.pad, "pad constant_pad_nd"),
    (shape_rules.reshape, "view reshape _unsafe_view flatten unflatten squeeze unsqueeze"),
    (shape_rules.reshape, "view_as reshape_as"),
    (shape_rules.transpose, "transpose t mT swapaxes swapdims"),
    (shape_rules.reverse, "numpy_T"),
    (shape_rules.permute, "permute"),
    (shape_rules.movedim, "movedim"),
    (shape_rules.expand, "expand expand_as broadcast_to"),
    (shape_rules.repeat, "repeat"),
    (shape_rules.repeat_entries, "repeat_interleave"),
    (shape_rules.concatenate, "cat concat concatenate"),
    (shape_rules.stack, "stack"),
    (shape_rules.slice_entries, "slice narrow"),
    (shape_rules.split, "split split_with_sizes chunk"),
    (shape_rules.select, "select"),
    (shape_rules.unbind, "unbind"),
    (shape_rules.index, "index"),
    (shape_rules.index_select, "index_select"),
)

RULES = {name: rule for rule, names in _TABLE for name in names.split()}
