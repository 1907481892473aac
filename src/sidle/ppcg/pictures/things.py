"""Pictures of things that are found, carried, opened or avoided. They get an outline afterwards.

Each function draws with a pen and is told ``colour`` and ``facing``, (0, 0) where there is none.
"""

from __future__ import annotations

from sidle.ppcg.pictures.pen import INK, Pen, darker, lighter

Facing = tuple[int, int]

_GOLD = "#f2b632"
_STEEL = "#c3ccd4"
_WOOD = "#a8703c"


def door(pen: Pen, colour: str, facing: Facing) -> None:
    """A wooden door in a stone arch, with a keyhole."""
    pen.box(0.12, 0.08, 0.88, 0.95, "#8b949c", 0.3)
    pen.box(0.12, 0.5, 0.88, 0.95, "#8b949c")
    pen.box(0.2, 0.16, 0.8, 0.95, darker(colour, 0.25), 0.26)
    pen.box(0.2, 0.5, 0.8, 0.95, darker(colour, 0.25))
    for x in (0.215, 0.41, 0.605):
        pen.box(x, 0.24 if x != 0.41 else 0.18, x + 0.18, 0.94, colour, 0.03)
    for y in (0.4, 0.76):
        pen.box(0.2, y, 0.8, y + 0.06, "#5a636b")
    pen.disc(0.5, 0.58, 0.075, _GOLD)
    pen.disc(0.5, 0.565, 0.03, INK)
    pen.box(0.485, 0.57, 0.515, 0.63, INK)


def gate(pen: Pen, colour: str, facing: Facing) -> None:
    """A barred gate that fills its tile."""
    pen.box(0.04, 0.04, 0.96, 0.16, darker(colour, 0.15), 0.04)
    for x in (0.1, 0.3, 0.5, 0.7, 0.9):
        pen.box(x - 0.045, 0.1, x + 0.045, 0.96, colour, 0.03)
        pen.box(x - 0.045, 0.1, x - 0.015, 0.96, lighter(colour, 0.3), 0.02)
    pen.box(0.04, 0.56, 0.96, 0.66, darker(colour, 0.15), 0.03)


def goal(pen: Pen, colour: str, facing: Facing) -> None:
    """A flag on a mound."""
    pen.oval(0.5, 0.86, 0.34, 0.1, "#7c9a4d")
    pen.line([(0.34, 0.86), (0.34, 0.12)], 0.06, "#efe6d2")
    pen.shape([(0.36, 0.12), (0.86, 0.28), (0.36, 0.5)], colour)
    pen.shape([(0.36, 0.32), (0.86, 0.28), (0.36, 0.5)], darker(colour, 0.18))
    pen.disc(0.34, 0.11, 0.05, _GOLD)


def portal(pen: Pen, colour: str, facing: Facing) -> None:
    """A swirling ring."""
    pen.disc(0.5, 0.5, 0.42, darker(colour, 0.35))
    pen.disc(0.5, 0.5, 0.34, colour)
    pen.disc(0.5, 0.5, 0.25, darker(colour, 0.6))
    for turn in (0, 120, 240):
        pen.arc(0.5, 0.5, 0.3, turn, turn + 70, 0.05, lighter(colour, 0.6))
        pen.arc(0.5, 0.5, 0.16, turn + 60, turn + 130, 0.045, lighter(colour, 0.35))
    pen.disc(0.5, 0.5, 0.06, lighter(colour, 0.8))


def key(pen: Pen, colour: str, facing: Facing) -> None:
    """A key, bow at the upper left."""
    pen.line([(0.42, 0.42), (0.82, 0.82)], 0.11, colour)
    pen.line([(0.64, 0.64), (0.76, 0.52)], 0.1, colour)
    pen.line([(0.77, 0.77), (0.88, 0.66)], 0.1, colour)
    pen.disc(0.33, 0.33, 0.21, colour)
    pen.disc(0.33, 0.33, 0.1, darker(colour, 0.55))
    pen.arc(0.33, 0.33, 0.16, 170, 290, 0.04, lighter(colour, 0.6))


def gem(pen: Pen, colour: str, facing: Facing) -> None:
    """A cut stone."""
    pen.shape([(0.28, 0.2), (0.72, 0.2), (0.92, 0.42), (0.5, 0.9), (0.08, 0.42)], colour)
    pen.shape([(0.28, 0.2), (0.36, 0.42), (0.08, 0.42)], lighter(colour, 0.35))
    pen.shape([(0.28, 0.2), (0.72, 0.2), (0.64, 0.42), (0.36, 0.42)], lighter(colour, 0.6))
    pen.shape([(0.72, 0.2), (0.92, 0.42), (0.64, 0.42)], lighter(colour, 0.2))
    pen.shape([(0.36, 0.42), (0.64, 0.42), (0.5, 0.9)], lighter(colour, 0.15))
    pen.shape([(0.64, 0.42), (0.92, 0.42), (0.5, 0.9)], darker(colour, 0.22))


def orb(pen: Pen, colour: str, facing: Facing) -> None:
    """A glowing ball in a ring."""
    pen.star(0.5, 0.5, 0.46, 0.26, 8, lighter(colour, 0.35))
    pen.disc(0.5, 0.5, 0.29, colour)
    pen.disc(0.5, 0.5, 0.21, lighter(colour, 0.3))
    pen.disc(0.43, 0.42, 0.08, "#ffffff")


def coin(pen: Pen, colour: str, facing: Facing) -> None:
    """A coin."""
    pen.disc(0.5, 0.5, 0.34, darker(colour, 0.2))
    pen.disc(0.49, 0.48, 0.31, colour)
    pen.disc(0.5, 0.5, 0.22, darker(colour, 0.12))
    pen.star(0.5, 0.5, 0.16, 0.075, 5, lighter(colour, 0.55))


def chest(pen: Pen, colour: str, facing: Facing) -> None:
    """A chest with iron bands."""
    pen.box(0.12, 0.24, 0.88, 0.88, colour, 0.14)
    pen.box(0.12, 0.5, 0.88, 0.88, darker(colour, 0.16), 0.05)
    for x in (0.2, 0.7):
        pen.box(x, 0.24, x + 0.1, 0.88, "#59636c", 0.02)
    pen.box(0.12, 0.48, 0.88, 0.54, "#59636c")
    pen.box(0.42, 0.42, 0.58, 0.64, _GOLD, 0.04)
    pen.disc(0.5, 0.53, 0.035, INK)


def crate(pen: Pen, colour: str, facing: Facing) -> None:
    """A wooden crate, to be pushed."""
    pen.box(0.07, 0.07, 0.93, 0.93, darker(colour, 0.28), 0.05)
    pen.box(0.17, 0.17, 0.83, 0.83, colour)
    pen.box(0.17, 0.38, 0.83, 0.41, darker(colour, 0.15))
    pen.box(0.17, 0.6, 0.83, 0.63, darker(colour, 0.15))
    pen.line([(0.21, 0.79), (0.79, 0.21)], 0.12, lighter(colour, 0.18))
    pen.box(0.07, 0.07, 0.93, 0.17, lighter(colour, 0.18), 0.03)
    pen.box(0.07, 0.83, 0.93, 0.93, darker(colour, 0.12), 0.03)
    for x in (0.12, 0.88):
        for y in (0.12, 0.88):
            pen.disc(x, y, 0.03, darker(colour, 0.55))


def boulder(pen: Pen, colour: str, facing: Facing) -> None:
    """A round stone."""
    pen.disc(0.5, 0.5, 0.41, darker(colour, 0.2))
    pen.disc(0.46, 0.45, 0.35, colour)
    pen.oval(0.38, 0.33, 0.16, 0.11, lighter(colour, 0.35))
    pen.line([(0.58, 0.3), (0.68, 0.46), (0.6, 0.58)], 0.025, darker(colour, 0.4))
    pen.line([(0.3, 0.62), (0.42, 0.7)], 0.025, darker(colour, 0.4))


def ball(pen: Pen, colour: str, facing: Facing) -> None:
    """A ball with a stripe."""
    pen.disc(0.5, 0.5, 0.32, colour)
    pen.arc(0.5, 0.9, 0.45, 240, 300, 0.09, lighter(colour, 0.7))
    pen.disc(0.4, 0.36, 0.08, lighter(colour, 0.6))


def bomb(pen: Pen, colour: str, facing: Facing) -> None:
    """A bomb with a burning fuse."""
    pen.line([(0.6, 0.3), (0.72, 0.18), (0.82, 0.2)], 0.06, "#b89b72")
    pen.disc(0.46, 0.58, 0.33, "#39434c")
    pen.box(0.5, 0.22, 0.68, 0.36, "#5a666f", 0.03)
    pen.disc(0.36, 0.47, 0.08, "#98a4ae")
    pen.star(0.84, 0.19, 0.14, 0.06, 6, _GOLD)


def flame(pen: Pen, colour: str, facing: Facing) -> None:
    """A fire."""
    pen.shape([(0.5, 0.06), (0.66, 0.3), (0.8, 0.22), (0.84, 0.62), (0.68, 0.92), (0.32, 0.92),
               (0.16, 0.62), (0.22, 0.34), (0.36, 0.44)], colour)  # fmt: skip
    pen.shape([(0.52, 0.34), (0.62, 0.52), (0.7, 0.5), (0.7, 0.72), (0.6, 0.9), (0.4, 0.9),
               (0.3, 0.72), (0.34, 0.56), (0.42, 0.6)], _GOLD)  # fmt: skip
    pen.shape([(0.5, 0.58), (0.6, 0.76), (0.54, 0.9), (0.46, 0.9), (0.4, 0.76)], "#fff2c4")


def blast(pen: Pen, colour: str, facing: Facing) -> None:
    """An explosion."""
    pen.star(0.5, 0.5, 0.48, 0.28, 10, colour)
    pen.star(0.5, 0.5, 0.34, 0.2, 10, _GOLD, turn=-72)
    pen.disc(0.5, 0.5, 0.14, "#fff2c4")


def heart(pen: Pen, colour: str, facing: Facing) -> None:
    """Health."""
    pen.disc(0.33, 0.38, 0.2, colour)
    pen.disc(0.67, 0.38, 0.2, colour)
    pen.shape([(0.145, 0.46), (0.855, 0.46), (0.5, 0.88)], colour)
    pen.oval(0.3, 0.33, 0.08, 0.06, lighter(colour, 0.65))


def potion(pen: Pen, colour: str, facing: Facing) -> None:
    """A flask."""
    pen.box(0.42, 0.14, 0.58, 0.44, "#dbe6ec", 0.02)
    pen.disc(0.5, 0.62, 0.28, "#dbe6ec")
    pen.disc(0.5, 0.64, 0.23, colour)
    pen.box(0.25, 0.44, 0.75, 0.55, "#dbe6ec", 0.1)
    pen.box(0.4, 0.08, 0.6, 0.2, _WOOD, 0.03)
    pen.disc(0.42, 0.64, 0.05, lighter(colour, 0.6))
    pen.disc(0.56, 0.72, 0.035, lighter(colour, 0.6))


def apple(pen: Pen, colour: str, facing: Facing) -> None:
    """An apple."""
    pen.line([(0.5, 0.34), (0.54, 0.14)], 0.06, "#6b4a2c")
    pen.oval(0.68, 0.2, 0.13, 0.07, "#6f9e3f")
    pen.oval(0.38, 0.58, 0.25, 0.3, colour)
    pen.oval(0.62, 0.58, 0.25, 0.3, colour)
    pen.oval(0.31, 0.48, 0.06, 0.1, lighter(colour, 0.55))


def cheese(pen: Pen, colour: str, facing: Facing) -> None:
    """A piece of cheese."""
    pen.shape([(0.1, 0.5), (0.78, 0.2), (0.9, 0.44), (0.9, 0.8), (0.1, 0.8)], darker(colour, 0.14))
    pen.shape([(0.1, 0.5), (0.78, 0.2), (0.9, 0.5)], lighter(colour, 0.25))
    pen.box(0.1, 0.5, 0.9, 0.82, colour, 0.03)
    for x, y, radius in ((0.28, 0.66, 0.07), (0.56, 0.62, 0.05), (0.72, 0.72, 0.07)):
        pen.disc(x, y, radius, darker(colour, 0.28))


def pellet(pen: Pen, colour: str, facing: Facing) -> None:
    """A small round thing, of which there are many."""
    pen.disc(0.5, 0.5, 0.15, colour)
    pen.disc(0.46, 0.45, 0.05, lighter(colour, 0.6))


def flower(pen: Pen, colour: str, facing: Facing) -> None:
    """A flower."""
    pen.line([(0.5, 0.5), (0.5, 0.92)], 0.06, "#5d8a3a")
    pen.oval(0.62, 0.76, 0.11, 0.05, "#6f9e3f")
    for x, y in ((0.5, 0.2), (0.68, 0.33), (0.61, 0.53), (0.39, 0.53), (0.32, 0.33)):
        pen.disc(x, y, 0.13, colour)
    pen.disc(0.5, 0.38, 0.1, _GOLD)


def mushroom(pen: Pen, colour: str, facing: Facing) -> None:
    """A toadstool."""
    pen.box(0.38, 0.5, 0.62, 0.88, "#f1e8d8", 0.08)
    pen.oval(0.5, 0.46, 0.38, 0.3, colour)
    pen.erase(0, 0.58, 0.36, 1)
    pen.erase(0.64, 0.58, 1, 1)
    for x, y, radius in ((0.34, 0.36, 0.07), (0.58, 0.28, 0.06), (0.68, 0.46, 0.06)):
        pen.disc(x, y, radius, "#fbf4e6")


def egg(pen: Pen, colour: str, facing: Facing) -> None:
    """An egg."""
    pen.oval(0.5, 0.54, 0.27, 0.35, lighter(colour, 0.6))
    for x, y in ((0.42, 0.42), (0.58, 0.56), (0.44, 0.7)):
        pen.disc(x, y, 0.05, colour)


def star(pen: Pen, colour: str, facing: Facing) -> None:
    """A star."""
    pen.star(0.5, 0.53, 0.44, 0.2, 5, colour)
    pen.star(0.48, 0.5, 0.24, 0.11, 5, lighter(colour, 0.45))


def torch(pen: Pen, colour: str, facing: Facing) -> None:
    """A burning torch."""
    pen.line([(0.5, 0.5), (0.5, 0.9)], 0.12, _WOOD)
    pen.shape([(0.5, 0.06), (0.7, 0.34), (0.6, 0.54), (0.4, 0.54), (0.3, 0.34)], colour)
    pen.shape([(0.5, 0.24), (0.59, 0.4), (0.54, 0.52), (0.46, 0.52), (0.41, 0.4)], "#fff2c4")


def shield(pen: Pen, colour: str, facing: Facing) -> None:
    """A shield."""
    pen.shape([(0.14, 0.14), (0.86, 0.14), (0.84, 0.52), (0.5, 0.92), (0.16, 0.52)], _STEEL)
    pen.shape([(0.22, 0.22), (0.5, 0.22), (0.5, 0.8), (0.24, 0.5)], colour)
    pen.shape([(0.5, 0.22), (0.78, 0.22), (0.76, 0.5), (0.5, 0.8)], darker(colour, 0.2))


def sword(pen: Pen, colour: str, facing: Facing) -> None:
    """A weapon to pick up."""
    pen.line([(0.4, 0.6), (0.84, 0.16)], 0.1, _STEEL)
    pen.line([(0.42, 0.6), (0.84, 0.18)], 0.03, "#ffffff")
    pen.line([(0.26, 0.52), (0.48, 0.74)], 0.09, _GOLD)
    pen.line([(0.34, 0.66), (0.18, 0.82)], 0.09, _WOOD)


def blade(pen: Pen, colour: str, facing: Facing) -> None:
    """A thrust of a sword, pointing where it goes."""
    pen.box(0.02, 0.44, 0.16, 0.56, _WOOD, 0.04)
    pen.box(0.13, 0.28, 0.23, 0.72, _GOLD, 0.04)
    pen.shape([(0.22, 0.4), (0.8, 0.4), (0.96, 0.5), (0.8, 0.6), (0.22, 0.6)], colour)
    pen.shape([(0.22, 0.4), (0.8, 0.4), (0.96, 0.5), (0.22, 0.5)], lighter(colour, 0.6))
    pen.turn(facing)


def pick(pen: Pen, colour: str, facing: Facing) -> None:
    """A strike of a pickaxe."""
    pen.line([(0.3, 0.84), (0.66, 0.34)], 0.1, _WOOD)
    pen.arc(0.46, 0.6, 0.4, 260, 350, 0.12, _STEEL)
    pen.mirror(facing)
    pen.turn((0, facing[1]))


def arrow(pen: Pen, colour: str, facing: Facing) -> None:
    """An arrow in flight."""
    pen.line([(0.14, 0.5), (0.76, 0.5)], 0.07, _WOOD)
    pen.shape([(0.94, 0.5), (0.7, 0.36), (0.7, 0.64)], _STEEL)
    for x in (0.1, 0.2):
        pen.line([(x, 0.36), (x + 0.12, 0.5), (x, 0.64)], 0.05, colour)
    pen.turn(facing)


def bullet(pen: Pen, colour: str, facing: Facing) -> None:
    """A shot in flight."""
    pen.line([(0.2, 0.5), (0.5, 0.5)], 0.1, lighter(colour, 0.5))
    pen.oval(0.62, 0.5, 0.22, 0.13, colour)
    pen.oval(0.66, 0.46, 0.1, 0.05, lighter(colour, 0.65))
    pen.turn(facing)


def ray(pen: Pen, colour: str, facing: Facing) -> None:
    """A bolt of light."""
    pen.box(0.08, 0.38, 0.92, 0.62, colour, 0.12)
    pen.box(0.16, 0.44, 0.84, 0.56, lighter(colour, 0.75), 0.06)
    pen.turn(facing)


def rocket(pen: Pen, colour: str, facing: Facing) -> None:
    """A missile with fins and a tail of fire."""
    pen.shape([(0.24, 0.38), (0.02, 0.5), (0.24, 0.62)], _GOLD)
    pen.shape([(0.2, 0.2), (0.44, 0.4), (0.44, 0.6), (0.2, 0.8)], darker(colour, 0.2))
    pen.box(0.2, 0.37, 0.74, 0.63, "#e6ebef", 0.08)
    pen.box(0.2, 0.5, 0.74, 0.63, "#bfc8d0", 0.06)
    pen.shape([(0.68, 0.36), (0.97, 0.5), (0.68, 0.64)], colour)
    pen.disc(0.5, 0.5, 0.07, colour)
    pen.turn(facing)


def torpedo(pen: Pen, colour: str, facing: Facing) -> None:
    """A torpedo."""
    pen.shape([(0.06, 0.28), (0.26, 0.42), (0.26, 0.58), (0.06, 0.72)], darker(colour, 0.3))
    pen.box(0.16, 0.38, 0.9, 0.62, colour, 0.12)
    pen.box(0.3, 0.42, 0.8, 0.49, lighter(colour, 0.45), 0.03)
    pen.turn(facing)


def spring(pen: Pen, colour: str, facing: Facing) -> None:
    """Where things come from: rings spreading out."""
    for radius, share in ((0.38, 0.3), (0.25, 0.55), (0.12, 0.8)):
        pen.arc(0.5, 0.5, radius, 0, 360, 0.06, lighter(colour, share))


def nest(pen: Pen, colour: str, facing: Facing) -> None:
    """Where creatures come from: a dark mouth in a mound."""
    pen.oval(0.5, 0.62, 0.45, 0.34, colour)
    pen.oval(0.5, 0.46, 0.32, 0.3, colour)
    pen.oval(0.44, 0.36, 0.14, 0.1, lighter(colour, 0.22))
    pen.oval(0.5, 0.68, 0.2, 0.22, "#14181c")
    for x in (0.44, 0.56):
        pen.disc(x, 0.64, 0.035, _GOLD)


def log(pen: Pen, colour: str, facing: Facing) -> None:
    """A drifting trunk that joins its neighbours."""
    pen.box(0, 0.16, 1, 0.86, darker(colour, 0.25))
    pen.box(0, 0.16, 1, 0.72, colour)
    pen.box(0, 0.2, 1, 0.32, lighter(colour, 0.2))
    for left, right, y in ((0.12, 0.5, 0.44), (0.6, 0.94, 0.56), (0.2, 0.42, 0.66)):
        pen.line([(left, y), (right, y)], 0.03, darker(colour, 0.3))


def box(pen: Pen, colour: str, facing: Facing) -> None:
    """A rounded block, for what nothing is known of but that it may move."""
    pen.box(0.1, 0.1, 0.9, 0.9, colour, 0.18)
    pen.box(0.2, 0.18, 0.8, 0.4, lighter(colour, 0.3), 0.1)


def token(pen: Pen, colour: str, facing: Facing) -> None:
    """A disc, for what nothing is known of but that it is collected."""
    pen.disc(0.5, 0.5, 0.32, colour)
    pen.disc(0.5, 0.5, 0.2, lighter(colour, 0.35))


def pointer(pen: Pen, colour: str, facing: Facing) -> None:
    """A wedge, for what nothing is known of but that it flies."""
    pen.shape([(0.16, 0.2), (0.92, 0.5), (0.16, 0.8), (0.34, 0.5)], colour)
    pen.shape([(0.16, 0.2), (0.92, 0.5), (0.34, 0.5)], lighter(colour, 0.35))
    pen.turn(facing)


def burst(pen: Pen, colour: str, facing: Facing) -> None:
    """A spark, for what nothing is known of but that it is there for a moment."""
    pen.star(0.5, 0.5, 0.44, 0.16, 8, colour)
    pen.star(0.5, 0.5, 0.26, 0.1, 8, lighter(colour, 0.6))


def web(pen: Pen, colour: str, facing: Facing) -> None:
    """A net."""
    for i in range(4):
        at = 0.14 + 0.24 * i
        pen.line([(at, 0.1), (at, 0.9)], 0.035, colour)
        pen.line([(0.1, at), (0.9, at)], 0.035, colour)


def battery(pen: Pen, colour: str, facing: Facing) -> None:
    """Stored energy, fuel or ammunition."""
    pen.box(0.4, 0.1, 0.6, 0.24, _STEEL, 0.03)
    pen.box(0.26, 0.2, 0.74, 0.92, colour, 0.07)
    pen.box(0.26, 0.2, 0.74, 0.42, "#39434c", 0.07)
    pen.shape(
        [(0.54, 0.46), (0.38, 0.7), (0.49, 0.7), (0.45, 0.88), (0.63, 0.62), (0.52, 0.62)],
        "#ffffff",
    )


def bubble(pen: Pen, colour: str, facing: Facing) -> None:
    """Air under water."""
    pen.disc(0.5, 0.5, 0.36, lighter(colour, 0.45))
    pen.disc(0.52, 0.53, 0.3, lighter(colour, 0.2))
    pen.arc(0.5, 0.5, 0.25, 180, 260, 0.06, "#ffffff")


def house(pen: Pen, colour: str, facing: Facing) -> None:
    """A house or a city block."""
    pen.box(0.16, 0.44, 0.84, 0.92, "#efe3cf", 0.02)
    pen.shape([(0.06, 0.48), (0.5, 0.1), (0.94, 0.48)], colour)
    pen.box(0.42, 0.62, 0.58, 0.92, darker(colour, 0.35), 0.02)
    for x in (0.22, 0.64):
        pen.box(x, 0.56, x + 0.14, 0.7, "#7fb2d9", 0.02)


def tower(pen: Pen, colour: str, facing: Facing) -> None:
    """A high building with lit windows."""
    pen.box(0.2, 0.1, 0.8, 0.95, colour, 0.03)
    pen.box(0.62, 0.1, 0.8, 0.95, darker(colour, 0.2), 0.03)
    for y in (0.2, 0.38, 0.56, 0.74):
        for x in (0.28, 0.46, 0.64):
            pen.box(
                x, y, x + 0.1, y + 0.11, "#ffe08a" if (x + y) % 0.4 > 0.15 else darker(colour, 0.5)
            )
