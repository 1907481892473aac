"""A study small enough to run in a test: two arms of a random walk, several seeds.

Arm "up" gains 1 a step, arm "flat" nothing; both share the seed's noise.
"""

import time
from dataclasses import asdict, dataclass

import torch

from sidle import seeding, training
from sidle.studies.study import Cell, Claim, Figure, Paper, Study


@dataclass(frozen=True)
class Settings:
    """Settings of the toy."""

    seeds: int = 5
    """Number of seeds."""
    n_steps: int = 4
    """Steps of the walk."""
    pause: float = 0.0
    """Seconds a step sleeps."""
    failing_seed: int = -1
    """The seed whose cells raise an error."""


def cells(settings):
    values = asdict(settings)
    seeds = range(values.pop("seeds"))
    return [
        Cell(f"{arm}-seed{s}", {"arm": arm, **values}, s) for s in seeds for arm in ("up", "flat")
    ]


class Walk(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("position", torch.zeros(()))


def run_cell(cell, run):
    settings = cell.settings
    if cell.seed == settings["failing_seed"]:
        raise ValueError("this seed fails on purpose")
    walk = Walk()
    noise = seeding.torch_generator(seeding.split(cell.seed, "noise"))

    def step(_):
        time.sleep(settings["pause"])
        walk.position += (settings["arm"] == "up") + 0.1 * torch.randn((), generator=noise)
        return {"position": walk.position}

    state = {"walk": walk, "noise": noise}
    training.fit(
        step, lambda i: i, settings["n_steps"], state=state, run=run, checkpoint_every=0.05
    )
    return {"position": walk.position.item(), "threads": torch.get_num_threads()}


def differences(records):
    found = {(record["arm"], record.cell.seed): record["position"] for record in records}
    return {s: found["up", s] - found["flat", s] for arm, s in found if arm == "up"}


def figures(records):
    data = [
        {
            "type": "scatter",
            "x": [r.cell.seed for r in records],
            "y": [r["position"] for r in records],
        }
    ]
    return [Figure("walk", "Walk", "Where each walk ended.", {"data": data, "layout": {}})]


STUDY = Study(
    name="toy",
    module="programs.toy_study",
    title="A toy",
    overview="Two arms of a random walk.",
    paper=Paper("On toys", "A. Author", 1999, "https://example.org"),
    data="Random walks (synthetic).",
    version=1,
    presets={"quick": Settings(), "standard": Settings(seeds=6)},
    cells=cells,
    run_cell=run_cell,
    figures=figures,
    claims=[
        Claim("up-goes-up", "Up goes up.", "p. 1", "up minus flat", "steps", 1.0, differences),
        Claim("up-flies", "Up flies.", "p. 2", "up minus flat", "steps", 100.0, differences),
    ],
)
