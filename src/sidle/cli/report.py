"""`sidle report` and `sidle claims`: what finished studies say."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidle.cli import console
from sidle.evaluation import statistics

if TYPE_CHECKING:
    from rich.table import Table


_STYLES = {"holds": "bold green", "does not hold": "bold red", "undecided": "yellow"}


@dataclass(frozen=True)
class ReportOptions:
    """Write the report: one page with every study that was run, its figures and its claims."""

    runs: Path = Path("runs")
    """Folder with the run folders."""
    out: Path = Path("report")
    """Folder for index.html."""
    open: bool = False
    """Open the page in the browser."""
    json: bool = False
    """Print the page's path as JSON: {"page"}."""


@dataclass(frozen=True)
class ClaimsOptions:
    """Print every claim of every study that was run, with its interval and verdict."""

    runs: Path = Path("runs")
    """Folder with the run folders."""
    markdown: bool = False
    """Print Markdown tables, one a study."""
    json: bool = False
    """Print {"claims": [...], "wrong_by_chance"} as JSON."""


def report(arguments: list[str]) -> int:
    """Run ``sidle report`` with ``arguments``; return the exit code."""
    options = console.parse(ReportOptions, "report", arguments, example="sidle report --open")
    from sidle.report import page

    path = page.build(options.runs, options.out)
    if options.json:
        console.print_json({"page": str(path)})
    else:
        console.show(f"The report is at {path}")
    if options.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def claims(arguments: list[str]) -> int:
    """Run ``sidle claims`` with ``arguments``; return the exit code."""
    options = console.parse(ClaimsOptions, "claims", arguments, example="sidle claims --json")
    from sidle.report import page

    summaries = page.summaries(options.runs)
    rows = [
        {"study": summary["study"], "preset": summary["preset"], **claim}
        for summary in summaries
        for claim in summary["claims"]
    ]
    seeds = [row["interval"]["n"] if row["interval"] else 0 for row in rows]
    by_chance = statistics.wrong_by_chance(seeds)
    if options.json:
        console.print_json({"claims": rows, "wrong_by_chance": by_chance})
        return 0
    if options.markdown:
        for summary in summaries:
            print(f"## {summary['title']} ({summary['preset']})\n")
            print(markdown_table(summary["claims"]))
        return 0
    for summary in summaries:
        console.show(claims_table(f"{summary['title']} ({summary['preset']})", summary["claims"]))
    decided = sum(row["verdict"] != "undecided" for row in rows)
    console.show(
        f"{decided} of {len(rows)} claims decided. At most {by_chance:.2g} wrong verdicts are "
        "expected by chance (2.5 % of those with enough seeds)."
    )
    return 0


def claims_table(title: str, claims: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of claims as they stand in a summary."""
    from rich.text import Text

    columns = ("claim and effect", "mean, 95 % interval", "margin", "verdict")
    made = console.table(title, columns, right=("margin",))
    made.show_lines = True
    for claim in claims:
        interval = claim["interval"]
        effect = Text(f"{claim['effect']} ({claim['unit']})", style="dim")
        made.add_row(
            Text.assemble(claim["sentence"], "\n", effect),
            _span(interval) if interval else "no data",
            f"> {claim['margin']:.3g}",
            Text(claim["verdict"], style=_STYLES[claim["verdict"]]),
        )
    return made


def markdown_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of claims as they stand in a summary, ending in a line break."""
    lines = ["| claim | effect | mean, 95 % interval | holds above | verdict |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for claim in claims:
        interval = claim["interval"]
        cells = (
            claim["sentence"],
            f"{claim['effect']} ({claim['unit']})",
            f"{_mean(interval)}, {_seeds(interval)}" if interval else "no data",
            f"{claim['margin']:.3g}",
            claim["verdict"],
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _span(interval: Mapping[str, Any]) -> str:
    return f"{_mean(interval)}\n{_seeds(interval)}"


def _mean(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return f"{interval['mean']:.3g}"
    return f"{interval['mean']:.3g} [{interval['low']:.3g}, {interval['high']:.3g}]"


def _seeds(interval: Mapping[str, Any]) -> str:
    return "1 seed" if interval["n"] == 1 else f"{interval['n']} seeds"
