"""Predictions → metrics: how well one variant did, with its spread and its protocol."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import numpy as np
import pandas as pd

from foldwise import statistics
from foldwise.core.errors import ResultsError
from foldwise.core.files import short
from foldwise.metrics import METRICS, Metric, confusion
from foldwise.numerics.split import REFIT, split_name
from foldwise.results.evaluations import (
    COLUMNS,
    SPLIT,
    Evaluation,
    Gap,
    Metrics,
    Score,
    TestScores,
)
from foldwise.results.runs import Manifest, Run, RunFolder, probabilities

Rows = tuple[np.ndarray, np.ndarray]  # labels (n,), probabilities (n, K)


def evaluate(run: Run | RunFolder, metric: str = "accuracy") -> Evaluation:
    """Metrics, and scores per split, of one variant's run.

    `recall` is over the held-out rows of all repeats together: with r repeats every row counts
    r times. `gap` is train minus validation for accuracy and validation minus train for the
    training loss, so that more is always more overfitting.

    Args:
        run: what training left.
        metric: the study's primary one, whose mean gets a corrected interval.

    Raises:
        ResultsError: the tables do not belong to the manifest (other splits or other classes), or
            the primary metric cannot be computed; it names the split.
    """
    manifest = run.manifest
    metrics = Metrics(
        variant=manifest.variant.name,
        study=manifest.variant.study,
        edition=manifest.dataset.edition,
        synthetic=manifest.dataset.synthetic,
        data_digest=short(manifest.dataset.digest),
        status=manifest.status,
        reason=manifest.reason,
        metric=metric,
    )
    if not manifest.complete:
        empty = pd.DataFrame({name: pd.Series(dtype=np.float64) for name in COLUMNS})
        return Evaluation(metrics, empty)
    _check(run)
    missing = _missing(run.predictions)
    if metric in missing:
        raise ResultsError(f"{metrics.variant}: no {METRICS[metric].title}: {missing[metric]}")
    scores = split_scores(run)
    found = {
        "splits": len(scores),
        "rows": int(run.predictions["row"].nunique()),
        "split_digest": split_digest(run.predictions),
        "scores": _summaries(scores, manifest.variant.cv.folds, metric, missing),
        "missing": missing,
        "recall": _recall(manifest, run.predictions),
        "test": _test(run.test_predictions) if len(run.test_predictions) else None,
    }
    return Evaluation(metrics.model_copy(update=found | _training(run.history)), scores)


def split_scores(run: Run | RunFolder) -> pd.DataFrame:
    """Scores of every split but `refit`; columns as in `results.evaluations.COLUMNS`.

    A metric that cannot be computed on a split is NaN there.
    """
    lines = []
    for repeat, table in run.predictions.groupby("repeat"):
        rows = {int(str(fold)): _rows(part) for fold, part in table.groupby("fold")}
        shares = {name: _by_fold(metric, rows) for name, metric in METRICS.items()}
        for fold, (labels, _) in rows.items():
            sizes = {"n_train": len(table) - len(labels), "n_validation": len(labels)}
            scores = {name: share[fold] for name, share in shares.items()}
            lines.append({"repeat": int(str(repeat)), "fold": fold, **sizes, **scores})
    last = _last_epoch(run.history).set_index(SPLIT)[["train_accuracy", "train_loss"]]
    table = pd.DataFrame(lines).set_index(SPLIT).join(last)
    return table.join(_test_accuracies(run.test_predictions)).reset_index()[COLUMNS]


def split_digest(predictions: pd.DataFrame) -> str:
    """Which rows with which labels were held out in which fold: equal for paired results alone.

    Of the content, not of the split table's file, whose bytes depend on library versions.

    Args:
        predictions: repeat, row, fold, label, and anything else; in any order.
    """
    columns = ["repeat", "row", "fold", "label"]
    content = predictions[columns].sort_values(columns).to_numpy(dtype="<i8")  # (rows, 4)
    return short(hashlib.sha256(np.ascontiguousarray(content).data).hexdigest())


# --- scores -----------------------------------------------------------------------------------


def _rows(table: pd.DataFrame) -> Rows:
    return table["label"].to_numpy(dtype=np.intp), probabilities(table)


def _by_fold(metric: Metric, rows: Mapping[int, Rows]) -> dict[int, float]:
    """Fold → score of its rows, or its share in that of the whole repeat.

    The share is the jackknife's pseudo-value k·θ − (k − 1)·θ₋ⱼ (Tukey 1958), θ of all rows of the
    repeat and θ₋ⱼ of those outside of fold j.
    """
    if not metric.pooled:
        return {fold: _score(metric, part) for fold, part in rows.items()}
    whole, k = _score(metric, _joined(rows.values())), len(rows)
    return {
        fold: k * whole - (k - 1) * _score(metric, _joined(_others(rows, fold))) for fold in rows
    }


def _score(metric: Metric, rows: Rows) -> float:
    labels, p = rows
    return math.nan if metric.problem(labels, p.shape[1]) else metric.score(labels, p)


def _others(rows: Mapping[int, Rows], fold: int) -> Iterator[Rows]:
    return (part for other, part in rows.items() if other != fold)


def _joined(parts: Iterable[Rows]) -> Rows:
    labels, p = zip(*parts, strict=True)
    return np.concatenate(labels), np.concatenate(p)


def _missing(predictions: pd.DataFrame) -> dict[str, str]:
    """Metric → the first split where it cannot be computed, and why."""
    missing: dict[str, str] = {}
    for place, table in predictions.groupby(SPLIT):
        repeat, fold = (int(number) for number in cast(tuple[int, int], place))
        labels, p = _rows(table)
        for name, metric in METRICS.items():
            if problem := metric.problem(labels, p.shape[1]):
                missing.setdefault(name, f"split {split_name(repeat, fold)}: {problem}")
    return missing


def _test_accuracies(test_predictions: pd.DataFrame) -> "pd.Series[float]":
    accuracy = METRICS["accuracy"]
    found = {
        place: _score(accuracy, _rows(table)) for place, table in test_predictions.groupby(SPLIT)
    }
    index = pd.MultiIndex.from_tuples(found, names=SPLIT) if found else None
    empty = pd.MultiIndex.from_arrays([[], []], names=SPLIT)
    return pd.Series(
        list(found.values()), index=empty if index is None else index, name="test_accuracy",
        dtype=np.float64,
    )  # fmt: skip


# --- parts of the metrics ---------------------------------------------------------------------


def _summaries(
    scores: pd.DataFrame, folds: int, primary: str, missing: Mapping[str, str]
) -> dict[str, Score]:
    return {
        name: _summary(scores[name], folds if name == primary else None)
        for name in METRICS
        if name not in missing
    }


def _summary(values: "pd.Series[float]", folds: int | None) -> Score:
    """Mean and spread over the splits; with `folds`, how far the mean can be trusted."""
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if folds is None:
        return Score(mean=mean, sd_over_splits=sd)
    error = statistics.corrected_standard_error(sd, len(values), folds)
    low, high = statistics.interval(mean, error, len(values) - 1)
    return Score(mean=mean, sd_over_splits=sd, se_corrected=error, ci95_low=low, ci95_high=high)


def _training(history: pd.DataFrame) -> dict[str, object]:
    """Training scores after the last epoch, and their gap to those of the held-out rows."""
    mean = _last_epoch(history).mean()
    gap = Gap(
        accuracy=float(mean["train_accuracy"] - mean["validation_accuracy"]),
        loss=float(mean["validation_loss"] - mean["train_loss"]),
    )
    return {
        "train_accuracy": float(mean["train_accuracy"]),
        "train_loss": float(mean["train_loss"]),
        "gap": gap,
    }


def _recall(manifest: Manifest, predictions: pd.DataFrame) -> dict[str, float]:
    """Share of each class's rows that were predicted as it; classes without rows are left out."""
    counts = confusion(*_rows(predictions))
    totals = counts.sum(axis=1)
    return {
        name: float(counts[k, k] / totals[k])
        for k, name in enumerate(manifest.dataset.class_names)
        if totals[k]
    }


def _test(test_predictions: pd.DataFrame) -> TestScores:
    """Scores on the test rows: of the model that saw all training rows, and of the folds'."""
    refit = _rows(test_predictions[test_predictions["fold"] == REFIT])
    folds = _test_accuracies(test_predictions[test_predictions["fold"] != REFIT])
    return TestScores(
        refit_accuracy=METRICS["accuracy"].score(*refit),
        refit_log_loss=METRICS["log_loss"].score(*refit),
        folds_accuracy_mean=float(folds.mean()),
        folds_accuracy_sd=float(folds.std(ddof=1)),
        rows=int(test_predictions["row"].nunique()),
    )


def _last_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The lines of the last epoch, `refit` left out."""
    last: pd.DataFrame = history[
        (history["epoch"] == history["epoch"].max()) & (history["fold"] != REFIT)
    ]
    return last


# --- refusals ---------------------------------------------------------------------------------


def _check(run: Run | RunFolder) -> None:
    """Every table covers the manifest's splits, and the predictions its classes."""
    manifest = run.manifest
    cv, classes = manifest.variant.cv, len(manifest.dataset.class_names)
    splits = {(r, f) for r in range(cv.repeats) for f in range(cv.folds)}
    with_refit = splits | {(REFIT, REFIT)}
    tested = with_refit if len(run.test_predictions) else set()
    for kind, table, expected in (
        ("predictions", run.predictions, splits),
        ("history", run.history, with_refit),
        ("test predictions", run.test_predictions, tested),
    ):
        if set(zip(table["repeat"], table["fold"], strict=True)) != expected:
            raise _mismatch(manifest, f"the splits in its {kind}")
    for table in (run.predictions, run.test_predictions):
        if probabilities(table).shape[1] != classes:
            raise _mismatch(manifest, "the classes in its predictions")


def _mismatch(manifest: Manifest, what: str) -> ResultsError:
    name = manifest.variant.name
    return ResultsError(
        f"{name}: {what} are not those of its manifest; "
        f"`dvc repro --force --single-item train@{name}` trains it again"
    )
