"""What all charts share: the figure, the theme, colours, axes, lines with bands.

Every figure carries a title that says what to see, a note that says of how many what, and the
numbers it draws as a table. Colours are mid-tones that read on white and on near-black.
"""

import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from foldwise.results.studies import StudyResults

PALETTE = ["#3b82c4", "#d97706", "#0f9d8a", "#c2559d", "#8a8f1f", "#d1495b", "#7c6cc4", "#8b8f98"]
SAME = "#8b8f98"
SOLID, DASHED = [1, 0], [5, 3]
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
        description = f"{self.title}. {self.note}"
        return to_spec(self.chart.properties(width="container", description=description))

    def standalone(self, width: int = 560) -> Chart:
        """The chart with title, legend and white background, for PNG and SVG files."""
        title, note = wrapped(self.title, width // 9), wrapped(self.note, width // 6)
        heading = alt.TitleParams(text=title, subtitle=note)
        chart: Chart = on_white(self.chart.properties(width=width, title=heading))
        return chart


def on_white(chart: Any) -> Any:
    """A chart for a picture of its own, with margins and dark ink."""
    return chart.properties(background="white", padding=12).configure(**theme("#1f2328"))


def wrapped(text: str, characters: int) -> list[str]:
    """A text in lines: Vega breaks none."""
    return textwrap.wrap(text, characters)


def to_spec(chart: Chart) -> dict[str, Any]:
    """Vega-Lite without Altair's own default sizes; the theme belongs to the page."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec.pop("config", None)
    spec["datasets"] = {name: _rows(data) for name, data in spec["datasets"].items()}
    return spec | {"autosize": {"type": "fit-x", "contains": "padding"}}


def _rows(data: Any) -> Any:
    return json.loads(data) if isinstance(data, str) else data


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


def variant_colours(study: StudyResults) -> dict[str, str]:
    """The same colour for a variant in every chart."""
    return {r.name: PALETTE[i % len(PALETTE)] for i, r in enumerate(study.results)}


def variant_dashes(study: StudyResults) -> dict[str, list[int]]:
    """Solid lines for as many variants as there are colours, dashed ones after them."""
    return {r.name: DASHED if i >= len(PALETTE) else SOLID for i, r in enumerate(study.results)}


def variant_keys(study: StudyResults) -> tuple[Key, ...]:
    """The legend of a chart with a mark for every variant that has scores."""
    colours, dashes = variant_colours(study), variant_dashes(study)
    names = [result.name for result in study.complete]
    return tuple(Key(name, colours[name], dashes[name] == DASHED) for name in names)


def lines(
    table: pd.DataFrame,
    group: str,
    colours: Mapping[str, str],
    dashes: Mapping[str, list[int]],
    unit: str,
    top: float | None = None,
) -> alt.LayerChart:
    """Mean lines over epochs with a band behind each.

    Args:
        table: epoch, mean, low, high, and the group that a row belongs to.
        group: the column that tells the lines apart.
        colours: group → colour, in the order of the legend.
        dashes: group → dash pattern.
        unit: title of the vertical axis.
        top: its end, where it starts at 0; by default it fits the data.
    """
    used = {name: colour for name, colour in colours.items() if name in set(table[group])}
    colour = alt.Color(f"{group}:N", scale=colour_scale(used))
    base = alt.Chart(inline(table)).encode(x=_epoch_axis(table), color=colour)
    scale = alt.Scale(zero=False) if top is None else alt.Scale(domain=[0, top])
    area = base.mark_area(opacity=0.15, clip=True).encode(
        y=alt.Y("low:Q", title=unit, scale=scale), y2=alt.Y2("high:Q")
    )
    dash = alt.Scale(domain=list(used), range=[dashes[name] for name in used])
    line = base.mark_line(strokeWidth=2, clip=True).encode(
        y=alt.Y("mean:Q"),
        strokeDash=alt.StrokeDash(f"{group}:N", scale=dash),
        tooltip=tooltips(table, group, "epoch", "mean", "low", "high"),
    )
    return layered(area, line)


def layered(*charts: alt.Chart) -> alt.LayerChart:
    """Charts on top of each other."""
    chart: Any = alt.layer(*charts)
    stack: alt.LayerChart = chart
    return stack


def _epoch_axis(table: pd.DataFrame) -> alt.X:
    first, last = int(table["epoch"].min()), int(table["epoch"].max())
    axis = alt.Axis(tickMinStep=1, format="d", grid=False, tickCount=min(last, 8))
    return alt.X("epoch:Q", scale=alt.Scale(domain=[first, last], nice=False), axis=axis)


def rope_region(rope: float, x: alt.X) -> alt.Chart:
    """The region of practical equivalence, over the whole height."""
    region = alt.Chart(inline(pd.DataFrame({"difference": [-rope], "to": [rope]})))
    marked: alt.Chart = region.mark_rect(opacity=0.2, color=SAME).encode(x=x, x2=alt.X2("to:Q"))
    return marked


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
    finite = [float(value) for value in values]
    margin = 0.05 * (max(finite) - min(finite)) or 1.0
    return min(finite) - margin, max(finite) + margin


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


def sampled(table: pd.DataFrame, group: str, columns: list[str], count: int = 10) -> pd.DataFrame:
    """About so many points of each line, for the table below a chart."""
    parts = [
        part.iloc[np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).astype(int))]
        for _, part in table.groupby(group, sort=False)
    ]
    return pd.concat(parts)[columns]
