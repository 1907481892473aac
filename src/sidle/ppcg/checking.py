"""Is a game of one's own in order: its rules, its levels, and can these be won.

    report = check("mine.vgdl", solve=True)

Whatever is malformed raises an error with the place. What is legal and probably not meant is a
warning: a type that never appears, a game that cannot be won, a level that is over at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sidle import progress, seeding
from sidle.errors import ArgumentError, DataNotFoundError
from sidle.ppcg import compiling, games, pictures, playable, search, vgdl
from sidle.ppcg.engine import Engine
from sidle.ppcg.kernels import stepping
from sidle.ppcg.vgdl import Game, Level

_MOST_EPISODES = 1000
_MOST_TICKS = 300  # of a way to win that is searched for
_WIDEST = 1000  # states that the search keeps a tick
_MOST_KEPT = 1_000_000  # cells of all of them, about a gigabyte with what follows from them


@dataclass(frozen=True)
class LevelReport:
    """A level, and what random play made of it.

    Attributes:
        height, width: cells.
        won: share of the episodes that were won; NaN where none was played.
        score: mean score at the end.
        length: mean number of ticks.
        longest: ticks of the longest episode.
        solution: ticks of a way to win that a search found; None if none was found or looked for.
        complete: whether the search left nothing out: without a solution, there is none of at most
            300 ticks under the seed.
    """

    height: int
    width: int
    won: float
    score: float
    length: float
    longest: int
    solution: int | None = None
    complete: bool = False


@dataclass(frozen=True)
class Report:
    """A game in order: what is in it, its levels, what to look at again."""

    game: Game
    levels: tuple[LevelReport, ...]
    warnings: tuple[str, ...]


def check(
    source: str | Path,
    *,
    levels: str | Path | None = None,
    episodes: int = 20,
    solve: bool = False,
    seed: int = 0,
) -> Report:
    """Return a report on a game.

    Args:
        source: a file with rules in VGDL, or the name of a built-in game.
        levels: a file with levels; by default those beside the rules, if there are any.
        episodes: how many to play on each level, with random actions; 0 to 1000.
        solve: whether to search for a way to win each level, see `search.solve`.
        seed: names all chance.

    Raises:
        DataError: rules or a level are malformed; the message says where.
        DataNotFoundError: there is no such file.
        ArgumentError: there is no such built-in game, or ``episodes`` is out of range.
        RoomError: sprites multiply without end.
    """
    if not 0 <= episodes <= _MOST_EPISODES:
        raise ArgumentError(
            f"checking.check: episodes must be from 0 to {_MOST_EPISODES}, got {episodes}."
        )
    game, found = _read(source, levels)
    reports = _play(game, found, episodes, seed) if found else ()
    if solve:
        reports = _solve(game, found, reports, seed)
    warnings = [*game.warnings, *pictures.oversights(game)]
    if not found:
        warnings.append(
            f"there are no levels beside the rules, so only these were checked; write some into "
            f"{Path(source).with_suffix('.txt').name}, or name their file with --levels."
        )
    for number, report in enumerate(reports):
        if report.longest == 1:
            warnings.append(f"level {number} is over after its first tick, whatever one does.")
        elif solve and report.solution is None and report.complete:
            warnings.append(
                f"level {number} cannot be won within {_MOST_TICKS} ticks, chance being as it is."
            )
    return Report(game, reports, tuple(warnings))


def _read(source: str | Path, levels: str | Path | None) -> tuple[Game, tuple[Level, ...]]:
    """Return the game and its levels, none where there are none beside it."""
    path = Path(source)
    if levels is None and str(source) not in games.names() and path.is_file():
        game = vgdl.read_game(path)
        try:
            playable.level_files(path)
        except DataNotFoundError:
            return game, ()
    found = playable.find(source, levels=levels)
    return found.game, found.levels


def _play(game: Game, levels: Sequence[Level], episodes: int, seed: int) -> tuple[LevelReport, ...]:
    """Return reports of ``episodes`` of each level, all played side by side."""
    sizes = [(level.height, level.width) for level in levels]
    if episodes == 0:
        return tuple(LevelReport(*size, np.nan, np.nan, np.nan, 0) for size in sizes)
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    n = len(levels) * episodes
    engine = Engine(
        game, n, height=height, width=width, seed=seed, autoreset="disabled", observe=False
    )
    rng = seeding.numpy_generator(seeding.split(seed, "checking", "actions"))
    with progress.compiling(stepping.step_slots):
        engine.reset([level for level in levels for _ in range(episodes)])
        engine.step(np.zeros(n, np.int64))
        # That tick compiled the kernels; the levels begin anew.
        engine.reset()
        engine.episodes()
    with progress.bar("playing", n) as bar:
        n_over = 0
        while not engine.dones.all():
            engine.step(rng.integers(len(game.actions), size=n))
            bar.advance(int(engine.dones.sum()) - n_over)
            n_over = int(engine.dones.sum())
    log = engine.episodes()
    log.sort(order="slot")
    by_level = log.reshape(len(levels), episodes)
    return tuple(
        LevelReport(
            *size,
            float(played["won"].mean()),
            float(played["score"].mean()),
            float(played["length"].mean()),
            int(played["length"].max()),
        )
        for size, played in zip(sizes, by_level, strict=True)
    )


def _solve(
    game: Game, levels: Sequence[Level], reports: Sequence[LevelReport], seed: int
) -> tuple[LevelReport, ...]:
    """Return the reports with what a search finds in each level."""
    goals = _goals(game)
    made = []
    with progress.bar("searching", len(levels)) as bar:
        for level, report in zip(levels, reports, strict=True):
            cells = level.height * level.width
            outcome = search.solve(
                game, level, seed=seed, near=goals, most_ticks=_MOST_TICKS,
                width=min(_WIDEST, max(1, _MOST_KEPT // cells)),
            )  # fmt: skip
            length = None if outcome.actions is None else len(outcome.actions)
            made.append(replace(report, solution=length, complete=outcome.complete))
            bar.advance()
    return tuple(made)


def _goals(game: Game) -> tuple[str, ...]:
    """Return the types that have to be gone to win, which the avatar may do well to visit."""
    endings = compiling.describe(game.text, game.name).endings
    return tuple(
        str(ending.parameters["stype"])
        for ending in endings
        if ending.kind == "SpriteCounter" and ending.parameters["win"]
    )
