"""From which step on is the training of an MLP stable, dense and as a lottery ticket?"""

import torch
from torch import nn
from torch.nn import functional

from sidle import seeding, training
from sidle.data import images
from sidle.lmc import Mask, instability, iterative

STEPS, STOP = [0, 30], 150
(x, y), test = (
    (torch.from_numpy(part.pixels / 255).float().flatten(1), torch.from_numpy(part.labels))
    for part in images.digits()
)


def network():
    return nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))


def train(state, start, stop, seed, mask=None):
    """Train from step ``start`` to step ``stop``; the order of the data comes from ``seed``."""
    model = network()
    model.load_state_dict(state["model"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    if mask is not None:
        mask.hold(model, optimizer)
    batches = training.minibatches((x, y), 32, seed=seed)
    for i in range(start, stop):
        rows, labels = batches(i)
        optimizer.zero_grad()
        functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


with seeding.scope(seeding.split(0, "initialisation")):
    initial = {"model": network().state_dict()}

# For each k, a ticket: halve what remains four times, and rewind to step k.
tickets = {}
for k in STEPS:
    *_, last = iterative(
        train, initial, Mask.ones(network()), stop=STOP, rounds=4, fraction=0.5, rewind_step=k
    )
    tickets[k] = last.mask

print("          k   instability   test error   L2 distance   labels differ")
for name, mask in (("dense", None), ("ticket", tickets)):
    table = instability(network, train, test, steps=STEPS, stop=STOP, copies=3, mask=mask)
    for mean in table.means():
        print(
            f"{name:7} {mean.k:3}   {mean.instability:11.2%}   {mean.error:10.2%}   "
            f"{mean.l2_distance:11.2f}   {mean.disagreement:13.2%}"
        )
    print(f"stable (below 2 %) from step {table.stable_from()}, weights kept: {mean.density:.1%}\n")
