"""Runs the cells of any study, keeps their evidence, and writes what spans them.

Each cell is a run folder ``<runs>/<study>/<cell>``. Finished cells are reused, interrupted ones go
on from their checkpoint; a cell whose evidence file is found is not computed again. Cells run in
worker processes (spawned, so that no state is inherited), or in this process with one worker.

    <runs>/<study>/summary/<settings hash>/summary.json    figures, claims, cells, machine
    <evidence>/<study>/<cell>.json                          settings, seed, result of one cell
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sidle import progress, provenance, runs, seeding, storage
from sidle.errors import ArgumentError, DataError, SidleError
from sidle.studies.study import (
    Cell,
    Figure,
    Judgement,
    Record,
    Study,
    as_json,
    complete_seeds,
    judge,
)

FORMAT = 1


@dataclass(frozen=True)
class Places:
    """Where the files of a study are.

    Attributes:
        runs: parent of all run folders.
        evidence: parent of all evidence files.
    """

    runs: Path = Path("runs")
    evidence: Path = Path("evidence")

    def run(self, study: Study, cell: Cell, code_digest: str) -> Path:
        """Return the run folder of ``cell`` as computed by the present code."""
        name = cell.identity(code_digest).folder_name(cell.label)
        return self.runs / study.name / name

    def evidence_files(self, study: Study, cell: Cell) -> tuple[Path, Path]:
        """Return where the evidence of ``cell`` may be: of a lasting preset, and of `quick`."""
        stem = self.evidence / study.name / cell.evidence_name(study.version)
        return stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.quick.json")

    def summary(self, study: Study, settings: Any) -> Path:
        """Return the file with figures and claims of ``study`` at ``settings``."""
        parts = [storage.to_json(as_json(settings)), f"version {study.version}"]
        return self.runs / study.name / "summary" / storage.digest(*parts)[:12] / "summary.json"


@dataclass(frozen=True)
class Outcome:
    """What `execute` did: records of finished cells, and the message of each failed one."""

    records: tuple[Record, ...]
    failures: Mapping[str, str]


def code_digest(module: str) -> str:
    """Return the digest of all code that decides the results of the study in ``module``.

    How cells are run counts; what is made of their records again at any time, figures and claims,
    does not.
    """
    without = ("sidle.report", f"{module}_figures", f"{module}_claims")
    return provenance.code_digest(module, __name__, without=without)


def find_records(study: Study, cells: Sequence[Cell], places: Places) -> dict[str, Record]:
    """Return the records that exist already, by label of the cell: own runs before evidence."""
    labels = [cell.label for cell in cells]
    if len(set(labels)) < len(labels):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        raise ArgumentError(f"{study.name}: two cells are called {twice[0]}; drop a setting.")
    code = code_digest(study.module)
    found: dict[str, Record] = {}
    for cell in cells:
        record = _record_of_run(study, cell, places, code)
        record = record or _record_of_evidence(study, cell, places, code)
        if record is not None:
            found[cell.label] = record
    return found


def execute(
    study: Study,
    cells: Sequence[Cell],
    places: Places,
    *,
    workers: int = 0,
    lasting: bool = False,
    tensorboard: bool = False,
) -> Outcome:
    """Compute the cells that have no record yet; return all records.

    Args:
        study: whose cells they are.
        cells: all cells of some settings.
        places: where runs and evidence are.
        workers: processes; 0 means one a core, 1 means this process. Threads are shared out.
        lasting: name new evidence so that it is kept in version control (not for `quick`).
        tensorboard: also write TensorBoard events into the run folders.

    Raises:
        ArgumentError: ``workers`` is negative, or two cells have one label.
        KeyboardInterrupt: Ctrl-C; running cells have been asked to write a checkpoint.
        StorageError: evidence could not be written.
    """
    if workers < 0:
        raise ArgumentError(f"execute: workers must be at least 0, got {workers}.")
    code = code_digest(study.module)
    found = find_records(study, cells, places)
    for earlier in found.values():  # a session that was killed may have left some behind
        _export(study, earlier, places, code, lasting)
    missing = [cell for cell in cells if cell.label not in found]
    jobs = [
        _Job(study.module, cell, places.run(study, cell, code), code, tensorboard)
        for cell in missing
    ]
    failures: dict[str, str] = {}
    with progress.bar(study.name, len(cells), done=len(found)) as bar:
        for job, error in _compute(jobs, workers or provenance.usable_cores()):
            record = None if error else _record_of_run(study, job.cell, places, code)
            if record is None:
                failures[job.cell.label] = error or "The run ended without a result."
            else:
                found[job.cell.label] = record
                _export(study, record, places, code, lasting)
            bar.advance(note=job.cell.label)
    records = tuple(found[cell.label] for cell in cells if cell.label in found)
    return Outcome(records, failures)


def summarise(
    study: Study,
    settings: Any,
    cells: Sequence[Cell],
    outcome: Outcome,
    places: Places,
    *,
    preset: str,
    command: str,
) -> tuple[Path, list[Judgement]]:
    """Write ``summary.json`` for the report; return its path and the verdicts.

    Args:
        preset: the name of the preset, or "custom" where settings were changed.
        command: what repeats the work.

    Raises:
        StorageError: the disk refused.
    """
    records = complete_seeds(cells, outcome.records)
    left_out = sorted({cell.seed for cell in cells} - {record.cell.seed for record in records})
    note = f" Seeds left out, as a cell has no result: {left_out}." if left_out else ""
    judgements = [judge(claim, records) for claim in study.claims]
    judgements = [replace(judgement, reason=judgement.reason + note) for judgement in judgements]
    figures = _figures(study, records)
    by_label = {record.cell.label: record for record in outcome.records}
    path = places.summary(study, settings)
    summary = {
        "format": FORMAT,
        "study": study.name,
        "title": study.title,
        "overview": study.overview,
        "paper": asdict(study.paper),
        "preset": preset,
        "settings": as_json(settings),
        "version": study.version,
        "command": command,
        "seeds": sorted({cell.seed for cell in cells}),
        "data": {
            "description": study.data,
            "digest": storage.digest(*sorted({cell.data_digest for cell in cells})),
        },
        "machine": records[0].machine if records else provenance.machine(),
        "cells": [_cell_row(cell, by_label, outcome.failures) for cell in cells],
        "seconds": math.fsum(record.seconds for record in outcome.records),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "claims": [judgement_as_json(judgement) for judgement in judgements],
        "figures": [asdict(figure) for figure in figures],
    }
    storage.write_json(path, summary)
    return path, judgements


def _figures(study: Study, records: Sequence[Record]) -> Sequence[Figure]:
    """Draw, or warn: a figure that fails must not take the claims and the rest with it."""
    if not records:
        return ()
    try:
        return study.figures(records)
    except Exception as error:  # settings that nobody foresaw; the results are safe
        warnings.warn(f"{study.name}: no figures: {_message(error)}", stacklevel=2)
        return ()


def judgement_as_json(judgement: Judgement) -> dict[str, Any]:
    """Return a verdict with its claim as JSON values; an infinite interval end becomes None."""
    claim, interval = judgement.claim, judgement.interval
    return {
        "id": claim.id,
        "sentence": claim.sentence,
        "source": claim.source,
        "effect": claim.effect,
        "unit": claim.unit,
        "margin": claim.margin,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "interval": None
        if interval is None
        else {k: v if math.isfinite(v) else None for k, v in asdict(interval).items()},
    }


@dataclass(frozen=True)
class _Job:
    """What a worker is sent; the study goes by name."""

    module: str
    cell: Cell
    folder: Path
    code_digest: str
    tensorboard: bool


_working = False  # whether this worker process is inside a job
_stopping = False  # whether it was asked to stop: jobs that were queued already must not begin


def _run_job_in_worker(job: _Job) -> None:
    global _working
    if _stopping:
        raise KeyboardInterrupt
    _working = True
    try:
        _run_job(job)
    except KeyboardInterrupt:
        # The training loop had its own handler while it finished the step.
        _stop()
        raise
    finally:
        _working = False


def _stop() -> None:
    global _stopping
    _stopping = True


def _run_job(job: _Job) -> None:
    study: Study = importlib.import_module(job.module).STUDY
    identity = job.cell.identity(job.code_digest)
    with runs.open_run(job.folder, identity, tensorboard=job.tensorboard) as run:
        if not run.finished:
            with seeding.scope(seeding.split(job.cell.seed, "global")):
                run.finish(study.run_cell(job.cell, run))


def _compute(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, str | None]]:
    """Yield each job when it is done, with the message of its error if it failed."""
    if workers == 1:
        for job in jobs:
            try:
                _run_job(job)
            except Exception as error:  # a cell's failure must not end the others
                yield job, _message(error)
            else:
                yield job, None
        return
    if not jobs:
        return
    # However few jobs are left, each gets the threads it would have got among many: sums of
    # floating-point numbers may depend on their number.
    threads = max(1, provenance.usable_cores() // workers)
    with _thread_limits(threads), _pool(min(workers, len(jobs)), threads) as pool:
        waiting: dict[Future[None], _Job] = {
            pool.submit(_run_job_in_worker, job): job for job in jobs
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                raised = future.exception()
                yield waiting.pop(future), None if raised is None else _message(raised)


@contextlib.contextmanager
def _pool(workers: int, threads: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _begin_worker, (threads,))
    try:
        yield pool
    except BaseException:
        # Workers sit in their own process groups, so this is the only signal they get: their
        # training loops finish the step, write a checkpoint and end.
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        raise
    finally:
        pool.shutdown(wait=True)


def _begin_worker(threads: int) -> None:
    os.setpgrp()
    signal.signal(signal.SIGINT, _interrupt_job)
    import torch  # after the handler: it takes seconds in which Ctrl-C may come

    threading.Thread(target=_end_with_parent, daemon=True).start()
    progress.silence()
    torch.set_num_threads(threads)


def _interrupt_job(number: int, frame: object) -> None:
    """Interrupt the job under way; an idle worker is ended by the pool, without a traceback."""
    _stop()
    if _working:
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A killed parent would leave its idle workers waiting for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def _thread_limits(threads: int) -> Iterator[None]:
    """Let processes started in the block load their numerical libraries with ``threads``."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _message(error: BaseException) -> str:
    if isinstance(error, BrokenProcessPool):
        return (
            "A worker process was killed, perhaps for want of memory. The same command goes on "
            "from here; fewer workers (--workers 1) need less memory."
        )
    return str(error) if isinstance(error, SidleError) else f"{type(error).__name__}: {error}"


def _record_of_run(study: Study, cell: Cell, places: Places, code: str) -> Record | None:
    folder = places.run(study, cell, code)
    if not (folder / runs.RECORD).exists():
        return None
    record = runs.read_record(folder)
    if record["status"] != "finished":
        return None
    runs.refuse_mixing(folder, record, cell.identity(code))
    return Record(cell, record["result"], record["machine"], record["wall_seconds"], "run", False)


def _record_of_evidence(study: Study, cell: Cell, places: Places, code: str) -> Record | None:
    for path in places.evidence_files(study, cell):
        if path.exists():
            evidence = storage.read_json(path)
            if not _is_evidence_of(evidence, study, cell):
                raise DataError(
                    path,
                    "the content does not belong to the cell that the name stands for.",
                    "Delete the file; the cell will be computed again.",
                )
            other_code = evidence["code_digest"] != code
            seconds = evidence["wall_seconds"]
            return Record(
                cell, evidence["result"], evidence["machine"], seconds, "evidence", other_code
            )
    return None


def _is_evidence_of(evidence: Any, study: Study, cell: Cell) -> bool:
    expected = {"format": FORMAT, **_what_it_is(study, cell)}
    kinds = {"code_digest": str, "result": dict, "machine": dict, "wall_seconds": float}
    return (
        isinstance(evidence, dict)
        and expected == {name: evidence.get(name) for name in expected}
        and all(isinstance(evidence.get(name), kind) for name, kind in kinds.items())
    )


def _export(study: Study, record: Record, places: Places, code: str, lasting: bool) -> None:
    """Write the evidence of a run of ours, unless it is there."""
    kept, quick = places.evidence_files(study, record.cell)
    path = kept if lasting else quick
    if record.source == "evidence" or kept.exists() or path.exists():
        return
    folder = places.run(study, record.cell, code)
    evidence = {
        "format": FORMAT,
        **_what_it_is(study, record.cell),
        "code_digest": code,
        "result": record.result,
        "machine": record.machine,
        "wall_seconds": round(record.seconds, 3),
        "cpu_seconds": round(runs.read_record(folder)["cpu_seconds"], 3),
    }
    storage.write_json(path, evidence)


def _what_it_is(study: Study, cell: Cell) -> dict[str, Any]:
    identity = cell.identity("").as_dict()
    del identity["code_digest"]
    return {"study": study.name, "cell": cell.label, "version": study.version, **identity}


def _cell_row(
    cell: Cell, records: Mapping[str, Record], failures: Mapping[str, str]
) -> dict[str, Any]:
    record = records.get(cell.label)
    if record is None:
        failed = cell.label in failures
        return {
            "name": cell.label,
            "status": "failed" if failed else "missing",
            "seconds": 0.0,
            "source": "run",
            "other_code": False,
            "error": failures.get(cell.label),
        }
    return {
        "name": cell.label,
        "status": "finished",
        "seconds": round(record.seconds, 3),
        "source": record.source,
        "other_code": record.other_code,
        "error": None,
    }
