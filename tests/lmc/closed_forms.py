"""Networks whose error and loss on every path are known, and small ones of each usual kind."""

import torch
from torch import nn


class Place(nn.Module):
    """A network that is a place in weight space: it returns its own weights, whatever the input."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, x):
        return self.weights.expand(len(x), -1)


def of_place(value):
    """Return the loss that gives every example ``value(weights)``."""
    return lambda outputs, y: value(outputs)


class Threshold(nn.Module):
    """Predicts 1 where x exceeds a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor([float(threshold)]))

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x - self.threshold], 1)


class Product(nn.Module):
    """Predicts 1 where u v x is positive: right for any u, v of one sign, blind at u = v = 0."""

    def __init__(self, u, v):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([float(u), float(v)]))

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), self.weights.prod() * x], 1)


def grid(n=1000):
    """Return n numbers evenly between -1 and 1, none of them 0, and whether each is positive."""
    x = (torch.arange(n) + 0.5) / n * 2 - 1
    return x, (x > 0).long()


def mlp(seed, *, batch_norm=False, dropout=0.0):
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(12) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Linear(6, 12), norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 3))


class Residual(nn.Module):
    """A convolutional network with BatchNorm and a skip connection, on images (N, 1, 8, 8)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = self.stem(x)
        return self.head(torch.relu(h + self.block(h)).mean((2, 3)))


class Transformer(nn.Module):
    """One layer of attention over tokens (N, 5), with LayerNorm and dropout."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(7, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.layer(self.embed(tokens)).mean(1))


class Recurrent(nn.Module):
    """An LSTM over sequences (N, 5, 6)."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """An autoencoder-like classifier whose two layers share one weight."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))[:, :3]


def examples(n=60, *shape, seed=0, tokens=0):
    """Return n random inputs of ``shape`` (or tokens below ``tokens``), and labels of 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    shape = shape or (6,)
    if tokens:
        x = torch.randint(tokens, (n, *shape), generator=generator)
    else:
        x = torch.randn(n, *shape, generator=generator)
    return x, torch.randint(3, (n,), generator=generator)


KINDS = {
    "mlp": (mlp, (6,), 0),
    "mlp with BatchNorm": (lambda seed: mlp(seed, batch_norm=True), (6,), 0),
    "residual with BatchNorm": (Residual, (1, 8, 8), 0),
    "transformer": (Transformer, (5,), 7),
    "recurrent": (Recurrent, (5, 6), 0),
    "tied weights": (Tied, (6,), 0),
}


def pair(kind, n=60):
    """Return two networks of a kind of `KINDS` that differ everywhere, and data for them."""
    build, shape, tokens = KINDS[kind]
    data = examples(n, *shape, tokens=tokens)
    networks = [build(seed) for seed in (0, 1)]
    for network in networks:
        network.train()
        with torch.no_grad():
            network(data[0])  # moves running statistics away from 0 and 1
        network.eval()
    return *networks, data
