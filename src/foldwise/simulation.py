"""How often is the verdict wrong, and how often does it find an effect? By simulation.

A against A: one variant trained twice, with other seeds, on the same splits; every comparison has
its own splits and shares no model with another of its size, so that the comparisons are
independent but for the data set. Whatever *Helps* or *Hurts* there is a false alarm.

Effects are planted in B's predictions, never in its scores: every row draws once, for all repeats,
whether B is mended on it (right where it was wrong) or broken (wrong where it was right). So a
planted effect has the spread of a real one, over rows as well as over trainings. Mending and
breaking equally often changes nothing on average: a second null, of two models that do not agree.
It is the one that a test must stand which takes the splits for independent.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats
from tqdm import tqdm

from foldwise.comparison import ALPHA, TTest, corrected_t_test, correlated_posterior, verdict
from foldwise.core import paths
from foldwise.core.config import Config, CrossValidation, Variant
from foldwise.core.errors import ComparisonError
from foldwise.datasets import prepared
from foldwise.datasets.prepared import Dataset
from foldwise.engine.cross_validation import cross_validate
from foldwise.evaluation import predicted, significant
from foldwise.revisions import aligned
from foldwise.splits import split_table

SIZES = (1, 3, 5)  # repeats of a comparison
BLOCK = 10  # cross-validations that train together
EXCHANGED = 0.05  # share of rows mended, and broken, in the second null
PLANTING_SEED = 0
FALSE_ALARMS = ("null", "repeats", "n", "Helps or Hurts", "corrected p ≤ .05", "naive p ≤ .05")
POWER = ("effect", "repeats", "n", "found", "corrected p ≤ .05", "mean MDE")


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
    """What is done to B: shares of all rows that are mended and broken, in expectation."""

    name: str
    mended: float = 0.0
    broken: float = 0.0

    @property
    def effect(self) -> float:
        """The expected change of accuracy."""
        return self.mended - self.broken


NULLS = (
    Scenario("A against A"),
    Scenario(f"{100 * EXCHANGED:g} pp mended, as many broken", EXCHANGED, EXCHANGED),
)


def run(settings: Config, study_name: str, runs: int, effects: Sequence[float]) -> dict[str, Any]:
    """Train the study's baseline `runs` times for either side, then count verdicts.

    Args:
        settings: of params.yaml.
        study_name: whose baseline, data, protocol and rope are used.
        runs: cross-validations (one repeat each) for A and as many for B.
        effects: planted changes of accuracy, not 0.

    Returns:
        study, variant, edition, synthetic, folds, runs, rope, accuracy (of B), and `rows`: those
        of `tally` for every scenario and size.

    Raises:
        ConfigError: no such study.
        DataError: its data are not prepared.
        ComparisonError: too few runs, an effect that cannot be, or training that diverged.
    """
    study = settings.study(study_name)
    scenarios = [
        *NULLS,
        *(Scenario(f"{100 * e:+g} pp", max(e, 0.0), max(-e, 0.0)) for e in effects),
    ]
    if runs < max(SIZES):
        raise ComparisonError(f"{runs} runs are too few; use {max(SIZES)} or more")
    if 0 in effects:
        raise ComparisonError("an effect of 0 is none: A against A is always among the rows")
    variant = settings.variant(study.comparison.baseline)
    dataset = prepared.load(paths.prepared(study.dataset))
    outcomes = train(variant, dataset, runs)
    content = {
        "study": study_name,
        "variant": variant.name,
        "dataset": study.dataset,
        "edition": dataset.edition,
        "synthetic": dataset.synthetic,
        "data_rows": len(dataset.y),
        "folds": study.cv.folds,
        "runs": runs,
        "rope": study.comparison.rope,
        "accuracy": float(outcomes.b.mean()),
        "rows": [
            tally(outcomes, scenario, size, study.cv.folds, study.comparison.rope)
            for scenario in scenarios
            for size in SIZES
        ],
    }
    rounded: dict[str, Any] = significant(content)
    return rounded


# --- training ---------------------------------------------------------------------------------


def train(variant: Variant, dataset: Dataset, runs: int) -> Outcomes:
    """A and B: the variant on the same splits with two training seeds, block by block.

    Every block has its own splits and its own two seeds.
    """
    blocks = []
    with tqdm(total=2 * runs, desc=f"simulate {variant.name}", unit="cross-validation") as bar:
        for block, start in enumerate(range(0, runs, BLOCK)):
            repeats = min(BLOCK, runs - start)
            cv = CrossValidation(folds=variant.cv.folds, repeats=repeats, seed=block)
            one = partial(_right, variant.model_copy(update={"cv": cv}), dataset)
            (a, fold), (b, _) = (_counted(bar, one, 2 * block + side) for side in (0, 1))
            blocks.append(Outcomes(fold, a, b))
    fold, a, b = (np.concatenate([getattr(x, key) for x in blocks]) for key in ("fold", "a", "b"))
    return Outcomes(fold, a, b)


def _counted(bar: Any, one: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with redirect_stderr(io.StringIO()):  # the progress bar of each training
        right, fold = one(seed)
    bar.update(len(right))
    return right, fold


def _right(variant: Variant, dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether every row was predicted right, and its fold: (repeats, rows) each."""
    training = variant.training.model_copy(update={"seed": seed})
    table = split_table(dataset.y, variant.cv)
    seeded = variant.model_copy(update={"training": training})
    found = cross_validate(seeded, dataset, table, split_digest="simulated")
    if found.manifest["status"] != "complete":
        raise ComparisonError(f"{variant.name} failed: {found.manifest['reason']}")
    lines = found.predictions.sort_values(["repeat", "row"])
    shape = variant.cv.repeats, len(dataset.y)
    right: np.ndarray = predicted(lines) == lines["label"].to_numpy()
    fold: np.ndarray = lines["fold"].to_numpy()
    return right.reshape(shape), fold.reshape(shape)


# --- counting ---------------------------------------------------------------------------------


def tally(
    outcomes: Outcomes, scenario: Scenario, size: int, folds: int, rope: float
) -> dict[str, Any]:
    """Compare every `size` cross-validations, none of them twice, and count.

    Returns:
        scenario, effect, repeats, comparisons; helps, hurts, same, inconclusive (counts of
        verdicts); claimed (rate of Helps or Hurts), found (rate of the one that is true),
        corrected and naive (rates of p ≤ .05 in the corrected and naive t-test); mde (mean).
    """
    random = np.random.default_rng([PLANTING_SEED, size])
    shares = scenario.mended, scenario.broken
    tests = []
    for start in range(0, len(outcomes.fold) - size + 1, size):
        part = slice(start, start + size)
        b = plant(outcomes.b[part], *shares, float(outcomes.b.mean()), random)
        tests.append(_test(outcomes.fold[part], outcomes.a[part], b, folds))
    return {
        "scenario": scenario.name,
        "effect": scenario.effect,
        "repeats": size,
        "comparisons": len(tests),
        **_verdicts(tests, rope, scenario.effect),
        "corrected": rate(sum(test.p <= ALPHA for test in tests), len(tests)),
        "naive": rate(sum(test.naive_p <= ALPHA for test in tests), len(tests)),
        "mde": float(np.mean([test.mde for test in tests])),
    }


def plant(
    right: np.ndarray, mended: float, broken: float, accuracy: float, random: np.random.Generator
) -> np.ndarray:
    """B's predictions with rows mended and broken; a row draws once for all repeats.

    Of the errors a share mended / (1 − accuracy) is mended, of the hits broken / accuracy is
    broken, so that accuracy changes by mended − broken in expectation.

    Args:
        right: (repeats, n) of bool.
        mended: expected share of rows that change from wrong to right.
        broken: expected share of rows that change from right to wrong.
        accuracy: the expected share of `right`.
        random: of the rows that are chosen.

    Raises:
        ComparisonError: there are not as many errors, or hits.
    """
    for share, there, what in ((mended, 1 - accuracy, "errors"), (broken, accuracy, "hits")):
        if share > there:
            raise ComparisonError(
                f"an effect of {100 * share:.1f} pp cannot be planted: there are "
                f"{100 * there:.1f} % {what}; choose a smaller one"
            )
    draws = random.random((2, right.shape[1]))  # (2, n)
    mend = draws[0] < (mended / (1 - accuracy) if mended else 0)
    spoil = draws[1] < (broken / accuracy if broken else 0)
    changed: np.ndarray = np.where(right, ~spoil, mend)
    return changed


def rate(count: int, n: int) -> dict[str, Any]:
    """A share of n with its exact 95 % CI (Clopper & Pearson 1934)."""
    interval = stats.binomtest(int(count), n).proportion_ci(method="exact")
    return {"share": count / n, "ci95": [float(interval.low), float(interval.high)]}


def fold_accuracies(right: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """Accuracy of every split, (repeats · folds,), of (repeats, n) each."""
    split = (fold + folds * np.arange(len(fold))[:, None]).ravel()
    hits = np.bincount(split, weights=right.ravel().astype(np.float64))
    shares: np.ndarray = hits / np.bincount(split)
    return shares


def _test(fold: np.ndarray, a: np.ndarray, b: np.ndarray, folds: int) -> TTest:
    one, other = (fold_accuracies(right, fold, folds) for right in (a, b))
    return corrected_t_test(other - one, folds)


def _verdicts(tests: Sequence[TTest], rope: float, effect: float) -> dict[str, Any]:
    said = [verdict(test.mean, test.p, correlated_posterior(test, rope)) for test in tests]
    helps, hurts = said.count("Helps"), said.count("Hurts")
    found = {True: helps, False: hurts}[effect > 0] if effect else 0
    return {
        "helps": helps,
        "hurts": hurts,
        "same": said.count("Practically the same"),
        "inconclusive": said.count("Inconclusive"),
        "claimed": rate(helps + hurts, len(said)),
        "found": rate(found, len(said)),
    }


# --- showing ----------------------------------------------------------------------------------


def text(content: dict[str, Any]) -> str:
    """What `run` found, as two tables: false alarms, and power."""
    stand_in = "SYNTHETIC data, " if content["synthetic"] else ""
    rows = content["rows"]
    lines = [
        f"{content['variant']} on {stand_in}{content['dataset']}/{content['edition']}, "
        f"{content['data_rows']} rows: {content['runs']} cross-validations of {content['folds']} "
        f"folds with either of two seeds; mean accuracy {100 * content['accuracy']:.1f} %. "
        f"Practically the same within ±{100 * content['rope']:g} pp; exact 95 % CIs.",
        "",
        "False alarms: nothing differs on average",
        *aligned([FALSE_ALARMS, *(_false_alarm(row) for row in rows if row["effect"] == 0)]),
        "",
        "Power: the planted effect is found (Helps where it is above 0, else Hurts)",
        *aligned([POWER, *(_power(row) for row in rows if row["effect"] != 0)]),
    ]
    return "\n".join(lines)


def _false_alarm(row: dict[str, Any]) -> list[str]:
    rates = (_rate(row[key]) for key in ("claimed", "corrected", "naive"))
    return [row["scenario"], str(row["repeats"]), str(row["comparisons"]), *rates]


def _power(row: dict[str, Any]) -> list[str]:
    rates = (_rate(row[key]) for key in ("found", "corrected"))
    counts = row["scenario"], str(row["repeats"]), str(row["comparisons"])
    return [*counts, *rates, f"{100 * row['mde']:.1f} pp"]


def _rate(share: dict[str, Any]) -> str:
    low, high = share["ci95"]
    return f"{100 * share['share']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
