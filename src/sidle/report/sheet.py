"""One HTML page about one finding: a verdict, figures, and the numbers behind them.

What a command found out about somebody's own networks or data, in the looks of the report: one file
that needs no network, escaped and under the same content policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sidle import storage
from sidle.errors import ArgumentError
from sidle.report import figures, page


@dataclass(frozen=True)
class Figure:
    """A picture with its title and what to see in it; ``plotly`` as `figures.figure` makes it."""

    title: str
    caption: str
    plotly: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Numbers in named columns; the first column names the rows, those in ``words`` hold words."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Sheet:
    """Everything that the page says.

    Attributes:
        title: heading and title of the page.
        verdict: colour of the answer: "holds" (yes), "does not hold" (no) or "undecided".
        answer: the answer in a few words.
        lead: the sentence after it.
        notes: what a reader should know, each a sentence or two.
        figures: pictures, in reading order.
        tables: numbers, in reading order.
        facts: names and values at the end: files, data, settings, machine.
        command: what was typed.
        written: what wrote the page, such as "sidle barrier".
    """

    title: str
    verdict: Literal["holds", "does not hold", "undecided"]
    answer: str
    lead: str
    notes: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    facts: Mapping[str, Any]
    command: str
    written: str


def write(sheet: Sheet, path: Path) -> None:
    """Write the page about ``sheet`` to ``path``, whole or not at all.

    Raises:
        ArgumentError: a figure that the page cannot draw.
        StorageError: the disk refused.
    """
    storage.write_text(path, render(sheet))


def render(sheet: Sheet) -> str:
    """Return the HTML of the page about ``sheet``; raises ArgumentError as `write`."""
    import plotly.offline
    from markupsafe import Markup

    for figure in sheet.figures:
        if reason := figures.problem(figure.plotly):
            raise ArgumentError(f"render: the figure '{figure.title}' cannot be drawn: {reason}.")
    scripts = [
        page.inline_script(plotly.offline.get_plotlyjs()),
        page.inline_script(page.template_text("page.js")),
    ]
    return (
        page.templates()
        .get_template("sheet.html.j2")
        .render(
            sheet=sheet,
            plotly_js=scripts[0],
            page_js=scripts[1],
            policy=page.content_policy(scripts),
            style=Markup(page.template_text("style.css")),
            themes=page.inline_json(page.themes()),
        )
    )
