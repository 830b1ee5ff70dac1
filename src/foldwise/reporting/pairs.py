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
    coloured,
    domain_of,
    inline,
    layered,
    signed_axis,
    tooltips,
    zero_line,
)
from foldwise.results.comparisons import Pair
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers
from foldwise.wording.sentences import Context, data_of, marked, splits_of, versus

BETTER, WORSE = "#3b82c4", "#d97706"
VERDICTS = {"Helps": BETTER, "Hurts": WORSE, "Practically the same": SAME, "Inconclusive": SAME}
PARTS = (Key("worse", WORSE), Key("practically the same", SAME), Key("better", BETTER))


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
    interval = "with the corrected 95 % confidence interval"
    if metric is None:
        axis = "gain (multiples of the rope)"
        note = (
            f"Mean gain of the first-named variant over paired splits, {interval}, in multiples of "
            "each study's rope; right of 0 it is better."
        )
    else:
        axis = _axis_title(metric)
        note = (
            f"Mean difference in held-out {metric.title} over paired splits, B − A, {interval}; "
            f"{_better_side(metric)} of 0 the first-named variant is better."
        )
    table = _overview_table(studies, in_ropes=metric is None)
    counts = table["verdict"].value_counts()
    title = "Does it help? " + ", ".join(
        f"{counts[name]}\u00a0×\u00a0{name}" for name in VERDICTS if name in counts
    )
    contexts = [(study.name, Context.of(study.comparison)) for study in studies]
    of_studies = "; ".join(
        f"{name}: {data_of(c.dataset, c.edition)}, {splits_of(c.folds, c.repeats)}"
        for name, c in contexts
    )
    return Figure(
        name="overview",
        title=marked(title, any(study.comparison.synthetic for study in studies)),
        note=f"{note} Grey: practically the same. {of_studies}.",
        chart=_overview_chart(table, axis).properties(height=row * len(table)),
        table=table.drop(columns=["row", "answer"]),
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


def _overview_chart(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """A row per pair: three lines of text to the left of the bar or, on a phone, above it."""
    left = min(320, 7 * int(table[["b", "a", "answer"]].map(len).to_numpy().max()) + 16)
    domain = domain_of([*table["low"], *table["high"], *table["rope"], *-table["rope"]])
    x = signed_axis("low:Q", title, domain, grid=False, start=f"wide ? {left} : 0")
    base = alt.Chart(inline(table)).encode(y=alt.Y("row:O", axis=None))
    colour = alt.Color("verdict:N", legend=None, scale=colour_scale(VERDICTS))
    tips = tooltips(table, "study", "b", "a", "verdict", "mean", "low", "high", "splits")
    bar = alt.expr("wide ? 0 : 20")
    rope = base.mark_rect(opacity=0.25, color=SAME, height=22, yOffset=bar)
    texts = [
        base.encode(x=alt.value(4), text=f"{column}:N").mark_text(
            align="left",
            baseline="middle",
            yOffset=alt.expr(offset),
            limit=alt.expr(f"wide ? {left - 8} : width - 8"),
            fontWeight="bold" if column == "b" else "normal",
        )
        for column, offset in (
            ("b", "wide ? -16 : -30"),
            ("a", "wide ? 0 : -15"),
            ("answer", "wide ? 16 : 0"),
        )
    ]
    chart = layered(
        rope.transform_calculate(low="-datum.rope").encode(x=x, x2=alt.X2("rope:Q")),
        base.mark_tick(color=SAME, thickness=1, size=22, yOffset=bar).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=3, yOffset=bar).encode(x=x, x2=alt.X2("high:Q"), color=colour),
        base.mark_point(filled=True, opacity=1, size=90, shape="diamond", yOffset=bar).encode(
            x=alt.X("mean:Q"), color=colour, tooltip=tips
        ),
        *texts,
    )
    # Labels stand beside the bars, not above them.
    return chart.add_params(alt.param(name="wide", expr="width > 600"))


# --- one pair ---------------------------------------------------------------------------------


def differences(pair: Pair, context: Context) -> Iterable[Figure]:
    """Every paired difference, their mean with the corrected CI, and the rope."""
    metric, scale = context.metric, numbers.scale(context.metric)
    drawn = pd.DataFrame([line.model_dump() for line in pair.differences])
    drawn["difference"] = tidy.rounded(scale.factor * drawn["difference"])
    gains = metric.direction * drawn["difference"]
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    jackknife = " (jackknife shares in the score of their repeat)" if metric.pooled else ""
    yield Figure(
        name=f"differences-{pair.b}-vs-{pair.a}",
        title=marked(
            f"Mean difference {numbers.difference(pair.mean, metric)}, "
            f"95 % CI {numbers.difference_interval(pair.ci95, metric)}",
            context.synthetic,
        ),
        note=f"{versus(pair)}, {metric.title} on the same held-out rows: {better} of "
        f"{len(drawn)} splits better, {worse} worse, {len(drawn) - better - worse} equal"
        f"{jackknife}. A dot is one split, {_better_side(metric)} of 0 it is better; diamond and "
        f"bar are mean and corrected CI ({splits_of(context.folds, context.repeats)}; SD over "
        f"splits {numbers.difference(pair.sd, metric, 3, '-')}); grey is practically the same "
        f"({numbers.margin(context.rope, metric)}).",
        chart=_differences_chart(drawn, pair, context).properties(height=150),
        table=drawn.rename(columns={"difference": f"difference ({scale.axis})"}),
    )


def _differences_chart(drawn: pd.DataFrame, pair: Pair, context: Context) -> alt.LayerChart:
    factor = numbers.scale(context.metric).factor
    low, high = (factor * end for end in pair.ci95)
    rope = factor * context.rope
    domain = domain_of([*drawn["difference"], low, high, rope, -rope])
    x = signed_axis("difference:Q", _axis_title(context.metric), domain)
    region = alt.Chart(inline(pd.DataFrame({"difference": [-rope], "to": [rope]})))
    below, above = (WORSE, BETTER)[:: context.metric.direction]
    # The height of a dot spreads equal values out.
    placed = drawn.assign(place=(np.arange(len(drawn)) * 7) % max(len(drawn), 1))
    height = alt.Scale(domain=[-1, len(drawn) * 1.5])
    dots = alt.Chart(inline(placed)).mark_circle(size=42, opacity=0.55)
    mean = pd.DataFrame({"mean": [factor * pair.mean], "low": [low], "high": [high]})
    colour = VERDICTS[pair.verdict]
    whisker = alt.Chart(inline(mean)).encode(y=alt.value(22))
    diamond = whisker.mark_point(filled=True, opacity=1, size=130, shape="diamond", color=colour)
    return layered(
        region.mark_rect(opacity=0.2, color=SAME).encode(x=x, x2=alt.X2("to:Q")),
        zero_line(),
        dots.encode(
            x=x,
            y=alt.Y("place:Q", axis=None, scale=height),
            color=alt.when("datum.difference < 0")
            .then(alt.value(below))
            .when("datum.difference > 0")
            .then(alt.value(above))
            .otherwise(alt.value(SAME)),
            tooltip=tooltips(drawn, "repeat", "fold", "difference"),
        ),
        whisker.mark_rule(strokeWidth=4, color=colour).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q")
        ),
        diamond.encode(x=alt.X("mean:Q"), tooltip=tooltips(mean, "mean", "low", "high")),
    )


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
    base = coloured(table, PARTS).encode(x=x, y=density)
    chart = layered(
        base.mark_area(opacity=0.5),
        base.mark_line(strokeWidth=1.5).encode(tooltip=tooltips(table, "part", "difference")),
        zero_line(),
    )
    names = [key.label for key in PARTS]
    shares = dict(zip(names, (odds.worse, odds.equivalent, odds.better), strict=True))
    yield Figure(
        name=f"posterior-{pair.b}-vs-{pair.a}",
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
        keys=PARTS,
    )


def _posterior_table(pair: Pair, context: Context) -> pd.DataFrame:
    """Density of Student t(df, mean, se) on a grid that contains ±rope, in the metric's unit."""
    rope, factor = context.rope, numbers.scale(context.metric).factor
    low = min(pair.mean - 4.5 * pair.se, -1.5 * rope)
    high = max(pair.mean + 4.5 * pair.se, 1.5 * rope)
    parts = PARTS[:: context.metric.direction]
    tables = []
    for part, start, end in zip(parts, (low, -rope, rope), (-rope, rope, high), strict=True):
        grid = np.linspace(start, end, max(3, round(120 * (end - start) / (high - low))))
        density = (1 + ((grid - pair.mean) / pair.se) ** 2 / pair.df) ** (-(pair.df + 1) / 2)
        columns = {"difference": tidy.rounded(factor * grid), "density": density.round(5)}
        tables.append(pd.DataFrame({"part": part.label, **columns}))
    return pd.concat(tables, ignore_index=True)


def _axis_title(metric: Metric) -> str:
    return f"difference in {metric.title} ({numbers.scale(metric).axis})"


def _better_side(metric: Metric) -> str:
    """On which side of no difference B is better."""
    return "right" if metric.direction == 1 else "left"
