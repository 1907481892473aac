"""Figures of the study `mutual-information`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sidle.evaluation.statistics import t_interval
from sidle.mi.guarantees import BOUNDS
from sidle.report import figures as draw
from sidle.studies.mutual_information_claims import additivity_ratio, processing_ratio, staircase
from sidle.studies.study import Figure, Record, select

_INFORMATION = "true mutual information (nats)"
_TRANSFORMS = {"none": "", "cubic": ", cubed", "full-rank-cubic": ", rotated and cubed"}
_DATASETS = {"digits": "digits", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found; each point is a mean over seeds with its 95 % interval."""
    found = []
    if stairs := select(records, kind="staircase"):
        found += _staircase_figures(stairs)
    if critics := select(records, kind="critic"):
        found.append(_critic_figure(critics))
    if sandwiches := select(records, kind="sandwich"):
        found.append(_sandwich_figure(sandwiches))
    if negatives := select(records, kind="negatives"):
        found += _negatives_figures(negatives)
    if tasks := select(records, kind="task"):
        found.append(_tasks_figure(tasks))
    rows = select(records, kind="rows")
    for dataset in dict.fromkeys(record["dataset"] for record in rows):
        found.append(_rows_figure(select(rows, dataset=dataset)))
    if rows:
        found += _consistency_figures(records)
    return found


def _over_seeds(rows: Iterable[Iterable[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    return [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals]


def _staircase_figures(stairs: Sequence[Record]) -> list[Figure]:
    levels = stairs[0]["levels"]
    trained = [name for name in BOUNDS if select(stairs, bound=name, transform="none", alpha=None)]
    series: dict[str, tuple[str, str]] = {name: (name, name) for name in trained}
    if "js" in trained:
        series["smile"] = ("js", "smile")
    means = {k: staircase(stairs, b, "mean", read=r) for k, (b, r) in series.items()}
    deviations = {k: staircase(stairs, b, "deviation", read=r) for k, (b, r) in series.items()}
    exact = {k: staircase(stairs, k, "deviation", read="exact") for k in trained}
    found = [
        _estimates_figure(stairs, means),
        _curve_figure(stairs, trained),
        _spread_figure(
            levels,
            deviations,
            "deviation-trained",
            "How much one batch varies, with a trained critic",
            "Standard deviation over fresh batches (geometric mean over seeds). InfoNCE grows "
            "calmer towards its ceiling; NWJ and the read-out of JS grow wilder with the "
            "information. SMILE clips the density ratio of the same JS critic.",
            "standard deviation (nats)",
        ),
        _spread_figure(
            levels,
            exact,
            "deviation-exact",
            "How much one batch varies, with the exact critic",
            "The same with the exact log density ratio in the critic's place: no training can do "
            "better. NWJ and the JS read-out are then one and the same.",
            "standard deviation (nats)",
        ),
        _spread_figure(
            levels,
            {
                name: {
                    s: np.hypot(means[name][s] - np.array(levels), deviations[name][s])
                    for s in means[name]
                }
                for name in series
            },
            "rmse",
            "How far one batch lies from the truth",
            "Root mean squared error of the reading of one batch: bias and deviation together "
            "(geometric mean over seeds). Bias alone is the distance from the dashed line in the "
            "first figure.",
            "root mean squared error (nats)",
        ),
    ]
    if any(record["transform"] != "none" for record in stairs):
        found.append(_transform_figure(stairs))
    if any(record["alpha"] is not None for record in stairs):
        found.append(_continuum_figure(stairs))
    return found


def _title(name: str) -> str:
    return BOUNDS[name].title + (" (JS critic)" if name == "smile" else "")


def _promises(names: Iterable[str]) -> str:
    """Say which bounds are lower bounds and which are none."""
    titles: dict[str, list[str]] = {"lower": [], "none": []}
    for name in dict.fromkeys(names):
        titles[BOUNDS[name].guarantee].append(BOUNDS[name].title)
    words = {"lower": "Lower bounds in expectation over fresh batches", "none": "Not bounds"}
    return " ".join(f"{words[one]}: {'; '.join(some)}." for one, some in titles.items() if some)


def _frame(levels: Sequence[float]) -> tuple[float, float]:
    """Return a vertical range that holds every sensible estimate; a wild one would fill it all."""
    return -1.0, 1.6 * max(levels)


def _estimates_figure(
    stairs: Sequence[Record], means: Mapping[str, Mapping[int, npt.NDArray[Any]]]
) -> Figure:
    levels, ceiling = stairs[0]["levels"], math.log(stairs[0]["batch_size"])
    traces = draw.reference_line(levels, levels, "truth")
    traces += draw.reference_line([levels[0], levels[-1]], [ceiling] * 2, "log K", dash="dot")
    for index, (name, rows) in enumerate(means.items()):
        traces += draw.line_with_band(levels, *_over_seeds(rows.values()), _title(name), index)
    return Figure(
        "estimates",
        "What each bound reads",
        "Mean over fresh batches at the end of each stair. InfoNCE levels off at log K; the "
        "others have no ceiling, at the price of variance (next figures). What is no bound on a "
        f"batch may read above the truth. {_promises(means)} Values outside the frame are cut off.",
        draw.figure(traces, _INFORMATION, "estimate (nats)", y_range=_frame(levels)),
    )


def _curve_figure(stairs: Sequence[Record], trained: Sequence[str]) -> Figure:
    settings = stairs[0].cell.settings
    steps_per_level, levels = settings["steps_per_level"], settings["levels"]
    n_steps = steps_per_level * len(levels)
    edges = [edge for i in range(len(levels)) for edge in (i, i + 1)]
    truth = [level for level in levels for _ in range(2)]
    traces = draw.reference_line([e * steps_per_level for e in edges], truth, "truth")
    for index, name in enumerate(trained):
        rows = [
            row
            for record in select(stairs, bound=name, transform="none", alpha=None)
            for row in record["curve"]
        ]
        centres = [(i + 0.5) * n_steps / len(rows[0]) for i in range(len(rows[0]))]
        traces += draw.line_with_band(centres, *_over_seeds(rows), BOUNDS[name].title, index)
    return Figure(
        "staircase",
        "Climbing the staircase",
        "The bounds on training batches, each point averaged over an equal part of the training. "
        f"The paper's figure 2 shows the same climb. {_promises(trained)} Values outside the frame "
        "are cut off.",
        draw.figure(traces, "training step", "estimate (nats)", y_range=_frame(levels)),
    )


def _spread_figure(
    levels: Sequence[float],
    spreads: Mapping[str, Mapping[int, npt.NDArray[Any]]],
    id_: str,
    title: str,
    caption: str,
    y_title: str,
) -> Figure:
    traces: list[draw.Trace] = []
    for index, (name, rows) in enumerate(spreads.items()):
        # Averaged as logarithms: one wild seed would hide all others.
        ends = [np.exp(part).tolist() for part in _over_seeds([np.log(r) for r in rows.values()])]
        traces += draw.line_with_band(levels, ends[0], ends[1], ends[2], _title(name), index)
    return Figure(id_, title, caption, draw.figure(traces, _INFORMATION, y_title, y_log=True))


def _transform_figure(stairs: Sequence[Record]) -> Figure:
    levels = stairs[0]["levels"]
    traces = draw.reference_line(levels, levels, "truth")
    index = 0
    names = list(dict.fromkeys(r["bound"] for r in stairs if r["transform"] != "none"))
    for name in names:
        for transform, words in _TRANSFORMS.items():
            rows = staircase(stairs, name, "mean", transform=transform)
            if rows:
                title = BOUNDS[name].title + words
                traces += draw.line_with_band(levels, *_over_seeds(rows.values()), title, index)
                index += 1
    return Figure(
        "transforms",
        "The same information, harder to find",
        "y cubed, coordinate by coordinate, or rotated and then cubed: one-to-one maps, which "
        f"leave the information alone and make it harder to learn. {_promises(names)}",
        draw.figure(traces, _INFORMATION, "estimate (nats)", y_range=_frame(levels)),
    )


def _continuum_figure(stairs: Sequence[Record]) -> Figure:
    levels = stairs[0]["levels"]
    alphas = sorted({r["alpha"] for r in stairs if r["alpha"] is not None} - {0.0})
    rows: dict[str, list[list[float]]] = {"bias, downwards": [], "deviation": [], "error": []}
    for alpha in alphas:
        means, deviations = (
            staircase(stairs, "interpolated", what, alpha=alpha) for what in ("mean", "deviation")
        )
        bias = np.array([levels[-1] - row[-1] for row in means.values()])
        deviation = np.array([row[-1] for row in deviations.values()])
        rows["bias, downwards"].append(bias.tolist())
        rows["deviation"].append(deviation.tolist())
        rows["error"].append(np.hypot(bias, deviation).tolist())
    traces: list[draw.Trace] = []
    for index, (name, by_alpha) in enumerate(rows.items()):
        points = _over_seeds(list(zip(*by_alpha, strict=True)))
        traces += draw.line_with_band(alphas, *points, name, index)
    return Figure(
        "continuum",
        "Between NWJ and InfoNCE",
        f"The interpolated bound at {levels[-1]:g} nats, against its alpha: towards 0 it is NWJ, "
        "towards 1 InfoNCE; a lower bound of at most 1 + log((K - 1) / alpha) all the way. Bias is "
        "truth minus reading; deviation is that of one batch; the error has both.",
        draw.figure(traces, "alpha", "nats", x_log=True),
    )


def _critic_figure(critics: Sequence[Record]) -> Figure:
    record = min(critics, key=lambda record: record.cell.seed)
    low, high = min(record["exact"]), max(record["exact"])
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "pairs (x, y)",
        "x": record["exact"],
        "y": record["learned"],
        "marker": {"color": draw.PALETTE[0], "size": 5, "opacity": 0.6},
    }
    traces = [*draw.reference_line([low, high], [low, high], "equal"), points]
    centred, raw, untrained = (
        t_interval([critic[name] for critic in critics])
        for name in ("r_squared", "r_squared_raw", "r_squared_untrained")
    )
    return Figure(
        "critic",
        "What InfoNCE's critic learns",
        "Scores of random pairs against the exact log density ratio, each minus its mean over y "
        f"(one seed shown). R squared over {len(critics)} seeds: {centred.mean:.3f} centred, "
        f"{raw.mean:.3f} as they are, {untrained.mean:.3f} before training.",
        draw.figure(traces, "exact log ratio, centred (nats)", "learned score, centred"),
    )


def _sandwich_figure(sandwiches: Sequence[Record]) -> Figure:
    sizes, nats = sandwiches[0]["sandwich_sizes"], sandwiches[0]["sandwich_nats"]
    traces = draw.reference_line([sizes[0], sizes[-1]], [nats, nats], "truth")
    for index, (name, title) in enumerate(
        (("upper", "leave-one-out upper bound"), ("lower", "minibatch lower bound"))
    ):
        rows = [record[name] for record in sandwiches]
        traces += draw.line_with_band(sizes, *_over_seeds(rows), title, index)
    return Figure(
        "sandwich",
        "Between two bounds",
        "With a known p(y | x) and no training at all, two bounds enclose the information and "
        "close on it as the batch grows.",
        draw.figure(traces, "pairs in a batch", "bound (nats)", x_log=True),
    )


def _negatives_figures(negatives: Sequence[Record]) -> list[Figure]:
    kinds = list(dict.fromkeys(record["negatives"] for record in negatives))

    def points(name: str) -> list[draw.Trace]:
        rows = [[r[name] for r in select(negatives, negatives=kind)] for kind in kinds]
        ends = _over_seeds(list(zip(*rows, strict=True)))
        return draw.interval_points(kinds, *ends, name, 0)

    return [
        Figure(
            "negatives-class",
            "What negatives keep: the class",
            "An embedding of the left half of a digit learns to find the right half among "
            "negatives. If these are of the same class, the class is no help, and the embedding "
            "lets it go: accuracy of a linear probe on test images.",
            draw.figure(points("class_accuracy"), "negatives", "class accuracy", y_format=".0%"),
        ),
        Figure(
            "negatives-detail",
            "What negatives keep: the detail",
            "How well the same critics find the right half among 32 test images of one class: "
            "negatives of the same class train for that.",
            draw.figure(points("within_nats"), "negatives", "InfoNCE within a class (nats)"),
        ),
    ]


def _tasks_figure(tasks: Sequence[Record]) -> Figure:
    by_task: dict[str, list[Record]] = {}
    for record in sorted(tasks, key=lambda record: (record["truth"], record["task"])):
        by_task.setdefault(record["task"], []).append(record)
    readings: dict[str, Callable[[Record], float]] = {
        "InfoNCE": lambda record: record["nats"]["infonce"],
        "KSG": lambda record: record["ksg"],
        "CCA": lambda record: record["cca"],
    }
    traces: list[draw.Trace] = []
    for index, (name, reading) in enumerate(readings.items()):
        rows = [[reading(r) - r["truth"] for r in found] for found in by_task.values()]
        ends = _over_seeds(list(zip(*rows, strict=True)))
        traces += draw.interval_points(list(by_task), *ends, name, index, horizontal=True)
    # Last, since categories stand in the order in which they are first named.
    traces += draw.reference_line([0.0, 0.0], [next(iter(by_task)), list(by_task)[-1]], "truth")
    coverages = [record["coverage"] for record in tasks]
    return Figure(
        "tasks",
        "Problems of other people",
        f"Estimate minus truth from {tasks[0]['task_pairs']:,} pairs, tasks in the order of their "
        "information. The critic reads too low where it learns little, by design never far too "
        "high; nearest neighbours read low in many dimensions, canonical correlations anywhere "
        "where data are not normal. InfoNCE's 97.5 % lower confidence bound covered the truth in "
        f"at least {min(coverages):.1%} of {tasks[0]['redraws']} fresh samples, whatever the "
        "task and seed.",
        draw.figure(traces, "estimate minus truth (nats)", "", x_range=(-1.0, 1.0)),
    )


def _rows_figure(rows: Sequence[Record]) -> Figure:
    paired, control = select(rows, paired=True), select(rows, paired=False)
    dataset, counts = rows[0]["dataset"], sorted({record["rows"] for record in paired})
    traces: list[draw.Trace] = []
    index = 0
    for bound in dict.fromkeys(record["bound"] for record in paired):
        for noise in sorted({record["noise"] for record in select(paired, bound=bound)}):
            nats = [
                [r["nats"] for r in select(paired, rows=n, noise=noise, bound=bound)]
                for n in counts
            ]
            seen = f"noise of {noise:g} grey levels" if noise else "no noise"
            name = f"{BOUNDS[bound].title}, {seen}"
            points = _over_seeds(list(zip(*nats, strict=True)))
            traces += draw.line_with_band(counts, *points, name, index)
            index += 1
    if control:
        points = _over_seeds([[record["nats"]] for record in control])
        name = "rows of another image (truth: 0)"
        traces += draw.interval_points([control[0]["rows"]], *points, name, index)
    ceilings = {record["ceiling"] for record in select(paired, bound="infonce")}
    for ceiling in ceilings:
        traces += draw.reference_line([counts[0], counts[-1]], [ceiling] * 2, "log K", dash="dot")
    return Figure(
        f"rows-{dataset}",
        f"How much the top rows say about an image: {_DATASETS[dataset]}",
        "Between a real image and its own top rows, read on held-out images. Without noise few "
        "rows all but name the image, and InfoNCE sits at its ceiling log K; seen through noise, "
        f"every further row adds to it. {_promises(record['bound'] for record in paired)}",
        draw.figure(traces, "top rows seen", "estimate (nats)"),
    )


def _consistency_figures(records: Sequence[Record]) -> list[Figure]:
    found = []
    for kind, ratio, ideal, title, caption in (
        (
            "processing",
            processing_ratio,
            1.0,
            "What follows from y adds nothing",
            "The estimate with the upper part of the rows added to y a second time, over the "
            "estimate without: the data-processing inequality asks for 1.",
        ),
        (
            "additivity",
            additivity_ratio,
            2.0,
            "Two images say twice as much",
            "The estimate for two independent images at once over that for one, from as many "
            "pairs: the truth is 2.",
        ),
    ):
        cells = select(records, kind=kind)
        traces: list[draw.Trace] = []
        datasets = list(dict.fromkeys(record["dataset"] for record in cells))
        for index, bound in enumerate(dict.fromkeys(record["bound"] for record in cells)):
            rows = [list(ratio(records, bound, dataset=d).values()) for d in datasets]
            points = _over_seeds(list(zip(*rows, strict=True)))
            names = [_DATASETS[d] for d in datasets]
            traces += draw.interval_points(names, *points, BOUNDS[bound].title, index)
        if traces:
            caption += " " + _promises(record["bound"] for record in cells)
            ends = [_DATASETS[datasets[0]], _DATASETS[datasets[-1]]]
            traces += draw.reference_line(ends, [ideal] * 2, "what should be")
            found.append(
                Figure(kind, title, caption, draw.figure(traces, "images", "ratio of estimates"))
            )
    return found
