"""Study: what variational bounds of mutual information can and cannot say (Poole et al. 2019).

Kinds of cells (`sidle.studies.mutual_information_cells` computes them):
- *staircase*: critics are trained while the information of correlated Gaussians rises in steps,
  and each bound is read on fresh batches at the end of each step, beside it with the exact critic,
  which no training can improve; a cell holds ten seeds, trained side by side;
- *critic*: the critic that InfoNCE learns, against the exact log density ratio;
- *sandwich*: lower and upper bound with a known p(y | x), without any training;
- *negatives*: what an embedding keeps, by what it had to be told apart from;
- *task*: the forty tasks of "Beyond Normal", against nearest neighbours and canonical correlations,
  and how often the confidence bound holds;
- *rows*, *processing*, *additivity*: real images; do estimates behave where the truth is unknown?

References: [VBMI] Poole et al. 2019, arXiv:1905.06922. [CPC] van den Oord et al. 2018,
arXiv:1807.03748. [SMILE] Song & Ermon 2020, arXiv:1910.06222. [BN] Czyz et al. 2023,
arXiv:2306.11078.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any

from sidle import storage
from sidle.data import images
from sidle.errors import ArgumentError
from sidle.mi.beyond_normal import BEYOND_NORMAL
from sidle.mi.guarantees import BOUNDS
from sidle.studies import mutual_information_figures
from sidle.studies.mutual_information_cells import ROW_QUARTERS, run_cell
from sidle.studies.mutual_information_claims import CLAIMS
from sidle.studies.study import Cell, Paper, Study

SEEDS_SIDE_BY_SIDE = 10  # in a staircase cell


@dataclass(frozen=True)
class Settings:
    """Settings of the study `mutual-information`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five. Staircases come ten seeds at a time."""
    bounds: tuple[str, ...] = ("infonce", "nwj", "js", "dv")
    """Bounds to train on the staircase; the claims need infonce, nwj and js."""
    alphas: tuple[float, ...] = (0.01, 0.1, 0.5)
    """Interpolated bounds to train on the staircase."""
    transforms: tuple[str, ...] = ("cubic",)
    """Maps of y on the staircase, besides none: cubic, full-rank-cubic."""
    transformed_bounds: tuple[str, ...] = ("infonce",)
    """Bounds to train on them. NWJ and its kin diverge on the heavy tails of cubes."""
    dim: int = 20
    """Dimensions of x and of y on the staircase."""
    levels: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    """Mutual information of each stair, in nats."""
    steps_per_level: int = 2000
    """Training steps on each stair; the paper's 4,000 at full."""
    batch_size: int = 64
    """Pairs in a batch, K: InfoNCE cannot exceed log K."""
    hidden: int = 256
    """Width of the critics' hidden layers."""
    layers: int = 2
    """Hidden layers of the critics."""
    learning_rate: float = 5e-4
    """Learning rate of Adam."""
    read_batches: int = 1000
    """Fresh batches on which each bound is read at the end of a stair."""
    critic_dim: int = 2
    """Dimensions of x and of y for the learned critic."""
    critic_nats: float = 2.0
    """Mutual information for the learned critic, in nats."""
    critic_steps: int = 10_000
    """Training steps of the learned critic."""
    sandwich_nats: float = 4.0
    """Mutual information between the two structured bounds, in nats."""
    sandwich_sizes: tuple[int, ...] = (4, 16, 64, 256, 1024)
    """Batch sizes at which they are read."""
    sandwich_pairs: int = 16_384
    """Pairs they are read on, at each batch size."""
    negatives_batch_size: int = 64
    """Pairs in a batch of halves of digits."""
    negatives_steps: int = 1500
    """Training steps on halves of digits."""
    tasks: int = 40
    """How many of the forty tasks, the first ones."""
    task_pairs: int = 2000
    """Pairs to estimate a task from."""
    task_bounds: tuple[str, ...] = ("infonce", "nwj")
    """Bounds to read on the tasks; the claims need infonce."""
    redraws: int = 500
    """Fresh test samples for the coverage of the confidence bound."""
    datasets: tuple[str, ...] = ("digits",)
    """Images: digits, fashion_mnist, cifar10."""
    rows_bounds: tuple[str, ...] = ("infonce", "smile")
    """Bounds to read on images; the claims need both."""
    rows_noise: tuple[float, ...] = (0.0, 96.0)
    """Standard deviations of the noise through which rows are seen, in grey levels (0 to 255).
    Without noise the rows nearly name the image, and InfoNCE is at its ceiling from the start."""
    rows_batch_size: int = 128
    """Pairs in a batch of images."""
    rows_steps: int = 1000
    """Training steps on the images."""
    image_rows: int = 5000
    """Images of each set, at most."""

    def __post_init__(self) -> None:
        known = [name for name, bound in BOUNDS.items() if not bound.density]
        for name in ("bounds", "transformed_bounds", "task_bounds"):
            values = getattr(self, name)
            if not values or not set(values) <= set(known):
                raise ArgumentError(
                    f"{name}: expected some of {', '.join(known)}, got {list(values)}."
                )
        if not self.rows_bounds or not set(self.rows_bounds) <= set(BOUNDS):
            raise ArgumentError(
                f"rows_bounds: expected some of {', '.join(BOUNDS)}, got {list(self.rows_bounds)}."
            )
        if not set(self.datasets) <= set(ROW_QUARTERS):
            raise ArgumentError(
                f"datasets: expected some of {', '.join(ROW_QUARTERS)}, got {list(self.datasets)}."
            )
        if not all(0 <= alpha <= 1 for alpha in self.alphas):
            raise ArgumentError(f"alphas: must lie in [0, 1], got {list(self.alphas)}.")
        if not set(self.transforms) <= {"cubic", "full-rank-cubic"}:
            raise ArgumentError(
                f"transforms: expected some of cubic, full-rank-cubic, got {list(self.transforms)}."
            )
        if len(self.levels) < 2 or not self.rows_noise or min(self.rows_noise) < 0:
            raise ArgumentError(
                "levels needs at least two values, rows_noise at least one, none negative; got "
                f"{self.levels} and {self.rows_noise}."
            )
        if not 0 <= self.tasks <= len(BEYOND_NORMAL) or min(self.sandwich_sizes, default=0) < 2:
            raise ArgumentError(
                f"tasks must lie in [0, {len(BEYOND_NORMAL)}] and sandwich_sizes be at least 2, "
                f"got {self.tasks} and {self.sandwich_sizes}."
            )


PRESETS = {
    "quick": Settings(
        alphas=(0.01, 0.5),
        transforms=(),
        steps_per_level=200,
        hidden=128,
        layers=1,
        learning_rate=1e-3,
        read_batches=100,
        critic_steps=1500,
        sandwich_pairs=2048,
        negatives_steps=300,
        tasks=2,
        task_pairs=1000,
        task_bounds=("infonce",),
        redraws=50,
        rows_noise=(96.0,),
        rows_steps=200,
    ),
    "standard": Settings(),
    "full": Settings(
        seeds=10,
        steps_per_level=4000,
        bounds=("infonce", "nwj", "js", "dv", "tuba", "mine", "flo"),
        alphas=(0.001, 0.01, 0.1, 0.5, 0.9),
        transforms=("cubic", "full-rank-cubic"),
        transformed_bounds=("infonce", "js"),
        task_bounds=("infonce", "nwj", "js", "tuba", "interpolated", "flo", "dv", "mine", "smile"),
        datasets=("digits", "fashion_mnist", "cifar10"),
        rows_bounds=("infonce", "smile", "nwj", "dv"),
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed; staircases stand with the first of their ten."""
    digests = {name: _digest(name) for name in settings.datasets}
    digits = _digest("digits")
    found = []
    for seed in range(settings.seeds):
        if seed % SEEDS_SIDE_BY_SIDE == 0:
            found += _staircases(settings, seed)
        found += [
            Cell(f"{name}-seed{seed}", {"kind": name, **part}, seed)
            for name, part in (
                ("critic", _part(settings, *_CRITIC, *_LEARNED, "batch_size")),
                ("sandwich", _part(settings, "dim", *_SANDWICH)),
            )
        ]
        part = _part(settings, "hidden", "learning_rate", *_NEGATIVES)
        for negatives in ("all classes", "same class"):
            label = f"negatives-{negatives.replace(' ', '-')}-seed{seed}"
            which = {"kind": "negatives", "negatives": negatives}
            found.append(Cell(label, which | part, seed, digits))
        part = _part(settings, *_TASK)
        for task in list(BEYOND_NORMAL)[: settings.tasks]:
            which = {"kind": "task", "task": task}
            found.append(Cell(f"task-{task}-seed{seed}", which | part, seed))
        for dataset, digest in digests.items():
            found += _image_cells(settings, dataset, digest, seed)
    return found


def _staircases(settings: Settings, first: int) -> list[Cell]:
    part = _part(settings, *_CRITIC, *_STAIRCASE)
    seeds = list(range(first, first + SEEDS_SIDE_BY_SIDE))
    kinds: list[tuple[str, str, float | None]] = [
        (bound, "none", None) for bound in settings.bounds
    ]
    kinds += [
        (bound, transform, None)
        for bound in settings.transformed_bounds
        for transform in settings.transforms
    ]
    kinds += [("interpolated", "none", alpha) for alpha in settings.alphas]
    found = []
    for bound, transform, alpha in kinds:
        which = {"kind": "staircase", "bound": bound, "transform": transform, "alpha": alpha}
        words = [bound]
        words += [f"alpha{alpha:g}"] if alpha is not None else []
        words += [transform] if transform != "none" else []
        label = f"staircase-{'-'.join(words)}-seeds{seeds[0]}to{seeds[-1]}"
        found.append(Cell(label, which | {"seeds": seeds} | part, first))
    return found


def _image_cells(settings: Settings, dataset: str, digest: str, seed: int) -> list[Cell]:
    """Return the cells of one set of images: top rows, and what must follow from them."""
    part = _part(settings, *_ROWS)
    quarter = ROW_QUARTERS[dataset]
    most = max(settings.rows_noise)
    every: list[tuple[str, str, int, float, bool]] = [
        # Without noise InfoNCE alone, to show that it sits at its ceiling.
        ("rows", bound, k * quarter, noise, True)
        for bound, noise, k in itertools.product(
            settings.rows_bounds, settings.rows_noise, (1, 2, 3, 4)
        )
        if noise == most or bound == settings.rows_bounds[0]
    ]
    for bound in settings.rows_bounds:
        every += [
            ("processing", bound, 2 * quarter, most, True),
            ("additivity", bound, 2 * quarter, most, True),
        ]
    every.append(("rows", settings.rows_bounds[0], 4 * quarter, most, False))
    found = []
    for kind, bound, rows, noise, paired in every:
        name = f"{kind}-{rows}-noise{noise:g}" if paired else "control"
        which = {"kind": kind, "dataset": dataset, "bound": bound, "rows": rows, "noise": noise}
        label = f"{dataset}-{bound}-{name}-seed{seed}"
        found.append(Cell(label, which | {"paired": paired} | part, seed, digest))
    return found


_CRITIC = ("hidden", "layers", "learning_rate")
_STAIRCASE = ("dim", "levels", "steps_per_level", "batch_size", "read_batches")
_LEARNED = ("critic_dim", "critic_nats", "critic_steps")
_SANDWICH = ("sandwich_nats", "sandwich_sizes", "sandwich_pairs")
_NEGATIVES = ("negatives_batch_size", "negatives_steps")
_TASK = ("task_pairs", "task_bounds", "redraws")
_ROWS = ("rows_batch_size", "rows_steps", "image_rows")


def _part(settings: Settings, *names: str) -> dict[str, Any]:
    values = dataclasses.asdict(settings)
    return {
        name: list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in names
    }


def _digest(dataset: str) -> str:
    return storage.digest(*(part.digest() for part in images.load(dataset)))


STUDY = Study(
    name="mutual-information",
    module=__name__,
    title="Variational bounds of mutual information",
    overview=(
        "How much do two things say about each other? Variational bounds answer from samples, by "
        "training a critic that tells pairs that belong together from pairs that do not. The paper "
        "lays out their trade-off: a bound has low variance and a ceiling, or no ceiling and a "
        "variance that grows with the very information it measures.\n\n"
        "Here the bounds climb the paper's staircase of Gaussians with known information; the "
        "learned critic is held against the exact one, the estimates against nearest neighbours "
        "and canonical correlations on other people's forty problems; and real images test whether "
        "estimates behave where the truth is unknown."
    ),
    paper=Paper(
        "On Variational Bounds of Mutual Information",
        "Ben Poole, Sherjil Ozair, Aäron van den Oord, Alexander A. Alemi, George Tucker",
        2019,
        "https://arxiv.org/abs/1905.06922",
    ),
    data=(
        "Correlated Gaussians and the forty tasks of Beyond Normal, with known information "
        "(synthetic); the 1,797 images of handwritten digits that come with scikit-learn, and at "
        "full Fashion-MNIST and CIFAR-10 (real)."
    ),
    version=2,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=mutual_information_figures.figures,
    claims=CLAIMS,
)
