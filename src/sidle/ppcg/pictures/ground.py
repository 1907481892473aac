"""Pictures that fill their tile: grounds, walls and what else lies or stands all over it.

Each function draws with a pen and is told ``colour`` and ``rim``: which of the sides up, right,
down, left border on something else; an inner side runs on into the neighbour.
"""

from __future__ import annotations

import math

from sidle.ppcg.pictures.pen import Pen, darker, lighter

Rim = tuple[bool, bool, bool, bool]

# Offsets that look thrown by hand, one set for each kind of speckle.
_SPECKLES = (
    (0.18, 0.22),
    (0.62, 0.12),
    (0.42, 0.46),
    (0.84, 0.38),
    (0.14, 0.7),
    (0.56, 0.8),
    (0.86, 0.78),
)


def floor(pen: Pen, colour: str, rim: Rim) -> None:
    """Flagstones, what an empty cell shows indoors."""
    pen.fill(colour)
    joint = darker(colour, 0.07)
    pen.box(0, 0.975, 1, 1, joint)
    pen.box(0.975, 0, 1, 1, joint)
    pen.box(0, 0, 1, 0.02, lighter(colour, 0.35))


def meadow(pen: Pen, colour: str, rim: Rim) -> None:
    """Grass, what an empty cell shows outdoors."""
    pen.fill(colour)
    for x, y in _SPECKLES[::2]:
        for lean in (-0.035, 0.0, 0.035):
            pen.line([(x, y + 0.06), (x + lean, y)], 0.018, darker(colour, 0.13))


def space(pen: Pen, colour: str, rim: Rim) -> None:
    """The sky at night."""
    pen.fill(colour)
    for i, (x, y) in enumerate(_SPECKLES[:5]):
        pen.disc(x, y, 0.012 + 0.008 * (i % 2), lighter(colour, 0.35 + 0.15 * (i % 2)))


def cave(pen: Pen, colour: str, rim: Rim) -> None:
    """A dug tunnel."""
    pen.fill(colour)
    for i, (x, y) in enumerate(_SPECKLES):
        pen.oval(x, y, 0.035, 0.022, (lighter if i % 2 else darker)(colour, 0.09))


def sea(pen: Pen, colour: str, rim: Rim) -> None:
    """Open water, what an empty cell shows at sea."""
    pen.fill(colour)
    _waves(pen, lighter(colour, 0.12))


def sand(pen: Pen, colour: str, rim: Rim) -> None:
    """Sand."""
    pen.fill(colour)
    for i, (x, y) in enumerate(_SPECKLES):
        pen.disc(x, y, 0.016, (lighter if i % 2 else darker)(colour, 0.16))


def snow(pen: Pen, colour: str, rim: Rim) -> None:
    """Snow, or ice to slide on."""
    pen.fill(colour)
    for x, y in ((0.2, 0.3), (0.55, 0.68)):
        pen.line([(x, y + 0.12), (x + 0.16, y - 0.08)], 0.03, lighter(colour, 0.7))
        pen.line([(x + 0.12, y + 0.12), (x + 0.2, y + 0.02)], 0.02, lighter(colour, 0.7))
    _border(pen, rim, 0.04, darker(colour, 0.2))


def wall(pen: Pen, colour: str, rim: Rim) -> None:
    """Masonry, its courses running on from tile to tile, with a front where it ends below."""
    mortar, stone = darker(colour, 0.3), colour
    pen.fill(mortar)
    for course, start in ((0, 0.0), (1, -0.25), (2, 0.0), (3, -0.25)):
        for i in range(3):
            left = start + 0.5 * i
            shade = (lighter(stone, 0.08), stone, darker(stone, 0.08))[(course + 2 * (i % 2)) % 3]
            top = 0.25 * course
            a, b = max(0.0, left + 0.016), min(1.0, left + 0.484)
            pen.box(a, top + 0.016, b, top + 0.234, shade)
            pen.box(a, top + 0.016, b, top + 0.05, lighter(shade, 0.18))
    _raised(pen, rim, colour)


def rock(pen: Pen, colour: str, rim: Rim) -> None:
    """Solid rock."""
    pen.fill(colour)
    pen.shape([(0, 0), (0.55, 0), (0.4, 0.35), (0, 0.5)], lighter(colour, 0.1))
    pen.shape([(1, 0.15), (1, 0.75), (0.7, 0.6), (0.62, 0.3)], lighter(colour, 0.05))
    pen.shape([(0, 1), (0, 0.62), (0.3, 0.55), (0.5, 1)], darker(colour, 0.1))
    pen.shape([(0.5, 1), (0.62, 0.7), (1, 0.75), (1, 1)], darker(colour, 0.14))
    pen.line([(0.4, 0.35), (0.62, 0.3)], 0.02, darker(colour, 0.3))
    pen.line([(0.4, 0.35), (0.3, 0.55)], 0.02, darker(colour, 0.3))
    _raised(pen, rim, colour)


def bulkhead(pen: Pen, colour: str, rim: Rim) -> None:
    """A riveted plate of metal."""
    pen.fill(colour)
    pen.box(0.05, 0.05, 0.95, 0.95, lighter(colour, 0.1), 0.06)
    pen.box(0.05, 0.5, 0.95, 0.95, colour, 0.06)
    pen.line([(0.22, 0.78), (0.78, 0.22)], 0.05, darker(colour, 0.12))
    for x in (0.14, 0.86):
        for y in (0.14, 0.86):
            pen.disc(x, y, 0.055, darker(colour, 0.4))
            pen.disc(x - 0.01, y - 0.01, 0.035, lighter(colour, 0.35))
    _border(pen, rim, 0.05, darker(colour, 0.5))


def hedge(pen: Pen, colour: str, rim: Rim) -> None:
    """A clipped hedge."""
    pen.fill(darker(colour, 0.3))
    for row in range(5):
        for column in range(5):
            x, y = (column + 0.5 * (row % 2)) * 0.25, row * 0.25
            shade = (colour, lighter(colour, 0.1), darker(colour, 0.12))[(row + 2 * column) % 3]
            pen.disc(x, y, 0.16, shade)
            pen.disc(x - 0.03, y - 0.04, 0.06, lighter(shade, 0.14))
    _raised(pen, rim, colour)


def tree(pen: Pen, colour: str, rim: Rim) -> None:
    """A tree seen from the side; its ground shows."""
    pen.box(0.44, 0.6, 0.56, 0.95, "#7a5233", 0.02)
    for y, half, shade in ((0.72, 0.34, 0.1), (0.52, 0.29, 0.0), (0.33, 0.22, -0.12)):
        top = darker(colour, shade) if shade >= 0 else lighter(colour, -shade)
        pen.shape([(0.5 - half, y), (0.5 + half, y), (0.5, y - 0.36)], top)


def earth(pen: Pen, colour: str, rim: Rim) -> None:
    """Loose soil with pebbles."""
    pen.fill(colour)
    for i, (x, y) in enumerate(_SPECKLES):
        pen.oval(x, y, 0.07, 0.05, darker(colour, 0.22))
        pen.oval(x - 0.01, y - 0.015, 0.055, 0.035, lighter(colour, 0.14 if i % 2 else 0.05))
    for i, (x, y) in enumerate(_SPECKLES[::-1]):
        pen.disc(1 - x, y - 0.07, 0.02, (lighter if i % 2 else darker)(colour, 0.16))
    _border(pen, rim, 0.035, darker(colour, 0.3))


def street(pen: Pen, colour: str, rim: Rim) -> None:
    """Asphalt with a dashed line and a kerb."""
    pen.fill(colour)
    for i, (x, y) in enumerate(_SPECKLES):
        pen.disc(x, y, 0.014, (lighter if i % 2 else darker)(colour, 0.12))
    if not rim[2]:
        pen.box(0.2, 0.97, 0.8, 1, lighter(colour, 0.6))
    if not rim[0]:
        pen.box(0.2, 0, 0.8, 0.03, lighter(colour, 0.6))
    for side, (a, b) in ((0, (0, 0.05)), (2, (0.95, 1))):
        if rim[side]:
            pen.box(0, a, 1, b, lighter(colour, 0.55))


def water(pen: Pen, colour: str, rim: Rim) -> None:
    """Water with ripples and a shore."""
    pen.fill(colour)
    _waves(pen, lighter(colour, 0.32))
    _border(pen, rim, 0.07, lighter(colour, 0.55))


def lava(pen: Pen, colour: str, rim: Rim) -> None:
    """Glowing rock."""
    pen.fill(colour)
    for x, y, radius in ((0.25, 0.3, 0.14), (0.7, 0.2, 0.1), (0.62, 0.68, 0.18), (0.16, 0.78, 0.1)):
        pen.oval(x, y, radius, 0.7 * radius, lighter(colour, 0.3))
        pen.oval(x, y, 0.55 * radius, 0.38 * radius, "#ffe38a")
    pen.line([(0.36, 0.36), (0.5, 0.56)], 0.035, lighter(colour, 0.3))
    _border(pen, rim, 0.08, darker(colour, 0.6))


def brick(pen: Pen, colour: str, rim: Rim) -> None:
    """A low wall that can be broken."""
    pen.fill(darker(colour, 0.35))
    for row in range(3):
        for i in range(3):
            left = 0.5 * i - (0.25 if row % 2 else 0)
            a, b = max(0.0, left + 0.025), min(1.0, left + 0.475)
            pen.box(
                a, row / 3 + 0.025, b, (row + 1) / 3 - 0.025, (colour, darker(colour, 0.1))[i % 2]
            )
            pen.box(a, row / 3 + 0.025, b, row / 3 + 0.065, lighter(colour, 0.2))
    _border(pen, rim, 0.03, darker(colour, 0.6))


def spikes(pen: Pen, colour: str, rim: Rim) -> None:
    """A trap."""
    pen.box(0.04, 0.04, 0.96, 0.96, darker(colour, 0.5), 0.08)
    for row in range(3):
        for column in range(3):
            x, y = 0.2 + 0.3 * column, 0.28 + 0.29 * row
            pen.shape([(x - 0.1, y), (x + 0.1, y), (x, y - 0.24)], lighter(colour, 0.2))
            pen.shape([(x, y), (x + 0.1, y), (x, y - 0.24)], darker(colour, 0.1))


def hole(pen: Pen, colour: str, rim: Rim) -> None:
    """A hole in the ground."""
    pen.oval(0.5, 0.5, 0.43, 0.4, darker(colour, 0.2))
    pen.oval(0.5, 0.54, 0.38, 0.34, darker(colour, 0.75))
    pen.oval(0.5, 0.6, 0.3, 0.24, "#0c0f13")


def plate(pen: Pen, colour: str, rim: Rim) -> None:
    """A place where something belongs: a ring with a cross."""
    pen.box(0.06, 0.06, 0.94, 0.94, lighter(colour, 0.72), 0.1)
    pen.box(0.12, 0.12, 0.88, 0.88, lighter(colour, 0.5), 0.08)
    for turn in (45, 135):
        dx, dy = 0.2 * math.cos(math.radians(turn)), 0.2 * math.sin(math.radians(turn))
        pen.line([(0.5 - dx, 0.5 - dy), (0.5 + dx, 0.5 + dy)], 0.1, darker(colour, 0.1))


def ladder(pen: Pen, colour: str, rim: Rim) -> None:
    """A ladder."""
    for y in (0.14, 0.38, 0.62, 0.86):
        pen.line([(0.22, y), (0.78, y)], 0.07, lighter(colour, 0.15))
    for x in (0.22, 0.78):
        pen.line([(x, 0), (x, 1)], 0.09, colour)


def bridge(pen: Pen, colour: str, rim: Rim) -> None:
    """Planks."""
    pen.fill(darker(colour, 0.5))
    for i in range(4):
        pen.box(0.25 * i + 0.02, 0.04, 0.25 * i + 0.23, 0.96, lighter(colour, 0.06 * (i % 2)), 0.03)
        for y in (0.14, 0.86):
            pen.disc(0.25 * i + 0.125, y, 0.025, darker(colour, 0.45))


def fence(pen: Pen, colour: str, rim: Rim) -> None:
    """A wooden fence."""
    for y in (0.38, 0.68):
        pen.box(0, y, 1, y + 0.1, darker(colour, 0.2))
    for x in (0.06, 0.39, 0.72):
        pen.shape(
            [(x, 0.94), (x, 0.22), (x + 0.11, 0.1), (x + 0.22, 0.22), (x + 0.22, 0.94)], colour
        )


def plain(pen: Pen, colour: str, rim: Rim) -> None:
    """A tile of one colour, for what nothing is known of but that it stands still."""
    pen.fill(colour)
    pen.box(0.06, 0.06, 0.94, 0.94, lighter(colour, 0.1), 0.05)
    _border(pen, rim, 0.045, darker(colour, 0.35))


def _waves(pen: Pen, colour: str) -> None:
    for x, y in ((0.06, 0.2), (0.5, 0.42), (0.1, 0.66), (0.56, 0.88)):
        pen.arc(x + 0.1, y, 0.09, 20, 160, 0.028, colour)
        pen.arc(x + 0.27, y, 0.09, 20, 160, 0.028, colour)


def _border(pen: Pen, rim: Rim, width: float, colour: str) -> None:
    """Paint a strip along the sides that border on something else."""
    up, right, down, left = rim
    if up:
        pen.box(0, 0, 1, width, colour)
    if right:
        pen.box(1 - width, 0, 1, 1, colour)
    if down:
        pen.box(0, 1 - width, 1, 1, colour)
    if left:
        pen.box(0, 0, width, 1, colour)


def _raised(pen: Pen, rim: Rim, colour: str) -> None:
    """Paint edges so that the whole seems to stand up: light from above, a dark front below."""
    up, right, down, left = rim
    if up:
        pen.box(0, 0, 1, 0.07, lighter(colour, 0.4))
    if left:
        pen.box(0, 0, 0.045, 1, lighter(colour, 0.15))
    if right:
        pen.box(0.955, 0, 1, 1, darker(colour, 0.4))
    if down:
        pen.box(0, 0.86, 1, 1, darker(colour, 0.5))
        pen.box(0, 0.84, 1, 0.87, darker(colour, 0.25))
