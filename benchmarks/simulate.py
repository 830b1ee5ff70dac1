"""How often is the verdict wrong, and how often does it find an effect? By simulation.

A against A: one variant trained twice, with other seeds, on the same splits; every comparison has
its own splits and shares no model with another of its size, so that the comparisons are
independent but for the data set. Whatever *Helps* or *Hurts* there is a false alarm.

Effects are planted in B's predictions, never in its scores: every row draws once, for all repeats,
whether B gains it (right where it was wrong) or loses it (wrong where it was right). So a planted
effect has the spread of a real one, over rows as well as over trainings. Gaining and losing
equally many rows changes nothing on average: a second null, of two models that do not agree. A
test that takes the splits for independent fails there.
"""

import argparse
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass

import numpy as np
from scipy import stats
from tqdm import tqdm

from foldwise.core import config, paths
from foldwise.core.config import Config, CrossValidation, Study, Variant
from foldwise.core.environment import Environment
from foldwise.core.errors import ComparisonError
from foldwise.core.processes import exit_after
from foldwise.datasets import prepared
from foldwise.datasets.prepared import Dataset
from foldwise.engine.cross_validation import cross_validate
from foldwise.results.runs import check_complete, predicted
from foldwise.splits import split_table
from foldwise.statistics import ALPHA, corrected_t_test, correlated_posterior, verdict
from foldwise.wording.tables import aligned

SIZES = (1, 3, 5)  # repeats of a comparison
BLOCK = 10  # cross-validations that train together
EXCHANGED = 0.05  # share of rows that B gains, and loses, in the second null
EFFECTS = (2.0, 5.0, 10.0)  # percentage points
PLANTING_SEED = 0
FALSE_ALARMS = ("null", "repeats", "n", "Helps or Hurts", "corrected p ≤ .05", "naive p ≤ .05")
POWER = ("effect", "repeats", "n", "found", "corrected p ≤ .05", "mean MDE")
EXAMPLES = """examples:
  python -m benchmarks.simulate                        sonar-sound, 200 runs for each side
  python -m benchmarks.simulate --runs 20 --effect 5   quick, and one effect alone
  python -m benchmarks.simulate --study sonar          another study
"""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What two trainings of one variant predicted, T cross-validations of n rows.

    Attributes:
        fold: (T, n): in which fold a row was held out, from 0.
        a: (T, n): whether A was right on it.
        b: (T, n): whether B was.
    """

    fold: np.ndarray
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class Scenario:
    """What is done to B: shares of all rows that it gains and loses, in expectation."""

    name: str
    gained: float = 0.0
    lost: float = 0.0

    @property
    def effect(self) -> float:
        """The expected change of accuracy."""
        return self.gained - self.lost


@dataclass(frozen=True)
class Tally:
    """How often comparisons of so many repeats said what: counts, and the mean of the MDE."""

    scenario: Scenario
    repeats: int
    said: Counter[str]
    corrected: int  # p ≤ .05 in the corrected t-test
    naive: int  # in the naive one
    mde: float

    @property
    def n(self) -> int:
        """The comparisons."""
        return self.said.total()

    @property
    def claimed(self) -> int:
        """Those that say that B helps or hurts."""
        return self.said["Helps"] + self.said["Hurts"]

    @property
    def found(self) -> int:
        """Those that say what is true of a planted effect."""
        return self.said["Helps" if self.scenario.effect > 0 else "Hurts"]


NULLS = (
    Scenario("A against A"),
    Scenario(f"{100 * EXCHANGED:g} pp gained, as many lost", EXCHANGED, EXCHANGED),
)


def simulate(
    settings: Config, study: Study, runs: int, effects: Sequence[float], environment: Environment
) -> str:
    """Train the study's baseline `runs` times for either side, then count verdicts: two tables.

    Args:
        settings: of params.yaml.
        study: whose baseline, data, protocol and rope are used.
        runs: cross-validations (one repeat each) for A and as many for B.
        effects: planted changes of accuracy, not 0.
        environment: says where and on what to train.

    Raises:
        DataError: the study's data are not prepared.
        ComparisonError: too few runs, an effect that cannot be, or another metric than accuracy.
        ResultsError: a training diverged.
    """
    if study.comparison.metric != "accuracy":
        raise ComparisonError(
            f"studies.{study.name} compares {study.comparison.metric}, and effects are planted in "
            "accuracy; choose a study that compares accuracy"
        )
    if runs < max(SIZES):
        raise ComparisonError(f"{runs} runs are too few; use {max(SIZES)} or more")
    if 0 in effects:
        raise ComparisonError("an effect of 0 is none: A against A is always among the rows")
    variant = settings.variant(study.comparison.baseline)
    dataset = prepared.load(paths.prepared(study.dataset))
    outcomes = train(variant, dataset, runs, environment)
    stand_in = "SYNTHETIC data, " if dataset.synthetic else ""
    title = (
        f"{variant.name} on {stand_in}{study.dataset}/{dataset.edition}, {len(dataset.y)} rows: "
        f"{runs} cross-validations of {study.cv.folds} folds with either of two seeds; mean "
        f"accuracy {100 * outcomes.b.mean():.1f} %. Practically the same within "
        f"±{100 * study.comparison.rope:g} pp; exact 95 % CIs."
    )
    planted = [Scenario(f"{100 * e:+g} pp", max(e, 0.0), max(-e, 0.0)) for e in effects]
    rows = [
        tally(outcomes, scenario, size, study.cv.folds, study.comparison.rope)
        for scenario in (*NULLS, *planted)
        for size in SIZES
    ]
    return f"{title}\n\n{text(rows)}"


# --- training ---------------------------------------------------------------------------------


def train(variant: Variant, dataset: Dataset, runs: int, environment: Environment) -> Outcomes:
    """A and B: the variant on the same splits with two training seeds, block by block.

    Every block has its own splits and its own two seeds.
    """
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    folds = []
    with tqdm(total=2 * runs, desc=f"simulate {variant.name}", unit="cross-validation") as bar:
        for block, start in enumerate(range(0, runs, BLOCK)):
            repeats = min(BLOCK, runs - start)
            cv = CrossValidation(folds=variant.cv.folds, repeats=repeats, seed=block)
            split = variant.model_copy(update={"cv": cv})
            for side in (0, 1):
                with redirect_stderr(io.StringIO()):  # the progress bar of each training
                    right, fold = _right(split, dataset, environment, 2 * block + side)
                sides[side].append(right)
                bar.update(repeats)
            folds.append(fold)
    a, b = map(np.concatenate, sides)
    return Outcomes(np.concatenate(folds), a, b)


def _right(
    variant: Variant, dataset: Dataset, environment: Environment, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether every row was predicted right, and its fold: (repeats, rows) each."""
    training = variant.training.model_copy(update={"seed": seed})
    table = split_table(dataset.y, variant.cv)
    seeded = variant.model_copy(update={"training": training})
    run = cross_validate(seeded, dataset, table, "simulated", environment)
    check_complete(run.manifest)
    lines = run.predictions.sort_values(["repeat", "row"])
    shape = variant.cv.repeats, len(dataset.y)
    right: np.ndarray = predicted(lines) == lines["label"].to_numpy()
    fold: np.ndarray = lines["fold"].to_numpy()
    return right.reshape(shape), fold.reshape(shape)


# --- counting ---------------------------------------------------------------------------------


def tally(outcomes: Outcomes, scenario: Scenario, size: int, folds: int, rope: float) -> Tally:
    """Compare every `size` cross-validations, none of them twice, and count."""
    random = np.random.default_rng([PLANTING_SEED, size])
    accuracy = float(outcomes.b.mean())
    tests = []
    for start in range(0, len(outcomes.fold) - size + 1, size):
        part = slice(start, start + size)
        b = plant(outcomes.b[part], scenario.gained, scenario.lost, accuracy, random)
        one, other = (
            fold_accuracies(right, outcomes.fold[part], folds) for right in (outcomes.a[part], b)
        )
        tests.append(corrected_t_test(other - one, folds))
    return Tally(
        scenario=scenario,
        repeats=size,
        said=Counter(verdict(t.mean, t.p, correlated_posterior(t, rope)) for t in tests),
        corrected=sum(t.p <= ALPHA for t in tests),
        naive=sum(t.naive_p <= ALPHA for t in tests),
        mde=float(np.mean([t.mde for t in tests])),
    )


def plant(
    right: np.ndarray, gained: float, lost: float, accuracy: float, random: np.random.Generator
) -> np.ndarray:
    """B's predictions with rows gained and lost; a row draws once for all repeats.

    Of the errors a share gained / (1 − accuracy) becomes right, of the hits lost / accuracy
    becomes wrong, so that accuracy changes by gained − lost in expectation.

    Args:
        right: (repeats, n) of bool.
        gained: expected share of rows that change from wrong to right.
        lost: expected share of rows that change from right to wrong.
        accuracy: the expected share of `right`.
        random: of the rows that are chosen.

    Raises:
        ComparisonError: there are not as many errors, or hits.
    """
    for share, there, what in ((gained, 1 - accuracy, "errors"), (lost, accuracy, "hits")):
        if share > there:
            raise ComparisonError(
                f"an effect of {100 * share:.1f} pp cannot be planted: there are "
                f"{100 * there:.1f} % {what}; choose a smaller one"
            )
    draws = random.random((2, right.shape[1]))  # (2, n)
    gains = draws[0] < (gained / (1 - accuracy) if gained else 0)
    losses = draws[1] < (lost / accuracy if lost else 0)
    changed: np.ndarray = np.where(right, ~losses, gains)
    return changed


def fold_accuracies(right: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """Accuracy of every split, (repeats · folds,), of (repeats, n) each."""
    split = (fold + folds * np.arange(len(fold))[:, None]).ravel()
    hits = np.bincount(split, weights=right.ravel().astype(np.float64))
    shares: np.ndarray = hits / np.bincount(split)
    return shares


# --- showing ----------------------------------------------------------------------------------


def rate(count: int, n: int) -> str:
    """The share that `count` is of `n`, with its exact 95 % CI (Clopper & Pearson 1934)."""
    ends = stats.binomtest(count, n).proportion_ci(method="exact")
    return f"{100 * count / n:.1f} % [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def text(rows: Sequence[Tally]) -> str:
    """Two tables: false alarms, and power."""
    alarms, power = [FALSE_ALARMS], [POWER]
    for row in rows:
        head = (row.scenario.name, str(row.repeats), str(row.n))
        corrected = rate(row.corrected, row.n)
        if row.scenario.effect:
            power.append((*head, rate(row.found, row.n), corrected, f"{100 * row.mde:.1f} pp"))
        else:
            alarms.append((*head, rate(row.claimed, row.n), corrected, rate(row.naive, row.n)))
    lines = [
        "False alarms: nothing differs on average",
        *aligned(alarms),
        "",
        "Power: the planted effect is found (Helps where it is above 0, else Hurts)",
        *aligned(power),
    ]
    return "\n".join(lines)


# --- the command ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, simulate, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate",
        description="How often is the verdict wrong, and how often does it find an effect?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--study", default="sonar-sound", help="(sonar-sound)")
    parser.add_argument(
        "--runs", type=int, default=200, help="cross-validations with each of two seeds (200)"
    )
    parser.add_argument(
        "--effect",
        type=float,
        action="append",
        metavar="PP",
        help="planted, in percentage points; repeatable (2, 5 and 10)",
    )
    options = parser.parse_args(arguments)
    settings = config.load()
    effects = [points / 100 for points in options.effect or EFFECTS]
    study = settings.study(options.study)
    print(simulate(settings, study, options.runs, effects, Environment.read()))


if __name__ == "__main__":
    exit_after(main)
