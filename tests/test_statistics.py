"""Golden values, the laws of the tests, and references from the field's own packages."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from foldwise.statistics import (
    Posterior,
    corrected_standard_error,
    corrected_t_test,
    correlated_posterior,
    exact_mcnemar,
    holm,
    interval,
    row_bootstrap,
    verdict,
)

GOLDEN = np.array([0.05, 0, 0.05, -0.05, 0.10, 0, 0.05, 0, -0.05, 0.10])
# k = 4, r = 3
REPEATED = np.array([0.10, 0.05, 0, 0.05, -0.05, 0.10, 0, 0.05, 0.15, 0, 0.05, 0.10])


# --- the corrected t-test ---------------------------------------------------------------------


def test_golden_t_test() -> None:
    """The golden values of the project's notes on statistics, k = 10, r = 1."""
    test = corrected_t_test(GOLDEN, folds=10)
    assert test.mean == pytest.approx(0.025, abs=1e-6)
    assert test.sd == pytest.approx(0.0540062, abs=1e-6)
    assert test.se == pytest.approx(0.0248141, abs=1e-6)
    assert test.t == pytest.approx(1.00749, abs=1e-5)
    assert test.df == 9
    assert test.p == pytest.approx(0.340017, abs=1e-6)
    assert test.ci95 == pytest.approx((-0.031133, 0.081133), abs=1e-6)
    assert test.naive_p == pytest.approx(0.177268, abs=1e-6)


def test_golden_posterior() -> None:
    """As `baycomp` 1.0.3 has it: two_on_single(0, d, rope=.01)."""
    posterior = correlated_posterior(corrected_t_test(GOLDEN, folds=10), rope=0.01)
    expected = Posterior(0.09600501062324807, 0.18421665090581352, 0.7197783384709384)
    assert vars(posterior) == pytest.approx(vars(expected), abs=1e-12)


def test_repeats_enter_the_correction() -> None:
    """k = 4, r = 3: J = 12 and 1/(k − 1) = 1/3, not 1/11. `baycomp` 1.0.3, runs=3."""
    test = corrected_t_test(REPEATED, folds=4)
    assert test.se == pytest.approx(test.sd * math.sqrt(1 / 12 + 1 / 3))
    expected = Posterior(0.06381058700026174, 0.08389891697502327, 0.852290496024715)
    assert vars(correlated_posterior(test, 0.01)) == pytest.approx(vars(expected), abs=1e-12)


def test_corrected_standard_error_with_repeats() -> None:
    """k = 10: SE/s is .459, .362, .348 for r = 1, 5, 10 (Bouckaert & Frank 2004)."""
    errors = [corrected_standard_error(1.0, 10 * r, 10) for r in (1, 5, 10)]
    assert errors == pytest.approx([0.459, 0.362, 0.348], abs=5e-4)


@pytest.mark.parametrize("df", [1, 5, 49])
def test_interval_is_students(df: int) -> None:
    assert interval(0.7, 0.02, df) == pytest.approx(stats.t.interval(0.95, df, 0.7, 0.02))


def test_minimum_detectable_effect() -> None:
    """SE · (t(.975, 9) + t(.80, 9)), with the quantiles 2.262157 and 0.883404 of the tables."""
    test = corrected_t_test(GOLDEN, folds=10)
    assert test.mde == pytest.approx(0.0248141 * (2.262157 + 0.883404), abs=1e-6)


@pytest.mark.parametrize("rounding", [0.0, 1e-10])
def test_equal_scores_are_identical(rounding: float) -> None:
    test = corrected_t_test(np.full(10, rounding), folds=10)
    assert (test.mean, test.sd, test.t, test.p, test.naive_p) == (0, 0, 0, 1, 1)
    assert test.ci95 == (0, 0)
    for rope in (0.0, 0.01):
        assert correlated_posterior(test, rope) == Posterior(0, 1, 0)
    assert verdict(test.mean, test.p, correlated_posterior(test, 0.01)) == "Practically the same"


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
def test_one_difference_everywhere_has_the_p_of_the_sign_test(
    difference: float, splits: int, expected: str
) -> None:
    noise = 1e-11 * (-1.0) ** np.arange(splits)  # what rounding to ten digits leaves
    test = corrected_t_test(difference + noise, folds=splits)
    assert (test.sd, test.t, test.p) == (0, None, 2.0 ** (1 - splits))
    assert test.ci95 == pytest.approx((difference, difference))
    posterior = correlated_posterior(test, 0.01)
    assert verdict(test.mean, test.p, posterior) == expected


def test_where_less_is_better_worse_and_better_change_places() -> None:
    """Log-loss that falls is a gain: the same numbers, told from the other side."""
    test = corrected_t_test(GOLDEN, folds=10)
    up, down = correlated_posterior(test, 0.01), correlated_posterior(test, 0.01, direction=-1)
    assert (down.worse, down.better) == pytest.approx((up.better, up.worse), abs=1e-12)
    assert down.equivalent == pytest.approx(up.equivalent, abs=1e-12)
    constant = corrected_t_test(np.full(10, -0.05), folds=10)
    assert correlated_posterior(constant, 0.01, direction=-1) == Posterior(0, 0, 1)


# --- laws -------------------------------------------------------------------------------------

STEP = 1e-3
CASES = st.tuples(st.integers(2, 6), st.integers(1, 3)).flatmap(
    lambda kr: st.tuples(
        st.just(kr[0]),
        st.lists(st.integers(-200, 200), min_size=kr[0] * kr[1], max_size=kr[0] * kr[1]),
    )
)
ROPES = st.sampled_from([0.0, 0.005, 0.01, 0.1])


@given(CASES, ROPES)
@settings(max_examples=100)
def test_swapping_a_and_b_mirrors_everything(case: tuple[int, list[int]], rope: float) -> None:
    folds, steps = case
    d = np.array(steps) * STEP
    one, other = corrected_t_test(d, folds), corrected_t_test(-d, folds)
    assert other.mean == -one.mean
    assert (other.se, other.p, other.naive_p, other.mde) == (one.se, one.p, one.naive_p, one.mde)
    assert other.ci95 == pytest.approx((-one.ci95[1], -one.ci95[0]))
    left, right = correlated_posterior(one, rope), correlated_posterior(other, rope)
    mirrored = (right.better, right.equivalent, right.worse)
    assert (left.worse, left.equivalent, left.better) == pytest.approx(mirrored, abs=1e-12)
    assert correlated_posterior(other, rope, direction=-1) == left
    swapped = {"Helps": "Hurts", "Hurts": "Helps"}
    claim = verdict(one.mean, one.p, left)
    assert verdict(other.mean, other.p, right) == swapped.get(claim, claim)


@given(CASES, ROPES, st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_the_order_of_splits_does_not_matter(
    case: tuple[int, list[int]], rope: float, random: Random
) -> None:
    folds, steps = case
    shuffled = random.sample(steps, len(steps))
    tests = [corrected_t_test(np.array(d) * STEP, folds) for d in (steps, shuffled)]
    assert tests[0].p == pytest.approx(tests[1].p, abs=1e-9)
    assert tests[0].ci95 == pytest.approx(tests[1].ci95, abs=1e-9)
    laws = [vars(correlated_posterior(test, rope)) for test in tests]
    assert laws[0] == pytest.approx(laws[1], abs=1e-9)


@given(CASES, ROPES)
@settings(max_examples=100)
def test_probabilities_are_probabilities(case: tuple[int, list[int]], rope: float) -> None:
    folds, steps = case
    test = corrected_t_test(np.array(steps) * STEP, folds)
    law = correlated_posterior(test, rope)
    parts = (law.worse, law.equivalent, law.better)
    assert all(0 <= p <= 1 for p in (test.p, test.naive_p, *parts))
    assert sum(parts) == pytest.approx(1)
    assert test.naive_p <= test.p + 1e-12
    assert test.ci95[0] <= test.mean <= test.ci95[1]
    assert (test.ci95[0] <= 0 <= test.ci95[1]) == (test.p >= 0.05) or test.sd == 0


def test_corrected_test_keeps_its_level_when_folds_are_correlated() -> None:
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


# --- Holm and the verdict ---------------------------------------------------------------------


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
def test_holm(p: list[float], expected: list[float]) -> None:
    """By hand, and as statsmodels 0.15.0 has them: multipletests(p, method="holm")."""
    assert holm(p) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100)
def test_holm_lies_between_no_correction_and_bonferroni(p: list[float]) -> None:
    for before, after in zip(p, holm(p), strict=True):
        assert before <= after <= min(1, len(p) * before)


@pytest.mark.parametrize(
    ("gain", "p", "posterior", "expected"),
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
def test_verdict(gain: float, p: float, posterior: Posterior, expected: str) -> None:
    assert verdict(gain, p, posterior) == expected


# --- rows -------------------------------------------------------------------------------------


def test_mcnemar_by_hand() -> None:
    """Two rows only A gets right and eight only B: p = 2·(1 + 10 + 45)/2¹⁰ = .109375."""
    assert exact_mcnemar(2, 8) == exact_mcnemar(8, 2) == pytest.approx(112 / 1024)
    assert exact_mcnemar(0, 0) == 1


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (4, 4), (3, 17), (700, 611), (2, 900)])
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_b, only_a + only_b).pvalue
    assert exact_mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-12)


def test_bootstrap_is_that_of_whole_rows() -> None:
    """Against the plain one: draw rows with replacement, each with both of its repeats."""
    random = np.random.default_rng(1)
    a, b = random.random((2, 2, 200)) < np.array([0.6, 0.8])[:, None, None]
    changes = (b.astype(int) - a.astype(int)).sum(axis=0)  # (rows,)
    plain = (changes / 2)[random.integers(0, 200, size=(10_000, 200))].mean(axis=1)
    mean, ci95 = row_bootstrap(changes, repeats=2, seed=0, replicates=10_000)
    assert mean == pytest.approx(changes.mean() / 2)
    assert ci95 == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.0051)


def test_bootstrap_keeps_the_repeats_of_a_row_together() -> None:
    """Four repeats that agree are worth no more than one."""
    random = np.random.default_rng(2)
    a, b = random.random((2, 200)) < np.array([[0.6], [0.8]])
    changes = b.astype(int) - a.astype(int)
    assert row_bootstrap(4 * changes, repeats=4, seed=0) == row_bootstrap(changes, 1, seed=0)


def test_bootstrap_is_seeded() -> None:
    changes = np.random.default_rng(3).integers(-1, 2, 500)
    first = row_bootstrap(changes, 1, seed=0)
    assert row_bootstrap(changes, 1, seed=0) == first != row_bootstrap(changes, 1, seed=1)


def test_bootstrap_draws_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 rows cost what 200 do: the counts of the distinct changes are all it draws."""
    drawn = []

    class Watched:
        def multinomial(self, n: int, p: np.ndarray, size: int) -> np.ndarray:
            draws = np.random.Generator(np.random.PCG64(0)).multinomial(n, p, size=size)
            drawn.append(draws.shape)
            return draws

    monkeypatch.setattr(np.random, "default_rng", lambda _seed: Watched())
    row_bootstrap(np.arange(50_000) % 3 - 1, repeats=1, seed=0)
    assert drawn == [(2000, 3)]
