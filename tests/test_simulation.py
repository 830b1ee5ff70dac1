"""The counting, on predictions that are made up; the training, once, on a toy."""

import numpy as np
import pytest
from builders import dataset, variant

from foldwise import simulation
from foldwise.comparison import corrected_t_test
from foldwise.core.config import CrossValidation
from foldwise.core.errors import ComparisonError
from foldwise.simulation import Outcomes, Scenario
from foldwise.splits import split_table

FOLDS, ROWS, ROPE = 10, 200, 0.01


def outcomes(runs: int, accuracy: float = 0.85, seed: int = 0) -> Outcomes:
    """Two trainings that are right on the same rows in about as many cases, hard rows or easy."""
    random = np.random.default_rng(seed)
    cv = CrossValidation(folds=FOLDS, repeats=runs, seed=seed)
    fold = split_table(np.arange(ROWS) % 2, cv)["fold"].to_numpy().reshape(runs, ROWS)
    chance = random.beta(accuracy * 2, (1 - accuracy) * 2, size=ROWS)
    a, b = random.random((2, runs, ROWS)) < chance
    return Outcomes(fold, a, b)


def test_accuracy_of_every_split():
    fold = np.array([[0, 0, 1, 1], [1, 0, 0, 0]])
    right = np.array([[True, False, True, True], [False, True, True, False]])
    found = simulation.fold_accuracies(right, fold, folds=2)
    assert found == pytest.approx([1 / 2, 1, 2 / 3, 0])


@pytest.mark.parametrize(("mended", "broken"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.1), (0.1, 0.1)])
def test_a_planted_effect_has_the_size_that_was_asked_for(mended, broken):
    random = np.random.default_rng(0)
    right = random.random((5, 40_000)) < 0.8
    found = simulation.plant(right, mended, broken, 0.8, random)
    assert (found & ~right).mean() == pytest.approx(mended, abs=0.003)
    assert (~found & right).mean() == pytest.approx(broken, abs=0.003)


def test_a_row_draws_once_for_all_repeats():
    right = np.zeros((4, 1000), dtype=bool)
    found = simulation.plant(right, 0.3, 0.0, 0.0, np.random.default_rng(0))
    assert (found == found[0]).all()
    assert found[0].mean() == pytest.approx(0.3, abs=0.04)


def test_an_effect_that_cannot_be_is_refused():
    right = np.ones((1, 10), dtype=bool)
    with pytest.raises(ComparisonError, match=r"effect of 20.0 pp .* 10.0 % errors"):
        simulation.plant(right, 0.2, 0.0, 0.9, np.random.default_rng(0))


def test_a_rate_has_its_exact_interval():
    """Clopper & Pearson: none of n gives [0, 1 − .025^(1/n)]."""
    found = simulation.rate(0, 60)
    assert found["share"] == 0
    assert found["ci95"] == pytest.approx([0, 1 - 0.025 ** (1 / 60)])


@pytest.mark.parametrize(("size", "comparisons"), [(1, 11), (3, 3), (5, 2)])
def test_no_model_is_in_two_comparisons(size, comparisons):
    found = simulation.tally(outcomes(11), Scenario("A against A"), size, FOLDS, ROPE)
    assert found["comparisons"] == comparisons
    verdicts = [found[key] for key in ("helps", "hurts", "same", "inconclusive")]
    assert sum(verdicts) == comparisons


def test_the_tally_is_that_of_the_test():
    data = outcomes(3)
    found = simulation.tally(data, Scenario("A against A"), 3, FOLDS, ROPE)
    one, other = (simulation.fold_accuracies(x, data.fold, FOLDS) for x in (data.a, data.b))
    assert found["mde"] == pytest.approx(corrected_t_test(other - one, FOLDS).mde)


def test_it_is_seeded():
    scenario, data = Scenario("x", 0.05, 0.05), outcomes(20)
    first, second = (simulation.tally(data, scenario, 1, FOLDS, ROPE) for _ in range(2))
    assert first == second


def test_the_corrected_test_keeps_its_level_and_the_naive_one_does_not():
    """Where rows differ, more repeats are not more rows."""
    data = outcomes(500)
    for scenario in simulation.NULLS:
        found = simulation.tally(data, scenario, 5, FOLDS, ROPE)
        assert found["claimed"]["share"] <= 0.05
        assert found["corrected"]["share"] <= 0.05
    assert found["naive"]["share"] > 0.2


def test_power_grows_with_the_effect():
    data = outcomes(250)
    found = [
        simulation.tally(data, Scenario("x", mended=effect), 5, FOLDS, ROPE)["found"]["share"]
        for effect in (0.02, 0.05, 0.1)
    ]
    assert found == sorted(found)
    assert found[0] < 0.5
    assert found[2] > 0.9


def test_a_loss_is_found_as_one():
    found = simulation.tally(outcomes(100), Scenario("x", broken=0.1), 5, FOLDS, ROPE)
    assert found["effect"] == -0.1
    assert found["found"]["share"] == found["hurts"] / 20 > 0.5
    assert found["helps"] == 0


def test_training_gives_two_seeds_on_the_same_splits(monkeypatch, capsys):
    monkeypatch.setenv("FOLDWISE_WORKERS", "1")
    monkeypatch.setattr(simulation, "BLOCK", 2)
    data = dataset(rows=24)
    found = simulation.train(variant(folds=3, repeats=1), data, runs=3)
    assert found.fold.shape == found.a.shape == found.b.shape == (3, 24)
    assert (np.sort(found.fold, axis=1) == np.arange(24) // 8).all()
    assert not (found.fold[0] == found.fold[1]).all()
    assert not (found.fold[0] == found.fold[2]).all()  # the second block has its own splits
    assert not (found.a == found.b).all()
    assert capsys.readouterr().err.count("simulate toy-variant") >= 1


def test_tables():
    rows = [
        simulation.tally(outcomes(10), scenario, size, FOLDS, ROPE)
        for scenario in (*simulation.NULLS, Scenario("+5 pp", mended=0.05))
        for size in (1, 5)
    ]
    facts = {"variant": "v", "dataset": "d", "edition": "e", "synthetic": True, "data_rows": ROWS}
    facts |= {"runs": 10, "folds": FOLDS, "accuracy": 0.85, "rope": ROPE, "rows": rows}
    page = simulation.text(facts)
    assert "v on SYNTHETIC data, d/e, 200 rows: 10 cross-validations of 10 folds" in page
    header, first = page.splitlines()[3:5]
    assert header.index("Helps or Hurts") == first.index("0.0 % [0.0, 30.8]")
    assert "+5 pp   1        10" in page
