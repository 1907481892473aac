"""What the figures of the study `bottleneck` share: names, means over seeds, panels, tables.

Records come by method, in the order of the settings; a list holds a method's seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.studies.study import Record

Trained = Mapping[str, list[Record]]

PERCENT = "~%"
NORMS = {"linf": "L-inf", "l2": "L2", "l1": "L1"}
_SETS = {
    "uniform": "uniform noise",
    "flipped": "flipped test images",
    "mnist": "MNIST",
    "attacked": "own Carlini-Wagner images",
}


def by_method(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each method, in the order of the settings."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["method"]["name"], []).append(record)
    return found


def by_rho(trained: Trained, objective: str) -> list[list[Record]]:
    """Return the methods of an objective, in order of rho."""
    found = [some for some in trained.values() if some[0]["method"]["objective"] == objective]
    return sorted(found, key=lambda some: some[0]["method"]["rho"])


def name_of(record: Record) -> str:
    """Return the name of a record's method as figures write it."""
    method = record["method"]
    objective = method["objective"]
    if objective in ("ceb", "consistent"):
        words = {"ceb": "CEB", "consistent": "consistent CEB"}[objective]
        return f"{words}, rho {method['rho']:g}"
    if objective == "vib":
        return f"VIB, beta {method['beta']:g}"
    if objective == "adversarial":
        return f"trained against {NORMS[method['norm']]}"
    return {"deterministic": "deterministic", "label-smoothing": "label smoothing"}[objective]


COLOURS = ("deterministic", "vib", "ceb", "label-smoothing", "consistent", "adversarial")


def colour_of(trained: Trained, name: str) -> int:
    """Return the colour index of a method: colours tell objectives apart, markers their knobs."""
    objective = trained[name][0]["method"]["objective"]
    alike = [key for key, some in trained.items() if some[0]["method"]["objective"] == objective]
    return COLOURS.index(objective) + len(COLOURS) * alike.index(name)


def over_seeds(rows: Iterable[Iterable[float]]) -> tuple[list[float], list[float], list[float]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    return [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals]


def mean(values: Iterable[float]) -> float:
    """Return the mean of at least one number."""
    found = list(values)
    return math.fsum(found) / len(found)


def horizontal(
    trained: Trained,
    places: Sequence[str],
    values: Callable[[Record], list[float]],
) -> list[draw.Trace]:
    """Return a point with its interval for each method in each of ``places``, one a row."""
    traces: list[draw.Trace] = []
    for key, records in trained.items():
        points = over_seeds([values(record) for record in records])
        name, colour = name_of(records[0]), colour_of(trained, key)
        traces += draw.interval_points(list(places), *points, name, colour, horizontal=True)
    return traces


def beside(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return two figures as one, side by side, with one legend."""
    beside = [
        trace | {"xaxis": "x2", "yaxis": "y2", "showlegend": False} for trace in right["data"]
    ]
    axes, other = left["layout"], right["layout"]
    layout = {
        "xaxis": axes["xaxis"] | {"domain": [0.0, 0.45]},
        "yaxis": axes["yaxis"],
        "xaxis2": other["xaxis"] | {"domain": [0.55, 1.0], "anchor": "y2"},
        "yaxis2": other["yaxis"] | {"anchor": "x2"},
        "showlegend": True,
    }
    return {"data": left["data"] + beside, "layout": layout}


def heatmap(
    x: Sequence[str], y: Sequence[str], values: Sequence[Sequence[float | None]], digits: int
) -> dict[str, Any]:
    """Return a table of numbers in [0, 1], shaded; None is an empty place."""
    text = [["" if v is None else f"{v:.{digits}f}" for v in row] for row in values]
    return draw.figure(
        [
            {
                "type": "heatmap",
                "x": list(x),
                "y": list(y),
                "z": [list(row) for row in values],
                "zmin": 0.0,
                "zmax": 1.0,
                "text": text,
                "texttemplate": "%{text}",
                "hovertemplate": "%{y}<br>%{x}: %{text}<extra></extra>",
                "showscale": False,
            }
        ],
        "",
        "",
    )
