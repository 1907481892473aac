"""Find the built-in games among the package's files, and read what their rules say about them.

A game is ``<name>.vgdl`` with ``levels/<name>_0.txt`` to ``_4.txt``. The rules begin with two
lines of comment, title and summary; a comment behind a line of the LevelMapping says what the
character means. A line ``# win score: n`` names the score that published code counts as a win.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sidle.errors import ArgumentError

N_LEVELS = 5
"""Hand-made levels of each game, the easiest first."""

_FIRST = ("zelda", "solarfox", "frogs", "boulderdash")  # the paper's games, in its order
_WALL = ord("w")


@dataclass(frozen=True)
class Game:
    """A game: its rules, its levels and what is to be said about them.

    Args:
        name: lower case, words joined by ``_``.
        title: what people call it.
        summary: one sentence, what it takes to win.
        rules: the VGDL text.
        levels: rows joined by line ends, the easiest first.
        characters: what each character in a level means; a blank is an empty cell.
        shape: (H, W) that all its levels are padded to.
        win_score: the score that the published code counts as a win, where that differs from
            winning by the rules.
    """

    name: str
    title: str
    summary: str
    rules: str
    levels: tuple[str, ...]
    characters: Mapping[str, str]
    shape: tuple[int, int]
    win_score: int | None = None

    @property
    def identifier(self) -> str:
        """The name in CamelCase, as in Gymnasium's ``sidle/MissileCommand-v0``."""
        return identifier_of(self.name)

    def grid(self, index: int) -> NDArray[np.uint8]:
        """Return level ``index`` as characters, uint8 of `shape`, centred and padded with walls.

        Raises:
            ArgumentError: there is no such level.
        """
        if not 0 <= index < len(self.levels):
            raise ArgumentError(
                f"Game.grid: {self.name} has levels 0 to {len(self.levels) - 1}, got {index}."
            )
        return pad(self.levels[index], self.shape)


def identifier_of(name: str) -> str:
    """Return a game's name in CamelCase."""
    return "".join(word.capitalize() for word in name.split("_"))


def names() -> tuple[str, ...]:
    """Return the names of all built-in games: the paper's four, then the others by name."""
    found = {
        entry.name.removesuffix(".vgdl")
        for entry in resources.files(__package__).iterdir()
        if entry.name.endswith(".vgdl")
    }
    return (*_FIRST, *sorted(found - set(_FIRST)))


@functools.cache
def load(name: str) -> Game:
    """Return a built-in game.

    Args:
        name: one of `names`.

    Raises:
        ArgumentError: there is no such game.
    """
    if name not in names():
        raise ArgumentError(f"games.load: there is no game {name!r}; one of: {', '.join(names())}.")
    folder = resources.files(__package__)
    rules = folder.joinpath(f"{name}.vgdl").read_text(encoding="utf-8")
    levels = tuple(
        folder.joinpath("levels", f"{name}_{i}.txt").read_text(encoding="utf-8").rstrip("\n")
        for i in range(N_LEVELS)
    )
    title, summary = (line.removeprefix("#").strip() for line in rules.splitlines()[:2])
    score = re.search(r"^# win score: (\d+)$", rules, flags=re.MULTILINE)
    return Game(
        name=name,
        title=title,
        summary=summary,
        rules=rules,
        levels=levels,
        characters=MappingProxyType(_meanings(rules)),
        shape=_shape(rules, levels),
        win_score=int(score.group(1)) if score else None,
    )


def pad(level: str | NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a level as uint8 grid of ``shape``, centred, with walls (``w``) around it.

    Args:
        level: rows of one length joined by line ends, or a uint8 grid.
        shape: (H, W), at least the level's own.

    Raises:
        ArgumentError: the level has ragged rows, other characters than ASCII, or is larger than
            ``shape``.
    """
    if isinstance(level, str):
        rows = level.splitlines()
        if not rows or len({len(row) for row in rows}) > 1:
            raise ArgumentError(f"pad: rows must have one length, got {[*map(len, rows)]}.")
        if not level.isascii():
            raise ArgumentError(f"pad: characters must be ASCII, got {ascii(level)[:60]}.")
        text = "".join(rows).encode("ascii")
        level = np.frombuffer(text, dtype=np.uint8).reshape(len(rows), len(rows[0]))
    top, left = ((outer - inner) // 2 for outer, inner in zip(shape, level.shape, strict=True))
    if top < 0 or left < 0:  # floored, so negative as soon as one cell is too many
        raise ArgumentError(f"pad: a level of shape {level.shape} does not fit into {shape}.")
    grid = np.full(shape, _WALL, dtype=np.uint8)
    grid[top : top + level.shape[0], left : left + level.shape[1]] = level
    return grid


def _meanings(rules: str) -> dict[str, str]:
    """Return the comments behind the lines of the LevelMapping, by character."""
    mapping = re.search(r"^ *LevelMapping.*\n((?: {8}.*\n?|\s*\n)*)", rules, flags=re.MULTILINE)
    lines = mapping.group(1) if mapping else ""
    return dict(re.findall(r"^ +(\S) > .*?# *(.*)$", lines, flags=re.MULTILINE))


def _shape(rules: str, levels: tuple[str, ...]) -> tuple[int, int]:
    """Return the shape named by ``# shape: H x W``, else that of the largest level."""
    named = re.search(r"^# shape: (\d+) x (\d+)$", rules, flags=re.MULTILINE)
    if named:
        return int(named.group(1)), int(named.group(2))
    sizes = [(len(rows), len(rows[0])) for rows in (level.splitlines() for level in levels)]
    return max(h for h, _ in sizes), max(w for _, w in sizes)
