"""Charts of training: validation accuracy, losses, and the gap between them, by epoch."""

from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from foldwise.reporting import tidy
from foldwise.reporting.canvas import (
    BAND_NOTE,
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
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording.numbers import number, percent
from foldwise.wording.sentences import marked

COLOURS = {"training": "#d97706", "validation": "#3b82c4"}
DASHES = {"training": DASHED, "validation": SOLID}
HEIGHT = 210  # pixels
SHOWN = ["epoch", "mean", "low", "high", "splits"]

Bands = dict[str, pd.DataFrame]  # variant -> epoch, mean, low, high, splits


def accuracy_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation accuracy by epoch, all variants of a study in one chart."""
    bands = _bands(study, lambda history: tidy.band(history, "validation_accuracy"))
    if not bands:
        return
    last = _last(bands)
    best = max(last, key=lambda name: last[name])
    yield _by_variant(
        study,
        bands,
        name="validation-accuracy",
        title=f"Validation accuracy ends highest for {best}: {percent(last[best])} "
        f"after epoch {max(band['epoch'].max() for band in bands.values())}",
        note=f"Line: mean over {_splits(study)} splits; {BAND_NOTE}. The bands show the spread of "
        "single splits; whether variants differ is answered by the paired differences only.",
        unit="accuracy (% of held-out rows)",
        factor=100,
    )


def gap_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation loss − training loss by epoch, paired by split."""
    bands = _bands(study, tidy.gap)
    if not bands:
        return
    last = _last(bands)
    widest, narrowest = max(last, key=lambda k: last[k]), min(last, key=lambda k: last[k])
    title = f"The gap in loss ends widest for {widest} ({number(last[widest], 2)})"
    if widest != narrowest:
        title += f", narrowest for {narrowest} ({number(last[narrowest], 2)})"
    yield _by_variant(
        study,
        bands,
        name="gap",
        title=title,
        note="Validation loss minus training loss of the same network: mean over "
        f"{_splits(study)} splits; {BAND_NOTE}. Above 0: the network does better on the rows it "
        "was trained on.",
        unit=f"gap in loss ({_loss_unit(study)})",
    )


def loss_curves(study: StudyResults) -> Iterable[Figure]:
    """Training and validation loss by epoch, one chart per variant on a common scale."""
    tables = {result.name: _loss_table(result) for result in study.results}
    # A training that failed has its own scale: its loss may be of another order.
    tops = [tables[r.name]["high"].max() for r in study.complete if len(tables[r.name])]
    top = max(map(float, tops), default=None)
    for result in study.results:
        if len(table := tables[result.name]):
            yield _loss_figure(study, result, table, top if result.metrics.complete else None)


def _by_variant(
    study: StudyResults,
    bands: Bands,
    *,
    name: str,
    title: str,
    note: str,
    unit: str,
    factor: float = 1,
) -> Figure:
    """A line with its band for every variant."""
    table = pd.concat([t.assign(variant=name) for name, t in bands.items()], ignore_index=True)
    table[["mean", "low", "high"]] *= factor
    chart = lines(table, "variant", variant_colours(study), variant_dashes(study), unit)
    return Figure(
        name=name,
        title=marked(title, study.comparison.synthetic),
        note=note,
        chart=chart.properties(height=HEIGHT),
        table=sampled(table, "variant", ["variant", *SHOWN]),
        keys=variant_keys(study),
    )


def _bands(study: StudyResults, band: Callable[[pd.DataFrame], pd.DataFrame]) -> Bands:
    return {result.name: band(run_of(result).history) for result in study.complete}


def _last(bands: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    return {name: float(table["mean"].iloc[-1]) for name, table in bands.items()}


def _loss_table(result: Result) -> pd.DataFrame:
    parts = [
        tidy.band(run_of(result).history, column).assign(rows=rows)
        for column, (rows, metric) in tidy.SERIES.items()
        if metric == "loss"
    ]
    return pd.concat(parts, ignore_index=True)


def _loss_figure(
    study: StudyResults, result: Result, table: pd.DataFrame, top: float | None
) -> Figure:
    held_out = table[table["rows"] == "validation"]
    keys = tuple(Key(name, colour, name == "training") for name, colour in COLOURS.items())
    splits = int(held_out["splits"].max()) if len(held_out) else 0
    chart = lines(table, "rows", COLOURS, DASHES, f"loss ({_loss_unit(study)})", top)
    return Figure(
        name=f"loss-{result.name}",
        title=marked(f"{result.name}: {_loss_story(result, held_out)}", study.comparison.synthetic),
        note=f"Loss in evaluation mode after each epoch: mean over {splits} splits; {BAND_NOTE}.",
        chart=chart.properties(height=HEIGHT),
        table=sampled(table, "rows", ["rows", *SHOWN]),
        keys=keys,
    )


def _loss_story(result: Result, held_out: pd.DataFrame) -> str:
    if not result.metrics.complete:
        return f"failed – {result.metrics.reason}"
    low, last = held_out.iloc[int(held_out["mean"].to_numpy().argmin())], held_out.iloc[-1]
    if low["epoch"] == last["epoch"]:
        return f"validation loss is still lowest at the end ({number(last['mean'], 2)})"
    return (
        f"validation loss is lowest at epoch {int(low['epoch'])} "
        f"({number(low['mean'], 2)}) and ends at {number(last['mean'], 2)}"
    )


def _loss_unit(study: StudyResults) -> str:
    loss = study.comparison.protocol.training.loss
    return "nats per row" if loss == "cross_entropy" else "squared error per row"


def _splits(study: StudyResults) -> int:
    return study.comparison.protocol.splits
