"""Charts of comparisons: the story in one picture, paired differences, the posterior."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from foldwise.reporting import tidy, words
from foldwise.reporting.canvas import (
    SAME,
    Figure,
    Key,
    colour_scale,
    domain_of,
    inline,
    layered,
    points_axis,
    rope_region,
    tooltips,
    zero_line,
)
from foldwise.reporting.story import StudyResults

WIDE = alt.param(name="wide", expr="width > 600")  # labels beside the bars, not above them
BETTER, WORSE = "#3b82c4", "#d97706"
VERDICTS = {"Helps": BETTER, "Hurts": WORSE, "Practically the same": SAME, "Inconclusive": SAME}


def overview(studies: Sequence[StudyResults], row: int = 76) -> Figure | None:
    """The story in one picture: the mean difference of every pair, its CI, and the rope.

    Args:
        studies: whose pairs.
        row: height of a pair in pixels; a narrow chart, with text above the bars, needs 76.
    """
    table = _overview_table(studies)
    if table.empty:
        return None
    width = min(320, 7 * int(table[["b", "a", "answer"]].map(len).to_numpy().max()) + 16)
    chart = layered(*_overview_marks(table, width)).add_params(WIDE)
    counts = table["verdict"].value_counts()
    title = "Does it help? " + ", ".join(
        f"{counts[name]}\u00a0×\u00a0{name}" for name in VERDICTS if name in counts
    )
    synthetic = any(study.synthetic for study in studies)
    return Figure(
        name="overview",
        title=f"{title}{' (synthetic data)' if synthetic else ''}",
        note="Mean difference in held-out accuracy over paired splits, B − A, with the corrected "
        "95 % confidence interval; right of 0 the first-named variant is better. Grey: "
        "practically the same. " + _studies_note(studies),
        chart=chart.properties(height=row * len(table)),
        table=table.drop(columns=["row", "answer"]),
    )


def _overview_marks(table: pd.DataFrame, left: int) -> list[alt.Chart]:
    """A row per pair: three lines of text to the left of the bar or, on a phone, above it."""
    domain = domain_of([*table["low"], *table["high"], *table["rope"], *-table["rope"]])
    start, unit = f"wide ? {left} : 0", "difference in accuracy (percentage points)"
    x = points_axis("low:Q", unit, domain, grid=False, start=start)
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


def differences(study: StudyResults, pair: dict[str, Any]) -> Iterable[Figure]:
    """Every paired difference, their mean with the corrected CI, and the rope."""
    table = pd.DataFrame(pair.get("differences", []))
    if table.empty:
        return
    drawn = pd.DataFrame({"difference": tidy.rounded(100 * table["difference"].to_numpy())})
    drawn["repeat"], drawn["fold"] = table["repeat"], table["fold"]
    drawn["place"] = (np.arange(len(drawn)) * 7) % max(len(drawn), 1)  # spreads equal values out
    low, high = (100 * end for end in pair["ci95"])
    rope = 100 * study.rope
    domain = domain_of([*drawn["difference"], low, high, rope, -rope])
    x = points_axis("difference:Q", "difference in accuracy (percentage points)", domain)
    dots = (
        alt.Chart(inline(drawn))
        .mark_circle(size=42, opacity=0.55)
        .encode(
            x=x,
            y=alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-1, len(drawn) * 1.5])),
            color=alt.when("datum.difference < 0")
            .then(alt.value(WORSE))
            .when("datum.difference > 0")
            .then(alt.value(BETTER))
            .otherwise(alt.value(SAME)),
            tooltip=tooltips(drawn, "repeat", "fold", "difference"),
        )
    )
    mean = pd.DataFrame({"mean": [100 * pair["mean"]], "low": [low], "high": [high]})
    colour = VERDICTS.get(pair["verdict"], SAME)
    whisker = alt.Chart(inline(mean)).encode(y=alt.value(22))
    chart = layered(
        rope_region(rope, x),
        zero_line(),
        dots,
        whisker.mark_rule(strokeWidth=4, color=colour).encode(
            x=alt.X("low:Q"), x2=alt.X2("high:Q")
        ),
        whisker.mark_point(filled=True, opacity=1, size=130, shape="diamond", color=colour).encode(
            x=alt.X("mean:Q"), tooltip=tooltips(mean, "mean", "low", "high")
        ),
    )
    better, worse = (drawn["difference"] > 0).sum(), (drawn["difference"] < 0).sum()
    yield Figure(
        name=f"differences-{_slug(pair)}",
        title=words.marked(
            study,
            f"Mean difference {words.points(pair['mean'], digits=2)}, 95 % CI "
            f"{words.points_interval(pair['ci95'])}",
        ),
        note=f"{words.versus(pair)}, accuracy on the same held-out rows: {better} of "
        f"{len(drawn)} splits better, {worse} worse, {len(drawn) - better - worse} equal. "
        f"A dot is one split; diamond and bar are mean and corrected CI ({words.splits_of(study)}; "
        f"SD over splits {words.points(pair['sd'], '-')}); grey is practically the same "
        f"(±{words.number(rope, 1)} pp).",
        chart=chart.properties(height=150),
        table=drawn[["repeat", "fold", "difference"]].rename(
            columns={"difference": "difference (pp)"}
        ),
    )


def posterior(study: StudyResults, pair: dict[str, Any]) -> Iterable[Figure]:
    """Density of the mean difference (Benavoli et al. 2017), the rope shaded.

    There is none where all differences are equal.
    """
    if not pair.get("se"):
        return
    table = _posterior_table(pair, study.rope)
    shares = pair["posterior"]
    parts = {"worse": WORSE, "practically the same": SAME, "better": BETTER}
    x = points_axis(
        "difference:Q",
        "mean difference in accuracy (percentage points)",
        (table["difference"].min(), table["difference"].max()),
    )
    density = alt.Y("density:Q", axis=None, stack=None, scale=alt.Scale(domainMin=0))
    base = alt.Chart(inline(table)).encode(x=x, y=density)
    chart = layered(
        base.mark_area(opacity=0.5).encode(color=alt.Color("part:N", scale=colour_scale(parts))),
        base.mark_line(strokeWidth=1.5).encode(
            color=alt.Color("part:N", scale=colour_scale(parts)),
            tooltip=tooltips(table, "part", "difference"),
        ),
        zero_line(),
    )
    named = dict(zip(parts, (shares["worse"], shares["equivalent"], shares["better"]), strict=True))
    yield Figure(
        name=f"posterior-{_slug(pair)}",
        title=words.marked(
            study,
            "Probability: " + ", ".join(f"{k} {words.percent(v)}" for k, v in named.items()),
        ),
        note=f"Posterior of the mean difference, {words.versus(pair)}: Student t with "
        f"{pair['df']} degrees of freedom from {study.splits} paired splits (Bayesian correlated "
        f"t-test). Practically the same: within ±{words.number(100 * study.rope, 1)} pp. "
        "A claim needs 95 %.",
        chart=chart.properties(height=150),
        table=pd.DataFrame({"difference is": named.keys(), "probability": named.values()}),
        keys=tuple(Key(name, colour) for name, colour in parts.items()),
    )


def _posterior_table(pair: dict[str, Any], rope: float) -> pd.DataFrame:
    """Density of Student t(df, mean, se) on a grid that contains ±rope; in percentage points."""
    mean, se, df = float(pair["mean"]), float(pair["se"]), float(pair["df"])
    low, high = min(mean - 4.5 * se, -1.5 * rope), max(mean + 4.5 * se, 1.5 * rope)
    edges = [("worse", low, -rope), ("practically the same", -rope, rope), ("better", rope, high)]
    parts = []
    for part, start, end in edges:
        grid = np.linspace(start, end, max(3, round(120 * (end - start) / (high - low))))
        density = (1 + ((grid - mean) / se) ** 2 / df) ** (-(df + 1) / 2)
        parts.append(pd.DataFrame({"difference": 100 * grid, "density": density, "part": part}))
    table = pd.concat(parts, ignore_index=True)
    table["difference"] = tidy.rounded(table["difference"].to_numpy())
    return table.assign(density=table["density"].round(5))


def _overview_table(studies: Iterable[StudyResults]) -> pd.DataFrame:
    rows = [
        {
            "study": study.name,
            "b": pair["b"],
            "a": words.marked(study, f"vs {pair['a']}"),
            "verdict": pair["verdict"],
            "mean": round(100 * pair["mean"], 3),
            "low": round(100 * pair["ci95"][0], 3),
            "high": round(100 * pair["ci95"][1], 3),
            "rope": 100 * study.rope,
            "splits": study.splits,
            "answer": _answer(pair),
        }
        for study in studies
        for pair in study.pairs
    ]
    return pd.DataFrame(rows).assign(row=range(len(rows)))


def _answer(pair: dict[str, Any]) -> str:
    mean = words.number(100 * pair["mean"], 2, "+")
    return f"{pair['verdict']}: {mean} {words.points_interval(pair['ci95'])}"


def _studies_note(studies: Iterable[StudyResults]) -> str:
    parts = [f"{s.name}: {words.data_of(s)}, {words.splits_of(s)}" for s in studies if s.pairs]
    return "; ".join(parts) + "."


def _slug(pair: dict[str, Any]) -> str:
    return f"{pair['b']}-vs-{pair['a']}"
