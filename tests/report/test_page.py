from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sidle.errors import ArgumentError, DataError, RunError
from sidle.report import figures, page

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</style></table></details><h1>owned",
    "{{ 7 * 7 }}{% raw %}",
    "a & b &lt; c",
    "line\u2028separator\u2029here",
    "<!-- <script> -->",
    "<a href='javascript:alert(1)'>click</a>",
]


class Page(HTMLParser):
    """What a parser finds in a page: elements in order, text, scripts and links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.policy = ""
        self.scripts: list[str] = []
        self.data: dict[str, str] = {}
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        values = dict(attrs)
        if tag == "a":
            self.links.append(values["href"] or "")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self._inside = tag
        if tag == "script":
            self._inside = values.get("id") or "script"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "themes" or self._inside.endswith("-data"):
            self.data[self._inside] = data
        elif self._inside != "style":
            self.text += data


def free_texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every string in a summary that may hold anything at all."""
    bound = {"verdict", "status", "finished", "url"}
    if isinstance(value, str) and path[-1] not in bound and "plotly" not in path:
        if path[0] != "cells" or path[-1] != "source":
            yield path
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from free_texts(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from free_texts(part, (*path, index))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def failed_cell(summary: dict[str, Any]) -> dict[str, Any]:
    summary["cells"][0] |= {"status": "failed", "error": "it broke"}
    return summary


# ------------------------------------------------------------------------------ escaping


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_in_every_field_is_shown_and_adds_no_element(
    summary: dict[str, Any], hostile: str
) -> None:
    failed_cell(summary)
    summary["overview"] = "One paragraph."
    plain = Page(page.render([summary]))
    attacked = copy.deepcopy(summary)
    paths = list(free_texts(attacked))
    for path in paths:
        put(attacked, path, hostile)
    found = Page(page.render([attacked]))
    assert len(paths) > 35
    assert found.elements == plain.elements
    assert found.text.count(hostile) >= len(paths) - 3  # study and ids are not shown as text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_of_settings_and_machine_are_escaped(
    summary: dict[str, Any], hostile: str
) -> None:
    plain = Page(page.render([{**summary, "settings": {"a": 1}, "machine": {"b": "c"}}]))
    attacked = {**summary, "settings": {hostile: 1}, "machine": {hostile: "c"}}
    found = Page(page.render([attacked]))
    assert found.elements == plain.elements
    assert found.text.count(hostile) == 2


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_in_a_figure_stays_inside_its_data_and_is_no_markup_to_plotly(
    summary: dict[str, Any], hostile: str
) -> None:
    plotly = summary["figures"][0]["plotly"]
    plotly["data"][1]["name"] = hostile
    plotly["data"][1]["customdata"] = [[hostile]]
    plotly["layout"]["xaxis"]["title"]["text"] = hostile
    plotly["layout"]["annotations"] = [{"text": hostile}]
    html = page.render([summary])
    found = Page(html)
    block = found.data["figure-1-data"]
    assert not set("<>&\u2028\u2029") & set(block)
    drawn = json.loads(block)
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert drawn["data"][1]["name"] == escaped
    assert drawn["data"][1]["customdata"] == [[escaped]]
    assert drawn["layout"]["xaxis"]["title"]["text"] == escaped
    assert drawn["layout"]["annotations"] == [{"text": escaped}]


def test_only_the_line_break_and_the_empty_hover_box_are_markup_to_plotly() -> None:
    trace = {"name": "a<br>b<extra>", "hovertemplate": "%{y}<br><b>1</b><extra></extra>"}
    assert figures.escaped(trace) == {
        "name": "a<br>b&lt;extra&gt;",
        "hovertemplate": "%{y}<br>&lt;b&gt;1&lt;/b&gt;<extra></extra>",
    }


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "//example.org",
        "https://",
        "https://example.org/ onclick=alert(1)",
        'https://example.org/"onclick="alert(1)',
        "https://example.org/\u2028",
        "https://example.org/\nx",
        "",
    ],
)
def test_only_http_addresses_become_links(summary: dict[str, Any], url: str) -> None:
    summary["paper"]["url"] = url
    found = Page(page.render([summary]))
    assert all(address.startswith("#") for address in found.links)
    assert summary["paper"]["title"] in found.text


@pytest.mark.parametrize("url", ["https://arxiv.org/abs/1905.06922", "HTTP://example.org/?a=1&b"])
def test_http_addresses_become_links(summary: dict[str, Any], url: str) -> None:
    summary["paper"]["url"] = url
    assert Page(page.render([summary])).links.count(url) == 2


def test_json_in_a_page_reads_back_and_holds_no_character_that_ends_it() -> None:
    value = {"a": "</script><!--&\u2028\u2029", "b": [1.5, None, True]}
    text = page.inline_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_a_script_cannot_end_its_own_element() -> None:
    text = page.inline_script('a = "</script>"; b = "</SCRIPT >"; c = "<!--<script"; d = 1 < 2')
    assert text == (
        'a = "\\x3c/script>"; b = "\\x3c/SCRIPT >"; c = "\\x3c!--\\x3cscript"; d = 1 < 2'
    )


def test_the_policy_allows_the_scripts_of_the_page_by_digest_and_no_request(
    summary: dict[str, Any],
) -> None:
    found = Page(page.render([summary]))
    assert len(found.scripts) == 2
    for script in found.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in found.policy
    assert found.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in found.policy
    assert "http" not in found.policy


# ------------------------------------------------------------------------------ files


def test_build_writes_one_page_the_same_each_time(runs: Path, tmp_path: Path) -> None:
    path = page.build(runs, tmp_path / "report")
    assert path == tmp_path / "report" / "index.html"
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    first = path.read_bytes()
    page.build(runs, tmp_path / "report")
    assert path.read_bytes() == first
    assert first.startswith(b"<!DOCTYPE html>")


def test_summaries_come_by_study_then_preset_and_only_the_latest_of_each(
    summary: dict[str, Any], tmp_path: Path, write_summary: Callable[..., Path]
) -> None:
    rows = [
        ("b", "paper", "2026-01-01T00:00:00+00:00"),
        ("b", "zeta", "2026-01-01T00:00:00+00:00"),
        ("b", "full", "2026-01-01T00:00:00+00:00"),
        ("b", "quick", "2026-01-01T00:00:00+02:00"),
        ("b", "quick", "2026-01-01T00:00:00+00:00"),
        ("b", "standard", "2026-01-01T00:00:00"),
        ("a", "custom", "2026-01-01T00:00:00+00:00"),
        ("a", "custom", "2025-01-01T00:00:00+00:00"),
    ]
    for index, (study, preset, finished) in enumerate(rows):
        changed = {**summary, "study": study, "preset": preset, "finished": finished}
        write_summary(tmp_path, changed, f"hash{index}")
    found = page.summaries(tmp_path)
    assert [(row["study"], row["preset"], row["finished"]) for row in found] == [
        # Not row 3: of two summaries with one preset, the older is of an older version.
        rows[index]
        for index in (6, 7, 4, 5, 2, 0, 1)
    ]


def test_anchors_differ_even_where_names_look_alike(summary: dict[str, Any]) -> None:
    alike = [{**summary, "study": name} for name in ("a b", "A-b", "<a/b>", "§")]
    html = page.render(alike)
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    targets = [link[1:] for link in Page(html).links if link.startswith("#")]
    assert set(targets) <= set(ids)


@pytest.mark.parametrize("folder", ["runs", "absent"])
def test_without_summaries_it_says_what_to_run(tmp_path: Path, folder: str) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(RunError, match=r"sidle run all --preset quick"):
        page.build(tmp_path / folder, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), 2, "expected format 1, found 2"),
        (("format",), True, "expected format 1, found True"),
        (("title",), None, "title: expected a text, found None"),
        (("paper", "year"), "2019", "paper.year: expected a whole number, found '2019'"),
        (("seeds", 1), 1.5, "seeds[1]: expected a whole number, found 1.5"),
        (("cells",), {}, "cells: expected a list, found {}"),
        (("cells", 2), [], "cells[2]: expected an object, found []"),
        (("cells", 0, "status"), "done", "cells[0].status: expected one of failed, finished"),
        (("cells", 0, "other_code"), 0, "cells[0].other_code: expected true or false, found 0"),
        (("claims", 1, "verdict"), "maybe", "claims[1].verdict: expected one of does not hold"),
        (("claims", 1, "verdict"), ["holds"], "claims[1].verdict: expected one of"),
        (("claims", 0, "margin"), True, "claims[0].margin: expected a finite number, found True"),
        (("claims", 0, "interval", "low"), "x", "claims[0].interval.low: expected a finite number"),
        (("claims", 0, "margin"), float("nan"), "claims[0].margin: expected a finite number"),
        (("seconds",), 10**400, "seconds: expected a finite number, found 1000"),
        (("settings", "rate"), float("inf"), "expected finite numbers"),
        (("settings", "name"), "\ud800", "expected finite numbers and whole characters"),
        (("finished",), "yesterday", "finished: expected an ISO 8601 date, found 'yesterday'"),
        (("finished",), 7, "finished: expected an ISO 8601 date"),
        (
            ("figures", 0, "plotly", "data", 0, "type"),
            "scattergl",
            "figures[0].plotly.data[0].type",
        ),
        (("figures", 0, "plotly", "layout", "images"), [], "figures[0].plotly.layout.images"),
    ],
)
def test_a_damaged_summary_is_refused_by_name_with_a_remedy(
    summary: dict[str, Any], tmp_path: Path, path: tuple[Any, ...], value: Any, words: str
) -> None:
    put(summary, path, value)
    file = tmp_path / "study" / "summary" / "abc" / "summary.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(summary))
    with pytest.raises(DataError) as caught:
        page.summaries(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{file}: {words}")
    assert "Delete the folder" in message
    assert message.endswith("sidle run study")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '"text"'])
def test_a_file_that_is_no_summary_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "study" / "summary" / "abc" / "summary.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(DataError, match=re.escape(str(file))):
        page.summaries(tmp_path)


def test_every_entry_of_a_summary_is_needed(summary: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "study" / "summary" / "abc" / "summary.json"
    file.parent.mkdir(parents=True)
    for name in summary:
        file.write_text(json.dumps({key: summary[key] for key in summary if key != name}))
        with pytest.raises(DataError, match=name):
            page.summaries(tmp_path)


def test_importing_the_report_loads_neither_plotly_nor_jinja() -> None:
    code = (
        "import sys, sidle.report.page as page\n"
        "assert not {'plotly', 'jinja2', 'markupsafe', 'torch'} & set(sys.modules)\n"
        "assert not [name for name in sys.modules if name.startswith('sidle.studies')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ------------------------------------------------------------------------------ words and numbers


def test_what_was_not_all_computed_here_is_said(summary: dict[str, Any]) -> None:
    cells = summary["cells"]
    assert "evidence" not in Page(page.render([summary])).text
    cells[0] |= {"status": "failed", "error": "the loss was NaN"}
    cells[1] |= {"status": "missing"}
    cells[2] |= {"source": "evidence", "other_code": True}
    cells[3] |= {"source": "evidence"}
    text = " ".join(Page(page.render([summary])).text.split())
    assert "1 cell failed; seeds with a failed cell are left out." in text
    assert "1 cell not computed yet" in text
    assert "2 cells taken from evidence files" in text
    assert "1 cell made by other code than the present one." in text
    assert "the loss was NaN" in text


def test_a_study_with_nothing_to_show_still_has_its_page(summary: dict[str, Any]) -> None:
    summary |= {"claims": [], "figures": [], "seeds": [], "cells": [], "settings": {}}
    text = Page(page.render([summary])).text
    assert "No claims were judged." in text
    assert "There are no figures yet" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.314, "0.31 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (360000, "100 h 00 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert page.duration(seconds) == words


@pytest.mark.parametrize(
    ("mean", "low", "high", "words"),
    [
        (1.8421, 1.7109, 1.9733, "1.842 [1.711, 1.973]"),
        (-0.0623, -0.1554, 0.0308, "−0.062 [−0.155, 0.031]"),
        (0.7, 0.1, 1.3, "0.70 [0.10, 1.30]"),
        (0.1914, 0.152, 0.23, "0.191 [0.152, 0.230]"),
        (512.3, 380.2, 644.4, "512 [380, 644]"),
        (51.3, 38.2, 64.4, "51.3 [38.2, 64.4]"),
        (2.0, None, None, "2"),
        (2.0, 2.0, 2.0, "2 [2, 2]"),
        (0.0, 0.0, 1e-9, "0 [0, 1e−09]"),
        (0.0, -1e300, 1e300, "0 [−1e+300, 1e+300]"),
    ],
)
def test_intervals_have_digits_that_suit_their_width(
    mean: float, low: float | None, high: float | None, words: str
) -> None:
    assert page.spread({"mean": mean, "low": low, "high": high}, margin=-100.0) == words


@pytest.mark.parametrize(
    ("low", "high", "margin", "words"),
    [
        (0.1012, 1.3, 0.1, "0.700 [0.101, 1.300]"),
        (-0.5, 0.09996, 0.1, "0.70000 [−0.50000, 0.09996]"),
        (0.1, 1.3, 0.1, "0.70 [0.10, 1.30]"),
        (0.1000000000001, 1.3, 0.1, "0.700000000 [0.100000000, 1.300000000]"),
    ],
)
def test_rounding_never_puts_an_end_on_the_margin(
    low: float, high: float, margin: float, words: str
) -> None:
    assert page.spread({"mean": 0.7, "low": low, "high": high}, margin) == words


def test_dates_are_told_in_universal_time() -> None:
    assert page.date("2026-11-24T00:30:00+02:00") == "23 November 2026, 22:30 UTC"


def forest_of(mean: float, low: float | None, high: float | None, margin: float) -> dict[str, Any]:
    claim = {"margin": margin, "interval": {"mean": mean, "low": low, "high": high}}
    return page.forest(claim, 200, 14)


def test_a_forest_strip_is_to_scale() -> None:
    place = forest_of(mean=2.0, low=1.0, high=3.0, margin=0.0)
    assert place == {"margin": 14.0, "low": 71.3, "mean": 128.7, "high": 186.0, "open": False}


def test_a_forest_strip_without_ends_runs_to_the_edges() -> None:
    place = forest_of(mean=1.0, low=None, high=None, margin=0.0)
    assert place == {"margin": 14.0, "low": 0.0, "mean": 186.0, "high": 200, "open": True}


@pytest.mark.parametrize("value", [0.0, 5.0, -1.7e308])
def test_a_forest_strip_of_one_point_puts_it_in_the_middle(value: float) -> None:
    place = forest_of(mean=value, low=value, high=value, margin=value)
    assert {place[name] for name in ("mean", "low", "high", "margin")} == {100.0}


def test_a_forest_strip_bears_huge_values() -> None:
    place = forest_of(mean=0.0, low=-1.7e308, high=1.7e308, margin=0.0)
    assert (place["low"], place["mean"], place["high"]) == (14.0, 100.0, 186.0)


# ------------------------------------------------------------------------------ figures


def test_a_band_goes_up_the_high_ends_and_back_along_the_low_ones() -> None:
    band, line = figures.line_with_band([1, 2, 3], [5, 6, 7], [4, 5, None], [6, 7, 9], "a", 1)
    assert (band["x"], band["y"]) == ([1, 2, 2, 1], [6, 7, 5, 4])
    assert band["fill"] == "toself"
    assert (line["x"], line["y"]) == ([1, 2, 3], [5, 6, 7])
    assert line["hovertext"] == ["5 [4, 6]", "6 [5, 7]", "7"]
    assert band["legendgroup"] == line["legendgroup"] == "a"
    assert band["showlegend"] is False


@pytest.mark.parametrize(("horizontal", "value", "place"), [(False, "y", "x"), (True, "x", "y")])
def test_error_bars_reach_the_ends_of_the_interval(
    horizontal: bool, value: str, place: str
) -> None:
    (trace,) = figures.interval_points(
        ["p", "q"], [5, 6], [4.5, None], [7, None], "a", 0, horizontal=horizontal
    )
    bars = trace[f"error_{value}"]
    assert trace[place] == ["p", "q"]
    assert trace[value] == [5, 6]
    assert bars["array"] == [2, None]
    assert bars["arrayminus"] == [0.5, None]
    assert bars["symmetric"] is False


def test_what_is_no_number_leaves_a_gap_and_arrays_are_taken() -> None:
    import numpy as np

    x, y = np.arange(3), np.array([1, np.nan, np.inf], dtype=np.float32)
    (line,) = figures.reference_line(x, y, "truth")
    assert (line["x"], line["y"]) == ([0, 1, 2], [1, None, None])
    assert line["line"]["dash"] == "dash"
    json.dumps(figures.figure([line], "x", "y"), allow_nan=False)


def test_a_logarithmic_range_is_given_in_the_unit_of_the_values() -> None:
    traces = figures.reference_line([1, 10], [1, 100], "truth")
    layout = figures.figure(traces, "x", "y", x_log=True, x_range=(1, 100), y_format=".0%")[
        "layout"
    ]
    assert layout["xaxis"] == {
        "title": {"text": "x"},
        "type": "log",
        "range": [0, 2],
        "tickvals": [1, 10, 100],
    }
    assert layout["yaxis"] == {"title": {"text": "y"}, "tickformat": ".0%"}


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([3, 40], [1, 2, 5, 10, 20, 50, 100, 200, 500]),
        ([1, 1000], [1, 10, 100, 1000]),
        ([1e-6, 1e6], [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6]),
        ([None, -1, 0, 100, 1], [1, 10, 100]),
    ],
)
def test_logarithmic_ticks_are_few_and_round(values: list[Any], ticks: list[float]) -> None:
    traces = figures.reference_line([1] * len(values), values, "truth")
    axis = figures.figure(traces, "x", "y", y_log=True)["layout"]["yaxis"]
    assert axis["tickvals"] == pytest.approx(ticks)


def test_series_over_the_same_categories_stand_side_by_side() -> None:
    one = figures.interval_points(["p", "q"], [1, 2], [0, 1], [2, 3], "one", 0, horizontal=True)
    two = figures.interval_points(["q", "p"], [2, 1], [1, 0], [3, 2], "two", 1, horizontal=True)
    truth = figures.reference_line([1.5, 1.5], ["p", "q"], "truth")
    traces = [*one, *two, *truth]
    drawn = figures.figure(traces, "x", "y")
    assert [trace["y"] for trace in drawn["data"]] == [[-0.08, 0.92], [1.08, 0.08], [0, 1]]
    axis = drawn["layout"]["yaxis"]
    assert (axis["tickvals"], axis["ticktext"]) == ([0, 1], ["p", "q"])
    assert axis["range"] == [1.5, -0.5]  # reads from the top
    assert one[0]["y"] == ["p", "q"]  # what the caller holds is not changed


def test_one_series_keeps_its_categories_and_reads_from_the_top() -> None:
    one = figures.interval_points(["p", "q"], [1, 2], [0, 1], [2, 3], "one", 0, horizontal=True)
    drawn = figures.figure(one, "x", "y")
    assert drawn["data"][0]["y"] == ["p", "q"]
    assert drawn["layout"]["yaxis"] == {"title": {"text": "y"}, "autorange": "reversed"}


def test_builders_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ArgumentError, match=r"line_with_band: .* lengths \[2, 1, 1, 1\]"):
        figures.line_with_band([1, 2], [1], [1], [1], "a", 0)
    with pytest.raises(ArgumentError, match=r"reference_line: .* lengths \[0, 0\]"):
        figures.reference_line([], [], "a")
    with pytest.raises(ArgumentError, match="at least one trace"):
        figures.figure([], "x", "y")
    with pytest.raises(ArgumentError, match="must be positive"):
        figures.figure([{}], "x", "y", y_log=True, y_range=(0, 1))


def test_thirty_series_differ_in_colour_or_marker() -> None:
    looks = set()
    for index in range(30):
        _, line = figures.line_with_band([1], [1], [0], [2], "a", index)
        looks.add((line["marker"]["color"], line["marker"]["symbol"]))
    assert len(looks) == 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_series_stand_out_from_the_page(scheme: figures.Scheme) -> None:
    # 3:1 is what WCAG 2.2, success criterion 1.4.11, asks of graphics.
    style = (Path(page.__file__).parent / "templates" / "style.css").read_text()
    papers = dict(zip(("light", "dark"), re.findall(r"--paper: (#\w{6});", style), strict=False))
    colours = figures.template(scheme)["layout"]["colorway"]
    assert len(set(colours)) == 6
    for colour in colours:
        assert contrast(colour, papers[scheme]) >= 3


def test_every_colour_of_a_trace_has_a_dark_twin() -> None:
    twins = figures.dark_colours()
    traces = figures.reference_line([1], [1], "r")
    for index in range(6):
        traces += figures.line_with_band([1], [1], [0], [2], "a", index)
        traces += figures.interval_points([1], [1], [0], [2], "a", index)
    written = set(re.findall(r'"(#\w{6}|rgba\([^)]*\))"', json.dumps(traces)))
    assert written == set(twins)
    assert not written & set(twins.values())


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
