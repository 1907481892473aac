"""Study: does keeping only what is needed make a classifier robust?

Kinds of cells (`sidle.studies.bottleneck_cells` computes them), for each task, method and seed:
- *method*: train a network by the method and put it to every test: accuracy, rate and residual
  information, calibration, outliers, attacks by the paper's protocol and adaptive ones with the
  masking audit beside, corruptions;
- *random-labels*: train it on labels drawn at random; how many does it learn?

Methods (`sidle.studies.bottleneck_tasks`): ``deterministic``, ``label-smoothing``, ``vib-BETA``,
``ceb-RHO``, ``consistent-RHO`` (CEB whose classifier is made of its backward encoder),
``adversarial-linf`` and ``adversarial-l2``. Vocabulary: R = the rate, an upper bound on I(X; Z);
Re = residual information, an upper bound on I(X; Z | Y); C = classes.

References: [CEB1] Fischer 2020, doi:10.3390/e22090999. [CEB2] Fischer and Alemi 2020,
doi:10.3390/e22101081. [KOR] Korshunova et al. 2021, arXiv:2107.05712.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from sidle.errors import ArgumentError
from sidle.studies import bottleneck_figures
from sidle.studies.bottleneck_cells import run_cell
from sidle.studies.bottleneck_claims import CLAIMS
from sidle.studies.bottleneck_tasks import TASKS, Task, digest, fitting_outliers, method
from sidle.studies.study import Cell, Paper, Study

_SUITES = ("fast", "full")


@dataclass(frozen=True)
class Settings:
    """Settings of the study `bottleneck`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five."""
    tasks: tuple[str, ...] = ("fashion_mnist",)
    """Networks and their images; the claims are about the first."""
    methods: tuple[str, ...] = (
        "deterministic",
        "vib-0.119",
        "vib-0.01",
        "ceb-0",
        "ceb-2",
        "ceb-4.6",
        "adversarial-linf",
    )
    """What to train, as objective-knob."""
    random_label_methods: tuple[str, ...] = ("deterministic", "ceb-0", "ceb-4.6")
    """What to train on random labels too."""
    random_label_images: int = 1000
    """Images whose labels are drawn at random."""
    random_label_epochs: int = 60
    """Passes over them."""
    random_label_rate: float = 2e-3
    """Learning rate at the start, on random labels: at the task's own some deterministic networks
    learn nothing, at a quarter of it they do not come to the end (seeds 100 to 103)."""
    outliers: tuple[str, ...] = ("uniform", "flipped", "mnist")
    """Sets of outliers: uniform noise, flipped test images, or another data set by name, which is
    left out where its images have another shape than the task's."""
    train_images: int = 10_000
    """Images to train on, at most; 0 takes all."""
    test_images: int = 0
    """Test images for accuracy, calibration and outliers, at most; 0 takes all."""
    epoch_share: float = 1.0
    """Train for so many times the task's epochs."""
    curve_points: int = 15
    """Points of the curve of rate during training."""
    curve_images: int = 1000
    """Training images, and test images, that each of them is measured on."""
    samples: int = 8
    """Draws of z that a prediction is the mean of, also in the eyes of adaptive attacks."""
    suite: str = "fast"
    """Adaptive attacks: fast or full (sidle.evaluation.suites)."""
    attack_images: int = 200
    """Test images that are attacked."""
    audit_images: int = 50
    """How many of them the masking audit looks at."""
    paper_steps: int = 20
    """Steps of the paper's targeted PGD."""
    carlini_wagner_steps: int = 100
    """Steps of each of the three searches of Carlini-Wagner."""
    corruption_images: int = 500
    """Test images that are corrupted."""
    device: str = "cpu"
    """Where to train and measure: cpu, cuda."""

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise ArgumentError(
                f"tasks: expected some of {', '.join(TASKS)}, got {list(self.tasks)}."
            )
        if not self.methods:
            raise ArgumentError("methods: expected at least one, got none.")
        for name in (*self.methods, *self.random_label_methods):
            method(name)
        if self.suite not in _SUITES:
            raise ArgumentError(f"suite: expected fast or full, got {self.suite!r}.")
        if not self.outliers:
            raise ArgumentError("outliers: expected at least one set, got none.")
        for name in (
            "random_label_images", "random_label_epochs", "curve_points", "curve_images",
            "samples", "attack_images", "audit_images", "paper_steps", "carlini_wagner_steps",
            "corruption_images",
        ):  # fmt: skip
            if (value := getattr(self, name)) < 1:
                raise ArgumentError(f"{name}: expected at least 1, got {value}.")
        if self.random_label_rate <= 0:
            raise ArgumentError(
                f"random_label_rate: expected a number above 0, got {self.random_label_rate}."
            )
        for name in ("train_images", "test_images"):
            if (value := getattr(self, name)) < 0:
                raise ArgumentError(f"{name}: expected 0 (all) or more, got {value}.")
        if not 0 < self.epoch_share < math.inf:
            raise ArgumentError(f"epoch_share: expected a number above 0, got {self.epoch_share}.")


_ALL_METHODS = (
    "deterministic",
    "label-smoothing",
    *(f"vib-{beta}" for beta in ("0.5", "0.119", "0.047", "0.01")),
    *(f"ceb-{rho}" for rho in ("0", "1", "2", "3", "4.6")),
    *(f"consistent-{rho}" for rho in ("0", "2", "4.6")),
    "adversarial-linf",
    "adversarial-l2",
)
_FULL = Settings(
    tasks=("fashion_mnist", "cifar10"),
    methods=_ALL_METHODS,
    random_label_methods=("deterministic", "vib-0.5", "vib-0.01", "ceb-0", "ceb-2", "ceb-4.6"),
    random_label_epochs=150,
    train_images=0,
    # Of 60,000 images 24 passes leave the residual information of rho 1 at 0.2 nats, 60 at 0.07.
    epoch_share=2.5,
    curve_points=30,
    samples=16,
    suite="full",
    attack_images=100,
    audit_images=100,
    carlini_wagner_steps=1000,
    corruption_images=2000,
)
PRESETS = {
    "quick": Settings(
        seeds=2,
        tasks=("digits",),
        methods=("deterministic", "vib-0.119", "ceb-0", "ceb-2", "adversarial-linf"),
        random_label_methods=("deterministic", "ceb-0"),
        random_label_images=200,
        random_label_epochs=100,
        outliers=("uniform", "flipped"),
        train_images=0,
        epoch_share=0.6,
        curve_points=10,
        curve_images=200,
        samples=4,
        attack_images=40,
        audit_images=5,
        paper_steps=10,
        carlini_wagner_steps=100,
        corruption_images=100,
    ),
    "standard": Settings(),
    "full": _FULL,
    "paper": dataclasses.replace(
        _FULL,
        tasks=("cifar10-paper", "imagenet-paper"),
        epoch_share=1.0,
        outliers=("uniform", "flipped"),
        device="cuda",
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed."""
    found = []
    outliers = {name: fitting_outliers(TASKS[name], settings.outliers) for name in settings.tasks}
    digests = {name: digest(TASKS[name], outliers[name]) for name in settings.tasks}
    plain = {name: digest(TASKS[name], ()) for name in settings.tasks}
    for seed in range(settings.seeds):
        for name in settings.tasks:
            common = {"dataset": name, "task": _plain(TASKS[name]), "device": settings.device}
            for one in settings.methods:
                part = {
                    "method": dataclasses.asdict(method(one)),
                    "outlier_sets": list(outliers[name]),
                    **{field: getattr(settings, field) for field in _OF_METHODS},
                }
                label = f"{name}-{one}-seed{seed}"
                found.append(Cell(label, {"kind": "method", **common, **part}, seed, digests[name]))
            for one in settings.random_label_methods:
                part = {
                    "method": dataclasses.asdict(method(one)),
                    **{field: getattr(settings, field) for field in _OF_RANDOM_LABELS},
                }
                label = f"{name}-random-labels-{one}-seed{seed}"
                kind = {"kind": "random-labels"}
                found.append(Cell(label, {**kind, **common, **part}, seed, plain[name]))
    return found


_OF_METHODS = (
    "train_images", "test_images", "epoch_share", "curve_points", "curve_images", "samples",
    "suite", "attack_images", "audit_images", "paper_steps", "carlini_wagner_steps",
    "corruption_images",
)  # fmt: skip
_OF_RANDOM_LABELS = (
    "random_label_images", "random_label_epochs", "random_label_rate", "curve_points",
    "curve_images", "samples",
)  # fmt: skip


def _plain(task: Task) -> dict[str, Any]:
    values = dataclasses.asdict(task)
    return values | {name: list(values[name]) for name in ("widths", "strides")}


STUDY = Study(
    name="bottleneck",
    module=__name__,
    title="Keeping only what is needed: the Conditional Entropy Bottleneck",
    overview=(
        "A network that keeps of its input only what tells the classes apart should be better "
        "calibrated, notice inputs of another kind, resist attacks and refuse to learn labels that "
        "mean nothing. The Conditional Entropy Bottleneck (CEB) asks for that with one knob, rho; "
        "at rho 0 it aims at the point of minimum necessary information, where the representation "
        "holds exactly the information of the label. Two papers find that it works, and the second "
        "that lower rho is more robust.\n\n"
        "Others objected that such gains may be masked gradients: attacks fail because they are "
        "misled, not because the network is robust. So every network here is attacked twice, by "
        "the papers' protocol and by attacks that know it draws at random, in the worst case per "
        "image, with an audit for masked gradients beside. All methods have the same network, "
        "optimiser, schedule and budget of tuning."
    ),
    paper=Paper(
        "The Conditional Entropy Bottleneck",
        "Ian Fischer",
        2020,
        "https://doi.org/10.3390/e22090999",
    ),
    data=(
        "Fashion-MNIST (real; 10,000 training images at standard), with MNIST as outliers; "
        "CIFAR-10 too at full, and at quick the 1,797 images of handwritten digits that come with "
        "scikit-learn (real). Uniform noise and random labels are drawn, and called so."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=bottleneck_figures.figures,
    claims=CLAIMS,
    extras=("attacks",),
)
