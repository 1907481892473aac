"""Small networks of every kind that alignment must understand, and what may be permuted in each.

`ARCHITECTURES` maps a name to (factory, example inputs, sizes of the groups by hand; "3 in 2" are 3
units in each of 2). `randomised` makes statistics and scales of norms random too, so that no unit
is like another.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from sidle.lmc import derive_specification


def randomised(network, seed):
    """Give every parameter and statistic a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / max(tensor.ndim, 1))
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
    return network


def mlp():
    return nn.Sequential(
        nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout(0.3), nn.Linear(9, 7), nn.GELU(),
        nn.Linear(7, 3),
    )  # fmt: skip


def flattened():
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 8), nn.PReLU(8),
        nn.Linear(8, 3),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.short = nn.Sequential()
        if before != after:
            self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x):
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(h)) + self.short(x))


def residual():
    """Two stages: the stream of each is one group, every block has one within."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Block(4, 4, 1), Block(4, 4, 1),
        Block(4, 6, 2), Block(6, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


class ShortcutOfZeros(nn.Module):
    """A skip connection that subsamples and pads channels with zeros (ResNet's option A)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 8, 3, 2, 1)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        h = F.relu(self.stem(x))
        short = F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.out(F.relu(self.conv(h) + short).mean((2, 3)))


class Concatenated(nn.Module):
    """Two branches side by side, as in a DenseNet or an Inception network."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 5, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dense = nn.Conv2d(8, 4, 1)
        self.out = nn.Linear(12, 3)

    def forward(self, x):
        h = F.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        h = torch.cat([h, F.relu(self.dense(h))], 1)
        return self.out(h.mean((2, 3)))


def depthwise():
    """An expansion, a depthwise convolution, a projection: MobileNet's block."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 1), nn.ReLU6(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.BatchNorm2d(6),
        nn.Hardswish(), nn.Conv2d(6, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


def grouped():
    """A convolution in groups: channels are permuted in each, and groups as wholes."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2), nn.ReLU(),
        nn.Conv2d(8, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def group_norm():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.InstanceNorm2d(4),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def transposed():
    """An autoencoder of convolutions and their transposes."""
    return nn.Sequential(
        nn.Conv1d(2, 5, 3, 2), nn.Tanh(), nn.ConvTranspose1d(5, 4, 3, 2), nn.Tanh(),
        nn.ConvTranspose1d(4, 6, 1, groups=2), nn.SiLU(), nn.Conv1d(6, 2, 1),
    )  # fmt: skip


class Tied(nn.Module):
    """A word model whose output layer is its embedding, with a layer used twice between."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.twice = nn.Linear(6, 6)
        self.out = nn.Linear(6, 11)
        self.out.weight = self.embedding.weight

    def forward(self, words):
        h = self.embedding(words)
        return self.out(h + F.relu(self.twice(F.relu(self.twice(h)))))


class Transformer(nn.Module):
    """torch's own encoder layers over patches, with a class token and learned positions."""

    def __init__(self, norm_first=True):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.1, batch_first=True, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x_BLD):
        h = torch.cat([self.token.expand(len(x_BLD), -1, -1), self.embed(x_BLD)], 1)
        return self.head(self.norm(self.encoder(h + self.position))[:, 0])


class HandWritten(nn.Module):
    """Causal attention written out, query, key and value apart, with a gated feed-forward layer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.query, self.key = nn.Linear(8, 6, bias=False), nn.Linear(8, 6, bias=False)
        self.value, self.project = nn.Linear(8, 6, bias=False), nn.Linear(6, 8)
        self.norm = nn.RMSNorm(8)
        self.gate, self.up, self.down = nn.Linear(8, 10), nn.Linear(8, 10), nn.Linear(10, 8)
        self.out = nn.Linear(8, 4)

    def forward(self, words):
        h = self.embed(words)
        q, k, v = (
            layer(h).unflatten(-1, (2, 3)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-2, -1) / 3**0.5
        future = torch.ones(scores.shape[-2:]).triu(1).bool()
        scores = scores.masked_fill(future, float("-inf")).softmax(-1)
        h = h + self.project((scores @ v).transpose(1, 2).flatten(2))
        h = self.norm(h)
        return self.out(h + self.down(F.silu(self.gate(h)) * self.up(h)))


class Recurrent(nn.Module):
    """Two stacked recurrent layers, and a linear layer on the last output."""

    def __init__(self, kind, **settings):
        super().__init__()
        self.body = kind(4, 5, num_layers=2, batch_first=True, **settings)
        directions = 2 if settings.get("bidirectional") else 1
        self.out = nn.Linear(directions * (settings.get("proj_size") or 5), 3)

    def forward(self, x_BLD):
        return self.out(self.body(x_BLD)[0][:, -1])


class LastState(Recurrent):
    """The same, but it reads the last hidden state of the top layer."""

    def forward(self, x_BLD):
        return self.out(self.body(x_BLD)[1][-1])


class Cells(nn.Module):
    """An LSTM cell and a GRU cell, unrolled by hand."""

    def __init__(self):
        super().__init__()
        self.lstm, self.gru, self.out = nn.LSTMCell(4, 5), nn.GRUCell(5, 6), nn.Linear(6, 3)

    def forward(self, x_BLD):
        h = c = x_BLD.new_zeros(len(x_BLD), 5)
        top = x_BLD.new_zeros(len(x_BLD), 6)
        for x_BD in x_BLD.unbind(1):
            h, c = self.lstm(x_BD, (h, c))
            top = self.gru(h, top)
        return self.out(top)


def permuted_copy(network, example, seed=3):
    """Return a copy whose units are in a random order, and the permutations."""
    specification = derive_specification(network, example)
    permutations = specification.random(torch.Generator().manual_seed(seed))
    other = copy.deepcopy(network)
    other.load_state_dict(specification.permute(network.state_dict(), permutations))
    return other, permutations


def outputs(network, example):
    """Return all outputs in evaluation mode in one row, in float64."""
    network = copy.deepcopy(network).double().eval()
    example = [x.double() if x.is_floating_point() else x for x in example]
    with torch.no_grad():
        found = torch.utils._pytree.tree_leaves(network(*example))
    return torch.cat([part.flatten() for part in found])


def parametrized():
    """Weights that are computed from others: by weight and by spectral normalisation."""
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 5)), nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3),
    )  # fmt: skip


class Two(nn.Module):
    """Two inputs and two outputs; a layer that no output reads; a product of entries."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(4, 6), nn.Linear(3, 6)
        self.unused = nn.Linear(6, 2)
        self.mean, self.spread = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x, y):
        h = torch.tanh(self.one(x)) * torch.sigmoid(self.other(y))
        return {"mean": self.mean(h), "spread": F.softplus(self.spread(h))}


def _images(*shape):
    return (torch.randn(4, *shape, generator=torch.Generator().manual_seed(1)),)


_WORDS = (torch.arange(12).reshape(3, 4) * 7 % 11,)
_SEQUENCES = _images(6, 4)
_ENCODER = "8, 2, 4 in 2, 12, 2, 4 in 2, 12"

ARCHITECTURES = {
    "mlp": (mlp, _images(6), "9, 7"),
    "flattened": (flattened, _images(2, 6, 6), "5, 4, 8"),
    "residual": (residual, _images(3, 8, 8), "4, 4, 4, 6, 6, 6"),
    # The middle channels of the second layer are added to those of the first.
    "zeros": (ShortcutOfZeros, _images(2, 6, 6), "4, 2, 2"),
    "concatenated": (Concatenated, _images(2, 6, 6), "3, 5, 4"),
    "depthwise": (depthwise, _images(2, 6, 6), "6, 4"),
    "grouped": (grouped, _images(2, 6, 6), "2, 3 in 2, 4 in 2"),
    "group_norm": (group_norm, _images(2, 6, 6), "2, 3 in 2, 4"),
    "transposed": (transposed, _images(2, 9), "5, 2, 2 in 2, 3 in 2"),
    "tied": (Tied, _WORDS, "6"),
    # The stream; then heads, the values in each, and the hidden units of both layers.
    "transformer": (Transformer, _images(4, 5), _ENCODER),
    "post_norm": (lambda: Transformer(norm_first=False), _images(4, 5), _ENCODER),
    # Written apart, query and key have an order of their own in each head, and values another.
    "hand_written": (HandWritten, _WORDS, "8, 2, 3 in 2, 3 in 2, 10"),
    "rnn": (lambda: Recurrent(nn.RNN), _SEQUENCES, "5, 5"),
    "lstm": (lambda: Recurrent(nn.LSTM), _SEQUENCES, "5, 5"),
    "projected": (lambda: Recurrent(nn.LSTM, proj_size=3), _SEQUENCES, "5, 3, 5, 3"),
    "both_ways": (lambda: Recurrent(nn.GRU, bidirectional=True), _SEQUENCES, "5, 5, 5, 5"),
    # All layers' last states are one tensor.
    "last_state": (lambda: LastState(nn.LSTM), _SEQUENCES, "5"),
    "cells": (Cells, _SEQUENCES, "5, 6"),
    "parametrized": (parametrized, _images(6), "5, 4"),
    "two": (Two, (*_images(4), *_images(3)), "6"),
}

# One operation computes several layers: the lower ones' activations cannot be seen.
HIDDEN = ("rnn", "lstm", "projected", "both_ways")
