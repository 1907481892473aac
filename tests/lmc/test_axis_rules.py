"""Rules of axes, operation by operation: as many permutations as there are, and never one more.

Each case is a function between two linear layers, of 6 hidden units h with 3 rows; the expected
groups are found by hand. Outputs must stay under random permutations of them. That no group was
missed, so that every permutation of units that keeps the outputs is among them, is found out by
trying all 720 orders of the hidden units on one case of each kind.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmc.architectures import outputs, permuted_copy, randomised
from lmc.test_permutations import sizes
from sidle.lmc import axis_rules, derive_specification

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Between(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.one, self.function = nn.Linear(4, 6), function
        with torch.no_grad():
            width = function(self.one(X)).flatten(1).shape[1]
        self.two = nn.Linear(width, 2)

    def forward(self, x):
        return self.two(self.function(self.one(x)).flatten(1))


def put_into_zeros(h):
    buffer = h.new_zeros(3, 8)
    buffer[:, 1:7] = h
    return buffer


def added_in_place(h):
    h = h.clone()
    h[:, :2] += 1
    return h


def kernel(h):
    return torch.arange(6, dtype=h.dtype).reshape(2, 1, 3)


def eye(h):
    return torch.eye(6, dtype=h.dtype)


CASES = {
    # Entry by entry
    "relu": (F.relu, "6"),
    "clamp": (lambda h: h.clamp(-1, 1) ** 2 - h.abs() / 3, "6"),
    "where": (lambda h: torch.where(h > 0, h, torch.zeros_like(h)), "6"),
    "with a scalar tensor": (lambda h: h * h.mean() + torch.ones(6), "6"),
    "dropout": (lambda h: F.dropout(h, 0.5, training=False), "6"),
    "in place": (lambda h: h.clone().mul_(2).add_(h), "6"),
    # Along the units
    "softmax": (lambda h: h.softmax(-1), "6"),
    "norms": (lambda h: F.normalize(h, dim=1) * h.std(1, keepdim=True), "6"),
    "largest": (lambda h: h / h.amax(1, keepdim=True) + h.logsumexp(1, keepdim=True), "6"),
    "layer norm": (lambda h: F.layer_norm(h, (6,)) + F.rms_norm(h, (6,)), "6"),
    "group norm": (lambda h: F.group_norm(h, 2), "2, 3 in 2"),
    "cumulative": (lambda h: h.cumsum(1), ""),
    "flip": (lambda h: h.flip(1), ""),
    "roll": (lambda h: h.roll(1, 1), ""),
    "triangle": (lambda h: h.unsqueeze(1).expand(3, 6, 6).tril(), ""),
    "place of the largest": (lambda h: h * h.argmax(1, keepdim=True), ""),
    "largest and its place": (lambda h: h * h.max(1, keepdim=True)[1], ""),
    "pooling": (lambda h: F.avg_pool1d(h, 2), ""),
    "convolution along them": (lambda h: F.conv1d(h[:, None], kernel(h)), ""),
    "sort": (lambda h: h.sort(1)[0], ""),  # no rule: what it touches stays
    "fourier": (lambda h: torch.fft.rfft(h).abs(), ""),
    "counted": (lambda h: h * torch.arange(6), ""),
    # Along the rows
    "over rows": (lambda h: h - h.mean(0) + h.cumsum(0) + h.flip(0), "6"),
    "rows sorted": (lambda h: h[torch.tensor([2, 0, 1])] + h[1], "6"),
    # Cut and joined
    "halves": (lambda h: torch.cat([h[:, :2].relu(), h[:, 2:]], 1), "2, 4"),
    "halves exchanged": (lambda h: torch.cat([h[:, 2:], h[:, :2]], 1), "2, 4"),
    "added halves": (lambda h: h[:, :3] + h[:, 3:], "3"),
    "gated": (lambda h: F.glu(h, 1), "3"),
    "chunks": (lambda h: torch.stack([p.softmax(1) for p in h.chunk(3, 1)], 1), "2"),
    "split": (lambda h: torch.cat([p.tanh() for p in h.split([1, 2, 3], 1)], 1), "2, 3"),
    "narrow": (lambda h: h.narrow(1, 1, 4), "4"),
    "every second": (lambda h: h[:, ::2], ""),
    "one of them": (lambda h: h * h[:, 2:3], "2, 3"),
    "picked": (lambda h: h * h[:, 2, None], ""),
    "looked up": (lambda h: h.index_select(1, torch.tensor([3, 1])), ""),
    "indexed": (lambda h: h[:, torch.tensor([3, 1])], ""),
    "unbound": (lambda h: torch.stack(h.unbind(1), 1), ""),
    "padded": (lambda h: F.pad(h, (1, 2)), "6, 2"),  # the zeros behind are alike
    "padded and added": (lambda h: F.pad(h, (3, 3)) + F.pad(h, (6, 0)), "3, 3"),
    "reflected": (lambda h: F.pad(h[None], (1, 1), "reflect")[0], ""),
    "changed in place": (added_in_place, "2, 4"),
    "put into zeros": (put_into_zeros, "6"),
    # Reshaped
    "heads": (lambda h: h.unflatten(1, (2, 3)).softmax(2), "2, 3 in 2"),
    "heads mixed": (lambda h: h.unflatten(1, (2, 3)).softmax(1), "2 in 3, 3"),
    # Nothing treats heads as such here, so all 720 orders would do: these are fewer.
    "heads turned": (lambda h: h.reshape(3, 2, 3).transpose(1, 2), "2, 3"),
    "nested": (lambda h: h.reshape(3, 3, 2).mean(2), "3, 2 in 3"),
    # The columns that read copies of one unit may be exchanged too.
    "repeated": (lambda h: h.repeat(1, 2), "6, 2 in 6"),
    "repeated one by one": (lambda h: h.repeat_interleave(2, 1), "6, 2 in 6"),
    "expanded": (lambda h: h[:, None].expand(-1, 3, -1), "6, 3 in 6"),
    "squeezed": (lambda h: h[:, None, :, None].squeeze(), "6"),
    "moved": (lambda h: h[..., None].movedim(1, -1).permute(2, 1, 0).swapaxes(0, 2), "6"),
    # Products
    "gram matrix": (lambda h: (h @ h.T) @ h, "6"),
    "einsum": (lambda h: torch.einsum("ni,nj->nij", h, h), "6"),
    "einsum diagonal": (lambda h: torch.einsum("ni,ni->n", h, h)[:, None] * h, "6"),
    "einsum, no arrow": (lambda h: torch.einsum("ni,im", h, h.new_ones(6, 2)), ""),
    "with ones": (lambda h: h @ h.new_ones(6, 2), "6, 2"),
    "outer": (lambda h: (h[:, :, None] * h[:, None, :]).flatten(1), "6"),
    "bilinear": (lambda h: torch.baddbmm(h[:, None], h[:, None], eye(h).expand(3, 6, 6)), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_stay_and_no_permutation_is_missed(case):
    function, expected = CASES[case]
    network = randomised(Between(function), 0)
    assert sizes(derive_specification(network, X)) == expected
    before = outputs(network, (X,))
    for seed in range(3 if expected else 0):
        other, _ = permuted_copy(network, X, seed)
        torch.testing.assert_close(outputs(other, (X,)), before, rtol=1e-11, atol=1e-12)


def symmetries(function):
    """Return the orders of hidden units that some order of the next layer's columns makes up."""
    h = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = {tuple(column.tolist()) for column in function(h).flatten(1).round(decimals=9).T}
    found = set()
    for order in itertools.permutations(range(6)):
        after = function(h[:, list(order)]).flatten(1).round(decimals=9).T
        if {tuple(column.tolist()) for column in after} == before:
            found.add(order)
    return found


@pytest.mark.parametrize(
    ("case", "n"),
    [
        ("relu", 720),
        ("group norm", 2 * 6**2),
        ("cumulative", 1),
        ("halves", 2 * 24),
        ("heads", 2 * 6**2),
        ("heads mixed", 6 * 2**3),
        ("nested", 6 * 2**3),
        ("gated", 6),
        ("outer", 720),
        ("put into zeros", 720),
    ],
)
def test_derived_are_all_that_there_are(case, n):
    function, _ = CASES[case]
    assert len(symmetries(function)) == n
    network = randomised(Between(function), 0)
    specification = derive_specification(network, X)
    marks = {"one.bias": torch.arange(6.0)}
    state = network.state_dict() | marks
    found = set()
    generator = torch.Generator().manual_seed(0)
    for _ in range(n * 12 if specification.groups else 1):  # each is missed with chance e^-12
        moved = specification.permute(state, specification.random(generator))
        found.add(tuple(int(i) for i in moved["one.bias"]))
    assert found == symmetries(function)


def test_every_rule_names_an_operation_of_torch():
    unknown = [name for name in axis_rules.RULES if not hasattr(torch.ops.aten, name)]
    assert unknown == []


def test_an_operation_without_a_rule_is_named():
    specification = derive_specification(Between(lambda h: h.sort(1)[0]), X)
    assert "sort: no rule says how it treats permutations" in str(specification)
