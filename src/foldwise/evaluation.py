"""Predictions → metrics: how well one variant did, with its spread and its protocol.

Every number that leaves this module is rounded to ten significant digits: below that the order
of a sum decides, which differs between machines and would fill git diffs with noise.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from foldwise.errors import ResultsError
from foldwise.results import REFIT, probabilities

SPLIT = ["repeat", "fold"]
SCORES = ("accuracy", "log_loss", "brier")
COLUMNS = [*SPLIT, "n_train", "n_validation", *SCORES, "train_accuracy", "train_loss"]
COLUMNS += ["test_accuracy"]
DIGITS = 10


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What evaluating one variant yields. J splits.

    Attributes:
        metrics: numbers, names and nested dicts of them, never lists, for `dvc metrics`. SD and
            SE are told apart in the keys: `sd_over_splits` is a spread (ddof=1), `se_corrected`
            an error of the mean. A failed run has `status`, `reason` and no scores.
            `data_digest` and `split_digest` say with which other results, of any commit, these
            are paired.
        scores: (J, 10), a line per split in the order of (repeat, fold): repeat, fold, n_train,
            n_validation, accuracy, log_loss, brier (of its held-out rows), train_accuracy,
            train_loss (after the last epoch), test_accuracy (NaN where there are no test rows).
    """

    metrics: dict[str, Any]
    scores: pd.DataFrame


def evaluate(
    manifest: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    test_predictions: pd.DataFrame,
) -> Evaluation:
    """Metrics and scores per split of one variant's run; the tables are those of `RunFiles`.

    `recall` is over the held-out rows of all repeats together: with r repeats every row counts
    r times. `gap` is train minus validation for accuracy and validation minus
    train for the training loss, so that more is always more overfitting.

    Raises:
        ResultsError: the tables do not belong to the manifest: other splits or other classes.
    """
    metrics = _identity(manifest)
    if manifest["status"] != "complete":
        empty = pd.DataFrame({name: pd.Series(dtype=np.float64) for name in COLUMNS})
        return Evaluation({**metrics, "reason": str(manifest["reason"])}, empty)
    _check(manifest, history, predictions, test_predictions)
    scores = split_scores(history, predictions, test_predictions)
    folds = manifest["variant"]["cv"]["folds"]
    metrics |= {"splits": len(scores), "rows": int(predictions["row"].nunique())}
    metrics["split_digest"] = split_digest(predictions)
    metrics |= _summary(scores, folds) | _training(history)
    metrics["recall"] = _recall(confusion(predictions, manifest["dataset"]["class_names"]))
    if len(test_predictions):
        metrics["test"] = _test(test_predictions)
    columns = [*SCORES, "train_accuracy", "train_loss", "test_accuracy"]
    return Evaluation(significant(metrics), scores.assign(**scores[columns].map(_rounded)))


def split_scores(
    history: pd.DataFrame, predictions: pd.DataFrame, test_predictions: pd.DataFrame
) -> pd.DataFrame:
    """Scores of every split but `refit`, unrounded; columns as in `Evaluation.scores`."""
    by_split = row_scores(predictions).groupby(SPLIT)
    scores = by_split[list(SCORES)].mean()
    scores["n_validation"] = by_split.size()
    rows = scores.groupby("repeat")["n_validation"].transform("sum")
    scores["n_train"] = rows - scores["n_validation"]
    last = _last_epoch(history).set_index(SPLIT)
    scores = scores.join(last[["train_accuracy", "train_loss"]])
    test = row_scores(test_predictions).groupby(SPLIT)["accuracy"].mean().rename("test_accuracy")
    return scores.join(test).reset_index()[COLUMNS]


def row_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Score every line of a prediction table: row, repeat, fold, accuracy, log_loss, brier.

    accuracy: 1 where the most probable class is the label, else 0; a tie goes to the lower
        class, so that of two classes .5 is class 0, as `torch.round` has it.
    log_loss: −log p(label), p clipped to [ε, 1 − ε] with the ε of float64, as
        `sklearn.metrics.log_loss` clips it.
    brier: squared differences between probabilities and the one-hot label, summed over classes
        (Brier 1950), and halved for two classes, as `sklearn.metrics.brier_score_loss` does with
        scale_by_half="auto": in [0, 1] for two classes, in [0, 2] for more.
    """
    p, labels = probabilities(table), table["label"].to_numpy(dtype=np.intp)  # (rows, K), (rows,)
    epsilon = np.finfo(np.float64).eps
    chosen = np.take_along_axis(p, labels[:, None], axis=1)[:, 0] if len(p) else p.sum(axis=1)
    one_hot = labels[:, None] == np.arange(p.shape[1])  # (rows, K)
    scores = table[["row", *SPLIT]].copy()
    scores["accuracy"] = (predicted(table) == labels).astype(np.float64)
    scores["log_loss"] = -np.log(np.clip(chosen, epsilon, 1 - epsilon))
    scores["brier"] = ((p - one_hot) ** 2).sum(axis=1) * (0.5 if p.shape[1] == 2 else 1.0)
    return scores


def predicted(table: pd.DataFrame) -> np.ndarray:
    """The most probable class of every line, (rows,); the lower one of two that tie."""
    p = probabilities(table)
    return p.argmax(axis=1) if len(p) else np.empty(0, dtype=np.intp)


def confusion(table: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Lines of a prediction table by actual class (rows) and predicted class (columns)."""
    classes = range(len(class_names))
    counts = pd.crosstab(table["label"].to_numpy(), predicted(table))
    counts = counts.reindex(index=classes, columns=classes, fill_value=0)
    names = list(class_names)
    return counts.set_axis(pd.Index(names, name="actual"), axis=0).set_axis(
        pd.Index(names, name="predicted"), axis=1
    )


def split_digest(predictions: pd.DataFrame) -> str:
    """Which rows with which labels were held out in which fold: equal for paired results alone.

    Of the content, not of the split table's file, whose bytes depend on library versions.

    Args:
        predictions: repeat, row, fold, label, and anything else; in any order.
    """
    columns = ["repeat", "row", "fold", "label"]
    content = predictions[columns].sort_values(columns).to_numpy(dtype="<i8")  # (rows, 4)
    return short(hashlib.sha256(np.ascontiguousarray(content).data).hexdigest())


def short(digest: str) -> str:
    """The part of a digest that is shown: 64 bits are plenty against chance."""
    return digest[:16]


def corrected_standard_error(sd: float, splits: int, folds: int) -> float:
    """Standard error of a mean over repeated k-fold: sd · sqrt(1/J + 1/(k − 1)).

    The J splits share training rows, so their scores are correlated and sd/sqrt(J) is too small
    (Nadeau & Bengio 2003; Bouckaert & Frank 2004 for repeats). 1/(k − 1) is the ratio of held-out
    to training rows.
    """
    return sd * math.sqrt(1 / splits + 1 / (folds - 1))


def significant(tree: Any) -> Any:
    """A nested structure with every float rounded to ten significant digits, tuples as lists."""
    if isinstance(tree, dict):
        return {key: significant(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [significant(value) for value in tree]
    return _rounded(tree) if isinstance(tree, float) else tree


# --- parts of the metrics ---------------------------------------------------------------------


def _identity(manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        "variant": manifest["variant"]["name"],
        "study": manifest["variant"]["study"],
        "edition": manifest["dataset"]["edition"],
        "synthetic": bool(manifest["dataset"]["synthetic"]),
        "data_digest": short(manifest["dataset"]["digest"]),
        "status": manifest["status"],
    }


def _summary(scores: pd.DataFrame, folds: int) -> dict[str, Any]:
    """Mean and spread over the splits, and how far the mean accuracy can be trusted."""
    summary: dict[str, Any] = {name: _mean_and_sd(scores[name]) for name in SCORES}
    mean, sd = summary["accuracy"]["mean"], summary["accuracy"]["sd_over_splits"]
    error = corrected_standard_error(sd, len(scores), folds)
    margin = float(stdtrit(len(scores) - 1, 0.975)) * error
    interval = {"ci95_low": mean - margin, "ci95_high": mean + margin}
    summary["accuracy"] |= {"se_corrected": error, **interval}
    return summary


def _mean_and_sd(values: pd.Series) -> dict[str, float]:
    return {"mean": float(values.mean()), "sd_over_splits": float(values.std(ddof=1))}


def _training(history: pd.DataFrame) -> dict[str, Any]:
    """Training scores after the last epoch, and their gap to those of the held-out rows."""
    mean = _last_epoch(history).mean()
    return {
        "train_accuracy": float(mean["train_accuracy"]),
        "train_loss": float(mean["train_loss"]),
        "gap": {
            "accuracy": float(mean["train_accuracy"] - mean["validation_accuracy"]),
            "loss": float(mean["validation_loss"] - mean["train_loss"]),
        },
    }


def _recall(counts: pd.DataFrame) -> dict[str, float]:
    """Share of each class's rows that were predicted as it; classes without rows are left out."""
    right, totals = np.diag(counts), counts.sum(axis=1)
    return {
        str(name): float(hit / total)
        for name, hit, total in zip(totals.index, right, totals, strict=True)
        if total
    }


def _test(test_predictions: pd.DataFrame) -> dict[str, Any]:
    """Scores on the test rows: of the model that saw all training rows, and of the folds'."""
    scores = row_scores(test_predictions)
    refit = scores[scores["fold"] == REFIT]
    folds = _mean_and_sd(scores[scores["fold"] != REFIT].groupby(SPLIT)["accuracy"].mean())
    return {
        "refit_accuracy": float(refit["accuracy"].mean()),
        "refit_log_loss": float(refit["log_loss"].mean()),
        "folds_accuracy_mean": folds["mean"],
        "folds_accuracy_sd": folds["sd_over_splits"],
        "rows": int(test_predictions["row"].nunique()),
    }


# --- helpers ----------------------------------------------------------------------------------


def _check(
    manifest: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    test_predictions: pd.DataFrame,
) -> None:
    """Every table covers the manifest's splits, and the predictions its classes."""
    cv, classes = manifest["variant"]["cv"], len(manifest["dataset"]["class_names"])
    splits = {(r, f) for r in range(cv["repeats"]) for f in range(cv["folds"])}
    with_refit = splits | {(REFIT, REFIT)}
    tested = with_refit if len(test_predictions) else set()
    for kind, table, expected in (
        ("predictions", predictions, splits),
        ("history", history, with_refit),
        ("test predictions", test_predictions, tested),
    ):
        if set(zip(table["repeat"], table["fold"], strict=True)) != expected:
            raise _mismatch(manifest, f"the splits in its {kind}")
    for table in (predictions, test_predictions):
        if probabilities(table).shape[1] != classes:
            raise _mismatch(manifest, "the classes in its predictions")


def _mismatch(manifest: dict[str, Any], what: str) -> ResultsError:
    name = manifest["variant"]["name"]
    return ResultsError(
        f"{name}: {what} are not those of its manifest; "
        f"`dvc repro --force --single-item train@{name}` trains it again"
    )


def _last_epoch(history: pd.DataFrame) -> pd.DataFrame:
    """The lines of the last epoch, `refit` left out."""
    last: pd.DataFrame = history[
        (history["epoch"] == history["epoch"].max()) & (history["fold"] != REFIT)
    ]
    return last


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
