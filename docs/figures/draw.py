"""Draw the figures of the documentation from committed evidence.

    SIDLE_DATA=../shared/data python docs/figures/draw.py

Needs the data of the studies, whose digests name their evidence, and Chromium, which plotly draws
with; playwright installs one, or finds Debian's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import plotly.offline
from PIL import Image
from playwright.sync_api import sync_playwright

from sidle.ppcg import games, generators, pictures, playable
from sidle.ppcg.render import PAPER, Frame, Renderer, sheet
from sidle.report import figures as draw
from sidle.studies import connectivity, execution, level_generation, mutual_information

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
WIDTH, HEIGHT = 960, 420
FRAME_WIDTH, FRAME_HEIGHT = 416, 290  # of a level, pixels


def bounds() -> dict[str, Any]:
    """Return what each bound reads, and beside it how much one batch varies, as one figure."""
    drawn = figures_of(mutual_information)
    left, right = drawn["estimates"], drawn["deviation-trained"]
    left["layout"]["yaxis"]["range"] = [0, 14]
    right["data"] = [trace | {"showlegend": False} for trace in right["data"]]
    return side_by_side(left, right)


def instabilities() -> dict[str, Any]:
    """Return when training settles, and beside it how stable tickets are, as one figure."""
    drawn = figures_of(connectivity)
    left = drawn["instability-resnet-cifar10"]
    right = drawn["instability-by-sparsity-resnet-cifar10"]
    *tickets, _ = right["data"]  # the limit has its place in the legend from the left
    kept = [x for line in tickets for x in line["x"]]
    limit = left["data"][0] | {"x": [min(kept), 1], "showlegend": False}
    right["data"] = [*recoloured(tickets, 3), limit]
    return side_by_side(left, right)


def generalisation() -> dict[str, Any]:
    """Return the levels won in Zelda by their difficulty, and beside it in Frogs, as one figure."""
    drawn = figures_of(level_generation)
    left, right = drawn["zelda-generalisation"], drawn["frogs-generalisation"]
    named = {trace.get("name") for trace in left["data"]}
    right["data"] = [
        trace | ({"showlegend": False} if trace.get("name") in named else {})
        for trace in right["data"]
    ]
    figure = side_by_side(left, right)
    figure["layout"]["margin"]["t"] = 40
    figure["layout"]["annotations"] = [
        {"text": text, "x": x, "y": 1.08, "xref": "paper", "yref": "paper", "showarrow": False}
        for text, x in (("Zelda", 0.225), ("Frogs", 0.775))
    ]
    return figure


def recoloured(traces: list[dict[str, Any]], first: int) -> list[dict[str, Any]]:
    """Return lines with bands in the colours from the one numbered ``first`` on."""
    found = []
    for number, (band, line) in enumerate(zip(traces[::2], traces[1::2], strict=True)):
        n = len(band["y"]) // 2
        high, low = band["y"][:n], band["y"][n:][::-1]
        found += draw.line_with_band(line["x"], line["y"], low, high, line["name"], first + number)
    return found


def figures_of(study: ModuleType) -> dict[str, Any]:
    """Return the plotly figures of a study's standard preset by id, from committed evidence."""
    cells = study.cells(study.PRESETS["standard"])
    # Only what is committed: no run of this machine.
    places = execution.Places(ROOT / "no runs", ROOT / "evidence")
    records = list(execution.find_records(study.STUDY, cells, places).values())
    if len(records) < len(cells):
        raise SystemExit(f"evidence holds {len(records)} of {len(cells)} cells; run the study.")
    return {figure.id: figure.plotly for figure in study.STUDY.figures(records)}


def side_by_side(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return two figures as one."""
    beside = [trace | {"xaxis": "x2", "yaxis": "y2"} for trace in right["data"]]
    layout = {
        "xaxis": left["layout"]["xaxis"] | {"domain": [0.0, 0.45]},
        "yaxis": left["layout"]["yaxis"],
        "xaxis2": right["layout"]["xaxis"] | {"domain": [0.55, 1.0], "anchor": "y2"},
        "yaxis2": right["layout"]["yaxis"] | {"anchor": "x2"},
        "legend": {"orientation": "h", "x": 0.02, "y": -0.22},
        "margin": {"l": 60, "r": 20, "t": 20, "b": 90},
        "paper_bgcolor": "#ffffff",
        "template": draw.template("light"),
    }
    return {"data": left["data"] + beside, "layout": layout}


def level_counts() -> dict[str, Any]:
    """Return what each generator places by difficulty, and the published means, as one figure."""
    path = ROOT / "benchmarks" / "results" / "generators.json"
    counted = json.loads(path.read_text(encoding="utf-8"))
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "margin": {"l": 50, "r": 20, "t": 40, "b": 50},
        "paper_bgcolor": "#ffffff",
        "template": draw.template("light"),
        "showlegend": False,
        "annotations": [],
    }
    for panel, name in enumerate(generators.CONSTRUCTIVE):
        axis = "" if panel == 0 else str(panel + 1)
        left = panel * 0.26
        layout[f"xaxis{axis}"] = {
            "domain": [left, left + 0.2],
            "anchor": f"y{axis}",
            "title": {"text": "difficulty"},
            "range": [-0.05, 1.3],
            "tickvals": [0, 0.5, 1],
        }
        layout[f"yaxis{axis}"] = {"anchor": f"x{axis}", "rangemode": "tozero"}
        heading = {"text": name.capitalize(), "x": left + 0.1, "y": 1.08, "showarrow": False}
        layout["annotations"].append(heading | {"xref": "paper", "yref": "paper"})
        rows = [row for row in counted["counted"] if row["game"] == name]
        for colour, row in zip(draw.PALETTE, rows, strict=False):
            where = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
            line = {"x": counted["difficulties"], "y": row["means"], "mode": "lines"}
            points = {"x": [0, 0.5, 1], "y": row["published"], "mode": "markers"}
            traces.append(line | where | {"line": {"color": colour, "width": 2}})
            traces.append(points | where | {"marker": {"color": colour, "size": 8}})
            layout["annotations"].append(
                {
                    "text": row["what"],
                    "x": 1.03,
                    "y": row["means"][-1],
                    "xref": f"x{axis}",
                    "yref": f"y{axis}",
                    "xanchor": "left",
                    "showarrow": False,
                    "font": {"color": colour, "size": 12},
                }
            )
    return {"data": traces, "layout": layout}


def write_levels(path: Path) -> None:
    """Draw a level of each of the paper's games at five difficulties."""
    difficulties = (0.0, 0.25, 0.5, 0.75, 1.0)
    sheets = []
    for name in generators.CONSTRUCTIVE:
        stage = playable.find(name)
        renderer = fitting(stage, stage.shape)
        frames = [
            centred(renderer.level(stage.generated(difficulty, seed)), height=0)
            for seed, difficulty in enumerate(difficulties)
        ]
        captions = [f"{stage.title}, difficulty {difficulty:g}" for difficulty in difficulties]
        sheets.append(sheet(frames, len(difficulties), captions=captions))
    Image.fromarray(np.concatenate(sheets)).save(path, optimize=True)


def write_games(path: Path) -> None:
    """Draw a hand-made level of each game."""
    frames, captions = [], []
    for name in games.names():
        stage, level = playable.find(name), games.load(name).levels[2]
        made = stage.game.level(level)
        renderer = fitting(stage, (made.height, made.width))
        frames.append(centred(renderer.level(made), height=FRAME_HEIGHT))
        captions.append(stage.title)
    Image.fromarray(sheet(frames, 6, captions=captions)).save(path, optimize=True)


def write_pictures(path: Path) -> None:
    """Draw every picture that ``img=`` may name."""
    side = 72
    floor = pictures.pixels(pictures.Look("floor", pictures.PICTURES["floor"].colour), 0, side)
    frames = []
    for name, picture in pictures.PICTURES.items():
        variant = 2 if picture.faces else 15 if picture.joins else 0  # to the right; standing alone
        drawn = pictures.pixels(pictures.Look(name, picture.colour), variant, side)
        alpha = drawn[..., 3:] / 255.0
        frames.append(np.uint8(alpha * drawn[..., :3] + (1.0 - alpha) * floor[..., :3] + 0.5))
    captions = list(pictures.PICTURES)
    Image.fromarray(sheet(frames, 13, captions=captions)).save(path, optimize=True)


def fitting(stage: playable.Playable, shape: tuple[int, int]) -> Renderer:
    """Return a renderer whose levels of ``shape`` just fit into a frame."""
    tile = min(FRAME_HEIGHT // shape[0], FRAME_WIDTH // shape[1])
    return Renderer(stage.game, tile=tile)


def centred(picture: Frame, *, height: int) -> Frame:
    """Return a picture in the middle of paper as wide as a frame and at least ``height`` high."""
    high, wide = max(height, picture.shape[0]), FRAME_WIDTH
    paper = np.full((high, wide, 3), PAPER, np.uint8)
    top, left = (high - picture.shape[0]) // 2, (wide - picture.shape[1]) // 2
    paper[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return paper


def write_svg(figure: dict[str, Any], path: Path) -> None:
    """Let plotly draw the figure in a browser and keep its SVG."""
    browser_path = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_content("<div id='plot'></div>")
        page.add_script_tag(content=plotly.offline.get_plotlyjs())
        svg = page.evaluate(
            """async ([figure, width, height]) => {
                const made = await Plotly.newPlot("plot", figure.data, figure.layout);
                const url = await Plotly.toImage(made, {format: "svg", width, height});
                return decodeURIComponent(url.slice(url.indexOf(",") + 1));
            }""",
            [json.loads(json.dumps(figure)), WIDTH, HEIGHT],
        )
        browser.close()
    path.write_text(svg + "\n")


if __name__ == "__main__":
    write_svg(bounds(), FOLDER / "mi-bounds.svg")
    write_svg(instabilities(), FOLDER / "lmc-instability.svg")
    write_svg(generalisation(), FOLDER / "ppcg-generalisation.svg")
    write_svg(level_counts(), FOLDER / "ppcg-generators.svg")
    write_levels(FOLDER / "ppcg-levels.png")
    write_games(FOLDER / "ppcg-games.png")
    write_pictures(FOLDER / "ppcg-pictures.png")
