"""Rules of axes for recurrent layers: Elman networks, GRU and LSTM, as cells and over sequences.

The rows of a recurrent weight are gates times units, and every gate has its units in the order of
the hidden state. States of stacked layers are one tensor, so layers whose states the network gives
or takes are permuted alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from sidle.lmc.axes import Axis
from sidle.lmc.operation import Call, Layout


def cell(gates: int) -> Callable[[Call], Any]:
    """Return the rule of one step of a layer with so many gates."""

    def rule(call: Call) -> Layout | list[Layout]:
        single = isinstance(call.value("hx"), Node)
        states = [call.layout("hx")] if single else call.layouts("hx")
        unit = states[0][-1]
        for state in states[1:]:
            call.unify(unit, state[-1])
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        weights = [found for found in map(call.optional, names) if found is not None]
        _join_gates(call, gates, unit, weights)
        call.unify(weights[0][1], call.layout("input")[-1])
        call.unify(weights[1][1], unit)
        return states[0] if single else states

    return rule


def sequence(gates: int) -> Callable[[Call], Any]:
    """Return the rule of stacked layers that run along a sequence, in one or both directions."""

    def rule(call: Call) -> list[Layout]:
        results: Sequence[Tensor] = call.node.meta["val"]
        if "batch_sizes" in call.names or (call.value("train") and call.value("dropout")):
            for node in call.node.all_input_nodes:
                call.fix(call.layout_at(node), "has packed sequences or drops at random")
            return [[call.fixed(int(n)) for n in result.shape] for result in results]
        given = call.value("hx")
        given = [given] if isinstance(given, Node) else given
        layout, params = call.layout("input"), call.layouts("params")
        time = 1 if call.value("batch_first") else 0
        call.fix([layout[time]], "runs along it")
        directions = 2 if call.value("bidirectional") else 1
        each = len(params) // (call.value("num_layers") * directions)
        inputs: Axis = layout[-1]
        hidden: list[Axis] = []
        cells: list[Axis] = []
        for layer in range(call.value("num_layers")):
            ends: Axis = ()
            for direction in range(directions):
                start = (layer * directions + direction) * each
                found = _layer(call, gates, inputs, params[start : start + each])
                hidden.append(found[0])
                cells.append(found[1])
                ends = (*ends, *found[0])
            inputs = ends
        states = [
            _state(call, number, node, axes, layout[1 - time])
            for number, node, axes in zip((1, 2), given, (hidden, cells), strict=False)
        ]
        return [[*layout[:-1], inputs], *states]

    return rule


def _layer(call: Call, gates: int, inputs: Axis, params: Sequence[Layout]) -> tuple[Axis, Axis]:
    """Return the axes of the hidden state and of the cell of one layer in one direction."""
    biased = 4 if call.value("has_biases") else 2
    weights, projections = params[:biased], params[biased:]
    unit = call.axes.new(call.axes.size(weights[0][0]) // gates)
    _join_gates(call, gates, unit, weights)
    hidden = unit
    for projection in projections:
        call.unify(projection[1], unit)
        hidden = projection[0]
    call.unify(weights[0][1], inputs)
    call.unify(weights[1][1], hidden)
    return hidden, unit


def _join_gates(call: Call, gates: int, unit: Axis, weights: Sequence[Layout]) -> None:
    gate = call.fixed(gates, "has its gates in this order")
    rows = call.axes.product([gate, unit], f"{call.place} has gates of units")
    for weight in weights:
        call.unify(weight[0], rows)


def _state(call: Call, number: int, given: Node, axes: Sequence[Axis], batch: Axis) -> Layout:
    """Join the layers' units with the first states, and with the last ones if they are used."""
    start = call.layout_at(given)
    constant = getattr(given.target, "_opname", "") in ("zeros", "new_zeros", "zeros_like")
    used = any(user.args[1] == number and user.users for user in call.node.users)
    call.fix([start[0]], "has a state for each layer there")
    layers = call.fixed(len(axes), "has a state for each layer there")
    if not constant:  # zeros may stand in any order
        for axis in axes:
            call.unify(axis, start[-1])
    if not used:
        return [layers, batch, call.fixed(call.axes.size(axes[0]))]
    for axis in axes[1:]:
        call.unify(axes[0], axis)
    return [layers, batch, axes[0]]
