"""Draw the figures of the documentation from committed evidence.

    python docs/figures/draw.py

Needs Chromium, which plotly draws with; playwright installs one, or finds Debian's.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import plotly.offline
from PIL import Image
from playwright.sync_api import sync_playwright

from sidle.ppcg import games, generators, playable
from sidle.ppcg.render import Renderer, sheet
from sidle.report import figures as draw
from sidle.studies import execution
from sidle.studies import mutual_information as study

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
WIDTH, HEIGHT = 960, 420


def bounds() -> dict[str, Any]:
    """Return what each bound reads, and beside it how much one batch varies, as one figure."""
    cells = study.cells(study.PRESETS["standard"])
    # Only what is committed: no run of this machine.
    places = execution.Places(ROOT / "no runs", ROOT / "evidence")
    records = list(execution.find_records(study.STUDY, cells, places).values())
    if len(records) < len(cells):
        raise SystemExit(f"evidence holds {len(records)} of {len(cells)} cells; run the study.")
    drawn = {figure.id: figure.plotly for figure in study.STUDY.figures(records)}
    left, right = drawn["estimates"], drawn["deviation-trained"]
    beside = [
        trace | {"xaxis": "x2", "yaxis": "y2", "showlegend": False} for trace in right["data"]
    ]
    layout = {
        "xaxis": left["layout"]["xaxis"] | {"domain": [0.0, 0.45]},
        "yaxis": left["layout"]["yaxis"] | {"range": [0, 14]},
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
    frames, captions = [], []
    stages = [playable.find(name) for name in generators.CONSTRUCTIVE]
    shape = max(s.shape[0] for s in stages), max(s.shape[1] for s in stages)
    for stage in stages:
        renderer = Renderer(stage.game, tile=16)
        for difficulty in difficulties:
            level = stage.generated(difficulty, 4)
            frames.append(renderer.level(stage.game.level(games.pad(level.characters, shape))))
            captions.append(f"{stage.title}, difficulty {difficulty:g}")
    Image.fromarray(sheet(frames, len(difficulties), captions=captions)).save(path, optimize=True)


def write_games(path: Path) -> None:
    """Draw a hand-made level of each game that is not the paper's."""
    stages = [playable.find(name) for name in games.names() if name not in generators.CONSTRUCTIVE]
    shape = max(s.shape[0] for s in stages), max(s.shape[1] for s in stages)
    levels = [games.pad(stage.levels[2].characters, shape) for stage in stages]
    frames = [
        Renderer(stage.game, tile=20).level(stage.game.level(level))
        for stage, level in zip(stages, levels, strict=True)
    ]
    captions = [stage.title for stage in stages]
    Image.fromarray(sheet(frames, 5, captions=captions)).save(path, optimize=True)


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
    write_svg(level_counts(), FOLDER / "ppcg-generators.svg")
    write_levels(FOLDER / "ppcg-levels.png")
    write_games(FOLDER / "ppcg-games.png")
