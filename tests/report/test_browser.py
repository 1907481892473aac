"""The page in a real browser, opened from disk: what is drawn, and that nothing else happens."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sidle.report import figures, page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext
    from playwright.sync_api import Page as Tab

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
PAPER = {"light": "rgb(251, 251, 249)", "dark": "rgb(21, 25, 29)"}

# Contrast (WCAG 2) of each visible text with what is painted behind it; the worst comes back.
WORST_CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (top, under) => top.slice(0, 3).map(
    (c, i) => c * (top[3] ?? 1) + under[i] * (1 - (top[3] ?? 1)));
  const behind = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return (own[3] ?? 1) === 1 ? own : over(own, behind(element.parentElement));
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map(
      (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let worst = { ratio: 21, text: "" };
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("script, noscript")) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [over(colour, behind(element)), behind(element)].map(luminance);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    seen += 1;
    if (ratio < worst.ratio) worst = { ratio, text };
  }
  return { ...worst, seen };
}"""

# Elements that reach beyond the window, but for what lies in a container that scrolls.
SPILLED = """() => [...document.body.querySelectorAll("*")]
  .filter((e) => !e.closest(".scroll, .visually-hidden, thead, svg") && e.checkVisibility())
  .filter((e) => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map((e) => e.outerHTML.slice(0, 80))"""

# Texts that reach beyond the figure they belong to.
CUT_OFF = """() => [...document.querySelectorAll(".plot svg text")].filter((text) => {
  if (text.matches(".annotation-text")) return false; // placed by the study, not by the page
  const [inner, outer] = [text, text.closest(".plot")].map((e) => e.getBoundingClientRect());
  return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1
    || inner.top < outer.top - 1 || inner.bottom > outer.bottom + 1);
}).map((text) => text.textContent)"""


@dataclass
class Visit:
    """A page opened in a tab, with all that it said, asked for and tried."""

    tab: Tab
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def wait(self) -> None:
        """Wait until all figures are drawn."""
        self.tab.wait_for_selector("html[data-figures=drawn]", timeout=20_000)

    def show(self, scheme: str, size: dict[str, int]) -> None:
        """Switch colours and window, and wait until the figures have followed."""
        self.tab.emulate_media(color_scheme=scheme, media="screen")  # type: ignore[arg-type]
        self.tab.set_viewport_size(size)  # type: ignore[arg-type]
        # Two frames: the page hears of the change in the first.
        self.tab.evaluate(
            "() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
        )
        self.wait()

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element, with white space made single."""
        return [" ".join(text.split()) for text in self.tab.locator(selector).all_inner_texts()]


def open_page(context: BrowserContext, path: Path) -> Visit:
    visit = Visit(context.new_page())
    visit.tab.on("console", lambda message: visit.console.append(message.text))
    visit.tab.on("pageerror", lambda error: visit.console.append(str(error)))
    context.on("request", lambda request: visit.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        visit.dialogs.append(dialog.message)
        dialog.dismiss()

    visit.tab.on("dialog", dismiss)
    visit.tab.goto(path.as_uri())
    visit.wait()
    return visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the path")
    switches = (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
    )
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[f"--{switch}" for switch in switches]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(
    browser: Browser, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    path = page.build(runs, tmp_path_factory.mktemp("report"))
    context = browser.new_context(viewport=DESK, reduced_motion="reduce")  # type: ignore[arg-type]
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit = open_page(context, path)
    yield visit
    # Whatever the tests did, the page said nothing and asked the network for nothing.
    assert visit.console == []
    assert visit.requests == [path.as_uri()]
    assert visit.dialogs == []
    context.close()


@pytest.fixture
def desk(report: Visit) -> Visit:
    report.show("light", DESK)
    return report


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn(report: Visit, scheme: str, size: dict[str, int]) -> None:
    report.show(scheme, size)
    plots = report.tab.locator(".plot")
    assert plots.count() == 5
    for index in range(5):
        box = plots.nth(index).locator(".main-svg").first.bounding_box()
        assert box is not None
        assert 300 <= box["width"] <= size["width"]
        assert box["height"] >= 280
    estimates = plots.nth(0)
    lengths = estimates.locator(".scatterlayer .js-line").evaluate_all(
        "es => es.map((e) => e.getTotalLength())"
    )
    assert sum(length > 150 for length in lengths) >= 5  # four bounds and the truth
    bands = estimates.locator(".js-fill").evaluate_all("es => es.map((e) => e.getBBox().height)")
    assert len(bands) == 4
    assert min(bands) > 10
    assert estimates.locator(".points path.point").count() == 4 * 10
    dashes = estimates.locator(".scatterlayer .js-line").evaluate_all(
        "es => es.map((e) => getComputedStyle(e).strokeDasharray).filter((d) => d !== 'none')"
    )
    assert len(dashes) == 1
    probes = plots.nth(2)
    bars = probes.locator(".errorbar path").evaluate_all("es => es.map((e) => e.getBBox().width)")
    assert len(bars) == 2 * 4
    assert min(bars) > 2
    image = plots.nth(4).locator(".heatmaplayer image").bounding_box()
    assert image is not None
    assert min(image["width"], image["height"]) > 100


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_figures_are_legible_and_the_legend_lies_below(report: Visit, size: dict[str, int]) -> None:
    report.show("light", size)
    sizes = report.tab.locator(".plot svg text").evaluate_all(
        "es => es.filter((e) => e.textContent).map((e) => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert len(sizes) > 40
    assert min(sizes) >= 12
    assert report.tab.evaluate(CUT_OFF) == []
    plot = report.tab.locator(".plot").first
    legend = plot.locator("g.legend").bounding_box()
    title = plot.locator(".xtitle").bounding_box()
    frame = plot.bounding_box()
    assert legend
    assert title
    assert frame
    assert legend["y"] >= title["y"] + title["height"]
    assert legend["y"] + legend["height"] <= frame["y"] + frame["height"] + 1
    assert legend["x"] + legend["width"] <= frame["x"] + frame["width"] + 1
    assert plot.locator("g.legend .legendtext").all_text_contents() == [
        "InfoNCE, batch 64",
        "InfoNCE, batch 512",
        "NWJ, self-normalised",
        "MINE",
        "true information",
    ]
    long_name = report.tab.locator(".plot").nth(3).locator("g.legend .legendtext").first
    lines = long_name.locator("tspan.line").all_text_contents() or long_name.all_text_contents()
    assert " ".join(lines) == "codes learned without labels, probe on the mean of the utterance"
    assert (len(lines) > 1) == (size is PHONE)


def test_a_pointer_is_told_the_value_and_its_interval(desk: Visit) -> None:
    area = desk.tab.locator(".plot").first.locator(".nsewdrag")
    area.scroll_into_view_if_needed()
    point = desk.tab.locator(".plot").first.locator(".points path.point").nth(9).bounding_box()
    assert point
    desk.tab.mouse.move(point["x"] + point["width"] / 2 - 3, point["y"] + point["height"] / 2)
    desk.tab.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2, steps=3)
    label = desk.tab.locator(".hoverlayer .hovertext")
    label.wait_for()
    assert label.text_content() == "InfoNCE, batch 643.176 [3.036, 3.316]"
    desk.tab.mouse.move(0, 0)


def test_the_overview_counts_what_was_decided(desk: Visit) -> None:
    (lead,) = desk.texts(".lead")
    assert lead == "5 of 9 claims decided. 3 hold, 2 do not hold, 4 are undecided."
    assert "at most 0.175 wrong verdicts expected" in desk.texts("#overview p")[1]
    rows = desk.texts(".study-row")
    assert len(rows) == 3
    assert rows[0] == (
        "How much can be told apart On Variational Bounds of Mutual Information Poole, Ozair, "
        "van den Oord, Alemi, Tucker, 2019 quick 10 of 10 42 s 1 holds 1 does not hold 1 undecided"
    )
    assert "standard 10 of 10 32 min 11 s" in rows[1]
    assert rows[2].endswith("quick 3 of 5 1 h 02 min 1 holds 2 undecided")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_every_claim_has_its_row_interval_and_verdict(report: Visit, size: dict[str, int]) -> None:
    report.show("light", size)
    assert report.tab.get_by_role("row").filter(has_text="Section 4.1").count() == 9
    assert report.texts(".claim .verdict .chip") == [
        *("holds", "undecided", "does not hold") * 2,
        *("holds", "undecided", "undecided"),
    ]
    assert report.texts(".claim .numbers")[:3] == [
        "1.842 [1.711, 1.973]",
        "0.13 [−0.04, 0.30]",
        "−0.062 [−0.155, 0.031]",
    ]
    assert report.texts(".claim .number") == [
        *("> 0.5", "5", "> 0", "5", "> 0.1", "5") * 2,
        *("> 0.05", "5", "> 0", "1", "> 0", "0"),
    ]
    assert report.texts(".claim .verdict")[8] == "undecided No seed has all its cells yet."
    strips = report.tab.locator(".claim .forest")
    assert strips.count() == 8  # one claim has no data
    for index in range(8):
        box = strips.nth(index).bounding_box()
        assert box
        assert box["width"] > 120


def test_a_verdict_can_be_read_off_the_strip(desk: Visit) -> None:
    """The bar lies in the shaded part, across its border, or outside, as the verdict says."""
    strips = (
        desk.tab.locator(".claims")
        .first.locator(".forest")
        .evaluate_all(
            """es => es.map((e) => [".beyond", ".extent"].map((part) => {
             const { left, right } = e.querySelector(part).getBoundingClientRect();
             return { left, right };
           }))"""
        )
    )
    (shade, bar) = strips[0]
    assert shade["left"] < bar["left"] < bar["right"] < shade["right"]
    (shade, bar) = strips[1]
    assert bar["left"] < shade["left"] < bar["right"]
    (shade, bar) = strips[2]
    assert bar["right"] < shade["left"]


def test_the_details_hold_settings_data_machine_and_cells(desk: Visit) -> None:
    details = desk.tab.locator("details")
    assert details.count() == 3
    assert details.nth(0).locator("table").first.is_hidden()
    for index in (0, 2):
        details.nth(index).locator("summary").click()
    pairs = desk.texts("details .pairs tr")
    for row in (
        "batch_size 64",
        'critics ["separable", "joint"]',
        "learning_rate 0.0005",
        "use_momentum true",
        "correlation_schedule staircase",
        f"digest {'5f0e1d2c' * 8}",
        "processor AMD EPYC 7B13",
        "torch 2.13.0",
        "negatives same speaker",
    ):
        assert row in pairs
    cells = desk.texts("details .cell")
    assert len([row for row in cells if row]) == 15
    assert cells[-5:] == [
        "cpc-seed-0 finished 8.1 s run folder present code",
        "cpc-seed-1 finished 7.9 s evidence file present code",
        "cpc-seed-2 finished 8.4 s evidence file other code",
        "cpc-seed-3 failed NonFiniteError: the loss was NaN. – – –",
        "cpc-seed-4 missing – – –",
    ]
    for index in (0, 2):
        details.nth(index).locator("summary").click()


def test_the_button_copies_the_command(desk: Visit) -> None:
    button = desk.tab.get_by_role("button", name="Copy").nth(1)
    button.click()
    desk.tab.get_by_role("button", name="Copied").wait_for()
    copied = desk.tab.evaluate("navigator.clipboard.readText()")
    assert copied == "sidle run mutual-information --preset standard"
    assert desk.texts("[role=status]").count("Command copied") == 1


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_makes_the_page_scroll_sideways(report: Visit, size: dict[str, int]) -> None:
    report.show("light", size)
    report.tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert report.tab.evaluate("document.documentElement.scrollWidth") == size["width"]
    assert report.tab.evaluate(SPILLED) == []
    report.tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = false })")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colour_scheme_and_stays_legible(report: Visit, scheme: str) -> None:
    report.show(scheme, DESK)
    report.tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    background = report.tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == PAPER[scheme]
    worst = report.tab.evaluate(WORST_CONTRAST)
    assert worst["seen"] > 250
    assert worst["ratio"] >= 4.5, worst
    assert drawn_line_colour(report) == line_colour(scheme)
    report.tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = false })")


def test_paper_gets_the_light_colours_even_from_a_dark_screen(report: Visit) -> None:
    report.show("dark", DESK)
    report.tab.emulate_media(media="print", color_scheme="dark")
    report.tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    report.tab.locator(".plot[data-width='660']").first.wait_for()
    assert drawn_line_colour(report) == line_colour("light")
    assert report.tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert report.tab.locator("nav").is_hidden()
    report.tab.emulate_media(media="screen", color_scheme="dark")
    report.tab.evaluate("dispatchEvent(new Event('afterprint'))")
    report.show("dark", DESK)
    assert drawn_line_colour(report) == line_colour("dark")


def drawn_line_colour(visit: Visit) -> str:
    line = visit.tab.locator(".plot").first.locator(".scatterlayer .js-line").nth(1)
    return str(line.evaluate("e => getComputedStyle(e).stroke"))


def line_colour(scheme: str) -> str:
    colour = figures.PALETTE[0] if scheme == "light" else figures.dark_colours()[figures.PALETTE[0]]
    return "rgb({}, {}, {})".format(*bytes.fromhex(colour[1:]))


def test_the_keyboard_reaches_the_content_first_and_sees_where_it_is(desk: Visit) -> None:
    desk.tab.evaluate("document.activeElement.blur(); scrollTo({top: 0, behavior: 'instant'})")
    desk.tab.reload()
    desk.wait()
    desk.tab.keyboard.press("Tab")
    focus = "() => [document.activeElement.textContent, document.activeElement.hash]"
    assert desk.tab.evaluate(focus) == ["Skip to content", "#content"]
    top = desk.tab.evaluate("document.activeElement.getBoundingClientRect().top")
    assert top >= 0
    desk.tab.keyboard.press("Tab")
    outline = desk.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    del desk.requests[1:]  # the reload


def test_headings_captions_and_names_are_there_for_those_who_listen(desk: Visit) -> None:
    levels = desk.tab.locator("h1, h2, h3, h4").evaluate_all("es => es.map((e) => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    steps = [after - before for before, after in itertools.pairwise(levels)]
    assert max(steps) == 1
    tables = desk.tab.locator("table")
    assert tables.count() == desk.tab.locator("table > caption").count() > 0
    for role in ("region", "group", "img", "navigation"):
        nameless = desk.tab.locator(f"[role={role}]:not([aria-label]):not([aria-labelledby])")
        assert nameless.count() == 0
    labels = desk.tab.locator(".forest").first.get_attribute("aria-label")
    assert labels == "Mean 1.842 [1.711, 1.973] nats; margin 0.5"


def test_the_contents_stick_and_mark_what_is_being_read(desk: Visit) -> None:
    target = desk.tab.locator("section.study").nth(1)
    target.evaluate("e => e.scrollIntoView({ behavior: 'instant' })")
    current = desk.tab.locator(".contents [aria-current]")
    current.filter(has_text="Representations that predict").wait_for()
    assert current.count() == 1
    box = current.bounding_box()
    assert box
    assert 0 <= box["y"] <= DESK["height"]


def test_hostile_text_runs_nothing_and_is_shown_as_it_is(
    browser: Browser,
    summary: dict[str, Any],
    write_summary: Callable[..., Path],
    tmp_path: Path,
) -> None:
    attacks = (
        "<script>window.hacked=1</script>",
        "</script><script>window.hacked=1</script>",
        '"><img src=x onerror="window.hacked=1">',
        "<a href='javascript:window.hacked=1'>a</a> &amp; \u2028",
    )
    for index, hostile in enumerate(attacks):
        attacked = {
            **summary,
            "study": hostile,
            "preset": hostile,
            "title": hostile,
            "overview": hostile,
            "command": hostile,
            "settings": {hostile: hostile},
            "machine": {hostile: hostile},
        }
        attacked["paper"] = {
            "title": hostile,
            "authors": hostile,
            "year": 1,
            "url": "javascript:window.hacked=1",
        }
        free = ("id", "sentence", "source", "effect", "unit", "reason")
        attacked["claims"] = [
            {**claim, **dict.fromkeys(free, hostile)} for claim in summary["claims"]
        ]
        attacked["cells"] = [
            {**cell, "name": hostile, "status": "failed", "error": hostile}
            for cell in summary["cells"]
        ]
        traces = figures.interval_points([hostile, "b"], [1, 2], [0, 1], [2, 3], hostile, 0)
        traces += figures.reference_line([hostile, "b"], [1, 2], "reference")
        drawn = figures.figure(traces, hostile, hostile)
        drawn["layout"]["annotations"] = [
            {
                "text": hostile,
                "x": 0.5,
                "y": 0.5,
                "xref": "paper",
                "yref": "paper",
                "showarrow": False,
            }
        ]
        attacked["figures"] = [
            {"id": hostile, "title": hostile, "caption": hostile, "plotly": drawn}
        ]
        write_summary(tmp_path / "runs", attacked, f"attack{index}")
    path = page.build(tmp_path / "runs", tmp_path / "report")
    context = browser.new_context(viewport=PHONE, reduced_motion="reduce")  # type: ignore[arg-type]
    visit = open_page(context, path)
    visit.tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    print(visit.console)
    print(visit.tab.evaluate(SPILLED))
    assert visit.tab.evaluate("window.hacked") is None
    assert visit.tab.locator("img, a[href^='javascript'], svg a").count() == 0
    assert visit.tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert visit.tab.evaluate(CUT_OFF) == []
    drawn_texts = (".plot .legendtext:first-child", ".plot .annotation-text", ".plot .xtitle")
    for selector in ("h2", ".command code", "figcaption", *drawn_texts):
        # Lines may break anywhere; the characters must all be there.
        texts = {"".join(text.split()) for text in visit.tab.locator(selector).all_text_contents()}
        assert {"".join(text.split()) for text in attacks} <= texts, selector
    assert visit.console == []
    assert visit.requests == [path.as_uri()]
    assert visit.dialogs == []
    context.close()
