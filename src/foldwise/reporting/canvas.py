"""What all charts share: the figure, the theme, colours, axes, lines with bands.

Every figure carries a title that says what to see, a note that says of how many what, and the
numbers it draws as a table. Colours are mid-tones that read on white and on near-black.
"""

import json
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from foldwise.results.studies import StudyResults

PALETTE = ["#3b82c4", "#d97706", "#0f9d8a", "#c2559d", "#8a8f1f", "#d1495b", "#7c6cc4", "#8b8f98"]
SAME = "#8b8f98"
BAND_NOTE = "band: 15th to 85th percentile over splits"

Chart = alt.Chart | alt.LayerChart


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    label: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart and what goes with it.

    Attributes:
        name: unique in its study, usable in a file name.
        title: what to see.
        note: of how many what, under which protocol.
        chart: without title, as wide as its container.
        table: the numbers that are drawn.
        keys: the legend.
    """

    name: str
    title: str
    note: str
    chart: Chart
    table: pd.DataFrame
    keys: tuple[Key, ...] = ()

    @property
    def spec(self) -> dict[str, Any]:
        """Vega-Lite for the page, which adds theme, title and legend in HTML."""
        chart = self.chart.properties(width="container", description=f"{self.title}. {self.note}")
        spec: dict[str, Any] = chart.to_dict(validate=False)
        spec.pop("config", None)  # Altair's own default sizes
        data = spec["datasets"].items()
        spec["datasets"] = {k: json.loads(v) if isinstance(v, str) else v for k, v in data}
        return spec | {"autosize": {"type": "fit-x", "contains": "padding"}}

    def standalone(self, width: int = 560) -> Chart:
        """The chart with title, legend and white background, for PNG and SVG files."""
        title, note = textwrap.wrap(self.title, width // 9), textwrap.wrap(self.note, width // 6)
        heading = alt.TitleParams(text=title, subtitle=note)
        chart: Chart = on_white(self.chart.properties(width=width, title=heading))
        return chart


def on_white(chart: Any) -> Any:
    """A chart for a picture of its own, with margins and dark ink."""
    return chart.properties(background="white", padding=12).configure(**theme("#1f2328"))


def theme(ink: str) -> dict[str, Any]:
    """The Vega-Lite theme, all text and lines in one ink (`currentColor` on the page)."""
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    return {
        "font": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif",
        "background": "transparent",
        "view": {"stroke": None},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": ink,
            "gridOpacity": 0.12,
            "domainColor": ink,
            "domainOpacity": 0.4,
            "tickColor": ink,
            "tickOpacity": 0.4,
            "labelLimit": 220,
            "labelOverlap": "greedy",
            "labelSeparation": 8,
        },
        "legend": {
            **text,
            "orient": "top",
            "columns": 2,
            "labelLimit": 320,
            "title": None,
            "symbolOpacity": 1,
        },
        "title": {
            "color": ink,
            "subtitleColor": ink,
            "anchor": "start",
            "fontSize": 14,
            "subtitleFontSize": 11,
            "offset": 12,
        },
        "text": {"color": ink, "fill": ink, "fontSize": 12},
    }


def variant_keys(study: StudyResults, names: Collection[str]) -> tuple[Key, ...]:
    """The legend of some variants: the same colour in every chart, dashed when they run out."""
    return tuple(
        Key(result.name, PALETTE[i % len(PALETTE)], i >= len(PALETTE))
        for i, result in enumerate(study.results)
        if result.name in names
    )


def lines(
    table: pd.DataFrame,
    keys: Sequence[Key],
    x: alt.X,
    y: alt.Y,
    columns: tuple[str, str, str] = ("mean", "low", "high"),
    edges: bool = False,
) -> alt.LayerChart:
    """Lines with a band behind each.

    Args:
        table: the label of a row's key, what is on the horizontal axis, and the columns.
        keys: the legend.
        x: the horizontal axis.
        y: the vertical axis, of the lower end of the band.
        columns: the line, the lower and the upper end of its band.
        edges: whether the band has lines at its ends.
    """
    middle, low, high = columns
    base = coloured(table, keys).encode(x=x)
    band = base.mark_area(opacity=0.15, clip=True).encode(y=y, y2=alt.Y2(f"{high}:Q"))
    ends = [base.mark_line(strokeWidth=0.7).encode(y=f"{end}:Q") for end in (low, high)]
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y(f"{middle}:Q"),
        strokeDash=dashes(table, keys),
        tooltip=tooltips(table, *table.columns[:2], *columns),
    )
    return layered(band, *(ends if edges else []), line)


def coloured(table: pd.DataFrame, keys: Sequence[Key]) -> alt.Chart:
    """Marks in the colours of their keys, whose labels are the first column of the table."""
    scale = colour_scale({key.label: key.colour for key in keys})
    chart: alt.Chart = alt.Chart(inline(table)).encode(
        color=alt.Color(f"{table.columns[0]}:N", scale=scale)
    )
    return chart


def dashes(table: pd.DataFrame, keys: Sequence[Key]) -> alt.StrokeDash:
    """Lines that are solid or dashed as their keys are."""
    patterns = [[5, 3] if key.dashed else [1, 0] for key in keys]
    scale = alt.Scale(domain=[key.label for key in keys], range=patterns)
    return alt.StrokeDash(f"{table.columns[0]}:N", scale=scale)


def layered(*charts: alt.Chart) -> alt.LayerChart:
    """Charts on top of each other."""
    chart: Any = alt.layer(*charts)
    stack: alt.LayerChart = chart
    return stack


def zero_line() -> alt.Chart:
    """A line at no difference."""
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}]))
    line: alt.Chart = zero.mark_rule(color=SAME, strokeDash=[2, 2]).encode(x=alt.X("zero:Q"))
    return line


def signed_axis(
    field: str, title: str, domain: tuple[float, float], grid: bool = True, start: str = "0"
) -> alt.X:
    """A horizontal axis of differences; `start` is an expression for its left end."""
    signed = "datum.value == 0 ? '0' : format(datum.value, '+~r')"
    axis = alt.Axis(labelExpr=signed, tickCount=5, grid=grid)
    ends = [alt.expr(start), alt.expr("width")]
    scale = alt.Scale(domain=list(domain), nice=True, range=ends)
    return alt.X(field, title=title, axis=axis, scale=scale)


def domain_of(values: Iterable[float]) -> tuple[float, float]:
    """From the least to the greatest value, and a little more."""
    drawn = [float(value) for value in values]
    margin = 0.05 * (max(drawn) - min(drawn)) or 1.0
    return min(drawn) - margin, max(drawn) + margin


def colour_scale(colours: Mapping[str, str]) -> alt.Scale:
    """Name → colour as a scale."""
    return alt.Scale(domain=list(colours), range=list(colours.values()))


def tooltips(table: pd.DataFrame, *fields: str) -> list[alt.Tooltip]:
    """What a mark says under the pointer."""
    floats = {name for name in fields if pd.api.types.is_float_dtype(table[name])}
    return [
        alt.Tooltip(f"{name}:Q", format=".4~r") if name in floats else alt.Tooltip(f"{name}:N")
        for name in fields
    ]


def inline(table: pd.DataFrame) -> alt.InlineData:
    """A table as data inside the chart."""
    # As text: Altair copies and checks every value of a list, which takes most of its time.
    records = table.to_json(orient="records")
    return alt.InlineData(values=records, format=alt.JsonDataFormat(type="json"))


def sampled(table: pd.DataFrame, count: int = 10) -> pd.DataFrame:
    """About so many points of each line (as in the first column), for the table below a chart."""
    parts = [
        part.iloc[np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).astype(int))]
        for _, part in table.groupby(table.columns[0], sort=False)
    ]
    return pd.concat(parts)
