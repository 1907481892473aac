"""A pen that draws one tile in coordinates from 0 to 1, x to the right and y down.

Shapes are drawn several times larger than asked and averaged down, so that edges are smooth and
the result is the same on every machine. A finished thing gets a dark outline and a soft shadow,
which keep it readable on any ground, also for people who see few colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Point = tuple[float, float]

INK = "#1b2127"
_CANVAS = 256  # pixels a tile is drawn at, at least
_OUTLINE = 0.022  # of a tile
_SHADOW = (0.02, 0.045, 0.34)  # to the right, down, opacity


class Pen:
    """A canvas of one tile."""

    def __init__(self) -> None:
        self._image = Image.new("RGBA", (_CANVAS, _CANVAS), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def fill(self, colour: str) -> None:
        """Paint the whole tile."""
        self._draw.rectangle((0, 0, _CANVAS, _CANVAS), fill=colour)

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: str, radius: float = 0.0
    ) -> None:
        """Paint a rectangle, its corners rounded by ``radius``."""
        # Pillow's corners are inclusive, ours are not.
        corners = (left * _CANVAS, top * _CANVAS, right * _CANVAS - 1, bottom * _CANVAS - 1)
        if corners[2] < corners[0] or corners[3] < corners[1]:
            return
        self._draw.rounded_rectangle(corners, radius * _CANVAS, fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: str) -> None:
        """Paint a disc."""
        self.oval(x, y, radius, radius, colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: str) -> None:
        """Paint an ellipse with its axes along the tile's."""
        corners = (x - rx, y - ry, x + rx, y + ry)
        self._draw.ellipse([_CANVAS * value for value in corners], fill=colour)

    def shape(self, points: Sequence[Point], colour: str) -> None:
        """Paint a polygon."""
        self._draw.polygon([(_CANVAS * x, _CANVAS * y) for x, y in points], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: str) -> None:
        """Draw a line through points, with round joints and ends."""
        scaled = [(_CANVAS * x, _CANVAS * y) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width * _CANVAS)), joint="curve")
        for x, y in points:
            self.disc(x, y, width / 2, colour)

    def arc(
        self, x: float, y: float, radius: float, begin: float, end: float, width: float, colour: str
    ) -> None:
        """Draw a part of a circle from angle ``begin`` to ``end``, degrees, clockwise from 3."""
        steps = max(8, round(abs(end - begin) / 6))
        angles = [math.radians(begin + (end - begin) * i / steps) for i in range(steps + 1)]
        self.line(
            [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles], width, colour
        )

    def star(
        self, x: float, y: float, outer: float, inner: float, n_points: int, colour: str,
        turn: float = -90.0,
    ) -> None:  # fmt: skip
        """Paint a star; the first of its points lies at angle ``turn``, degrees."""
        points = []
        for i in range(2 * n_points):
            angle = math.radians(turn + 180.0 * i / n_points)
            radius = inner if i % 2 else outer
            points.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
        self.shape(points, colour)

    def erase(self, left: float, top: float, right: float, bottom: float) -> None:
        """Make a rectangle transparent."""
        corners = (left * _CANVAS, top * _CANVAS, right * _CANVAS - 1, bottom * _CANVAS - 1)
        self._draw.rectangle(corners, fill=(0, 0, 0, 0))

    def turn(self, facing: tuple[int, int]) -> None:
        """Turn what is drawn facing right to face ``facing``; (0, 0) leaves it."""
        quarter = {(0, -1): Image.Transpose.ROTATE_90, (-1, 0): Image.Transpose.FLIP_LEFT_RIGHT,
                   (0, 1): Image.Transpose.ROTATE_270}.get(facing)  # fmt: skip
        if quarter is not None:
            self._replace(self._image.transpose(quarter))

    def mirror(self, facing: tuple[int, int]) -> None:
        """Mirror what is drawn facing right where ``facing`` points to the left."""
        if facing[0] < 0:
            self._replace(self._image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))

    def outline(self) -> None:
        """Put a dark outline around what is drawn, and a shadow below."""
        alpha = self._image.getchannel("A")
        reach = round(_OUTLINE * _CANVAS)
        wide = alpha.filter(ImageFilter.GaussianBlur(reach)).point(
            [min(255, 9 * max(0, value - 12)) for value in range(256)]
        )
        under = Image.new("RGBA", self._image.size, (0, 0, 0, 0))
        right, down, opacity = _SHADOW
        shadow = ImageChops.offset(wide, round(right * _CANVAS), round(down * _CANVAS))
        # What an offset pushes over the rim comes back on the other side.
        shadow.paste(0, (0, 0, _CANVAS, round(down * _CANVAS)))
        shadow.paste(0, (0, 0, round(right * _CANVAS), _CANVAS))
        shadow = shadow.filter(ImageFilter.GaussianBlur(0.02 * _CANVAS))
        black = Image.new("RGBA", self._image.size, (0, 0, 0, 255))
        under.paste(black, mask=shadow.point([round(opacity * value) for value in range(256)]))
        ink = Image.new("RGBA", self._image.size, INK)
        edge = Image.new("RGBA", self._image.size, (0, 0, 0, 0))
        edge.paste(ink, mask=wide)
        self._replace(Image.alpha_composite(Image.alpha_composite(under, edge), self._image))

    def pixels(self, tile: int) -> npt.NDArray[np.uint8]:
        """Return the picture at ``tile`` pixels a side: uint8 (T, T, 4), straight alpha."""
        # Averages of premultiplied colours: transparent pixels have none of their own.
        whole = np.asarray(self._image, np.float64)
        alpha = whole[..., 3:] / 255.0
        bands = np.concatenate([whole[..., :3] * alpha, whole[..., 3:]], axis=2)
        small = _averaged(_averaged(bands, tile).transpose(1, 0, 2), tile).transpose(1, 0, 2)
        share = small[..., 3:] / 255.0
        colours = np.divide(
            small[..., :3], share, out=np.zeros_like(small[..., :3]), where=share > 0
        )
        made: npt.NDArray[np.uint8] = np.rint(
            np.concatenate([colours, small[..., 3:]], axis=2)
        ).astype(np.uint8)
        return made

    def _replace(self, image: Image.Image) -> None:
        self._image = image
        self._draw = ImageDraw.Draw(image)


def _averaged(rows: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Return ``n`` rows, each the mean of the rows it covers, parts of rows counted as such."""
    sums = np.concatenate([np.zeros_like(rows[:1]), np.cumsum(rows, axis=0)])
    at = np.linspace(0, len(rows), n + 1)
    below = np.minimum(at.astype(np.int64), len(rows) - 1)
    share = (at - below)[:, np.newaxis, np.newaxis]
    edges = sums[below] + share * rows[below]
    means: npt.NDArray[np.float64] = np.diff(edges, axis=0) * (n / len(rows))
    return means


def mixed(colour: str, other: str, share: float) -> str:
    """Return ``colour`` with ``share`` of ``other`` mixed in, as #rrggbb."""
    a, b = (ImageColor.getrgb(value)[:3] for value in (colour, other))
    parts = [round((1 - share) * x + share * y) for x, y in zip(a, b, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*parts)


def lighter(colour: str, share: float = 0.25) -> str:
    """Return ``colour`` with ``share`` of white."""
    return mixed(colour, "#ffffff", share)


def darker(colour: str, share: float = 0.25) -> str:
    """Return ``colour`` with ``share`` of a blue black."""
    return mixed(colour, "#10161d", share)
