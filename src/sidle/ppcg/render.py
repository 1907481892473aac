"""Frames of a game: RGB arrays of what a level looks like.

    renderer = Renderer(game, tile=32)
    frame = renderer.frame(engine.state(0), (9, 13))     # uint8 (288, 416, 3)

Ten pixels a tile are what the paper's agents saw; 32 or more are handsome. Sprites stand where
they are to the pixel. Types are drawn in order of definition, so that later ones lie on top. The
same state gives the same frame everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from sidle.errors import ArgumentError
from sidle.ppcg import pictures, vocabulary
from sidle.ppcg.kernels import drawing
from sidle.ppcg.kernels.codes import TILE
from sidle.ppcg.vgdl import Game, Level

Frame = npt.NDArray[np.uint8]

PAPER = (251, 251, 249)
"""The colour around the frames of a sheet, RGB."""

SMALLEST_TILE, LARGEST_TILE = 4, 128
_MARKED_TILE = 16  # pixels from which marks are written in digits
_BACK = (27, 33, 39)
_GAP = 16  # pixels between the frames of a sheet
_CAPTION = 24  # pixels a caption takes
_FACING = {facing: place for place, facing in enumerate(pictures.FACINGS)}
_FULL = 10  # units a bar shows where the game names no limit

# Digits of 3 x 5 pixels, rows from above, as octal digits: 4 = left, 2 = middle, 1 = right.
_DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717")


class Renderer:
    """Draws levels and states of ``game``.

    Args:
        game: the compiled game.
        tile: pixels of a tile's side, from 4 to 128.

    Attributes:
        looks: the picture and colour of each type.
        ground: what empty cells show.

    Raises:
        ArgumentError: a tile smaller or larger than that.
    """

    def __init__(self, game: Game, *, tile: int = 32) -> None:
        if not SMALLEST_TILE <= tile <= LARGEST_TILE:
            raise ArgumentError(
                f"Renderer: tile must be from {SMALLEST_TILE} to {LARGEST_TILE} pixels, got {tile}."
            )
        self.game, self.tile = game, tile
        self.looks = pictures.looks(game)
        self.ground = pictures.ground_of(self.looks)
        counts = [look.n_variants for look in self.looks]
        self._first = np.cumsum([0, *counts])
        self._numbers = {name: number for number, name in enumerate(game.types)}
        self._avatars = frozenset(game.avatars())
        names = [look.picture for look in self.looks]
        drawn = [None if name is None else pictures.PICTURES[name] for name in names]
        # Name -> number, first picture, whether it is seen, whether it has pictures by facing.
        self._kinds = {
            kind: (
                number,
                int(self._first[number]),
                picture is not None,
                bool(picture and picture.faces),
            )
            for number, (kind, picture) in enumerate(zip(game.types, drawn, strict=True))
        }
        # Number of a type that joins -> that of the first type with this picture.
        self._joined = {
            number: names.index(names[number])
            for number, picture in enumerate(drawn)
            if picture is not None and picture.joins
        }
        self._atlas = np.zeros((sum(counts), tile, tile, 4), np.uint8)
        self._is_drawn = np.zeros(sum(counts), np.bool_)
        self._background: Frame = np.zeros((0, 0, 3), np.uint8)

    def frame(
        self, state: Mapping[str, Any], shape: tuple[int, int], *, status: bool = True
    ) -> Frame:
        """Return a state as a picture, uint8 (H T, W T, 3), RGB.

        Args:
            state: as `Engine.state` returns it.
            shape: (H, W), cells of the level.
            status: whether the avatar bears marks of its health and of what it carries.
        """
        made = self._put(self.sprites(state), shape)
        if status:
            self._mark(made, state)
        return made

    def level(self, level: Level, shape: tuple[int, int] | None = None) -> Frame:
        """Return a level before its first tick as a picture, uint8 (H T, W T, 3), RGB.

        Args:
            level: of this game.
            shape: (H, W) of the picture in cells; by default the level's own.
        """
        return self._put(self.sprites(opening(self.game, level)), shape or level.characters.shape)

    def sprites(self, state: Mapping[str, Any]) -> npt.NDArray[np.int64]:
        """Return what a state shows, in drawing order: (S, 3), picture, x, y in tenths of a tile.

        A picture is a place in `atlas`. Killed avatars and invisible sprites are left out.
        """
        found: list[tuple[int, int, int, int]] = []  # type, picture, x, y
        joined: dict[int, set[tuple[int, int]]] = {}  # by type, shared by types of one picture
        for name, x, y, *rest in state["sprites"]:
            number, first, is_seen, faces = self._kinds[name]
            if rest and is_seen:
                is_seen = "disabled" not in rest[0]
                if faces and "ori" in rest[0]:
                    first += _FACING[tuple(rest[0]["ori"])]
            if is_seen:
                found.append((number, first, x, y))
                if number in self._joined:
                    joined.setdefault(self._joined[number], set()).add((x, y))
        found.sort(key=lambda one: one[0])
        if joined:
            edge_x = max(x for _, _, x, _ in found)
            edge_y = max(y for _, _, _, y in found)
            found = [
                (number, first + _rim(joined[self._joined[number]], x, y, edge_x, edge_y), x, y)
                if number in self._joined
                else (number, first, x, y)
                for number, first, x, y in found
            ]
        return np.array(found, np.int64).reshape(-1, 4)[:, 1:]

    def atlas(self) -> npt.NDArray[np.uint8]:
        """Return every picture of the game, uint8 (P, T, T, 4), RGBA with straight alpha."""
        self._draw(np.arange(len(self._atlas)))
        return self._atlas.copy()

    def background(self) -> Frame:
        """Return an empty cell, uint8 (T, T, 3), RGB."""
        made: Frame = pictures.pixels(self.ground, 0, self.tile)[..., :3].copy()
        return made

    @property
    def n_pictures(self) -> int:
        """How many pictures `atlas` holds."""
        return len(self._atlas)

    def first(self, number: int) -> int:
        """Return the place in the atlas of the first picture of a type; types follow in order."""
        return int(self._first[number])

    def portrait(self, number: int) -> int:
        """Return the place in the atlas of the picture that stands for a type, as in a legend."""
        variant = 1 + 2 + 4 + 8 if number in self._joined else 0
        if self._kinds[self.game.types[number]][3]:
            variant = _FACING[_orientation(self.game, number)]
        return int(self._first[number]) + variant

    def _put(self, sprites: npt.NDArray[np.int64], shape: tuple[int, ...]) -> Frame:
        height, width = shape
        if self._background.shape != (height * self.tile, width * self.tile, 3):
            self._background = np.tile(self.background(), (height, width, 1))
        made = self._background.copy()
        self._draw(sprites[:, 0])
        # Halves are rounded up, as everywhere on the screen.
        places = (2 * sprites[:, 1:] * self.tile + TILE) // (2 * TILE)
        index, left, top = (
            np.ascontiguousarray(part) for part in (sprites[:, 0], places[:, 0], places[:, 1])
        )
        drawing.put_pictures(made, self._atlas, index, left, top)
        return made

    def _draw(self, wanted: npt.NDArray[np.int64]) -> None:
        """Draw those pictures of the atlas that are wanted for the first time."""
        if self._is_drawn[wanted].all():
            return
        for index in np.unique(wanted[~self._is_drawn[wanted]]).tolist():
            number = int(np.searchsorted(self._first, index, side="right")) - 1
            variant = index - int(self._first[number])
            self._atlas[index] = pictures.pixels(self.looks[number], variant, self.tile)
            self._is_drawn[index] = True

    def _mark(self, frame: Frame, state: Mapping[str, Any]) -> None:
        """Write health and resources on the avatar's tile: bars, from 16 pixels on digits."""
        for name, x, y, *rest in state["sprites"]:
            number = self._numbers[name]
            if number not in self._avatars or not rest or rest[0].get("disabled"):
                continue
            left, top = ((2 * value * self.tile + TILE) // (2 * TILE) for value in (x, y))
            if "hp" in rest[0]:
                self._bar(
                    frame, left, top, rest[0]["hp"] / self._full_health(number, rest[0]["hp"])
                )
            for row, (resource, amount) in enumerate(rest[0].get("res", {}).items()):
                if self.tile >= _MARKED_TILE:
                    self._number(frame, left, top, row, resource, amount)
                else:
                    limit = int(self.game.parameters[self._numbers[resource]].get("limit", _FULL))
                    share = min(1.0, amount / max(1, limit))
                    self._strip(frame, left, top + row, share, self._colour(resource))

    def _full_health(self, number: int, health: int) -> int:
        written = self.game.parameters[number]
        names = ("maxHealthPoints", "limitHealthPoints", "healthPoints")
        return max(1, health, *(int(written.get(name, 0)) for name in names))

    def _bar(self, frame: Frame, left: int, top: int, share: float) -> None:
        """Draw a bar of health along the lower edge of a tile."""
        thick = max(1, self.tile // 10)
        at = top + self.tile - thick
        _fill(frame, left, at, self.tile, thick, _BACK)
        _fill(frame, left, at, round(share * self.tile), thick, (88, 196, 128))

    def _strip(
        self, frame: Frame, left: int, top: int, share: float, colour: tuple[int, int, int]
    ) -> None:
        _fill(frame, left, top, max(1, round(share * self.tile)), 1, colour)

    def _number(
        self, frame: Frame, left: int, top: int, row: int, resource: str, amount: int
    ) -> None:
        """Write an amount on a small plate in the colour of what is carried."""
        size = self.tile // _MARKED_TILE
        text = str(amount)
        height, width = 7 * size, (4 * len(text) + 4) * size
        at = top - height // 2 + row * (height + size)  # half above the tile: faces stay free
        _fill(frame, left, at, width, height, _BACK)
        _fill(frame, left + size, at + size, 2 * size, 5 * size, self._colour(resource))
        for place, digit in enumerate(text):
            for line, bits in enumerate(_DIGITS[int(digit)]):
                for column in range(3):
                    if int(bits) & 4 >> column:
                        x = left + (4 + 4 * place + column) * size
                        _fill(frame, x, at + (1 + line) * size, size, size, (255, 255, 255))

    def _colour(self, name: str) -> tuple[int, int, int]:
        red, green, blue = ImageColor.getrgb(self.looks[self._numbers[name]].colour)[:3]
        return red, green, blue


def opening(game: Game, level: Level) -> dict[str, Any]:
    """Return the sprites a level places, in the form of `Engine.state`, before the first tick."""
    sprites: list[list[Any]] = []
    for row, line in enumerate(level.rows):
        for column, character in enumerate(line):
            for name in game.mapping.get(character, ()):
                facing = _orientation(game, game.types.index(name))
                extras = [{"ori": list(facing)}] if facing != (0, 0) else []
                sprites.append([name, column * TILE, row * TILE, *extras])
    return {"sprites": sprites}


def sheet(frames: Sequence[Frame], columns: int, *, captions: Sequence[str] = ()) -> Frame:
    """Return frames of one size side by side on paper, uint8 (H, W, 3), RGB.

    Args:
        frames: at least one.
        columns: how many in a row.
        captions: what is written below each, or nothing.

    Raises:
        ArgumentError: there are no frames or columns, sizes differ, or captions are missing.
    """
    if not frames or len({frame.shape for frame in frames}) > 1 or columns < 1:
        raise ArgumentError("sheet: expected at least one column and one frame, all of one size.")
    if captions and len(captions) != len(frames):
        raise ArgumentError(f"sheet: {len(frames)} frames need as many captions.")
    height, width, _ = frames[0].shape
    below = _CAPTION if captions else 0
    rows, columns = -(-len(frames) // columns), min(columns, len(frames))
    size = (columns * (width + _GAP) + _GAP, rows * (height + below + _GAP) + _GAP)
    paper = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(paper)
    for place, frame in enumerate(frames):
        left = _GAP + place % columns * (width + _GAP)
        top = _GAP + place // columns * (height + below + _GAP)
        paper.paste(Image.fromarray(frame), (left, top))
        if captions:
            at = (left + width / 2, top + height + below / 2 + 2)
            pen.text(at, captions[place], _BACK, ImageFont.load_default(15), anchor="mm")
    made: Frame = np.array(paper)
    return made


def _orientation(game: Game, number: int) -> tuple[int, int]:
    """Return where a type faces at birth."""
    written = game.parameters[number].get("orientation", "")
    named = vocabulary.DIRECTIONS.get(written.upper())
    return named if named is not None else vocabulary.CLASSES[game.classes[number]].orientation


def _rim(places: set[tuple[int, int]], x: int, y: int, edge_x: int, edge_y: int) -> int:
    """Return which sides of a tile border on something else; beyond the level all is alike."""
    up, right, down, left = y - TILE, x + TILE, y + TILE, x - TILE
    return (
        (up >= 0 and (x, up) not in places)
        + 2 * (right <= edge_x and (right, y) not in places)
        + 4 * (down <= edge_y and (x, down) not in places)
        + 8 * (left >= 0 and (left, y) not in places)
    )


def _fill(
    frame: Frame, left: int, top: int, width: int, height: int, colour: tuple[int, int, int]
) -> None:
    """Paint a rectangle; what lies outside of the frame is left out."""
    frame[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = colour
