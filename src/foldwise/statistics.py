"""Paired statistics over repeated k-fold cross-validation: numbers in, numbers out.

d = score(B) − score(A) on the same held-out rows after training on the same rows. k folds,
r repeats, J = k·r differences. Whether more is better is the metric's `direction`, 1 or -1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betainc, stdtr, stdtrit  # `scipy.stats` takes half a second to import

Verdict = Literal["Helps", "Hurts", "Practically the same", "Inconclusive"]
Interval = tuple[float, float]

CLAIM = 0.95  # probability from which a claim is made
ALPHA = 0.05
POWER = 0.8
REPLICATES = 2000
NO_SPREAD = 1e-9  # scores are rounded to ten digits, so a spread below this is none


@dataclass(frozen=True)
class TTest:
    """Corrected repeated k-fold t-test of J differences, and the naive one beside it."""

    mean: float
    sd: float  # ddof=1
    se: float  # sd · sqrt(1/J + 1/(k − 1))
    t: float | None  # mean/se; None where se is 0 and the mean is not
    df: int  # J − 1
    p: float  # two-sided
    ci95: Interval
    naive_p: float  # of the t-test that takes the splits for independent; too small
    mde: float  # minimum detectable effect at 80 % power


@dataclass(frozen=True)
class Posterior:
    """Probabilities that B is worse by more than the rope, within it, better by more."""

    worse: float
    equivalent: float
    better: float


def corrected_standard_error(sd: float, splits: int, folds: int) -> float:
    """Standard error of a mean over repeated k-fold: sd · sqrt(1/J + 1/(k − 1)).

    The J splits share training rows, so their scores are correlated and sd/sqrt(J) is too small
    (Nadeau & Bengio 2003; Bouckaert & Frank 2004 for repeats). 1/(k − 1) is the ratio of held-out
    to training rows.
    """
    return sd * math.sqrt(1 / splits + 1 / (folds - 1))


def interval(mean: float, se: float, df: int) -> Interval:
    """M ± t(.975, df) · se."""
    margin = float(stdtrit(df, 1 - ALPHA / 2)) * se
    return mean - margin, mean + margin


def corrected_t_test(differences: np.ndarray, folds: int) -> TTest:
    """Corrected repeated k-fold t-test (Nadeau & Bengio 2003; Bouckaert & Frank 2004).

    Without spread the differences say nothing about an error: equal scores everywhere give p = 1,
    and one same difference everywhere gives the sign test's p = 2^(1 − J), t and its limit 0
    being no evidence where few splits agree by chance.

    Args:
        differences: (J,), J ≥ 2, finite, over the k folds of every repeat.
        folds: k ≥ 2.
    """
    splits, df = len(differences), len(differences) - 1
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if sd <= NO_SPREAD:
        mean = mean if abs(mean) > NO_SPREAD else 0.0
        t, p = (None, 2.0 ** (1 - splits)) if mean else (0.0, 1.0)
        return TTest(mean, sd=0.0, se=0.0, t=t, df=df, p=p, ci95=(mean, mean), naive_p=p, mde=0.0)
    se = corrected_standard_error(sd, splits, folds)
    return TTest(
        mean=mean,
        sd=sd,
        se=se,
        t=mean / se,
        df=df,
        p=_two_sided(mean / se, df),
        ci95=interval(mean, se, df),
        naive_p=_two_sided(mean / (sd / math.sqrt(splits)), df),
        mde=se * float(stdtrit(df, 1 - ALPHA / 2) + stdtrit(df, POWER)),
    )


def correlated_posterior(test: TTest, rope: float, direction: Literal[1, -1] = 1) -> Posterior:
    """Bayesian correlated t-test (Benavoli, Corani, Demšar & Zaffalon 2017).

    The mean difference is Student-t(df, m, se) a posteriori; without spread it is m for sure.
    The limits of the rope belong to it.
    """
    gain = direction * test.mean
    if test.se == 0:
        below, above = gain < -rope - NO_SPREAD, gain > rope + NO_SPREAD
        return Posterior(float(below), float(not below and not above), float(above))
    worse = float(stdtr(test.df, (-rope - gain) / test.se))
    better = float(stdtr(test.df, (gain - rope) / test.se))
    return Posterior(worse, max(0.0, 1 - worse - better), better)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given (Holm 1979).

    In increasing order, the l-th of c becomes max over i ≤ l of min(1, (c − i + 1) · p_i).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return [float(value) for value in adjusted]


def verdict(gain: float, p_holm: float, posterior: Posterior) -> Verdict:
    """The claim that a pair supports, with the rope and the pairs fixed beforehand.

    - *Helps*: a gain with Holm-adjusted p ≤ .05, which keeps all of a study's *Helps* and *Hurts*
      together at about 5 % false alarms, and P(better) ≥ .95: it is large enough to matter.
    - *Hurts*: the same with a loss and P(worse).
    - *Practically the same*: P(equivalent) ≥ .95.
    - *Inconclusive*: anything else; no evidence of equality.

    Args:
        gain: the mean difference, positive where B is better.
        p_holm: adjusted over the study's pairs.
        posterior: at the declared rope; not adjusted for the number of pairs.
    """
    if p_holm <= ALPHA and gain > 0 and posterior.better >= CLAIM:
        return "Helps"
    if p_holm <= ALPHA and gain < 0 and posterior.worse >= CLAIM:
        return "Hurts"
    return "Practically the same" if posterior.equivalent >= CLAIM else "Inconclusive"


def exact_mcnemar(only_a: int, only_b: int) -> float:
    """P of the exact McNemar test (two-sided binomial) of the rows that only A, only B gets right.

    Of one repeat, never of pooled ones: the same row twice is not two observations.
    """
    fewer, more = sorted((only_a, only_b))
    # Twice P(at most `fewer` of a fair coin's only_a + only_b throws): the exact binomial test.
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


def row_bootstrap(
    changes: np.ndarray, repeats: int, seed: int, replicates: int = REPLICATES
) -> tuple[float, Interval]:
    """Percentile bootstrap over rows of accuracy(B) − accuracy(A): the mean, and its 95 % interval.

    Rows with the same change are alike, so the numbers of rows of each of the at most 2r + 1
    changes are drawn, a multinomial, and not the rows: exact, and as quick for 50,000 rows as
    for 200.

    Args:
        changes: (n,), in how many repeats B alone has a row right minus in how many A alone has.
        repeats: r.
        seed: of the resampling.
        replicates: how many resamples.
    """
    values, rows = np.unique(changes, return_counts=True)
    random = np.random.default_rng(seed)
    draws = random.multinomial(rows.sum(), rows / rows.sum(), size=replicates)
    means = draws @ values / (rows.sum() * repeats)  # (replicates,)
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(changes.sum() / (len(changes) * repeats)), (float(low), float(high))


def _two_sided(t: float, df: int) -> float:
    return min(1.0, 2 * float(stdtr(df, -abs(t))))
