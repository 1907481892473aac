"""`sidle levels draw`: sheets of levels, to the terminal and to a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from sidle.cli import console
from sidle.errors import ArgumentError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from sidle.ppcg.playable import Playable
    from sidle.ppcg.vgdl import Level

_MOST_LEVELS = 1000
_MOST_PIXELS = 100_000_000  # of a picture
_WIDE = 4 / 3  # of a sheet, about


@dataclass(frozen=True)
class DrawOptions:
    """Draw levels of a game.

    They are generated, or made by hand with --hand-made. The terminal shows their characters in
    colours; --out writes a picture.
    """

    game: tyro.conf.Positional[str]
    """Name of a built-in game (zelda, ...) or a file with rules in VGDL."""
    difficulty: float | None = None
    """Of all levels, from 0 to 1; by default they rise from 0 to 1."""
    n: int = 12
    """How many levels to generate."""
    seed: int = 0
    """Names the generated levels."""
    hand_made: bool = False
    """Draw the game's hand-made levels instead."""
    levels: Path | None = None
    """File with hand-made levels, divided by empty lines; by default the game's own, or those
    beside its file. For a file of your own, generated levels are modelled on them."""
    out: Path | None = None
    """Write a picture (.png) to this file."""
    tile: int = 32
    """Pixels of a tile in that picture."""
    json: bool = False
    """Print {"game", "out", "levels": [{"rows": [row], "difficulty", "seed"}]} as JSON; the two
    last are null for hand-made levels."""


@dataclass(frozen=True)
class _Drawn:
    level: Level
    caption: str
    difficulty: float | None = None
    seed: int | None = None


def draw(arguments: list[str]) -> int:
    """Run ``sidle levels draw`` with ``arguments``; return the exit code."""
    options = console.parse(
        DrawOptions, "levels draw", arguments, example="sidle levels draw frogs --difficulty 0.7"
    )
    if options.hand_made and options.difficulty is not None:
        raise UsageError("sidle levels draw: hand-made levels have no --difficulty.")
    if options.out is not None and options.out.suffix.lower() != ".png":
        raise UsageError(f"sidle levels draw: --out must end in .png, got {options.out}.")
    from sidle.ppcg import playable

    stage = playable.find(options.game, levels=options.levels)
    drawn = _hand_made(stage) if options.hand_made else _generated(stage, options)
    if options.out is not None:
        _write_picture(stage, drawn, options.out, options.tile)
    if options.json:
        levels = [
            {"rows": list(one.level.rows), "difficulty": one.difficulty, "seed": one.seed}
            for one in drawn
        ]
        out = None if options.out is None else str(options.out)
        console.print_json({"game": stage.game.name, "levels": levels, "out": out})
        return 0
    _show(stage, drawn)
    if options.out is not None:
        console.show(f"Written to {options.out}.")
    return 0


def _hand_made(stage: Playable) -> list[_Drawn]:
    return [_Drawn(level, f"level {i}") for i, level in enumerate(stage.levels)]


def _generated(stage: Playable, options: DrawOptions) -> list[_Drawn]:
    from sidle import seeding

    if not 1 <= options.n <= _MOST_LEVELS:
        raise ArgumentError(
            f"sidle levels draw: --n must be from 1 to {_MOST_LEVELS}, got {options.n}."
        )
    drawn = []
    for i in range(options.n):
        difficulty = options.difficulty
        if difficulty is None:
            difficulty = round(i / max(1, options.n - 1), 2)
        seed = seeding.split(options.seed, "levels_draw", i)
        level = stage.generated(difficulty, seed)
        drawn.append(_Drawn(level, f"difficulty {difficulty:.2f}", difficulty, seed))
    return drawn


def _write_picture(stage: Playable, drawn: list[_Drawn], path: Path, tile: int) -> None:
    from PIL import Image

    from sidle import storage
    from sidle.ppcg import render

    renderer = render.Renderer(stage.game, tile=tile)
    height = max(one.level.height for one in drawn)
    width = max(one.level.width for one in drawn)
    if height * width * tile**2 * len(drawn) > _MOST_PIXELS:
        raise ArgumentError(
            f"sidle levels draw: {len(drawn)} levels of {height} x {width} tiles of {tile} pixels "
            "make a picture too large to open. Draw fewer (--n), or smaller tiles (--tile)."
        )
    columns = max(1, round(math.sqrt(_WIDE * len(drawn) * height / width)))
    frames = [renderer.level(one.level, (height, width)) for one in drawn]
    picture = render.sheet(frames, columns, captions=[one.caption for one in drawn])
    with storage.replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")


def _show(stage: Playable, drawn: list[_Drawn]) -> None:
    """Print levels side by side, as many as fit."""
    from rich.console import Console
    from rich.table import Table

    terminal = Console(markup=False, highlight=False)
    width = max(one.level.width for one in drawn)
    # A blank after each character makes cells about square; wide levels go without.
    gap = " " if 2 * width <= terminal.width else ""
    width *= 1 + len(gap)
    columns = max(1, (terminal.width + 2) // (width + 2))
    styles = _styles(stage)
    for begin in range(0, len(drawn), columns):
        grid = Table.grid(padding=(0, 1))
        part = drawn[begin : begin + columns]
        grid.add_row(*(_coloured(one, styles, gap) for one in part))
        terminal.print(grid)
        terminal.print()


def _coloured(one: _Drawn, styles: dict[str, str], gap: str) -> Text:
    """Return a level's characters in colours, with a gap after each."""
    from rich.text import Text

    text = Text(f"{one.caption}\n", no_wrap=True)
    for row in one.level.rows:
        for character in row:
            text.append(character + gap, styles[character])
        text.append("\n")
    return text


def _styles(stage: Playable) -> dict[str, Any]:
    """Return how each character is coloured: what fills the tile below, what stands on it above."""
    from sidle.ppcg import pictures

    looks = pictures.looks(stage.game)
    empty = pictures.ground_of(looks).colour
    styles = {" ": f"on {empty}"}
    for character, names in stage.game.mapping.items():
        below, above = empty, None
        for name in names:
            look = looks[stage.game.types.index(name)]
            if look.picture is None:
                continue
            if pictures.PICTURES[look.picture].draw_ground is not None:
                below, above = look.colour, None
            else:
                above = look.colour
        if above is None:
            styles[character] = f"{_ink(below, 0.3)} on {below}"
        else:
            styles[character] = f"bold {_ink(below, 0.5, above)} on {below}"
    return styles


def _ink(ground: str, share: float, colour: str | None = None) -> str:
    """Return ``colour``, by default the ground's, lightened or darkened to stand out from it."""
    from sidle.ppcg.pictures.pen import darker, lighter

    choices = [make(colour or ground, share) for make in (lighter, darker)]
    return max(choices, key=lambda ink: abs(_brightness(ink) - _brightness(ground)))


def _brightness(colour: str) -> float:
    red, green, blue = bytes.fromhex(colour[1:])
    return 0.299 * red + 0.587 * green + 0.114 * blue
