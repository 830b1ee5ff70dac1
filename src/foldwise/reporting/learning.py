"""Charts of training: validation accuracy, losses, and the gap between them, by epoch."""

from collections.abc import Iterable

import pandas as pd

from foldwise.reporting import tidy, words
from foldwise.reporting.canvas import (
    BAND,
    DASHED,
    SOLID,
    Figure,
    Key,
    lines,
    sampled,
    variant_colours,
    variant_dashes,
    variant_keys,
)
from foldwise.reporting.story import StudyResults, VariantResults

ROWS = {"training": "#d97706", "validation": "#3b82c4"}
HEIGHT = 210  # pixels
DASHES = {"training": DASHED, "validation": SOLID}


def accuracy_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation accuracy by epoch, all variants of a study in one chart."""
    bands = {v.name: tidy.band(v.history, "validation_accuracy") for v in study.complete}
    if not bands:
        return
    table = pd.concat([t.assign(variant=name) for name, t in bands.items()], ignore_index=True)
    table[["mean", "low", "high"]] *= 100
    last = {name: float(t["mean"].iloc[-1]) for name, t in bands.items()}
    best = max(last, key=lambda name: last[name])
    unit = "accuracy (% of held-out rows)"
    chart = lines(table, "variant", variant_colours(study), variant_dashes(study), unit)
    yield Figure(
        name="validation-accuracy",
        title=words.marked(
            study,
            f"Validation accuracy ends highest for {best}: {words.percent(last[best])} "
            f"after epoch {table['epoch'].max()}",
        ),
        note=f"Line: mean over {study.splits} splits; {BAND}. The bands show the spread of single "
        "splits; whether variants differ is answered by the paired differences only.",
        chart=chart.properties(height=HEIGHT),
        table=sampled(table, "variant"),
        keys=variant_keys(study),
    )


def loss_curves(study: StudyResults) -> Iterable[Figure]:
    """Training and validation loss by epoch, one chart per variant on a common scale."""
    tables = {v.name: _loss_table(v) for v in study.variants}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        return
    # A training that failed has its own scale: its loss may be of another order.
    tops = [float(tables[v.name]["high"].max()) for v in study.complete if v.name in tables]
    top = max(tops, default=None)
    for variant in study.variants:
        if variant.name in tables:
            yield _loss_figure(
                study, variant, tables[variant.name], None if variant.failed else top
            )


def gap_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation loss − training loss by epoch, paired by split."""
    bands = {v.name: tidy.gap(v) for v in study.complete}
    if not bands:
        return
    table = pd.concat([t.assign(variant=name) for name, t in bands.items()], ignore_index=True)
    last = {name: float(t["mean"].iloc[-1]) for name, t in bands.items()}
    widest, narrowest = max(last, key=lambda k: last[k]), min(last, key=lambda k: last[k])
    title = f"The gap in loss ends widest for {widest} ({words.number(last[widest], 2)})"
    if widest != narrowest:
        title += f", narrowest for {narrowest} ({words.number(last[narrowest], 2)})"
    unit = f"gap in loss ({_loss_unit(study)})"
    chart = lines(table, "variant", variant_colours(study), variant_dashes(study), unit)
    yield Figure(
        name="gap",
        title=words.marked(study, title),
        note=f"Validation loss minus training loss of the same network: mean over {study.splits} "
        f"splits; {BAND}. Above 0: the network does better on the rows it was trained on.",
        chart=chart.properties(height=HEIGHT),
        table=sampled(table, "variant"),
        keys=variant_keys(study),
    )


def _loss_table(variant: VariantResults) -> pd.DataFrame:
    parts = [
        tidy.band(variant.history, column).assign(rows=rows)
        for column, (rows, metric) in tidy.SERIES.items()
        if metric == "loss"
    ]
    return pd.concat(parts, ignore_index=True)


def _loss_figure(
    study: StudyResults, variant: VariantResults, table: pd.DataFrame, top: float | None
) -> Figure:
    held_out = table[table["rows"] == "validation"]
    keys = tuple(Key(name, colour, name == "training") for name, colour in ROWS.items())
    splits = int(held_out["splits"].max()) if len(held_out) else 0
    chart = lines(table, "rows", ROWS, DASHES, f"loss ({_loss_unit(study)})", top)
    return Figure(
        name=f"loss-{variant.name}",
        title=words.marked(study, f"{variant.name}: {_loss_story(variant, held_out)}"),
        note=f"Loss in evaluation mode after each epoch: mean over {splits} splits; {BAND}.",
        chart=chart.properties(height=HEIGHT),
        table=sampled(table, "rows"),
        keys=keys,
    )


def _loss_story(variant: VariantResults, held_out: pd.DataFrame) -> str:
    if variant.failed:
        return f"failed – {variant.reason}"
    low, last = held_out.iloc[int(held_out["mean"].to_numpy().argmin())], held_out.iloc[-1]
    if low["epoch"] == last["epoch"]:
        return f"validation loss is still lowest at the end ({words.number(last['mean'], 2)})"
    return (
        f"validation loss is lowest at epoch {int(low['epoch'])} "
        f"({words.number(low['mean'], 2)}) and ends at {words.number(last['mean'], 2)}"
    )


def _loss_unit(study: StudyResults) -> str:
    loss = study.protocol.get("training", {}).get("loss", "cross_entropy")
    return "nats per row" if loss == "cross_entropy" else "squared error per row"
