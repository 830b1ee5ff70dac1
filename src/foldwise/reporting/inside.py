"""Charts of what happened inside the networks of one split, by layer, while they were trained.

One split was measured, so all of this describes; it decides nothing.
"""

import functools
import math
import textwrap
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from foldwise.numerics.split import split_name
from foldwise.reporting import tidy
from foldwise.reporting.canvas import (
    Chart,
    Figure,
    Key,
    coloured,
    dashes,
    lines,
    on_white,
    sampled,
    tooltips,
    variant_keys,
)
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers
from foldwise.wording.sentences import marked

ROWS = 64  # of the probe batch: `diagnostics.ROWS`, whose module imports torch
OUTPUT = "output layer"
PERCENTILES = ("p50", "p15", "p85")

Keys = tuple[Key, ...]
Drawn = tuple[str, str, pd.DataFrame, Chart]  # name, title, what is drawn, chart


@dataclass(frozen=True)
class Panel:
    """Small charts of one quantity, one per layer, with one legend."""

    heading: str
    note: str
    keys: Keys
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Quantity:
    """A column of the diagnostics: how it is drawn, and told by its greatest and least value."""

    column: str
    heading: str
    unit: str
    note: str
    ends: str
    greatest: str
    least: str
    show: Callable[[float], str]
    factor: float = 1.0  # shares are drawn in percent
    log: bool = False

    def title(self, ends: dict[str, float]) -> str:
        """Which variant ends highest, and which lowest; variant → value at the end."""
        top, bottom = _extremes(ends)
        if ends[top] == ends[bottom]:
            return f"{self.ends} at {self.show(ends[top])} in every variant drawn"
        high, low = self.show(ends[top]), self.show(ends[bottom])
        return f"{self.greatest} in {top} ({high}), {self.least} in {bottom} ({low})"


QUANTITIES = (
    Quantity(
        "saturated",
        "Saturated values",
        "saturated (% of values)",
        "Share of a sigmoid's or tanh's values within 2 % of its range from an end, where it no "
        "longer responds.",
        "saturation ends",
        "saturation ends highest",
        "least",
        numbers.percent,
        factor=100,
    ),
    Quantity(
        "dead",
        "Dead units",
        "dead (% of units)",
        "Share of ReLU units that are 0 on every probe row and so learn nothing from them.",
        "dead units end",
        "most dead units at the end",
        "fewest",
        numbers.percent,
        factor=100,
    ),
    Quantity(
        "gradient_norm",
        "Gradient norm",
        "gradient norm (log scale)",
        "Norm of the gradient of the mean loss, over the weights of the layer.",
        "gradient ends",
        "gradient ends largest",
        "smallest",
        numbers.short,
        log=True,
    ),
    Quantity(
        "update_ratio",
        "Update to weight",
        "update / weight (log scale)",
        "Norm of one step's change of the layer's weights, relative to their norm.",
        "steps end",
        "steps end largest",
        "smallest",
        numbers.short,
        log=True,
    ),
)


def introduction(study: StudyResults) -> str:
    """What was measured, and how much that can say."""
    count = _measured(study)["step"].nunique()
    return (
        f"Measured {count} times while the networks of split {_split(study)} were trained, on "
        f"the same {ROWS} of its training rows. One split, so there is no spread: this describes, "
        f"and decides nothing. “At the end” is the median of the last {tidy.LAST} measurements."
    )


def panels(study: StudyResults) -> list[Panel]:
    """The diagnostics of a study: a panel of charts per quantity, a chart per layer."""
    table = _measured(study)
    if table.empty:
        return []
    hidden = table[table["place"] != OUTPUT]
    hidden = hidden[np.isfinite(hidden[[*PERCENTILES]].to_numpy()).all(axis=1)]
    inputs = (
        "Inputs of the nonlinearity (after BatchNorm where there is one): line, their median; "
        "band, 15th to 85th percentile."
    )
    found = [_panel(study, hidden, "Pre-activations", inputs, _preactivations)]
    for quantity in QUANTITIES:
        present = table[np.isfinite(table[quantity.column])]
        if quantity.log:
            present = present[present[quantity.column] > 0]
        draw = functools.partial(_chart, quantity)
        found.append(_panel(study, present, quantity.heading, quantity.note, draw))
    return [panel for panel in found if panel.figures]


def picture(study: StudyResults, width: int = 220) -> dict[str, Any] | None:
    """All of the diagnostics as one Vega-Lite picture, three charts in a row, with a legend."""
    figures = [figure for panel in panels(study) for figure in panel.figures]
    if not figures:
        return None
    charts: list[Any] = []
    for figure in figures:
        title = alt.TitleParams(text=textwrap.wrap(figure.title, width // 6), fontSize=11)
        charts.append(figure.chart.properties(width=width, title=title))
    heading = alt.TitleParams(
        text=marked(f"{study.name}: inside the networks, by layer", study.comparison.synthetic),
        subtitle=textwrap.wrap(introduction(study), 3 * width // 6),
    )
    whole = on_white(alt.concat(*charts, columns=3).properties(title=heading))
    spec: dict[str, Any] = whole.to_dict(validate=False)
    return spec


def _probed(study: StudyResults) -> list[Result]:
    """The variants inside of which something was measured."""
    return [result for result in study.complete if len(run_of(result).diagnostics)]


def _measured(study: StudyResults) -> pd.DataFrame:
    """Their diagnostics with the columns variant and place: "layer 1" … or "output layer"."""
    parts = []
    for result in _probed(study):
        table = run_of(result).diagnostics
        last = table["layer"].max()
        places = [OUTPUT if n == last else f"layer {n}" for n in table["layer"]]
        parts.append(table.assign(variant=result.name, place=places))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _split(study: StudyResults) -> str:
    """The name of the probed split."""
    probes = (run_of(result).manifest.variant.training.probe for result in _probed(study))
    return ", ".join(sorted({split_name(*probe) for probe in probes}))


def _panel(
    study: StudyResults,
    table: pd.DataFrame,
    heading: str,
    note: str,
    draw: Callable[[pd.DataFrame, Keys], Drawn],
) -> Panel:
    note = f"{note} Split {_split(study)}, {ROWS} rows; one training each, no spread."
    layers, figures = table.groupby("place")["layer"].max().to_dict(), []
    for place in sorted(layers, key=lambda place: (place == OUTPUT, layers[place])):
        part = table[table["place"] == place]
        keys = variant_keys(study, set(part["variant"]))
        name, title, drawn, chart = draw(part, keys)
        figures.append(
            Figure(
                name=f"{name}-{place}".replace("_", "-").replace(" ", "-"),
                title=marked(f"{str(place).capitalize()}: {title}", study.comparison.synthetic),
                note=note,
                chart=chart.properties(height=150),
                table=sampled(drawn, 5),
                keys=keys,
            )
        )
    return Panel(heading, note, variant_keys(study, set(table["variant"])), tuple(figures))


def _chart(quantity: Quantity, part: pd.DataFrame, keys: Keys) -> Drawn:
    column = quantity.column
    drawn = _rounded(part, [column], quantity.factor)
    values = drawn[column].to_numpy()
    scale = alt.Scale(domain=[0, max(1.0, float(values.max()))], nice=True)
    axis = alt.Axis(tickCount=4, format="~r")
    if quantity.log:
        low, high = math.floor(np.log10(values.min())), math.ceil(np.log10(values.max()))
        scale = alt.Scale(type="log")
        axis = alt.Axis(tickCount=4, format="~g", values=[10.0**n for n in range(low, high + 1)])
    chart = coloured(drawn, keys).mark_line(strokeWidth=1.5)
    chart = chart.encode(
        x=_steps(drawn),
        y=alt.Y(f"{column}:Q", title=quantity.unit, scale=scale, axis=axis),
        strokeDash=dashes(drawn, keys),
        tooltip=tooltips(drawn, *drawn.columns),
    )
    return column, quantity.title(_ends(part, column)), drawn, chart


def _preactivations(part: pd.DataFrame, keys: Keys) -> Drawn:
    """As Figure 1 of the BatchNorm paper (Ioffe & Szegedy 2015): percentiles of the inputs."""
    drawn = _rounded(part, sorted(PERCENTILES))
    low, high = (_ends(part, column) for column in ("p15", "p85"))
    widest, narrowest = _extremes({name: high[name] - low[name] for name in low})

    def span(name: str) -> str:
        return f"{name} ({numbers.short(low[name])} to {numbers.short(high[name])})"

    title = f"inputs end widest in {span(widest)}"
    title += f", narrowest in {span(narrowest)}" if widest != narrowest else ""
    y = alt.Y("p15:Q", title="pre-activation (no unit)", axis=alt.Axis(tickCount=5))
    chart = lines(drawn, keys, _steps(drawn), y, PERCENTILES, edges=True)
    return "pre-activations", title, drawn, chart


def _rounded(part: pd.DataFrame, columns: Collection[str], factor: float = 1) -> pd.DataFrame:
    """Variant, step and these columns, as they are drawn."""
    shown = {name: tidy.rounded(factor * part[name].to_numpy(), 4) for name in columns}
    return part[["variant", "step"]].assign(**shown)


def _steps(drawn: pd.DataFrame) -> alt.X:
    short = "datum.value ? format(datum.value, '~s') : '0'"
    axis = alt.Axis(grid=False, tickCount=4, labelExpr=short)
    scale = alt.Scale(domain=[0, int(drawn["step"].max())], nice=False)
    return alt.X("step:Q", title="training step (batches)", axis=axis, scale=scale)


def _ends(part: pd.DataFrame, column: str) -> dict[str, float]:
    variants = part.groupby("variant", sort=False)
    return {str(name): tidy.at_the_end(rows, column) for name, rows in variants}


def _extremes(values: dict[str, float]) -> tuple[str, str]:
    """The names of the greatest and of the least value."""
    return max(values, key=lambda k: values[k]), min(values, key=lambda k: values[k])
