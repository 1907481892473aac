"""How plotly figures look in the report, and small builders for them.

The object all functions share is plain plotly JSON: a trace is a dictionary, a figure is
``{"data": [traces], "layout": {...}}``. Builders take plain sequences (NumPy arrays work too); a
value that is None, NaN or infinite leaves a gap. Colours are written as for a light page; the
report exchanges them for their twins in `dark_colours` on a dark one, and lays `template` under
the figure, so a figure holds its content and nothing of its looks.

Colours: blue, vermilion, green, pink, ochre and violet, in the spirit of the palette of Okabe and
Ito (https://jfly.uni-koeln.de/color/): neighbours differ in lightness as well as in hue, so that
they stay apart for colour-blind readers, and each has contrast 3 or more against the page. Marker
shapes change with the colour, so that no series is told apart by colour alone.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sidle.errors import ArgumentError

Trace = dict[str, Any]
Scheme = Literal["light", "dark"]

PALETTE = ("#0d4a80", "#d9590f", "#129b78", "#c65bab", "#54400f", "#7a6ff0")
_DARK_PALETTE = ("#4795f0", "#e27440", "#45e0b0", "#d070b0", "#f3cb45", "#d3cbff")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
_BAND_OPACITY = 0.18
_HOVER = "%{fullData.name}<br>%{hovertext}<extra></extra>"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_INK = {"light": "#3d464f", "dark": "#b9c2ca"}
_GRID = {"light": "#e4e6e3", "dark": "#2f363d"}
_AXIS = {"light": "#9aa3ab", "dark": "#5d6771"}
_HOVER_PAPER = {"light": "#ffffff", "dark": "#22282e"}
_HOVER_INK = {"light": "#1b2127", "dark": "#e6e9ec"}

# Traces that need neither the network (maps) nor code made from strings (WebGL), which a page
# read from disk under a strict content policy has not got.
_DRAWABLE = frozenset(
    {"bar", "box", "contour", "heatmap", "histogram", "histogram2d", "scatter", "violin"}
)


def line_with_band(
    x: Sequence[Any],
    mean: Sequence[Any],
    low: Sequence[Any],
    high: Sequence[Any],
    name: str,
    colour_index: int,
) -> list[Trace]:
    """Return a line through ``mean`` and, under it, the band from ``low`` to ``high``.

    Args:
        x: N numbers.
        mean: N numbers.
        low: N lower ends of the interval; None where it has none.
        high: N upper ends.
        name: of the series, in the legend.
        colour_index: which colour and marker, counted from 0; they repeat after 30.

    Raises:
        ArgumentError: the sequences differ in length or are empty.
    """
    xs, means, lows, highs = _columns("line_with_band", x, mean, low, high)
    rows = [row for row in zip(xs, lows, highs, strict=True) if None not in row]
    band = {
        "type": "scatter",
        "x": [row[0] for row in rows] + [row[0] for row in reversed(rows)],
        "y": [row[2] for row in rows] + [row[1] for row in reversed(rows)],
        "fill": "toself",
        "fillcolor": _band_colour(_of(PALETTE, colour_index)),
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "legendgroup": name,
        "showlegend": False,
    }
    line = {
        "type": "scatter",
        "x": xs,
        "y": means,
        "name": name,
        "legendgroup": name,
        "mode": "lines+markers",
        "line": {"color": _of(PALETTE, colour_index), "width": 2.25},
        "marker": _marker(colour_index, size=7 if len(xs) <= 24 else 4),
        "hovertext": _spans(means, lows, highs),
        "hovertemplate": _HOVER,
    }
    return [band, line]


def reference_line(
    x: Sequence[Any], y: Sequence[Any], name: str, *, dash: Literal["dash", "dot"] = "dash"
) -> list[Trace]:
    """Return a dashed line for values that were not measured: the paper's, or the truth.

    Args:
        x: N numbers or categories; two are enough for a straight line.
        y: N numbers, or categories for a line beside horizontal `interval_points`.
        name: what the values are, in the legend.
        dash: dotted tells a second reference from the first.

    Raises:
        ArgumentError: the sequences differ in length or are empty.
    """
    xs, ys = _columns("reference_line", x, y)
    line = {"color": _INK["light"], "width": 1.5, "dash": dash}
    return [
        {
            "type": "scatter",
            "x": xs,
            "y": ys,
            "name": name,
            "mode": "lines",
            "line": line,
            "hovertext": [_spell(value) for value in ys],
            "hovertemplate": _HOVER,
        }
    ]


def interval_points(
    x: Sequence[Any],
    mean: Sequence[Any],
    low: Sequence[Any],
    high: Sequence[Any],
    name: str,
    colour_index: int,
    *,
    horizontal: bool = False,
) -> list[Trace]:
    """Return points with error bars, for values that no line should join.

    Args:
        x: N numbers or categories.
        mean: N numbers.
        low: N lower ends of the interval; None where it has none.
        high: N upper ends.
        name: of the series, in the legend.
        colour_index: which colour and marker, counted from 0; they repeat after 30.
        horizontal: put ``x`` on the vertical axis, so that long categories stay legible.

    Raises:
        ArgumentError: the sequences differ in length or are empty.
    """
    xs, means, lows, highs = _columns("interval_points", x, mean, low, high)
    value, place = ("x", "y") if horizontal else ("y", "x")
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [_gap(to, of) for to, of in zip(highs, means, strict=True)],
        "arrayminus": [_gap(of, to) for to, of in zip(lows, means, strict=True)],
        "thickness": 2,
        "width": 6,
        "color": _of(PALETTE, colour_index),
    }
    return [
        {
            "type": "scatter",
            place: xs,
            value: means,
            f"error_{value}": bars,
            "name": name,
            "mode": "markers",
            "marker": _marker(colour_index, size=8),
            "hovertext": _spans(means, lows, highs),
            "hovertemplate": _HOVER,
        }
    ]


def figure(
    traces: Sequence[Trace],
    x_title: str,
    y_title: str,
    *,
    x_log: bool = False,
    y_log: bool = False,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    x_format: str = "",
    y_format: str = "",
) -> dict[str, Any]:
    """Return a figure of ``traces`` with named axes.

    Categories on the vertical axis read from the top. Several series of `interval_points` over
    the same categories stand side by side.

    Args:
        traces: as the builders above return them, joined into one list.
        x_title: what the horizontal axis shows, with its unit.
        y_title: what the vertical axis shows, with its unit.
        x_log: horizontal axis logarithmic.
        y_log: vertical axis logarithmic.
        x_range: ends of the horizontal axis, in the unit of the values; chosen if None.
        y_range: ends of the vertical axis.
        x_format: of the numbers on the axis in d3's language, such as ".0%"; chosen if empty.
        y_format: the same for the vertical axis.

    Raises:
        ArgumentError: no traces, or a logarithmic axis whose range is not positive.
    """
    if not traces:
        raise ArgumentError("figure: expected at least one trace, got none.")
    data = [dict(trace) for trace in traces]
    x_axis = _axis(x_title, x_log, x_range, x_format) | _categories(data, "x")
    y_axis = _axis(y_title, y_log, y_range, y_format) | _categories(data, "y")
    if x_log:
        x_axis |= _log_ticks(x_range or _values(data, "x"))
    if y_log:
        y_axis |= _log_ticks(y_range or _values(data, "y"))
    named = [trace for trace in traces if trace.get("showlegend", True)]
    layout = {"xaxis": x_axis, "yaxis": y_axis, "showlegend": len(named) > 1}
    return {"data": data, "layout": layout}


def template(scheme: Scheme) -> dict[str, Any]:
    """Return the plotly template that the report lays under its figures."""
    axis = {
        "automargin": True,
        "color": _INK[scheme],
        "gridcolor": _GRID[scheme],
        "linecolor": _AXIS[scheme],
        "tickcolor": _AXIS[scheme],
        "ticks": "outside",
        "ticklen": 4,
        "tickfont": {"size": 12},
        "title": {"font": {"size": 13}, "standoff": 10},
        "showline": True,
        "zeroline": False,
    }
    layout = {
        "font": {"family": _FONT, "size": 13, "color": _INK[scheme]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(PALETTE if scheme == "light" else _DARK_PALETTE),
        "margin": {"l": 8, "r": 22, "t": 12, "b": 8, "pad": 0},
        "xaxis": axis,
        "yaxis": axis,
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": _HOVER_PAPER[scheme],
            "bordercolor": _AXIS[scheme],
            "font": {"family": _FONT, "size": 13, "color": _HOVER_INK[scheme]},
            "namelength": -1,
        },
        "legend": {
            "orientation": "h",
            "xref": "container",
            "x": 0,
            "xanchor": "left",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "font": {"size": 13, "color": _INK[scheme]},
            "itemwidth": 30,
            "maxheight": 2000,
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": _AXIS[scheme],
            "activecolor": _INK[scheme],
        },
    }
    bar = {"outlinewidth": 0, "thickness": 14, "tickfont": {"size": 12, "color": _INK[scheme]}}
    shades = {"colorscale": "Cividis", "autocolorscale": False, "colorbar": bar}
    kinds = ("contour", "heatmap", "histogram2d")
    return {"layout": layout, "data": {kind: [{"type": kind, **shades}] for kind in kinds}}


def dark_colours() -> dict[str, str]:
    """Return what each colour that the builders write becomes on a dark page."""
    pairs = dict(zip(PALETTE, _DARK_PALETTE, strict=True))
    bands = {_band_colour(light): _band_colour(dark) for light, dark in pairs.items()}
    return {**pairs, **bands, _INK["light"]: _INK["dark"]}


def problem(plotly: Mapping[str, Any]) -> str | None:
    """Return why the report cannot draw a figure, or None if it can."""
    for index, trace in enumerate(plotly["data"]):
        kind = trace.get("type", "scatter")
        if kind not in _DRAWABLE:
            kinds = ", ".join(sorted(_DRAWABLE))
            return f"data[{index}].type: expected one of {kinds}, found {kind!r}"
    if "images" in plotly["layout"]:
        return "layout.images: expected none, a page that works offline cannot load them"
    return None


def escaped(value: Any, key: str = "") -> Any:
    """Return plotly JSON with its strings escaped, so that plotly draws each as it is written.

    Plotly reads a subset of HTML in every text (links and styles among it). What stays is a line
    break ``<br>``, and ``<extra></extra>`` in a hover template, which hides the box beside it.
    """
    if isinstance(value, str):
        text = html.escape(value, quote=False)
        kept = r"(/?extra|br)" if key == "hovertemplate" else r"(br)"
        return re.sub(rf"&lt;{kept}&gt;", r"<\1>", text)
    if isinstance(value, Mapping):
        return {name: escaped(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [escaped(part, key) for part in value]
    return value


def _columns(function: str, *columns: Sequence[Any]) -> list[list[Any]]:
    lengths = [len(column) for column in columns]
    if len(set(lengths)) != 1 or lengths[0] == 0:
        raise ArgumentError(
            f"{function}: expected sequences of one length, at least 1, got lengths {lengths}."
        )
    return [[_plain(value) for value in column] for column in columns]


def _plain(value: Any) -> float | str | None:
    """Return a JSON value: a category as it is, a number as float, None for what is no number."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def _spans(means: Sequence[Any], lows: Sequence[Any], highs: Sequence[Any]) -> list[str]:
    return [
        _spell(mean) if low is None or high is None else f"{mean:.4g} [{low:.4g}, {high:.4g}]"
        for mean, low, high in zip(means, lows, highs, strict=True)
    ]


def _spell(value: float | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _gap(upper: float | None, lower: float | None) -> float | None:
    return None if upper is None or lower is None else upper - lower


def _axis(
    title: str, log: bool, span: tuple[float, float] | None, number_format: str
) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title}}
    if log:
        axis["type"] = "log"
    if span is not None:
        if log and min(span) <= 0:
            raise ArgumentError(
                f"figure: the range of a logarithmic axis must be positive, got {span}."
            )
        axis["range"] = [math.log10(end) for end in span] if log else list(span)
    if number_format:
        axis["tickformat"] = number_format
    return axis


def _categories(traces: list[Trace], axis: Literal["x", "y"]) -> dict[str, Any]:
    """Return settings for the categories on ``axis``, if any; move series that would coincide.

    Plotly puts everything of a category in one place, so series are moved apart on a numeric
    axis whose ticks bear the names of the categories.
    """
    names = list(dict.fromkeys(v for v in _values(traces, axis) if isinstance(v, str)))
    if not names:
        return {}
    error = "error_y" if axis == "x" else "error_x"
    series = [trace for trace in traces if error in trace]
    settings: dict[str, Any] = {"autorange": "reversed"} if axis == "y" else {}
    if len(series) < 2:
        return settings
    step = min(0.16, 0.7 / len(series))
    shifts = [(index - (len(series) - 1) / 2) * step for index in range(len(series))]
    place = {name: index for index, name in enumerate(names)}
    for trace in traces:
        shift = next((s for s, one in zip(shifts, series, strict=True) if one is trace), 0.0)
        trace[axis] = [
            round(place[value] + shift, 3) if isinstance(value, str) else value
            for value in trace[axis]
        ]
    span = [-0.5, len(names) - 0.5]
    return {
        "range": span if axis == "x" else span[::-1],
        "tickvals": list(range(len(names))),
        "ticktext": names,
    }


def _log_ticks(values: Sequence[Any]) -> dict[str, Any]:
    """Return ticks for a logarithmic axis; left to itself, plotly writes some too small to read."""
    positive = [value for value in values if isinstance(value, float | int) and value > 0]
    if not positive:
        return {}
    first, last = math.log10(min(positive)), math.log10(max(positive))
    every = max(1, round((last - first) / 6))
    digits = (1,) if last - first >= 2 else (1, 2, 5)
    powers = range(math.floor(first), math.ceil(last) + 1, every)
    return {"tickvals": [digit * 10.0**power for power in powers for digit in digits]}


def _values(traces: Sequence[Trace], axis: str) -> list[Any]:
    return [value for trace in traces for value in trace.get(axis, ())]


def _marker(colour_index: int, size: int) -> dict[str, Any]:
    return {
        "color": _of(PALETTE, colour_index),
        "symbol": _of(_SYMBOLS, colour_index),
        "size": size,
    }


def _of(cycle: Sequence[str], index: int) -> str:
    return cycle[index % len(cycle)]


def _band_colour(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{_BAND_OPACITY})"
