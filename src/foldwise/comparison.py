"""Does B do better than A? Paired statistics over repeated k-fold cross-validation; pure.

d = score(B) − score(A) on the same held-out rows after training on the same rows, so positive
means that B is better (for log-loss and Brier: worse). k folds, r repeats, J = k·r differences.

The verdict on a pair, with the rope and the pairs fixed beforehand:

- *Helps*: P(better) ≥ .95, and m > 0 with Holm-adjusted p ≤ .05. The first asks whether the
  effect is large enough to matter, the second keeps all of a study's *Helps* and *Hurts*
  together at about 5 % false alarms or fewer.
- *Hurts*: the same with P(worse) and m < 0.
- *Practically the same*: P(equivalent) ≥ .95.
- *Inconclusive*: anything else. It is no evidence of equality; the minimum detectable effect
  says what would have been seen.

P comes from the correlated t-test's posterior and is not adjusted for the number of pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import betainc, stdtr, stdtrit  # `scipy.stats` takes half a second to import

from foldwise.config import Study, known
from foldwise.errors import ComparisonError, ConfigError
from foldwise.evaluation import (
    SPLIT,
    corrected_standard_error,
    predicted,
    significant,
)

Verdict = Literal["Helps", "Hurts", "Practically the same", "Inconclusive"]
Kind = Literal["baseline", "declared"]
Interval = tuple[float, float]

CLAIM = 0.95  # probability from which a claim is made
ALPHA = 0.05
POWER = 0.8
REPLICATES = 2000
BOOTSTRAP_SEED = 0
OTHER_ROPES = (0.0, 0.5, 2.0)  # as multiples of the declared one
EXPLORATORY = ("log_loss", "brier")
NO_SPREAD = 1e-9  # scores are rounded to ten digits, so a spread below this is none
BOOTSTRAP_NOTE = (
    "Secondary: resamples the held-out rows and holds the trained models fixed, so it leaves out "
    "the variation between training sets; rows stay together over repeats."
)


@dataclass(frozen=True, eq=False)
class VariantResult:
    """What is compared of one variant: `Evaluation`'s two, and two parts of its `RunFiles`."""

    metrics: dict[str, Any]
    scores: pd.DataFrame
    predictions: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def status(self) -> str:
        """`complete`, or why there are no scores: `failed`."""
        return str(self.manifest["status"])


@dataclass(frozen=True, eq=False)
class Scored:
    """What can be compared where the predictions are not at hand: `Evaluation`'s two.

    `metrics` has data_digest and split_digest, so that pairing can be checked without the run.
    """

    metrics: dict[str, Any]
    scores: pd.DataFrame


@dataclass(frozen=True)
class TTest:
    """Corrected repeated k-fold t-test of J differences, and the naive one beside it.

    Attributes:
        mean: m, the mean difference.
        sd: s, the spread of the differences (ddof=1).
        se: s · sqrt(1/J + 1/(k − 1)).
        t: m/se; None where se is 0 and m is not.
        df: J − 1.
        p: two-sided.
        ci95: m ± t(.975, df) · se.
        naive_p: of the t-test that takes the splits for independent; too small.
        mde: minimum detectable effect at 80 % power.
    """

    mean: float
    sd: float
    se: float
    t: float | None
    df: int
    p: float
    ci95: Interval
    naive_p: float
    mde: float


@dataclass(frozen=True)
class Posterior:
    """Probabilities that the mean difference is below −rope, within ±rope, above rope."""

    worse: float
    equivalent: float
    better: float


@dataclass(frozen=True)
class McNemar:
    """Exact McNemar test of one repeat: rows that only A, and only B, gets right."""

    repeat: int
    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True)
class Bootstrap:
    """Row bootstrap of the accuracy difference; see `BOOTSTRAP_NOTE`."""

    mean: float
    ci95: Interval
    replicates: int
    note: str = BOOTSTRAP_NOTE


@dataclass(frozen=True, eq=False)
class Pair:
    """B against A, but for what depends on the study's other pairs. n rows, J splits.

    Attributes:
        edition: of the data that both were trained on.
        differences: (J, 3): repeat, fold, difference of accuracy.
        ropes: the posterior at other ropes, rope -> posterior.
        exploratory: t-tests of the differences of log-loss and Brier score, lower is better.
        mcnemar: per repeat; none where the predictions are not at hand.
        bootstrap: likewise.
    """

    a: str
    b: str
    kind: Kind
    edition: str
    n: int
    differences: pd.DataFrame
    test: TTest
    posterior: Posterior
    ropes: dict[float, Posterior]
    exploratory: dict[str, TTest]
    mcnemar: list[McNemar] = field(default_factory=list)
    bootstrap: Bootstrap | None = None


# --- statistics -------------------------------------------------------------------------------


def corrected_t_test(differences: np.ndarray, folds: int) -> TTest:
    """Corrected repeated k-fold t-test (Nadeau & Bengio 2003; Bouckaert & Frank 2004).

    Without spread the differences say nothing about an error: equal scores everywhere give p = 1,
    and one same difference everywhere gives the sign test's p = 2^(1 − J), t and its limit 0
    being no evidence where few splits agree by chance.

    Args:
        differences: (J,), J ≥ 2, over the k folds of every repeat.
        folds: k ≥ 2.

    Raises:
        ComparisonError: fewer than two differences or folds, or one that is not finite.
    """
    _check_differences(differences, folds)
    splits, df = len(differences), len(differences) - 1
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if sd <= NO_SPREAD:
        return _without_spread(mean if abs(mean) > NO_SPREAD else 0.0, splits)
    se = corrected_standard_error(sd, splits, folds)
    margin = float(stdtrit(df, 1 - ALPHA / 2)) * se
    return TTest(
        mean=mean,
        sd=sd,
        se=se,
        t=mean / se,
        df=df,
        p=_two_sided(mean / se, df),
        ci95=(mean - margin, mean + margin),
        naive_p=_two_sided(mean / (sd / math.sqrt(splits)), df),
        mde=minimum_detectable_effect(se, df),
    )


def correlated_posterior(test: TTest, rope: float) -> Posterior:
    """Bayesian correlated t-test (Benavoli, Corani, Demšar & Zaffalon 2017).

    The mean difference is Student-t(df, m, se) a posteriori; without spread it is m for sure.
    The limits of the rope belong to it.
    """
    if test.se == 0:
        below, above = test.mean < -rope - NO_SPREAD, test.mean > rope + NO_SPREAD
        return Posterior(float(below), float(not below and not above), float(above))
    worse = float(stdtr(test.df, (-rope - test.mean) / test.se))
    better = float(stdtr(test.df, (test.mean - rope) / test.se))
    return Posterior(worse, max(0.0, 1 - worse - better), better)


def minimum_detectable_effect(se: float, df: int) -> float:
    """The true difference that the test would find with 80 % power: se · (t(.975) + t(.80))."""
    return se * float(stdtrit(df, 1 - ALPHA / 2) + stdtrit(df, POWER))


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


def verdict(mean: float, p_holm: float, posterior: Posterior) -> Verdict:
    """The claim that a pair supports; the rule is at the top of this module."""
    if p_holm <= ALPHA and mean > 0 and posterior.better >= CLAIM:
        return "Helps"
    if p_holm <= ALPHA and mean < 0 and posterior.worse >= CLAIM:
        return "Hurts"
    return "Practically the same" if posterior.equivalent >= CLAIM else "Inconclusive"


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> list[McNemar]:
    """Exact McNemar test in every repeat: two-sided binomial of the rows where A and B differ.

    Never over pooled repeats: the same row in two repeats is not two observations. It holds the
    trained models fixed, too.

    Args:
        a: prediction table of A: row, repeat, fold, label, p0 ... p{K-1}.
        b: prediction table of B over the same rows and repeats.
    """
    changes = _changes(a, b)
    repeats = changes["repeat"].unique().tolist()
    return [_mcnemar(r, changes.loc[changes["repeat"] == r, "change"].to_numpy()) for r in repeats]


def row_bootstrap(
    a: pd.DataFrame, b: pd.DataFrame, seed: int, replicates: int = REPLICATES
) -> Bootstrap:
    """Percentile bootstrap over rows of accuracy(B) − accuracy(A), models held fixed.

    A row is drawn with all its repeats. Rows with the same change are alike, so the numbers of
    rows of each of the at most 2r + 1 changes are drawn, a multinomial, and not the rows: exact,
    and as quick for 50,000 rows as for 200.

    Args:
        a: prediction table of A: row, repeat, fold, label, p0 ... p{K-1}.
        b: prediction table of B over the same rows and repeats.
        seed: of the resampling.
        replicates: how often.
    """
    by_row = _changes(a, b).groupby("row")["change"].sum()
    repeats = a["repeat"].nunique()
    changes, rows = np.unique(by_row.to_numpy(), return_counts=True)
    random = np.random.default_rng(seed)
    draws = random.multinomial(rows.sum(), rows / rows.sum(), size=replicates)
    means = draws @ changes / (rows.sum() * repeats)  # (replicates,)
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    mean = float(by_row.sum() / (len(by_row) * repeats))
    return Bootstrap(mean, (float(low), float(high)), replicates)


# --- pairs ------------------------------------------------------------------------------------


def check_comparable(
    study_name: str, study: Study, a: tuple[str, VariantResult], b: tuple[str, VariantResult]
) -> None:
    """That B can be compared with A: same data, same splits, both trained to the end.

    Their training settings may differ: an override is part of a variant.

    Raises:
        ComparisonError: they cannot; the message says why and what to do.
    """
    for name, result in (a, b):
        _check_variant(name, result, study_name, study)
    left, right = a[1].manifest, b[1].manifest
    for what, one, other in (
        ("editions", left["dataset"]["edition"], right["dataset"]["edition"]),
        ("data digests", left["dataset"]["digest"], right["dataset"]["digest"]),
        ("split tables", left["split_digest"], right["split_digest"]),
    ):
        if one != other:
            raise ComparisonError(
                f"{a[0]} and {b[0]} have other {what} ({one} and {other}), so their differences "
                "would not be paired; `dvc repro` trains both on the same"
            )
    _check_tables(a, b)


def compare_pair(
    study_name: str,
    study: Study,
    a: tuple[str, VariantResult],
    b: tuple[str, VariantResult],
    kind: Kind = "declared",
) -> Pair:
    """All statistics of B against A that do not depend on the study's other pairs.

    Args:
        study_name: the study that both belong to.
        study: its protocol and rope.
        a: name and result of A.
        b: name and result of B.
        kind: whether A is the study's baseline or the pair was declared.

    Raises:
        ComparisonError: they must not be compared.
    """
    check_comparable(study_name, study, a, b)
    tables = a[1].predictions, b[1].predictions
    pair = _pair(study, (a[0], _scored(a[1])), (b[0], _scored(b[1])), kind)
    bootstrap = row_bootstrap(*tables, seed=BOOTSTRAP_SEED)
    return replace(pair, mcnemar=mcnemar(*tables), bootstrap=bootstrap)


def check_scores(
    study_name: str, study: Study, a: tuple[str, Scored], b: tuple[str, Scored]
) -> None:
    """As `check_comparable`, for results whose predictions are not at hand.

    Raises:
        ComparisonError: they cannot be compared; the message says why.
    """
    for name, result in (a, b):
        _check_scored(name, result, study_name, study)
    left, right = a[1].metrics, b[1].metrics
    for what, key in (
        ("editions", "edition"),
        ("data digests", "data_digest"),
        ("split tables", "split_digest"),
    ):
        if left[key] != right[key]:
            raise _unpaired(a[0], b[0], f"other {what} ({left[key]} and {right[key]})")
    sizes = [*SPLIT, "n_train", "n_validation"]
    if not _same(a[1].scores, b[1].scores, sizes):
        raise _unpaired(a[0], b[0], "splits of other sizes")


def compare_scores(
    study_name: str,
    study: Study,
    a: tuple[str, Scored],
    b: tuple[str, Scored],
    kind: Kind = "declared",
) -> Pair:
    """As `compare_pair`, from the scores per split alone: without McNemar and row bootstrap.

    Raises:
        ComparisonError: they must not be compared.
    """
    check_scores(study_name, study, a, b)
    return _pair(study, a, b, kind)


def compare_study(
    study_name: str, study: Study, variants: Mapping[str, VariantResult]
) -> dict[str, Any]:
    """What comparisons/<study>.json holds: every variant, and every pair with its verdict.

    The baseline is compared with every other variant, then come the declared pairs, but for those
    that are among the first already, in either order: one question asked twice would count twice.
    Holm adjusts over all pairs that are not refused. Floats have ten significant digits; no NaN.

    Raises:
        ComparisonError: the results do not have the baseline or a variant of a declared pair.
    """
    asked = _pairs(study_name, study, list(variants))
    answers = [_answer(study_name, study, variants, *pair) for pair in asked]
    pairs = [answer for answer in answers if isinstance(answer, Pair)]
    adjusted = iter(holm([pair.test.p for pair in pairs]))
    base = variants[study.comparison.baseline].manifest["dataset"]
    content = {
        "study": study_name,
        "edition": base["edition"],
        "synthetic": bool(base["synthetic"]),
        "metric": study.comparison.metric,
        "rope": study.comparison.rope,
        "protocol": _protocol(study),
        "variants": {name: _variant(result) for name, result in variants.items()},
        "pairs": [
            record(answer, next(adjusted), study, len(pairs))
            if isinstance(answer, Pair)
            else answer
            for answer in answers
        ],
    }
    rounded: dict[str, Any] = significant(content)
    return rounded


def record(pair: Pair, p_holm: float, study: Study, pairs: int) -> dict[str, Any]:
    """One pair as it stands in comparisons/<study>.json, unrounded."""
    return {
        **asdict(pair.test),
        "a": pair.a,
        "b": pair.b,
        "kind": pair.kind,
        "n": pair.n,
        "folds": study.cv.folds,
        "repeats": study.cv.repeats,
        "p_holm": p_holm,
        "posterior": asdict(pair.posterior),
        "verdict": verdict(pair.test.mean, p_holm, pair.posterior),
        "sentence": sentence(pair, p_holm, study, pairs),
        "ropes": [{"rope": rope, **asdict(law)} for rope, law in pair.ropes.items()],
        "mcnemar": [asdict(repeat) for repeat in pair.mcnemar],
        "bootstrap": asdict(pair.bootstrap) if pair.bootstrap else None,
        "exploratory": {
            name: {"mean": test.mean, "ci95": test.ci95, "p": test.p}
            for name, test in pair.exploratory.items()
        },
        "differences": _records(pair.differences),
    }


def sentence(pair: Pair, p_holm: float, study: Study, pairs: int = 1) -> str:
    """The verdict on a pair with everything that it rests on, in one sentence.

    Args:
        pair: the comparison.
        p_holm: its adjusted p-value.
        study: the protocol and the rope.
        pairs: over how many pairs p was adjusted.
    """
    test, claim = pair.test, verdict(pair.test.mean, p_holm, pair.posterior)
    if test.mean == 0 and test.sd == 0:
        return (
            f"{claim}: {pair.b} and {pair.a} have the same accuracy on every one of "
            f"{test.df + 1} splits ({_setting(pair, study)})."
        )
    parts = [
        f"{claim}: {pair.b} against {pair.a} changes accuracy by {_points(test.mean)} pp "
        f"(95 % CI {_points(test.ci95[0])} to {_points(test.ci95[1])} pp, "
        f"{_setting(pair, study)})",
        _probabilities(pair.posterior, study.comparison.rope),
        f"p = {_p(p_holm)} (corrected repeated k-fold t-test, Holm over "
        f"{pairs} pair{'s' if pairs > 1 else ''})",
    ]
    if claim not in ("Helps", "Hurts") and test.sd > 0:
        parts.append(f"minimum detectable effect {100 * test.mde:.2f} pp at 80 % power")
    return "; ".join(parts) + "."


# --- helpers: statistics ----------------------------------------------------------------------


def _check_differences(differences: np.ndarray, folds: int) -> None:
    if len(differences) < 2 or folds < 2:
        raise ComparisonError(
            f"{len(differences)} differences over {folds} folds: a spread needs two of each; "
            "set cv.folds to 2 or more"
        )
    if not np.isfinite(differences).all():
        raise ComparisonError(
            "a difference is not finite: a score is missing; `dvc repro` evaluates again"
        )


def _without_spread(mean: float, splits: int) -> TTest:
    p = 1.0 if mean == 0 else 2.0 ** (1 - splits)
    return TTest(
        mean=mean,
        sd=0.0,
        se=0.0,
        t=0.0 if mean == 0 else None,
        df=splits - 1,
        p=p,
        ci95=(mean, mean),
        naive_p=p,
        mde=0.0,
    )


def _two_sided(t: float, df: int) -> float:
    return min(1.0, 2 * float(stdtr(df, -abs(t))))


def _mcnemar(repeat: int, change: np.ndarray) -> McNemar:
    only_a, only_b = int((change < 0).sum()), int((change > 0).sum())
    fewer, more = sorted((only_a, only_b))
    # Twice P(at most `fewer` of a fair coin's only_a + only_b throws): the exact binomial test.
    p = min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0
    return McNemar(repeat, only_a, only_b, p)


def _changes(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """row, repeat, change: 1 where only B is right, −1 where only A is, else 0."""
    keys = ["repeat", "row"]
    a, b = (table.sort_values(keys, ignore_index=True) for table in (a, b))
    right_a, right_b = (predicted(table) == table["label"].to_numpy() for table in (a, b))
    return a[keys].assign(change=right_b.astype(np.int64) - right_a.astype(np.int64))


def _pair(study: Study, a: tuple[str, Scored], b: tuple[str, Scored], kind: Kind) -> Pair:
    """The statistics of B against A that need the scores alone; nothing is checked."""
    folds, rope = study.cv.folds, study.comparison.rope
    differences = _differences(a[1].scores, b[1].scores)
    test = corrected_t_test(differences["accuracy"].to_numpy(), folds)
    return Pair(
        a=a[0],
        b=b[0],
        kind=kind,
        edition=a[1].metrics["edition"],
        n=int(a[1].metrics["rows"]),
        differences=differences[[*SPLIT, "accuracy"]].rename(columns={"accuracy": "difference"}),
        test=test,
        posterior=correlated_posterior(test, rope),
        ropes={x * rope: correlated_posterior(test, x * rope) for x in OTHER_ROPES},
        exploratory={m: corrected_t_test(differences[m].to_numpy(), folds) for m in EXPLORATORY},
    )


def _scored(result: VariantResult) -> Scored:
    return Scored(result.metrics, result.scores)


def _differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """repeat, fold, accuracy, log_loss, brier: B minus A, one line per split."""
    left, right = (scores.set_index(SPLIT).sort_index() for scores in (a, b))
    metrics = ["accuracy", *EXPLORATORY]
    return (right[metrics] - left[metrics]).reset_index()


# --- helpers: refusals ------------------------------------------------------------------------


def _check_variant(name: str, result: VariantResult, study_name: str, study: Study) -> None:
    if result.status != "complete":
        raise ComparisonError(f"{name} failed: {result.manifest['reason']}")
    found = result.manifest["variant"]
    for what, value, expected in (
        ("study", found["study"], study_name),
        ("data set", found["dataset"], study.dataset),
        ("cross-validation", found["cv"], study.cv.model_dump(mode="json")),
    ):
        if value != expected:
            raise ComparisonError(
                f"{name} was trained under {what} {value}, and study {study_name} has {expected}; "
                f"`dvc repro train@{name}` trains it again"
            )


def _check_scored(name: str, result: Scored, study_name: str, study: Study) -> None:
    if result.metrics["status"] != "complete":
        raise ComparisonError(f"{name} failed: {result.metrics['reason']}")
    if result.metrics["study"] != study_name:
        raise ComparisonError(
            f"{name} was trained in study {result.metrics['study']}, not in {study_name}; "
            "only variants of one study share its protocol and its splits"
        )
    found = {"folds": result.scores["fold"].nunique(), "repeats": result.scores["repeat"].nunique()}
    expected = {"folds": study.cv.folds, "repeats": study.cv.repeats}
    if found != expected or len(result.scores) != found["folds"] * found["repeats"]:
        raise ComparisonError(
            f"{name} has {len(result.scores)} scores of {_cv(**found)}, and study {study_name} "
            f"has {_cv(**expected)}: only results of the same splits are paired"
        )


def _unpaired(a: str, b: str, what: str) -> ComparisonError:
    return ComparisonError(f"{a} and {b} have {what}, so their differences would not be paired")


def _same(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> bool:
    """Whether two tables hold the same lines, in any order, as far as `columns` go."""
    a, b = (t[columns].sort_values(columns, ignore_index=True) for t in (one, other))
    return bool(len(a) == len(b) and (a.to_numpy() == b.to_numpy()).all())


def _check_tables(a: tuple[str, VariantResult], b: tuple[str, VariantResult]) -> None:
    """The same splits of the same sizes, and the same rows with the same labels in them."""
    sizes = [*SPLIT, "n_train", "n_validation"]
    rows = ["repeat", "row", "fold", "label"]
    for what, columns, one, other in (
        ("splits", sizes, a[1].scores, b[1].scores),
        ("held-out rows", rows, a[1].predictions, b[1].predictions),
    ):
        left, right = (
            table[columns].sort_values(columns).to_numpy(np.int64) for table in (one, other)
        )
        if not np.array_equal(left, right):
            raise ComparisonError(
                f"{a[0]} and {b[0]} have other {what}, so their differences would not be paired; "
                "`dvc repro` evaluates both again"
            )


def _pairs(study_name: str, study: Study, names: list[str]) -> list[tuple[str, str, Kind]]:
    place = f"studies.{study_name}.comparison (variants with results)"
    baseline = study.comparison.baseline
    try:
        for name in [baseline, *(name for pair in study.comparison.pairs for name in pair)]:
            known(name, names, place)
    except ConfigError as error:
        raise ComparisonError(str(error)) from None
    pairs: list[tuple[str, str, Kind]] = []
    pairs += [(baseline, name, "baseline") for name in names if name != baseline]
    for a, b in study.comparison.pairs:
        if {a, b} not in [{x, y} for x, y, _ in pairs]:
            pairs.append((a, b, "declared"))
    return pairs


# --- helpers: the file ------------------------------------------------------------------------


def _protocol(study: Study) -> dict[str, Any]:
    return {
        "dataset": study.dataset,
        "folds": study.cv.folds,
        "repeats": study.cv.repeats,
        "splits": study.cv.folds * study.cv.repeats,
        "training": study.training.model_dump(mode="json"),
    }


def _variant(result: VariantResult) -> dict[str, Any]:
    if result.status != "complete":
        return {"status": result.status, "reason": str(result.manifest["reason"])}
    accuracy = result.metrics["accuracy"]
    return {
        "status": result.status,
        "accuracy_mean": accuracy["mean"],
        "accuracy_sd": accuracy["sd_over_splits"],
        "accuracy_se": accuracy["se_corrected"],
        "ci95": [accuracy["ci95_low"], accuracy["ci95_high"]],
    }


def _answer(
    study_name: str, study: Study, variants: Mapping[str, VariantResult], a: str, b: str, kind: Kind
) -> Pair | dict[str, Any]:
    """The comparison of B with A, or the line that says why there is none."""
    try:
        return compare_pair(study_name, study, (a, variants[a]), (b, variants[b]), kind)
    except ComparisonError as error:
        return {"a": a, "b": b, "kind": kind, "refused": str(error)}


def _records(differences: pd.DataFrame) -> list[dict[str, Any]]:
    keys = (*SPLIT, "difference")
    columns = (differences[key].tolist() for key in keys)
    return [dict(zip(keys, line, strict=True)) for line in zip(*columns, strict=True)]


def _setting(pair: Pair, study: Study) -> str:
    protocol = _cv(study.cv.folds, study.cv.repeats)
    return f"n = {pair.n} rows of {study.dataset}/{pair.edition}, {protocol}"


def _cv(folds: int, repeats: int) -> str:
    return f"{folds} folds" + (f" × {repeats} repeats" if repeats > 1 else "")


def _probabilities(posterior: Posterior, rope: float) -> str:
    values = f"{posterior.worse:.3f} / {posterior.equivalent:.3f} / {posterior.better:.3f}"
    return f"P(worse / within ±{100 * rope:g} pp / better) = {values}, unadjusted"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"
