"""The page about one finding: complete in itself, escaped, and refusing what it cannot draw."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from sidle.errors import ArgumentError
from sidle.report import figures, sheet

PICTURE = figures.figure(figures.reference_line([0, 1], [0.2, 0.4], "a line"), "place", "error")
SHEET = sheet.Sheet(
    title="Are a.pt and b.pt linearly connected?",
    verdict="does not hold",
    answer="Not linearly connected on this data",
    lead="The interval lies above the threshold.",
    notes=["A note.", "Another one."],
    figures=[sheet.Figure("Error on the line", "What to see.", PICTURE)],
    tables=[sheet.Table("The numbers", ("", "test"), [("error of A", "7.0 %"), ("n", "450")])],
    facts={"points": 30, "model": "networks:small"},
    command="sidle barrier a.pt b.pt",
    written="sidle barrier",
)


class Text(HTMLParser):
    """Everything that is shown, and every address that is followed."""

    def __init__(self, html):
        super().__init__()
        self.shown, self.addresses, self.tags, self._inside = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        self.addresses += [v for k, v in attributes if k in ("href", "src") and v[:1] != "#"]

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside[-1:]):
            self.shown.append(data)


def test_everything_is_said():
    said = " ".join(" ".join(Text(sheet.render(SHEET)).shown).split())
    for text in (
        SHEET.title, SHEET.answer, SHEET.lead, *SHEET.notes, "Error on the line", "What to see.",
        "The numbers", "error of A 7.0 %", "points 30", "networks:small", SHEET.command,
    ):  # fmt: skip
        assert text in said, text
    assert 'class="chip does-not-hold"' in sheet.render(SHEET)


def test_it_needs_nothing_else(tmp_path):
    sheet.write(SHEET, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(address.startswith("data:") for address in Text(html).addresses)
    assert 'http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;' in html
    targets = set(re.findall(r'href="#([^"]+)"', html))
    assert targets <= set(re.findall(r'id="([^"]+)"', html))


def test_texts_are_taken_literally():
    hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{{ 7 * 7 }}"
    attacked = dataclasses.replace(
        SHEET,
        title=hostile,
        answer=hostile,
        lead=hostile,
        notes=[hostile],
        figures=[sheet.Figure(hostile, hostile, PICTURE)],
        tables=[sheet.Table(hostile, (hostile, hostile), [(hostile, hostile)])],
        facts={hostile: hostile},
        command=hostile,
        written=hostile,
    )
    plain, found = Text(sheet.render(SHEET)), Text(sheet.render(attacked))
    assert "img" not in found.tags
    assert found.tags.count("script") == plain.tags.count("script")
    assert hostile in " ".join(found.shown)


def test_refuses_figures_that_cannot_be_drawn():
    bad = sheet.Figure("A map", "", {"data": [{"type": "scattergeo"}], "layout": {}})
    with pytest.raises(ArgumentError, match="'A map' cannot be drawn"):
        sheet.render(dataclasses.replace(SHEET, figures=[bad]))
