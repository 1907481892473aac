"""`sidle evaluate`: how far can a classifier be trusted?"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from sidle.cli import console
from sidle.errors import ArgumentError, ShapeError, SidleError, StorageError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from sidle.evaluation.assessment import Assessment
    from sidle.evaluation.audit import Audit
    from sidle.report import figures
    from sidle.report.sheet import Figure, Sheet

_NORMS = {"linf": "L-inf", "l2": "L2", "l1": "L1"}
Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class EvaluateOptions:
    """Tell how far a classifier can be trusted: calibration, attacks, outliers, corruptions.

    Beside every accuracy under attack stands an audit for masked gradients: signs that attacks
    failed because they were misled, not because the classifier is robust (Athalye et al. 2018).
    Inputs lie in [0, 1]; normalisation belongs into the model. Weights come from .safetensors, .pt
    (tensors only) or checkpoints of sidle.
    """

    weights: tyro.conf.Positional[Path]
    """File with the weights."""
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
    examples: int = 0
    """Test examples, at most: the first so many; 0 takes all."""
    suite: Literal["fast", "full", "none"] = "fast"
    """Attacks: fast (FGSM and PGD in three norms), full (Carlini-Wagner, attacks without gradients,
    restarts; minutes a hundred images), or none."""
    attacked: int = 0
    """Examples that are attacked, at most; 0 takes 1000, for the full suite 100."""
    audited: int = 50
    """How many of them are audited for masked gradients."""
    linf: float | None = None
    """Largest change of an entry; by default the usual one for such images, and so are the next."""
    l2: float | None = None
    """Largest Euclidean length of a change."""
    l1: float | None = None
    """Largest sum of changes."""
    outliers: tuple[str, ...] = ()
    """Sets of inputs of another kind, as --data; by default uniform noise, and images upside
    down."""
    corruptions: bool = True
    """Measure accuracy on corrupted images, where inputs are images with 1 or 3 channels."""
    samples: int = 8
    """Draws of z, or of other noise, that a prediction of a model that draws is the mean of."""
    batch_size: int = 200
    """Examples evaluated at once."""
    device: str = "cpu"
    """Where to compute: cpu, cuda."""
    seed: int = 0
    """Names everything that is drawn."""
    page: Path | None = Path("evaluation.html")
    """Write a page with figures to this .html file; None writes none."""
    json: bool = False
    """Print {"accuracy", "calibration", "robustness", "outliers", "corruptions", ...} as JSON;
    accuracies are shares from 0 to 1."""


def evaluate(arguments: list[str]) -> int:
    """Run ``sidle evaluate`` with ``arguments``; return the exit code."""
    options = console.parse(
        EvaluateOptions,
        "evaluate",
        arguments,
        example="sidle evaluate weights.pt --model networks:LeNet --data test.npz",
    )
    if options.page is not None and options.page.suffix != ".html":
        raise UsageError(f"sidle evaluate: --page must end in .html, got {options.page}.")
    for name in ("examples", "attacked", "audited"):
        if getattr(options, name) < 0:
            raise UsageError(
                f"sidle evaluate: --{name} must be at least 0, got {getattr(options, name)}."
            )
    found = _assessed(options)
    page, refused = options.page, None
    if page is not None:
        from sidle.report import sheet

        command = shlex.join(["sidle", "evaluate", *arguments])
        try:
            sheet.write(_sheet(options, found, command), page)
        except StorageError as error:
            page, refused = None, error
    # What took minutes to find is told, whatever became of the page.
    if options.json:
        written = None if page is None else str(page)
        given = {"weights": str(options.weights), "data": options.data, "page": written}
        console.print_json(given | found.as_dict())
    else:
        _show(found, page)
    if refused is not None:
        raise refused
    return 0


def _assessed(options: EvaluateOptions) -> Assessment:
    from sidle.cli import labelled, models
    from sidle.evaluation import assessment

    model = models.load(
        options.weights, options.model, arguments=options.model_arguments, entry=options.entry
    )
    x, y = labelled.read(options.data, "test")
    x, y = x[: options.examples or None], y[: options.examples or None]
    _try(options, model, x)
    sets: dict[str, Tensor] | None = None
    if options.outliers:
        sets = {name: _outliers(name, tuple(x.shape[1:]), len(x)) for name in options.outliers}
    with _progress() as progress:
        return assessment.assess(
            model,
            x,
            y,
            suite=options.suite,
            outlier_sets=sets,
            with_corruptions=None if options.corruptions else False,
            budgets=_budgets(options, tuple(x.shape[1:])),
            samples=options.samples,
            n_images=options.attacked or (1000 if options.suite == "fast" else None),
            audit_images=options.audited,
            seed=options.seed,
            batch_size=options.batch_size,
            device=options.device,
            progress=progress,
        )


def _try(options: EvaluateOptions, model: Any, x: Tensor) -> None:
    """Ask the model once, as what it raises on inputs of a shape not its own is hard to read."""
    from sidle.evaluation import classifiers

    try:
        classifiers.logits(model, x[:1], device=options.device)
    except SidleError:
        raise
    except Exception as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise ArgumentError(
            f"sidle evaluate: {options.model} failed on inputs of shape (1, "
            f"{', '.join(map(str, x.shape[1:]))}): {type(error).__name__}: {said}. Do model and "
            "data belong together? Images are read as N x C x H x W."
        ) from error


def _outliers(name: str, shape: tuple[int, ...], most: int) -> Tensor:
    from sidle.cli import labelled

    found = labelled.read_inputs(name, "test")[:most]
    if tuple(found.shape[1:]) != shape:
        raise ShapeError(
            f"sidle evaluate: --outliers {name} holds inputs of shape {tuple(found.shape[1:])}, "
            f"the test data of shape {shape}. Give a set of the same shape."
        )
    return found


def _budgets(options: EvaluateOptions, shape: tuple[int, ...]) -> Any:
    """Return the budgets that were given, completed by the usual ones."""
    from sidle.evaluation.suites import Budgets

    given = {name: getattr(options, name) for name in _NORMS}
    if options.suite == "none":
        return None
    if None not in given.values():
        return Budgets(**given)
    if len(shape) != 3:
        raise UsageError(
            f"sidle evaluate: inputs of shape {shape} are no images with channels, for which there "
            "are usual budgets. Give --linf, --l2 and --l1, or --suite none."
        )
    usual = Budgets.for_images(shape)
    return Budgets(**{n: usual.of(n) if v is None else v for n, v in given.items()})  # type: ignore[arg-type]


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar a stage: what is being done, and how much of it."""
    from sidle import progress

    with contextlib.ExitStack() as stack:
        bars: list[tuple[int, Any]] = []

        def told(what: str, place: int, total: int) -> None:
            if place == 0:
                stack.close()
                bars[:] = [(total, stack.enter_context(progress.bar("evaluating", total)))]
                bars[0][1].advance(0, note=what)
            else:
                bars[0][1].advance(1, note=what)

        yield told


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _norm(norm: str | None) -> str:
    return "any" if norm is None else _NORMS[norm]


def _calibration(found: Assessment) -> Rows:
    one = found.calibration
    return [
        ("accuracy", _percent(one.accuracy)),
        ("mean confidence", _percent(one.confidence)),
        ("expected calibration error, 15 equal bins", _percent(one.ece)),
        ("the same, bins of equal numbers", _percent(one.ece_adaptive)),
        ("negative log-likelihood (nats)", f"{one.nll:.3f}"),
        ("Brier score", f"{one.brier:.3f}"),
        ("examples", f"{found.n:,}"),
    ]


def _attacks(found: Assessment) -> Rows:
    """Return accuracy under each attack and in the worst case, the audit beside."""
    one = found.robustness
    if one is None:
        return []
    rows: Rows = [("none", "", "", _percent(one.accuracy), "")]
    for attack in one.attacks:
        budget = "" if attack.norm is None else f"{attack.epsilon:.3g}"
        rows.append(
            (
                attack.name,
                _norm(attack.norm),
                budget,
                _percent(attack.robust_accuracy),
                _audited(one.audit.get(attack.norm) if attack.norm else None),
            )
        )
    for norm, value in one.worst.items():
        epsilon = next(a.epsilon for a in one.attacks if a.norm == norm)
        audit = _audited(one.audit.get(norm))
        rows.append(
            (f"worst in {_norm(norm)}", _norm(norm), f"{epsilon:.3g}", _percent(value), audit)
        )
    suspect = any(a.verdict != "passed" for a in one.audit.values())
    overall = ("suspect" if suspect else "passed") if one.audit else "not audited"
    rows.append(("worst of all", "any", "", _percent(one.worst_overall), overall))
    return rows


def _audited(audit: Audit | None) -> str:
    if audit is None:
        return "not audited"
    return "passed" if audit.verdict == "passed" else f"suspect: {', '.join(audit.failed)}"


def _checks(found: Assessment) -> Rows:
    """Return what each check of the audit measured."""
    if found.robustness is None:
        return []
    return [
        (_norm(norm), check.name, check.outcome, check.detail)
        for norm, audit in found.robustness.audit.items()
        for check in audit.checks
    ]


def _outlier_rows(found: Assessment) -> Rows:
    return [
        (
            name,
            score,
            f"{one.auroc:.3f}",
            f"{one.aupr_out:.3f}",
            f"{one.aupr_in:.3f}",
            _percent(one.fpr_at_95_tpr),
        )
        for name, some in found.outliers.items()
        for score, one in some.items()
    ]


def _corruption_rows(found: Assessment) -> Rows:
    if found.corruptions is None:
        return []
    return [
        (kind, *(_percent(value) for value in values))
        for kind, values in found.corruptions.accuracy.items()
    ]


_TABLES: tuple[tuple[str, tuple[str, ...], Callable[[Assessment], Rows]], ...] = (
    ("Accuracy and calibration", ("", "value"), _calibration),
    ("Accuracy under attack", ("attack", "norm", "budget", "accuracy", "audit"), _attacks),
    ("The audit for masked gradients", ("norm", "check", "outcome", "found"), _checks),
    (
        "Outliers",
        ("set", "score", "AUROC", "AUPR out", "AUPR in", "FPR at 95 % TPR"),
        _outlier_rows,
    ),
    (
        "Accuracy on corrupted images, by severity",
        ("kind", "1", "2", "3", "4", "5"),
        _corruption_rows,
    ),
)
_WORDS = ("norm", "audit", "check", "outcome", "found", "score")
_RIGHT = (
    "value",
    "budget",
    "accuracy",
    "AUROC",
    "AUPR out",
    "AUPR in",
    "FPR at 95 % TPR",
    *"12345",
)


def _notes(found: Assessment) -> list[str]:
    """Return what a reader should know, a note each."""
    notes = []
    attacked = found.robustness
    if attacked is not None:
        notes.append(
            f"{attacked.n_images:,} examples were attacked. A worst case counts an example as "
            "broken if any attack broke it; accuracy under a single attack says little."
        )
        suspect = [_norm(norm) for norm, a in attacked.audit.items() if a.verdict != "passed"]
        if suspect:
            notes.append(
                f"Signs of masked gradients in {', '.join(suspect)}: robust accuracies there are "
                "too high. See which check failed, and attack in a way that gets around it."
            )
        elif attacked.audit:
            notes.append(
                "No sign of masked gradients was found. That proves no robustness: stronger "
                "attacks may break more."
            )
        else:
            notes.append("No audit was made, so nothing says whether attacks were misled.")
    if found.draws:
        notes.append("The model draws at random: predictions are means over draws.")
    return notes


def _answer(found: Assessment) -> tuple[Literal["holds", "does not hold", "undecided"], str, str]:
    """Return colour, answer and lead of the page."""
    plain = _percent(found.calibration.accuracy)
    calibrated = f"Confidence is off by {_percent(found.calibration.ece)} on average."
    if found.robustness is None:
        return "undecided", f"{plain} right, not attacked", calibrated
    worst = _percent(found.robustness.worst_overall)
    audits = found.robustness.audit.values()
    if not audits:
        return "undecided", f"{plain} right, {worst} under attack, not audited", calibrated
    if any(audit.verdict != "passed" for audit in audits):
        return "does not hold", f"{plain} right; {worst} under attack is suspect", calibrated
    return "holds", f"{plain} right, {worst} under attack, audit passed", calibrated


def _show(found: Assessment, page: Path | None) -> None:
    items: list[Any] = []
    for title, columns, rows_of in _TABLES:
        if rows := rows_of(found):
            made = console.table(title, columns, right=_RIGHT)
            for row in rows:
                made.add_row(*row)
            items.append(made)
    items += _notes(found)
    if page is not None:
        items.append(f"The page is at {page}")
    console.show(*items)


def _sheet(options: EvaluateOptions, found: Assessment, command: str) -> Sheet:
    from sidle import provenance
    from sidle.report import sheet

    verdict, answer, lead = _answer(found)
    facts = {
        "weights": str(options.weights),
        "model": options.model,
        "model arguments": options.model_arguments,
        "test data": options.data,
        "outliers": ", ".join(found.outliers) or "none",
        "suite": options.suite,
        "samples": options.samples if found.draws else "the model does not draw",
        "seed": options.seed,
        **provenance.machine(),
    }
    return sheet.Sheet(
        title=f"How far can {options.weights.name} be trusted?",
        verdict=verdict,
        answer=answer,
        lead=lead,
        notes=_notes(found),
        figures=_figures(found),
        tables=tuple(
            sheet.Table(title, columns, rows, _WORDS)
            for title, columns, rows_of in _TABLES
            if (rows := rows_of(found))
        ),
        facts=facts,
        command=command,
        written="sidle evaluate",
    )


def _figures(found: Assessment) -> tuple[Figure, ...]:
    from sidle.report import figures, sheet

    bins = found.calibration.bins
    filled = [i for i, count in enumerate(bins.count) if count]
    reliability = [
        *_line(
            [bins.confidence[i] for i in filled], [bins.accuracy[i] for i in filled], "model", 0
        ),
        *figures.reference_line((0.0, 1.0), (0.0, 1.0), "calibrated"),
    ]
    made = [
        sheet.Figure(
            "Reliability",
            "Share that is right against mean confidence, in bins of confidence. Below the dashed "
            "line the classifier is surer than it should be.",
            figures.figure(reliability, "Mean confidence", "Accuracy", y_format=".0%"),
        )
    ]
    if found.corruptions is not None:
        traces = [
            trace
            for i, (kind, values) in enumerate(found.corruptions.accuracy.items())
            for trace in _line(range(6), [found.corruptions.clean, *values], kind, i)
        ]
        made.append(
            sheet.Figure(
                "Accuracy on corrupted images",
                "By severity; 0 is the images as they are.",
                figures.figure(traces, "Severity", "Accuracy", y_format=".0%"),
            )
        )
    return tuple(made)


def _line(x: Sequence[float], y: Sequence[float], name: str, index: int) -> list[figures.Trace]:
    from sidle.report import figures

    nothing = [None] * len(x)
    return figures.line_with_band(x, y, nothing, nothing, name, index)[1:]
