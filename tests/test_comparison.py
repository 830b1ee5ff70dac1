import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foldwise.comparison import (
    Bootstrap,
    McNemar,
    Posterior,
    VariantResult,
    check_comparable,
    compare_pair,
    compare_study,
    corrected_t_test,
    correlated_posterior,
    holm,
    mcnemar,
    row_bootstrap,
    sentence,
    verdict,
)
from foldwise.core.config import ComparisonConfig, CrossValidation, Sgd, Study, Training
from foldwise.core.errors import ComparisonError
from foldwise.evaluation import evaluate

# --- statistics -------------------------------------------------------------------------------

GOLDEN = np.array([0.05, 0, 0.05, -0.05, 0.10, 0, 0.05, 0, -0.05, 0.10])
# k = 4, r = 3
REPEATED = np.array([0.10, 0.05, 0, 0.05, -0.05, 0.10, 0, 0.05, 0.15, 0, 0.05, 0.10])


def test_golden_t_test():
    """The golden values of the project's notes on statistics, k = 10, r = 1."""
    found = corrected_t_test(GOLDEN, folds=10)
    assert found.mean == pytest.approx(0.025, abs=1e-6)
    assert found.sd == pytest.approx(0.0540062, abs=1e-6)
    assert found.se == pytest.approx(0.0248141, abs=1e-6)
    assert found.t == pytest.approx(1.00749, abs=1e-5)
    assert found.df == 9
    assert found.p == pytest.approx(0.340017, abs=1e-6)
    assert found.ci95 == pytest.approx((-0.031133, 0.081133), abs=1e-6)
    assert found.naive_p == pytest.approx(0.177268, abs=1e-6)


def test_golden_posterior():
    """As `baycomp` 1.0.3 has it: two_on_single(0, d, rope=.01)."""
    found = correlated_posterior(corrected_t_test(GOLDEN, folds=10), rope=0.01)
    expected = Posterior(0.09600501062324807, 0.18421665090581352, 0.7197783384709384)
    assert vars(found) == pytest.approx(vars(expected), abs=1e-12)


def test_repeats_enter_the_correction():
    """k = 4, r = 3: J = 12 and 1/(k − 1) = 1/3, not 1/11. `baycomp` 1.0.3, runs=3."""
    found = corrected_t_test(REPEATED, folds=4)
    assert found.se == pytest.approx(found.sd * math.sqrt(1 / 12 + 1 / 3))
    expected = Posterior(0.06381058700026174, 0.08389891697502327, 0.852290496024715)
    assert vars(correlated_posterior(found, 0.01)) == pytest.approx(vars(expected), abs=1e-12)


def test_minimum_detectable_effect():
    """SE · (t(.975, 9) + t(.80, 9)), with the quantiles 2.262157 and 0.883404 of the tables."""
    found = corrected_t_test(GOLDEN, folds=10)
    assert found.mde == pytest.approx(0.0248141 * (2.262157 + 0.883404), abs=1e-6)


@pytest.mark.parametrize("rounding", [0.0, 1e-10])
def test_equal_scores_are_identical(rounding):
    found = corrected_t_test(np.full(10, rounding), folds=10)
    assert (found.mean, found.sd, found.t, found.p, found.naive_p) == (0, 0, 0, 1, 1)
    assert found.ci95 == (0, 0)
    for rope in (0.0, 0.01):
        assert correlated_posterior(found, rope) == Posterior(0, 1, 0)
    assert verdict(found.mean, found.p, correlated_posterior(found, 0.01)) == "Practically the same"


@pytest.mark.parametrize(
    ("difference", "splits", "expected"),
    [
        (0.05, 10, "Helps"),
        (-0.05, 10, "Hurts"),
        (0.05, 5, "Inconclusive"),  # sign test: 2/32 > .05
        (0.01 + 2e-10, 10, "Practically the same"),  # the limit belongs to the rope
        (-0.01 - 2e-10, 10, "Practically the same"),
    ],
)
def test_one_difference_everywhere_has_the_p_of_the_sign_test(difference, splits, expected):
    noise = 1e-11 * (-1.0) ** np.arange(splits)  # what rounding to ten digits leaves
    found = corrected_t_test(difference + noise, folds=splits)
    assert (found.sd, found.t, found.p) == (0, None, 2.0 ** (1 - splits))
    assert found.ci95 == pytest.approx((difference, difference))
    posterior = correlated_posterior(found, 0.01)
    assert verdict(found.mean, found.p, posterior) == expected


@pytest.mark.parametrize(
    ("differences", "folds"), [([0.1], 2), ([0.1, 0.2], 1), ([0.1, math.nan], 2)]
)
def test_differences_without_a_spread_or_a_value_are_refused(differences, folds):
    with pytest.raises(ComparisonError):
        corrected_t_test(np.array(differences), folds)


STEP = 1e-3
CASES = st.tuples(st.integers(2, 6), st.integers(1, 3)).flatmap(
    lambda kr: st.tuples(
        st.just(kr[0]),
        st.lists(st.integers(-200, 200), min_size=kr[0] * kr[1], max_size=kr[0] * kr[1]),
    )
)
ROPES = st.sampled_from([0.0, 0.005, 0.01, 0.1])


@given(CASES, ROPES)
@settings(max_examples=100, deadline=None)
def test_swapping_a_and_b_mirrors_everything(case, rope):
    folds, steps = case
    d = np.array(steps) * STEP
    one, other = corrected_t_test(d, folds), corrected_t_test(-d, folds)
    assert other.mean == -one.mean
    assert (other.se, other.p, other.naive_p, other.mde) == (one.se, one.p, one.naive_p, one.mde)
    assert other.ci95 == pytest.approx((-one.ci95[1], -one.ci95[0]))
    left, right = correlated_posterior(one, rope), correlated_posterior(other, rope)
    mirrored = (right.better, right.equivalent, right.worse)
    assert (left.worse, left.equivalent, left.better) == pytest.approx(mirrored, abs=1e-12)
    swapped = {"Helps": "Hurts", "Hurts": "Helps"}
    claim = verdict(one.mean, one.p, left)
    assert verdict(other.mean, other.p, right) == swapped.get(claim, claim)


@given(CASES, ROPES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_splits_does_not_matter(case, rope, random):
    folds, steps = case
    shuffled = random.sample(steps, len(steps))
    tests = [corrected_t_test(np.array(d) * STEP, folds) for d in (steps, shuffled)]
    assert tests[0].p == pytest.approx(tests[1].p, abs=1e-9)
    assert tests[0].ci95 == pytest.approx(tests[1].ci95, abs=1e-9)
    laws = [vars(correlated_posterior(test, rope)) for test in tests]
    assert laws[0] == pytest.approx(laws[1], abs=1e-9)


@given(CASES, ROPES)
@settings(max_examples=100, deadline=None)
def test_probabilities_are_probabilities(case, rope):
    folds, steps = case
    test = corrected_t_test(np.array(steps) * STEP, folds)
    law = correlated_posterior(test, rope)
    parts = (law.worse, law.equivalent, law.better)
    assert all(0 <= p <= 1 for p in (test.p, test.naive_p, *parts))
    assert sum(parts) == pytest.approx(1)
    assert test.naive_p <= test.p + 1e-12
    assert test.ci95[0] <= test.mean <= test.ci95[1]
    assert (test.ci95[0] <= 0 <= test.ci95[1]) == (test.p >= 0.05) or test.sd == 0


def test_corrected_test_keeps_its_level_when_folds_are_correlated():
    """No difference, splits correlated by 1/k: 5 % false alarms, the naive test many times that.

    d = sqrt(ρ)·z + sqrt(1 − ρ)·e with ρ = 1/k is the model of Nadeau & Bengio (2003).
    """
    random, folds, repeats, runs = np.random.default_rng(0), 5, 4, 1000
    shared = random.normal(size=(runs, 1)) * math.sqrt(1 / folds)
    own = random.normal(size=(runs, folds * repeats)) * math.sqrt(1 - 1 / folds)
    tests = [corrected_t_test(d, folds) for d in shared + own]
    corrected = np.mean([test.p <= 0.05 for test in tests])
    naive = np.mean([test.naive_p <= 0.05 for test in tests])
    assert corrected == pytest.approx(0.05, abs=0.02)
    assert naive > 0.3


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3·.01; 1·.04 is raised to 2·.03
        ([0.02, 0.02, 0.5, 0.9], [0.08, 0.08, 1.0, 1.0]),  # 2·.5 = 1
        ([0.3, 0.01, 0.01, 0.6, 0.04], [0.6, 0.05, 0.05, 0.6, 0.12]),
    ],
)
def test_holm(p, expected):
    """By hand, and as statsmodels 0.15.0 has them: multipletests(p, method="holm")."""
    assert holm(p) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_holm_lies_between_no_correction_and_bonferroni(p):
    for before, after in zip(p, holm(p), strict=True):
        assert before <= after <= min(1, len(p) * before)


@pytest.mark.parametrize(
    ("mean", "p", "posterior", "expected"),
    [
        (0.05, 0.05, Posterior(0.0, 0.05, 0.95), "Helps"),
        (0.05, 0.051, Posterior(0.0, 0.05, 0.95), "Inconclusive"),  # Holm says no
        (0.05, 0.01, Posterior(0.0, 0.051, 0.949), "Inconclusive"),  # too small to matter
        (-0.05, 0.05, Posterior(0.95, 0.05, 0.0), "Hurts"),
        (-0.05, 0.051, Posterior(0.95, 0.05, 0.0), "Inconclusive"),
        (-0.05, 0.01, Posterior(0.949, 0.051, 0.0), "Inconclusive"),
        (0.001, 0.01, Posterior(0.0, 0.95, 0.05), "Practically the same"),
        (0.001, 0.9, Posterior(0.02, 0.96, 0.02), "Practically the same"),
        (0.0, 0.9, Posterior(0.3, 0.4, 0.3), "Inconclusive"),
    ],
)
def test_verdict(mean, p, posterior, expected):
    assert verdict(mean, p, posterior) == expected


# --- predictions of two variants --------------------------------------------------------------


def predictions(right, folds=2):
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


def test_mcnemar_by_hand():
    """Two rows only A gets right and eight only B: p = 2·(1 + 10 + 45)/2¹⁰ = .109375."""
    a = [[True] * 2 + [False] * 8 + [True] * 5 + [False] * 5, [True] * 20]
    b = [[False] * 2 + [True] * 8 + [True] * 5 + [False] * 5, [True] * 20]
    found = mcnemar(predictions(a), predictions(b).sample(frac=1, random_state=0))
    assert found == [McNemar(0, 2, 8, pytest.approx(112 / 1024)), McNemar(1, 0, 0, 1.0)]


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (4, 4), (3, 17), (700, 611), (2, 900)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    a = [[True] * only_a + [False] * only_b]
    b = [[False] * only_a + [True] * only_b]
    expected = stats.binomtest(only_b, only_a + only_b).pvalue
    assert mcnemar(predictions(a), predictions(b))[0].p == pytest.approx(expected, rel=1e-12)


def test_bootstrap_is_that_of_whole_rows():
    """Against the plain one: draw rows with replacement, each with both of its repeats."""
    random = np.random.default_rng(1)
    a, b = random.random((2, 2, 200)) < np.array([0.6, 0.8])[:, None, None]
    change = (b.astype(int) - a.astype(int)).mean(axis=0)  # (rows,)
    plain = change[random.integers(0, 200, size=(10_000, 200))].mean(axis=1)
    found = row_bootstrap(predictions(a), predictions(b), seed=0, replicates=10_000)
    assert found.mean == pytest.approx(change.mean())
    assert found.ci95 == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.0051)
    assert "models fixed" in found.note


def test_bootstrap_keeps_the_repeats_of_a_row_together():
    """Four repeats that agree are worth no more than one."""
    random = np.random.default_rng(2)
    a, b = random.random((2, 200)) < np.array([[0.6], [0.8]])
    once = row_bootstrap(predictions(a), predictions(b), seed=0)
    tables = predictions(np.tile(a, (4, 1))), predictions(np.tile(b, (4, 1)))
    assert row_bootstrap(*tables, seed=0) == once


def test_bootstrap_is_seeded_and_quick():
    random = np.random.default_rng(3)
    a, b = (predictions(right) for right in random.random((2, 50_000)) < 0.5)
    start = time.perf_counter()
    first = row_bootstrap(a, b, seed=0)
    assert time.perf_counter() - start < 1
    assert row_bootstrap(a, b, seed=0) == first != row_bootstrap(a, b, seed=1)
    assert isinstance(first, Bootstrap)
    assert first.replicates == 2000


# --- pairs and studies ------------------------------------------------------------------------


def study(folds=5, repeats=2, pairs=(), rope=0.01):
    return Study(
        dataset="d",
        cv=CrossValidation(folds=folds, repeats=repeats, seed=0),
        training=Training(epochs=1, batch_size=2, shuffle=True, optimizer=Sgd(name="sgd", lr=0.1)),
        comparison=ComparisonConfig(baseline="base", pairs=[list(p) for p in pairs], rope=rope),
    )


def result(right, name="v", folds=5, status="complete", **changes):
    """A variant whose held-out rows are right or not as in `right`, (repeats, rows)."""
    table = predictions(right, folds)
    repeats = table["repeat"].nunique()
    manifest = {
        "status": status,
        "reason": "loss is not finite" if status == "failed" else None,
        "variant": {
            "name": name,
            "study": "s",
            "dataset": "d",
            "cv": {"folds": folds, "repeats": repeats, "seed": 0},
        },
        "dataset": {
            "edition": "uci",
            "synthetic": False,
            "class_names": ["rock", "metal"],
            "digest": "data",
        },
        "split_digest": "splits",
    }
    for path, value in changes.items():
        *parents, key = path.split("__")
        part = manifest
        for parent in parents:
            part = part[parent]
        part[key] = value
    splits = [*table[["repeat", "fold"]].drop_duplicates().to_numpy().tolist(), [-1, -1]]
    names = ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    history = pd.DataFrame(splits, columns=["repeat", "fold"]).assign(epoch=1)
    history = history.assign(**dict.fromkeys(names, 0.5))
    # `evaluate` gets the cv that the table was made with, whatever `changes` says of it.
    cv = {"folds": folds, "repeats": repeats, "seed": 0}
    honest = {**manifest, "variant": {**manifest["variant"], "cv": cv}}
    found = evaluate(honest, history, table, table.iloc[:0])
    return VariantResult(found.metrics, found.scores, table, manifest)


def accuracy(share, repeats=2, rows=100, seed=0):
    return np.random.default_rng(seed).random((repeats, rows)) < share


def test_pair_by_hand():
    """Ten rows in five folds: B mends row 0 (fold 0) and breaks row 9 (fold 4)."""
    a, b = np.ones((2, 1, 10), dtype=bool)
    a[0, 0] = b[0, 9] = False
    one = study(repeats=1)
    pair = compare_pair("s", one, ("base", result(a)), ("new", result(b)))
    assert pair.differences.to_numpy().tolist() == [
        [0, 0, 0.5],
        [0, 1, 0],
        [0, 2, 0],
        [0, 3, 0],
        [0, 4, -0.5],
    ]
    assert pair.n == 10
    assert pair.test == corrected_t_test(np.array([0.5, 0, 0, 0, -0.5]), folds=5)
    assert pair.mcnemar == [McNemar(0, 1, 1, 1.0)]
    assert pair.posterior == correlated_posterior(pair.test, 0.01)
    assert list(pair.ropes) == [0, 0.005, 0.02]
    assert pair.ropes[0.02] == correlated_posterior(pair.test, 0.02)
    assert pair.ropes[0.0].equivalent == 0
    change = (math.log(0.8) - math.log(0.3)) / 2  # fall of log-loss in fold 0
    exploratory = corrected_t_test(np.array([-change, 0, 0, 0, change]), folds=5)
    assert pair.exploratory["log_loss"].ci95 == pytest.approx(exploratory.ci95)
    better = (0.7**2 - 0.2**2) / 2
    exploratory = corrected_t_test(np.array([-better, 0, 0, 0, better]), folds=5)
    assert pair.exploratory["brier"].ci95 == pytest.approx(exploratory.ci95)


def test_study_file_has_its_shape():
    results = {
        "base": result(accuracy(0.5), "base"),
        "good": result(accuracy(0.95, seed=1), "good"),
        "alike": result(accuracy(0.5, seed=2), "alike"),
        "dead": result(accuracy(0.5), "dead", status="failed"),
    }
    found = compare_study("s", study(pairs=[("alike", "good"), ("good", "base")]), results)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert compare_study("s", study(pairs=[("alike", "good"), ("good", "base")]), results) == found
    facts = ("study", "edition", "synthetic", "metric", "rope")
    assert [found[key] for key in facts] == ["s", "uci", False, "accuracy", 0.01]
    assert {k: v for k, v in found["protocol"].items() if k != "training"} == {
        "dataset": "d",
        "folds": 5,
        "repeats": 2,
        "splits": 10,
    }
    assert found["protocol"]["training"]["optimizer"]["name"] == "sgd"
    assert found["variants"]["dead"] == {"status": "failed", "reason": "loss is not finite"}
    summary = results["good"].metrics["accuracy"]
    assert found["variants"]["good"] == {
        "status": "complete",
        "accuracy_mean": summary["mean"],
        "accuracy_sd": summary["sd_over_splits"],
        "accuracy_se": summary["se_corrected"],
        "ci95": [summary["ci95_low"], summary["ci95_high"]],
    }
    assert [(p["a"], p["b"], p["kind"], p.get("verdict")) for p in found["pairs"]] == [
        ("base", "good", "baseline", "Helps"),
        ("base", "alike", "baseline", "Inconclusive"),
        ("base", "dead", "baseline", None),
        ("alike", "good", "declared", "Helps"),
    ]
    assert found["pairs"][2]["refused"] == "dead failed: loss is not finite"
    keys = (
        "a b kind n folds repeats mean sd se t df p p_holm ci95 naive_p mde posterior verdict "
        "sentence ropes mcnemar bootstrap exploratory differences"
    )
    for pair in (found["pairs"][i] for i in (0, 1, 3)):
        assert set(pair) == set(keys.split())
        assert set(pair["posterior"]) == {"worse", "equivalent", "better"}
        assert [line["rope"] for line in pair["ropes"]] == [0, 0.005, 0.02]
        assert set(pair["ropes"][0]) == {"rope", "worse", "equivalent", "better"}
        assert set(pair["mcnemar"][0]) == {"repeat", "only_a", "only_b", "p"}
        assert set(pair["bootstrap"]) == {"mean", "ci95", "replicates", "note"}
        assert set(pair["exploratory"]) == {"log_loss", "brier"}
        assert set(pair["exploratory"]["brier"]) == {"mean", "ci95", "p"}
        assert [set(d) for d in pair["differences"]] == [{"repeat", "fold", "difference"}] * 10


def test_holm_is_over_the_pairs_that_are_compared():
    results = {
        "base": result(accuracy(0.5), "base"),
        "b": result(accuracy(0.6, seed=1), "b"),
        "c": result(accuracy(0.7, seed=2), "c"),
        "dead": result(accuracy(0.5), "dead", status="failed"),
    }
    pairs = compare_study("s", study(pairs=[("b", "c")]), results)["pairs"]
    compared = [pair for pair in pairs if "refused" not in pair]
    assert [pair["p_holm"] for pair in compared] == pytest.approx(
        holm([pair["p"] for pair in compared]), rel=1e-8
    )
    assert all("Holm over 3 pairs" in pair["sentence"] for pair in compared)


def test_sentence_of_an_open_question_has_everything():
    a, b = np.ones((2, 1, 10), dtype=bool)
    a[0, 0] = b[0, 9] = b[0, 8] = False
    one = study(repeats=1)
    pair = compare_pair("s", one, ("base", result(a)), ("new", result(b)))
    assert sentence(pair, 1.0, one) == (
        "Inconclusive: new against base changes accuracy by -10.00 pp (95 % CI -112.01 to +92.01 "
        "pp, n = 10 rows of d/uci, 5 folds); P(worse / within ±1 pp / better) = "
        "0.591 / 0.019 / 0.390, unadjusted; p = 1.000 (corrected repeated k-fold t-test, Holm "
        "over 1 pair); minimum detectable effect 136.59 pp at 80 % power."
    )


def test_sentence_of_a_claim():
    a, b = accuracy(0.5), accuracy(0.95, seed=1)
    pair = compare_pair("s", study(), ("base", result(a)), ("new", result(b)))
    found = sentence(pair, pair.test.p, study(), pairs=2)
    assert found.startswith("Helps: new against base changes accuracy by +")
    assert "n = 100 rows of d/uci, 5 folds × 2 repeats" in found
    assert "minimum detectable effect" not in found
    back = compare_pair("s", study(), ("new", result(b)), ("base", result(a)))
    assert sentence(back, back.test.p, study()).startswith("Hurts: base against new changes")


def test_sentence_of_identical_variants():
    same = result(accuracy(0.5))
    pair = compare_pair("s", study(), ("base", same), ("new", same))
    assert sentence(pair, 1.0, study()) == (
        "Practically the same: new and base have the same accuracy on every one of 10 splits "
        "(n = 100 rows of d/uci, 5 folds × 2 repeats)."
    )
    found = compare_study("s", study(), {"base": same, "new": same})
    assert found["pairs"][0]["p"] == 1
    json.dumps(found, allow_nan=False)


def test_one_difference_everywhere_makes_a_file_without_nan():
    a, b = np.zeros((1, 10), dtype=bool), np.ones((1, 10), dtype=bool)
    results = {"base": result(a, "base"), "b": result(b, "b")}
    found = compare_study("s", study(repeats=1), results)
    json.dumps(found, allow_nan=False)
    assert found["pairs"][0]["t"] is None
    assert found["pairs"][0]["verdict"] == "Inconclusive"  # five splits: sign test p = .0625


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "failed"}, "new failed: loss is not finite"),
        ({"dataset__edition": "synthetic"}, r"other editions \(uci and synthetic\)"),
        ({"dataset__digest": "changed"}, r"other data digests \(data and changed\)"),
        ({"split_digest": "changed"}, r"other split tables \(splits and changed\)"),
        ({"variant__study": "t"}, "new was trained under study t"),
        ({"variant__dataset": "e"}, "new was trained under data set e"),
        ({"variant__cv": {"folds": 5, "repeats": 2, "seed": 1}}, "under cross-validation"),
    ],
)
def test_what_is_not_paired_is_refused(changes, reason):
    a, b = ("base", result(accuracy(0.5))), ("new", result(accuracy(0.5), **changes))
    check_comparable("s", study(), a, a)
    for sides in ((a, b), (b, a)):
        with pytest.raises(ComparisonError):
            check_comparable("s", study(), *sides)
    with pytest.raises(ComparisonError, match=reason):
        compare_pair("s", study(), a, b)
    found = compare_study("s", study(), {"base": a[1], "new": b[1]})
    assert [set(pair) for pair in found["pairs"]] == [{"a", "b", "kind", "refused"}]


def test_tables_of_other_splits_are_refused():
    whole = result(accuracy(0.5))
    a = ("base", whole)

    def other(**parts):
        old = {"scores": whole.scores, "predictions": whole.predictions, **parts}
        return "new", VariantResult(whole.metrics, manifest=whole.manifest, **old)

    fewer = other(scores=whole.scores.iloc[1:])
    larger = other(scores=whole.scores.assign(n_validation=21))
    moved = other(predictions=whole.predictions.assign(fold=0))
    relabelled = other(predictions=whole.predictions.assign(label=0))
    for b in (fewer, larger):
        with pytest.raises(ComparisonError, match="other splits"):
            compare_pair("s", study(), a, b)
    for b in (moved, relabelled):
        with pytest.raises(ComparisonError, match="other held-out rows"):
            compare_pair("s", study(), a, b)
    shuffled = other(
        scores=whole.scores.sample(frac=1, random_state=0),
        predictions=whole.predictions.sample(frac=1, random_state=0),
    )
    assert compare_pair("s", study(), a, shuffled).test.p == 1


def test_training_may_differ():
    b = result(accuracy(0.5), variant__training={"epochs": 9})
    check_comparable("s", study(), ("base", result(accuracy(0.5))), ("new", b))


def test_missing_results_are_named():
    with pytest.raises(ComparisonError, match="'base' is not declared"):
        compare_study("s", study(), {"b": result(accuracy(0.5))})
    results = {"base": result(accuracy(0.5)), "other": result(accuracy(0.5))}
    with pytest.raises(ComparisonError, match="did you mean 'other'"):
        compare_study("s", study(pairs=[("base", "othr")]), results)
