"""Every metric equals scikit-learn's, values worked out by hand, and the law of its direction."""

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from foldwise.core.config import MetricName
from foldwise.metrics import METRICS, Rows, confusion

Scored = Callable[[np.ndarray, np.ndarray], float]


def score(name: str, labels: list[int] | np.ndarray, p: object) -> float:
    return METRICS[name].score(np.asarray(labels), np.asarray(p, dtype=np.float64))


def sure(predictions: list[int], classes: int) -> np.ndarray:
    """Probabilities of which the greatest is that of the predicted class, (n, K)."""
    return np.eye(classes)[predictions] * 0.6 + 0.4 / classes


def of_counts(counts: list[list[int]]) -> Rows:
    """Rows with this confusion matrix, (K, K) by label and prediction."""
    pairs = [(y, k) for y, row in enumerate(counts) for k, n in enumerate(row) for _ in range(n)]
    return np.array([y for y, _ in pairs]), sure([k for _, k in pairs], len(counts))


def two(p1: list[float]) -> list[list[float]]:
    """Probabilities of two classes from those of class 1."""
    return [[1 - p, p] for p in p1]


# --- against scikit-learn ---------------------------------------------------------------------


@st.composite
def rows(draw: st.DrawFn, every_class: bool = False) -> Rows:
    """Labels of 2 to 5 classes and probabilities with ties, zeros and constant columns."""
    classes, n = draw(st.integers(2, 5)), draw(st.integers(5, 25))
    some = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    labels = np.array([*(range(classes) if every_class else []), *draw(some)])
    if draw(st.booleans()):
        counts = np.tile(draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes)), n)
        counts = counts[: n * classes].reshape(n, classes).repeat(2, axis=0)[: len(labels)]
        counts = np.resize(counts, (len(labels), classes))
    else:
        cells = len(labels) * classes
        counts = np.array(draw(st.lists(st.integers(0, 4), min_size=cells, max_size=cells)))
        counts = counts.reshape(len(labels), classes)
    counts = counts + (counts.sum(axis=1, keepdims=True) == 0)
    return labels, counts / counts.sum(axis=1, keepdims=True)


def one_against_rest(area: Scored, labels: np.ndarray, p: np.ndarray) -> float:
    if p.shape[1] == 2:
        return area(labels, p[:, 1])
    return float(np.mean([area(labels == k, p[:, k]) for k in range(p.shape[1])]))


REFERENCE: dict[str, Scored] = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.argmax(axis=1)),
    "log_loss": lambda y, p: reference.log_loss(y, p, labels=range(p.shape[1])),
    "brier": lambda y, p: reference.brier_score_loss(y, p, labels=list(range(p.shape[1]))),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p.argmax(axis=1)),
    "roc_auc": lambda y, p: one_against_rest(reference.roc_auc_score, y, p),
    "average_precision": lambda y, p: one_against_rest(reference.average_precision_score, y, p),
    "f1_macro": lambda y, p: reference.f1_score(y, p.argmax(axis=1), average="macro"),
    "matthews": lambda y, p: reference.matthews_corrcoef(y, p.argmax(axis=1)),
}


@pytest.mark.parametrize("name", METRICS)
def test_equals_scikit_learn(name: str) -> None:
    @given(rows(every_class=METRICS[name].every_class))
    @settings(max_examples=40)
    def check(some: Rows) -> None:
        with warnings.catch_warnings():
            # Classes that are predicted and no label, or never predicted: both mean it.
            warnings.simplefilter("ignore", UserWarning)
            expected = REFERENCE[name](*some)
        assert score(name, *some) == pytest.approx(expected, rel=1e-12, abs=1e-12)

    check()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_areas_are_scikit_learns_for_several_classes(classes: int) -> None:
    """Its own way for several classes: multi_class="ovr", and indicator columns."""
    random = np.random.default_rng(classes)
    labels, p = np.arange(60) % classes, random.dirichlet(np.ones(classes), 60)
    auc = reference.roc_auc_score(labels, p[:, 1] if classes == 2 else p, multi_class="ovr")
    assert score("roc_auc", labels, p) == pytest.approx(auc, rel=1e-12)
    if classes > 2:
        area = reference.average_precision_score(np.eye(classes)[labels], p, average="macro")
        assert score("average_precision", labels, p) == pytest.approx(area, rel=1e-12)


# --- by hand ----------------------------------------------------------------------------------

MIXED = of_counts([[3, 1], [2, 4]])
THREE = np.array([0, 0, 1, 1, 2, 2]), sure([0, 1, 1, 1, 2, 0], 3)
RANKED = [0, 0, 1, 1], two([0.1, 0.4, 0.35, 0.8])


@pytest.mark.parametrize(
    ("name", "labels", "p", "expected"),
    [
        ("roc_auc", *RANKED, 0.75),  # three of four pairs are in order
        ("average_precision", *RANKED, 0.833333),  # (1 + 2/3) / 2
        ("roc_auc", [0, 1], two([0.5, 0.5]), 0.5),  # a tie counts half
        ("average_precision", [0, 1], two([0.5, 0.5]), 0.5),
        ("accuracy", *MIXED, 0.7),
        ("balanced_accuracy", *MIXED, 0.708333),  # (3/4 + 4/6) / 2
        ("f1_macro", *MIXED, 0.696970),  # (6/9 + 8/11) / 2
        ("matthews", *MIXED, 0.408248),  # (3·4 − 1·2) / √(4·6·5·5)
        ("balanced_accuracy", *THREE, 0.666667),
        ("f1_macro", *THREE, 0.655556),
        ("matthews", *THREE, 0.522233),
        ("log_loss", [1, 1, 1], two([0.9, 0.5, 0.2]), 0.802649),
        ("brier", [1], two([0.8]), 0.04),
        ("brier", [0], [[0.7, 0.2, 0.1]], 0.14),  # .3² + .2² + .1²
        ("matthews", [0, 1, 0], sure([0, 0, 0], 2), 0.0),  # 0/0
        ("matthews", [0, 0], sure([0, 0], 2), 0.0),
        ("f1_macro", [0, 1, 0], sure([0, 0, 0], 2), 0.4),  # (4/5 + 0) / 2
        ("f1_macro", [0, 0], sure([0, 0], 3), 1.0),  # of the classes that are there
        ("balanced_accuracy", [0, 0, 2], sure([0, 1, 2], 3), 0.75),  # nothing is of class 1
    ],
)
def test_by_hand(name: str, labels: list[int], p: object, expected: float) -> None:
    assert score(name, labels, p) == pytest.approx(expected, abs=5e-7)


def test_a_probability_of_zero_or_one_has_a_finite_loss() -> None:
    epsilon = np.finfo(np.float64).eps
    assert score("log_loss", [1], two([0.0])) == -math.log(epsilon)
    assert score("log_loss", [1], two([1.0])) == pytest.approx(epsilon)


def test_a_tie_goes_to_the_lower_class() -> None:
    """As `torch.round` has it for two classes: .5 is class 0."""
    assert score("accuracy", [0], two([0.5])) == 1
    assert score("accuracy", [1], two([0.5 + 1e-7])) == 1
    assert score("accuracy", [1, 2], [[0.2, 0.4, 0.4]] * 2) == 0.5


def test_confusion_counts_by_label_and_prediction() -> None:
    counts = [[3, 1, 0], [2, 4, 5], [0, 0, 0]]
    assert confusion(*of_counts(counts)).tolist() == counts


# --- the table of metrics ---------------------------------------------------------------------


def test_params_yaml_offers_every_metric() -> None:
    assert set(METRICS) == set(get_args(MetricName))
    assert all(name == metric.name for name, metric in METRICS.items())
    assert {metric.unit for metric in METRICS.values()} == {"share", "nats", ""}


@pytest.mark.parametrize("name", METRICS)
def test_a_better_prediction_has_a_better_score(name: str) -> None:
    """The law that `direction` states."""
    labels = np.arange(30) % 3
    good, poor = (np.eye(3)[labels] * share + (1 - share) / 3 for share in (0.9, 0.3))
    poor[::2] = poor[::2, [1, 2, 0]]  # every other row wrong
    gain = score(name, labels, good) - score(name, labels, poor)
    assert METRICS[name].direction * gain > 0


@pytest.mark.parametrize("name", METRICS)
def test_what_cannot_be_computed(name: str) -> None:
    metric = METRICS[name]
    assert metric.problem(np.array([0, 1, 2]), 3) == ""
    assert metric.problem(np.array([], dtype=np.intp), 3) == "there are no rows"
    reason = f"no row is of class 1, and {metric.title} needs rows of every class"
    assert metric.problem(np.array([0, 2]), 3) == (reason if metric.every_class else "")


# --- folds of a repeat ------------------------------------------------------------------------

POOLED = [name for name, metric in METRICS.items() if metric.pooled]
ONE, OTHER = of_counts([[3, 1], [2, 4]]), of_counts([[1, 0], [0, 1]])


def some_folds(sizes: list[int]) -> list[Rows]:
    random = np.random.default_rng(len(sizes))
    return [(random.integers(0, 3, n), random.dirichlet(np.ones(3), n)) for n in sizes]


def joined(folds: list[Rows]) -> Rows:
    return np.concatenate([y for y, _ in folds]), np.concatenate([p for _, p in folds])


def test_pooled_metrics_are_those_that_one_fold_does_not_estimate_fairly() -> None:
    assert POOLED == ["f1_macro", "matthews"]


def test_the_jackknifes_share_by_hand() -> None:
    """Together [[4, 1], [2, 5]]: F1 (8/11 + 10/13) / 2 = θ; each share is 2·θ − F1 of the other."""
    whole = (8 / 11 + 10 / 13) / 2
    shares = METRICS["f1_macro"].by_fold([ONE, OTHER])
    assert shares == pytest.approx([2 * whole - 1, 2 * whole - (6 / 9 + 8 / 11) / 2])


@pytest.mark.parametrize("name", POOLED)
def test_equal_folds_share_equally(name: str) -> None:
    assert METRICS[name].by_fold([ONE] * 4) == pytest.approx([score(name, *ONE)] * 4)


@pytest.mark.parametrize("name", POOLED)
def test_shares_belong_to_their_folds(name: str) -> None:
    """Another order of folds, or of rows in one, gives the same shares in that order."""
    folds = some_folds([7, 9, 8])
    shares = METRICS[name].by_fold(folds)
    turned = [(labels[::-1], p[::-1]) for labels, p in folds[::-1]]
    assert METRICS[name].by_fold(turned) == pytest.approx(shares[::-1])
    k, others = 3, [score(name, *joined(folds[:j] + folds[j + 1 :])) for j in range(3)]
    mean = k * score(name, *joined(folds)) - (k - 1) * float(np.mean(others))
    assert np.mean(shares) == pytest.approx(mean)  # the jackknife's estimate of the whole


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "brier"])
def test_the_share_of_a_mean_over_rows_is_the_folds_own_score(name: str) -> None:
    """For folds of one size; so that pooled and per-fold metrics mean the same."""
    metric, folds = METRICS[name], some_folds([8, 8, 8, 8])
    own = [metric.score(*fold) for fold in folds]
    assert metric.by_fold(folds) == own
    assert replace(metric, pooled=True).by_fold(folds) == pytest.approx(own)


def test_a_fold_that_cannot_be_scored_has_no_score() -> None:
    alone = np.array([0, 0]), np.array(two([0.2, 0.6]))
    first, second = METRICS["roc_auc"].by_fold([alone, ONE])
    assert math.isnan(first)
    assert second == score("roc_auc", *ONE)


# --- imports ----------------------------------------------------------------------------------


def test_numbers_need_no_trainer_and_no_tracker() -> None:
    code = (
        "import sys, foldwise.comparison, foldwise.evaluation, foldwise.metrics; "
        "print(*({'sklearn', 'torch', 'mlflow', 'dvc'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
