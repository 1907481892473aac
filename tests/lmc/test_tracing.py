"""Traced graphs: they compute what the network computes, on any state, and touch nothing."""

import pytest
import torch
from torch import nn

from lmc.architectures import ARCHITECTURES, randomised
from sidle.errors import ArgumentError
from sidle.lmc import tracing


@pytest.mark.parametrize("name", ["residual", "transformer", "lstm", "two", "tied"])
def test_a_graph_runs_on_another_networks_weights(name):
    make, example, _ = ARCHITECTURES[name]
    a, b = randomised(make(), 0), randomised(make(), 1)
    graph = tracing.trace(a, example)
    found = graph.run(tracing.named_tensors(b), example)
    expected = tracing.outputs(b.eval(), example, "test")
    # The same operations: at most torch's fused paths for evaluation differ, by float32 rounding.
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_operations_in_place_reach_neither_buffers_nor_inputs():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.ones(3))

        def forward(self, x):
            self.calls.add_(1)
            return x.mul_(self.calls)

    network, x = InPlace(), torch.ones(2, 3)
    graph = tracing.trace(network, (x,))
    (found,) = graph.run(tracing.named_tensors(network), (x,))
    assert torch.equal(found, torch.full((2, 3), 2.0))
    assert torch.equal(network.calls, torch.ones(3))
    assert torch.equal(x, torch.ones(2, 3))


def test_tensors_that_share_memory_without_being_one_are_refused():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = nn.Parameter(network[0].weight.T)
    with pytest.raises(ArgumentError, match="different tensors in the same memory"):
        tracing.shared_names(tracing.named_tensors(network))


def test_names_of_tied_tensors_stand_together():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert tracing.shared_names(tracing.named_tensors(network)) == [
        ["0.weight", "1.weight"],
        ["0.bias"],
        ["1.bias"],
    ]


def test_a_network_that_cannot_be_copied_is_refused():
    class Uncopiable(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copies")

    with pytest.raises(ArgumentError, match="cannot be copied"):
        tracing.trace(Uncopiable(2, 2), (torch.zeros(1, 2),))
