"""Results as small tidy tables: what `dvc plots` reads and what the charts draw.

The name of a study on synthetic data carries the word.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from foldwise.evaluation import confusion as confusion_counts
from foldwise.reporting import words
from foldwise.reporting.story import StudyResults, VariantResults
from foldwise.results import REFIT, probabilities

BAND = (0.15, 0.85)  # the band over splits: 15th to 85th percentile
EPOCHS = 100  # at most so many epochs of a learning curve are kept
BINS = 10  # bins of equal count in the calibration diagram
DIGITS = 5  # significant digits in tables that are drawn

CURVES = ["study", "variant", "rows", "epoch", "metric", "mean", "low", "high", "splits"]
SCORES = ["study", "variant", "repeat", "fold", "accuracy"]
CONFUSION = ["study", "variant", "actual", "predicted", "count", "share"]
DIFFERENCES = ["study", "a", "b", "repeat", "fold", "difference"]

SERIES = {  # column of the history -> rows, metric
    "train_loss": ("training", "loss"),
    "validation_loss": ("validation", "loss"),
    "train_accuracy": ("training", "accuracy"),
    "validation_accuracy": ("validation", "accuracy"),
}


def curves(studies: Iterable[StudyResults]) -> pd.DataFrame:
    """Learning curves: mean and 15–85 % band over splits, at up to 100 epochs."""
    return _concat(studies, _study_curves, CURVES)


def scores(studies: Iterable[StudyResults]) -> pd.DataFrame:
    """Accuracy of every split of every variant."""
    return _concat(studies, _study_scores, SCORES)


def confusion(studies: Iterable[StudyResults]) -> pd.DataFrame:
    """Held-out rows by actual and predicted class, pooled over repeats, zeros included."""
    return _concat(studies, _study_confusion, CONFUSION)


def differences(studies: Iterable[StudyResults]) -> pd.DataFrame:
    """Difference of the metric, b − a, on every split of every pair."""
    return _concat(studies, _study_differences, DIFFERENCES)


def band(history: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean and 15–85 % band over splits of one column of a history: epoch, mean, low, high, splits.

    Values that are not finite (a training that failed) are left out.
    """
    held_out = history[history["fold"] != REFIT]
    table = held_out.pivot(index="epoch", columns=["repeat", "fold"], values=column)
    table = table.where(np.isfinite(table)).dropna(how="all")
    table = table.iloc[_thinned(len(table))]
    low, high = table.quantile(list(BAND), axis=1).to_numpy() if len(table) else ([], [])
    return pd.DataFrame(
        {
            "epoch": table.index,
            "mean": rounded(table.mean(axis=1).to_numpy()),
            "low": rounded(np.asarray(low)),
            "high": rounded(np.asarray(high)),
            "splits": table.notna().sum(axis=1).to_numpy(),
        }
    )


def gap(variant: VariantResults) -> pd.DataFrame:
    """Validation loss − training loss by epoch, split by split: epoch, mean, low, high, splits."""
    history = variant.history
    paired = history.assign(gap=history["validation_loss"] - history["train_loss"])
    return band(paired, "gap")


def calibration(variant: VariantResults) -> pd.DataFrame:
    """Reliability of the predicted class, in ten bins of equal count.

    Returns:
        bin, confidence (mean probability of the predicted class), accuracy (share that was
        right), predictions (count).
    """
    p = probabilities(variant.predictions)
    right = p.argmax(axis=1) == variant.predictions["label"].to_numpy()
    table = pd.DataFrame({"confidence": p.max(axis=1), "accuracy": right.astype(float)})
    table = table.sort_values("confidence", kind="stable", ignore_index=True)
    table["bin"] = np.arange(len(table)) * BINS // max(len(table), 1) + 1
    grouped = table.groupby("bin").agg(
        confidence=("confidence", "mean"),
        accuracy=("accuracy", "mean"),
        predictions=("accuracy", "size"),
    )
    return grouped.apply(lambda column: rounded(column.to_numpy())).reset_index()


def rounded(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    """Values to so many significant digits, so that tables stay small."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(divide="ignore"):
        magnitude = np.floor(np.log10(np.abs(values), where=values != 0, out=values * 0))
    factor = 10.0 ** (digits - 1 - magnitude)
    rounded_values: np.ndarray = np.rint(values * factor) / factor
    return rounded_values


def _concat(
    studies: Iterable[StudyResults],
    part: Callable[[StudyResults], Iterable[pd.DataFrame]],
    columns: list[str],
) -> pd.DataFrame:
    tables = [table.reindex(columns=columns) for study in studies for table in part(study)]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def _study_curves(study: StudyResults) -> Iterable[pd.DataFrame]:
    name = words.marked(study, study.name)
    for variant in study.variants:
        for column, (rows, metric) in SERIES.items():
            yield band(variant.history, column).assign(
                study=name,
                variant=variant.name,
                rows=rows,
                metric=metric,
            )


def _study_scores(study: StudyResults) -> Iterable[pd.DataFrame]:
    for variant in study.complete:
        held_out = variant.scores[variant.scores["fold"] != REFIT]
        yield held_out.assign(study=words.marked(study, study.name), variant=variant.name)


def _study_confusion(study: StudyResults) -> Iterable[pd.DataFrame]:
    for variant in study.complete:
        counts = confusion_counts(variant.predictions, variant.classes)
        table = counts.reset_index().melt("actual", var_name="predicted", value_name="count")
        totals = table.groupby("actual")["count"].transform("sum").clip(lower=1)
        share = rounded((table["count"] / totals).to_numpy())
        yield table.assign(study=words.marked(study, study.name), variant=variant.name, share=share)


def _study_differences(study: StudyResults) -> Iterable[pd.DataFrame]:
    for pair in study.pairs:
        table = pd.DataFrame(pair.get("differences", []))
        yield table.assign(study=words.marked(study, study.name), a=pair["a"], b=pair["b"])


def _thinned(length: int) -> np.ndarray:
    """Positions of at most `EPOCHS` of `length` points, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, EPOCHS)).round().astype(int))
