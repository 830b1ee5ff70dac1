"""Pairs and studies: by hand, which way is better, and what must not be compared."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import variant
from fabricate import TINY, Cache, Plan, of_tables, run

from foldwise.comparison import check_comparable, compare, compare_study, decided
from foldwise.core import paths
from foldwise.core.config import ComparisonConfig, CrossValidation, Sgd, Study, Training
from foldwise.core.errors import ComparisonError, DamagedError
from foldwise.evaluation import evaluate
from foldwise.metrics import METRICS
from foldwise.results import runs
from foldwise.results.comparisons import Exploratory, McNemar, Refused
from foldwise.results.evaluations import Evaluation, Result, read_result
from foldwise.statistics import corrected_t_test, correlated_posterior, holm

# --- results of variants ----------------------------------------------------------------------


def predictions(right: Any, folds: int = 2) -> pd.DataFrame:
    """Prediction table of two classes; `right` is (repeats, rows) of bool; label = row % 2."""
    right = np.atleast_2d(np.asarray(right, dtype=bool))
    repeats, rows = right.shape
    row, label = np.tile(np.arange(rows), repeats), np.tile(np.arange(rows) % 2, repeats)
    repeat = np.repeat(np.arange(repeats), rows)
    p_label = np.where(right.ravel(), 0.8, 0.3)
    p1 = np.where(label == 1, p_label, 1 - p_label)
    fold = (row // 2 + repeat) % folds
    columns = {"row": row, "repeat": repeat, "fold": fold, "label": label}
    return pd.DataFrame({**columns, "p0": 1 - p1, "p1": p1})


def study(
    folds: int = 5,
    repeats: int = 2,
    pairs: tuple[tuple[str, str], ...] = (),
    metric: str = "accuracy",
) -> Study:
    return Study(
        name="s",
        dataset="d",
        cv=CrossValidation(folds=folds, repeats=repeats, seed=0),
        training=Training(epochs=1, batch_size=2, shuffle=True, optimizer=Sgd(name="sgd", lr=0.1)),
        comparison=ComparisonConfig(
            baseline="base", pairs=[list(pair) for pair in pairs], metric=metric
        ),
    )


def result(
    right: Any, name: str = "base", reason: str | None = None, metric: str = "accuracy",
    **facts: Any,
) -> Result:  # fmt: skip
    """A variant of `study()` whose held-out rows are right or not as in `right`, (repeats, rows).

    `facts` are of its data set.
    """
    table = predictions(right, folds=5)
    repeats = int(table["repeat"].nunique())
    v = variant(name=name, folds=5, repeats=repeats)
    v = v.model_copy(update={"study": "s", "dataset": "d"})
    made = of_tables(v, table, reason=reason, **facts)
    return Result(evaluate(made, metric), made)


def changed(old: Result, **of_variant: Any) -> Result:
    """The same scores, and a run whose variant has other settings."""
    v = old.run.manifest.variant.model_copy(update=of_variant)
    manifest = old.run.manifest.model_copy(update={"variant": v})
    return replace(old, run=replace(old.run, manifest=manifest))


def tabled(old: Result, scores: pd.DataFrame | None = None, **columns: Any) -> Result:
    """The same with other scores, or with other columns in its run's predictions."""
    table = old.run.predictions.assign(**columns)
    evaluation = Evaluation(old.metrics, old.scores if scores is None else scores)
    return Result(evaluation, replace(old.run, predictions=table))


def accuracy(share: float, repeats: int = 2, rows: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((repeats, rows)) < share


SAME = result(accuracy(0.5))
GOOD = result(accuracy(0.95, seed=1), "good")


# --- pairs ------------------------------------------------------------------------------------


def test_pair_by_hand() -> None:
    """Ten rows in five folds: B alone has row 0 right (fold 0), A alone row 9 (fold 4)."""
    a, b = np.ones((2, 1, 10), dtype=bool)
    a[0, 0] = b[0, 9] = False
    pair = compare(study(repeats=1), result(a), result(b, "new"))
    assert [(line.repeat, line.fold, line.difference) for line in pair.differences] == [
        (0, 0, 0.5),
        (0, 1, 0),
        (0, 2, 0),
        (0, 3, 0),
        (0, 4, -0.5),
    ]
    assert (pair.a, pair.b, pair.kind, pair.n, pair.folds, pair.repeats) == (
        "base", "new", "declared", 10, 5, 1,
    )  # fmt: skip
    test = corrected_t_test(np.array([0.5, 0, 0, 0, -0.5]), folds=5)
    assert {name: getattr(pair, name) for name in vars(test)} == vars(test)
    assert (pair.p_holm, pair.verdict) == (test.p, "Inconclusive")
    assert pair.mcnemar == [McNemar(repeat=0, only_a=1, only_b=1, p=1.0)]
    assert pair.bootstrap is not None
    assert (pair.bootstrap.mean, pair.bootstrap.replicates) == (0, 2000)
    assert pair.posterior == correlated_posterior(test, 0.01)
    assert [other.rope for other in pair.ropes] == [0, 0.005, 0.02]
    for other in pair.ropes:
        expected = correlated_posterior(test, other.rope)
        assert other.model_dump(exclude={"rope"}) == vars(expected)
    assert pair.ropes[0].equivalent == 0
    change = (math.log(0.8) - math.log(0.3)) / 2  # fall of log-loss in fold 0
    exploratory = corrected_t_test(np.array([-change, 0, 0, 0, change]), folds=5)
    assert pair.exploratory["log_loss"].ci95 == pytest.approx(exploratory.ci95)
    better = (0.7**2 - 0.2**2) / 2
    exploratory = corrected_t_test(np.array([-better, 0, 0, 0, better]), folds=5)
    assert pair.exploratory["brier"].ci95 == pytest.approx(exploratory.ci95)


def test_rows_are_paired_by_number_in_every_repeat() -> None:
    """In repeat 0 two rows only A gets right and eight only B; p = 2·(1 + 10 + 45)/2¹⁰."""
    a = [[True] * 2 + [False] * 8 + [True] * 5 + [False] * 5, [True] * 20]
    b = [[False] * 2 + [True] * 8 + [True] * 5 + [False] * 5, [True] * 20]
    one, other = result(a), result(b, "new")
    table = other.run.predictions.sample(frac=1, random_state=0)
    pair = compare(study(), one, replace(other, run=replace(other.run, predictions=table)))
    first, second = pair.mcnemar
    assert (first.only_a, first.only_b, first.p) == (2, 8, pytest.approx(112 / 1024))
    assert second == McNemar(repeat=1, only_a=0, only_b=0, p=1.0)
    assert pair.bootstrap is not None
    assert pair.bootstrap.mean == pytest.approx((8 - 2) / 40)


def test_without_run_folders_there_are_no_tests_of_rows() -> None:
    whole = compare(study(), SAME, GOOD)
    scores = compare(study(), Result(SAME.evaluation), Result(GOOD.evaluation), names=("A", "B"))
    assert (scores.mcnemar, scores.bootstrap) == ([], None)
    left_out = {"a", "b", "mcnemar", "bootstrap"}
    assert scores.model_dump(exclude=left_out) == whole.model_dump(exclude=left_out)
    assert (scores.a, scores.b) == ("A", "B")


def test_the_verdict_follows_the_adjusted_p() -> None:
    pair = compare(study(), SAME, GOOD)
    assert (pair.verdict, pair.p_holm) == ("Helps", pair.p)
    adjusted = decided(study(), pair, 0.2)
    assert (adjusted.verdict, adjusted.p_holm, adjusted.p) == ("Inconclusive", 0.2, pair.p)
    assert compare(study(), GOOD, SAME).verdict == "Hurts"


def test_identical_variants() -> None:
    pair = compare(study(), SAME, SAME, names=("base", "new"))
    assert (pair.p, pair.t, pair.verdict) == (1, 0, "Practically the same")


# --- studies ----------------------------------------------------------------------------------


def test_a_study_compares_all_pairs() -> None:
    results = {
        "base": SAME,
        "good": GOOD,
        "alike": result(accuracy(0.5, seed=2), "alike"),
        "dead": result(accuracy(0.5), "dead", reason="loss is not finite"),
    }
    asked = study(pairs=(("alike", "good"), ("good", "base")))
    found = compare_study(asked, results)
    assert compare_study(asked, results) == found
    assert (found.study, found.edition, found.synthetic) == ("s", "uci", False)
    assert (found.metric, found.rope) == ("accuracy", 0.01)
    assert found.protocol.model_dump(exclude={"training"}) == {
        "dataset": "d",
        "folds": 5,
        "repeats": 2,
        "splits": 10,
    }
    assert found.protocol.training == asked.training
    assert found.variants["dead"].model_dump(exclude_none=True) == {
        "status": "failed",
        "reason": "loss is not finite",
    }
    score = GOOD.metrics.primary
    assert found.variants["good"].model_dump(exclude_none=True) == {
        "status": "complete",
        "mean": score.mean,
        "sd": score.sd_over_splits,
        "se": score.se_corrected,
        "ci95": (score.ci95_low, score.ci95_high),
    }
    assert [(p.a, p.b, p.kind, getattr(p, "verdict", None)) for p in found.pairs] == [
        ("base", "good", "baseline", "Helps"),
        ("base", "alike", "baseline", "Inconclusive"),
        ("base", "dead", "baseline", None),
        ("alike", "good", "declared", "Helps"),
    ]
    assert found.refused == [
        Refused(a="base", b="dead", kind="baseline", refused="dead failed: loss is not finite")
    ]
    # Holm is over the pairs that are compared.
    assert [pair.p_holm for pair in found.made] == holm([pair.p for pair in found.made])
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


def test_one_difference_everywhere_has_no_nan() -> None:
    a, b = np.zeros((1, 10), dtype=bool), np.ones((1, 10), dtype=bool)
    found = compare_study(study(repeats=1), {"base": result(a), "b": result(b, "b")})
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    pair = found.made[0]
    assert (pair.t, pair.verdict) == (None, "Inconclusive")  # five splits: sign test p = .0625


def test_missing_results_are_named() -> None:
    with pytest.raises(ComparisonError, match="'base' is not declared"):
        compare_study(study(), {"b": SAME})
    with pytest.raises(ComparisonError, match="did you mean 'other'"):
        compare_study(study(pairs=(("base", "othr"),)), {"base": SAME, "other": SAME})


# --- the primary metric -----------------------------------------------------------------------

PLAN = Plan(
    params="""\
datasets:
  d: {editions: {synthetic: {rows: 240}}}
studies:
  s:
    dataset: d
    cv: {folds: 5, repeats: 2}
    training: {epochs: 1, batch_size: 8, shuffle: true, optimizer: {name: sgd, lr: 0.1}}
    comparison: {baseline: base}
variants:
  base: {study: s, hidden: [3]}
  good: {study: s, hidden: [3]}
""",
    skills={"base": 0.2, "good": 2.5},
)
RUNS = [run(v, PLAN) for v in PLAN.config.variants_of("s")]


@pytest.mark.parametrize("metric", METRICS)
def test_everything_follows_the_primary_metric(metric: str) -> None:
    """Its values, its direction in posterior and verdict; the others are exploratory."""
    base, good = (Result(evaluate(made, metric), made) for made in RUNS)
    asked = study(metric=metric)
    found = compare_study(asked, {"base": base, "good": good})
    pair, direction = found.made[0], METRICS[metric].direction
    assert found.metric == metric
    assert found.variants["good"].mean == good.metrics.scores[metric].mean
    expected = good.scores[metric].mean() - base.scores[metric].mean()
    assert pair.mean == pytest.approx(expected)
    assert direction * pair.mean > 0
    assert pair.verdict == "Helps"
    assert pair.posterior.better > 0.95
    test = corrected_t_test((good.scores[metric] - base.scores[metric]).to_numpy(), 5)
    assert pair.posterior == correlated_posterior(test, 0.01, direction)
    assert pair.ropes[0].better > 0.95
    assert set(pair.exploratory) == set(METRICS) - {metric}
    assert compare(asked, good, base).verdict == "Hurts"


def one_class_in_a_fold(name: str) -> Result:
    """Every row of split r0-f00 is of class 0."""
    table = predictions(accuracy(0.6, seed=len(name)), folds=5)
    first = (table["repeat"] == 0) & (table["fold"] == 0)
    v = variant(name=name, folds=5, repeats=2).model_copy(update={"study": "s", "dataset": "d"})
    made = of_tables(v, table.assign(label=table["label"].where(~first, 0)))
    return Result(evaluate(made), made)


def test_a_metric_that_cannot_be_computed_is_missing_with_its_reason() -> None:
    pair = compare(study(), one_class_in_a_fold("base"), one_class_in_a_fold("new"))
    reason = "split r0-f00: no row is of class 1, and ROC AUC needs rows of every class"
    assert pair.exploratory["roc_auc"] == Exploratory(missing=reason)
    assert pair.exploratory["balanced_accuracy"].missing is None
    with pytest.raises(ComparisonError, match=f"base has no ROC AUC of every split: {reason}"):
        compare(study(metric="roc_auc"), *(one_class_in_a_fold(name) for name in ("base", "new")))


def test_scores_of_an_older_foldwise_are_compared_as_far_as_they_go() -> None:
    old = ["repeat", "fold", "n_train", "n_validation", "accuracy", "log_loss", "brier"]
    one, other = (tabled(r, scores=r.scores[old]) for r in (SAME, GOOD))
    pair = compare(study(), one, other)
    assert pair.model_dump(exclude={"exploratory"}) == compare(study(), SAME, GOOD).model_dump(
        exclude={"exploratory"}
    )
    assert pair.exploratory["brier"].missing is None
    assert "older foldwise; `dvc repro`" in str(pair.exploratory["roc_auc"].missing)
    with pytest.raises(ComparisonError, match=r"base has no macro F1 .* `dvc repro` evaluates"):
        compare(study(metric="f1_macro"), one, other)


# --- refusals ---------------------------------------------------------------------------------

NEW = result(accuracy(0.5), "new")


@pytest.mark.parametrize(
    ("b", "reason"),
    [
        (result(accuracy(0.5), "new", reason="loss is not finite"), "new failed: loss is not"),
        (result(accuracy(0.5), "new", edition="synthetic"), r"editions \(uci and synthetic\)"),
        (result(accuracy(0.5), "new", digest="e"), r"other data digests \(d and e\)"),
        (changed(NEW, study="t"), "new was trained under study t, and study s has s"),
        (changed(NEW, dataset="e"), "new was trained under data set e"),
        (
            changed(NEW, cv=CrossValidation(folds=5, repeats=2, seed=1)),
            "new was trained under cross-validation .*`dvc repro train@new`",
        ),
        (tabled(NEW, scores=NEW.scores.iloc[1:]), r"new has 9 scores of 5 folds × 2 repeats"),
        (tabled(NEW, scores=NEW.scores.assign(n_validation=21)), "splits of other sizes"),
        (tabled(NEW, fold=0), "other held-out rows than its predictions; `dvc repro evaluate@new"),
        (tabled(NEW, label=0), "other held-out rows than its predictions"),
        (
            Result(
                Evaluation(NEW.metrics.model_copy(update={"data_digest": "d0"}), NEW.scores),
                NEW.run,
            ),
            "other data than its predictions",
        ),
        (
            Result(Evaluation(NEW.metrics.model_copy(update={"study": "t"}), NEW.scores)),
            "new was trained in study t, not in s",
        ),
        (
            Result(Evaluation(NEW.metrics.model_copy(update={"split_digest": "x"}), NEW.scores)),
            "other split tables",
        ),
    ],
)
def test_what_is_not_paired_is_refused(b: Result, reason: str) -> None:
    names = ("base", "new")
    check_comparable(study(), SAME, NEW, names)
    for sides in ((SAME, b), (b, SAME)):
        with pytest.raises(ComparisonError):
            check_comparable(study(), *sides, names)
    with pytest.raises(ComparisonError, match=reason):
        compare(study(), SAME, b, names=names)
    found = compare_study(study(), {"base": SAME, "new": b})
    assert [type(pair) for pair in found.pairs] == [Refused]


def test_another_order_of_lines_is_no_other_table() -> None:
    shuffled = Result(
        Evaluation(NEW.metrics, NEW.scores.sample(frac=1, random_state=0)),
        replace(NEW.run, predictions=NEW.run.predictions.sample(frac=1, random_state=0)),
    )
    assert compare(study(), SAME, shuffled).p == 1


def test_training_may_differ() -> None:
    training = NEW.run.manifest.variant.training.model_copy(update={"epochs": 9})
    check_comparable(study(), SAME, changed(NEW, training=training), ("base", "new"))


def test_a_damaged_run_is_no_refused_pair(fabricated: Cache, tmp_path: Path) -> None:
    """It stops the stage: a comparison without the pair would look like an answer."""
    made = fabricated.copy(tmp_path, TINY)
    path = made.root / paths.run("tiny-dropout") / runs.PREDICTIONS
    path.write_bytes(path.read_bytes()[:-1])
    results = {v.name: read_result(made.root, v.name) for v in made.config.variants_of("tiny")}
    with pytest.raises(DamagedError, match=r"predictions\.parquet: damaged"):
        compare_study(made.config.study("tiny"), results)
