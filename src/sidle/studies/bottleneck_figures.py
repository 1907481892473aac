"""Figures of the study `bottleneck`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.studies import bottleneck_robustness_figures as robustness
from sidle.studies.bottleneck_drawing import (
    COLOURS,
    PERCENT,
    Trained,
    beside,
    by_method,
    by_rho,
    colour_of,
    heatmap,
    mean,
    name_of,
    over_seeds,
)
from sidle.studies.study import Figure, Record, select

_DATASETS = {
    "digits": "digits",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar10-paper": "CIFAR-10, Wide ResNet 28x10",
    "imagenet-paper": "ImageNet, ResNet-50",
}
_SCORES = ("R", "Re", "entropy")  # the records also hold maximum probability and energy

_SETS = {
    "uniform": "uniform noise",
    "flipped": "flipped test images",
    "mnist": "MNIST",
    "attacked": "own Carlini-Wagner images",
}


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found."""
    found: list[Figure] = []
    for name in dict.fromkeys(record["dataset"] for record in records):
        trained = by_method(select(records, dataset=name, kind="method"))
        memorising = by_method(select(records, dataset=name, kind="random-labels"))
        title = _DATASETS.get(name, name)
        if trained:
            draws = (
                _information_plane,
                _rate_in_training,
                _against_rho,
                robustness.paper_protocol,
                robustness.worst_case,
                robustness.adaptive,
                robustness.robust_against_rho,
                robustness.audit,
                _outlier_table,
                _accepted_outliers,
                _reliability,
                _calibration,
                _corruption_severity,
                _corruption_kinds,
            )
            found += [one for make in draws if (one := make(name, title, trained)) is not None]
        if memorising:
            found.append(_memorisation(name, title, memorising))
    return found


def _draws(records: Sequence[Record]) -> bool:
    """Whether the method has a rate: z is drawn."""
    return records[0]["method"]["rho"] is not None


def _log_classes(trained: Trained) -> float:
    return float(next(iter(trained.values()))[0]["log_classes"])


def _from_0(plotly: dict[str, Any]) -> dict[str, Any]:
    plotly["layout"]["yaxis"]["rangemode"] = "tozero"
    return plotly


def _information_plane(name: str, title: str, trained: Trained) -> Figure | None:
    drawing = {key: some for key, some in trained.items() if _draws(some)}
    if not drawing:
        return None
    panels = []
    for part in ("train", "test"):
        traces: list[draw.Trace] = []
        most = _log_classes(trained)
        for key, records in drawing.items():
            rate = mean(record[part]["R"] for record in records)
            most = max(most, rate)
            points = over_seeds([[record[part]["I"]] for record in records])
            words, colour = name_of(records[0]), colour_of(trained, key)
            traces += draw.interval_points([rate], *points, words, colour)
        limit = _log_classes(trained)
        ends = [0.0, limit, 1.05 * most]
        traces += draw.reference_line(ends, [0.0, limit, limit], "the most there can be")
        traces.append(_cross(limit, "minimum necessary information"))
        images = {"train": "training images", "test": "test images"}[part]
        panels.append(
            _from_0(draw.figure(traces, f"rate R, nats ({images})", "I(Y; Z), at least, nats"))
        )
    return Figure(
        f"information-plane-{name}",
        f"The information plane: {title}",
        "How much z tells of the image (the rate R, an upper bound on I(X; Z)) and of the label "
        "(a lower bound on I(Y; Z)). The cross is the point of minimum necessary information: all "
        "of the label, log C nats, and nothing else. Left training images, right test images.",
        beside(*panels),
    )


def _cross(place: float, words: str) -> draw.Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": words,
        "x": [place],
        "y": [place],
        "marker": {"color": "#3d464f", "symbol": "x", "size": 11},
    }


def _rate_in_training(name: str, title: str, trained: Trained) -> Figure | None:
    drawing = {key: some for key, some in trained.items() if _draws(some)}
    if not drawing:
        return None
    panels = []
    for what, words in (("R", "rate R, nats"), ("Re", "residual information Re, nats")):
        traces: list[draw.Trace] = []
        for key, records in drawing.items():
            curve = records[0]["curve"]
            points = over_seeds([record["curve"][what] for record in records])
            traces += draw.line_with_band(
                curve["share"], *points, name_of(records[0]), colour_of(trained, key)
            )
        if what == "R":
            limit = _log_classes(trained)
            traces += draw.reference_line([0.0, 1.0], [limit] * 2, "log C")
        positive = all(
            value > 0 for some in drawing.values() for r in some for value in r["curve"][what]
        )
        panels.append(draw.figure(traces, "training done", words, x_format=PERCENT, y_log=positive))
    return Figure(
        f"rate-in-training-{name}",
        f"The rate during training: {title}",
        "Left the rate on training images: it rises and then falls as z forgets what does not "
        "belong to the label; at rho 0 it should end at log C. Right what remains, the residual "
        "information.",
        beside(*panels),
    )


_KNOBS = {"ceb": "CEB", "vib": "VIB at the same multiplier", "consistent": "consistent CEB"}


def _lines_over_rho(
    trained: Trained, value: Callable[[Record], float], suffix: str = ""
) -> list[draw.Trace]:
    traces: list[draw.Trace] = []
    rhos: list[float] = []
    for objective, words in _KNOBS.items():
        if some := by_rho(trained, objective):
            x = [records[0]["method"]["rho"] for records in some]
            rhos += x
            seeds = [[value(record) for record in records] for records in some]
            points = over_seeds(zip(*seeds, strict=True))
            traces += draw.line_with_band(x, *points, words + suffix, COLOURS.index(objective))
    if rhos and "deterministic" in trained:
        level = mean(value(record) for record in trained["deterministic"])
        ends = [min(rhos), max(rhos)]
        traces += draw.reference_line(ends, [level] * 2, "deterministic" + suffix)
    return traces


_RHO = "rho (the multiplier of the rate is 1 / (1 + e^rho))"


def _against_rho(name: str, title: str, trained: Trained) -> Figure | None:
    traces = _lines_over_rho(trained, lambda record: float(record["test"]["accuracy"]))
    if not traces:
        return None
    return Figure(
        f"accuracy-{name}",
        f"Accuracy against rho: {title}",
        "Test accuracy. The lower rho, the more is forgotten; rho 4.6 corresponds to beta 0.01.",
        draw.figure(traces, _RHO, "test accuracy", y_format=PERCENT),
    )


def _outliers(
    trained: Trained, measure: str
) -> tuple[list[str], list[str], list[list[float | None]]]:
    sets = list(next(iter(trained.values()))[0]["outliers"])
    places = [(name, score) for name in sets for score in _SCORES]
    rows = [
        [mean(found) if (found := _present(some, *place, measure)) else None for place in places]
        for some in trained.values()
    ]
    columns = [f"{_SETS.get(name, name)}: {score}" for name, score in places]
    return columns, [name_of(some[0]) for some in trained.values()], rows


def _present(some: Sequence[Record], name: str, score: str, measure: str) -> list[float]:
    cells = [record["outliers"][name].get(score) for record in some if name in record["outliers"]]
    return [float(cell[measure]) for cell in cells if cell is not None]


def _outlier_table(name: str, title: str, trained: Trained) -> Figure:
    return Figure(
        f"outliers-{name}",
        f"Telling outliers: {title}",
        "AUROC of scores that tell test images from outliers, mean over seeds: 1 tells all, 0.5 "
        "none. R = rate, Re = residual information.",
        heatmap(*_outliers(trained, "auroc"), 3),
    )


def _accepted_outliers(name: str, title: str, trained: Trained) -> Figure:
    return Figure(
        f"accepted-outliers-{name}",
        f"Outliers accepted: {title}",
        "Share of outliers accepted by a threshold that accepts 95 % of the test images (FPR at 95 "
        "% TPR), mean over seeds: 0 accepts none.",
        heatmap(*_outliers(trained, "fpr_at_95_tpr"), 3),
    )


def _reliability(name: str, title: str, trained: Trained) -> Figure:
    traces = draw.reference_line([0.0, 1.0], [0.0, 1.0], "calibrated")
    for key, some in trained.items():
        bins = [record["calibration"]["bins"] for record in some]
        confidence: list[float] = []
        accuracy: list[float] = []
        for place in range(len(bins[0]["count"])):
            count = sum(one["count"][place] for one in bins)
            if count >= 10 * len(bins):  # fewer images a seed say nothing
                for column, what in ((confidence, "confidence"), (accuracy, "accuracy")):
                    total = sum(
                        one["count"][place] * one[what][place]
                        for one in bins
                        if one["count"][place]
                    )
                    column.append(total / count)
        if confidence:
            low_high: list[float | None] = [None] * len(accuracy)
            traces += draw.line_with_band(
                confidence, accuracy, low_high, low_high, name_of(some[0]), colour_of(trained, key)
            )
    return Figure(
        f"reliability-{name}",
        f"Reliability: {title}",
        "Accuracy of the test images in each of 15 equally wide bins of confidence, all seeds "
        "together; bins with fewer than 10 images a seed are left out. Below the diagonal a "
        "network is surer than it should be.",
        draw.figure(
            traces, "confidence", "accuracy", x_format=PERCENT, y_format=PERCENT,
            x_range=(0.0, 1.0), y_range=(0.0, 1.0),
        ),
    )  # fmt: skip


def _calibration(name: str, title: str, trained: Trained) -> Figure:
    labels = [name_of(some[0]) for some in trained.values()]
    traces: list[draw.Trace] = []
    for index, (what, words) in enumerate(
        (("ece", "equally wide bins"), ("ece_adaptive", "equally full bins"))
    ):
        intervals = [
            t_interval([r["calibration"][what] for r in some]) for some in trained.values()
        ]
        means, lows, highs = (
            [getattr(i, end) for i in intervals] for end in ("mean", "low", "high")
        )
        traces += draw.interval_points(labels, means, lows, highs, words, index, horizontal=True)
    return Figure(
        f"calibration-{name}",
        f"Calibration error: {title}",
        "Expected calibration error on the test images, with 95 % intervals over seeds.",
        draw.figure(traces, "expected calibration error", "", x_format=PERCENT),
    )


def _corruption_severity(name: str, title: str, trained: Trained) -> Figure:
    traces: list[draw.Trace] = []
    for key, some in trained.items():
        rows = [
            [mean(column) for column in zip(*record["corruptions"].values(), strict=True)]
            for record in some
        ]
        severities = list(range(1, len(rows[0]) + 1))
        traces += draw.line_with_band(
            severities, *over_seeds(rows), name_of(some[0]), colour_of(trained, key)
        )
    figure = draw.figure(traces, "severity", "accuracy", y_format=PERCENT)
    figure["layout"]["xaxis"]["dtick"] = 1
    return Figure(
        f"corruption-severity-{name}",
        f"Corrupted images: {title}",
        "Accuracy on corrupted test images, mean over the kinds of corruption.",
        figure,
    )


def _corruption_kinds(name: str, title: str, trained: Trained) -> Figure:
    kinds = list(next(iter(trained.values()))[0]["corruptions"])
    rows = [
        [mean(mean(record["corruptions"][kind]) for record in some) for some in trained.values()]
        for kind in kinds
    ]
    labels = [name_of(some[0]) for some in trained.values()]
    return Figure(
        f"corruption-kinds-{name}",
        f"Kinds of corruption: {title}",
        "Accuracy on corrupted test images, mean over five severities and over seeds.",
        heatmap(labels, kinds, rows, 2),
    )


def _memorisation(name: str, title: str, trained: Trained) -> Figure:
    traces: list[draw.Trace] = []
    for key, some in trained.items():
        points = over_seeds([record["curve"]["accuracy"] for record in some])
        traces += draw.line_with_band(
            some[0]["curve"]["share"], *points, name_of(some[0]), colour_of(trained, key)
        )
    chance = math.exp(-_log_classes(trained))
    traces += draw.reference_line([0.0, 1.0], [chance] * 2, "chance")
    return Figure(
        f"random-labels-{name}",
        f"Labels that mean nothing: {title}",
        "Share of random labels that a network has learned, during training on them. There is "
        "nothing to learn but each image by heart.",
        draw.figure(
            traces, "training done", "labels learned", x_format=PERCENT, y_format=PERCENT,
            y_range=(0.0, 1.02),
        ),
    )  # fmt: skip
