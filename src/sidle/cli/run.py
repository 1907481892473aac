"""`sidle run`: compute the cells of a study that are missing, then judge its claims."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sidle import provenance, studies
from sidle.cli import console
from sidle.cli.report import claims_table
from sidle.errors import DataNotFoundError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from sidle.studies.execution import Places
    from sidle.studies.study import Cell, Study

EXAMPLE = "sidle run mutual-information --preset quick"


@dataclass(frozen=True)
class Options:
    """Run a study: compute the cells that are missing, then judge its claims.

    Finished cells are reused; interrupted ones go on from their last checkpoint.
    """

    study: tyro.conf.Positional[str]
    """Name of the study, or `all`; `sidle list` shows the names."""
    preset: Literal["quick", "standard", "full", "paper"] = "quick"
    """Which settings to start from: quick takes about a minute, standard up to an hour."""
    runs: Path = Path("runs")
    """Folder for run folders."""
    evidence: Path = Path("evidence")
    """Folder for the evidence of finished cells; what is found there is not computed again."""
    workers: int = 0
    """Worker processes; 0 means one a core, 1 means none beside the main process."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folders."""
    dry_run: bool = False
    """Only say what would be computed."""
    json: bool = False
    """Print the outcome as JSON."""


@dataclass(frozen=True)
class AllSettings:
    """What can be changed for all studies at once."""

    seeds: int | None = None
    """Number of seeds; by default each preset's own."""


def run(arguments: list[str]) -> int:
    """Run ``sidle run`` with ``arguments``; return the exit code."""
    known = [word for word in arguments if word in studies.NAMES or word == "all"]
    names = known or [word for word in arguments if not word.startswith("-")]
    if not names:
        _print_help_without_study(arguments)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    if names[0] == "all":
        return _run_all(arguments)
    study = studies.find(names[0])
    preset = _preset(arguments)
    _refuse_missing_preset(study, preset)
    options, settings = _parse(arguments, study.presets[preset])
    _refuse_missing_extras(study)
    cells = study.cells(settings)
    outcome = _run_study(study, options, settings, cells, _command(arguments))
    if options.json:
        console.print_json({"studies": [outcome]})
    return 1 if outcome["failures"] else 0


def _run_all(arguments: list[str]) -> int:
    options, changed = _parse(arguments, AllSettings())
    outcomes, skipped, has_preset = [], {}, False
    for name in studies.NAMES:
        study = studies.find(name)
        has_preset = has_preset or options.preset in study.presets
        try:
            _refuse_missing_extras(study)
            _refuse_missing_preset(study, options.preset)
            settings = study.presets[options.preset]
            if changed.seeds is not None:
                settings = dataclasses.replace(settings, seeds=changed.seeds)
            cells = study.cells(settings)
        except (MissingExtraError, UsageError, DataNotFoundError) as error:
            skipped[name] = str(error)
            if not options.json:
                console.show(f"Skipped {name}: {error}")
            continue
        words = [name if word == "all" else word for word in arguments]
        outcomes.append(_run_study(study, options, settings, cells, _command(words)))
    if not has_preset:
        raise UsageError(f"No study has a preset '{options.preset}'.")
    if options.json:
        console.print_json({"studies": outcomes, "skipped": skipped})
    return 1 if any(outcome["failures"] for outcome in outcomes) else 0


def _run_study(
    study: Study, options: Options, settings: Any, cells: Sequence[Cell], command: str
) -> dict[str, Any]:
    from sidle.studies import execution

    places = execution.Places(options.runs, options.evidence)
    if options.dry_run:
        return _dry_run(study, options, cells, places)
    unchanged = settings == study.presets[options.preset]
    outcome = execution.execute(
        study,
        cells,
        places,
        workers=options.workers,
        lasting=unchanged and options.preset != "quick",
        tensorboard=options.tensorboard,
    )
    path, judgements = execution.summarise(
        study,
        settings,
        cells,
        outcome,
        places,
        preset=options.preset if unchanged else "custom",
        command=command,
    )
    claims = [execution.judgement_as_json(judgement) for judgement in judgements]
    spent = sum(record.seconds for record in outcome.records)
    if not options.json:
        for label, message in outcome.failures.items():
            console.show(f"FAILED {label}: {message}")
        done = f"{len(outcome.records)} of {len(cells)} cells, {console.seconds(spent)} of work"
        console.show(claims_table(f"{study.title} ({options.preset}: {done})", claims))
    return {
        "study": study.name,
        "preset": options.preset,
        "cells": len(cells),
        "finished": len(outcome.records),
        "failures": dict(outcome.failures),
        "seconds": round(spent, 3),
        "summary": str(path),
        "claims": claims,
    }


def _dry_run(
    study: Study, options: Options, cells: Sequence[Cell], places: Places
) -> dict[str, Any]:
    from sidle.studies import execution

    found = execution.find_records(study, cells, places)
    missing = [cell.label for cell in cells if cell.label not in found]
    if not options.json:
        console.show(f"{study.name}: {len(cells)} cells, {len(missing)} to compute.")
        for label in missing:
            console.show(f"  {label}")
    return {
        "study": study.name,
        "preset": options.preset,
        "cells": len(cells),
        "finished": len(found),
        "failures": {},
        "to_compute": missing,
    }


def _parse(arguments: Sequence[str], settings: Any) -> tuple[Options, Any]:
    """Return the options and ``settings`` as changed by the flags in ``arguments``."""
    import tyro

    # These two leave no trace in names of flags; parts of settings do (--audio.steps).
    bare = tyro.conf.arg(name="")
    both = dataclasses.make_dataclass(
        "RunStudy",
        [
            ("run", Annotated[Options, bare]),
            ("settings", Annotated[type(settings), bare], settings),
        ],
        frozen=True,
    )
    both.__doc__ = Options.__doc__
    parsed = console.parse(both, "run", arguments, example=EXAMPLE, flat=False)
    if getattr(parsed.settings, "seeds", None) is not None and parsed.settings.seeds < 1:
        raise UsageError(f"--seeds must be at least 1, got {parsed.settings.seeds}.")
    if parsed.run.workers < 0:
        raise UsageError(f"--workers must be at least 0, got {parsed.run.workers}.")
    return parsed.run, parsed.settings


def _preset(arguments: Sequence[str]) -> str:
    """Return the preset named in ``arguments``: it decides the defaults of all other flags."""
    preset: str = Options.preset
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--preset":
            preset = following
        elif word.startswith("--preset="):
            preset = word.partition("=")[2]
    return preset


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["sidle", "run", *arguments])


def _refuse_missing_extras(study: Study) -> None:
    for extra in study.extras:
        if provenance.missing_packages(extra):
            raise MissingExtraError(f"The study '{study.name}'", extra)


def _refuse_missing_preset(study: Study, preset: str) -> None:
    if preset not in study.presets:
        raise UsageError(
            f"The study '{study.name}' has no preset '{preset}'. It has: "
            f"{', '.join(study.presets)}."
        )


def _print_help_without_study(arguments: Sequence[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        console.show(
            "usage: sidle run STUDY|all [--preset quick|standard|full|paper] [--seeds N] "
            "[--dry-run] [settings of the study]",
            "",
            f"Studies: {', '.join(studies.NAMES)}",
            "`sidle run STUDY --help` shows all flags of a study.",
            f"Example: {EXAMPLE}",
        )
    else:
        raise UsageError(f"sidle run: name a study, or `all`. Studies: {', '.join(studies.NAMES)}.")
