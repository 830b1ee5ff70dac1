"""Charts of comparisons: the story in one picture, paired differences, the posterior.

They are of the study's primary metric, in its unit, and know whether more of it is better.
"""

from collections.abc import Iterable, Sequence

import altair as alt
import numpy as np
import pandas as pd

from foldwise.metrics import METRICS, Metric
from foldwise.reporting import tidy
from foldwise.reporting.canvas import (
    SAME,
    Figure,
    Key,
    colour_scale,
    domain_of,
    inline,
    layered,
    rope_region,
    signed_axis,
    tooltips,
    zero_line,
)
from foldwise.results.comparisons import Pair
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers
from foldwise.wording.sentences import Context, data_of, marked, splits_of, versus

WIDE = alt.param(name="wide", expr="width > 600")  # labels beside the bars, not above them
BETTER, WORSE = "#3b82c4", "#d97706"
VERDICTS = {"Helps": BETTER, "Hurts": WORSE, "Practically the same": SAME, "Inconclusive": SAME}
PARTS = {"worse": WORSE, "practically the same": SAME, "better": BETTER}  # of the posterior


# --- overview ---------------------------------------------------------------------------------


def overview(studies: Sequence[StudyResults], row: int = 76) -> Figure | None:
    """The story in one picture: the mean difference of every pair, its CI, and the rope.

    Studies with other primary metrics have no unit in common, so their gains are drawn in
    multiples of the rope.

    Args:
        studies: whose pairs.
        row: height of a pair in pixels; a narrow chart, with text above the bars, needs 76.
    """
    studies = [study for study in studies if study.comparison.made]
    if not studies:
        return None
    metrics = {study.comparison.metric: METRICS[study.comparison.metric] for study in studies}
    metric = next(iter(metrics.values())) if len(metrics) == 1 else None
    table = _overview_table(studies, in_ropes=metric is None)
    width = min(320, 7 * int(table[["b", "a", "answer"]].map(len).to_numpy().max()) + 16)
    axis = _axis_title(metric) if metric else "gain (multiples of the rope)"
    chart = layered(*_overview_marks(table, width, axis)).add_params(WIDE)
    counts = table["verdict"].value_counts()
    title = "Does it help? " + ", ".join(
        f"{counts[name]}\u00a0×\u00a0{name}" for name in VERDICTS if name in counts
    )
    return Figure(
        name="overview",
        title=marked(title, any(study.comparison.synthetic for study in studies)),
        note=f"{_overview_note(metric)} Grey: practically the same. {_studies_note(studies)}",
        chart=chart.properties(height=row * len(table)),
        table=table.drop(columns=["row", "answer"]),
    )


def _overview_note(metric: Metric | None) -> str:
    interval = "with the corrected 95 % confidence interval"
    if metric is None:
        return (
            f"Mean gain of the first-named variant over paired splits, {interval}, in multiples of "
            "each study's rope; right of 0 it is better."
        )
    return (
        f"Mean difference in held-out {metric.title} over paired splits, B − A, {interval}; "
        f"{_better_side(metric)} of 0 the first-named variant is better."
    )


def _overview_table(studies: Iterable[StudyResults], in_ropes: bool) -> pd.DataFrame:
    rows = []
    for study in studies:
        context = Context.of(study.comparison)
        metric, rope = context.metric, context.rope
        factor = metric.direction / rope if in_ropes else numbers.scale(metric).factor
        for pair in study.comparison.made:
            low, high = sorted(factor * end for end in pair.ci95)
            drawn = tidy.rounded([factor * pair.mean, low, high, abs(factor) * rope])
            rows.append(
                {
                    "study": study.name,
                    "b": pair.b,
                    "a": marked(f"vs {pair.a}", context.synthetic),
                    "verdict": pair.verdict,
                    **dict(zip(("mean", "low", "high", "rope"), drawn, strict=True)),
                    "splits": len(pair.differences),
                    "answer": f"{pair.verdict}: {numbers.estimate(pair.mean, pair.ci95, metric)}",
                }
            )
    return pd.DataFrame(rows).assign(row=range(len(rows)))


def _overview_marks(table: pd.DataFrame, left: int, title: str) -> list[alt.Chart]:
    """A row per pair: three lines of text to the left of the bar or, on a phone, above it."""
    domain = domain_of([*table["low"], *table["high"], *table["rope"], *-table["rope"]])
    x = signed_axis("low:Q", title, domain, grid=False, start=f"wide ? {left} : 0")
    base = alt.Chart(inline(table)).encode(y=alt.Y("row:O", axis=None))
    colour = alt.Color("verdict:N", legend=None, scale=colour_scale(VERDICTS))
    text = base.encode(x=alt.value(4))
    tips = tooltips(table, "study", "b", "a", "verdict", "mean", "low", "high", "splits")
    bar = alt.expr("wide ? 0 : 20")
    rope = base.mark_rect(opacity=0.25, color=SAME, height=22, yOffset=bar)
    return [
        rope.transform_calculate(low="-datum.rope").encode(x=x, x2=alt.X2("rope:Q")),
        base.mark_tick(color=SAME, thickness=1, size=22, yOffset=bar).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=3, yOffset=bar).encode(x=x, x2=alt.X2("high:Q"), color=colour),
        base.mark_point(filled=True, opacity=1, size=90, shape="diamond", yOffset=bar).encode(
            x=alt.X("mean:Q"), color=colour, tooltip=tips
        ),
        _line_of_text(text, "b", left, "wide ? -16 : -30", bold=True),
        _line_of_text(text, "a", left, "wide ? 0 : -15"),
        _line_of_text(text, "answer", left, "wide ? 16 : 0"),
    ]


def _line_of_text(
    base: alt.Chart, column: str, left: int, offset: str, bold: bool = False
) -> alt.Chart:
    line: alt.Chart = base.encode(text=f"{column}:N").mark_text(
        align="left",
        baseline="middle",
        yOffset=alt.expr(offset),
        limit=alt.expr(f"wide ? {left - 8} : width - 8"),
        fontWeight="bold" if bold else "normal",
    )
    return line


def _studies_note(studies: Iterable[StudyResults]) -> str:
    parts = []
    for study in studies:
        context = Context.of(study.comparison)
        data, splits = data_of(context.dataset, context.edition), _splits(context)
        parts.append(f"{study.name}: {data}, {splits}")
    return "; ".join(parts) + "."


# --- one pair ---------------------------------------------------------------------------------


def differences(pair: Pair, context: Context) -> Iterable[Figure]:
    """Every paired difference, their mean with the corrected CI, and the rope."""
    metric, scale = context.metric, numbers.scale(context.metric)
    drawn = _differences_table(pair, scale.factor)
    better, worse = (
        int((sign * metric.direction * drawn["difference"] > 0).sum()) for sign in (1, -1)
    )
    mean = numbers.difference(pair.mean, metric)
    yield Figure(
        name=f"differences-{_slug(pair)}",
        title=marked(
            f"Mean difference {mean}, 95 % CI {numbers.difference_interval(pair.ci95, metric)}",
            context.synthetic,
        ),
        note=f"{versus(pair)}, {metric.title} on the same held-out rows: {better} of "
        f"{len(drawn)} splits better, {worse} worse, {len(drawn) - better - worse} equal"
        f"{_share_note(metric)}. A dot is one split, {_better_side(metric)} of 0 it is better; "
        f"diamond and bar are mean and corrected CI ({_splits(context)}; SD over splits "
        f"{numbers.difference(pair.sd, metric, 3, '-')}); grey is practically the same "
        f"({numbers.margin(context.rope, metric)}).",
        chart=layered(*_differences_marks(drawn, pair, context)).properties(height=150),
        table=drawn[["repeat", "fold", "difference"]].rename(
            columns={"difference": f"difference ({scale.axis})"}
        ),
    )


def _differences_table(pair: Pair, factor: float) -> pd.DataFrame:
    """difference, repeat, fold, place: the height of a dot, which spreads equal values out."""
    lines = pair.differences
    return pd.DataFrame(
        {
            "difference": tidy.rounded(factor * line.difference for line in lines),
            "repeat": [line.repeat for line in lines],
            "fold": [line.fold for line in lines],
            "place": (np.arange(len(lines)) * 7) % max(len(lines), 1),
        }
    )


def _differences_marks(drawn: pd.DataFrame, pair: Pair, context: Context) -> list[alt.Chart]:
    metric, factor = context.metric, numbers.scale(context.metric).factor
    low, high = (factor * end for end in pair.ci95)
    rope = factor * context.rope
    domain = domain_of([*drawn["difference"], low, high, rope, -rope])
    x = signed_axis("difference:Q", _axis_title(metric), domain)
    below, above = (WORSE, BETTER)[:: metric.direction]
    dots = (
        alt.Chart(inline(drawn))
        .mark_circle(size=42, opacity=0.55)
        .encode(
            x=x,
            y=alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-1, len(drawn) * 1.5])),
            color=alt.when("datum.difference < 0")
            .then(alt.value(below))
            .when("datum.difference > 0")
            .then(alt.value(above))
            .otherwise(alt.value(SAME)),
            tooltip=tooltips(drawn, "repeat", "fold", "difference"),
        )
    )
    mean = pd.DataFrame({"mean": [factor * pair.mean], "low": [low], "high": [high]})
    colour = VERDICTS[pair.verdict]
    whisker = alt.Chart(inline(mean)).encode(y=alt.value(22))
    return [
        rope_region(rope, x),
        zero_line(),
        dots,
        whisker.mark_rule(strokeWidth=4, color=colour).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q")
        ),
        whisker.mark_point(filled=True, opacity=1, size=130, shape="diamond", color=colour).encode(
            x=alt.X("mean:Q"), tooltip=tooltips(mean, "mean", "low", "high")
        ),
    ]


def posterior(pair: Pair, context: Context) -> Iterable[Figure]:
    """Density of the mean difference (Benavoli et al. 2017), the rope shaded.

    There is none where all differences are equal.
    """
    if pair.se == 0:
        return
    metric, odds = context.metric, pair.posterior
    table = _posterior_table(pair, context)
    ends = (table["difference"].min(), table["difference"].max())
    x = signed_axis("difference:Q", f"mean {_axis_title(metric)}", ends)
    density = alt.Y("density:Q", axis=None, stack=None, scale=alt.Scale(domainMin=0))
    base = alt.Chart(inline(table)).encode(x=x, y=density)
    chart = layered(
        base.mark_area(opacity=0.5).encode(color=alt.Color("part:N", scale=colour_scale(PARTS))),
        base.mark_line(strokeWidth=1.5).encode(
            color=alt.Color("part:N", scale=colour_scale(PARTS)),
            tooltip=tooltips(table, "part", "difference"),
        ),
        zero_line(),
    )
    shares = dict(zip(PARTS, (odds.worse, odds.equivalent, odds.better), strict=True))
    yield Figure(
        name=f"posterior-{_slug(pair)}",
        title=marked(
            "Probability: " + ", ".join(f"{k} {numbers.percent(v)}" for k, v in shares.items()),
            context.synthetic,
        ),
        note=f"Posterior of the mean difference in {metric.title}, {versus(pair)}: Student t with "
        f"{pair.df} degrees of freedom from {len(pair.differences)} paired splits (Bayesian "
        "correlated t-test). Practically the same: within "
        f"{numbers.margin(context.rope, metric)}. A claim needs 95 %.",
        chart=chart.properties(height=150),
        table=pd.DataFrame({"difference is": shares.keys(), "probability": shares.values()}),
        keys=tuple(Key(name, colour) for name, colour in PARTS.items()),
    )


def _posterior_table(pair: Pair, context: Context) -> pd.DataFrame:
    """Density of Student t(df, mean, se) on a grid that contains ±rope, in the metric's unit."""
    rope, factor = context.rope, numbers.scale(context.metric).factor
    low = min(pair.mean - 4.5 * pair.se, -1.5 * rope)
    high = max(pair.mean + 4.5 * pair.se, 1.5 * rope)
    names = list(PARTS)[:: context.metric.direction]
    tables = []
    for part, start, end in zip(names, (low, -rope, rope), (-rope, rope, high), strict=True):
        grid = np.linspace(start, end, max(3, round(120 * (end - start) / (high - low))))
        density = (1 + ((grid - pair.mean) / pair.se) ** 2 / pair.df) ** (-(pair.df + 1) / 2)
        shown = tidy.rounded(factor * grid)
        tables.append(
            pd.DataFrame({"difference": shown, "density": density.round(5), "part": part})
        )
    return pd.concat(tables, ignore_index=True)


# --- words ------------------------------------------------------------------------------------


def _axis_title(metric: Metric) -> str:
    return f"difference in {metric.title} ({numbers.scale(metric).axis})"


def _better_side(metric: Metric) -> str:
    """On which side of no difference B is better."""
    return "right" if metric.direction == 1 else "left"


def _share_note(metric: Metric) -> str:
    return " (jackknife shares in the score of their repeat)" if metric.pooled else ""


def _splits(context: Context) -> str:
    return splits_of(context.folds, context.repeats)


def _slug(pair: Pair) -> str:
    return f"{pair.b}-vs-{pair.a}"
