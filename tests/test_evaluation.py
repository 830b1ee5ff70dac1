import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as reference

from foldwise.core.errors import ResultsError
from foldwise.evaluation import (
    COLUMNS,
    confusion,
    corrected_standard_error,
    evaluate,
    predicted,
    row_scores,
    significant,
)

CLASSES = ["rock", "metal"]


def manifest(folds=2, repeats=1, classes=CLASSES, **changes):
    return {
        "status": "complete",
        "reason": None,
        "variant": {
            "name": "v",
            "study": "s",
            "dataset": "d",
            "cv": {"folds": folds, "repeats": repeats, "seed": 0},
        },
        "dataset": {
            "edition": "uci",
            "synthetic": False,
            "class_names": classes,
            "digest": "data",
        },
        "split_digest": "splits",
        **changes,
    }


def table(lines, classes=2):
    """Lines of row, repeat, fold, label, p0 ... as a prediction table."""
    columns = ["row", "repeat", "fold", "label", *(f"p{k}" for k in range(classes))]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(columns[:4], "int64"))


def history(splits, epochs=2):
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
NONE = FIVE.iloc[:0]

# Four test rows of class 0 by the two folds' models and by refit.
RIGHT, WRONG = (0.9, 0.1), (0.2, 0.8)
TEST = table(
    [
        *[(row, 0, 0, 0, *p) for row, p in enumerate([RIGHT, RIGHT, WRONG, WRONG])],
        *[(row, 0, 1, 0, *p) for row, p in enumerate([RIGHT, RIGHT, RIGHT, RIGHT])],
        *[(row, -1, -1, 0, *p) for row, p in enumerate([RIGHT, WRONG, WRONG, WRONG])],
    ]
)


def five():
    return evaluate(manifest(), history([(0, 0), (0, 1)]), FIVE, NONE)


def test_scores_by_hand():
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
    assert scores["train_accuracy"].tolist() == [0.9, 0.9]
    assert scores["train_loss"].tolist() == [0.1, 0.2]
    assert scores["test_accuracy"].isna().all()


def test_metrics_by_hand():
    found = five().metrics
    sd = (2 / 3 - 1 / 2) / math.sqrt(2)  # of two values
    se = sd * math.sqrt(1 / 2 + 1 / (2 - 1))
    margin = 12.706204736 * se  # t(.975, 1)
    assert found["accuracy"] == pytest.approx(
        {
            "mean": 7 / 12,
            "sd_over_splits": sd,
            "se_corrected": se,
            "ci95_low": 7 / 12 - margin,
            "ci95_high": 7 / 12 + margin,
        }
    )
    assert found["recall"] == pytest.approx({"rock": 1 / 2, "metal": 2 / 3})
    assert found["train_accuracy"] == 0.9
    assert found["train_loss"] == 0.15
    assert found["gap"] == pytest.approx({"accuracy": 0.9 - 0.7, "loss": 0.5 - 0.15})
    identity = ("variant", "study", "edition", "synthetic", "status", "splits", "rows")
    assert [found[key] for key in identity] == ["v", "s", "uci", False, "complete", 2, 5]
    assert "test" not in found


def test_corrected_standard_error_with_repeats():
    """k = 10: SE/s is .459, .362, .348 for r = 1, 5, 10 (Bouckaert & Frank 2004)."""
    found = [corrected_standard_error(1.0, 10 * r, 10) for r in (1, 5, 10)]
    assert found == pytest.approx([0.459, 0.362, 0.348], abs=5e-4)


def random_table(classes, rows=60, folds=3, repeats=2, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    lines = [
        (row, repeat, fold, labels[row], *random.dirichlet(np.ones(classes)))
        for repeat in range(repeats)
        for row, fold in enumerate(random.permutation(rows) % folds)
    ]
    return table(lines, classes)


@pytest.mark.parametrize("classes", [2, 3])
def test_agrees_with_scikit_learn(classes):
    names = [f"c{k}" for k in range(classes)]
    data = random_table(classes)
    splits = [(r, f) for r in range(2) for f in range(3)]
    found = evaluate(manifest(3, 2, names), history(splits), data, data.iloc[:0])
    for line in found.scores.to_dict("records"):
        part = data[(data["repeat"] == line["repeat"]) & (data["fold"] == line["fold"])]
        p, y = part[[f"p{k}" for k in range(classes)]].to_numpy(), part["label"]
        labels = list(range(classes))
        assert line["accuracy"] == pytest.approx(reference.accuracy_score(y, p.argmax(axis=1)))
        assert line["log_loss"] == pytest.approx(reference.log_loss(y, p, labels=labels))
        assert line["brier"] == pytest.approx(reference.brier_score_loss(y, p, labels=labels))
        assert line["n_validation"] == len(part)
        assert line["n_train"] == 60 - len(part)
    recall = reference.recall_score(data["label"], predicted(data), average=None)
    assert list(found.metrics["recall"].values()) == pytest.approx(recall.tolist())
    counts = confusion(data, names).to_numpy().tolist()
    expected = reference.confusion_matrix(data["label"], predicted(data))
    assert counts == expected.tolist()
    assert np.sum(counts) == 2 * 60  # every row once per repeat
    interval = stats.t.interval(0.95, 5, found.metrics["accuracy"]["mean"])
    half = (interval[1] - interval[0]) / 2 * found.metrics["accuracy"]["se_corrected"]
    assert found.metrics["accuracy"]["ci95_high"] == pytest.approx(
        found.metrics["accuracy"]["mean"] + half
    )


def test_a_probability_of_zero_is_clipped_as_scikit_learn_clips_it():
    sure = table([(0, 0, 0, 1, 1.0, 0.0), (1, 0, 0, 0, 1.0, 0.0)])
    expected = reference.log_loss([1, 0], [[1.0, 0.0], [1.0, 0.0]], labels=[0, 1])
    assert row_scores(sure)["log_loss"].mean() == pytest.approx(expected)
    assert row_scores(sure)["brier"].tolist() == [1.0, 0.0]


def test_a_tie_goes_to_class_zero():
    tie = table([(0, 0, 0, 0, 0.5, 0.5), (1, 0, 0, 0, 0.5 - 1e-7, 0.5 + 1e-7)])
    assert predicted(tie).tolist() == [0, 1]


def test_test_rows_are_scored_for_folds_and_refit():
    found = evaluate(manifest(), history([(0, 0), (0, 1)]), FIVE, TEST)
    assert found.scores["test_accuracy"].tolist() == [0.5, 1.0]
    assert found.metrics["test"] == pytest.approx(
        {
            "refit_accuracy": 0.25,
            "refit_log_loss": -(math.log(0.9) + 3 * math.log(0.2)) / 4,
            "folds_accuracy_mean": 0.75,
            "folds_accuracy_sd": 0.5 / math.sqrt(2),
            "rows": 4,
        }
    )


def test_a_failed_run_says_why():
    failed = manifest(status="failed", reason="loss is not finite in r0-f01")
    found = evaluate(failed, history([(0, 0)]), FIVE, NONE)
    assert found.metrics["status"] == "failed"
    assert found.metrics["reason"] == "loss is not finite in r0-f01"
    assert "accuracy" not in found.metrics
    assert list(found.scores.columns) == COLUMNS
    assert found.scores.empty


def test_metrics_are_numbers_and_names_only():
    def leaves(tree):
        if isinstance(tree, dict):
            return [leaf for value in tree.values() for leaf in leaves(value)]
        return [tree]

    found = evaluate(manifest(), history([(0, 0), (0, 1)]), FIVE, TEST)
    assert {type(leaf) for leaf in leaves(found.metrics)} == {str, bool, int, float}
    json.dumps(found.metrics, allow_nan=False)


def test_order_of_lines_does_not_matter():
    data = random_table(2)
    splits = [(r, f) for r in range(2) for f in range(3)]
    runs = [
        evaluate(manifest(3, 2), history(order), data.sample(frac=1, random_state=seed), NONE)
        for seed, order in ((1, splits), (2, splits[::-1]))
    ]
    assert runs[0].metrics == runs[1].metrics
    pd.testing.assert_frame_equal(runs[0].scores, runs[1].scores, check_exact=True)


def test_floats_have_ten_significant_digits():
    tree = {"a": [2 / 3, (1 / 3,)], "b": 200_000 / 3, "n": 12345678901234, "s": "x"}
    rounded = {"a": [0.6666666667, [0.3333333333]], "b": 66666.66667}
    assert significant(tree) == {**rounded, "n": 12345678901234, "s": "x"}
    assert five().scores["accuracy"].tolist() == [0.6666666667, 0.5]
    assert five().metrics["accuracy"]["mean"] == 0.5833333333


def test_tables_of_other_splits_are_refused():
    both = history([(0, 0), (0, 1)])
    with pytest.raises(ResultsError, match=r"v: the splits in its predictions .* train@v"):
        evaluate(manifest(folds=3), both, FIVE, NONE)
    with pytest.raises(ResultsError, match="v: the splits in its history"):
        evaluate(manifest(), history([(0, 0)]), FIVE, NONE)
    with pytest.raises(ResultsError, match="v: the splits in its test predictions"):
        evaluate(manifest(), both, FIVE, TEST[TEST["fold"] >= 0])
    with pytest.raises(ResultsError, match="v: the classes in its predictions"):
        evaluate(manifest(classes=["a", "b", "c"]), both, FIVE, NONE)
