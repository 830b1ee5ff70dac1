"""Scores and metrics of one variant: by hand, against scikit-learn, and what is refused."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import variant
from fabricate import Data, of_tables
from sklearn import metrics as reference

from foldwise.core.errors import ResultsError
from foldwise.evaluation import evaluate, split_digest
from foldwise.metrics import METRICS
from foldwise.results.evaluations import COLUMNS, Evaluation
from foldwise.results.runs import predicted, probabilities

CLASSES = ("rock", "metal")


def table(lines: list[tuple[float, ...]], classes: int = 2) -> pd.DataFrame:
    """Lines of row, repeat, fold, label, p0 ... as a prediction table."""
    columns = ["row", "repeat", "fold", "label", *(f"p{k}" for k in range(classes))]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(columns[:4], "int64"))


def history(splits: list[tuple[int, int]], epochs: int = 2) -> pd.DataFrame:
    """Train loss .1·(fold + 1) and accuracy .9, validation .5 and .7, after the last epoch."""
    lines = [
        (r, f, e, 0.1 * (f + 1) * (epochs - e + 1), 0.9 if e == epochs else 0.2, 0.5, 0.7)
        for r, f in splits
        for e in range(1, epochs + 1)
    ]
    lines += [(-1, -1, e, 9.0, 0.0, math.nan, math.nan) for e in range(1, epochs + 1)]
    names = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    return pd.DataFrame(lines, columns=["repeat", "fold", "epoch", *names])


# Five rows in two folds. Fold 0 (rows 0, 1, 2): right, wrong, right; fold 1 (rows 3, 4): wrong,
# right: row 3 is a tie, which goes to class 0, and its label is 1.
FIVE = table(
    [
        (0, 0, 0, 0, 0.8, 0.2),
        (1, 0, 0, 0, 0.4, 0.6),
        (2, 0, 0, 1, 0.1, 0.9),
        (3, 0, 1, 1, 0.5, 0.5),
        (4, 0, 1, 1, 0.3, 0.7),
    ]
)
BOTH = history([(0, 0), (0, 1)])

# Four test rows of class 0 by the two folds' models and by refit.
RIGHT, WRONG = (0.9, 0.1), (0.2, 0.8)
TEST = table(
    [
        *[(row, 0, 0, 0, *p) for row, p in enumerate([RIGHT, RIGHT, WRONG, WRONG])],
        *[(row, 0, 1, 0, *p) for row, p in enumerate([RIGHT, RIGHT, RIGHT, RIGHT])],
        *[(row, -1, -1, 0, *p) for row, p in enumerate([RIGHT, WRONG, WRONG, WRONG])],
    ]
)


def evaluated(
    predictions: pd.DataFrame,
    *tables: pd.DataFrame,
    folds: int = 2,
    repeats: int = 1,
    classes: tuple[str, ...] = CLASSES,
    metric: str = "accuracy",
    reason: str | None = None,
) -> Evaluation:
    """The evaluation of variant `v` with these predictions, curves and test predictions."""
    v = variant(name="v", folds=folds, repeats=repeats)
    like = Data(class_names=classes)
    return evaluate(of_tables(v, predictions, *tables, reason=reason, like=like), metric)


def five() -> Evaluation:
    return evaluated(FIVE, BOTH)


def random_table(
    classes: int, rows: int = 60, folds: int = 3, repeats: int = 2, seed: int = 0
) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    lines = [
        (row, repeat, fold, labels[row], *random.dirichlet(np.ones(classes)))
        for repeat in range(repeats)
        for row, fold in enumerate(random.permutation(rows) % folds)
    ]
    return table(lines, classes)


# --- numbers ----------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    scores = five().scores
    assert list(scores.columns) == COLUMNS
    assert scores[["repeat", "fold", "n_train", "n_validation"]].to_numpy().tolist() == [
        [0, 0, 2, 3],
        [0, 1, 3, 2],
    ]
    assert scores["accuracy"].tolist() == pytest.approx([2 / 3, 1 / 2])
    first = -(math.log(0.8) + math.log(0.4) + math.log(0.9)) / 3
    second = -(math.log(0.5) + math.log(0.7)) / 2
    assert scores["log_loss"].tolist() == pytest.approx([first, second], rel=1e-9)
    assert scores["brier"].tolist() == pytest.approx([(0.04 + 0.36 + 0.01) / 3, (0.25 + 0.09) / 2])
    assert scores["balanced_accuracy"].tolist() == pytest.approx([(1 / 2 + 1) / 2, 1 / 2])
    assert scores["roc_auc"].tolist() == pytest.approx([1, math.nan], nan_ok=True)
    # Together [[1, 1], [1, 2]]: (1/2 + 2/3) / 2; a share is twice that minus F1 of the other fold.
    one, other = (2 / 3 + 2 / 3) / 2, (0 + 2 / 3) / 2
    whole = (1 / 2 + 2 / 3) / 2
    assert scores["f1_macro"].tolist() == pytest.approx([2 * whole - other, 2 * whole - one])
    assert scores["train_accuracy"].tolist() == [0.9, 0.9]
    assert scores["train_loss"].tolist() == [0.1, 0.2]
    assert scores["test_accuracy"].isna().all()


def test_metrics_by_hand() -> None:
    metrics = five().metrics
    sd = (2 / 3 - 1 / 2) / math.sqrt(2)  # of two values
    se = sd * math.sqrt(1 / 2 + 1 / (2 - 1))
    margin = 12.706204736 * se  # t(.975, 1)
    assert metrics.primary.model_dump() == pytest.approx(
        {
            "mean": 7 / 12,
            "sd_over_splits": sd,
            "se_corrected": se,
            "ci95_low": 7 / 12 - margin,
            "ci95_high": 7 / 12 + margin,
        }
    )
    assert metrics.recall == pytest.approx({"rock": 1 / 2, "metal": 2 / 3})
    assert (metrics.train_accuracy, metrics.train_loss) == pytest.approx((0.9, 0.15))
    assert metrics.gap is not None
    assert vars(metrics.gap) == pytest.approx({"accuracy": 0.9 - 0.7, "loss": 0.5 - 0.15})
    assert (metrics.variant, metrics.study, metrics.edition) == ("v", "toy-study", "uci")
    assert (metrics.synthetic, metrics.status, metrics.splits, metrics.rows) == (
        False, "complete", 2, 5,
    )  # fmt: skip
    assert metrics.test is None


@pytest.mark.parametrize("classes", [2, 3])
def test_agrees_with_scikit_learn(classes: int) -> None:
    names = tuple(f"c{k}" for k in range(classes))
    data = random_table(classes)
    curves = history([(r, f) for r in range(2) for f in range(3)])
    found = evaluated(data, curves, folds=3, repeats=2, classes=names)
    for line in found.scores.to_dict("records"):
        part = data[(data["repeat"] == line["repeat"]) & (data["fold"] == line["fold"])]
        p, y = probabilities(part), part["label"]
        labels = list(range(classes))
        auc = reference.roc_auc_score(y, p[:, 1] if classes == 2 else p, multi_class="ovr")
        assert line["accuracy"] == pytest.approx(reference.accuracy_score(y, p.argmax(axis=1)))
        assert line["log_loss"] == pytest.approx(reference.log_loss(y, p, labels=labels))
        assert line["brier"] == pytest.approx(reference.brier_score_loss(y, p, labels=labels))
        assert line["roc_auc"] == pytest.approx(auc)
        assert line["n_validation"] == len(part)
        assert line["n_train"] == 60 - len(part)
    recall = reference.recall_score(data["label"], predicted(data), average=None)
    assert list(found.metrics.recall.values()) == pytest.approx(recall.tolist())


def test_test_rows_are_scored_for_folds_and_refit() -> None:
    found = evaluated(FIVE, BOTH, TEST)
    assert found.scores["test_accuracy"].tolist() == [0.5, 1.0]
    assert found.metrics.test is not None
    assert vars(found.metrics.test) == pytest.approx(
        {
            "refit_accuracy": 0.25,
            "refit_log_loss": -(math.log(0.9) + 3 * math.log(0.2)) / 4,
            "folds_accuracy_mean": 0.75,
            "folds_accuracy_sd": 0.5 / math.sqrt(2),
            "rows": 4,
        }
    )


def test_the_order_of_lines_does_not_matter() -> None:
    data = random_table(2)
    splits = [(r, f) for r in range(2) for f in range(3)]
    one, other = (
        evaluated(data.sample(frac=1, random_state=seed), history(order), folds=3, repeats=2)
        for seed, order in ((1, splits), (2, splits[::-1]))
    )
    pd.testing.assert_frame_equal(one.scores, other.scores, rtol=1e-12)
    assert one.metrics.recall == other.metrics.recall
    assert one.metrics.split_digest == other.metrics.split_digest


def test_the_split_digest_is_that_of_rows_labels_and_folds() -> None:
    same = FIVE.sample(frac=1, random_state=0).assign(p0=0.5, p1=0.5).astype({"row": "int32"})
    assert split_digest(same) == split_digest(FIVE) == five().metrics.split_digest
    for column in ("row", "label", "fold", "repeat"):
        other = FIVE.assign(**{column: FIVE[column] + (FIVE["row"] == 4)})
        assert split_digest(other) != split_digest(FIVE), column


# --- the primary metric -----------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_the_primary_metric_alone_has_a_corrected_interval(metric: str) -> None:
    curves = history([(r, f) for r in range(2) for f in range(3)])
    metrics = evaluated(random_table(2), curves, folds=3, repeats=2, metric=metric).metrics
    assert metrics.metric == metric
    assert metrics.primary == metrics.scores[metric]
    assert [name for name, score in metrics.scores.items() if score.ci95_low is not None] == [
        metric
    ]
    assert set(metrics.scores) == set(METRICS)
    assert metrics.missing == {}


def test_a_metric_that_cannot_be_computed_is_missing_with_its_reason() -> None:
    metrics = five().metrics
    assert metrics.missing == {
        "roc_auc": "split r0-f01: no row is of class 0, and ROC AUC needs rows of every class",
        "average_precision": (
            "split r0-f01: no row is of class 0, and average precision needs rows of every class"
        ),
    }
    assert set(metrics.scores) == set(METRICS) - set(metrics.missing)


def test_as_the_primary_one_it_is_refused() -> None:
    with pytest.raises(ResultsError, match=r"v: no ROC AUC: split r0-f01: no row is of class 0"):
        evaluated(FIVE, BOTH, metric="roc_auc")


# --- failures and refusals --------------------------------------------------------------------


def test_a_failed_run_says_why() -> None:
    found = evaluated(FIVE, BOTH, reason="loss is not finite in r0-f01")
    assert found.metrics.status == "failed"
    assert found.metrics.reason == "loss is not finite in r0-f01"
    assert found.metrics.scores == {}
    assert list(found.scores.columns) == COLUMNS
    assert found.scores.empty


@pytest.mark.parametrize(
    ("tables", "options", "reason"),
    [
        ((FIVE, BOTH), {"folds": 3}, r"v: the splits in its predictions .* train@v"),
        ((FIVE, history([(0, 0)])), {}, "v: the splits in its history"),
        ((FIVE, BOTH, TEST[TEST["fold"] >= 0]), {}, "v: the splits in its test predictions"),
        ((FIVE, BOTH), {"classes": ("a", "b", "c")}, "v: the classes in its predictions"),
        ((FIVE.assign(row=0), BOTH), {}, "v: the rows in its predictions"),
    ],
)
def test_tables_that_are_not_the_manifests_are_refused(
    tables: tuple[pd.DataFrame, ...], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ResultsError, match=reason):
        evaluated(*tables, **options)
