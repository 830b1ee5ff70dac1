"""Charts of what happened inside the networks of one split, by layer, while they were trained.

One split was measured, so all of this describes; it decides nothing.
"""

import math
from collections.abc import Callable
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
    colour_scale,
    inline,
    layered,
    on_white,
    sampled,
    tooltips,
    variant_colours,
    variant_dashes,
    variant_keys,
    wrapped,
)
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers
from foldwise.wording.sentences import marked

ROWS = 64  # of the probe batch: `diagnostics.ROWS`, whose module imports torch
HEIGHT = 150  # pixels
STEPS = "training step (batches)"

Ends = dict[str, float]  # variant -> value at the end
Title = Callable[[Ends], str]


@dataclass(frozen=True)
class Panel:
    """Small charts of one quantity, one per layer, with one legend."""

    heading: str
    note: str
    keys: tuple[Key, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Quantity:
    """A column of the diagnostics and how it is drawn and told."""

    column: str
    heading: str
    unit: str
    note: str
    title: Title
    factor: float = 1.0  # shares are drawn in percent
    log: bool = False


# --- tables -----------------------------------------------------------------------------------


def measured(study: StudyResults) -> pd.DataFrame:
    """Diagnostics of all variants that have scores, with the columns variant and place.

    `place` is "layer 1" … or "output layer".
    """
    tables = {result.name: run_of(result).diagnostics for result in _probed(study)}
    parts = [t.assign(variant=name, place=_places(t["layer"])) for name, t in tables.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _probed(study: StudyResults) -> list[Result]:
    """The variants inside of which something was measured."""
    return [result for result in study.complete if len(run_of(result).diagnostics)]


def _places(layer: "pd.Series[int]") -> list[str]:
    last = layer.max()
    return ["output layer" if n == last else f"layer {n}" for n in layer]


def split_of(study: StudyResults) -> str:
    """The name of the probed split."""
    probes = {
        split_name(*run_of(result).manifest.variant.training.probe) for result in _probed(study)
    }
    return ", ".join(sorted(probes))


def introduction(study: StudyResults) -> str:
    """What was measured, and how much that can say."""
    count = measured(study)["step"].nunique()
    return (
        f"Measured {count} times while the networks of split {split_of(study)} were trained, on "
        f"the same {ROWS} of its training rows. One split, so there is no spread: this describes, "
        f"and decides nothing. “At the end” is the median of the last {tidy.LAST} measurements."
    )


def _by_place(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each layer, the output layer last."""
    layers = table.groupby("place")["layer"].max().to_dict()
    order = sorted(layers, key=lambda place: (place == "output layer", layers[place]))
    return [(str(place), table[table["place"] == place]) for place in order]


def _of_how_many(study: StudyResults) -> str:
    return f"Split {split_of(study)}, {ROWS} rows; one training each, no spread."


# --- charts -----------------------------------------------------------------------------------


def _extremes(what: str, low: str, high: str, show: Callable[[float], str]) -> Title:
    """A title that names the variants with the greatest and the least value."""

    def title(ends: Ends) -> str:
        top, bottom = max(ends, key=lambda k: ends[k]), min(ends, key=lambda k: ends[k])
        if ends[top] == ends[bottom]:
            return f"{what} at {show(ends[top])} in every variant drawn"
        return f"{high} in {top} ({show(ends[top])}), {low} in {bottom} ({show(ends[bottom])})"

    return title


QUANTITIES = (
    Quantity(
        "saturated",
        "Saturated values",
        "saturated (% of values)",
        "Share of a sigmoid's or tanh's values within 2 % of its range from an end, where it no "
        "longer responds.",
        _extremes("saturation ends", "least", "saturation ends highest", numbers.percent),
        factor=100,
    ),
    Quantity(
        "dead",
        "Dead units",
        "dead (% of units)",
        "Share of ReLU units that are 0 on every probe row and so learn nothing from them.",
        _extremes("dead units end", "fewest", "most dead units at the end", numbers.percent),
        factor=100,
    ),
    Quantity(
        "gradient_norm",
        "Gradient norm",
        "gradient norm (log scale)",
        "Norm of the gradient of the mean loss, over the weights of the layer.",
        _extremes("gradient ends", "smallest", "gradient ends largest", numbers.short),
        log=True,
    ),
    Quantity(
        "update_ratio",
        "Update to weight",
        "update / weight (log scale)",
        "Norm of one step's change of the layer's weights, relative to their norm.",
        _extremes("steps end", "smallest", "steps end largest", numbers.short),
        log=True,
    ),
)


def panels(study: StudyResults) -> list[Panel]:
    """The diagnostics of a study: a panel of charts per quantity, a chart per layer."""
    table = measured(study)
    if table.empty:
        return []
    drawn = [_panel(study, table, quantity) for quantity in QUANTITIES]
    return [panel for panel in (_preactivations(study, table), *drawn) if panel.figures]


def picture(study: StudyResults, width: int = 220) -> dict[str, Any] | None:
    """All of the diagnostics as one Vega-Lite picture, three charts in a row, with a legend."""
    figures = [figure for panel in panels(study) for figure in panel.figures]
    if not figures:
        return None
    charts: list[Any] = [_titled(figure, width) for figure in figures]
    heading = alt.TitleParams(
        text=marked(f"{study.name}: inside the networks, by layer", study.comparison.synthetic),
        subtitle=wrapped(introduction(study), 3 * width // 6),
    )
    whole = on_white(alt.concat(*charts, columns=3).properties(title=heading))
    spec: dict[str, Any] = whole.to_dict(validate=False)
    return spec


def _titled(figure: Figure, width: int) -> Chart:
    title = alt.TitleParams(text=wrapped(figure.title, width // 6), fontSize=11)
    chart: Chart = figure.chart.properties(width=width, title=title)
    return chart


def _panel(study: StudyResults, table: pd.DataFrame, quantity: Quantity) -> Panel:
    present = table[np.isfinite(table[quantity.column])]
    if quantity.log:
        present = present[present[quantity.column] > 0]
    figures = (_figure(study, place, part, quantity) for place, part in _by_place(present))
    keys = _keys(study, present)
    return Panel(quantity.heading, f"{quantity.note} {_of_how_many(study)}", keys, tuple(figures))


def _figure(study: StudyResults, place: str, part: pd.DataFrame, quantity: Quantity) -> Figure:
    column = quantity.column
    drawn = part[["variant", "step", column]].assign(
        **{column: tidy.rounded(quantity.factor * part[column].to_numpy(), 4)}
    )
    ends = _ends(part, column)
    share = alt.Scale(domain=[0, max(1.0, float(drawn[column].max()))], nice=True)
    scale = alt.Scale(type="log") if quantity.log else share
    decades = _decades(drawn[column]) if quantity.log else alt.Undefined
    ticks = alt.Axis(tickCount=4, format="~g" if quantity.log else "~r", values=decades)
    base = _base(study, drawn)
    chart = base.mark_line(strokeWidth=1.5).encode(
        y=alt.Y(f"{column}:Q", title=quantity.unit, scale=scale, axis=ticks),
        strokeDash=_dash(study, drawn),
        tooltip=tooltips(drawn, "variant", "step", column),
    )
    return Figure(
        name=f"{column.replace('_', '-')}-{place.replace(' ', '-')}",
        title=marked(f"{place.capitalize()}: {quantity.title(ends)}", study.comparison.synthetic),
        note=f"{quantity.note} {_of_how_many(study)}",
        chart=chart.properties(height=HEIGHT),
        table=sampled(drawn, "variant", drawn.columns.tolist(), 5),
        keys=_keys(study, part),
    )


def _preactivations(study: StudyResults, table: pd.DataFrame) -> Panel:
    """As Figure 1 of the BatchNorm paper (Ioffe & Szegedy 2015): percentiles of the inputs."""
    note = (
        "Inputs of the nonlinearity (after BatchNorm where there is one): line, their median; "
        f"band, 15th to 85th percentile. {_of_how_many(study)}"
    )
    hidden = table[table["place"] != "output layer"]
    hidden = hidden[np.isfinite(hidden[["p15", "p50", "p85"]].to_numpy()).all(axis=1)]
    figures = (_percentiles(study, place, part, note) for place, part in _by_place(hidden))
    return Panel("Pre-activations", note, _keys(study, hidden), tuple(figures))


def _percentiles(study: StudyResults, place: str, part: pd.DataFrame, note: str) -> Figure:
    drawn = part[["variant", "step", "p15", "p50", "p85"]].copy()
    for column in ("p15", "p50", "p85"):
        drawn[column] = tidy.rounded(part[column].to_numpy(), 4)
    ends = {column: _ends(part, column) for column in ("p15", "p85")}
    widths = {name: ends["p85"][name] - ends["p15"][name] for name in ends["p15"]}

    def span(name: str) -> str:
        low, high = (numbers.short(ends[column][name]) for column in ("p15", "p85"))
        return f"{name} ({low} to {high})"

    widest, narrowest = max(widths, key=lambda k: widths[k]), min(widths, key=lambda k: widths[k])
    title = f"inputs end widest in {span(widest)}"
    title += f", narrowest in {span(narrowest)}" if widest != narrowest else ""
    base = _base(study, drawn)
    y = alt.Y("p15:Q", title="pre-activation (no unit)", axis=alt.Axis(tickCount=5))
    band = base.mark_area(opacity=0.15).encode(y=y, y2=alt.Y2("p85:Q"))
    edges = [base.mark_line(strokeWidth=0.7).encode(y=f"{column}:Q") for column in ("p15", "p85")]
    line = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("p50:Q"),
        strokeDash=_dash(study, drawn),
        tooltip=tooltips(drawn, "variant", "step", "p15", "p50", "p85"),
    )
    return Figure(
        name=f"pre-activations-{place.replace(' ', '-')}",
        title=marked(f"{place.capitalize()}: {title}", study.comparison.synthetic),
        note=note,
        chart=layered(band, *edges, line).properties(height=HEIGHT),
        table=sampled(drawn, "variant", drawn.columns.tolist(), 5),
        keys=_keys(study, part),
    )


def _base(study: StudyResults, drawn: pd.DataFrame) -> alt.Chart:
    """Steps to the right, a colour per variant."""
    colours = variant_colours(study)
    used = {name: colours[name] for name in dict.fromkeys(drawn["variant"])}
    short = "datum.value ? format(datum.value, '~s') : '0'"
    axis = alt.Axis(grid=False, tickCount=4, labelExpr=short)
    scale = alt.Scale(domain=[0, int(drawn["step"].max())], nice=False)
    base: alt.Chart = alt.Chart(inline(drawn)).encode(
        x=alt.X("step:Q", title=STEPS, axis=axis, scale=scale),
        color=alt.Color("variant:N", scale=colour_scale(used)),
    )
    return base


def _dash(study: StudyResults, drawn: pd.DataFrame) -> alt.StrokeDash:
    dashes = variant_dashes(study)
    used = {name: dashes[name] for name in dict.fromkeys(drawn["variant"])}
    return alt.StrokeDash("variant:N", scale=alt.Scale(domain=list(used), range=[*used.values()]))


def _decades(values: "pd.Series[float]") -> list[float]:
    low, high = (np.log10(end) for end in (values.min(), values.max()))
    return [10.0**power for power in range(math.floor(low), math.ceil(high) + 1)]


def _ends(part: pd.DataFrame, column: str) -> Ends:
    variants = part.groupby("variant", sort=False)
    return {str(name): tidy.at_the_end(rows, column) for name, rows in variants}


def _keys(study: StudyResults, part: pd.DataFrame) -> tuple[Key, ...]:
    present = set(part["variant"])
    return tuple(key for key in variant_keys(study) if key.label in present)
