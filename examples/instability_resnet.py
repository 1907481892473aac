"""A residual network with BatchNorm: instability with running statistics interpolated or anew."""

import math

import torch
from torch import nn
from torch.nn import functional

from sidle import training
from sidle.data import images
from sidle.lmc import instability

STEPS, STOP, WARM_UP = [0, 30], 120, 10
(x, y), test = (
    (torch.from_numpy(part.pixels / 255).float().permute(0, 3, 1, 2), torch.from_numpy(part.labels))
    for part in images.digits()
)


class Residual(nn.Module):
    """Two convolutions with BatchNorm around which the input passes by."""

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, h):
        return functional.relu(h + self.body(h))


def network():
    stem = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    head = [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)]
    return nn.Sequential(*stem, Residual(8), Residual(8), *head)


def rate(i):
    """Learning rate at step i: a warm-up, then half a cosine down to 0."""
    return min((i + 1) / WARM_UP, 1) * 0.1 * (1 + math.cos(math.pi * i / STOP))


def train(state, start, stop, seed):
    model = network()
    model.load_state_dict(state["model"])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate(0), momentum=0.9)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    batches = training.minibatches((x, y), 32, seed=seed)
    model.train()
    for i in range(start, stop):
        rows, labels = batches(i)
        optimizer.param_groups[0]["lr"] = rate(i)
        optimizer.zero_grad()
        functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


table = instability(
    network, train, test, steps=STEPS, stop=STOP, batch_norm="both", calibration=x, points=11
)
print("  k   statistics     error barrier   loss barrier   test error")
for pair in table.pairs:
    found = pair.compared.main.barrier
    for policy, barrier in {"interpolated": found, **found.by_policy}.items():
        print(
            f"{pair.k:3}   {policy:12}   {barrier.barrier:13.2%}   "
            f"{barrier.loss_barrier:7.3f} nats   {pair.compared.main.error:10.2%}"
        )
