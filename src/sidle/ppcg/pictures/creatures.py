"""Pictures of people and animals. They get an outline afterwards.

Each function draws with a pen and is told ``colour`` and ``facing``; eyes look where the creature
faces, and those that face nowhere look ahead.
"""

from __future__ import annotations

from sidle.ppcg.pictures.pen import INK, Pen, darker, lighter

Facing = tuple[int, int]

_SKIN = "#f3c9a0"
_WHITE = "#fbfaf6"


def hero(pen: Pen, colour: str, facing: Facing) -> None:
    """An adventurer with a pointed hood."""
    _person(pen, colour, facing)
    _hood(pen, colour, facing)


def hero_key(pen: Pen, colour: str, facing: Facing) -> None:
    """The adventurer with the key on the chest."""
    _person(pen, colour, facing)
    _hood(pen, colour, facing)
    if facing != (0, -1):
        pen.disc(0.5, 0.7, 0.085, "#f2b632")
        pen.disc(0.5, 0.7, 0.035, darker("#f2b632", 0.6))
        pen.line([(0.5, 0.77), (0.5, 0.9)], 0.06, "#f2b632")
        pen.line([(0.5, 0.88), (0.57, 0.88)], 0.05, "#f2b632")


def miner(pen: Pen, colour: str, facing: Facing) -> None:
    """A miner with a helmet and a lamp."""
    _person(pen, colour, facing)
    pen.oval(0.5, 0.28, 0.29, 0.2, "#f2b632")
    _cover(pen, 0.3, facing, "#f2b632")
    if facing != (0, -1):
        x = 0.5 + 0.16 * facing[0]
        pen.disc(x, 0.19, 0.085, "#5a666f")
        pen.disc(x, 0.19, 0.055, "#fff6cf")


def person(pen: Pen, colour: str, facing: Facing) -> None:
    """Somebody in a coloured coat."""
    _person(pen, colour, facing)
    pen.oval(0.5, 0.26, 0.25, 0.15, darker("#8a5a34", 0.2))
    _cover(pen, 0.28, facing, darker("#8a5a34", 0.2))


def knight(pen: Pen, colour: str, facing: Facing) -> None:
    """A guard in armour with a plume."""
    _person(pen, "#aeb8c1", facing)
    pen.box(0.25, 0.14, 0.75, 0.54, "#c3ccd4", 0.2)
    pen.box(0.46, 0.02, 0.54, 0.24, colour, 0.04)
    if facing != (0, -1):
        shift = 0.08 * facing[0]
        pen.box(0.32 + shift, 0.32, 0.68 + shift, 0.41, INK, 0.03)
    pen.box(0.4, 0.62, 0.6, 0.8, colour, 0.04)


def zombie(pen: Pen, colour: str, facing: Facing) -> None:
    """One that walks with its arms held out."""
    pen.box(0.28, 0.56, 0.72, 0.94, "#6b6f83", 0.1)
    for x in (0.14, 0.7):
        pen.box(x, 0.56, x + 0.16, 0.7, colour, 0.05)
    pen.box(0.26, 0.12, 0.74, 0.6, colour, 0.16)
    pen.box(0.26, 0.12, 0.74, 0.2, darker(colour, 0.45), 0.06)
    _eyes(pen, 0.36, facing, gap=0.12, size=0.085)
    pen.line([(0.4, 0.52), (0.46, 0.49), (0.52, 0.52), (0.58, 0.49)], 0.03, INK)


def skeleton(pen: Pen, colour: str, facing: Facing) -> None:
    """Bones."""
    pen.line([(0.5, 0.5), (0.5, 0.88)], 0.08, _WHITE)
    for y in (0.62, 0.74):
        pen.line([(0.3, y), (0.7, y)], 0.06, _WHITE)
    pen.disc(0.5, 0.32, 0.24, _WHITE)
    pen.box(0.38, 0.42, 0.62, 0.58, _WHITE, 0.05)
    shift = 0.05 * facing[0]
    for x in (0.41, 0.59):
        pen.disc(x + shift, 0.33, 0.075, INK)
    pen.line([(0.44, 0.5), (0.44, 0.56)], 0.02, INK)
    pen.line([(0.56, 0.5), (0.56, 0.56)], 0.02, INK)


def robot(pen: Pen, colour: str, facing: Facing) -> None:
    """A robot with an antenna."""
    pen.line([(0.5, 0.2), (0.5, 0.08)], 0.04, "#7d8790")
    pen.disc(0.5, 0.08, 0.05, "#d9590f")
    pen.box(0.28, 0.56, 0.72, 0.94, darker(colour, 0.2), 0.06)
    for x in (0.16, 0.74):
        pen.box(x, 0.6, x + 0.1, 0.84, "#7d8790", 0.04)
    pen.box(0.2, 0.18, 0.8, 0.58, colour, 0.1)
    pen.box(0.27, 0.27, 0.73, 0.48, INK, 0.06)
    if facing != (0, -1):
        shift = 0.08 * facing[0]
        for x in (0.41, 0.59):
            pen.disc(x + shift, 0.375 + 0.03 * facing[1], 0.055, "#9fe8ff")


def alien(pen: Pen, colour: str, facing: Facing) -> None:
    """An invader with feelers."""
    for x, tip in ((0.36, 0.24), (0.64, 0.76)):
        pen.line([(x, 0.3), (tip, 0.08)], 0.05, darker(colour, 0.2))
        pen.disc(tip, 0.09, 0.055, lighter(colour, 0.4))
    for x in (0.2, 0.4, 0.6, 0.8):
        pen.line([(x, 0.62), (x + 0.12 * (x - 0.5), 0.9)], 0.1, darker(colour, 0.2))
    pen.oval(0.5, 0.48, 0.4, 0.28, colour)
    pen.oval(0.5, 0.36, 0.26, 0.12, lighter(colour, 0.2))
    _eyes(pen, 0.46, facing, gap=0.15, size=0.11)


def ghost(pen: Pen, colour: str, facing: Facing) -> None:
    """A ghost with a wavy hem."""
    pen.disc(0.5, 0.42, 0.34, colour)
    pen.box(0.16, 0.42, 0.84, 0.8, colour)
    for x in (0.273, 0.5, 0.727):
        pen.disc(x, 0.8, 0.113, colour)
    pen.oval(0.38, 0.22, 0.12, 0.07, lighter(colour, 0.35))
    _eyes(pen, 0.42, facing, gap=0.14, size=0.12)


def slime(pen: Pen, colour: str, facing: Facing) -> None:
    """A blob."""
    pen.oval(0.5, 0.62, 0.42, 0.3, colour)
    pen.oval(0.5, 0.46, 0.28, 0.28, colour)
    pen.oval(0.4, 0.32, 0.1, 0.07, lighter(colour, 0.5))
    _eyes(pen, 0.54, facing, gap=0.13, size=0.1)
    pen.arc(0.5 + 0.05 * facing[0], 0.66, 0.09, 20, 160, 0.035, INK)


def bat(pen: Pen, colour: str, facing: Facing) -> None:
    """A bat with open wings."""
    for side in (-1, 1):
        pen.shape([(0.5, 0.4), (0.5 + 0.28 * side, 0.2), (0.5 + 0.48 * side, 0.36),
                   (0.5 + 0.44 * side, 0.7), (0.5 + 0.34 * side, 0.58), (0.5 + 0.24 * side, 0.72),
                   (0.5 + 0.14 * side, 0.62), (0.5, 0.7)], darker(colour, 0.15))  # fmt: skip
        pen.line([(0.5 + 0.1 * side, 0.44), (0.5 + 0.44 * side, 0.38)], 0.025, lighter(colour, 0.2))
        pen.shape(
            [(0.5 + 0.04 * side, 0.36), (0.5 + 0.13 * side, 0.18), (0.5 + 0.18 * side, 0.38)],
            colour,
        )
    pen.oval(0.5, 0.5, 0.19, 0.22, lighter(colour, 0.12))
    _eyes(pen, 0.46, facing, gap=0.085, size=0.07)
    for x in (0.45, 0.55):
        pen.shape([(x - 0.03, 0.57), (x + 0.03, 0.57), (x, 0.65)], _WHITE)


def spider(pen: Pen, colour: str, facing: Facing) -> None:
    """A spider with eight legs."""
    for side in (-1, 1):
        for y, knee, foot in (
            (0.44, 0.24, 0.42),
            (0.52, 0.42, 0.6),
            (0.6, 0.6, 0.78),
            (0.66, 0.74, 0.92),
        ):
            pen.line(
                [(0.5, y), (0.5 + 0.32 * side, knee), (0.5 + 0.44 * side, foot)],
                0.055,
                darker(colour, 0.3),
            )
    pen.oval(0.5, 0.62, 0.26, 0.24, colour)
    pen.oval(0.5, 0.66, 0.12, 0.12, lighter(colour, 0.3))
    pen.disc(0.5, 0.38, 0.19, darker(colour, 0.1))
    _eyes(pen, 0.36, facing, gap=0.085, size=0.075)


def scorpion(pen: Pen, colour: str, facing: Facing) -> None:
    """A scorpion with claws and a raised sting."""
    for side in (-1, 1):
        for y in (0.58, 0.68, 0.78):
            pen.line([(0.5, y), (0.5 + 0.34 * side, y + 0.06)], 0.045, darker(colour, 0.3))
        pen.line([(0.5 + 0.14 * side, 0.62), (0.5 + 0.34 * side, 0.46)], 0.07, colour)
        pen.disc(0.5 + 0.37 * side, 0.4, 0.11, colour)
        pen.shape(
            [(0.5 + 0.37 * side, 0.42), (0.5 + 0.3 * side, 0.24), (0.5 + 0.42 * side, 0.24)],
            darker(colour, 0.4),
        )
    pen.oval(0.5, 0.7, 0.21, 0.22, colour)
    pen.arc(0.36, 0.36, 0.2, 75, -80, 0.1, lighter(colour, 0.12))
    pen.shape([(0.4, 0.08), (0.62, 0.16), (0.42, 0.28)], darker(colour, 0.35))
    _eyes(pen, 0.62, facing, gap=0.08, size=0.065)


def crab(pen: Pen, colour: str, facing: Facing) -> None:
    """A crab with raised claws."""
    for side in (-1, 1):
        for y in (0.62, 0.7, 0.78):
            pen.line([(0.5, y - 0.04), (0.5 + 0.4 * side, y + 0.06)], 0.05, darker(colour, 0.25))
        pen.line([(0.5 + 0.24 * side, 0.56), (0.5 + 0.36 * side, 0.38)], 0.08, colour)
        pen.disc(0.5 + 0.35 * side, 0.26, 0.14, colour)
        pen.shape(
            [(0.5 + 0.35 * side, 0.28), (0.5 + 0.26 * side, 0.06), (0.5 + 0.4 * side, 0.06)],
            darker(colour, 0.5),
        )
    pen.oval(0.5, 0.64, 0.32, 0.22, colour)
    pen.oval(0.5, 0.58, 0.2, 0.08, lighter(colour, 0.25))
    for x in (0.42, 0.58):
        pen.line([(x, 0.48), (x, 0.38)], 0.04, darker(colour, 0.2))
    _eyes(pen, 0.36, facing, gap=0.08, size=0.07)


def butterfly(pen: Pen, colour: str, facing: Facing) -> None:
    """A butterfly from above."""
    for side in (-1, 1):
        pen.oval(0.5 + 0.24 * side, 0.34, 0.22, 0.24, colour)
        pen.oval(0.5 + 0.2 * side, 0.7, 0.17, 0.18, darker(colour, 0.14))
        pen.disc(0.5 + 0.26 * side, 0.32, 0.1, lighter(colour, 0.55))
        pen.disc(0.5 + 0.21 * side, 0.7, 0.07, lighter(colour, 0.4))
        pen.line([(0.5, 0.26), (0.5 + 0.1 * side, 0.08)], 0.03, INK)
    pen.box(0.455, 0.22, 0.545, 0.86, INK, 0.045)


def frog(pen: Pen, colour: str, facing: Facing) -> None:
    """A frog from above, facing where it leaps."""
    for side in (-1, 1):
        pen.line(
            [(0.3, 0.5 + 0.18 * side), (0.16, 0.5 + 0.36 * side), (0.36, 0.5 + 0.42 * side)],
            0.11,
            darker(colour, 0.2),
        )
        pen.line([(0.66, 0.5 + 0.2 * side), (0.84, 0.5 + 0.34 * side)], 0.09, darker(colour, 0.2))
    pen.oval(0.48, 0.5, 0.34, 0.26, colour)
    pen.oval(0.72, 0.5, 0.2, 0.22, colour)
    pen.oval(0.42, 0.5, 0.2, 0.05, lighter(colour, 0.35))
    for side in (-1, 1):
        pen.disc(0.76, 0.5 + 0.17 * side, 0.1, _WHITE)
        pen.disc(0.79, 0.5 + 0.17 * side, 0.055, INK)
    pen.turn(facing if facing != (0, 0) else (0, -1))


def snake(pen: Pen, colour: str, facing: Facing) -> None:
    """A snake."""
    pen.line(
        [
            (0.16, 0.84),
            (0.5, 0.84),
            (0.66, 0.7),
            (0.5, 0.58),
            (0.3, 0.52),
            (0.28, 0.36),
            (0.5, 0.28),
        ],
        0.14,
        colour,
    )
    pen.line([(0.2, 0.84), (0.5, 0.83), (0.62, 0.7), (0.48, 0.6)], 0.04, lighter(colour, 0.4))
    pen.line([(0.8, 0.28), (0.93, 0.28)], 0.035, "#d9590f")
    pen.oval(0.64, 0.28, 0.2, 0.14, colour)
    pen.disc(0.7, 0.23, 0.05, _WHITE)
    pen.disc(0.715, 0.23, 0.028, INK)
    pen.mirror(facing)


def bee(pen: Pen, colour: str, facing: Facing) -> None:
    """A bee."""
    for x in (0.4, 0.58):
        pen.oval(x, 0.3, 0.13, 0.2, "#dcecf6")
    pen.oval(0.5, 0.58, 0.38, 0.25, colour)
    for x in (0.36, 0.54):
        pen.box(x - 0.05, 0.36, x + 0.05, 0.8, INK, 0.03)
    pen.disc(0.76, 0.54, 0.06, _WHITE)
    pen.disc(0.77, 0.54, 0.03, INK)
    pen.mirror(facing)


def bird(pen: Pen, colour: str, facing: Facing) -> None:
    """A bird."""
    pen.shape([(0.82, 0.4), (0.98, 0.46), (0.82, 0.54)], "#f2a032")
    pen.shape([(0.22, 0.5), (0.02, 0.36), (0.06, 0.62)], darker(colour, 0.2))
    pen.oval(0.46, 0.58, 0.32, 0.26, colour)
    pen.disc(0.7, 0.42, 0.19, colour)
    pen.oval(0.42, 0.56, 0.2, 0.13, darker(colour, 0.2))
    pen.disc(0.75, 0.4, 0.06, _WHITE)
    pen.disc(0.765, 0.4, 0.033, INK)
    for x in (0.42, 0.54):
        pen.line([(x, 0.82), (x, 0.93)], 0.04, "#f2a032")
    pen.mirror(facing)


def fish(pen: Pen, colour: str, facing: Facing) -> None:
    """A fish."""
    pen.shape([(0.28, 0.5), (0.04, 0.26), (0.04, 0.74)], darker(colour, 0.2))
    pen.shape([(0.4, 0.34), (0.56, 0.16), (0.64, 0.34)], darker(colour, 0.2))
    pen.oval(0.56, 0.5, 0.37, 0.23, colour)
    pen.oval(0.56, 0.58, 0.28, 0.11, lighter(colour, 0.35))
    pen.disc(0.76, 0.45, 0.07, _WHITE)
    pen.disc(0.775, 0.45, 0.038, INK)
    pen.mirror(facing)


def beast(pen: Pen, colour: str, facing: Facing) -> None:
    """A wolf, dog, cat or bear: a head with pointed ears."""
    for side in (-1, 1):
        pen.shape(
            [(0.5 + 0.08 * side, 0.3), (0.5 + 0.34 * side, 0.06), (0.5 + 0.38 * side, 0.46)],
            darker(colour, 0.15),
        )
        pen.shape(
            [(0.5 + 0.18 * side, 0.28), (0.5 + 0.31 * side, 0.15), (0.5 + 0.33 * side, 0.38)],
            lighter(colour, 0.5),
        )
    pen.oval(0.5, 0.54, 0.38, 0.34, colour)
    shift = 0.05 * facing[0]
    pen.oval(0.5 + shift, 0.68, 0.2, 0.16, lighter(colour, 0.6))
    _eyes(pen, 0.46, facing, gap=0.15, size=0.085)
    pen.oval(0.5 + shift, 0.6, 0.07, 0.05, INK)
    pen.line([(0.5 + shift, 0.62), (0.5 + shift, 0.72)], 0.025, INK)


def cat(pen: Pen, colour: str, facing: Facing) -> None:
    """A cat: rounder ears, a small nose, whiskers."""
    for side in (-1, 1):
        pen.shape(
            [(0.5 + 0.06 * side, 0.3), (0.5 + 0.3 * side, 0.08), (0.5 + 0.37 * side, 0.48)], colour
        )
        pen.shape(
            [(0.5 + 0.17 * side, 0.3), (0.5 + 0.28 * side, 0.17), (0.5 + 0.32 * side, 0.38)],
            "#efb9b4",
        )
    pen.oval(0.5, 0.56, 0.4, 0.32, colour)
    for x in (0.4, 0.5, 0.6):
        pen.line([(x, 0.26), (0.5 + 0.6 * (x - 0.5), 0.36)], 0.045, darker(colour, 0.35))
    shift = 0.05 * facing[0]
    pen.oval(0.5 + shift, 0.72, 0.17, 0.12, lighter(colour, 0.75))
    _eyes(pen, 0.5, facing, gap=0.16, size=0.09)
    pen.oval(0.5 + shift, 0.65, 0.05, 0.035, "#d9706a")
    for side in (-1, 1):
        for slope in (-0.03, 0.05):
            x = 0.5 + shift
            pen.line([(x + 0.16 * side, 0.68), (x + 0.36 * side, 0.68 + slope)], 0.018, INK)


def sheep(pen: Pen, colour: str, facing: Facing) -> None:
    """A sheep or goat."""
    for x in (0.3, 0.46, 0.6):
        pen.line([(x, 0.7), (x, 0.92)], 0.07, "#4a4f55")
    for x, y in ((0.28, 0.5), (0.42, 0.4), (0.56, 0.46), (0.36, 0.62), (0.54, 0.62), (0.22, 0.6)):
        pen.disc(x, y, 0.17, colour)
    pen.oval(0.76, 0.44, 0.16, 0.19, "#4a4f55")
    pen.oval(0.7, 0.28, 0.12, 0.09, colour)
    pen.disc(0.81, 0.41, 0.045, _WHITE)
    pen.disc(0.82, 0.41, 0.024, INK)
    pen.mirror(facing)


def mouse(pen: Pen, colour: str, facing: Facing) -> None:
    """A mouse with round ears."""
    pen.arc(0.1, 0.62, 0.14, -60, 80, 0.045, "#e0a0a0")
    pen.oval(0.5, 0.64, 0.34, 0.23, colour)
    pen.oval(0.76, 0.6, 0.19, 0.15, colour)
    for x, y in ((0.56, 0.38), (0.74, 0.4)):
        pen.disc(x, y, 0.14, darker(colour, 0.15))
        pen.disc(x, y, 0.08, "#efb9b4")
    pen.disc(0.93, 0.62, 0.045, "#d98a8a")
    pen.disc(0.8, 0.55, 0.045, INK)
    pen.mirror(facing)


def chicken(pen: Pen, colour: str, facing: Facing) -> None:
    """A chicken, or any small animal that is fed."""
    for x in (0.56, 0.66, 0.76):
        pen.disc(x, 0.14, 0.07, "#d9480f")
    pen.shape([(0.84, 0.32), (0.98, 0.38), (0.84, 0.46)], "#f2a032")
    pen.oval(0.42, 0.64, 0.34, 0.26, colour)
    pen.box(0.5, 0.18, 0.84, 0.64, colour, 0.16)
    pen.oval(0.34, 0.62, 0.18, 0.12, darker(colour, 0.14))
    pen.disc(0.72, 0.33, 0.05, INK)
    for x in (0.38, 0.5):
        pen.line([(x, 0.86), (x, 0.96)], 0.045, "#f2a032")
    pen.mirror(facing)


def muncher(pen: Pen, colour: str, facing: Facing) -> None:
    """A round head with a wide mouth that it opens where it goes."""
    pen.disc(0.5, 0.5, 0.4, colour)
    pen.shape([(0.42, 0.5), (0.95, 0.2), (0.95, 0.8)], "#4a1d12")
    pen.shape([(0.46, 0.5), (0.95, 0.22), (0.95, 0.02), (0.7, 0.1)], colour)
    pen.shape([(0.46, 0.5), (0.95, 0.78), (0.95, 0.98), (0.7, 0.9)], colour)
    pen.erase(0.9, 0, 1, 1)
    pen.disc(0.52, 0.26, 0.06, INK)
    pen.turn(facing)


def diver(pen: Pen, colour: str, facing: Facing) -> None:
    """A diver with a mask."""
    pen.box(0.3, 0.52, 0.7, 0.94, colour, 0.14)
    pen.box(0.14, 0.56, 0.28, 0.86, "#f2b632", 0.06)
    pen.disc(0.5, 0.34, 0.27, colour)
    shift = 0.06 * facing[0]
    pen.box(0.3 + shift, 0.24, 0.7 + shift, 0.46, "#263a4a", 0.1)
    pen.box(0.34 + shift, 0.28, 0.66 + shift, 0.42, "#a9d3ef", 0.07)
    pen.line([(0.78, 0.12), (0.78, 0.4)], 0.06, "#f2b632")
    pen.mirror(facing)


def dragon(pen: Pen, colour: str, facing: Facing) -> None:
    """A dragon's head with horns."""
    for side in (-1, 1):
        pen.shape(
            [(0.5 + 0.12 * side, 0.3), (0.5 + 0.3 * side, 0.04), (0.5 + 0.3 * side, 0.36)],
            "#efe3cf",
        )
    pen.oval(0.5, 0.44, 0.32, 0.26, colour)
    pen.box(0.28, 0.5, 0.72, 0.88, darker(colour, 0.1), 0.14)
    for x in (0.42, 0.58):
        pen.disc(x, 0.66, 0.04, INK)
    for x in (0.36, 0.5, 0.64):
        pen.shape([(x - 0.05, 0.8), (x + 0.05, 0.8), (x, 0.9)], _WHITE)
    _eyes(pen, 0.42, facing, gap=0.15, size=0.09)


def germ(pen: Pen, colour: str, facing: Facing) -> None:
    """A virus."""
    pen.star(0.5, 0.5, 0.47, 0.3, 9, darker(colour, 0.2))
    pen.disc(0.5, 0.5, 0.32, colour)
    pen.disc(0.36, 0.62, 0.05, darker(colour, 0.2))
    pen.disc(0.64, 0.64, 0.07, darker(colour, 0.2))
    _eyes(pen, 0.44, facing, gap=0.12, size=0.09)


def creature(pen: Pen, colour: str, facing: Facing) -> None:
    """A round body with horns, for what nothing is known of but that it moves by itself."""
    for side in (-1, 1):
        pen.shape(
            [(0.5 + 0.12 * side, 0.28), (0.5 + 0.34 * side, 0.08), (0.5 + 0.32 * side, 0.4)],
            "#efe3cf",
        )
        pen.oval(0.5 + 0.18 * side, 0.88, 0.13, 0.08, darker(colour, 0.3))
    pen.oval(0.5, 0.54, 0.38, 0.35, colour)
    pen.oval(0.42, 0.34, 0.16, 0.09, lighter(colour, 0.3))
    _eyes(pen, 0.5, facing, gap=0.14, size=0.105)
    pen.line([(0.38, 0.7), (0.62, 0.7)], 0.035, INK)
    for x in (0.44, 0.56):
        pen.shape([(x - 0.035, 0.7), (x + 0.035, 0.7), (x, 0.78)], _WHITE)


def _person(pen: Pen, colour: str, facing: Facing) -> None:
    """A body, arms, a head and eyes; what is worn on the head comes after."""
    for x in (0.36, 0.52):
        pen.box(x, 0.8, x + 0.13, 0.97, darker(colour, 0.5), 0.04)
    pen.box(0.26, 0.54, 0.74, 0.88, colour, 0.14)
    reach = 0.07 * facing[0]
    for x in (0.16 + reach, 0.72 + reach):
        pen.box(x, 0.58, x + 0.13, 0.8, darker(colour, 0.18), 0.06)
        pen.disc(x + 0.065, 0.8, 0.06, _SKIN)
    pen.box(0.26, 0.76, 0.74, 0.82, darker(colour, 0.45))
    pen.disc(0.5, 0.36, 0.25, _SKIN)
    if facing != (0, -1):
        _eyes(pen, 0.4, facing, gap=0.1, size=0.062)


def _hood(pen: Pen, colour: str, facing: Facing) -> None:
    shade = darker(colour, 0.1)
    tip = 0.5 - 0.34 * facing[0]
    pen.shape([(0.22, 0.3), (0.5, 0.06), (0.78, 0.3)], shade)
    pen.shape([(0.34, 0.14), (0.66, 0.14), (tip, 0.02 if not facing[0] else 0.12)], shade)
    pen.oval(0.5, 0.25, 0.29, 0.12, shade)
    _cover(pen, 0.27, facing, shade)
    pen.line([(0.24, 0.3), (0.76, 0.3)], 0.05, "#f2b632" if facing != (0, -1) else shade)


def _cover(pen: Pen, top: float, facing: Facing, colour: str) -> None:
    """Cover the back of the head: what is seen of one who walks away, or a part from the side."""
    if facing == (0, -1):
        pen.box(0.24, top, 0.76, 0.58, colour, 0.16)
    elif facing[0]:
        left = 0.22 if facing[0] > 0 else 0.6
        pen.box(left, top, left + 0.18, 0.52, colour, 0.08)


def _eyes(pen: Pen, y: float, facing: Facing, *, gap: float, size: float) -> None:
    """Two eyes around the middle, looking where the creature faces."""
    for side in (-1, 1):
        x = 0.5 + gap * side + 0.4 * size * facing[0]
        pen.oval(x, y, size, 1.12 * size, _WHITE)
        pen.disc(x + 0.4 * size * facing[0], y + 0.4 * size * facing[1], 0.55 * size, INK)
