"""What a score is: name, unit, direction, and a function of labels and class probabilities.

n rows, K classes. Every function takes labels (n,), class numbers, and probabilities (n, K),
float64, and equals scikit-learn's of the same name. The predicted class is the most probable one,
of two that tie the lower.

To add a metric: write its function, add it to `METRICS`, and its name to `config.MetricName`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]  # labels (n,), probabilities (n, K)
Scorer = Callable[[np.ndarray, np.ndarray], float]
Unit = Literal["share", "nats", ""]  # a share is shown in percent, its differences in points


@dataclass(frozen=True)
class Metric:
    """A score of predictions: labels (n,) and probabilities (n, K) → a number.

    The rows of a repeat are scored together (`pooled`) where the score of one fold is not a fair
    part of the whole; the jackknife then shares it among the folds.
    """

    name: str  # in params.yaml, in files, in MLflow
    title: str  # in a sentence
    unit: Unit
    direction: Literal[1, -1]  # 1 where more is better
    score: Scorer
    pooled: bool = False
    every_class: bool = False  # whether it needs rows of every class

    def problem(self, labels: np.ndarray, classes: int) -> str:
        """Why it cannot be computed on rows with these labels (n,); "" where it can."""
        if len(labels) == 0:
            return "there are no rows"
        absent = np.setdiff1d(np.arange(classes), labels)
        if self.every_class and len(absent):
            return f"no row is of class {absent[0]}, and {self.title} needs rows of every class"
        return ""

    def by_fold(self, folds: Sequence[Rows]) -> list[float]:
        """What each of the k folds of a repeat scores; NaN where that cannot be computed.

        Of a pooled metric its share in the score θ of all rows: the jackknife's pseudo-value
        k·θ − (k − 1)·θ₋ⱼ (Tukey 1958), θ₋ⱼ that of the rows outside of fold j.
        """
        if not self.pooled:
            return [self._of([fold]) for fold in folds]
        k, whole = len(folds), self._of(folds)
        without = [self._of([*folds[:j], *folds[j + 1 :]]) for j in range(k)]
        return [k * whole - (k - 1) * rest for rest in without]

    def _of(self, folds: Sequence[Rows]) -> float:
        labels = np.concatenate([y for y, _ in folds])
        p = np.concatenate([p for _, p in folds])
        return math.nan if self.problem(labels, p.shape[1]) else self.score(labels, p)


def row_accuracy(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """1 where the most probable class is the label, else 0: (n,)."""
    right: np.ndarray = (p.argmax(axis=1) == labels).astype(np.float64)
    return right


def row_log_loss(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """−log p(label), p clipped to [ε, 1 − ε] with the ε of float64: (n,), in nats."""
    epsilon = np.finfo(np.float64).eps
    chosen = np.take_along_axis(p, labels[:, None], axis=1)[:, 0]
    losses: np.ndarray = -np.log(np.clip(chosen, epsilon, 1 - epsilon))
    return losses


def row_brier(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Squared differences to the one-hot label, summed over classes (Brier 1950): (n,).

    Halved for two classes, as `sklearn.metrics.brier_score_loss` with scale_by_half="auto": in
    [0, 1] for two classes, in [0, 2] for more.
    """
    one_hot = labels[:, None] == np.arange(p.shape[1])  # (n, K)
    squares: np.ndarray = ((p - one_hot) ** 2).sum(axis=1) * (0.5 if p.shape[1] == 2 else 1.0)
    return squares


def _mean(rows: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Scorer:
    return lambda labels, p: float(rows(labels, p).mean())


def confusion(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Rows by label (rows) and predicted class (columns): (K, K) counts."""
    classes = p.shape[1]
    cells = labels * classes + p.argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def balanced_accuracy(labels: np.ndarray, p: np.ndarray) -> float:
    """Mean recall over the classes that have rows."""
    counts = confusion(labels, p)
    rows = counts.sum(axis=1)
    return float((np.diag(counts)[rows > 0] / rows[rows > 0]).mean())


def f1_macro(labels: np.ndarray, p: np.ndarray) -> float:
    """Mean F1 over the classes that are a label or a prediction; 0 for one that is never right."""
    counts = confusion(labels, p)
    both = counts.sum(axis=0) + counts.sum(axis=1)  # twice the right ones, and the wrong ones
    there = both > 0
    return float((2 * np.diag(counts)[there] / both[there]).mean())


def matthews(labels: np.ndarray, p: np.ndarray) -> float:
    """Matthews correlation coefficient for K classes (Gorodkin 2004); 0 where it is 0/0."""
    counts = confusion(labels, p).astype(np.float64)
    actual, predicted, n = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = np.trace(counts) * n - actual @ predicted
    spread = (n**2 - predicted @ predicted) * (n**2 - actual @ actual)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def roc_auc(labels: np.ndarray, p: np.ndarray) -> float:
    """Area under the ROC curve: of class 1 for two classes, else the mean of one against the rest.

    The chance that a row of the class has the higher probability, ties counting half (Mann &
    Whitney 1947).
    """
    return _one_against_rest(_auc, labels, p)


def average_precision(labels: np.ndarray, p: np.ndarray) -> float:
    """Sum of precision times the gain in recall over thresholds; classes as for `roc_auc`."""
    return _one_against_rest(_average_precision, labels, p)


def _one_against_rest(area: Scorer, labels: np.ndarray, p: np.ndarray) -> float:
    classes = [1] if p.shape[1] == 2 else range(p.shape[1])
    return float(np.mean([area(labels == k, p[:, k]) for k in classes]))


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # of ties the mean rank, from 1
    hits = int(positive.sum())
    above = ranks[positive].sum() - hits * (hits + 1) / 2
    return float(above / (hits * (len(score) - hits)))


def _average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    _, place = np.unique(-score, return_inverse=True)  # thresholds, the highest first
    hits = np.cumsum(np.bincount(place, weights=positive))
    claimed = np.cumsum(np.bincount(place))
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * hits / claimed).sum())


_ALL = (
    Metric("accuracy", "accuracy", "share", 1, _mean(row_accuracy)),
    Metric("log_loss", "log-loss", "nats", -1, _mean(row_log_loss)),
    Metric("brier", "Brier score", "", -1, _mean(row_brier)),
    Metric("balanced_accuracy", "balanced accuracy", "share", 1, balanced_accuracy),
    Metric("roc_auc", "ROC AUC", "", 1, roc_auc, every_class=True),
    Metric("average_precision", "average precision", "", 1, average_precision, every_class=True),
    Metric("f1_macro", "macro F1", "", 1, f1_macro, pooled=True),
    Metric("matthews", "Matthews correlation", "", 1, matthews, pooled=True),
)
METRICS = {metric.name: metric for metric in _ALL}
