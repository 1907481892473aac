"""The vocabulary of a study: cells, records, claims, figures, and the study itself.

A study's cells are independent jobs (a seed and a setting each). A finished cell leaves a record.
Figures and claims are pure functions of the records, so that they can be made again at any time.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sidle import storage
from sidle.evaluation import statistics
from sidle.evaluation.statistics import Interval, Verdict
from sidle.runs import Identity, Run

PRESETS = ("quick", "standard", "full", "paper")


@dataclass(frozen=True)
class Cell:
    """One independent job of a study.

    Attributes:
        label: what it is, in a word or two, with the seed; fit for a file name.
        settings: every setting the result depends on, as JSON values.
        seed: the one integer from which its randomness is drawn.
        data_digest: digest of its data; empty if it draws its own.
    """

    label: str
    settings: Mapping[str, Any]
    seed: int
    data_digest: str = ""

    def identity(self, code_digest: str) -> Identity:
        """Return what makes its run folder this one and no other."""
        return Identity(self.settings, self.seed, self.data_digest, code_digest)

    def evidence_name(self, version: int) -> str:
        """Return the stem of its evidence file: named by settings, data and study version."""
        identity = Identity(self.settings, self.seed, self.data_digest, f"version {version}")
        return identity.folder_name(self.label)


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Attributes:
        cell: the job.
        result: the JSON values that it ended with.
        machine: where it was made (`provenance.machine`).
        seconds: wall-clock seconds it took.
        source: "run" if this working folder made it, "evidence" if a file brought it.
        other_code: whether sources have changed since it was made.
    """

    cell: Cell
    result: Mapping[str, Any]
    machine: Mapping[str, Any]
    seconds: float
    source: Literal["run", "evidence"]
    other_code: bool

    def __getitem__(self, name: str) -> Any:
        """Return a setting of the cell or an entry of its result, whichever has the name."""
        return self.cell.settings[name] if name in self.cell.settings else self.result[name]


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper, with how it is judged.

    Attributes:
        id: short name, unique in the study.
        sentence: the claim as the paper puts it, in our words.
        source: where the paper says so.
        effect: what is measured, one value a seed.
        unit: of the effect.
        margin: the claim holds if the mean effect exceeds it; fixed before any run.
        differences: maps records to {seed: effect}.
    """

    id: str
    sentence: str
    source: str
    effect: str
    unit: str
    margin: float
    differences: Callable[[Sequence[Record]], Mapping[int, float]]


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict on some records; ``interval`` is None where there were none."""

    claim: Claim
    verdict: Verdict
    interval: Interval | None
    reason: str


@dataclass(frozen=True)
class Figure:
    """A figure of the report: ``plotly`` is plain plotly JSON with "data" and "layout"."""

    id: str
    title: str
    caption: str
    plotly: Mapping[str, Any]


@dataclass(frozen=True)
class Paper:
    """The paper that a study re-runs."""

    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Study:
    """A paper's findings as cells, figures and claims.

    Attributes:
        name: on the command line and in folders.
        module: dotted name of the module that defines it.
        title: headline in the report.
        overview: what is done and why, one or two paragraphs of plain text.
        paper: what it re-runs.
        data: what the cells are computed on, in a sentence; synthetic data is called so.
        version: raised whenever a result could change; old evidence is then no longer used.
        presets: settings (one frozen dataclass with a field ``seeds``) by preset name.
        cells: the independent jobs of some settings.
        run_cell: computes one job inside its open run and returns the result as JSON values.
        figures: draws records; all cells of a seed are there, or none.
        claims: what the paper says.
        extras: optional dependencies it needs.
    """

    name: str
    module: str
    title: str
    overview: str
    paper: Paper
    data: str
    version: int
    presets: Mapping[str, Any]
    cells: Callable[[Any], Sequence[Cell]]
    run_cell: Callable[[Cell, Run], Mapping[str, Any]]
    figures: Callable[[Sequence[Record]], Sequence[Figure]]
    claims: Sequence[Claim]
    extras: tuple[str, ...] = ()


def as_json(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as JSON values (tuples become lists)."""
    values: dict[str, Any] = json.loads(storage.to_json(dataclasses.asdict(settings)))
    return values


def select(records: Sequence[Record], **settings: Any) -> list[Record]:
    """Return the records whose cells have these settings."""
    return [
        record
        for record in records
        if all(record.cell.settings.get(name) == value for name, value in settings.items())
    ]


def complete_seeds(cells: Sequence[Cell], records: Sequence[Record]) -> list[Record]:
    """Return the records of those seeds of which every cell has one."""
    have = {record.cell.label for record in records}
    missing = {cell.seed for cell in cells if cell.label not in have}
    return [record for record in records if record.cell.seed not in missing]


def judge(claim: Claim, records: Sequence[Record]) -> Judgement:
    """Return the verdict on ``claim`` that ``records`` support."""
    try:
        differences = claim.differences(records) if records else {}
    except ArithmeticError as error:
        return Judgement(claim, "undecided", None, f"The effect cannot be computed: {error}.")
    if not differences:
        return Judgement(claim, "undecided", None, "No seed has all the cells that it needs.")
    wild = sorted(seed for seed, value in differences.items() if not math.isfinite(value))
    if wild:
        return Judgement(claim, "undecided", None, f"The effect is not finite for seeds {wild}.")
    verdict, interval = statistics.verdict(list(differences.values()), claim.margin)
    if interval.n < statistics.SEEDS_FOR_A_VERDICT:
        reason = f"{interval.n} seeds; a verdict takes {statistics.SEEDS_FOR_A_VERDICT}."
    else:
        where = {
            "holds": "lies wholly above",
            "does not hold": "lies wholly at or below",
            "undecided": "contains",
        }[verdict]
        reason = f"The 95 % interval {where} the margin."
    return Judgement(claim, verdict, interval, reason)
