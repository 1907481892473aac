"""`sidle barrier`: are two checkpoints linearly connected on given data?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle.cli import console
from sidle.errors import ArgumentError, UsageError

if TYPE_CHECKING:
    from sidle.lmc import Barrier
    from sidle.report.sheet import Sheet

_ANSWERS = {
    "connected": "Linearly connected on this data",
    "not connected": "Not linearly connected on this data",
    "undecided": "Undecided on this data",
}
_PAGE_VERDICTS: dict[str, Literal["holds", "does not hold", "undecided"]] = {
    "connected": "holds",
    "not connected": "does not hold",
    "undecided": "undecided",
}
_STYLES = {"connected": "bold green", "not connected": "bold red", "undecided": "bold yellow"}


@dataclass(frozen=True)
class BarrierOptions:
    """Tell whether two checkpoints of one architecture are linearly connected on given data.

    The error is measured at points on the straight line between their weights. The barrier is the
    highest error on the line minus the mean error of its ends (Frankle et al. 2020). Weights come
    from .safetensors, .pt (tensors only) or checkpoints of sidle.
    """

    a: tyro.conf.Positional[Path]
    """File with the weights of the first network."""
    b: tyro.conf.Positional[Path]
    """File with the weights of the second."""
    model: str
    """module:factory, called without arguments to make the network; the module may lie in the
    working folder."""
    data: str
    """Test data: an .npz file with arrays x and y (bytes are read as 0 to 1), or a set of images
    (its test images, N x C x H x W from 0 to 1): see `sidle data list`."""
    model_arguments: str = "{}"
    """Keywords of the factory, as a JSON object."""
    entry: str | None = None
    """Where the weights are, in files that hold those of several networks."""
    train_data: str | None = None
    """Training data, to be measured on the same path: as --data; of a set, its training images."""
    calibration: str | None = None
    """Inputs to estimate BatchNorm statistics from: an .npz file with an array x, or a set (its
    training images)."""
    batch_norm: Literal["interpolated", "re-estimated", "both"] = "interpolated"
    """Running statistics between the networks: interpolated as weights are, re-estimated from
    --calibration at every point, or both side by side."""
    align: bool = False
    """Also permute the units of B to fit those of A, which changes nothing of what B computes."""
    points: int = 30
    """Evenly spaced points on the line, the ends included."""
    threshold: float = 0.02
    """Barrier, as a share, below which networks count as connected; the paper's is 2 %."""
    batch_size: int = 1000
    """Examples evaluated at once."""
    device: str = "cpu"
    """Where to compute: cpu, cuda, mps."""
    seed: int = 0
    """Names the halves of the data behind the interval."""
    page: Path | None = None
    """Write a page with the figures to this .html file."""
    json: bool = False
    """Print {"verdict", "linearly_connected", "threshold", "barrier", "interval", "alphas",
    "error", "loss", ...} as JSON; errors are shares from 0 to 1."""


def barrier(arguments: list[str]) -> int:
    """Run ``sidle barrier`` with ``arguments``; return the exit code."""
    options = console.parse(
        BarrierOptions,
        "barrier",
        arguments,
        example="sidle barrier a.pt b.pt --model networks:LeNet --data test.npz",
    )
    if not 0 < options.threshold < 1:
        raise UsageError(
            f"sidle barrier: --threshold is a share between 0 and 1 (2 % is 0.02), got "
            f"{options.threshold}."
        )
    if options.page is not None and options.page.suffix != ".html":
        raise UsageError(f"sidle barrier: --page must end in .html, got {options.page}.")
    if options.calibration is not None and options.batch_norm == "interpolated":
        raise UsageError(
            "sidle barrier: --calibration is used with --batch-norm re-estimated or both."
        )
    found, aligned = _measured(options)
    if options.page is not None:
        from sidle.report import sheet

        command = shlex.join(["sidle", "barrier", *arguments])
        sheet.write(_sheet(options, found, aligned, command), options.page)
    if options.json:
        console.print_json(
            {
                "a": str(options.a),
                "b": str(options.b),
                "threshold": options.threshold,
                **_as_json(found, options.threshold),
                "aligned": None if aligned is None else _as_json(aligned, options.threshold),
                "page": None if options.page is None else str(options.page),
            }
        )
    else:
        _show(options, found, aligned)
    return 0


def _as_json(one: Barrier, threshold: float) -> dict[str, Any]:
    """Return a barrier as JSON, with what it says about the threshold, also of those inside it."""
    return {
        **one.as_dict(),
        "verdict": one.verdict(threshold),
        "linearly_connected": one.linearly_connected(threshold),
        "by_policy": {name: _as_json(o, threshold) for name, o in one.by_policy.items()},
        "train": None if one.train is None else _as_json(one.train, threshold),
    }


def _measured(options: BarrierOptions) -> tuple[Barrier, Barrier | None]:
    """Return the barrier, and the one after alignment if that was asked for."""
    from sidle import lmc
    from sidle.cli import labelled, models

    a, b = (
        models.load(path, options.model, arguments=options.model_arguments, entry=options.entry)
        for path in (options.a, options.b)
    )
    data = labelled.read(options.data, "test")
    settings: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("points", "batch_norm", "batch_size", "device", "seed")
    }
    if options.train_data is not None:
        settings["train"] = labelled.read(options.train_data, "train")
    if options.calibration is not None:
        settings["calibration"] = labelled.read_inputs(options.calibration, "train")
    elif options.batch_norm != "interpolated":
        raise ArgumentError(
            f"sidle barrier: --batch-norm {options.batch_norm} estimates running statistics anew "
            "and needs inputs for that: --calibration FILE_OR_NAME, best of the training data."
        )
    found = lmc.error_barrier(a, b, data, **settings)
    if not options.align:
        return found, None
    example = data[0][: min(len(data[0]), 64)]
    return found, lmc.error_barrier(a, lmc.align(a, b, example=example), data, **settings)


def _variants(found: Barrier, aligned: Barrier | None) -> list[tuple[str, Barrier]]:
    """Return every barrier that was measured, with what it is, the main one first."""
    made = []
    for way, one in (("as they are", found), ("aligned", aligned)):
        if one is None:
            continue
        policies = [one, *one.by_policy.values()]
        for policy in policies:
            words = [way] * (aligned is not None)
            words += [f"BatchNorm {policy.batch_norm}"] * (len(policies) > 1)
            tested = [*words, "test data"] if policy.train is not None else words
            made.append((", ".join(tested) or "error", policy))
            if policy.train is not None:
                made.append((", ".join([*words, "training data"]), policy.train))
    return made


def _explained(one: Barrier, threshold: float) -> str:
    """Return what a verdict rests on, in one sentence."""
    words = {
        "connected": "lies below",
        "not connected": "does not lie below",
        "undecided": "contains",
    }
    return (
        f"The {100 * one.confidence:.0f} % interval of the barrier, {_interval(one)}, "
        f"{words[one.verdict(threshold)]} the threshold of {100 * threshold:g} %."
    )


def _notes(options: BarrierOptions, found: Barrier, aligned: Barrier | None) -> list[str]:
    """Return what else to know, a note each."""
    threshold, notes = options.threshold, []
    if found.verdict(threshold) == "undecided":
        notes.append("More test data would narrow the interval.")
    for name, other in found.by_policy.items():
        notes.append(
            f"The answer is for {found.batch_norm} BatchNorm statistics. With {name} ones: "
            f"{_answer(other, threshold)}"
        )
    if found.batch_norm == "interpolated" and not found.by_policy:
        notes.append(
            "BatchNorm statistics between the networks were interpolated. Estimating them anew "
            "often lowers the barrier: --batch-norm both --calibration FILE shows it."
        )
    if aligned is not None:
        notes.append(f"With the units of B permuted to fit A: {_answer(aligned, threshold)}")
    if found.linearly_connected(threshold) != (found.verdict(threshold) == "connected"):
        side = "below" if found.linearly_connected(threshold) else "not below"
        notes.append(
            f"By the paper's rule, which looks at the highest of {len(found.alphas)} points and "
            f"at no interval, the barrier of {_percent(found.barrier)} is {side} the threshold."
        )
    return notes


def _answer(one: Barrier, threshold: float) -> str:
    answer = _ANSWERS[one.verdict(threshold)]
    return f"{answer[0].lower()}{answer[1:]}, barrier {_interval(one)}."


def _interval(one: Barrier) -> str:
    # Adding 0 turns -0.0 into 0.0.
    low, high = (f"{round(100 * end, 1) + 0.0:.1f}" for end in one.interval)
    return f"{low} to {high} %"


_ROWS: tuple[tuple[str, Callable[[Barrier], str]], ...] = (
    ("error of A", lambda one: _percent(one.error[0])),
    ("error of B", lambda one: _percent(one.error[-1])),
    ("highest error on the line", lambda one: _percent(max(one.error))),
    ("at (A is 0, B is 1)", lambda one: f"{one.at:.2f}"),
    ("barrier", lambda one: _percent(one.barrier)),
    ("barrier, point chosen on other examples", lambda one: _percent(one.split_barrier)),
    ("its 95 % interval", _interval),
    ("barrier of the loss (nats)", lambda one: f"{one.loss_barrier:.3f}"),
    ("examples", lambda one: f"{one.n:,}"),
)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _show(options: BarrierOptions, found: Barrier, aligned: Barrier | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from sidle.cli import chart

    screen = Console(markup=False, highlight=False)
    variants = _variants(found, aligned)
    verdict = found.verdict(options.threshold)
    curves = [
        chart.Curve(name, one.alphas, [100 * value for value in one.error])
        for name, one in variants
    ]
    ends = (found.error[0] + found.error[-1]) / 2 * 100
    name = f"mean of the ends, {variants[0][0]}" if len(variants) > 1 else "mean of the ends"
    curves.append(chart.Curve(name, (0.0, 1.0), (ends, ends), dashed=True))
    picture = chart.draw(
        curves,
        title="Error on the straight line between the networks",
        ends=("A", "B"),
        unit=" %",
        width=max(24, min(64, screen.width - 12)),
        ascii_only=screen.options.ascii_only,
    )
    made = console.table("", ("", *(name for name, _ in variants)), right=[n for n, _ in variants])
    for title, cell in _ROWS:
        made.add_row(title, *(cell(one) for _, one in variants))
    answer = Text.assemble(
        (f"{_ANSWERS[verdict]}.", _STYLES[verdict]), " ", _explained(found, options.threshold)
    )
    screen.print()
    screen.print(picture)
    screen.print(made)
    screen.print(answer)
    for note in _notes(options, found, aligned):
        screen.print(note)
    screen.print(
        Text(f"Points were evaluated {_lead(found.evaluation)}.", style="dim"),
    )
    if options.page is not None:
        screen.print(f"The page is at {options.page}")


def _lead(evaluation: str) -> str:
    """Return how points were evaluated, as part of a sentence."""
    how, _, reason = evaluation.partition(": ")
    return f"{'together' if how == 'batched' else 'one by one'} ({reason})"


def _sheet(options: BarrierOptions, found: Barrier, aligned: Barrier | None, command: str) -> Sheet:
    from sidle import provenance
    from sidle.report import figures, sheet

    verdict = found.verdict(options.threshold)
    variants = _variants(found, aligned)
    errors: list[figures.Trace] = []
    losses: list[figures.Trace] = []
    for index, (name, one) in enumerate(variants):
        errors += _line(one.alphas, one.error, name, index)
        losses += _line(one.alphas, one.loss, name, index)
    for traces, values in ((errors, found.error), (losses, found.loss)):
        mean = (values[0] + values[-1]) / 2
        traces += figures.reference_line((0.0, 1.0), (mean, mean), "mean of the ends")
    place = "Place on the line (0 is A, 1 is B)"
    facts = {
        "A": str(options.a),
        "B": str(options.b),
        "model": options.model,
        "model arguments": options.model_arguments,
        "test data": options.data,
        "training data": options.train_data or "none",
        "calibration": options.calibration or "none",
        "points": options.points,
        "threshold": _percent(options.threshold),
        "BatchNorm": options.batch_norm if found.batch_norm else "the network keeps no statistics",
        "points were evaluated": _lead(found.evaluation),
        "seed": options.seed,
        **provenance.machine(),
    }
    return sheet.Sheet(
        title=f"Are {options.a.name} and {options.b.name} linearly connected?",
        verdict=_PAGE_VERDICTS[verdict],
        answer=_ANSWERS[verdict],
        lead=_typeset(_explained(found, options.threshold)),
        notes=[_typeset(note) for note in _notes(options, found, aligned)],
        figures=(
            sheet.Figure(
                "Error on the line between the networks",
                "Share of examples that are wrong, at each point on the straight line between the "
                "two networks' weights. The barrier is the highest point minus the dashed line.",
                figures.figure(errors, place, "Error", y_format=".0%"),
            ),
            sheet.Figure(
                "Loss on the line",
                "Mean cross-entropy at the same points. It can rise where the error does not.",
                figures.figure(losses, place, "Loss (nats)"),
            ),
        ),
        tables=(
            sheet.Table(
                "The numbers",
                ("", *(name for name, _ in variants)),
                [(title, *(_typeset(cell(one)) for _, one in variants)) for title, cell in _ROWS],
            ),
        ),
        facts=facts,
        command=command,
        written="sidle barrier",
    )


def _typeset(text: str) -> str:
    """Return ``text`` with signs of minus, and numbers that keep their unit beside them."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text).replace(" %", "\u00a0%")


def _line(x: Any, y: Any, name: str, index: int) -> list[Any]:
    from sidle.report import figures

    none = [None] * len(x)
    return figures.line_with_band(x, y, none, none, name, index)
