"""Figures of the study `level-generation`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.report.figures import PALETTE, Trace
from sidle.studies.level_generation_claims import games_of, sparsity_points, win_rates
from sidle.studies.study import Figure, Record, select

_TICKS = "ticks of training"
_SHADES = [[0.0, "#c65bab"], [0.5, "#7a6ff0"], [1.0, "#129b78"]]  # seen on light and dark pages
_COLOURS: tuple[tuple[str, float | None], ...] = (
    ("fixed", 1.0), ("ppcg-uniform", None), ("one-level", None), ("fixed", 0.5), ("ppcg", None),
    ("uniform", None), ("replay", None), ("several-levels", None),
)  # fmt: skip


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what the cells found."""
    found = []
    trained = select(records, kind="agent")
    for game in games_of(records):
        of_game = select(trained, game=game)
        found += [
            _generalisation_figure(game, of_game, select(records, kind="random", game=game)),
            _hand_made_figure(game, of_game, select(records, kind="random", game=game)),
            _curve_figure(game, of_game),
        ]
        progressive = [r for r in of_game if r["regime"].startswith("ppcg")]
        if any("difficulty" in record["curve"] for record in progressive):
            found.append(_difficulty_figure(game, progressive))
    if trained:
        found.append(_actions_figure(trained))
    for record in select(records, kind="levels"):
        found += [
            _map_figure(record, "pca", "principal components"), _map_figure(record, "tsne", "t-SNE")
        ]  # fmt: skip
    if sparsity_points(records):
        found.append(_sparsity_figure(records))
    return found


def title_of(record: Record) -> str:
    """Return what to call the regime of a trained agent."""
    regime = record["regime"]
    words = {
        "one-level": "one level",
        "several-levels": "four levels",
        "uniform": "all difficulties",
        "ppcg": "Progressive PCG",
        "ppcg-uniform": "Progressive PCG, U(0, d)",
        "replay": "prioritised replay",
    }
    title = words.get(regime) or f"difficulty {record['difficulty']:g}"
    return f"{title}, {record['algorithm'].upper()}" if record["algorithm"] == "dqn" else title


def _regimes(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(title_of(record), []).append(record)
    return found


def _colour(records: Sequence[Record]) -> int:
    """Return the colour of a regime, the same in all figures."""
    first = records[0]
    if first["kind"] == "random":
        return 2 * len(_COLOURS) + 1
    which = (first["regime"], first["difficulty"])
    place = _COLOURS.index(which) if which in _COLOURS else 0
    return place + (len(_COLOURS) if first["algorithm"] == "dqn" else 0)


def _over_seeds(
    rows: Iterable[Sequence[float]],
) -> tuple[list[float], list[float | None], list[float | None]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    ends = [(i.low, i.high) if math.isfinite(i.low) else (None, None) for i in intervals]
    return [i.mean for i in intervals], [low for low, _ in ends], [high for _, high in ends]


def _generalisation_figure(
    game: str, records: Sequence[Record], chance: Sequence[Record]
) -> Figure:
    traces: list[Trace] = []
    for title, some in _regimes(records).items():
        x, rates = some[0]["difficulties"], win_rates(some)
        traces += draw.line_with_band(x, *_over_seeds(rates.values()), title, _colour(some))
    if chance:
        mean, _, _ = _over_seeds(win_rates(chance).values())
        traces += draw.reference_line(chance[0]["difficulties"], mean, "random actions")
    return Figure(
        f"{game}-generalisation",
        f"{_title(game)}: levels won, by their difficulty",
        "Held-out generated levels that no agent was trained on, sampled actions. Each line is a "
        "way to choose the levels of the training; all were trained for the same number of ticks.",
        draw.figure(
            traces, "difficulty of the test levels", "levels won",
            y_range=(-0.02, 1.02), y_format=".0%",
        ),
    )  # fmt: skip


def _hand_made_figure(game: str, records: Sequence[Record], chance: Sequence[Record]) -> Figure:
    series = _regimes(records)
    if chance:
        series["random actions"] = list(chance)
    traces: list[Trace] = []
    for title, some in series.items():
        rates = win_rates(some, levels="hand_made")
        mean, low, high = _over_seeds(rates.values())
        names = [f"level {number}" for number in range(len(mean))]
        traces += draw.interval_points(names, mean, low, high, title, _colour(some))
    return Figure(
        f"{game}-hand-made",
        f"{_title(game)}: levels made by hand",
        "Share of plays won, sampled actions. Level 0 is what agents of one level were trained on, "
        "levels 0 to 3 what those of four levels were; to all others these levels are new.",
        draw.figure(traces, "", "plays won", y_range=(-0.02, 1.02), y_format=".0%"),
    )


def _curve_figure(game: str, records: Sequence[Record]) -> Figure:
    traces: list[Trace] = []
    for title, some in _regimes(records).items():
        x, rows = _columns(some, "win_rate")
        if x:
            traces += draw.line_with_band(x, *_over_seeds(rows), title, _colour(some))
    if not traces:
        traces = draw.reference_line([0, 1], [0, 0], "no episode ended")
    return Figure(
        f"{game}-training",
        f"{_title(game)}: levels won while training",
        "Over the last 200 episodes, on the levels of the training: easy ones early in Progressive "
        "PCG, the same ones again and again with one level. No measure of what is won elsewhere.",
        draw.figure(traces, _TICKS, "levels won", y_range=(-0.02, 1.02), y_format=".0%"),
    )


def _difficulty_figure(game: str, records: Sequence[Record]) -> Figure:
    traces: list[Trace] = []
    for title, some in _regimes(records).items():
        x, rows = _columns(some, "difficulty")
        # What is kept is the mean of the levels that come next; of U(0, d) that is half of d.
        share = 0.5 if some[0]["regime"] == "ppcg-uniform" else 1.0
        rows = [[value / share for value in row] for row in rows]
        if x:
            traces += draw.line_with_band(x, *_over_seeds(rows), title, _colour(some))
    return Figure(
        f"{game}-difficulty",
        f"{_title(game)}: how difficult the levels become",
        "The difficulty d of Progressive PCG: up by alpha on a win, down by alpha on a loss.",
        draw.figure(traces, _TICKS, "difficulty d", y_range=(-0.02, 1.02)),
    )


def _columns(records: Sequence[Record], name: str) -> tuple[list[float], list[list[float]]]:
    """Return steps and, a seed a row, a column of the learning curves, as far as all have it."""
    curves = [r["curve"] for r in records if name in r["curve"]]
    if not curves:
        return [], []
    shared = sorted(set.intersection(*(set(curve["step"]) for curve in curves)))
    rows = [dict(zip(curve["step"], curve[name], strict=True)) for curve in curves]
    return shared, [[row[step] for step in shared] for row in rows]


def _actions_figure(records: Sequence[Record]) -> Figure:
    titles: dict[str, list[Record]] = {}
    for record in records:
        titles.setdefault(f"{_title(record['game'])}, {title_of(record)}", []).append(record)
    traces: list[Trace] = []
    for index, actions in enumerate(("sampled", "greedy")):
        intervals = [
            t_interval([float(np.mean(row)) for row in win_rates(some, actions=actions).values()])
            for some in titles.values()
        ]
        traces += draw.interval_points(
            list(titles),
            [i.mean for i in intervals],
            [i.low for i in intervals],
            [i.high for i in intervals],
            actions,
            index,
            horizontal=True,
        )
    return Figure(
        "actions",
        "Sampled or greedy actions",
        "Held-out levels won, mean over all difficulties. Without memory, an agent that always "
        "takes its likeliest action may run to and fro for ever.",
        draw.figure(traces, "levels won", "", x_range=(-0.02, 1.02), x_format=".0%"),
    )


def _map_figure(record: Record, name: str, method: str) -> Figure:
    difficulties = record["difficulty"]
    points = record[name]
    traces: list[Trace] = []
    rated = sorted({d for d in difficulties if d is not None})
    for value in [*rated, None]:
        some = [p for p, d in zip(points, difficulties, strict=True) if d == value]
        drawn_by_hand = value is None
        marker: dict[str, Any] = {"color": PALETTE[1], "size": 14, "symbol": "star"}
        if not drawn_by_hand:
            marker = {"color": [value] * len(some), "size": 6, "opacity": 0.8}
            marker |= {"cmin": 0.0, "cmax": 1.0, "colorscale": _SHADES}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x for x, _ in some],
                "y": [y for _, y in some],
                "name": "made by hand" if drawn_by_hand else f"difficulty {value:g}",
                "marker": marker,
            }
        )
    axes = ("first coordinate", "second coordinate")
    if name == "pca":
        first, second = record["explained"]
        axes = (f"first component ({first:.0%})", f"second component ({second:.0%})")
    return Figure(
        f"{record['game']}-{name}",
        f"{_title(record['game'])}: where levels made by hand lie ({method})",
        "Levels by what stands in them: how many of each thing, how near to the avatar, and how "
        "large. Agents can only generalise to levels made by hand that lie among generated ones.",
        draw.figure(traces, *axes),
    )


def _sparsity_figure(records: Sequence[Record]) -> Figure:
    traces: list[Trace] = []
    by_game: dict[str, list[Any]] = {}
    for (game, difficulty), (chance, gained) in sparsity_points(records).items():
        interval = t_interval(list(gained.values()))
        x = float(np.mean(list(chance.values())))
        by_game.setdefault(game, []).append((x, difficulty, interval))
    for index, (game, points) in enumerate(by_game.items()):
        traces += draw.interval_points(
            [x for x, _, _ in points],
            [i.mean for _, _, i in points],
            [i.low for _, _, i in points],
            [i.high for _, _, i in points],
            f"{_title(game)} (difficulty {', '.join(f'{d:g}' for _, d, _ in points)})",
            index,
        )
    return Figure(
        "sparsity",
        "When Progressive PCG pays",
        "Win rate of Progressive PCG minus that of training at a fixed difficulty, on held-out "
        "levels of that difficulty, against how often random actions win there.",
        draw.figure(
            traces, "levels won by random actions", "gain in levels won",
            x_range=(-0.005, 1.1 * max(x for trace in traces for x in trace["x"]) + 0.005),
            x_format=".1%", y_format=".0%",
        ),
    )  # fmt: skip


def _title(game: str) -> str:
    return game.capitalize()
