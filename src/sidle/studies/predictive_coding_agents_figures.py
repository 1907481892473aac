"""Figures of the agents of the study `predictive-coding`: pure functions of its records.

Points are means over seeds, with 95 % t-intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sidle.evaluation.statistics import t_interval
from sidle.report import figures as draw
from sidle.report.figures import Trace
from sidle.studies.predictive_coding_agents_claims import agents_of, games_of, scores
from sidle.studies.study import Figure, Record

TITLES = {
    "none": "no other loss",
    "cpc": "contrastive loss",
    "shuffled-time": "shuffled time",
    "augmentation-alone": "moved images alone",
    "no-loss": "same compute, no loss",
}
_TICKS = "ticks of training"


def figures(records: Sequence[Record]) -> list[Figure]:
    """Draw what was found of agents; nothing if there are none."""
    memory, others = games_of(records, memory=True), games_of(records, memory=False)
    found = [_curve_figure(records, game, game in memory) for game in (*memory, *others)]
    if found:
        found.insert(0, _score_figure(records, [*memory, *others]))
    if any("bound" in record["curve"] for record in agents_of(records)):
        found.append(_bound_figure(records, [*memory, *others]))
    return found


def _losses(records: Sequence[Record]) -> list[str]:
    present = {record["loss"] for record in agents_of(records)}
    return [loss for loss in TITLES if loss in present]


def _colour(loss: str) -> int:
    return list(TITLES).index(loss)


def _over_seeds(
    rows: Iterable[Sequence[float]],
) -> tuple[list[float], list[float | None], list[float | None]]:
    """Return mean, low and high of each column; a row is a seed."""
    intervals = [t_interval(column) for column in zip(*rows, strict=True)]
    ends = [(i.low, i.high) if math.isfinite(i.low) else (None, None) for i in intervals]
    return [i.mean for i in intervals], [low for low, _ in ends], [high for _, high in ends]


def _score_figure(records: Sequence[Record], games: Sequence[str]) -> Figure:
    traces: list[Trace] = []
    for loss in _losses(records):
        of_games = {game: scores(records, game, loss) for game in games}
        of_games = {game: by_seed for game, by_seed in of_games.items() if by_seed}
        parts = [_over_seeds([[score] for score in each.values()]) for each in of_games.values()]
        traces += draw.interval_points(
            [_title(game) for game in of_games],
            [mean for (mean,), _, _ in parts],
            [low for _, (low,), _ in parts],
            [high for _, _, (high,) in parts],
            TITLES[loss],
            _colour(loss),
        )
    reactive = games_of(records, memory=False)
    names = " and ".join(map(_title, reactive))
    return Figure(
        "agents-scores",
        "Agents: what a contrastive loss beside their own gains",
        "Mean score over the last quarter of training, on generated levels. All agents of a seed "
        "begin from the same weights on the same levels and train for the same number of ticks."
        + (f" {names} is seen whole and asks for reactions alone." if reactive else ""),
        draw.figure(traces, "", "score"),
    )


def _curve_figure(records: Sequence[Record], game: str, memory: bool) -> Figure:
    traces: list[Trace] = []
    for loss in _losses(records):
        x, rows = _columns(agents_of(records, game=game, loss=loss), "score")
        if x:
            traces += draw.line_with_band(x, *_over_seeds(rows), TITLES[loss], _colour(loss))
    window = agents_of(records, game=game)[0]["window"]
    seen = f"{window} x {window} tiles around itself" if window else "the whole level"
    return Figure(
        f"agents-{game}-training",
        f"{_title(game)}: the score while training",
        f"Mean score of the last 200 episodes. The agent sees {seen}"
        + (" and has to remember what lies outside of them." if memory and window else "."),
        draw.figure(traces, _TICKS, "score"),
    )


def _bound_figure(records: Sequence[Record], games: Sequence[str]) -> Figure:
    traces: list[Trace] = []
    ahead = max(record["ahead"] for record in agents_of(records) if "bound" in record["curve"])
    ceiling = (0.0, [0.0, 0.0])
    for index, game in enumerate(games):
        some = agents_of(records, game=game, loss="cpc")
        x, rows = _columns(some, "bound")
        if x:
            traces += draw.line_with_band(x, *_over_seeds(rows), _title(game), index)
            top = max(value for record in some for value in record["curve"]["ceiling"])
            ceiling = max(ceiling, (top, [x[0], x[-1]]))
    if traces:
        traces += draw.reference_line(ceiling[1], [ceiling[0]] * 2, "ceiling")
    else:
        traces = draw.reference_line([0, 1], [0, 0], "no contrastive loss")
    return Figure(
        "agents-information",
        "What an agent's memory tells of what it will see",
        "Lower bound on the information between memory and what is seen later, given the actions "
        f"in between: mean over 1 to {ahead} ticks ahead, before each rollout's update.",
        draw.figure(traces, _TICKS, "nats"),
    )


def _columns(records: Sequence[Record], name: str) -> tuple[list[float], list[list[float]]]:
    """Return steps and, a seed a row, a column of the learning curves, as far as all have it."""
    curves = [record["curve"] for record in records if name in record["curve"]]
    if not curves:
        return [], []
    shared = sorted(set.intersection(*(set(curve["step"]) for curve in curves)))
    rows = [dict(zip(curve["step"], curve[name], strict=True)) for curve in curves]
    return shared, [[row[step] for step in shared] for row in rows]


def _title(game: str) -> str:
    return game.capitalize()
