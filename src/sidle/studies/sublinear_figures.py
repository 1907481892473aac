"""Figures of the study `sublinear`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.studies.study import Figure, Record, select
from sidle.studies.sublinear_claims import (
    FIT_FROM,
    FRACTION,
    costs,
    exponents,
    final,
    gains_by_density,
)

_NAMES = {
    "dense": "all outputs (dense)",
    "matrix": "all outputs, features spelled out",
    "hashed": "own sets, from hash tables",
    "mixed": "own sets, half from tables",
    "uniform": "own sets, uniform",
    "popular": "own sets, popular",
    "pool": "pools, uniform",
    "pool-hashed": "pools, half from tables",
    "pool-popular": "pools, popular",
}
_SCHEDULES = {
    "hashed": "ever more rarely",
    "hashed-fixed": "regularly",
    "hashed-drift": "when codes have drifted",
    "hashed-never": "never",
}
_PROBLEMS = {
    "python-small": "next token of Python's source",
    "python": "next token of Python's source",
    "xc_finna_yso": "xc_finna_yso",
    "xc_delicious": "xc_delicious",
    "xc_bibtex": "xc_bibtex",
    "xc_rcv1sub1": "xc_rcv1sub1",
    "power-law-50k": "synthetic rows, 50,000 labels",
    "power-law-670k": "synthetic rows, 670,091 labels",
}
_PERCENT = "~%"
_TIMES = (
    "Seconds are processor time of one core, of training steps alone; the networks took turns of a "
    "few steps on the same batches."
)
_MEDIANS = "Each value is the median of steps that the networks took in turns."
_COLOURS = {name: i for i, name in enumerate(_NAMES)}


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found; each point is a mean over seeds with its 95 % interval."""
    found = []
    for group, build in _GROUPS.items():
        cells = select(records, group=group)
        for problem in dict.fromkeys(record["problem"] for record in cells):
            found += build(problem, select(cells, problem=problem))
    if select(records, kind="outputs"):
        found += [_cost_figure(records), _memory_figure(records)]
    if select(records, kind="density"):
        found.append(_density_figure(records))
    return found


def _methods_figures(problem: str, cells: Sequence[Record]) -> list[Figure]:
    outputs, title = cells[0]["outputs"], _PROBLEMS[problem]
    by_name = _by_name(cells)
    traces: list[draw.Trace] = []
    for name, some in by_name.items():
        curves = [network["curve"] for network in some]
        seconds = np.mean([curve["seconds"] for curve in curves], axis=0)
        points = _over_seeds([curve["p@1"] for curve in curves])
        traces += draw.line_with_band(seconds, *points, _NAMES[name], _COLOURS[name])
    looked = {name: some for name, some in by_name.items() if "active_per_sample" in some[0]}
    return [
        Figure(
            f"time-{problem}",
            f"Accuracy against time: {title}",
            f"{outputs:,} outputs, so many passes over the rows for each. {_TIMES}",
            draw.figure(
                traces, "seconds of training", "P@1 on test rows", x_log=True, y_format=_PERCENT
            ),
        ),
        Figure(
            f"accuracy-{problem}",
            f"Where each ends: {title}",
            "P@1 after as many steps of each, on the same batches from the same weights.",
            _points(by_name, _NAMES, final, "P@1 on test rows", x_format=_PERCENT),
        ),
        Figure(
            f"nats-{problem}",
            f"Probabilities: {title}",
            "Exact cross-entropy on test rows. Whoever looks at few outputs without weighing them "
            "learns to rank, but not how probable each is.",
            _points(by_name, _NAMES, lambda one: final(one, "nats"), "cross-entropy (nats)"),
        ),
        Figure(
            f"fraction-{problem}",
            f"How many outputs a sample looks at: {title}",
            f"Of {outputs:,}, labels included. The paper's line is at 0.5 %. A pool is shared by "
            "a batch.",
            _points(
                looked, _NAMES, lambda one: one["active_per_sample"] / outputs,
                "share of the outputs", x_format=_PERCENT, line=(FRACTION, "0.5 %"),
            ),
        ),
        Figure(
            f"memory-{problem}",
            f"Memory: {title}",
            "Weights, what the optimiser remembers about them, gradients, hash tables, and the "
            "scores of a batch, counted.",
            _points(by_name, _NAMES, lambda one: one["bytes"] / 1e6, "memory (MB)"),
        ),
    ]  # fmt: skip


def _sets_figures(problem: str, cells: Sequence[Record]) -> list[Figure]:
    outputs, entered = cells[0]["outputs"], cells[0]["contestants"]
    traces: list[draw.Trace] = []
    for method in dict.fromkeys(entry["method"] for entry in entered.values()):
        names = sorted(
            (name for name, entry in entered.items() if entry["method"] == method),
            key=lambda name: int(entered[name]["active"]),
        )
        sizes = [entered[name]["active"] / outputs for name in names]
        rows = [[final(record["networks"][name]) for name in names] for record in cells]
        traces += draw.line_with_band(sizes, *_over_seeds(rows), _NAMES[method], _COLOURS[method])
    return [
        Figure(
            f"sets-{problem}",
            f"How few outputs are enough? {_PROBLEMS[problem]}",
            f"P@1 after training with sets of each sample's own, against their size beside the "
            f"labels, as a share of {outputs:,} outputs.",
            draw.figure(
                traces, "share of the outputs looked at", "P@1 on test rows", x_log=True,
                x_format=_PERCENT, y_format=_PERCENT,
            ),
        )
    ]  # fmt: skip


def _schedules_figures(problem: str, cells: Sequence[Record]) -> list[Figure]:
    by_name, title = _by_name(cells), _PROBLEMS[problem]
    rebuilds = ", ".join(
        f"{_SCHEDULES[name]}: {np.mean([one['rebuilds'] for one in some]):.0f}"
        for name, some in by_name.items()
    )
    return [
        Figure(
            f"schedules-{problem}",
            f"When hash tables are brought up to date: {title}",
            f"P@1 with sets from tables. How often they were brought up to date: {rebuilds}.",
            _points(by_name, _SCHEDULES, final, "P@1 on test rows", x_format=_PERCENT),
        ),
        Figure(
            f"rebuilding-{problem}",
            f"What that costs: {title}",
            "Building tables and bringing them up to date, as a share of the wide layer's time.",
            _points(
                by_name, _SCHEDULES, lambda one: one["rebuild_share"], "share of the layer's time",
                x_format=_PERCENT,
            ),
        ),
    ]  # fmt: skip


def _late_figures(problem: str, cells: Sequence[Record]) -> list[Figure]:
    title, asked = _PROBLEMS[problem], cells[0]["probed_active"]
    steps = cells[0]["probes"]["step"]
    names = {
        "best": "the best choice there is",
        "hashed": "hash tables",
        "popular": "popular outputs",
        "uniform": "uniform outputs",
    }
    traces: list[draw.Trace] = []
    for index, (name, words) in enumerate(names.items()):
        rows = [record["probes"][name] for record in cells]
        traces += draw.line_with_band(steps, *_over_seeds(rows), words, index)
    hashed, exact = (
        {
            key: t_interval([record["search"][way][key] for record in cells]).mean
            for key in ("p@1", "microseconds")
        }
        for way in ("hashed", "exact")
    )
    before = t_interval([record["before"]["p@1"] for record in cells]).mean
    return [
        Figure(
            f"negatives-{problem}",
            f"Do tables find the outputs that matter? {title}",
            f"Share of the gradient on wrong outputs that lies on {asked} of them, while a network "
            "trains with uniform pools; tables are built anew at each point. In the end the search "
            f"of the best outputs in tables has P@1 {hashed['p@1']:.3f} in "
            f"{hashed['microseconds']:.0f} microseconds a row, the exact one {exact['p@1']:.3f} in "
            f"{exact['microseconds']:.0f} (medians of searches in turns).",
            draw.figure(traces, "training step", "share of the gradient", y_format=_PERCENT),
        ),
        Figure(
            f"late-{problem}",
            f"Going on late in training: {title}",
            f"The same network after uniform pools (P@1 {before:.3f}), trained on with sets of "
            f"{cells[0]['contestants']['uniform']['active']} outputs of each sample's own."
            if "uniform" in cells[0]["contestants"]
            else f"The same network after uniform pools (P@1 {before:.3f}), trained on.",
            _points(_by_name(cells), _NAMES, final, "P@1 on test rows", x_format=_PERCENT),
        ),
    ]


def _cost_figure(records: Sequence[Record]) -> Figure:
    methods = _timed_methods(records, "outputs")
    traces: list[draw.Trace] = []
    slopes = []
    for method in methods:
        by_seed = costs(records, method)
        sizes = list(next(iter(by_seed.values())))
        rows = [[some[size] for size in sizes] for some in by_seed.values()]
        traces += draw.line_with_band(sizes, *_over_seeds(rows), _NAMES[method], _COLOURS[method])
        fitted = list(exponents(records, method).values())
        if fitted:
            slopes.append(f"{_NAMES[method]} {t_interval(fitted).mean:.2f}")
    settings = select(records, kind="outputs")[0].cell.settings
    return Figure(
        "cost",
        "The time of a step against the number of outputs",
        f"Batch {settings['batch_size']}, {settings['hidden']} hidden units, random rows of "
        f"{settings['non_zeros']} features; sets of {settings['active']}, pools of "
        f"{settings['pool']} outputs. {_MEDIANS} Building the tables is spread over "
        f"{settings['hashing']['every']} steps. Exponents from {FIT_FROM:,} outputs on: "
        f"{', '.join(slopes)}.",
        draw.figure(traces, "outputs", "microseconds a sample", x_log=True, y_log=True),
    )


def _memory_figure(records: Sequence[Record]) -> Figure:
    traces: list[draw.Trace] = []
    for method in _timed_methods(records, "outputs"):
        cells = [r for r in select(records, kind="outputs") if method in r["bytes"]]
        sizes = sorted({record["outputs"] for record in cells})
        megabytes = [
            [r["bytes"][method] / 1e6 for r in cells if r.cell.settings["outputs"] == size]
            for size in sizes
        ]
        points = _over_seeds(list(zip(*megabytes, strict=True)))
        traces += draw.line_with_band(sizes, *points, _NAMES[method], _COLOURS[method])
    return Figure(
        "memory",
        "Memory against the number of outputs",
        "Weights, what the optimiser remembers about them, gradients, hash tables, and the scores "
        "of a batch, counted. None of them is sublinear: each keeps all weights.",
        draw.figure(traces, "outputs", "memory (MB)", x_log=True, y_log=True),
    )


def _density_figure(records: Sequence[Record]) -> Figure:
    settings = select(records, kind="density")[0].cell.settings
    by_seed = gains_by_density(records)
    densities = list(next(iter(by_seed.values())))
    rows = [[some[density] for density in densities] for some in by_seed.values()]
    traces = draw.line_with_band(densities, *_over_seeds(rows), "dense / pools", 0)
    traces += draw.reference_line([densities[0], densities[-1]], [1.0, 1.0], "no gain")
    return Figure(
        "density",
        "The gain rests on sparse features",
        f"How many times as long dense training takes as uniform pools, against the share of the "
        f"{settings['features']:,} features that are not zero; {settings['outputs']:,} outputs. "
        f"Dense training spells the zeros out where that is faster. {_MEDIANS}",
        draw.figure(
            traces, "share of features that are not zero", "gain in time", x_log=True, y_log=True,
            x_format=_PERCENT,
        ),
    )  # fmt: skip


_GROUPS: Mapping[str, Callable[[str, Sequence[Record]], list[Figure]]] = {
    "methods": _methods_figures,
    "sets": _sets_figures,
    "schedules": _schedules_figures,
    "late": _late_figures,
}


def _by_name(cells: Sequence[Record]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the networks of all seeds by name, in the order of the settings."""
    return {
        name: [record["networks"][name] for record in cells] for name in cells[0]["contestants"]
    }


def _timed_methods(records: Sequence[Record], kind: str) -> list[str]:
    """Return what was timed, in the order of the settings."""
    cells = select(records, kind=kind)
    timed = {method for record in cells for method in record["microseconds"]}
    return [method for method in cells[0]["methods"] if method in timed]


def _points(
    by_name: Mapping[str, Sequence[Mapping[str, Any]]],
    words: Mapping[str, str],
    value: Callable[[Mapping[str, Any]], float],
    title: str,
    *,
    x_format: str = "",
    line: tuple[float, str] | None = None,
) -> dict[str, Any]:
    """Return a figure with a point a network, names on the vertical axis."""
    names = [words[name] for name in by_name]
    columns = [[value(one) for one in some] for some in by_name.values()]
    ends = _over_seeds(list(zip(*columns, strict=True)))
    traces = draw.interval_points(names, *ends, title, 0, horizontal=True)
    if line is not None:
        traces += draw.reference_line([line[0]] * 2, [names[0], names[-1]], line[1])
    return draw.figure(traces, title, "", x_format=x_format)


def _over_seeds(
    rows: Iterable[Sequence[float]],
) -> tuple[list[float], list[float], list[float]]:
    """Return mean, lower and upper ends of each column; a row is a seed."""
    found = [t_interval(list(column)) for column in zip(*rows, strict=True)]
    return (
        [one.mean for one in found], [one.low for one in found], [one.high for one in found],
    )  # fmt: skip
