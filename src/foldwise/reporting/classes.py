"""Charts of held-out predictions: recall, confusion matrix, calibration."""

import math
from collections.abc import Iterable

import altair as alt
import pandas as pd

from foldwise.reporting import tidy
from foldwise.reporting.canvas import (
    PALETTE,
    SAME,
    Figure,
    Key,
    coloured,
    inline,
    layered,
    tooltips,
    variant_keys,
)
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording import numbers
from foldwise.wording.sentences import marked


def recall(study: StudyResults) -> Iterable[Figure]:
    """Share of each class that is recognised, by variant."""
    rows = [
        {"variant": result.name, "class": name, "recall": round(100 * value, 2)}
        for result in study.complete
        for name, value in result.metrics.recall.items()
    ]
    if not rows:
        return
    table = pd.DataFrame(rows)
    worst = table.iloc[int(table["recall"].to_numpy().argmin())]
    names, classes = [result.name for result in study.complete], _classes(study.complete[0])
    keys = variant_keys(study, names)
    scale = alt.Scale(zero=False, nice=True, padding=8)
    marks = coloured(table, keys).encode(
        x=alt.X("recall:Q", title="recall (% of the class)", scale=scale),
        y=alt.Y("class:N", sort=classes, title=None, axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("variant:N", sort=names),
        tooltip=tooltips(table, "class", "variant", "recall"),
    )
    yield Figure(
        name="recall",
        title=marked(
            f"Recall is lowest for {worst['class']}: {numbers.number(worst['recall'], 1)} % "
            f"with {worst['variant']}",
            study.comparison.synthetic,
        ),
        note=f"Share of each actual class that the held-out prediction names; {_pooled(study)}.",
        chart=marks.mark_point(filled=True, opacity=1, size=60).properties(
            height=table["class"].nunique() * max(26, 9 * len(names))
        ),
        table=table.pivot(index="class", columns="variant", values="recall")
        .reindex(index=classes, columns=names)
        .add_suffix(" (%)")
        .reset_index(),
        keys=keys,
    )


def confusion_matrices(study: StudyResults) -> Iterable[Figure]:
    """Actual against predicted class, a matrix per variant, in percent of the actual class."""
    for result, counts in zip(study.complete, tidy.confusion(study), strict=True):
        classes = _classes(result)
        table = counts[["actual", "predicted", "count", "share"]]
        table = table.assign(percent=(100 * table["share"]).round().astype(int))
        labels = alt.Axis(
            labelAngle=0 if len(classes) <= 4 else -60, labelOverlap=False, grid=False
        )
        base = alt.Chart(inline(table)).encode(
            x=alt.X("predicted:N", sort=classes, title="predicted class", axis=labels),
            y=alt.Y("actual:N", sort=classes, title="actual class"),
        )
        shade = alt.Scale(domain=[0, 1], range=[0.04, 0.75])
        cells = base.mark_rect(color=PALETTE[0]).encode(
            opacity=alt.Opacity("share:Q", legend=None, scale=shade),
            tooltip=tooltips(table, "actual", "predicted", "count", "percent"),
        )
        shares = base.mark_text(fontSize=11).encode(text=alt.Text("percent:Q"))
        yield Figure(
            name=f"confusion-{result.name}",
            title=marked(f"{result.name}: {_worst_mistake(table)}", study.comparison.synthetic),
            note=f"Percent of each actual class (rows sum to 100); {_pooled(study)}.",
            chart=layered(cells, shares).properties(height=max(120, 28 * len(classes))),
            table=counts.pivot(index="actual", columns="predicted", values="count")
            .reindex(index=classes, columns=classes)
            .rename_axis(index="actual \\ predicted (rows)")
            .reset_index(),
        )


def calibration(study: StudyResults) -> Iterable[Figure]:
    """Reliability diagram: stated confidence against the share that was right."""
    bins = {r.name: tidy.calibration(run_of(r).predictions) for r in study.complete}
    if not bins:
        return
    table = pd.concat([t.assign(variant=name) for name, t in bins.items()], ignore_index=True)
    table = table[["variant", "bin", "confidence", "accuracy", "predictions"]]
    table[["confidence", "accuracy"]] *= 100
    keys = variant_keys(study, bins)
    start = math.floor(min(table["confidence"].min(), table["accuracy"].min()) / 10) * 10
    scale = alt.Scale(domain=[start, 100], nice=False)
    ends = pd.DataFrame({"confidence": [start, 100], "accuracy": [start, 100]})
    x = alt.X("confidence:Q", title="stated probability of the predicted class (%)", scale=scale)
    y = alt.Y("accuracy:Q", title="right (% of predictions)", scale=scale)
    ideal = alt.Chart(inline(ends)).mark_line(strokeDash=[4, 4], color=SAME, strokeWidth=1.5)
    base = coloured(table, keys).encode(x=x, y=y)
    points = base.mark_point(filled=True, opacity=1, size=50).encode(
        tooltip=tooltips(table, "variant", "confidence", "accuracy", "predictions")
    )
    yield Figure(
        name="calibration",
        title=marked(_calibration_title(bins), study.comparison.synthetic),
        note="Ten bins of equal count by stated probability; below the dashed line the network "
        f"claims more than it keeps. {_pooled(study).capitalize()}.",
        chart=layered(ideal.encode(x=x, y=y), base.mark_line(), points).properties(height=320),
        table=table.rename(columns={"confidence": "stated (%)", "accuracy": "right (%)"}),
        keys=(*keys, Key("ideal", SAME, dashed=True)),
    )


def _worst_mistake(table: pd.DataFrame) -> str:
    wrong = table[table["actual"] != table["predicted"]]
    worst = wrong.iloc[int(wrong["share"].to_numpy().argmax())]
    if worst["share"] == 0:
        return "no row is taken for another class"
    return (
        f"the commonest mistake is {worst['actual']} taken for {worst['predicted']} "
        f"({numbers.percent(worst['share'])})"
    )


def _calibration_title(bins: dict[str, pd.DataFrame]) -> str:
    averages = {}
    for name, table in bins.items():
        weights = table["predictions"] / table["predictions"].sum()
        averages[name] = [float((table[c] * weights).sum()) for c in ("confidence", "accuracy")]
    name, (stated, right) = max(averages.items(), key=lambda item: abs(item[1][0] - item[1][1]))
    return (
        f"Farthest from calibrated is {name}, {'over' if stated > right else 'under'}-confident: "
        f"states {numbers.percent(stated)} on average, is right in {numbers.percent(right)}"
    )


def _pooled(study: StudyResults) -> str:
    """Of how many predictions class-wise figures are made."""
    repeats, rows = study.comparison.protocol.repeats, study.complete[0].metrics.rows
    if repeats == 1:
        return f"every one of the {numbers.thousands(rows)} rows was held out once"
    return f"{numbers.thousands(rows)} rows, each held out once in every one of {repeats} repeats"


def _classes(result: Result) -> list[str]:
    """The class names, class 0 first."""
    return list(run_of(result).manifest.dataset.class_names)
