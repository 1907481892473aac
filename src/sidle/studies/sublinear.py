"""Study: can very wide layers be trained by looking at few of their outputs (SLIDE)?

Kinds of cells (`sidle.studies.sublinear_cells` computes them):
- *race*: networks that differ in which outputs they look at are trained in turns on the same
  batches; accuracy against the time of each. Groups: *methods*; *sets*, by the number of outputs
  that a sample looks at; *schedules*, by when hash tables are brought up to date;
- *late*: after training with uniform pools, what would hash tables find? Then training goes on in
  several ways;
- *outputs*: the time of a step against the number of outputs;
- *density*: the time of a step against the share of features that are not zero.

References: [S] Chen, Medini, Farwell, Gobriel, Tai & Shrivastava 2020, arXiv:1903.03129.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sidle.errors import ArgumentError
from sidle.studies import sublinear_figures
from sidle.studies.study import Cell, Paper, Study
from sidle.studies.sublinear_cells import run_cell
from sidle.studies.sublinear_claims import CLAIMS
from sidle.studies.sublinear_networks import METHODS
from sidle.studies.sublinear_problems import PLANS, check, digest


@dataclass(frozen=True)
class Settings:
    """Settings of the study `sublinear`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five."""
    problems: tuple[str, ...] = ("xc_finna_yso", "xc_delicious")
    """What to train on; the claims about accuracy are about the first."""
    train_rows: int = 0
    """Rows to train on, at most; 0 takes all."""
    test_rows: int = 2000
    """Rows to test on, at most."""
    methods: tuple[str, ...] = (
        "dense", "hashed", "mixed", "uniform", "popular", "pool", "pool-hashed", "pool-popular",
    )  # fmt: skip
    """Who races; see the module `sublinear_networks`."""
    epochs: tuple[float, ...] = (2.0, 4.0)
    """Passes over the training rows, one number a problem."""
    tests: int = 6
    """How often networks are tested, the end included."""
    set_methods: tuple[str, ...] = ("hashed", "mixed", "uniform")
    """Who is compared at several sizes of sets."""
    set_sizes: tuple[int, ...] = (8, 30, 100)
    """Outputs that a sample looks at beside its labels, there."""
    set_epochs: float = 1.0
    """Passes over the training rows, there."""
    schedules: tuple[str, ...] = ("hashed", "hashed-fixed", "hashed-drift", "hashed-never")
    """Schedules of rebuilding that are compared."""
    epochs_before: float = 1.5
    """Passes with uniform pools, before it is looked what tables would find."""
    epochs_after: float = 0.5
    """Passes after that."""
    late_methods: tuple[str, ...] = ("hashed", "mixed", "uniform")
    """Ways to go on then."""
    late_active: int = 30
    """Outputs that a sample looks at then."""
    probed_rows: int = 500
    """Test rows on which it is looked what tables find."""
    probed_active: int = 100
    """Outputs that they may return for a row."""
    searched: int = 250
    """Outputs that they may return when the best five are searched."""
    tables: int = 24
    """Hash tables."""
    rebuild_every: int = 50
    """Steps between the first two times that tables are brought up to date."""
    growth: float = 0.1
    """Of these gaps, where they grow."""
    outputs: tuple[int, ...] = (1000, 4000, 16_000, 64_000, 256_000, 1_000_000, 2_000_000)
    """Numbers of outputs at which steps are timed."""
    largest_dense: int = 256_000
    """The most at which the dense network is timed."""
    output_methods: tuple[str, ...] = ("dense", "pool", "uniform", "hashed")
    """What is timed there."""
    densities: tuple[float, ...] = (0.001, 0.01, 0.1, 1.0)
    """Shares of features that are not zero at which steps are timed."""
    density_outputs: int = 32_000
    """Outputs there."""
    density_features: int = 16_000
    """Features there."""
    timed_hidden: int = 64
    """Hidden units where steps are timed."""
    timed_batch: int = 128
    """Rows of a step there; the paper's."""
    timed_active: int = 250
    """Outputs that a sample looks at there."""
    timed_pool: int = 2000
    """Outputs that a batch looks at there."""
    timed_steps: int = 7
    """Steps that are timed, of each network in turn; the median counts."""

    def __post_init__(self) -> None:
        for name in self.problems:
            check(name)
        if not self.problems or len(self.epochs) != len(self.problems):
            raise ArgumentError(
                f"epochs: expected one number a problem, got {len(self.epochs)} for "
                f"{len(self.problems)} problems."
            )
        for field in ("methods", "set_methods", "schedules", "late_methods", "output_methods"):
            if unknown := [name for name in getattr(self, field) if name not in METHODS]:
                raise ArgumentError(
                    f"{field}: expected some of {', '.join(METHODS)}, got '{unknown[0]}'."
                )
        if unable := {*self.late_methods} & {"dense", "matrix", "popular", "pool-popular"}:
            raise ArgumentError(
                f"late_methods: '{unable.pop()}' cannot go on from a pool; choose others."
            )
        if not all(0 < density <= 1 for density in self.densities):
            raise ArgumentError(
                f"densities: expected numbers in (0, 1], got {list(self.densities)}."
            )
        for field, least in _LEAST.items():
            values = getattr(self, field)
            values = values if isinstance(values, tuple) else (values,)
            if not all(value >= least for value in values):
                raise ArgumentError(f"{field}: expected at least {least:g}, got {values}.")


_LEAST = {
    "train_rows": 0, "test_rows": 10, "probed_rows": 10, "tests": 1, "set_sizes": 1,
    "epochs": 1e-3, "set_epochs": 1e-3, "epochs_before": 1e-3, "epochs_after": 1e-3,
    "late_active": 1, "probed_active": 1, "searched": 5, "tables": 1, "rebuild_every": 1,
    "growth": 0, "outputs": 2, "density_outputs": 2, "density_features": 1, "timed_hidden": 1,
    "timed_batch": 1, "timed_active": 1, "timed_pool": 1, "timed_steps": 1,
}  # fmt: skip

_FULL = Settings(
    problems=("xc_finna_yso", "xc_delicious", "power-law-50k", "python", "power-law-670k"),
    test_rows=10_000,
    epochs=(4.0, 20.0, 3.0, 1.0, 1.0),
    set_methods=("hashed", "mixed", "uniform", "popular"),
    set_sizes=(8, 30, 100, 400, 1600),
    set_epochs=2.0,
    probed_rows=2000,
    largest_dense=2_000_000,
    timed_steps=15,
)
PRESETS = {
    "quick": Settings(
        problems=("python-small",),
        train_rows=16_000,
        test_rows=1000,
        methods=("dense", "hashed", "mixed", "uniform", "pool", "pool-hashed"),
        epochs=(1.0,),
        tests=3,
        set_methods=("mixed", "uniform"),
        set_sizes=(10,),
        schedules=("hashed", "hashed-fixed"),
        epochs_before=0.8,
        epochs_after=0.2,
        late_methods=("mixed", "uniform"),
        probed_rows=200,
        outputs=(1000, 8000, 64_000),
        largest_dense=64_000,
        output_methods=("dense", "pool", "hashed"),
        densities=(0.002, 1.0),
        density_outputs=8000,
        density_features=2000,
        timed_steps=3,
    ),
    "standard": Settings(),
    "full": _FULL,
    # 128 hidden units, batches of 128 and 256, and the paper's tables are in the plans and here.
    "paper": dataclasses.replace(
        _FULL,
        seeds=3,
        problems=("power-law-670k",),
        epochs=(3.0,),
        methods=("dense", "hashed", "pool-popular"),
        tables=50,
        timed_hidden=128,
    ),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs, seed by seed."""
    digests = {name: digest(name, settings.train_rows) for name in settings.problems}
    return [
        cell
        for seed in range(settings.seeds)
        for cell in (
            *_speeds(settings, seed),
            *(cell for name in settings.problems for cell in _races(settings, name, digests, seed)),
        )
    ]


def _races(settings: Settings, name: str, digests: dict[str, str], seed: int) -> list[Cell]:
    common = {
        "problem": name,
        "plan": dataclasses.asdict(PLANS[name]),
        "hashing": _hashing(settings),
        **{key: getattr(settings, key) for key in ("train_rows", "test_rows", "tests")},
    }
    epochs = settings.epochs[settings.problems.index(name)]
    groups: dict[str, dict[str, dict[str, Any]]] = {
        "methods": {method: {"method": method} for method in settings.methods}
    }
    # What asks for many networks is asked of the first problem alone.
    if name == settings.problems[0]:
        groups["sets"] = {
            f"{method}-{size}": {"method": method, "active": size}
            for size in settings.set_sizes
            for method in settings.set_methods
        }
        groups["schedules"] = {method: {"method": method} for method in settings.schedules}
    found = [
        Cell(
            f"{name}-{group}-seed{seed}",
            {
                "kind": "race", "group": group, "contestants": entered, **common,
                "epochs": settings.set_epochs if group == "sets" else epochs,
            },
            seed,
            digests[name],
        )
        for group, entered in groups.items()
        if entered
    ]  # fmt: skip
    if name == settings.problems[0] and settings.late_methods:
        late = {
            "contestants": {
                method: {"method": method, "active": settings.late_active}
                for method in settings.late_methods
            },
            **_part(settings, "epochs_before", "epochs_after", "probed_rows", "probed_active"),
            **_part(settings, "searched"),
        }
        cell = {"kind": "late", "group": "late", **common, **late}
        found.append(Cell(f"{name}-late-seed{seed}", cell, seed, digests[name]))
    return found


def _speeds(settings: Settings, seed: int) -> list[Cell]:
    common = {
        "hidden": settings.timed_hidden,
        "batch_size": settings.timed_batch,
        "active": settings.timed_active,
        "pool": settings.timed_pool,
        "timed_steps": settings.timed_steps,
        "hashing": _hashing(settings),
        "rate": 0.001,
    }
    wide = {"features": 2000, "non_zeros": 10, "methods": list(settings.output_methods)}
    found = [
        Cell(
            f"outputs-{size}-seed{seed}",
            {
                "kind": "outputs", "outputs": size, "largest": settings.largest_dense, **wide,
                **common,
            },
            seed,
        )
        for size in settings.outputs
    ]  # fmt: skip
    features = settings.density_features
    return found + [
        Cell(
            f"density-{density:g}-seed{seed}",
            {
                "kind": "density", "density": density, "features": features,
                "non_zeros": max(1, round(density * features)),
                "outputs": settings.density_outputs, "methods": ["dense", "matrix", "pool"],
                **common,
            },
            seed,
        )
        for density in settings.densities
    ]  # fmt: skip


def _hashing(settings: Settings) -> dict[str, Any]:
    return {
        "n_tables": settings.tables,
        "every": settings.rebuild_every,
        "growth": settings.growth,
    }


def _part(settings: Settings, *names: str) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


STUDY = Study(
    name="sublinear",
    module=__name__,
    title="Training very wide layers by looking at few outputs",
    overview=(
        "SLIDE keeps the outputs of a wide layer in hash tables. For each sample it computes only "
        "those that the tables return for it, under 0.5 % of all, updates only those, and brings "
        "the tables up to date ever more rarely. The paper finds that this reaches the accuracy of "
        "dense training in a fraction of the time.\n\n"
        "Here networks that differ in nothing but the outputs they look at take turns on the same "
        "batches: all outputs; those of hash tables; uniform ones, weighted so that the sum over "
        "all outputs is estimated without bias; popular ones; sets of each sample's own, or pools "
        "shared by a batch. What do hash tables add over chance, and when? How does the time of a "
        "step grow with the number of outputs, and what becomes of the gain when features are "
        "not sparse?"
    ),
    paper=Paper(
        "SLIDE: In Defense of Smart Algorithms over Hardware Acceleration for Large-Scale Deep "
        "Learning Systems",
        "Beidi Chen, Tharun Medini, James Farwell, Sameh Gobriel, Charlie Tai, "
        "Anshumali Shrivastava",
        2020,
        "https://arxiv.org/abs/1903.03129",
    ),
    data=(
        "Subjects of books from their titles (xc_finna_yso, 22,078 labels, real) and xc_delicious "
        "(983 labels, real) at standard; at quick the next token of the Python standard library's "
        "source (26,000 distinct tokens, real); at full also synthetic rows of the size of "
        "Amazon-670K (synthetic). Steps are timed on random rows (synthetic)."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=sublinear_figures.figures,
    claims=CLAIMS,
)
