"""Something to play: a built-in game, or a game and levels in files of the user's own.

zelda = find("zelda")
mine = find("mine.vgdl")          # with levels in mine.txt, or mine_0.txt, mine_1.txt, ...
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sidle.errors import ArgumentError, DataNotFoundError
from sidle.ppcg import games, generators, vgdl
from sidle.ppcg.generators import Generator
from sidle.ppcg.vgdl import Game, Level

_SUFFIXES = (".vgdl", ".txt")
_WALL = "w"


@dataclass(frozen=True, eq=False)
class Playable:
    """A game with levels.

    Attributes:
        game: compiled.
        title: what people call it.
        summary: one sentence, what it takes to win; empty where the file does not say.
        levels: made by hand, the easiest first; if walls (``w``) occur in them, padded with walls
            to `shape`.
        shape: (H, W) that every level fits into.
        generator: makes levels by difficulty; None where no walls occur, or a level has fewer than
            3 or more than 64 cells a side.
        win_score: the score that published code counts as a win, where that differs.
    """

    game: Game
    title: str
    summary: str
    levels: tuple[Level, ...]
    shape: tuple[int, int]
    generator: Generator | None
    win_score: int | None = None

    def generated(self, difficulty: float, seed: int) -> Level:
        """Return a generated level.

        Args:
            difficulty: in [0, 1].
            seed: in [0, 2^63).

        Raises:
            ArgumentError: the game has no generator, or a number lies outside its range.
        """
        if self.generator is None:
            raise ArgumentError(
                f"{self.game.name}: levels are generated after levels with walls, of 3 to 64 cells "
                f"a side. Put walls, '{_WALL}', around those made by hand."
            )
        return self.game.level(self.generator.generate(difficulty, seed))


def find(source: str | Path, *, levels: str | Path | None = None) -> Playable:
    """Return what ``source`` names.

    Args:
        source: the name of a built-in game, or a file with rules in VGDL.
        levels: a file with levels, divided by empty lines. By default a built-in game's own, or
            those `level_files` finds beside the rules.

    Raises:
        ArgumentError: there is no such game.
        DataNotFoundError: there is no such file, or no levels beside it.
        DataError: the rules or a level are malformed.
    """
    name = str(source)
    if name in games.names():
        built_in = games.load(name)
        game = vgdl.compile_game(built_in.rules, name=name)
        made = (
            tuple(game.level(built_in.grid(i)) for i in range(len(built_in.levels)))
            if levels is None
            else _read_levels(game, [Path(levels)])
        )
        shape = built_in.shape if levels is None else _largest(made, built_in.shape)
        title, summary = built_in.title, built_in.summary
        return Playable(
            game, title, summary, _padded(game, made, shape), shape, generators.find(name),
            built_in.win_score,
        )  # fmt: skip
    path = Path(source)
    if path.suffix not in _SUFFIXES and len(path.parts) == 1 and not path.exists():
        near = difflib.get_close_matches(name, games.names(), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(
            f"There is no game '{name}'.{hint} Built in are {', '.join(games.names())}; a game of "
            "your own is named by its file, as in mine.vgdl."
        )
    game = vgdl.read_game(path)
    made = _read_levels(game, level_files(path) if levels is None else [Path(levels)])
    shape = _largest(made)
    title, summary = title_of(game), summary_of(game)
    generator = None
    if _has_walls(made) and all(_is_of_modest_size(level) for level in made):
        generator = generators.from_levels(game.name, ["\n".join(level.rows) for level in made])
    return Playable(game, title, summary, _padded(game, made, shape), shape, generator)


def level_files(rules: Path) -> list[Path]:
    """Return the files with levels beside a game's rules: ``<stem>.txt``, or ``<stem>_*.txt``.

    Raises:
        DataNotFoundError: there are none.
    """
    single = rules.with_suffix(".txt")
    if single != rules and single.is_file():
        return [single]
    several = sorted(
        rules.parent.glob(f"{rules.stem}_*.txt"), key=lambda path: (len(path.name), path)
    )
    if not several:
        raise DataNotFoundError(
            f"{rules}: there are no levels beside it. Write some into {single.name}, divided by "
            "empty lines, or name their file with --levels."
        )
    return several


def title_of(game: Game) -> str:
    """Return what to call a game: the comment in its first line, else its name."""
    comments = _comments(game)
    return comments[0] if comments else game.name.replace("_", " ").capitalize()


def summary_of(game: Game) -> str:
    """Return what its second line, a comment too, says about a game; empty if there is none."""
    return "".join(_comments(game)[1:])


def _read_levels(game: Game, paths: Sequence[Path]) -> tuple[Level, ...]:
    return tuple(level for path in paths for level in game.levels(vgdl.read_text(path), path=path))


def _largest(levels: Sequence[Level], least: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    heights, widths = zip(*((level.height, level.width) for level in levels), strict=True)
    return max(*heights, least[0]), max(*widths, least[1])


def _has_walls(levels: Sequence[Level]) -> bool:
    return any((level.characters == ord(_WALL)).any() for level in levels)


def _is_of_modest_size(level: Level) -> bool:
    sides = level.height, level.width
    return min(sides) >= generators.SHORTEST_SIDE and max(sides) <= generators.LONGEST_SIDE


def _padded(game: Game, levels: Sequence[Level], shape: tuple[int, int]) -> tuple[Level, ...]:
    """Return levels of one shape, walls around the smaller ones, if there are walls in them."""
    if not _has_walls(levels):
        return tuple(levels)
    return tuple(game.level(games.pad(level.characters, shape)) for level in levels)


def _comments(game: Game) -> list[str]:
    """Return the comments at the beginning of the rules, at most two."""
    lines = [line.strip() for line in game.text.splitlines()[:2]]
    comments = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return [comment for line in comments if (comment := line.lstrip("#").strip())]
