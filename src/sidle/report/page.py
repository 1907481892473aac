"""One HTML page about every study that was run, read from what the runs left behind.

The object all functions share is a summary: the JSON of one study at one preset, with its claims,
figures, cells and machine, found at ``<runs>/<study>/summary/<settings hash>/summary.json``. A
summary is data and nothing in it is trusted: texts are escaped, links are followed to http and
https only, and a content policy forbids the page every script but its own and every request.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidle import storage
from sidle.errors import ArgumentError, DataError, RunError
from sidle.evaluation import statistics
from sidle.report import figures

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

Summary = Mapping[str, Any]

FORMAT = 1

# Preset -> what it is for. The page keeps this order; other names come after.
_PRESETS = {
    "quick": "Small settings and built-in data, about a minute: the shape of the results.",
    "standard": "Within an hour on two cores: enough seeds for a verdict.",
    "full": "Everything that the study lists, cell by cell.",
    "paper": "The paper's own hyper-parameters.",
    "custom": "Settings changed by hand.",
}

# What a summary must hold: a type, or the shape of what is inside. (shape,) may also be null.
_INTERVAL = {"mean": float, "low": (float,), "high": (float,), "n": int, "confidence": float}
_SHAPE: dict[str, Any] = {
    "study": str,
    "title": str,
    "overview": str,
    "paper": {"title": str, "authors": str, "year": int, "url": str},
    "preset": str,
    "settings": dict,
    "version": int,
    "command": str,
    "seeds": [int],
    "data": {"description": str, "digest": str},
    "machine": dict,
    "cells": [
        {
            "name": str,
            "status": frozenset({"finished", "failed", "missing"}),
            "seconds": float,
            "source": frozenset({"run", "evidence"}),
            "other_code": bool,
            "error": (str,),
        }
    ],
    "seconds": float,
    "finished": datetime.datetime,
    "claims": [
        {
            "id": str,
            "sentence": str,
            "source": str,
            "effect": str,
            "unit": str,
            "margin": float,
            "interval": (_INTERVAL,),
            "verdict": frozenset({"holds", "does not hold", "undecided"}),
            "reason": str,
        }
    ],
    "figures": [
        {"id": str, "title": str, "caption": str, "plotly": {"data": [dict], "layout": dict}}
    ],
}


def build(runs: Path, output: Path) -> Path:
    """Write the report on all studies in ``runs`` to ``<output>/index.html``; return that path.

    The page is one file that needs no network. It is replaced whole or not at all.

    Raises:
        RunError: nothing was run yet.
        DataError: a summary is damaged, or of a format that this version does not know.
        StorageError: the disk refused.
    """
    path = output / "index.html"
    storage.write_text(path, render(summaries(runs)))
    return path


def summaries(runs: Path) -> list[Summary]:
    """Return the summaries in ``runs``: by study, then preset.

    Of several with one preset (an older version of the study left the others), the latest is
    returned; of those with settings of their own, all are.

    Raises:
        RunError: there is none.
        DataError: a summary is damaged, or of a format that this version does not know.
        StorageError: a file cannot be read.
    """
    found = [_read(path) for path in sorted(runs.glob("*/summary/*/summary.json"))]
    if not found:
        raise RunError(
            f"{runs}: expected the summary of at least one study, found none. "
            "Run a study first: sidle run all --preset quick"
        )
    found.sort(key=lambda summary: _moment(summary["finished"]), reverse=True)
    latest: dict[tuple[str, str], Summary] = {}
    for summary in reversed(found):
        if summary["preset"] != "custom":
            latest[summary["study"], summary["preset"]] = summary
    found = [s for s in found if latest.get((s["study"], s["preset"]), s) is s]
    found.sort(key=lambda summary: (summary["study"], *_rank(summary["preset"])))
    return found


def render(found: Sequence[Summary]) -> str:
    """Return the HTML of the page about ``found``, which is not empty and in page order."""
    import plotly.offline
    from markupsafe import Markup

    environment = templates()
    environment.globals.update(purposes=_PRESETS, verdicts=verdict_counts)
    scripts = [
        inline_script(plotly.offline.get_plotlyjs()),
        inline_script(template_text("page.js")),
    ]
    claims = [claim for summary in found for claim in summary["claims"]]
    verdicts = [claim["verdict"] for claim in claims]
    seeds = [claim["interval"]["n"] if claim["interval"] else 0 for claim in claims]
    return environment.get_template("page.html.j2").render(
        studies=_studies(found),
        totals=Counter(verdicts),
        n_claims=len(verdicts),
        n_decided=sum(verdict != "undecided" for verdict in verdicts),
        wrong_by_chance=statistics.wrong_by_chance(seeds),
        latest=max((summary["finished"] for summary in found), key=_moment),
        plotly_js=scripts[0],
        page_js=scripts[1],
        policy=content_policy(scripts),
        style=Markup(template_text("style.css")),
        themes=inline_json(themes()),
    )


def templates() -> jinja2.Environment:
    """Return the environment in which the pages' templates are written."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sidle.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count, date=date, duration=duration, number=number, json=compact, link=link
    )
    environment.globals.update(
        figure_data=lambda figure: inline_json(figures.escaped(figure["plotly"])),
        forest=forest,
        spread=spread,
    )
    return environment


def themes() -> dict[str, Any]:
    """Return what page.js needs to draw figures on a light and on a dark page."""
    return {
        "templates": {"light": figures.template("light"), "dark": figures.template("dark")},
        "dark_colours": figures.dark_colours(),
    }


def inline_json(value: Any) -> Markup:
    """Return ``value`` as JSON that no HTML or JavaScript parser takes for anything else."""
    from markupsafe import Markup

    text = storage.to_json(value)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def inline_script(source: str) -> Markup:
    """Return our own JavaScript, fit to stand between script tags without ending them."""
    from markupsafe import Markup

    source = re.sub(r"<(?=/script|script)", r"\\x3c", source, flags=re.IGNORECASE)
    return Markup(source.replace("<!--", "\\x3c!--"))


def link(url: str) -> str | None:
    """Return ``url`` if it is a plain http or https address, else None."""
    return url if re.fullmatch(r"https?://[^\s\x00-\x20\"'<>\\]+", url, re.IGNORECASE) else None


def number(value: float, decimals: int | None = None) -> str:
    """Return ``value`` as people write it, to three significant digits or ``decimals`` places."""
    text = f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"
    return text.replace("-", "\u2212")  # a minus sign, not a hyphen


def spread(interval: Mapping[str, Any], margin: float) -> str:
    """Return the mean and the ends of an interval, with digits that suit its width.

    There are more digits where an end, rounded, would seem to be the margin: what is read must
    not contradict the verdict.
    """
    mean, low, high = interval["mean"], interval["low"], interval["high"]
    if low is None or high is None:
        return number(mean)
    decimals = None
    if high - low > 1e-5 and max(-low, high) < 1e6:
        decimals = max(0, 1 - math.floor(math.log10((high - low) / 3)))
        gaps = [abs(end - margin) for end in (low, high) if end != margin]
        while decimals < 9 and any(round(gap, decimals) == 0 for gap in gaps):
            decimals += 1
    return f"{number(mean, decimals)} [{number(low, decimals)}, {number(high, decimals)}]"


def duration(seconds: float) -> str:
    """Return a time span such as "4.2 s", "3 min 05 s" or "2 h 10 min"."""
    if seconds < 59.5:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def date(moment: str) -> str:
    """Return an ISO 8601 moment as "23 November 2026, 17:00 UTC"."""
    utc = _moment(moment)
    return f"{utc.day} {utc:%B %Y, %H:%M} UTC"


def count(n: int, noun: str) -> str:
    """Return "1 cell" or "2 cells"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def verdict_counts(claims: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return each verdict that occurs, with words such as "3 hold" and "1 does not hold"."""
    counts = Counter(claim["verdict"] for claim in claims)
    many = {"holds": "hold", "does not hold": "do not hold", "undecided": "undecided"}
    return [
        (verdict, f"{counts[verdict]} {verdict if counts[verdict] == 1 else words}")
        for verdict, words in many.items()
        if counts[verdict]
    ]


def forest(claim: Mapping[str, Any], width: float, edge: float) -> dict[str, Any]:
    """Return where to draw an interval, its mean and the margin on a strip of ``width``.

    Args:
        claim: whose interval is not None.
        width: of the strip.
        edge: kept free on either side; an interval without an end runs into it.

    Returns:
        Positions "low", "high", "mean", "margin", and "open": whether the interval has no ends.
    """
    interval, margin = claim["interval"], claim["margin"]
    low, high, mean = interval["low"], interval["high"], interval["mean"]
    values: list[float] = [value for value in (low, high, mean, margin) if value is not None]
    # Differences of huge values overflow; differences of their ratios to the largest do not.
    unit = max(abs(value) for value in values) or 1.0
    start, end = min(values) / unit, max(values) / unit
    if start == end:
        start, end = start - 1, end + 1

    def position(value: float) -> float:
        return round(edge + (value / unit - start) / (end - start) * (width - 2 * edge), 1)

    return {
        "low": 0.0 if low is None else position(low),
        "high": width if high is None else position(high),
        "mean": position(mean),
        "margin": position(margin),
        "open": low is None or high is None,
    }


def _read(path: Path) -> Summary:
    remedy = (
        f"Delete the folder {path.parent} and run the study again: sidle run {path.parents[2].name}"
    )
    summary = storage.read_json(path)
    if not isinstance(summary, dict):
        raise DataError(path, f"expected an object, found {_brief(summary)}.", remedy)
    if summary.get("format") != FORMAT or isinstance(summary["format"], bool):
        raise DataError(
            path,
            f"expected format {FORMAT}, found {_brief(summary.get('format'))}.",
            f"Update sidle if the file is newer than it. Otherwise: {remedy}",
        )
    problem = _problem(summary, _SHAPE, "")
    for index, figure in enumerate(summary["figures"] if problem is None else ()):
        reason = figures.problem(figure["plotly"])
        problem = problem or (reason and f"figures[{index}].plotly.{reason}")
    try:
        storage.to_json(summary).encode()
    except (ArgumentError, UnicodeEncodeError) as error:
        problem = problem or f"expected finite numbers and whole characters: {error}"
    if problem:
        raise DataError(path, f"{problem}.", remedy)
    return summary


def _problem(value: Any, shape: Any, where: str) -> str | None:
    """Return what about ``value`` does not fit ``shape``, or None."""
    if isinstance(shape, tuple):
        return None if value is None else _problem(value, shape[0], where)
    if isinstance(shape, frozenset):
        if isinstance(value, str) and value in shape:
            return None
        return f"{where}: expected one of {', '.join(sorted(shape))}, found {_brief(value)}"
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where}: expected an object, found {_brief(value)}"
        missing = [name for name in shape if name not in value]
        if missing:
            return f"{where}: expected the entry '{missing[0]}', found none".removeprefix(": ")
        parts = [(value[name], inner, f"{where}.{name}") for name, inner in shape.items()]
    elif isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where}: expected a list, found {_brief(value)}"
        parts = [(part, shape[0], f"{where}[{index}]") for index, part in enumerate(value)]
    else:
        fits = _is_date(value) if shape is datetime.datetime else _is_a(value, shape)
        return None if fits else f"{where}: expected {_KINDS[shape]}, found {_brief(value)}"
    problems = (_problem(part, inner, name.lstrip(".")) for part, inner, name in parts)
    return next(filter(None, problems), None)


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    dict: "an object",
    datetime.datetime: "an ISO 8601 date",
}


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if kind is float:
        # A whole number beyond the floats cannot be drawn either.
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, kind)


def _is_date(value: Any) -> bool:
    try:
        _moment(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _moment(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _rank(preset: str) -> tuple[int, str]:
    order = list(_PRESETS)
    return (order.index(preset) if preset in order else len(order), preset)


def _studies(found: Sequence[Summary]) -> list[dict[str, Any]]:
    """Group summaries by study; give each study and each preset an anchor."""
    taken: Counter[str] = Counter()
    by_study: dict[str, list[Summary]] = {}
    for summary in found:
        by_study.setdefault(summary["study"], []).append(summary)
    studies = []
    for name, group in by_study.items():
        latest = max(group, key=lambda summary: _moment(summary["finished"]))
        anchor = _anchor(name, taken)
        parts = [
            {"anchor": _anchor(f"{anchor}-{summary['preset']}", taken), "summary": summary}
            for summary in group
        ]
        studies.append({"anchor": anchor, "latest": latest, "parts": parts})
    return studies


def _anchor(name: str, taken: Counter[str]) -> str:
    """Return an id made of harmless letters that no other element has."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "study"
    taken[base] += 1
    return f"s-{base}" if taken[base] == 1 else f"s-{base}--{taken[base]}"


def compact(value: Any) -> str:
    """Return a text as it is, all else as JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def template_text(name: str) -> str:
    """Return the file ``name`` among the templates."""
    return (resources.files("sidle.report") / "templates" / name).read_text(encoding="utf-8")


def content_policy(scripts: Sequence[str]) -> str:
    """Return the content policy: our scripts by digest, no requests. Plotly sets styles inline."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
