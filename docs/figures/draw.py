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
from playwright.sync_api import sync_playwright

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
