"""Charts of training: validation accuracy, losses, and the gap between them, by epoch."""

from collections.abc import Callable, Iterable

import altair as alt
import pandas as pd

from foldwise.reporting import tidy
from foldwise.reporting.canvas import BAND_NOTE, Figure, Key, lines, sampled, variant_keys
from foldwise.reporting.tidy import run_of
from foldwise.results.evaluations import Result
from foldwise.results.studies import StudyResults
from foldwise.wording.numbers import number, percent
from foldwise.wording.sentences import marked

ROWS = (Key("training", "#d97706", dashed=True), Key("validation", "#3b82c4"))

Bands = dict[str, pd.DataFrame]  # label -> epoch, mean, low, high, splits


def accuracy_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation accuracy by epoch, all variants of a study in one chart."""
    bands, last = _bands(study, lambda history: tidy.band(history, "validation_accuracy"))
    if not bands:
        return
    best = max(last, key=lambda name: last[name])
    yield _figure(
        study,
        _joined("variant", bands, factor=100),
        variant_keys(study, bands),
        name="validation-accuracy",
        title=f"Validation accuracy ends highest for {best}: {percent(last[best])} "
        f"after epoch {max(band['epoch'].max() for band in bands.values())}",
        note=f"Line: mean over {study.comparison.protocol.splits} splits; {BAND_NOTE}. The bands "
        "show the spread of single splits; whether variants differ is answered by the paired "
        "differences only.",
        unit="accuracy (% of held-out rows)",
    )


def gap_curves(study: StudyResults) -> Iterable[Figure]:
    """Validation loss − training loss by epoch, paired by split."""
    bands, last = _bands(study, tidy.gap)
    if not bands:
        return
    widest, narrowest = max(last, key=lambda k: last[k]), min(last, key=lambda k: last[k])
    title = f"The gap in loss ends widest for {widest} ({number(last[widest], 2)})"
    if widest != narrowest:
        title += f", narrowest for {narrowest} ({number(last[narrowest], 2)})"
    yield _figure(
        study,
        _joined("variant", bands),
        variant_keys(study, bands),
        name="gap",
        title=title,
        note="Validation loss minus training loss of the same network: mean over "
        f"{study.comparison.protocol.splits} splits; {BAND_NOTE}. Above 0: the network does better "
        "on the rows it was trained on.",
        unit=f"gap in loss ({_loss_unit(study)})",
    )


def loss_curves(study: StudyResults) -> Iterable[Figure]:
    """Training and validation loss by epoch, one chart per variant on a common scale."""
    tables = {}
    for result in study.results:
        history = run_of(result).history
        bands = {
            rows: tidy.band(history, column)
            for column, (rows, metric) in tidy.SERIES.items()
            if metric == "loss"
        }
        tables[result.name] = _joined("rows", bands)
    # A training that failed has its own scale: its loss may be of another order.
    tops = [tables[r.name]["high"].max() for r in study.complete if len(tables[r.name])]
    top = max(map(float, tops), default=None)
    for result in study.results:
        table = tables[result.name]
        held_out = table[table["rows"] == "validation"]
        splits = int(held_out["splits"].max()) if len(held_out) else 0
        if len(table):
            yield _figure(
                study,
                table,
                ROWS,
                name=f"loss-{result.name}",
                title=f"{result.name}: {_loss_story(result, held_out)}",
                note=f"Loss in evaluation mode after each epoch: mean over {splits} splits; "
                f"{BAND_NOTE}.",
                unit=f"loss ({_loss_unit(study)})",
                top=top if result.metrics.complete else None,
            )


def _figure(
    study: StudyResults,
    table: pd.DataFrame,
    keys: tuple[Key, ...],
    *,
    name: str,
    title: str,
    note: str,
    unit: str,
    top: float | None = None,
) -> Figure:
    """Lines over epochs; the vertical axis ends at `top`, or fits the data."""
    first, last = int(table["epoch"].min()), int(table["epoch"].max())
    epochs = alt.Axis(tickMinStep=1, format="d", grid=False, tickCount=min(last, 8))
    x = alt.X("epoch:Q", scale=alt.Scale(domain=[first, last], nice=False), axis=epochs)
    scale = alt.Scale(zero=False) if top is None else alt.Scale(domain=[0, top])
    return Figure(
        name=name,
        title=marked(title, study.comparison.synthetic),
        note=note,
        chart=lines(table, keys, x, alt.Y("low:Q", title=unit, scale=scale)).properties(height=210),
        table=sampled(table),
        keys=keys,
    )


def _bands(
    study: StudyResults, band: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[Bands, dict[str, float]]:
    """The bands of the variants that have scores, and their means after the last epoch."""
    bands = {result.name: band(run_of(result).history) for result in study.complete}
    return bands, {name: float(table["mean"].iloc[-1]) for name, table in bands.items()}


def _joined(group: str, bands: Bands, factor: float = 1) -> pd.DataFrame:
    """One table, the labels in its first column."""
    parts = [table.assign(**{group: label}) for label, table in bands.items()]
    joined = pd.concat(parts, ignore_index=True)
    joined[["mean", "low", "high"]] *= factor
    return joined[[group, "epoch", "mean", "low", "high", "splits"]]


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
