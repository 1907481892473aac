"""Run folders: settings, metrics and checkpoint of one piece of work, in plain files.

    run.json                what was asked, where, how far it got, and the result
    metrics.jsonl           one JSON object a line, each with its "step"
    checkpoint.safetensors  the state to go on from

A folder is written by one process at a time (the operating system holds the lock, so a killed
process leaves nothing behind), and holds one piece of work for ever: opening it with other
settings, seed, data or code is refused. Whatever kills a run, at most the work since its last
checkpoint is lost, and the resumed run ends with the result of an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import filelock

from sidle import provenance, storage
from sidle.errors import ArgumentError, DataError, NonFiniteError, RunError, SidleError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FORMAT = 1

RECORD, METRICS, CHECKPOINT, LOCK = (
    "run.json",
    "metrics.jsonl",
    "checkpoint.safetensors",
    ".lock",
)


# What every record holds, and as which type.
_KINDS: Mapping[str, Any] = {
    "settings": dict,
    "seed": int,
    "data_digest": str,
    "code_digest": str,
    "machine": dict,
    "started": str,
    "status": str,
    "error": str | None,
    "wall_seconds": float,
    "cpu_seconds": float,
    "result": dict | None,
}


@dataclass(frozen=True)
class Identity:
    """What makes a run this run and no other.

    Attributes:
        settings: every setting, as JSON values.
        seed: the one integer from which all randomness of the run is drawn.
        data_digest: digest of the data, empty if the run draws its own.
        code_digest: digest of the sources behind it (`provenance.code_digest`).
    """

    settings: Mapping[str, Any]
    seed: int = 0
    data_digest: str = ""
    code_digest: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the four parts as JSON values."""
        return {
            "settings": json.loads(storage.to_json(dict(self.settings))),
            "seed": self.seed,
            "data_digest": self.data_digest,
            "code_digest": self.code_digest,
        }

    def folder_name(self, label: str) -> str:
        """Return ``label`` with twelve digits of the hash of all four parts."""
        return f"{label}-{storage.digest(storage.to_json(self.as_dict()))[:12]}"


@dataclass
class Run:
    """An open run folder; made by `open_run`, closed by leaving the ``with`` block.

    Attributes:
        folder: where the files are.
        identity: what the run is.
        tensorboard: also write TensorBoard events into the folder ``events``.
    """

    folder: Path
    identity: Identity
    tensorboard: bool = False
    _lock: filelock.FileLock = field(init=False, repr=False)
    _record: dict[str, Any] = field(init=False, repr=False)
    _metrics: io.TextIOWrapper | None = field(init=False, default=None, repr=False)
    _writer: SummaryWriter | None = field(init=False, default=None, repr=False)
    _clocks: tuple[float, float] = field(init=False, default=(0.0, 0.0), repr=False)
    _last_step: int = field(init=False, default=-1, repr=False)
    _resumed: bool = field(init=False, default=False, repr=False)

    @property
    def finished(self) -> bool:
        """Whether the work is done and `result` can be read."""
        return bool(self._record["status"] == "finished")

    @property
    def result(self) -> dict[str, Any]:
        """What `finish` was given.

        Raises:
            RunError: the run is not finished.
        """
        if not self.finished:
            raise RunError(f"{self.folder}: the run is {self._record['status']}, not finished.")
        return dict(self._record["result"])

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent on the run so far, interrupted sessions included."""
        return float(self._record["wall_seconds"])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line to ``metrics.jsonl``.

        Args:
            step: larger than that of the line before.
            metrics: finite numbers by name.

        Raises:
            ArgumentError: the step does not grow, or a metric is called "step".
            NonFiniteError: a metric is NaN or infinite.
            StorageError: the disk refused.
        """
        if step <= self._last_step:
            raise ArgumentError(f"log: step {step} does not follow step {self._last_step}.")
        if "step" in metrics:
            raise ArgumentError("log: 'step' names the line's own step; rename the metric.")
        for name, value in metrics.items():
            if not abs(value) < float("inf"):
                raise NonFiniteError(f"log: step {step}: the metric '{name}' is {value}.")
        line = storage.to_json({"step": step, **metrics}) + "\n"
        with storage.refusals_of_disk(self.folder / METRICS):
            if self._metrics is None:
                self._metrics = (self.folder / METRICS).open("a", encoding="utf-8")
            self._metrics.write(line)
            self._metrics.flush()
        self._last_step = step
        if self.tensorboard:
            self._events(step, metrics)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl`` in order."""
        return read_metrics(self.folder)

    def save(self, step: int, tree: Mapping[str, Any]) -> None:
        """Write the checkpoint for "everything up to and including ``step`` is done".

        Raises:
            CheckpointError: ``tree`` holds what a checkpoint cannot.
            StorageError: the disk refused; the previous checkpoint is intact.
        """
        from sidle import checkpoint

        if self._metrics is not None:
            with storage.refusals_of_disk(self.folder / METRICS):
                # A checkpoint must never be newer than the metrics it stands for.
                os.fsync(self._metrics.fileno())
        content = {"step": step, "identity": self.identity.as_dict(), "tree": tree}
        checkpoint.save(self.folder / CHECKPOINT, {**content, "machine": self._record["machine"]})
        self._write_record()

    def resume(self) -> tuple[int, Any] | None:
        """Return (step, tree) of the checkpoint, or None where there is none.

        Metrics after that step are dropped: they will be made again.

        Raises:
            CheckpointError: the checkpoint is damaged.
            DataError: the metrics are damaged before the checkpoint's step.
            RunError: the checkpoint belongs to another run, or this was called before: a run
                folder holds the state of one piece of work.
        """
        from sidle import checkpoint

        if self._resumed:
            raise RunError(
                f"{self.folder}: a second training began in this run. A run folder holds one "
                "checkpoint: open a run for each training."
            )
        self._resumed = True
        step, tree = -1, None
        if (self.folder / CHECKPOINT).exists():
            content = checkpoint.load(self.folder / CHECKPOINT)
            if content.get("identity") != self.identity.as_dict():
                raise RunError(
                    f"{self.folder / CHECKPOINT}: belongs to a run with other settings, seed, "
                    "data or code. Delete it to start anew."
                )
            step, tree = content["step"], content["tree"]
        self._drop_metrics_after(step)
        return None if tree is None else (step, tree)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Record the final ``result`` (JSON values) and mark the run as finished."""
        self._write_record({"result": dict(result), "status": "finished", "error": None})

    def __enter__(self) -> Run:
        """Take the lock and read or make ``run.json``."""
        with storage.refusals_of_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.folder / LOCK)
            self._lock.acquire()
        try:
            self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Record how it ended and release the lock."""
        try:
            # An error under way says more than the same full disk once again.
            with contextlib.suppress(SidleError) if error else contextlib.nullcontext():
                self._end(error)
        finally:
            self._lock.release()

    def _end(self, error: BaseException | None) -> None:
        try:
            if not self.finished:
                status = "failed" if isinstance(error, Exception) else "interrupted"
                message = f"{type(error).__name__}: {error}" if status == "failed" else None
                self._write_record({"status": status, "error": message})
        finally:
            with storage.refusals_of_disk(self.folder):
                if self._writer is not None:
                    self._writer.close()
                if self._metrics is not None:
                    self._metrics.close()

    def _begin(self) -> None:
        for leftover in self.folder.glob(f".{RECORD}.*"):
            leftover.unlink(missing_ok=True)
        for leftover in self.folder.glob(f".{CHECKPOINT}.*"):
            leftover.unlink(missing_ok=True)
        identity = self.identity.as_dict()
        changes = {"status": "running", "error": None, "machine": provenance.machine()}
        self._clocks = time.monotonic(), time.process_time()
        if (self.folder / RECORD).exists():
            self._record = read_record(self.folder)
            refuse_mixing(self.folder, self._record, self.identity)
            if self.finished:
                return
        else:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._record = {
                "format": FORMAT,
                **identity,
                "started": now,
                "wall_seconds": 0.0,
                "cpu_seconds": 0.0,
                "result": None,
            }
        self._write_record(changes)

    def _write_record(self, changes: Mapping[str, Any] | None = None) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        record = self._record | dict(changes or {})
        record["wall_seconds"] += wall - self._clocks[0]
        record["cpu_seconds"] += cpu - self._clocks[1]
        storage.write_json(self.folder / RECORD, record)
        # Only what is on disk is true.
        self._record, self._clocks = record, (wall, cpu)

    def _drop_metrics_after(self, step: int) -> None:
        """Cut ``metrics.jsonl`` behind the last whole line whose step is at most ``step``."""
        path = self.folder / METRICS
        if not path.exists():
            return
        with storage.refusals_of_disk(path):
            lines = path.read_bytes().splitlines(keepends=True)
        steps = [_step_of(line) for line in lines]
        kept = next((i for i, at in enumerate(steps) if not 0 <= at <= step), len(steps))
        if any(0 <= at <= step for at in steps[kept:]):
            raise DataError(
                path,
                f"damaged before step {step}, up to which the checkpoint goes.",
                "Delete the run's folder to start anew.",
                line=kept + 1,
            )
        with storage.refusals_of_disk(path):
            os.truncate(path, sum(map(len, lines[:kept])))
        self._last_step = steps[kept - 1] if kept else -1

    def _events(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._writer is None:
            self._writer = _event_writer(self.folder / "events", step)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)


def open_run(folder: str | Path, identity: Identity, *, tensorboard: bool = False) -> Run:
    """Return the run at ``folder``, to be entered with ``with``; waits for another writer.

    Raises (on entering):
        RunError: the folder holds another run (other settings, seed, data or code).
        DataError: its ``run.json`` is damaged.
        StorageError: the disk refused.
    """
    return Run(Path(folder), identity, tensorboard)


def read_record(folder: str | Path) -> dict[str, Any]:
    """Return ``run.json`` of a run folder; safe while another process writes it.

    Raises:
        DataError: the file is damaged or of another format.
        StorageError: it cannot be read.
    """
    path = Path(folder) / RECORD
    record = storage.read_json(path)
    if not _is_whole(record):
        raise DataError(
            path,
            f"expected a whole run record of format {FORMAT}.",
            "Delete the run's folder, or read it with the version of sidle that wrote it.",
        )
    checked: dict[str, Any] = record
    return checked


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl``; a last line that is still being written is left out.

    Raises:
        DataError: a line before the last is not JSON.
        StorageError: the file cannot be read.
    """
    path = Path(folder) / METRICS
    if not path.exists():
        return []
    with storage.refusals_of_disk(path):
        lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise DataError(
                path, f"not JSON: {error}.", "Delete the run's folder.", line=number
            ) from error
    return records


def status(folder: str | Path) -> str:
    """Return "finished", "failed", "running" or "interrupted"; asks the lock who is alive."""
    recorded = str(read_record(folder)["status"])
    if recorded != "running":
        return recorded
    lock = filelock.FileLock(Path(folder) / LOCK)
    try:
        with lock.acquire(blocking=False):
            return "interrupted"
    except filelock.Timeout:
        return "running"


def find(root: str | Path) -> Iterator[Path]:
    """Yield every run folder ``<root>/<study>/<cell>`` in order of name."""
    for record in sorted(Path(root).glob(f"*/*/{RECORD}")):
        yield record.parent


def _step_of(line: bytes) -> int:
    """Return the step of a line of metrics, -1 for a torn or damaged one."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else -1
    except (ValueError, KeyError, TypeError):
        return -1


def _is_whole(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("format") == FORMAT
        and all(name in record and isinstance(record[name], kind) for name, kind in _KINDS.items())
    )


def delete(folder: str | Path) -> bool:
    """Delete a run folder; return False, and do nothing, if a process is writing it.

    Raises:
        StorageError: the operating system refused.
    """
    folder = Path(folder)
    with storage.refusals_of_disk(folder):
        try:
            with filelock.FileLock(folder / LOCK).acquire(blocking=False):
                shutil.rmtree(folder)
        except filelock.Timeout:
            return False
    return True


def refuse_mixing(folder: Path, record: Mapping[str, Any], identity: Identity) -> None:
    """Raise unless ``record``, of ``folder``, is of the run that ``identity`` says.

    Raises:
        RunError: settings, seed, data or code differ; names them.
    """
    for part, ours in identity.as_dict().items():
        theirs = record.get(part)
        if theirs != ours:
            if part == "settings" and isinstance(theirs, dict):
                names = sorted(k for k in theirs | ours if theirs.get(k) != ours.get(k))
                part = "settings " + ", ".join(f"'{name}'" for name in names)
            raise RunError(
                f"{folder}: holds a run with other {part}. Choose another folder, or delete this "
                "one if its result is no longer wanted."
            )


def _event_writer(folder: Path, step: int) -> SummaryWriter:
    from sidle.errors import MissingExtraError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("Writing TensorBoard events", "tensorboard") from error
    # Events at and after this step come from a session that was killed; TensorBoard hides them.
    return SummaryWriter(str(folder), purge_step=step)
