"""`sidle levels check`: is a game of one's own in order."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from sidle.cli import console

if TYPE_CHECKING:
    from sidle.ppcg.checking import LevelReport, Report


@dataclass(frozen=True)
class CheckOptions:
    """Check the rules and the levels of a game of your own.

    What is wrong is named with its line, and nothing else is done. What is in order is played with
    random actions, which shows how hard a level is and whether anything multiplies without end.
    """

    game: tyro.conf.Positional[str]
    """A file with rules in VGDL, or the name of a built-in game."""
    levels: Path | None = None
    """File with levels, divided by empty lines; by default those beside the rules."""
    episodes: int = 20
    """Episodes of random play on each level; 0 only reads."""
    solve: bool = False
    """Search for a way to win each level; takes up to a minute a level."""
    seed: int = 0
    """Names all chance."""
    json: bool = False
    """Print {"game", "types", "actions", "terminations", "warnings", "levels": [{"height", "width",
    "won", "score", "length", "longest", "solution", "complete"}]} as JSON; won, score and length
    are null where nothing was played, solution (ticks) where no way to win was found."""


def check(arguments: list[str]) -> int:
    """Run ``sidle levels check`` with ``arguments``; return the exit code."""
    options = console.parse(
        CheckOptions, "levels check", arguments, example="sidle levels check mine.vgdl"
    )
    from sidle.ppcg import checking

    report = checking.check(
        options.game,
        levels=options.levels,
        episodes=options.episodes,
        solve=options.solve,
        seed=options.seed,
    )
    if options.json:
        console.print_json(_as_json(report))
        return 0
    game = report.game
    console.show(
        f"{game.name}: {_count(len(game.types), 'type')}, "
        f"{_count(len(game.actions), 'action')}, "
        f"{_count(len(game.tables.terminations), 'termination')}; "
        f"{_count(len(report.levels), 'level')}."
    )
    if report.levels:
        console.show(_table(report, options.episodes, options.solve))
    never = [str(number) for number, level in enumerate(report.levels) if level.won == 0]
    if never and not options.solve:
        console.show(
            f"Random play never won level {', '.join(never)}; --solve searches for a way to win."
        )
    console.show(*(f"Warning: {one}" for one in report.warnings))
    console.show("All is in order." if not report.warnings else "No errors.")
    return 0


def _as_json(report: Report) -> dict[str, Any]:
    game = report.game
    return {
        "game": game.name,
        "types": list(game.types),
        "actions": list(game.actions),
        "terminations": len(game.tables.terminations),
        "warnings": list(report.warnings),
        "levels": [_level_as_json(level) for level in report.levels],
    }


def _level_as_json(level: LevelReport) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in asdict(level).items()
    }


def _table(report: Report, episodes: int, solve: bool) -> Any:
    title = f"{_count(episodes, 'episode')} of random play on each level" if episodes else "Levels"
    columns = ["level", "cells", *(["won", "score", "ticks"] if episodes else [])]
    columns += ["a way to win"] if solve else []
    table = console.table(title, columns, right=columns[1:])
    for number, level in enumerate(report.levels):
        played = [f"{level.won:.0%}", f"{level.score:.1f}", f"{level.length:.0f}"]
        size = f"{level.height} x {level.width}"
        row = [str(number), size, *(played if episodes else [])]
        table.add_row(*row, *([_way(level)] if solve else []))
    return table


def _way(level: LevelReport) -> str:
    if level.solution is not None:
        return _count(level.solution, "tick")
    return "there is none" if level.complete else "none found"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
