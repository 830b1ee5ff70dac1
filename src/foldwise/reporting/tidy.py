"""Results as small tidy tables: what `dvc plots` reads and what the charts draw."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from foldwise import metrics
from foldwise.core.errors import ResultsError
from foldwise.numerics.split import REFIT
from foldwise.results.evaluations import Result
from foldwise.results.runs import RunFolder, probabilities
from foldwise.results.studies import StudyResults
from foldwise.wording.sentences import marked

PERCENTILES = (0.15, 0.85)  # of the band over splits
BINS = 10  # bins of equal count in the calibration diagram
LAST = 6  # measurements whose median is "the end": single batches are noisy
DIGITS = 5  # significant digits in tables that are drawn

SERIES = {  # column of the history -> rows, metric
    "train_loss": ("training", "loss"),
    "validation_loss": ("validation", "loss"),
    "train_accuracy": ("training", "accuracy"),
    "validation_accuracy": ("validation", "accuracy"),
}


def run_of(result: Result) -> RunFolder:
    """The run folder of a result.

    Raises:
        ResultsError: it is not at hand, as across commits.
    """
    if result.run is None:
        raise ResultsError(f"{result.name}: its run folder is not at hand, so nothing is drawn")
    return result.run


# --- tables of studies ------------------------------------------------------------------------


def curves(study: StudyResults) -> Iterable[pd.DataFrame]:
    """Learning curves: mean and 15–85 % band over splits."""
    for result in study.results:
        for column, (rows, metric) in SERIES.items():
            table = band(run_of(result).history, column)
            yield table.assign(variant=result.name, rows=rows, metric=metric)


def scores(study: StudyResults) -> Iterable[pd.DataFrame]:
    """Accuracy of every split of every variant."""
    return (result.scores.assign(variant=result.name) for result in study.complete)


def confusion(study: StudyResults) -> Iterable[pd.DataFrame]:
    """Held-out rows by actual and predicted class, pooled over repeats, zeros included."""
    for result in study.complete:
        predictions, names = run_of(result).predictions, run_of(result).manifest.dataset.class_names
        labels = predictions["label"].to_numpy(dtype=np.intp)
        counts = pd.DataFrame(
            metrics.confusion(labels, probabilities(predictions)), list(names), list(names)
        )
        table = counts.rename_axis("actual").reset_index()
        table = table.melt("actual", var_name="predicted", value_name="count")
        totals = table.groupby("actual")["count"].transform("sum").clip(lower=1)
        yield table.assign(variant=result.name, share=rounded(table["count"] / totals))


def differences(study: StudyResults) -> Iterable[pd.DataFrame]:
    """Difference of the primary metric, b − a, on every split of every pair."""
    for pair in study.comparison.made:
        table = pd.DataFrame([line.model_dump() for line in pair.differences])
        yield table.assign(a=pair.a, b=pair.b)


PLOTS = {  # name -> its tables, their columns
    "curves": (
        curves,
        ["study", "variant", "rows", "epoch", "metric", "mean", "low", "high", "splits"],
    ),
    "scores": (scores, ["study", "variant", "repeat", "fold", "accuracy"]),
    "confusion": (confusion, ["study", "variant", "actual", "predicted", "count", "share"]),
    "differences": (differences, ["study", "a", "b", "repeat", "fold", "difference"]),
}


def plot(name: str, studies: Iterable[StudyResults]) -> pd.DataFrame:
    """One table for `dvc plots`; the name of a study on synthetic data carries the word."""
    tables_of, columns = PLOTS[name]
    tables = [
        table.assign(study=marked(study.name, study.comparison.synthetic))
        for study in studies
        for table in tables_of(study)
        if len(table)
    ]
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return joined.reindex(columns=columns)


# --- tables of one variant --------------------------------------------------------------------


def band(history: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean and 15–85 % band over splits of one column of a history: epoch, mean, low, high, splits.

    Values that are not finite (a training that failed) are left out.
    """
    held_out = history[history["fold"] != REFIT]
    table = held_out.pivot(index="epoch", columns=["repeat", "fold"], values=column)
    table = table.where(np.isfinite(table)).dropna(how="all")
    low, high = table.quantile(list(PERCENTILES), axis=1).to_numpy() if len(table) else ([], [])
    return pd.DataFrame(
        {
            "epoch": table.index,
            "mean": rounded(table.mean(axis=1)),
            "low": rounded(low),
            "high": rounded(high),
            "splits": table.notna().sum(axis=1).to_numpy(),
        }
    )


def gap(history: pd.DataFrame) -> pd.DataFrame:
    """Validation loss − training loss by epoch, split by split; columns as of `band`."""
    paired = history.assign(gap=history["validation_loss"] - history["train_loss"])
    return band(paired, "gap")


def calibration(predictions: pd.DataFrame) -> pd.DataFrame:
    """Reliability of the predicted class, in ten bins of equal count.

    Returns:
        bin, confidence (mean probability of the predicted class), accuracy (share that was
        right), predictions (count).
    """
    p = probabilities(predictions)
    right = p.argmax(axis=1) == predictions["label"].to_numpy()
    table = pd.DataFrame({"confidence": p.max(axis=1), "accuracy": right.astype(float)})
    table = table.sort_values("confidence", kind="stable", ignore_index=True)
    table["bin"] = np.arange(len(table)) * BINS // max(len(table), 1) + 1
    grouped = table.groupby("bin").agg(
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
        predictions=("accuracy", "size"),
    )
    return grouped.apply(rounded).reset_index()


def at_the_end(measured: pd.DataFrame, column: str) -> float:
    """Median of the last measurements of one layer; NaN where there are none."""
    values = measured.sort_values("step")[column].dropna().tail(LAST)
    return float(values.median()) if len(values) else np.nan


def rounded(values: Iterable[float], digits: int = DIGITS) -> np.ndarray:
    """Values to so many significant digits, so that tables stay small."""
    return np.array([float(f"{value:.{digits}g}") for value in values], dtype=np.float64)
