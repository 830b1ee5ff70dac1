"""The counting, on predictions that are made up; the training, once, on a toy."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks import simulate
from benchmarks.simulate import Outcomes, Scenario
from builders import dataset, variant

from foldwise.core import config
from foldwise.core.config import CrossValidation
from foldwise.core.environment import Environment
from foldwise.core.errors import ComparisonError, FoldwiseError
from foldwise.splits import split_table
from foldwise.statistics import corrected_t_test

ROOT = Path(__file__).parent.parent
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
    found = simulate.fold_accuracies(right, fold, folds=2)
    assert found == pytest.approx([1 / 2, 1, 2 / 3, 0])


@pytest.mark.parametrize(("gained", "lost"), [(0.0, 0.0), (0.05, 0.0), (0.0, 0.1), (0.1, 0.1)])
def test_a_planted_effect_has_the_size_that_was_asked_for(gained, lost):
    random = np.random.default_rng(0)
    right = random.random((5, 40_000)) < 0.8
    found = simulate.plant(right, gained, lost, 0.8, random)
    assert (found & ~right).mean() == pytest.approx(gained, abs=0.003)
    assert (~found & right).mean() == pytest.approx(lost, abs=0.003)


def test_a_row_draws_once_for_all_repeats():
    right = np.zeros((4, 1000), dtype=bool)
    found = simulate.plant(right, 0.3, 0.0, 0.0, np.random.default_rng(0))
    assert (found == found[0]).all()
    assert found[0].mean() == pytest.approx(0.3, abs=0.04)


def test_an_effect_that_cannot_be_is_refused():
    right = np.ones((1, 10), dtype=bool)
    with pytest.raises(ComparisonError, match=r"effect of 20.0 pp .* 10.0 % errors"):
        simulate.plant(right, 0.2, 0.0, 0.9, np.random.default_rng(0))


def test_a_rate_has_its_exact_interval():
    """Clopper & Pearson: none of n gives [0, 1 − .025^(1/n)]."""
    assert simulate.rate(0, 60) == "0.0 % [0.0, 6.0]"


@pytest.mark.parametrize(("size", "comparisons"), [(1, 11), (3, 3), (5, 2)])
def test_no_model_is_in_two_comparisons(size, comparisons):
    found = simulate.tally(outcomes(11), Scenario("A against A"), size, FOLDS, ROPE)
    assert found.n == comparisons


def test_the_tally_is_that_of_the_test():
    data = outcomes(3)
    found = simulate.tally(data, Scenario("A against A"), 3, FOLDS, ROPE)
    one, other = (simulate.fold_accuracies(x, data.fold, FOLDS) for x in (data.a, data.b))
    assert found.mde == pytest.approx(corrected_t_test(other - one, FOLDS).mde)


def test_it_is_seeded():
    scenario, data = Scenario("x", 0.05, 0.05), outcomes(20)
    first, second = (simulate.tally(data, scenario, 1, FOLDS, ROPE) for _ in range(2))
    assert first == second


def test_the_corrected_test_keeps_its_level_and_the_naive_one_does_not():
    """Where rows differ, more repeats are not more rows."""
    data = outcomes(500)
    for scenario in simulate.NULLS:
        found = simulate.tally(data, scenario, 5, FOLDS, ROPE)
        assert found.claimed <= 0.05 * found.n
        assert found.corrected <= 0.05 * found.n
    assert found.naive > 0.2 * found.n


def test_power_grows_with_the_effect():
    data = outcomes(250)
    found = [
        simulate.tally(data, Scenario("x", gained=effect), 5, FOLDS, ROPE).found
        for effect in (0.02, 0.05, 0.1)
    ]
    assert found == sorted(found)
    assert found[0] < 0.5 * 50
    assert found[2] > 0.9 * 50


def test_a_loss_is_found_as_one():
    found = simulate.tally(outcomes(100), Scenario("x", lost=0.1), 5, FOLDS, ROPE)
    assert found.n == 20
    assert found.found == found.said["Hurts"] > 10
    assert found.said["Helps"] == 0


def test_training_gives_two_seeds_on_the_same_splits(monkeypatch, capsys):
    monkeypatch.setattr(simulate, "BLOCK", 2)
    data, here = dataset(rows=24), Environment(workers=1, device="cpu")
    found = simulate.train(variant(folds=3, repeats=1), data, 3, here)
    assert found.fold.shape == found.a.shape == found.b.shape == (3, 24)
    assert (np.sort(found.fold, axis=1) == np.arange(24) // 8).all()
    assert not (found.fold[0] == found.fold[1]).all()
    assert not (found.fold[0] == found.fold[2]).all()  # the second block has its own splits
    assert not (found.a == found.b).all()
    assert capsys.readouterr().err.count("simulate toy-variant") >= 1


def test_tables():
    rows = [
        simulate.tally(outcomes(10), scenario, size, FOLDS, ROPE)
        for scenario in (*simulate.NULLS, Scenario("+5 pp", gained=0.05))
        for size in (1, 5)
    ]
    header, first = simulate.text(rows).splitlines()[1:3]
    assert header.index("Helps or Hurts") == first.index("0.0 % [0.0, 30.8]")
    assert "+5 pp   1        10" in simulate.text(rows)


# --- the command ------------------------------------------------------------------------------


def test_what_is_asked_is_passed_on(monkeypatch, capsys):
    calls = []

    def run(settings, study, runs, effects, environment):
        calls.append((study.name, runs, effects))

    monkeypatch.setattr(simulate, "simulate", run)
    monkeypatch.chdir(ROOT)
    simulate.main([])
    simulate.main(["--study", "sonar", "--runs", "7", "--effect", "5", "--effect", "-2"])
    assert calls == [("sonar-sound", 200, [0.02, 0.05, 0.1]), ("sonar", 7, [0.05, -0.02])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "1"], "1 runs are too few; use 5 or more"),
        (["--study", "sonar-sond"], "did you mean 'sonar-sound'?"),
        (["--effect", "0"], "an effect of 0 is none"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(arguments, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(FoldwiseError) as caught:
        simulate.main(arguments)
    assert message in str(caught.value)


def test_effects_are_planted_in_accuracy_alone():
    settings = config.load(ROOT / "params.yaml")
    study = settings.study("sonar")
    losses = study.comparison.model_copy(update={"metric": "log_loss"})
    other = study.model_copy(update={"comparison": losses})
    with pytest.raises(ComparisonError, match=r"studies.sonar compares log_loss"):
        simulate.simulate(settings, other, 10, [0.1], Environment())
