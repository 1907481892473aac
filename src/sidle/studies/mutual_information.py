"""Study: what variational bounds of mutual information can and cannot say (Poole et al. 2019).

Three kinds of cells, several seeds each:
- *staircase*: a critic is trained while the information of correlated Gaussians rises in steps,
  and each bound is read on fresh batches at the end of each step; beside it, the same bounds with
  the exact critic, which no training can improve;
- *critic*: the critic that InfoNCE learns, against the exact log density ratio;
- *digits*: real images; the information between an image and its own top rows, as they are and
  seen through noise, and between an image and the top rows of another one (a control whose truth
  is zero).

References: [VBMI] Poole et al. 2019, arXiv:1905.06922. [CPC] van den Oord et al. 2018,
arXiv:1807.03748. [SMILE] Song & Ermon 2020, arXiv:1910.06222.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sidle import seeding, storage, training
from sidle.data import images
from sidle.errors import ArgumentError
from sidle.mi.guarantees import BOUNDS
from sidle.mi.critics import SeparableCritic
from sidle.mi.estimate import estimate
from sidle.mi.problems import CorrelatedGaussians, Staircase
from sidle.runs import Run
from sidle.studies import mutual_information_figures
from sidle.studies.study import Cell, Claim, Paper, Record, Study, select

CURVE_POINTS = 50  # points of a training curve kept as evidence
SCATTER_POINTS = 150  # pairs of scores kept as evidence


@dataclass(frozen=True)
class Settings:
    """Settings of the study `mutual-information`."""

    seeds: int = 5
    """Number of seeds; a verdict takes five."""
    bounds: tuple[str, ...] = ("infonce", "nwj", "dv", "js")
    """Bounds to compare; the claims need infonce and nwj."""
    dim: int = 20
    """Dimensions of x and of y on the staircase."""
    levels: tuple[float, ...] = (2.0, 4.0, 6.0, 8.0, 10.0)
    """Mutual information of each stair, in nats."""
    steps_per_level: int = 4000
    """Training steps on each stair."""
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
    rows: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    """How many top rows of a digit go with the whole digit."""
    rows_noise: tuple[float, ...] = (0.0, 96.0)
    """Standard deviations of the noise through which the rows are seen, in grey levels (0 to 255).
    Without noise the rows nearly name the image, and InfoNCE is at its ceiling from the start."""
    rows_batch_size: int = 128
    """Pairs in a batch of digits."""
    rows_steps: int = 1500
    """Training steps on the digits."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.bounds) - set(BOUNDS))
        if unknown or not self.bounds:
            raise ArgumentError(f"bounds: expected some of {', '.join(BOUNDS)}, got {unknown}.")
        if not self.rows or not set(self.rows) <= set(range(1, 9)):
            raise ArgumentError(f"rows: a digit has rows 1 to 8, got {self.rows}.")
        if len(self.levels) < 2 or not self.rows_noise or min(self.rows_noise) < 0:
            raise ArgumentError(
                "levels needs at least two values, rows_noise at least one, none negative; got "
                f"{self.levels} and {self.rows_noise}."
            )


PRESETS = {
    "quick": Settings(
        steps_per_level=300,
        hidden=128,
        layers=1,
        learning_rate=1e-3,
        read_batches=400,
        critic_steps=2000,
        rows=(1, 2, 4, 8),
        rows_steps=300,
    ),
    "standard": Settings(),
}


def cells(settings: Settings) -> list[Cell]:
    """Return the independent jobs: per seed one staircase a bound, one critic, the digits."""
    critic = _part(settings, "hidden", "layers", "learning_rate")
    staircase = critic | _part(
        settings, "dim", "levels", "steps_per_level", "batch_size", "read_batches"
    )
    learned = critic | _part(settings, "critic_dim", "critic_nats", "critic_steps", "batch_size")
    digits = _part(settings, "rows_batch_size", "rows_steps")
    digest = storage.digest(*(part.digest() for part in images.digits()))
    found = []
    for seed in range(settings.seeds):
        for bound in settings.bounds:
            part = {"kind": "staircase", "bound": bound, **staircase}
            found.append(Cell(f"staircase-{bound}-seed{seed}", part, seed))
        found.append(Cell(f"critic-seed{seed}", {"kind": "critic", **learned}, seed))
        for rows, noise in itertools.product(settings.rows, settings.rows_noise):
            part = {"kind": "digits", "rows": rows, "noise": noise, "paired": True, **digits}
            found.append(Cell(f"digits-{rows}-rows-noise{noise:g}-seed{seed}", part, seed, digest))
        rows, noise = max(settings.rows), max(settings.rows_noise)
        part = {"kind": "digits", "rows": rows, "noise": noise, "paired": False, **digits}
        found.append(Cell(f"digits-control-seed{seed}", part, seed, digest))
    return found


def run_cell(cell: Cell, run: Run) -> dict[str, Any]:
    """Compute one cell."""
    return {"staircase": climb, "critic": learn_critic, "digits": read_digits}[
        cell.settings["kind"]
    ](cell, run)


def climb(cell: Cell, run: Run) -> dict[str, Any]:
    """Train up the staircase; read the bound at the end of each stair, also with exact scores.

    Returns:
        ``mean`` and ``deviation`` (standard deviation over batches) of the bound in nats, one
        entry a stair; ``exact_mean`` and ``exact_deviation`` with the exact critic; ``curve``, the
        bound on training batches, averaged over equal parts of the training.
    """
    settings = cell.settings
    bound = BOUNDS[settings["bound"]]
    batch_size, read_batches = settings["batch_size"], settings["read_batches"]
    staircase = Staircase(settings["dim"], tuple(settings["levels"]), settings["steps_per_level"])
    critic, optimizer = _critic(settings["dim"], settings)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = seeding.torch_generator(seeding.split(cell.seed, "batch", step))
        return staircase.at(step).sample(batch_size, generator)

    def step(pair: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        optimizer.zero_grad()
        scores_BB = critic(*pair)
        loss = -bound.objective(scores_BB)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            return {"loss": loss, "nats": bound.value(scores_BB)}

    def read(number: int) -> dict[str, float]:
        problem = staircase.at(number - 1)
        generator = seeding.torch_generator(seeding.split(cell.seed, "read", number))
        learned, exact = torch.zeros(read_batches), torch.zeros(read_batches)
        with torch.no_grad():
            for i in range(read_batches):
                x_BD, y_BD = problem.sample(batch_size, generator)
                learned[i] = bound.value(critic(x_BD, y_BD))
                exact[i] = bound.value(problem.log_ratio(x_BD, y_BD) + bound.shift)
        return {
            "mean": learned.mean().item(),
            "deviation": learned.std().item(),
            "exact_mean": exact.mean().item(),
            "exact_deviation": exact.std().item(),
        }

    records = training.fit(
        step,
        batch,
        staircase.n_steps,
        state={"critic": critic, "optimizer": optimizer},
        run=run,
        evaluate=read,
        evaluate_every=staircase.steps_per_level,
        description=cell.label,
    )
    stairs = [record for record in records if "mean" in record]
    names = ("mean", "deviation", "exact_mean", "exact_deviation")
    nats = np.array([record["nats"] for record in records])
    curve = [round(float(part.mean()), 3) for part in np.array_split(nats, CURVE_POINTS)]
    return {name: [stair[name] for stair in stairs] for name in names} | {"curve": curve}


def learn_critic(cell: Cell, run: Run) -> dict[str, Any]:
    """Train with InfoNCE and compare the scores with the exact log density ratio.

    Returns:
        ``r_squared``: share of the variance of the exact log ratio that the learned scores
        explain, after the mean over y has been taken off both for each x (InfoNCE leaves a
        function of x free); ``r_squared_raw`` without that; ``r_squared_untrained`` of the same
        network before training; ``learned`` and ``exact``, some of the centred pairs.
    """
    settings = cell.settings
    problem = CorrelatedGaussians(settings["critic_dim"], settings["critic_nats"])
    critic, optimizer = _critic(settings["critic_dim"], settings)
    infonce = BOUNDS["infonce"].objective
    generator = seeding.torch_generator(seeding.split(cell.seed, "test"))
    x_ND, y_ND = problem.sample(1000, generator)
    exact_NN = problem.log_ratio(x_ND, y_ND)

    def scores() -> Tensor:
        with torch.no_grad():
            learned: Tensor = critic(x_ND, y_ND)
            return learned

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = seeding.torch_generator(seeding.split(cell.seed, "batch", step))
        return problem.sample(settings["batch_size"], generator)

    untrained_NN = scores()
    training.fit(
        training.supervised(critic, optimizer, lambda module, pair: -infonce(module(*pair))),
        batch,
        settings["critic_steps"],
        state={"critic": critic, "optimizer": optimizer},
        run=run,
        description=cell.label,
    )
    learned_NN = scores()
    pairs = torch.randint(1000, (2, SCATTER_POINTS), generator=generator)
    return {
        "r_squared": _r_squared(_centred(learned_NN), _centred(exact_NN)),
        "r_squared_raw": _r_squared(learned_NN, exact_NN),
        "r_squared_untrained": _r_squared(_centred(untrained_NN), _centred(exact_NN)),
        "learned": [round(v, 3) for v in _centred(learned_NN)[pairs[0], pairs[1]].tolist()],
        "exact": [round(v, 3) for v in _centred(exact_NN)[pairs[0], pairs[1]].tolist()],
    }


def read_digits(cell: Cell, run: Run) -> dict[str, Any]:
    """Estimate the information between digits and top rows: their own, or another's.

    Returns:
        ``nats``, the InfoNCE estimate on held-out digits, and its ``ceiling``.
    """
    settings = cell.settings
    both = images.digits()
    pixels = np.concatenate([part.pixels[..., 0] for part in both]).astype(np.float32)
    generator = seeding.numpy_generator(seeding.split(cell.seed, "view"))
    noise = generator.standard_normal(pixels.shape, dtype=np.float32)
    seen = pixels if settings["paired"] else generator.permutation(pixels)
    top = (seen + settings["noise"] * noise)[:, : settings["rows"]]
    found = estimate(
        pixels.reshape(len(pixels), -1),
        top.reshape(len(pixels), -1),
        bound="infonce",
        batch_size=settings["rows_batch_size"],
        n_steps=settings["rows_steps"],
        seed=cell.seed,
        run=run,
    )
    return {"nats": found.nats, "ceiling": found.ceiling}


def share_of_ceiling(records: Sequence[Record]) -> dict[int, float]:
    """InfoNCE at the highest stair over log K, by seed."""
    return {
        record.cell.seed: record["mean"][-1] / math.log(record["batch_size"])
        for record in select(records, kind="staircase", bound="infonce")
    }


def deviation_ratio(records: Sequence[Record]) -> dict[int, float]:
    """Log of NWJ's over InfoNCE's standard deviation at the highest stair, by seed."""
    infonce = {
        r.cell.seed: r["deviation"][-1] for r in select(records, kind="staircase", bound="infonce")
    }
    return {
        record.cell.seed: math.log(record["deviation"][-1] / infonce[record.cell.seed])
        for record in select(records, kind="staircase", bound="nwj")
        if record.cell.seed in infonce
    }


def variance_growth(records: Sequence[Record], name: str = "deviation") -> dict[int, float]:
    """Least-squares slope of log variance of NWJ against the information, by seed."""
    return {
        record.cell.seed: float(np.polyfit(record["levels"], 2 * np.log(record[name]), 1)[0])
        for record in select(records, kind="staircase", bound="nwj")
    }


def exact_variance_growth(records: Sequence[Record]) -> dict[int, float]:
    """`variance_growth` with the exact critic."""
    return variance_growth(records, "exact_deviation")


def critic_fit(records: Sequence[Record]) -> dict[int, float]:
    """R squared of the centred InfoNCE critic against the exact log ratio, by seed."""
    return {r.cell.seed: r["r_squared"] for r in select(records, kind="critic")}


def growth_with_rows(records: Sequence[Record]) -> dict[int, float]:
    """Spearman's rank correlation of rows seen through the most noise and estimate, by seed."""
    from scipy.stats import spearmanr

    found: dict[int, list[tuple[int, float]]] = {}
    for record in select(_noisiest(records), paired=True):
        found.setdefault(record.cell.seed, []).append((record["rows"], record["nats"]))
    return {
        seed: float(spearmanr(*zip(*pairs, strict=True)).statistic)
        for seed, pairs in found.items()
        if len(pairs) > 1
    }


def gap_to_control(records: Sequence[Record]) -> dict[int, float]:
    """Estimate with an image's own top rows minus that with another's, by seed."""
    digits = _noisiest(records)
    control = {r.cell.seed: (r["rows"], r["nats"]) for r in digits if not r["paired"]}
    return {
        record.cell.seed: record["nats"] - control[record.cell.seed][1]
        for record in digits
        if record["paired"]
        and record.cell.seed in control
        and record["rows"] == control[record.cell.seed][0]
    }


CLAIMS = (
    Claim(
        id="infonce-saturates",
        sentence="InfoNCE saturates at log K, however large the information is.",
        source="[VBMI] section 2.3 and figure 2",
        effect="InfoNCE at the highest stair, over log K (never above 1)",
        unit="share",
        margin=0.9,
        differences=share_of_ceiling,
    ),
    Claim(
        id="infonce-low-variance",
        sentence="Where the information is high, InfoNCE varies much less than NWJ.",
        source="[VBMI] figure 2",
        effect="log(standard deviation of NWJ / of InfoNCE) over batches, highest stair",
        unit="log ratio",
        margin=math.log(2),
        differences=deviation_ratio,
    ),
    Claim(
        id="nwj-variance-grows",
        sentence="The variance of NWJ grows with the information.",
        source="[VBMI] section 2.2 and figure 2",
        effect="slope of log variance over batches against I, trained critic",
        unit="per nat",
        margin=0.1,
        differences=variance_growth,
    ),
    Claim(
        id="nwj-variance-grows-exact-critic",
        sentence="The variance of NWJ grows with the information even with the best critic.",
        source="[VBMI] section 2.2",
        effect="slope of log variance over batches against I, exact critic",
        unit="per nat",
        margin=0.1,
        differences=exact_variance_growth,
    ),
    Claim(
        id="optimal-infonce-critic",
        sentence="The optimal InfoNCE critic is log p(x|z)/p(x) up to a function of one argument.",
        source="[CPC] section 2.3; [VBMI] section 2.3",
        effect="R squared of learned and exact log ratio, both centred over that argument",
        unit="share",
        margin=0.9,
        differences=critic_fit,
    ),
    Claim(
        id="information-grows-with-rows",
        sentence="The information between a real image and its top t rows grows with t.",
        source="[SMILE], self-consistency tests (rows seen through noise are ours)",
        effect="rank correlation of t and the estimate, rows seen through noise",
        unit="Spearman's rho",
        margin=0.8,
        differences=growth_with_rows,
    ),
    Claim(
        id="no-information-in-other-images",
        sentence="The rows of another image say nothing, and the estimate says so.",
        source="a control of ours",
        effect="estimate with an image's own rows minus with another's",
        unit="nats",
        margin=1.0,
        differences=gap_to_control,
    ),
)


def _part(settings: Settings, *names: str) -> dict[str, Any]:
    values = dataclasses.asdict(settings)
    return {
        name: list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in names
    }


def _critic(dim: int, settings: Mapping[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make a critic and its optimiser; parameters come from the seeded global generator."""
    critic = SeparableCritic(dim, dim, hidden=settings["hidden"], layers=settings["layers"])
    return critic, torch.optim.Adam(critic.parameters(), lr=settings["learning_rate"])


def _centred(scores_NN: Tensor) -> Tensor:
    """Take the mean over y off each row: what is left ignores any function of x alone."""
    return scores_NN - scores_NN.mean(dim=1, keepdim=True)


def _r_squared(a_NN: Tensor, b_NN: Tensor) -> float:
    both = torch.stack([a_NN.flatten(), b_NN.flatten()]).double()
    return float(torch.corrcoef(both)[0, 1] ** 2)


def _noisiest(records: Sequence[Record]) -> list[Record]:
    digits = select(records, kind="digits")
    most = max((record["noise"] for record in digits), default=0.0)
    return select(digits, noise=most)


STUDY = Study(
    name="mutual-information",
    module=__name__,
    title="Variational bounds of mutual information",
    overview=(
        "How much do two things say about each other? Variational bounds answer from samples, by "
        "training a critic that tells pairs that belong together from pairs that do not. The paper "
        "lays out their trade-off: a bound has low variance and a ceiling, or no ceiling and a "
        "variance that grows with the very information it measures.\n\n"
        "Here the bounds climb the paper's staircase of Gaussians with known information, the "
        "learned critic is held against the exact one, and real images test whether the estimate "
        "behaves where the truth is unknown."
    ),
    paper=Paper(
        "On Variational Bounds of Mutual Information",
        "Ben Poole, Sherjil Ozair, Aäron van den Oord, Alexander A. Alemi, George Tucker",
        2019,
        "https://arxiv.org/abs/1905.06922",
    ),
    data=(
        "Correlated Gaussians with known information (synthetic), and the 1,797 images of "
        "handwritten digits that come with scikit-learn (real)."
    ),
    version=1,
    presets=PRESETS,
    cells=cells,
    run_cell=run_cell,
    figures=mutual_information_figures.figures,
    claims=CLAIMS,
)
