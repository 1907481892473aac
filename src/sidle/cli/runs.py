"""`sidle list`, `sidle show` and `sidle runs clean`: what is in the run folders."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from sidle import runs, studies
from sidle.cli import console
from sidle.errors import DataError, RunError, UsageError


@dataclass(frozen=True)
class ListOptions:
    """List the studies, and the runs found in the runs folder."""

    runs: Path = Path("runs")
    """Folder with the run folders."""
    json: bool = False
    """Print {"studies": [...], "runs": [{"run", "status", "seconds", "seed"}]} as JSON."""


@dataclass(frozen=True)
class ShowOptions:
    """Show one run: what was asked, how far it got, and its result."""

    run: tyro.conf.Positional[Path]
    """A run folder, or a part of its name that no other run has."""
    runs: Path = Path("runs")
    """Folder in which a name is looked for."""
    json: bool = False
    """Print {"run", "status", "record", "last_metrics"} as JSON."""


@dataclass(frozen=True)
class CleanOptions:
    """Delete runs that can no longer be used: failed, interrupted, or made by older code.

    Running ones are never touched. Evidence files and summaries stay.
    """

    runs: Path = Path("runs")
    """Folder with the run folders."""
    all: bool = False
    """Delete finished runs of the present code too."""
    yes: bool = False
    """Do not ask."""
    json: bool = False
    """Print {"deleted": [...], "bytes"} as JSON; asks nothing, so give --yes."""


def list_runs(arguments: list[str]) -> int:
    """Run ``sidle list`` with ``arguments``; return the exit code."""
    options = console.parse(ListOptions, "list", arguments, example="sidle list")
    rows = [_row(folder) for folder in runs.find(options.runs)]
    if options.json:
        console.print_json({"studies": list(studies.NAMES), "runs": rows})
        return 0
    console.show(f"Studies: {', '.join(studies.NAMES)}")
    if not rows:
        console.show(f"No runs in {options.runs}/ yet. Begin with: sidle run all --preset quick")
        return 0
    made = console.table("Runs", ("run", "status", "seed", "time"), right=("seed", "time"))
    for row in rows:
        made.add_row(row["run"], row["status"], str(row["seed"]), console.seconds(row["seconds"]))
    console.show(made)
    return 0


def show(arguments: list[str]) -> int:
    """Run ``sidle show`` with ``arguments``; return the exit code."""
    options = console.parse(
        ShowOptions, "show", arguments, example="sidle show staircase-infonce-seed0"
    )
    folder = _find_one(options.run, options.runs)
    record, status = runs.read_record(folder), runs.status(folder)
    metrics = runs.read_metrics(folder)
    last = metrics[-1] if metrics else None
    if options.json:
        console.print_json(
            {"run": str(folder), "status": status, "record": record, "last_metrics": last}
        )
        return 0
    made = console.table(str(folder), ("", ""))
    made.show_header = False
    made.add_row("status", status)
    if record["error"]:
        made.add_row("error", record["error"])
    made.add_row("started", record["started"])
    made.add_row("time", console.seconds(record["wall_seconds"]))
    made.add_row("processor time", console.seconds(record["cpu_seconds"]))
    made.add_row("seed", str(record["seed"]))
    for section in ("settings", "machine", "result"):
        for name, value in (record[section] or {}).items():
            made.add_row(f"{section}: {name}", _short(value))
    for name, value in (last or {}).items():
        made.add_row(f"last metrics: {name}", _short(value))
    console.show(made)
    return 0


def clean(arguments: list[str]) -> int:
    """Run ``sidle runs clean`` with ``arguments``; return the exit code."""
    options = console.parse(CleanOptions, "runs clean", arguments, example="sidle runs clean")
    from sidle.studies.execution import code_digest

    current = {name: code_digest(module) for name, module in studies.NAMES.items()}
    doomed = [f for f in runs.find(options.runs) if _useless(f, current, options.all)]
    sizes = {folder: _bytes(folder) for folder in doomed}
    if doomed and not options.yes:
        for folder in doomed:
            print(f"{folder}  {console.size(sizes[folder])}", file=sys.stderr)
        if not sys.stdin.isatty():
            raise UsageError("sidle runs clean: nobody to ask here; give --yes to delete these.")
        answer = input(f"Delete {len(doomed)} runs, {console.size(sum(sizes.values()))}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            doomed = []
    doomed = [folder for folder in doomed if runs.delete(folder)]  # not those in use
    total = sum(sizes[folder] for folder in doomed)
    if options.json:
        console.print_json({"deleted": [str(folder) for folder in doomed], "bytes": total})
    else:
        console.show(f"Deleted {len(doomed)} runs, {console.size(total)}.")
    return 0


def _row(folder: Path) -> dict[str, Any]:
    name = f"{folder.parent.name}/{folder.name}"
    try:
        record = runs.read_record(folder)
    except DataError:
        return {"run": name, "status": "damaged", "seconds": 0.0, "seed": None}
    return {
        "run": name,
        "status": runs.status(folder),
        "seconds": record["wall_seconds"],
        "seed": record["seed"],
    }


def _find_one(name: Path, root: Path) -> Path:
    if (name / runs.RECORD).exists():
        return name
    found = [
        folder for folder in runs.find(root) if str(name) in f"{folder.parent.name}/{folder.name}"
    ]
    if len(found) == 1:
        return found[0]
    what = "is in no run's name" if not found else f"is in the names of {len(found)} runs"
    raise RunError(f"'{name}' {what} in {root}/. `sidle list` shows the names.")


def _useless(folder: Path, current: Mapping[str, str], delete_finished: bool) -> bool:
    """Whether nothing can come of a run; ``current`` is the code digest of each study."""
    try:
        status = runs.status(folder)
    except DataError:
        return True
    if status != "finished":
        return status != "running"
    code = str(runs.read_record(folder)["code_digest"])
    return delete_finished or code != current.get(folder.parent.name, code)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 400 else f"{text[:400]}..."
