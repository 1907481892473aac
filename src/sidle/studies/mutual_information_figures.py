"""Figures of the study `mutual-information`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sidle.evaluation.statistics import t_interval
from sidle.mi.guarantees import BOUNDS
from sidle.report import figures as draw
from sidle.studies.study import Figure, Record, select

_TRAINED = (
    "trained",
    "How much one batch varies, with a trained critic",
    "Standard deviation over fresh batches (geometric mean over seeds). InfoNCE grows calmer "
    "towards its ceiling; NWJ and JS grow wilder with the information.",
)
_EXACT = (
    "exact",
    "How much one batch varies, with the exact critic",
    "The same with the exact log density ratio in the critic's place: no training can do better. "
    "NWJ and the JS read-out are then one and the same.",
)


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found; each point is a mean over seeds with its 95 % interval."""
    stairs = select(records, kind="staircase")
    critics = select(records, kind="critic")
    digits = select(records, kind="digits")
    return [
        _estimates_figure(stairs),
        _curve_figure(stairs),
        _deviations_figure(stairs, "deviation", *_TRAINED),
        _deviations_figure(stairs, "exact_deviation", *_EXACT),
        _critic_figure(critics),
        _digits_figure(digits),
    ]


def _over_seeds(rows: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    return [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals]


def _frame(levels: Sequence[float]) -> tuple[float, float]:
    """Return a vertical range that holds every sensible estimate; a wild one would fill it all."""
    return -1.0, 1.6 * max(levels)


def _estimates_figure(stairs: Sequence[Record]) -> Figure:
    levels, ceiling = stairs[0]["levels"], math.log(stairs[0]["batch_size"])
    traces = draw.reference_line(levels, levels, "truth")
    traces += draw.reference_line([levels[0], levels[-1]], [ceiling] * 2, "log K", dash="dot")
    for index, (name, bound) in enumerate(BOUNDS.items()):
        rows = [record["mean"] for record in select(stairs, bound=name)]
        if rows:
            traces += draw.line_with_band(levels, *_over_seeds(rows), bound.title, index)
    return Figure(
        "estimates",
        "What each bound reads",
        "Mean over fresh batches at the end of each stair. InfoNCE levels off at log K; the "
        "others have no ceiling, at the price of variance (next figures). Donsker-Varadhan is no "
        "bound on a batch and may read above the truth. Values outside the frame are cut off.",
        draw.figure(
            traces,
            "true mutual information (nats)",
            "estimate (nats)",
            y_range=_frame(levels),
        ),
    )


def _curve_figure(stairs: Sequence[Record]) -> Figure:
    settings = stairs[0].cell.settings
    steps_per_level, levels = settings["steps_per_level"], settings["levels"]
    n_steps = steps_per_level * len(levels)
    n_points = len(stairs[0]["curve"])
    centres = [(i + 0.5) * n_steps / n_points for i in range(n_points)]
    edges = [edge for i in range(len(levels)) for edge in (i, i + 1)]
    truth = [level for level in levels for _ in range(2)]
    traces = draw.reference_line([e * steps_per_level for e in edges], truth, "truth")
    for index, (name, bound) in enumerate(BOUNDS.items()):
        rows = [record["curve"] for record in select(stairs, bound=name)]
        if rows:
            traces += draw.line_with_band(centres, *_over_seeds(rows), bound.title, index)
    return Figure(
        "staircase",
        "Climbing the staircase",
        "The bounds on training batches, each point averaged over two percent of the training. "
        "The paper's figure 2 shows the same climb. Values outside the frame are cut off.",
        draw.figure(traces, "training step", "estimate (nats)", y_range=_frame(levels)),
    )


def _deviations_figure(
    stairs: Sequence[Record], name: str, id_: str, title: str, caption: str
) -> Figure:
    levels = stairs[0]["levels"]
    traces: list[draw.Trace] = []
    for index, (bound_name, bound) in enumerate(BOUNDS.items()):
        rows = [np.log(record[name]).tolist() for record in select(stairs, bound=bound_name)]
        if rows:
            # Averaged as logarithms: one wild seed would hide all others.
            ends = [np.exp(np.array(part)).tolist() for part in _over_seeds(rows)]
            traces += draw.line_with_band(levels, ends[0], ends[1], ends[2], bound.title, index)
    return Figure(
        f"deviation-{id_}",
        title,
        caption,
        draw.figure(
            traces,
            "true mutual information (nats)",
            "standard deviation (nats)",
            y_log=True,
        ),
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


def _digits_figure(digits: Sequence[Record]) -> Figure:
    paired = select(digits, paired=True)
    control = select(digits, paired=False)
    rows = sorted({record["rows"] for record in paired})
    traces: list[draw.Trace] = []
    for index, noise in enumerate(sorted({record["noise"] for record in paired})):
        nats = [[r["nats"] for r in select(paired, rows=n, noise=noise)] for n in rows]
        name = f"seen through noise of {noise:g} grey levels" if noise else "seen as they are"
        traces += draw.line_with_band(
            rows, *_over_seeds(list(zip(*nats, strict=True))), name, index
        )
    traces += draw.interval_points(
        [control[0]["rows"]],
        *_over_seeds([[record["nats"]] for record in control]),
        "rows of another image (truth: 0)",
        len({record["noise"] for record in paired}),
    )
    traces += draw.reference_line(
        [rows[0], rows[-1]], [digits[0]["ceiling"]] * 2, "log K", dash="dot"
    )
    return Figure(
        "digits",
        "How much the top rows say about a digit",
        "InfoNCE between a real image of a digit (8 by 8 pixels) and its own top rows, read on "
        "held-out images. As they are, two rows all but name the image, and the estimate sits at "
        "its ceiling log K; seen through noise, every further row adds to it.",
        draw.figure(traces, "top rows seen", "estimate (nats)"),
    )
