"""A training whose outcome is a sum of its steps, so that all that follows from it is known.

As a program, it analyses the instability of that training in a folder:

    python -m programs.summed_training FOLDER LOG [DIES_AT] [--together 2]

LOG gets one line for each stretch that is begun. The process kills itself in the middle of the
stretch with which LOG reaches DIES_AT lines. With --together, it waits for that many processes.
"""

import argparse
import functools
import os
import signal
import time
from pathlib import Path

import torch
from torch import nn

from lmc.closed_forms import Place
from sidle import seeding
from sidle.lmc import instability

DATA = torch.zeros(4), torch.zeros(4, dtype=torch.long)
STEPS, STOP, COPIES = [0, 3, 6], 8, 3


def place():
    """Return a network at a random place of the plane."""
    return Place(*torch.randn(2).tolist())


def step_of(seed, i):
    """Return step i of a training with this seed."""
    return torch.randn(2, generator=seeding.torch_generator(seeding.split(seed, "step", i)))


def walk(state, start, stop, seed, mask=None, *, log=None, dies_at=None):
    """Add the steps; the state counts those that were done since it was last made anew."""
    if log is not None:
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{start} {stop} {seed}\n")
        if dies_at is not None and len(Path(log).read_text().splitlines()) >= dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
    weights = state["model"]["weights"]
    for i in range(start, stop):
        weights = weights + step_of(seed, i)
    if mask is not None:
        weights = weights * mask["weights"]
    return {"model": {"weights": weights}, "done": state.get("done", 0) + stop - start}


def deep():
    """Return a network of 80 tensors."""
    return nn.Sequential(*(nn.Linear(2, 2) for _ in range(40)))


def scatter(state, start, stop, seed, mask=None):
    """Add random steps to every tensor of a network."""
    weights = state["model"]
    for i in range(start, stop):
        generator = seeding.torch_generator(seeding.split(seed, "step", i))
        weights = {
            name: tensor + torch.randn(tensor.shape, generator=generator)
            for name, tensor in weights.items()
        }
    return {"model": weights if mask is None else mask.apply(weights)}


def main():
    """Analyse in a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("dies_at", type=int, nargs="?")
    parser.add_argument("--together", type=int, default=1)
    asked = parser.parse_args()
    (asked.log.parent / f"ready-{os.getpid()}").touch()
    while len(list(asked.log.parent.glob("ready-*"))) < asked.together:
        time.sleep(0.01)
    table = instability(
        place,
        functools.partial(walk, log=asked.log, dies_at=asked.dies_at),
        DATA,
        steps=STEPS,
        stop=STOP,
        copies=COPIES,
        folder=asked.folder,
        check=False,
    )
    print([pair.compared.l2_distance for pair in table.pairs])


if __name__ == "__main__":
    main()
