"""`sidle xc train`, `predict`, `evaluate` and `info`: a classifier for very many labels."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import tyro

from sidle import storage
from sidle.cli import console
from sidle.errors import ArgumentError, DataError, UsageError

if TYPE_CHECKING:
    from sidle.data.stored_rows import StoredRows
    from sidle.runs import Identity
    from sidle.slide.classifier import ExtremeClassifier

_CUTOFFS = (1, 3, 5)


@dataclass(frozen=True)
class TrainOptions:
    """Train a classifier of sparse rows or texts with very many labels.

    FILE is XC text (also .gz), an .npz file of scipy.sparse with --labels, or text with a line a
    row: `__label__NAME` for each label, then words. While it trains, rows lie on disk in OUT; they
    need not fit into memory if --evidence-rows is given. Ctrl-C keeps what was learned: the same
    command goes on from there. Settings left out are the classifier's own.
    """

    file: tyro.conf.Positional[Path]
    """Rows to learn from; `xc_bibtex/train.txt.gz` also names a file of a known data set."""
    out: Path
    """Folder of the model."""
    labels: Path | None = None
    """Labels of an .npz file, another .npz file (N, L) with entries 1."""
    hidden: int | None = None
    """Width of the network."""
    residual: bool = False
    """Give the network a residual block."""
    dropout: float | None = None
    """Share of hidden units dropped in training."""
    n_epochs: int | None = None
    """Passes over the rows at most; training ends earlier when held-out P@1 no longer rises."""
    learning_rate: float | None = None
    """Adam's, at its highest."""
    batch_size: int | None = None
    """Rows of a step."""
    candidates: int | None = None
    """Outputs a step is scored against beside its labels, where there are over 8192."""
    weighting: Literal["auto", "tfidf", "none"] | None = None
    """tfidf: entries are counts and get weights; none: they have theirs."""
    neighbours: int | None = None
    """How many of the nearest training rows vote."""
    evidence_rows: int | None = None
    """Rows, drawn by chance, that profiles and votes are taken from and the model keeps, at most;
    0: the network alone decides. For rows larger than memory; by default all."""
    shortlist: int | None = None
    """Labels that profiles and votes name for a row."""
    budget: int | None = None
    """Links from words to rows or labels followed for a row at most."""
    patience: int | None = None
    """Evaluations without a better P@1 after which training stops."""
    seed: int = 0
    """Names all chance."""
    threads: int | None = None
    """How many share the work; all cores by default."""
    dry_run: bool = False
    """Read the file, say what would be done, and end."""
    json: bool = False
    """Print {"model", "rows", "features", "labels", "seconds", "validation": {"p@1", ...}}."""


@dataclass(frozen=True)
class PredictOptions:
    """Write the best labels of each row.

    A line a row: `label:probability` for each of the k best labels, best first.
    """

    model: tyro.conf.Positional[Path]
    """Folder that `sidle xc train` wrote."""
    file: tyro.conf.Positional[Path]
    """Rows: XC text, .npz or text; labels in it are not looked at."""
    k: int = 5
    """Labels a row."""
    out: Path | None = None
    """File to write; by default the screen."""
    json: bool = False
    """Print {"rows", "k", "out"}; without --out {"predictions": [[{"label", "probability"}]]}."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Measure P@k, nDCG@k and propensity-scored PSP@k, k = 1, 3, 5, on rows with labels."""

    model: tyro.conf.Positional[Path]
    """Folder that `sidle xc train` wrote."""
    file: tyro.conf.Positional[Path]
    """Rows with labels that were not trained on."""
    labels: Path | None = None
    """Labels of an .npz file."""
    a: float = 0.55
    """Of the propensities; 0.5 for Wikipedia, 0.6 for Amazon."""
    b: float = 1.5
    """Of the propensities; 0.4 for Wikipedia, 2.6 for Amazon."""
    json: bool = False
    """Print {"p@1", "p@3", "p@5", "ndcg@1", ..., "psp@1", ..., "rows", "seconds"} as JSON."""


@dataclass(frozen=True)
class InfoOptions:
    """Say what a model was trained on, how, and how good it was on held-out rows."""

    model: tyro.conf.Positional[Path]
    """Folder that `sidle xc train` wrote."""
    json: bool = False
    """Print the content of model.json."""


def train(arguments: list[str]) -> int:
    """Run ``sidle xc train`` with ``arguments``; return the exit code."""
    options = console.parse(
        TrainOptions, "xc train", arguments, example="sidle xc train rows.txt --out model"
    )
    from sidle import provenance, runs
    from sidle.cli import extreme_files
    from sidle.slide.classifier import ExtremeClassifier

    path = extreme_files.find(options.file)
    settings = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if value is not None and name in ExtremeClassifier().get_params()
    }
    classifier = ExtremeClassifier(**settings, random_state=options.seed)
    if options.dry_run:
        _say_what_would_be_done(options, extreme_files.shape(path, options.labels))
        return 0
    try:
        with extreme_files.stored(path, options.labels, options.out) as rows:
            identity = runs.Identity(
                settings=classifier.get_params(),
                seed=options.seed,
                data_digest=rows.digest,
                code_digest=provenance.code_digest("sidle.slide.classifier"),
            )
            result = _trained(options, path, classifier, rows, identity)
    except KeyboardInterrupt:
        again = shlex.join(["sidle", "xc", "train", *arguments])
        print(f"\nWhat was learned is kept. To go on: {again}", file=sys.stderr)
        raise
    _announce(options, result)
    return 0


def _trained(
    options: TrainOptions,
    path: Path,
    classifier: ExtremeClassifier,
    rows: StoredRows,
    identity: Identity,
) -> dict[str, Any]:
    """Train in the run's folder if that is not done, keep the model, and return the result."""
    from sidle import runs
    from sidle.cli import extreme_files

    with runs.open_run(options.out, identity) as run:
        if not run.finished:
            classifier.fit(rows.features, rows.labels, run=run)
            kind = extreme_files.kind_of(path)
            classifier.save(options.out, file=str(options.file), kind=kind, **rows.notes)
            run.finish({
                "model": str(options.out),
                "rows": rows.features.shape[0],
                "features": rows.features.shape[1],
                "labels": rows.labels.shape[1],
                "seconds": round(run.seconds, 3),
                "validation": classifier.validation_,
            })  # fmt: skip
            # The model is kept; the checkpoint, three times its size, has done its work.
            (options.out / runs.CHECKPOINT).unlink(missing_ok=True)
        result: dict[str, Any] = run.result
    return result


def predict(arguments: list[str]) -> int:
    """Run ``sidle xc predict`` with ``arguments``; return the exit code."""
    options = console.parse(
        PredictOptions, "xc predict", arguments,
        example="sidle xc predict model new.txt --k 3 --out predictions.txt",
    )  # fmt: skip
    if options.k < 1:
        raise UsageError(f"sidle xc predict: --k must be at least 1, got {options.k}.")
    from sidle.cli import extreme_files

    classifier, names = _load(options.model)
    numbers = {name: i for i, name in enumerate(names)}
    path = extreme_files.find(options.file)
    written: list[list[dict[str, Any]]] = []
    n_rows = 0
    with _opened(options) as file:
        for part in extreme_files.blocks(path, None, numbers, needed=False):
            found, scores = classifier.predict_topk(part.features, options.k)
            probabilities = classifier.blend_.probabilities(scores)
            n_rows += len(found)
            for labels, values in zip(found, probabilities, strict=True):
                pairs = [
                    (names[label] if names else int(label), round(float(value), 5))
                    for label, value in zip(labels, values, strict=True)
                    if label >= 0
                ]
                if file is not None:
                    file.write(" ".join(f"{label}:{value:g}" for label, value in pairs) + "\n")
                else:
                    written.append(
                        [{"label": label, "probability": value} for label, value in pairs]
                    )
    if options.json:
        if options.out is None:
            console.print_json({"predictions": written})
        else:
            console.print_json({"rows": n_rows, "k": options.k, "out": str(options.out)})
    elif options.out is not None:
        console.show(f"Wrote the {options.k} best labels of {n_rows:,} rows to {options.out}.")
    return 0


def evaluate(arguments: list[str]) -> int:
    """Run ``sidle xc evaluate`` with ``arguments``; return the exit code."""
    options = console.parse(
        EvaluateOptions, "xc evaluate", arguments, example="sidle xc evaluate model test.txt --json"
    )
    from scipy.sparse import csr_array, vstack

    from sidle.cli import extreme_files
    from sidle.evaluation import ranking

    classifier, names = _load(options.model)
    numbers = {name: i for i, name in enumerate(names)}
    path = extreme_files.find(options.file)
    n_labels = len(classifier.classes_)
    cutoffs = [k for k in _CUTOFFS if k <= n_labels]
    ranked, truths = [], []
    start = time.monotonic()
    for part in extreme_files.blocks(path, options.labels, numbers, needed=True):
        assert part.labels is not None
        if not names and part.labels.shape[1] != n_labels:
            raise ArgumentError(
                f"{path}: has {part.labels.shape[1]} labels, but the model {options.model} was "
                f"trained with {n_labels}. Evaluate on rows of the same problem."
            )
        ranked.append(classifier.predict_topk(part.features, max(cutoffs))[0])
        truths.append(part.labels)
    if not ranked:
        raise DataError(path, "there are no rows.", "Name a file with rows to evaluate on.")
    # Labels that the model has never seen are misses.
    width = max(n_labels, *(part.shape[1] for part in truths))
    truth = csr_array(
        vstack(
            [csr_array((t.data, t.indices, t.indptr), shape=(t.shape[0], width)) for t in truths],
            format="csr",
        )
    )
    known = np.zeros(width, np.int64)
    known[:n_labels] = classifier.rows_of_label_
    propensities = ranking.propensities_of_counts(
        known, classifier.n_rows_, a=options.a, b=options.b
    )
    found = ranking.ranking_metrics(np.concatenate(ranked), truth, propensities, cutoffs=cutoffs)
    seconds = time.monotonic() - start
    if options.json:
        console.print_json({**found, "rows": truth.shape[0], "seconds": round(seconds, 3)})
        return 0
    made = console.table(
        f"{options.model} on {truth.shape[0]:,} rows", ("k", "P@k", "nDCG@k", "PSP@k"),
        right=("k", "P@k", "nDCG@k", "PSP@k"),
    )  # fmt: skip
    for k in cutoffs:
        made.add_row(str(k), *(f"{found[f'{name}@{k}']:.4f}" for name in ("p", "ndcg", "psp")))
    console.show(made, f"Predicted in {console.seconds(seconds)}.")
    return 0


def info(arguments: list[str]) -> int:
    """Run ``sidle xc info`` with ``arguments``; return the exit code."""
    options = console.parse(InfoOptions, "xc info", arguments, example="sidle xc info model")
    from sidle.slide.model_folder import DESCRIPTION

    path = options.model / DESCRIPTION
    content = storage.read_json(path)
    if not isinstance(content, dict) or "n_labels" not in content:
        raise DataError(path, "this describes no model.", "Name a folder of `sidle xc train`.")
    if options.json:
        console.print_json(content)
        return 0
    made = console.table(str(options.model), ("what", "value"))
    for what, key in (
        ("trained on", "file"), ("rows", "n_rows"), ("features", "n_features"),
        ("labels", "n_labels"), ("weighting of words", "weighting"),
    ):  # fmt: skip
        value = content.get(key, "unknown")
        made.add_row(what, f"{value:,}" if isinstance(value, int) else str(value))
    for name, value in content["validation"].items():
        made.add_row(f"{name} on held-out rows", f"{value:.4f}")
    for name, value in content["settings"].items():
        made.add_row(name, str(value))
    console.show(made)
    return 0


def _load(folder: Path) -> tuple[ExtremeClassifier, list[str]]:
    from sidle.slide.classifier import ExtremeClassifier
    from sidle.slide.model_folder import DESCRIPTION

    classifier = ExtremeClassifier.load(folder)
    return classifier, list(storage.read_json(folder / DESCRIPTION).get("names", []))


@contextlib.contextmanager
def _opened(options: PredictOptions) -> Iterator[IO[str] | None]:
    """Yield where lines go: a file that appears when it is whole, the screen, or None (JSON)."""
    if options.out is not None:
        with storage.replacing(options.out) as path, path.open("w", encoding="utf-8") as file:
            yield file
    else:
        yield None if options.json else sys.stdout


def _say_what_would_be_done(options: TrainOptions, shape: dict[str, int]) -> None:
    if options.json:
        console.print_json({"model": str(options.out), **shape})
        return
    console.show(
        f"{options.file}: {shape['rows']:,} rows, {shape['features']:,} features, "
        f"{shape['labels']:,} labels.",
        f"The model would be kept in {options.out}. Nothing was started.",
    )


def _announce(options: TrainOptions, result: dict[str, Any]) -> None:
    if options.json:
        console.print_json(result)
        return
    shown = ", ".join(
        f"{name.upper()} {value:.4f}" for name, value in result["validation"].items()
        if name.startswith("p@")
    )  # fmt: skip
    console.show(
        f"Trained on {result['rows']:,} rows with {result['labels']:,} labels in "
        f"{console.seconds(result['seconds'])}. On held-out rows: {shown}.",
        f"Kept in {result['model']}. `sidle xc evaluate {options.out} FILE` measures it on others.",
    )
