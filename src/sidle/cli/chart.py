"""Curves drawn in the terminal, in dots of braille characters (of ASCII where it has no others)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

COLOURS = ("bright_blue", "orange3", "green3", "magenta")
_MARKS = "*o+x"  # of the curves, in ASCII
# Dots of a braille character, by row and column, as bits above U+2800.
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_TICKS = 5


@dataclass(frozen=True)
class Curve:
    """A named line through points, x ascending; a dashed one is a level to compare with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


def draw(
    curves: Sequence[Curve],
    *,
    title: str,
    ends: tuple[str, str],
    unit: str = "",
    width: int = 64,
    height: int = 12,
    ascii_only: bool = False,
) -> Text:
    """Return a picture of ``curves`` with an axis on the left and their names below.

    Args:
        curves: at least one; of more than four, colours repeat.
        title: what the vertical axis shows.
        ends: what the left and the right end of the horizontal axis are called.
        unit: behind each number of the vertical axis.
        width, height: of the field, in characters.
        ascii_only: for terminals that have no other characters.
    """
    from rich.text import Text

    low, high = _span(curves)
    fine = (1, 1) if ascii_only else (2, 4)  # dots of a character
    columns, rows = width * fine[0], height * fine[1]
    left, right = min(c.x[0] for c in curves), max(c.x[-1] for c in curves)
    cells: dict[tuple[int, int], tuple[int, int]] = {}  # row, column -> bits, curve
    order = sorted(range(len(curves)), key=lambda i: (not curves[i].dashed, -i))
    for index in order:  # the first curve last, on top of the others
        curve = curves[index]
        before: int | None = None
        for column in range(columns):
            x = left + (right - left) * column / (columns - 1)
            row = round((high - _at(curve, x)) / (high - low) * (rows - 1))
            steps = range(min(before, row), max(before, row) + 1) if before is not None else [row]
            before = row
            if curve.dashed and column // (2 * fine[0]) % 2:
                continue
            for dot in steps:
                place = dot // fine[1], column // fine[0]
                bits = cells.get(place, (0, 0))[0]
                cells[place] = bits | _BRAILLE[dot % fine[1]][column % fine[0]], index
    ticks = {
        round(i * (height - 1) / (_TICKS - 1)): high - (high - low) * i / (_TICKS - 1)
        for i in range(_TICKS)
    }
    decimals = 0 if high - low >= 8 else 1 if high - low >= 0.8 else 2
    labels = {row: f"{value:.{decimals}f}{unit}" for row, value in ticks.items()}
    margin = max(map(len, labels.values()))
    side, corner, floor = ("|", "+", "-") if ascii_only else ("┤", "└", "─")
    plain = "|" if ascii_only else "│"
    picture = Text(f"{title}\n", style="bold", end="")
    for row in range(height):
        axis = f"{labels.get(row, ''):>{margin}} {side if row in labels else plain}"
        picture.append(axis, style="not bold dim")
        for column in range(width):
            bits, index = cells.get((row, column), (0, 0))
            picture.append(*_glyph(bits, index, curves, ascii_only))
        picture.append("\n")
    picture.append(f"{'':>{margin}} {corner}{floor * width}\n", style="not bold dim")
    gap = width - len(ends[0]) - len(ends[1])
    picture.append(f"{'':>{margin}}  {ends[0]}{'':>{max(1, gap)}}{ends[1]}\n", style="not bold dim")
    for index, curve in enumerate(curves):
        picture.append(f"{'':>{margin}}  ")
        sign = _MARKS[index % 4] * 2 if ascii_only else ("╌╌" if curve.dashed else "━━")
        picture.append(sign, style=_style(curve, index))
        last = index == len(curves) - 1
        picture.append(f" {curve.name}" + ("" if last else "\n"), style="not bold")
    return picture


def _glyph(bits: int, index: int, curves: Sequence[Curve], ascii_only: bool) -> tuple[str, str]:
    if not bits:
        return " ", ""
    mark = _MARKS[index % len(_MARKS)] if ascii_only else chr(0x2800 + bits)
    return mark, _style(curves[index], index)


def _style(curve: Curve, index: int) -> str:
    return "not bold dim" if curve.dashed else f"bold {COLOURS[index % len(COLOURS)]}"


def _span(curves: Sequence[Curve]) -> tuple[float, float]:
    values = [value for curve in curves for value in curve.y]
    low, high = min(values), max(values)
    if high - low < 1e-9:
        return low - 1, high + 1
    room = 0.05 * (high - low)
    # Errors and losses do not go below 0, so the axis does not either.
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _at(curve: Curve, x: float) -> float:
    """Return the height of ``curve`` at ``x``, straight between its points."""
    points = list(zip(curve.x, curve.y, strict=True))
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (max(x, x0) - x0) / (x1 - x0)
    return points[-1][1]
