"""Pictures of what drives, sails and flies, seen from above and facing right before it is turned.

Each function draws with a pen and is told ``colour`` and ``facing``, (0, 0) where there is none.
"""

from __future__ import annotations

from sidle.ppcg.pictures.pen import Pen, darker, lighter

Facing = tuple[int, int]

_GLASS = "#a9d3ef"
_TYRE = "#262c32"


def truck(pen: Pen, colour: str, facing: Facing) -> None:
    """A lorry with a load, from above."""
    for x in (0.12, 0.36, 0.76):
        pen.box(x, 0.12, x + 0.14, 0.88, _TYRE, 0.03)
    pen.box(0.03, 0.19, 0.66, 0.81, lighter(colour, 0.68), 0.04)
    for x in (0.2, 0.36, 0.52):
        pen.box(x, 0.19, x + 0.02, 0.81, lighter(colour, 0.4))
    pen.box(0.68, 0.2, 0.97, 0.8, colour, 0.09)
    pen.box(0.84, 0.26, 0.92, 0.74, _GLASS, 0.03)
    for y in (0.25, 0.75):
        pen.disc(0.955, y, 0.03, "#fff0b0")
    pen.turn(facing)


def car(pen: Pen, colour: str, facing: Facing) -> None:
    """A sports car, from above."""
    for x in (0.16, 0.68):
        pen.box(x, 0.15, x + 0.17, 0.85, _TYRE, 0.04)
    pen.box(0.05, 0.22, 0.96, 0.78, colour, 0.2)
    pen.box(0.05, 0.44, 0.96, 0.56, lighter(colour, 0.75))
    pen.box(0.28, 0.27, 0.7, 0.73, darker(colour, 0.2), 0.1)
    pen.box(0.58, 0.29, 0.69, 0.71, _GLASS, 0.04)
    pen.box(0.28, 0.31, 0.36, 0.69, _GLASS, 0.03)
    for y in (0.31, 0.69):
        pen.disc(0.92, y, 0.04, "#fff0b0")
    pen.turn(facing)


def ship(pen: Pen, colour: str, facing: Facing) -> None:
    """A space ship, from above."""
    pen.shape([(0.16, 0.42), (0.0, 0.5), (0.16, 0.58)], "#ffb347")
    pen.shape(
        [
            (0.1, 0.06),
            (0.3, 0.06),
            (0.66, 0.42),
            (0.66, 0.58),
            (0.3, 0.94),
            (0.1, 0.94),
            (0.22, 0.5),
        ],
        darker(colour, 0.18),
    )
    pen.shape([(0.16, 0.32), (0.97, 0.5), (0.16, 0.68)], "#edf1f4")
    pen.shape([(0.16, 0.5), (0.97, 0.5), (0.16, 0.68)], "#c6ced6")
    pen.oval(0.52, 0.5, 0.14, 0.07, colour)
    pen.oval(0.55, 0.48, 0.06, 0.025, lighter(colour, 0.6))
    pen.turn(facing)


def plane(pen: Pen, colour: str, facing: Facing) -> None:
    """An aeroplane, from above."""
    pen.shape(
        [(0.42, 0.04), (0.56, 0.04), (0.66, 0.5), (0.56, 0.96), (0.42, 0.96), (0.44, 0.5)], colour
    )
    pen.shape(
        [(0.04, 0.28), (0.14, 0.28), (0.22, 0.5), (0.14, 0.72), (0.04, 0.72), (0.1, 0.5)], colour
    )
    pen.box(0.06, 0.42, 0.96, 0.58, lighter(colour, 0.5), 0.08)
    pen.oval(0.76, 0.5, 0.08, 0.05, _GLASS)
    pen.turn(facing)


def tank(pen: Pen, colour: str, facing: Facing) -> None:
    """A tank, from above."""
    for y in (0.1, 0.72):
        pen.box(0.08, y, 0.84, y + 0.18, _TYRE, 0.05)
        for x in (0.16, 0.3, 0.44, 0.58, 0.72):
            pen.box(x, y + 0.03, x + 0.05, y + 0.15, "#4a545d")
    pen.box(0.12, 0.22, 0.8, 0.78, colour, 0.05)
    pen.box(0.5, 0.45, 1.0, 0.55, darker(colour, 0.35), 0.02)
    pen.disc(0.44, 0.5, 0.2, darker(colour, 0.15))
    pen.disc(0.42, 0.47, 0.12, lighter(colour, 0.2))
    pen.turn(facing)


def cannon(pen: Pen, colour: str, facing: Facing) -> None:
    """A gun on a slide, its barrel pointing down."""
    pen.box(0.06, 0.12, 0.94, 0.34, "#5a666f", 0.06)
    pen.box(0.38, 0.4, 0.62, 0.95, "#8b97a1", 0.03)
    pen.box(0.34, 0.84, 0.66, 0.97, "#5a666f", 0.03)
    pen.disc(0.5, 0.4, 0.26, colour)
    pen.disc(0.44, 0.34, 0.1, lighter(colour, 0.45))


def cannon_up(pen: Pen, colour: str, facing: Facing) -> None:
    """A gun on a slide, its barrel pointing up."""
    cannon(pen, colour, facing)
    pen.turn((0, -1))
    pen.turn((0, -1))


def boat(pen: Pen, colour: str, facing: Facing) -> None:
    """A boat with a sail, from the side."""
    pen.box(0.47, 0.08, 0.53, 0.66, "#8a5a34")
    pen.shape([(0.56, 0.12), (0.88, 0.58), (0.56, 0.58)], "#f6f1e6")
    pen.shape([(0.44, 0.2), (0.44, 0.58), (0.18, 0.58)], "#dcd5c5")
    pen.shape([(0.06, 0.64), (0.94, 0.64), (0.76, 0.9), (0.22, 0.9)], colour)
    pen.shape([(0.06, 0.64), (0.94, 0.64), (0.9, 0.72), (0.11, 0.72)], lighter(colour, 0.35))
    pen.mirror(facing)


def submarine(pen: Pen, colour: str, facing: Facing) -> None:
    """A submarine, from the side."""
    pen.line([(0.52, 0.4), (0.52, 0.14), (0.62, 0.14)], 0.06, darker(colour, 0.3))
    pen.box(0.36, 0.26, 0.62, 0.5, darker(colour, 0.12), 0.05)
    pen.shape([(0.16, 0.58), (0.02, 0.38), (0.02, 0.8)], darker(colour, 0.3))
    pen.oval(0.52, 0.6, 0.42, 0.23, colour)
    pen.oval(0.52, 0.53, 0.34, 0.1, lighter(colour, 0.25))
    for x in (0.4, 0.58, 0.76):
        pen.disc(x, 0.6, 0.06, _GLASS)
    pen.mirror(facing)


def saucer(pen: Pen, colour: str, facing: Facing) -> None:
    """A flying saucer, from the side."""
    pen.oval(0.5, 0.42, 0.24, 0.24, _GLASS)
    pen.oval(0.43, 0.33, 0.07, 0.05, "#ffffff")
    pen.oval(0.5, 0.58, 0.45, 0.18, darker(colour, 0.15))
    pen.oval(0.5, 0.54, 0.45, 0.15, colour)
    for x in (0.2, 0.4, 0.6, 0.8):
        pen.disc(x, 0.57, 0.045, "#ffe08a")


def paddle(pen: Pen, colour: str, facing: Facing) -> None:
    """A bat to keep a ball in play."""
    pen.box(0.0, 0.36, 1.0, 0.7, colour, 0.16)
    pen.box(0.1, 0.4, 0.9, 0.5, lighter(colour, 0.45), 0.05)
