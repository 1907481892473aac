"""Study: when does training settle on one valley, and why can some sparse networks be trained?

Kinds of cells (`sidle.studies.connectivity_cells` computes them), for each task (a network on a
set of images, `sidle.studies.connectivity_tasks`) and each seed (an initialisation):
- *dense*: the instability of the whole network at several k, on test and training images, with
  BatchNorm statistics interpolated and estimated anew;
- *tickets*: iterative magnitude pruning with rewinding to one k; instability and error of the
  subnetwork of every round, and of controls that are as sparse.

Letters: k = the step at which copies are made, or to which tickets are rewound; T = the last step.
References: [LMC] Frankle, Dziugaite, Roy, Carbin 2020, arXiv:1912.05671. [RENDA] Renda, Frankle,
Carbin 2020, arXiv:2003.02389. [MISS] Frankle, Dziugaite, Roy, Carbin 2021, arXiv:2009.08576.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sidle.errors import ArgumentError
from sidle.studies import connectivity_figures
from sidle.studies.connectivity_cells import run_cell
from sidle.studies.connectivity_claims import CLAIMS
from sidle.studies.connectivity_tasks import TASKS, digest
from sidle.studies.study import Cell, Paper, Study

_CONTROLS = ("random", "reinitialised", "snip", "magnitude")
_REWINDS = ("weights", "learning_rate")


@dataclass(frozen=True)
class Settings:
    """Settings of the study `connectivity`."""

    seeds: int = 5
    """Number of seeds, each another initialisation; a verdict takes five."""
    easy: tuple[str, ...] = ("lenet-fashion",)
    """Tasks that the paper finds stable from the start."""
    hard: tuple[str, ...] = ("resnet-cifar10",)
    """Tasks that it finds unstable at the start; the claims are about the first of each."""
    copies: int = 2
    """Copies (orders of the data) from each k; n of them make n (n - 1) / 2 pairs."""
    easy_shares: tuple[float, ...] = (0.0, 0.02, 0.2)
    """Where copies of easy dense networks are made, as shares of training."""
    shares: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
    """Where copies of hard dense networks are made."""
    schedule_reset: bool = False
    """Also train copies from k for T steps as if from step 0."""
    easy_rewinds: tuple[float, ...] = (0.0,)
    """Steps that easy tickets are rewound to, as shares of training."""
    rewinds: tuple[float, ...] = (0.0, 0.02, 0.1)
    """Steps that hard tickets are rewound to."""
    learning_rate_rewinds: tuple[float, ...] = ()
    """Steps that the learning rate alone is rewound to, the weights staying as trained."""
    rounds: int = 4
    """Rounds of pruning."""
    fraction: float = 0.75
    """Share of the remaining weights that each round prunes; the paper's 0.2 at full."""
    controls: tuple[str, ...] = ("random", "reinitialised")
    """What tickets are compared with: random, reinitialised, snip, magnitude."""
    control_rounds: tuple[int, ...] = (2,)
    """Rounds whose tickets have controls; at the last step of ``rewinds``."""
    train_images: int = 10_000
    """Images to train on, at most; 0 takes all."""
    path_images: int = 2000
    """Test images to measure paths on, at most; 0 takes all."""
    path_train_images: int = 1000
    """Training images to measure paths on, at most; 0 takes all."""
    points: int = 30
    """Points of a path."""
    device: str = "cpu"
    """Where to train and measure: cpu, cuda."""

    def __post_init__(self) -> None:
        for name in ("easy", "hard"):
            if unknown := [task for task in getattr(self, name) if task not in TASKS]:
                raise ArgumentError(
                    f"{name}: expected some of {', '.join(TASKS)}, got {unknown[0]!r}."
                )
        if set(self.easy) & set(self.hard):
            raise ArgumentError(f"easy and hard: the task {self.easy[0]!r} is in both.")
        for name in (
            "easy_shares", "shares", "easy_rewinds", "rewinds", "learning_rate_rewinds",
        ):  # fmt: skip
            values = getattr(self, name)
            if len(set(values)) < len(values) or not all(0 <= value < 1 for value in values):
                raise ArgumentError(
                    f"{name}: expected different numbers in [0, 1), got {list(values)}."
                )
        if not self.shares or not self.easy_shares:
            raise ArgumentError("shares and easy_shares: expected at least one number in each.")
        if self.copies < 2 or self.points < 3:
            raise ArgumentError(
                f"copies must be at least 2 and points at least 3, got {self.copies} and "
                f"{self.points}."
            )
        if not 0 < self.fraction < 1 or self.rounds < 1:
            raise ArgumentError(
                f"fraction must lie in (0, 1) and rounds be at least 1, got {self.fraction} and "
                f"{self.rounds}."
            )
        if not set(self.controls) <= set(_CONTROLS):
            raise ArgumentError(
                f"controls: expected some of {', '.join(_CONTROLS)}, got {list(self.controls)}."
            )
        if not all(1 <= number <= self.rounds for number in self.control_rounds):
            raise ArgumentError(
                f"control_rounds: expected rounds from 1 to {self.rounds}, got "
                f"{list(self.control_rounds)}."
            )
        for name in ("train_images", "path_images", "path_train_images"):
            if (images := getattr(self, name)) < 0 or images == 1:
                raise ArgumentError(f"{name}: expected 0 (all) or at least 2, got {images}.")


_PAPER_SHARES = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.015, 0.03, 0.1, 0.2, 0.5)
_FULL = Settings(
    easy=("lenet-fashion",),
    hard=("resnet-cifar10", "resnet-fashion", "vgg-cifar10", "vgg-fashion"),
    copies=3,
    easy_shares=(0.0, 0.01, 0.05, 0.2, 0.5),
    shares=(0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    schedule_reset=True,
    easy_rewinds=(0.0, 0.1),
    rewinds=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2),
    learning_rate_rewinds=(0.1,),
    rounds=16,
    fraction=0.2,
    controls=_CONTROLS,
    control_rounds=(4, 8, 12, 16),
    train_images=0,
    path_images=0,
    path_train_images=10_000,
)
PRESETS = {
    "quick": Settings(
        easy=("lenet-digits",),
        hard=("resnet-digits",),
        easy_shares=(0.0, 0.2),
        shares=(0.0, 0.2),
        rewinds=(0.0, 0.2),
        rounds=2,
        fraction=0.6,
        controls=("random",),
        train_images=0,
        path_images=0,
        path_train_images=450,
        points=15,
    ),
    "standard": Settings(),
    "full": _FULL,
    "paper": dataclasses.replace(
        _FULL,
        seeds=3,
        easy=("lenet-paper",),
        hard=(
            "resnet-20-paper",
            "resnet-20-low-paper",
            "resnet-20-warmup-paper",
            "vgg-16-paper",
            "vgg-16-low-paper",
            "vgg-16-warmup-paper",
        ),
        easy_shares=_PAPER_SHARES,
        shares=_PAPER_SHARES,
        easy_rewinds=_PAPER_SHARES,
        rewinds=_PAPER_SHARES,
        rounds=20,
        device="cuda",
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed."""
    digests = {name: digest(TASKS[name].dataset) for name in (*settings.hard, *settings.easy)}
    return [
        cell
        for seed in range(settings.seeds)
        for name in digests
        for cell in _of_task(settings, name, digests[name], seed)
    ]


def _of_task(settings: Settings, name: str, data: str, seed: int) -> list[Cell]:
    task, easy = TASKS[name], name in settings.easy
    common = {
        "name": name,
        "group": "easy" if easy else "hard",
        "task": dataclasses.asdict(task) | {"drops": list(task.drops)},
        **_part(settings, *_COMMON),
    }
    shares = settings.easy_shares if easy else settings.shares
    part = {"shares": list(shares), **_part(settings, "schedule_reset")}
    found = [Cell(f"{name}-dense-seed{seed}", {"kind": "dense", **common, **part}, seed, data)]
    rewinds = settings.easy_rewinds if easy else settings.rewinds
    plans = [("weights", share) for share in rewinds]
    if not easy:
        plans += [("learning_rate", share) for share in settings.learning_rate_rewinds]
    for rewind, share in plans:
        # Controls at one step only: that at which tickets are most stable.
        compared = rewind == "weights" and share == max(rewinds)
        part = {
            "share": share,
            "rewind": rewind,
            **_part(settings, "rounds", "fraction"),
            "controls": list(settings.controls) if compared else [],
            "control_rounds": list(settings.control_rounds) if compared else [],
        }
        words = "tickets" if rewind == "weights" else "learning-rate-tickets"
        label = f"{name}-{words}-at-{share:g}-seed{seed}"
        found.append(Cell(label, {"kind": "tickets", **common, **part}, seed, data))
    return found


_COMMON = ("copies", "train_images", "path_images", "path_train_images", "points", "device")


def _part(settings: Settings, *names: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


STUDY = Study(
    name="connectivity",
    module=__name__,
    title="Linear mode connectivity and lottery tickets",
    overview=(
        "Train a network for k steps, copy it, and train the copies to the end with the data in "
        "different orders. If the error does not rise on the straight line between the weights of "
        "the two, training had settled by step k: the network was stable to the noise of SGD. The "
        "paper finds that larger networks are unstable at the start and settle early in training, "
        "and that sparse subnetworks train to full accuracy only from a k at which they are "
        "stable.\n\n"
        "Here dense networks are copied at several k, and subnetworks found by pruning in rounds "
        "are rewound to several k and compared with controls. Readers objected that stability and "
        "accuracy may both just improve with training; so their link is also measured with k held "
        "fixed, over sparsity, and loss stands beside error."
    ),
    paper=Paper(
        "Linear Mode Connectivity and the Lottery Ticket Hypothesis",
        "Jonathan Frankle, Gintare Karolina Dziugaite, Daniel M. Roy, Michael Carbin",
        2020,
        "https://arxiv.org/abs/1912.05671",
    ),
    data=(
        "Fashion-MNIST and CIFAR-10 (real; 10,000 training images at standard), MNIST at paper, "
        "and at quick the 1,797 images of handwritten digits that come with scikit-learn (real)."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=connectivity_figures.figures,
    claims=CLAIMS,
)
