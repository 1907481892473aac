"""Find a winning ticket in a network that reads digits, and see that it is no accident."""

import torch
from torch import nn
from torch.nn import functional

from sidle import seeding, training
from sidle.data import images
from sidle.lmc import Mask, compacted, compare_speed, control, iterative

STEPS, ROUNDS, REWIND_STEP = 300, 9, 15
train_images, test_images = images.digits()
(x, y), (x_test, y_test) = (
    (torch.from_numpy(part.pixels / 255).float().flatten(1), torch.from_numpy(part.labels))
    for part in (train_images, test_images)
)


def network():
    return nn.Sequential(
        nn.Linear(64, 150), nn.ReLU(), nn.Linear(150, 50), nn.ReLU(), nn.Linear(50, 10)
    )


def train(state, start, stop, seed, mask=None):
    """Train from step ``start`` to step ``stop``; all that is random comes from ``seed``."""
    model = network()
    model.load_state_dict(state["model"])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    if mask is not None:
        mask.hold(model, optimizer)
    batches = training.minibatches((x, y), 64, seed=seed)
    for i in range(start, stop):
        rows, labels = batches(i)
        optimizer.zero_grad()
        functional.cross_entropy(model(rows), labels).backward()
        optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def evaluate(state):
    model = network()
    model.load_state_dict(state["model"])
    return {"error": (model(x_test).argmax(1) != y_test).float().mean().item()}


with seeding.scope(seeding.split(0, "initialisation")):
    initial = {"model": network().state_dict()}

for found in iterative(
    train,
    initial,
    Mask.ones(network()),
    stop=STEPS,
    rounds=ROUNDS,
    fraction=0.3,
    rewind_step=REWIND_STEP,
    evaluate_fn=evaluate,
):
    print(f"{found.density:6.1%} of the weights   {found.metrics['error']:5.1%} test error")

print("\nas sparse as the last ticket, but")
for kind in ("random", "reinitialised", "magnitude", "snip"):
    other = control(found, train, kind, seed=1, model_fn=network, data=(x, y), evaluate_fn=evaluate)
    print(f"{kind:14} {other.metrics['error']:5.1%} test error")

dense = network()
dense.load_state_dict(found.trained["model"])
print(f"\n{compare_speed(dense, compacted(dense), x_test)}")
