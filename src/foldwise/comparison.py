"""Does B do better than A? The pairs of a study, compared on the same splits.

The differences are B − A of the study's primary metric; the statistics and the rule of the
verdict are in `statistics`, the sentences in `wording`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from foldwise import statistics
from foldwise.core.config import Study, known
from foldwise.core.errors import ComparisonError, ConfigError, FoldwiseError
from foldwise.evaluation import split_digest
from foldwise.metrics import METRICS
from foldwise.results.comparisons import (
    AtRope,
    Bootstrap,
    Comparison,
    Difference,
    Exploratory,
    Kind,
    McNemar,
    Pair,
    Protocol,
    Refused,
    VariantSummary,
)
from foldwise.results.evaluations import SIZES, SPLIT, Metrics, Result
from foldwise.results.runs import RunFolder, predicted
from foldwise.statistics import TTest

BOOTSTRAP_SEED = 0
OTHER_ROPES = (0.0, 0.5, 2.0)  # as multiples of the declared one


@dataclass(frozen=True, eq=False)
class Tested:
    """B against A, but for what depends on the study's other pairs.

    Attributes:
        a: what A is called.
        b: what B is called.
        kind: whether A is the study's baseline or the pair was declared.
        study: its protocol, metric and rope.
        n: rows.
        differences: (J, 3): repeat, fold, difference of the primary metric.
        test: of these differences.
        exploratory: of the other metrics.
        mcnemar: per repeat; none where the predictions are not at hand.
        bootstrap: likewise.
    """

    a: str
    b: str
    kind: Kind
    study: Study
    n: int
    differences: pd.DataFrame
    test: TTest
    exploratory: dict[str, Exploratory]
    mcnemar: list[McNemar]
    bootstrap: Bootstrap | None


def compare_study(study: Study, results: Mapping[str, Result]) -> Comparison:
    """Every variant of a study, and every pair with its verdict.

    The baseline is compared with every other variant, then come the declared pairs, but for those
    that are among the first already, in either order: one question asked twice would count twice.
    Holm adjusts over all pairs that are not refused.

    Raises:
        ComparisonError: the results do not have the baseline or a variant of a declared pair.
    """
    answers = [_answer(study, results, *pair) for pair in _pairs(study, list(results))]
    tested = [answer for answer in answers if isinstance(answer, Tested)]
    adjusted = iter(statistics.holm([one.test.p for one in tested]))
    base = results[study.comparison.baseline].metrics
    return Comparison(
        study=study.name,
        edition=base.edition,
        synthetic=base.synthetic,
        metric=study.comparison.metric,
        rope=study.comparison.rope,
        protocol=_protocol(study),
        variants={name: _variant(result.metrics) for name, result in results.items()},
        pairs=[
            decided(answer, next(adjusted)) if isinstance(answer, Tested) else answer
            for answer in answers
        ],
    )


def compare(
    study: Study,
    a: Result,
    b: Result,
    kind: Kind = "declared",
    names: tuple[str, str] | None = None,
) -> Tested:
    """All statistics of B against A that do not depend on the study's other pairs.

    Without run folders (across commits) there are no McNemar tests and no row bootstrap.

    Args:
        study: the protocol that both belong to, its metric and rope.
        a: the one.
        b: the other.
        kind: whether A is the study's baseline or the pair was declared.
        names: what they are called; by default as their variants.

    Raises:
        ComparisonError: they must not be compared.
        MissingError: a file of a run folder is not there.
        DamagedError: a file of a run folder is not what was written.
    """
    names = names or (a.name, b.name)
    check_comparable(study, a, b, names)
    differences = _differences(a.scores, b.scores)
    primary, folds = study.comparison.metric, study.cv.folds
    changes = _changes(a.run, b.run) if a.run and b.run else None
    return Tested(
        a=names[0],
        b=names[1],
        kind=kind,
        study=study,
        n=a.metrics.rows,
        differences=differences[[*SPLIT, primary]].rename(columns={primary: "difference"}),
        test=_t_test(differences[primary].to_numpy(), folds),
        exploratory={
            name: _exploratory(differences, name, folds, a.metrics, b.metrics)
            for name in METRICS
            if name != primary
        },
        mcnemar=[] if changes is None else _mcnemar(changes),
        bootstrap=None if changes is None else _bootstrap(changes),
    )


def decided(tested: Tested, p_holm: float) -> Pair:
    """A pair with its verdict, once p is adjusted over the study's pairs."""
    comparison, test = tested.study.comparison, tested.test
    direction = METRICS[comparison.metric].direction
    posterior = statistics.correlated_posterior(test, comparison.rope, direction)
    ropes = [multiple * comparison.rope for multiple in OTHER_ROPES]
    return Pair(
        a=tested.a,
        b=tested.b,
        kind=tested.kind,
        n=tested.n,
        folds=tested.study.cv.folds,
        repeats=tested.study.cv.repeats,
        **asdict(test),
        p_holm=p_holm,
        posterior=posterior,
        verdict=statistics.verdict(direction * test.mean, p_holm, posterior),
        ropes=[
            AtRope(rope=rope, **asdict(statistics.correlated_posterior(test, rope, direction)))
            for rope in ropes
        ],
        mcnemar=tested.mcnemar,
        bootstrap=tested.bootstrap,
        exploratory=tested.exploratory,
        differences=_lines(tested.differences),
    )


# --- parts ------------------------------------------------------------------------------------


def _pairs(study: Study, names: list[str]) -> list[tuple[str, str, Kind]]:
    place = f"studies.{study.name}.comparison (variants with results)"
    baseline = study.comparison.baseline
    try:
        for name in [baseline, *(name for pair in study.comparison.pairs for name in pair)]:
            known(name, names, place)
    except ConfigError as error:
        raise ComparisonError(str(error)) from None
    pairs: list[tuple[str, str, Kind]] = []
    pairs += [(baseline, name, "baseline") for name in names if name != baseline]
    asked = {frozenset(pair[:2]) for pair in pairs}
    for a, b in study.comparison.pairs:
        if frozenset((a, b)) not in asked:
            pairs.append((a, b, "declared"))
            asked.add(frozenset((a, b)))
    return pairs


def _answer(
    study: Study, results: Mapping[str, Result], a: str, b: str, kind: Kind
) -> Tested | Refused:
    """The comparison of B with A, or the line that says why there is none."""
    try:
        return compare(study, results[a], results[b], kind)
    except FoldwiseError as error:
        return Refused(a=a, b=b, kind=kind, refused=str(error))


def _protocol(study: Study) -> Protocol:
    return Protocol(
        dataset=study.dataset,
        folds=study.cv.folds,
        repeats=study.cv.repeats,
        splits=study.cv.folds * study.cv.repeats,
        training=study.training,
    )


def _variant(metrics: Metrics) -> VariantSummary:
    if not metrics.complete:
        return VariantSummary(status=metrics.status, reason=metrics.reason)
    score = metrics.primary
    low, high = score.ci95_low, score.ci95_high
    return VariantSummary(
        status=metrics.status,
        mean=score.mean,
        sd=score.sd_over_splits,
        se=score.se_corrected,
        ci95=None if low is None or high is None else (low, high),
    )


def _differences(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """repeat, fold, and every metric: B minus A, one line per split; NaN where one has none."""
    left, right = (scores.set_index(SPLIT).sort_index() for scores in (a, b))
    names = list(METRICS)
    return (right.reindex(columns=names) - left.reindex(columns=names)).reset_index()


def _t_test(differences: np.ndarray, folds: int) -> TTest:
    if len(differences) < 2 or folds < 2:
        raise ComparisonError(
            f"{len(differences)} differences over {folds} folds: a spread needs two of each; "
            "set cv.folds to 2 or more"
        )
    if not np.isfinite(differences).all():
        raise ComparisonError(
            "a difference is not finite: a score is missing; `dvc repro` evaluates again"
        )
    return statistics.corrected_t_test(differences, folds)


def _exploratory(
    differences: pd.DataFrame, name: str, folds: int, a: Metrics, b: Metrics
) -> Exploratory:
    """The test of another metric; where one of the two has no score, the reason."""
    if missing := a.missing.get(name) or b.missing.get(name):
        return Exploratory(missing=missing)
    values = differences[name].to_numpy()
    if not np.isfinite(values).all():
        return Exploratory(missing="scored by an older foldwise; `dvc repro` evaluates again")
    test = statistics.corrected_t_test(values, folds)
    return Exploratory(mean=test.mean, ci95=test.ci95, p=test.p)


def _lines(differences: pd.DataFrame) -> list[Difference]:
    keys = (*SPLIT, "difference")
    columns = (differences[key].tolist() for key in keys)
    return [Difference(**dict(zip(keys, line, strict=True))) for line in zip(*columns, strict=True)]


# --- rows -------------------------------------------------------------------------------------


def _changes(a: RunFolder, b: RunFolder) -> pd.DataFrame:
    """row, repeat, change: 1 where only B is right, −1 where only A is, else 0."""
    keys = ["repeat", "row"]
    one, other = (
        run.predictions.sort_values(keys, ignore_index=True, kind="stable") for run in (a, b)
    )
    right_a, right_b = (predicted(table) == table["label"].to_numpy() for table in (one, other))
    return one[keys].assign(change=right_b.astype(np.int64) - right_a.astype(np.int64))


def _mcnemar(changes: pd.DataFrame) -> list[McNemar]:
    tests = []
    for repeat, rows in changes.groupby("repeat")["change"]:
        only_a, only_b = int((rows < 0).sum()), int((rows > 0).sum())
        p = statistics.exact_mcnemar(only_a, only_b)
        tests.append(McNemar(repeat=int(str(repeat)), only_a=only_a, only_b=only_b, p=p))
    return tests


def _bootstrap(changes: pd.DataFrame) -> Bootstrap:
    """A row is drawn with all its repeats."""
    by_row = changes.groupby("row")["change"].sum().to_numpy()
    repeats = changes["repeat"].nunique()
    mean, ci95 = statistics.row_bootstrap(by_row, repeats, BOOTSTRAP_SEED)
    return Bootstrap(mean=mean, ci95=ci95, replicates=statistics.REPLICATES)


# --- refusals ---------------------------------------------------------------------------------


def check_comparable(study: Study, a: Result, b: Result, names: tuple[str, str]) -> None:
    """That B can be compared with A: same data, same splits, both trained to the end.

    Their training settings may differ: an override is part of a variant.

    Raises:
        ComparisonError: they cannot; the message says why and what to do.
    """
    for result, name in zip((a, b), names, strict=True):
        _check_one(study, result, name)
        if result.run is not None:
            _check_run(study, result, result.run)
    one, other = a.metrics, b.metrics
    for what, left, right in (
        ("editions", one.edition, other.edition),
        ("data digests", one.data_digest, other.data_digest),
        ("split tables", one.split_digest, other.split_digest),
    ):
        if left != right:
            raise _unpaired(names, f"other {what} ({left} and {right})")
    if not _same(a.scores, b.scores, [*SPLIT, *SIZES]):
        raise _unpaired(names, "splits of other sizes")


def _check_one(study: Study, result: Result, name: str) -> None:
    metrics, scores = result.metrics, result.scores
    if not metrics.complete:
        raise ComparisonError(f"{name} failed: {metrics.reason}")
    if metrics.study != study.name:
        raise ComparisonError(
            f"{name} was trained in study {metrics.study}, not in {study.name}; "
            "only variants of one study share its protocol and its splits"
        )
    found = scores["fold"].nunique(), scores["repeat"].nunique()
    expected = study.cv.folds, study.cv.repeats
    if found != expected or len(scores) != found[0] * found[1]:
        raise ComparisonError(
            f"{name} has {len(scores)} scores of {found[0]} folds × {found[1]} repeats, and study "
            f"{study.name} has {expected[0]} × {expected[1]}: only results of the same splits are "
            "paired"
        )
    if study.comparison.metric not in scores.columns:
        raise ComparisonError(
            f"{name} has no {METRICS[study.comparison.metric].title}: it was evaluated by an older "
            "foldwise; `dvc repro` evaluates it again"
        )


def _check_run(study: Study, result: Result, run: RunFolder) -> None:
    """That the scores are those of the run, and the run is one of the study."""
    variant = run.manifest.variant
    for what, found, expected in (
        ("study", variant.study, study.name),
        ("data set", variant.dataset, study.dataset),
        ("cross-validation", variant.cv, study.cv),
    ):
        if found != expected:
            raise ComparisonError(
                f"{result.name} was trained under {what} {found}, and study {study.name} has "
                f"{expected}; `dvc repro train@{result.name}` trains it again"
            )
    if split_digest(run.predictions) != result.metrics.split_digest:
        raise ComparisonError(
            f"{result.name}: its scores are of other held-out rows than its predictions; "
            f"`dvc repro evaluate@{result.name}` evaluates it again"
        )


def _same(one: pd.DataFrame, other: pd.DataFrame, columns: list[str]) -> bool:
    """Whether two tables hold the same lines, in any order, as far as `columns` go."""
    a, b = (t[columns].sort_values(columns, ignore_index=True) for t in (one, other))
    return bool(len(a) == len(b) and (a.to_numpy() == b.to_numpy()).all())


def _unpaired(names: tuple[str, str], what: str) -> ComparisonError:
    return ComparisonError(
        f"{names[0]} and {names[1]} have {what}, so their differences would not be paired; "
        "`dvc repro` trains and evaluates both on the same"
    )
