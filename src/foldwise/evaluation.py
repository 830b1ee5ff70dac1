"""Predictions → metrics: how well one variant did, with its spread and its protocol."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from foldwise import statistics
from foldwise.core.config import MetricName
from foldwise.core.errors import ResultsError
from foldwise.core.files import short
from foldwise.metrics import METRICS, Rows, confusion, row_accuracy
from foldwise.numerics.split import REFIT, split_name
from foldwise.results.evaluations import (
    COLUMNS,
    SPLIT,
    Evaluation,
    Gap,
    Metrics,
    OnTestRows,
    Score,
)
from foldwise.results.runs import Manifest, Place, Run, RunFolder, probabilities


def evaluate(run: Run | RunFolder, metric: MetricName = "accuracy") -> Evaluation:
    """Metrics, and scores per split, of one variant's run.

    `recall` is over the held-out rows of all repeats together: with r repeats every row counts
    r times. `gap` is train minus validation for accuracy and validation minus train for the
    training loss, so that more is always more overfitting.

    Args:
        run: what training left.
        metric: the study's primary one, whose mean gets a corrected interval.

    Raises:
        ResultsError: the tables do not belong to the manifest (other splits, rows or classes), or
            the primary metric cannot be computed; it names the split.
    """
    facts, name = _facts(run.manifest), run.manifest.variant.name
    if not run.manifest.complete:
        failed = Metrics(**facts, metric=metric)
        return Evaluation(failed, pd.DataFrame(columns=COLUMNS, dtype=np.float64))
    _check(run)
    held_out = _by_split(run.predictions)
    missing = _missing(held_out)
    if metric in missing:
        raise ResultsError(f"{name}: no {METRICS[metric].title}: {missing[metric]}")
    scores, folds = _split_scores(run, held_out), run.manifest.variant.cv.folds
    metrics = Metrics(
        **facts,
        **_training(run.history),
        metric=metric,
        splits=len(scores),
        rows=int(run.predictions["row"].nunique()),
        split_digest=split_digest(run.predictions),
        scores={
            name: _summary(scores[name], folds if name == metric else None)
            for name in METRICS
            if name not in missing
        },
        missing=missing,
        recall=_recall(run.manifest, run.predictions),
        test=_test(run.test_predictions) if len(run.test_predictions) else None,
    )
    return Evaluation(metrics, scores)


def split_digest(predictions: pd.DataFrame) -> str:
    """Which rows with which labels were held out in which fold: equal for paired results alone.

    Of the content, not of the split table's file, whose bytes depend on library versions.

    Args:
        predictions: repeat, row, fold, label, and anything else; in any order.
    """
    columns = ["repeat", "row", "fold", "label"]
    content = predictions[columns].sort_values(columns).to_numpy(dtype="<i8")  # (rows, 4)
    return short(hashlib.sha256(np.ascontiguousarray(content).data).hexdigest())


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What metrics say of their run."""
    return {
        "variant": manifest.variant.name,
        "study": manifest.variant.study,
        "edition": manifest.dataset.edition,
        "synthetic": manifest.dataset.synthetic,
        "data_digest": short(manifest.dataset.digest),
        "run_digest": manifest.digest if manifest.files else None,
        "numerics": manifest.numerics,
        "status": manifest.status,
        "reason": manifest.reason,
    }


# --- scores per split -------------------------------------------------------------------------


def _split_scores(run: Run | RunFolder, held_out: Mapping[Place, Rows]) -> pd.DataFrame:
    """Scores of every split but `refit`; columns as in `results.evaluations.COLUMNS`.

    A metric that cannot be computed on a split is NaN there.
    """
    repeats: dict[int, list[Rows]] = {}
    for (repeat, _), rows_of_fold in held_out.items():
        repeats.setdefault(repeat, []).append(rows_of_fold)
    scores = pd.DataFrame(
        {
            name: [score for folds in repeats.values() for score in metric.by_fold(folds)]
            for name, metric in METRICS.items()
        },
        index=pd.MultiIndex.from_tuples(held_out, names=SPLIT),
    )
    scores["n_validation"] = [len(labels) for labels, _ in held_out.values()]
    rows = scores.groupby("repeat")["n_validation"].transform("sum")
    scores["n_train"] = rows - scores["n_validation"]
    last = _last_epoch(run.history).set_index(SPLIT)[["train_accuracy", "train_loss"]]
    scores = scores.join(last).join(_test_accuracies(run.test_predictions))
    return scores.reset_index()[COLUMNS]


def _by_split(table: pd.DataFrame) -> dict[Place, Rows]:
    """The rows of every split, in the order of (repeat, fold)."""
    groups: Any = table.groupby(SPLIT)
    return {(int(repeat), int(fold)): _rows(rows) for (repeat, fold), rows in groups}


def _rows(table: pd.DataFrame) -> Rows:
    return table["label"].to_numpy(dtype=np.intp), probabilities(table)


def _missing(held_out: Mapping[Place, Rows]) -> dict[str, str]:
    """Metric → the first split where it cannot be computed, and why."""
    missing: dict[str, str] = {}
    for place, (labels, p) in held_out.items():
        for name, metric in METRICS.items():
            if problem := metric.problem(labels, p.shape[1]):
                missing.setdefault(name, f"split {split_name(*place)}: {problem}")
    return missing


def _test_accuracies(test_predictions: pd.DataFrame) -> "pd.Series[float]":
    right = row_accuracy(*_rows(test_predictions))
    return test_predictions.assign(test_accuracy=right).groupby(SPLIT)["test_accuracy"].mean()


# --- parts of the metrics ---------------------------------------------------------------------


def _summary(values: "pd.Series[float]", folds: int | None) -> Score:
    """Mean and spread over the splits; with `folds`, how far the mean can be trusted."""
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if folds is None:
        return Score(mean=mean, sd_over_splits=sd)
    error = statistics.corrected_standard_error(sd, len(values), folds)
    low, high = statistics.interval(mean, error, len(values) - 1)
    return Score(mean=mean, sd_over_splits=sd, se_corrected=error, ci95_low=low, ci95_high=high)


def _training(history: pd.DataFrame) -> dict[str, Any]:
    """Training scores after the last epoch, and their gap to those of the held-out rows."""
    mean = {name: float(value) for name, value in _last_epoch(history).mean().items()}
    gap = Gap(
        accuracy=mean["train_accuracy"] - mean["validation_accuracy"],
        loss=mean["validation_loss"] - mean["train_loss"],
    )
    return {name: mean[name] for name in ("train_accuracy", "train_loss")} | {"gap": gap}


def _last_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The lines of the last epoch, `refit` left out."""
    last: pd.DataFrame = history[
        (history["epoch"] == history["epoch"].max()) & (history["fold"] != REFIT)
    ]
    return last


def _recall(manifest: Manifest, predictions: pd.DataFrame) -> dict[str, float]:
    """Share of each class's rows that were predicted as it; classes without rows are left out."""
    counts = confusion(*_rows(predictions))
    totals, names = counts.sum(axis=1), manifest.dataset.class_names
    return {name: float(counts[k, k] / totals[k]) for k, name in enumerate(names) if totals[k]}


def _test(test_predictions: pd.DataFrame) -> OnTestRows:
    """Scores on the test rows: of the model that saw all training rows, and of the folds'."""
    refit = _rows(test_predictions[test_predictions["fold"] == REFIT])
    folds = _test_accuracies(test_predictions[test_predictions["fold"] != REFIT])
    return OnTestRows(
        refit_accuracy=METRICS["accuracy"].score(*refit),
        refit_log_loss=METRICS["log_loss"].score(*refit),
        folds_accuracy_mean=float(folds.mean()),
        folds_accuracy_sd=float(folds.std(ddof=1)),
        rows=int(test_predictions["row"].nunique()),
    )


# --- refusals ---------------------------------------------------------------------------------


def _check(run: Run | RunFolder) -> None:
    """Every table covers the manifest's splits, and the predictions its classes."""
    manifest = run.manifest
    cv, classes = manifest.variant.cv, len(manifest.dataset.class_names)
    splits = {(r, f) for r in range(cv.repeats) for f in range(cv.folds)}
    with_refit = splits | {(REFIT, REFIT)}
    rows, problem = run.predictions[["repeat", "row"]], ""
    for kind, table, expected in (
        ("predictions", run.predictions, splits),
        ("history", run.history, with_refit),
        ("test predictions", run.test_predictions, with_refit),
    ):
        found = set(zip(table["repeat"], table["fold"], strict=True))
        if found != expected and (found or kind != "test predictions"):
            problem = problem or f"the splits in its {kind}"
    if rows.duplicated().any() or len(rows) != cv.repeats * rows["row"].nunique():
        problem = problem or "the rows in its predictions (each once in every repeat)"
    if any(probabilities(t).shape[1] != classes for t in (run.predictions, run.test_predictions)):
        problem = problem or "the classes in its predictions"
    if problem:
        name = manifest.variant.name
        raise ResultsError(
            f"{name}: {problem} are not those of its manifest; "
            f"`dvc repro --force --single-item train@{name}` trains it again"
        )
