"""Figures of the study `connectivity`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.studies.connectivity_effects import MATCHING, STABLE, Ticket, curves, tickets, winning
from sidle.studies.study import Figure, Record, select

_SHARE = "step k at which copies are made, in % of training"
_SHORT = "step k, in % of training"
_PERCENT = "~%"  # no digits that say nothing: 1.5%, 20%
_NETWORKS = {"lenet": "LeNet-300-100", "resnet": "ResNet", "vgg": "VGG"}
_DATASETS = {
    "digits": "digits", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "mnist": "MNIST",
}  # fmt: skip
_NAMES = {
    "ticket": "winning tickets",
    "random": "random pruning",
    "reinitialised": "same mask, new initial weights",
    "snip": "SNIP",
    "magnitude": "magnitude at initialisation",
}


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found; each point is a mean over seeds with its 95 % interval."""
    found = []
    for name in dict.fromkeys(record["name"] for record in records):
        task = select(records, name=name)
        group, title = task[0]["group"], _title(task[0])
        dense, sparse = curves(task, group), tickets(task, group)
        if dense:
            found += [
                _curve_figure(name, title, dense),
                _loss_figure(name, title, dense),
                _paths_figure(name, title, dense),
                _measures_figure(name, title, dense),
            ]
            resets = [record["reset"] for record in select(task, kind="dense")]
            if all(resets):
                found.append(_reset_figure(name, title, dense, resets))
        if sparse:
            found += [
                _sparsity_figure(name, title, sparse, "instability"),
                _sparsity_figure(name, title, sparse, "gap"),
                _link_figure(name, title, sparse),
            ]
            if len({one.share for one in _all(sparse)}) > 1:
                found += [_rewinding_figure(name, title, sparse, what) for what in _REWOUND]
            if {one.name for one in _all(sparse)} - {"dense", "ticket"}:
                found += [_controls_figure(name, title, sparse, what) for what in _COMPARED]
    return found


def _title(record: Record) -> str:
    task = record["task"]
    size = f"-{task['depth']}" if task["depth"] else ""
    words = f"{_NETWORKS[task['network']]}{size}, {_DATASETS[task['dataset']]}"
    schedule = " (warm-up)" if task["warmup"] else ""
    return words + schedule + (" (low rate)" if task["learning_rate"] == 0.01 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _from_0(plotly: dict[str, Any]) -> dict[str, Any]:
    """Return the figure with 0 on its vertical axis, so that heights can be compared."""
    plotly["layout"]["yaxis"]["rangemode"] = "tozero"
    return plotly


def _over_seeds(rows: Iterable[Iterable[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    return [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals]


def _all(sparse: Mapping[int, Sequence[Ticket]]) -> list[Ticket]:
    return [one for some in sparse.values() for one in some]


def _line(
    dense: Mapping[int, list[dict[str, Any]]], what: str, name: str, index: int
) -> list[draw.Trace]:
    rows = list(dense.values())
    shares = [entry["share"] for entry in rows[0]]
    points = _over_seeds([[entry[what] for entry in row] for row in rows])
    return draw.line_with_band(shares, *points, name, index)


def _ends(dense: Mapping[int, list[dict[str, Any]]]) -> list[float]:
    shares = [entry["share"] for curve in dense.values() for entry in curve]
    return [min(shares), max(shares)]


def _curve_figure(name: str, title: str, dense: Mapping[int, list[dict[str, Any]]]) -> Figure:
    traces = draw.reference_line(_ends(dense), [STABLE] * 2, "the paper's limit")
    traces += _line(dense, "instability", "test images", 0)
    traces += _line(dense, "train_instability", "training images", 1)
    if all(entry["re_estimated"] is not None for curve in dense.values() for entry in curve):
        traces += _line(dense, "re_estimated", "test images, BatchNorm re-estimated", 2)
    return Figure(
        f"instability-{name}",
        f"When training settles: {title}",
        "Instability: how far the error rises on the line between two copies that were made at "
        "step k and trained to the end in different orders of the data. Below 2 % the paper calls "
        "a network stable.",
        _from_0(draw.figure(traces, _SHARE, "instability", x_format=_PERCENT, y_format=_PERCENT)),
    )


def _loss_figure(name: str, title: str, dense: Mapping[int, list[dict[str, Any]]]) -> Figure:
    left = _from_0(_against_k(_line(dense, "instability", "error", 0), "error barrier", _PERCENT))
    right = _from_0(_against_k(_line(dense, "loss_instability", "loss", 1), "loss barrier (nats)"))
    beside = [trace | {"xaxis": "x2", "yaxis": "y2"} for trace in right["data"]]
    axes, other = left["layout"], right["layout"]
    layout = {
        "xaxis": axes["xaxis"] | {"domain": [0.0, 0.45]},
        "yaxis": axes["yaxis"],
        "xaxis2": other["xaxis"] | {"domain": [0.55, 1.0], "anchor": "y2"},
        "yaxis2": other["yaxis"] | {"anchor": "x2"},
        "showlegend": True,
    }
    return Figure(
        f"loss-{name}",
        f"Loss beside error: {title}",
        "How far the test error (left) and the test loss (right) rise between the same copies.",
        {"data": left["data"] + beside, "layout": layout},
    )


def _against_k(traces: list[draw.Trace], y_title: str, y_format: str = "") -> dict[str, Any]:
    return draw.figure(traces, _SHORT, y_title, x_format=_PERCENT, y_format=y_format)


def _paths_figure(name: str, title: str, dense: Mapping[int, list[dict[str, Any]]]) -> Figure:
    traces: list[draw.Trace] = []
    curve = next(iter(dense.values()))
    for index, entry in enumerate(curve):
        rows = [other[index]["path"] for other in dense.values()]
        places = [i / (len(rows[0]) - 1) for i in range(len(rows[0]))]
        label = f"k at {_percent(entry['share'])} of training"
        traces += draw.line_with_band(places, *_over_seeds(rows), label, index)
    return Figure(
        f"paths-{name}",
        f"From one copy to the other: {title}",
        "Test error along the straight line between two copies, by the step k they were made at.",
        draw.figure(traces, "place on the line", "test error", y_format=_PERCENT),
    )


def _measures_figure(name: str, title: str, dense: Mapping[int, list[dict[str, Any]]]) -> Figure:
    traces = _line(dense, "instability", "instability", 0)
    traces += _line(dense, "disagreement", "labels that differ", 1)
    traces += _line(dense, "error", "error of the copies", 2)
    distances = _over_seeds([[entry["l2"] for entry in curve] for curve in dense.values()])[0]
    spelled = ", ".join(f"{distance:.3g}" for distance in distances)
    return Figure(
        f"measures-{name}",
        f"Other measures of distance: {title}",
        "Two copies label many images differently long after the line between them is flat. The "
        f"Euclidean distance of their weights, in order of k: {spelled}.",
        _from_0(
            draw.figure(
                traces, _SHARE, "share of test images", x_format=_PERCENT, y_format=_PERCENT
            )
        ),
    )


def _reset_figure(
    name: str,
    title: str,
    dense: Mapping[int, list[dict[str, Any]]],
    resets: Sequence[list[dict[str, Any]]],
) -> Figure:
    traces = draw.reference_line(_ends(dense), [STABLE] * 2, "the paper's limit")
    traces += _line(dense, "instability", "trained from k to T", 0)
    traces += _line(dict(enumerate(resets)), "instability", "trained for T steps from k", 1)
    return Figure(
        f"reset-{name}",
        f"Further on, or fewer steps left? {title}",
        "Copies that begin with the weights of step k, but are trained for all T steps with the "
        "schedule of step 0: where they are stable too, it is not for want of steps.",
        _from_0(draw.figure(traces, _SHARE, "instability", x_format=_PERCENT, y_format=_PERCENT)),
    )


_SPARSITY = {
    "instability": (
        "Stability of winning tickets",
        "Instability of subnetworks found by pruning in rounds and rewound to step k; at the right "
        "the dense network.",
        "instability",
        STABLE,
        "the paper's limit",
    ),
    "gap": (
        "Accuracy of winning tickets",
        "Test error of the same subnetworks minus that of the full network. Within 0.2 points the "
        "paper says that they match it.",
        "error minus that of the full network",
        MATCHING,
        "matching, below",
    ),
}


def _sparsity_figure(
    name: str, title: str, sparse: Mapping[int, Sequence[Ticket]], what: str
) -> Figure:
    words, caption, y_title, limit, limit_name = _SPARSITY[what]
    sequences: dict[tuple[str, float], None] = dict.fromkeys(
        (one.rewind, one.share) for one in _all(sparse)
    )
    traces: list[draw.Trace] = []
    densities: list[float] = []
    for index, (rewind, share) in enumerate(sequences):
        rows = [
            [one for one in some if (one.rewind, one.share) == (rewind, share)]
            for some in sparse.values()
        ]
        rows = [
            [
                one
                for one in row
                if one.name in ("dense", "ticket") and math.isfinite(getattr(one, what))
            ]
            for row in rows
        ]
        points = _over_seeds([[getattr(one, what) for one in row] for row in rows])
        at = [one.density for one in rows[0]]
        densities += at
        rewound = "" if rewind == "weights" else ", learning rate only"
        label = f"rewound to {_percent(share)} of training{rewound}"
        traces += draw.line_with_band(at, *points, label, index)
    ends = [min(densities), max(densities)]
    traces += draw.reference_line(ends, [limit] * 2, limit_name)
    return Figure(
        f"{what}-by-sparsity-{name}",
        f"{words}: {title}",
        caption,
        draw.figure(
            traces, "weights kept", y_title, x_log=True, x_format=_PERCENT, y_format=_PERCENT
        ),
    )


def _link_figure(name: str, title: str, sparse: Mapping[int, Sequence[Ticket]]) -> Figure:
    traces: list[draw.Trace] = []
    every = winning(_all(sparse))
    shares = sorted({one.share for one in every})
    for index, share in enumerate(shares):
        chosen = [one for one in every if one.share == share]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"rewound to {_percent(share)} of training",
                "x": [one.instability for one in chosen],
                "y": [one.gap for one in chosen],
                "marker": {"color": draw.PALETTE[index % len(draw.PALETTE)], "size": 8},
                "text": [f"{_percent(one.density)} of the weights" for one in chosen],
            }
        )
    ends = [min(one.gap for one in every), max(one.gap for one in every)]
    traces += draw.reference_line([STABLE] * 2, ends, "stable, to the left")
    return Figure(
        f"link-{name}",
        f"Stability and accuracy: {title}",
        "Each point is a subnetwork of one seed. Readers of the paper objected that both may just "
        "improve with k; points of one colour share their k and differ in sparsity.",
        draw.figure(
            traces, "instability", "error minus that of the full network",
            x_format=_PERCENT, y_format=_PERCENT,
        ),
    )  # fmt: skip


_REWOUND = {"instability": "instability", "error": "test error"}


def _rewinding_figure(
    name: str, title: str, sparse: Mapping[int, Sequence[Ticket]], what: str
) -> Figure:
    traces: list[draw.Trace] = []
    numbers = sorted({one.round for one in winning(_all(sparse))})
    # At most five lines are told apart easily: take rounds evenly, first and last among them.
    if len(numbers) > 5:
        numbers = [numbers[round(i * (len(numbers) - 1) / 4)] for i in range(5)]
    for index, number in enumerate(numbers):
        rows = [
            sorted((o for o in winning(some) if o.round == number), key=lambda o: o.share)
            for some in sparse.values()
        ]
        points = _over_seeds([[getattr(one, what) for one in row] for row in rows])
        label = f"{_percent(rows[0][0].density)} of the weights"
        traces += draw.line_with_band([one.share for one in rows[0]], *points, label, index)
    return Figure(
        f"{what}-by-rewinding-{name}",
        f"The step that tickets are rewound to: {title}",
        f"The {_REWOUND[what]} of winning tickets against the step they were rewound to.",
        draw.figure(
            traces,
            "step rewound to, in % of training",
            _REWOUND[what],
            x_format=_PERCENT,
            y_format=_PERCENT,
        ),
    )


_COMPARED = {
    "instability": (
        "Stability of tickets and controls",
        "Instability of winning tickets and of networks as sparse that were not found by training.",
        "instability",
    ),
    "error": (
        "Accuracy of tickets and controls",
        "Test error of the same networks.",
        "test error",
    ),
}


def _controls_figure(
    name: str, title: str, sparse: Mapping[int, Sequence[Ticket]], what: str
) -> Figure:
    words, caption, y_title = _COMPARED[what]
    compared = [one for one in _all(sparse) if one.name not in ("dense", "ticket")]
    places = sorted({(one.share, one.round) for one in compared})
    traces: list[draw.Trace] = []
    labels: list[str] = []
    kinds = [kind for kind in _NAMES if kind == "ticket" or any(o.name == kind for o in compared)]
    for index, kind in enumerate(kinds):
        rows = []
        for some in sparse.values():
            own = winning(some) if kind == "ticket" else [o for o in some if o.name == kind]
            by_place = {(one.share, one.round): one for one in own}
            rows.append([by_place[place] for place in places])
        labels = [_percent(one.density) for one in rows[0]]
        points = _over_seeds([[getattr(one, what) for one in row] for row in rows])
        traces += draw.interval_points(labels, *points, _NAMES[kind], index)
    return Figure(
        f"{what}-of-controls-{name}",
        f"{words}: {title}",
        f"{caption} Random pruning keeps each layer's share of weights and, like the tickets, the "
        f"weights of step k, at {_percent(places[0][0])} of training; the others begin at step 0.",
        _from_0(draw.figure(traces, "weights kept", y_title, y_format=_PERCENT)),
    )
