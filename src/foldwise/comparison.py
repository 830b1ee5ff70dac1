"""Does B do better than A? The pairs of a study, compared on the same splits.

The differences are B − A of the study's primary metric; the statistics and the rule of the
verdict are in `statistics`, the sentences in `wording`.
"""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from foldwise import statistics
from foldwise.core.config import Study, known
from foldwise.core.errors import ComparisonError, ConfigError
from foldwise.core.files import short
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

BOOTSTRAP_SEED = 0
OTHER_ROPES = (0.0, 0.5, 2.0)  # as multiples of the declared one


def compare_study(study: Study, results: Mapping[str, Result]) -> Comparison:
    """Every variant of a study, and every pair with its verdict.

    The baseline is compared with every other variant, then come the declared pairs, but for those
    that are among the first already, in either order: one question asked twice would count twice.
    Holm adjusts over all pairs that are not refused.

    Raises:
        ComparisonError: the results do not have the baseline or a variant of a declared pair.
        MissingError: a file of a run folder is not there.
        DamagedError: a file of a run folder is not what was written.
    """
    answers = [_answer(study, results, *pair) for pair in _pairs(study, list(results))]
    adjusted = iter(statistics.holm([pair.p for pair in answers if isinstance(pair, Pair)]))
    base = results[study.comparison.baseline].metrics
    return Comparison(
        study=study.name,
        edition=base.edition,
        synthetic=base.synthetic,
        metric=study.comparison.metric,
        rope=study.comparison.rope,
        protocol=Protocol(
            dataset=study.dataset,
            folds=study.cv.folds,
            repeats=study.cv.repeats,
            splits=study.cv.folds * study.cv.repeats,
            training=study.training,
        ),
        variants={name: _summary(result.metrics) for name, result in results.items()},
        metrics={name: r.evaluation.digest for name, r in results.items() if r.evaluation.digest},
        pairs=[
            decided(study, answer, next(adjusted)) if isinstance(answer, Pair) else answer
            for answer in answers
        ],
    )


def compare(
    study: Study,
    a: Result,
    b: Result,
    kind: Kind = "declared",
    names: tuple[str, str] | None = None,
) -> Pair:
    """B against A as the only pair of the study; `decided` takes the others into account.

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
    primary, rope, folds = study.comparison.metric, study.comparison.rope, study.cv.folds
    left, right = (
        result.scores.set_index(SPLIT).sort_index().reindex(columns=list(METRICS))
        for result in (a, b)
    )
    differences = right - left  # a line per split; NaN where one of them has no such score
    test = statistics.corrected_t_test(differences[primary].to_numpy(), folds)
    direction = METRICS[primary].direction
    lines = differences[primary].reset_index().itertuples(index=False)
    mcnemar, bootstrap = _tests_of_rows(a.run, b.run) if a.run and b.run else ([], None)
    pair = Pair(
        a=names[0],
        b=names[1],
        kind=kind,
        n=a.metrics.rows,
        folds=folds,
        repeats=study.cv.repeats,
        **asdict(test),
        p_holm=test.p,
        posterior=statistics.correlated_posterior(test, rope, direction),
        verdict="Inconclusive",
        ropes=[
            AtRope(
                rope=factor * rope,
                **asdict(statistics.correlated_posterior(test, factor * rope, direction)),
            )
            for factor in OTHER_ROPES
        ],
        mcnemar=mcnemar,
        bootstrap=bootstrap,
        exploratory={
            name: _exploratory(differences[name].to_numpy(), folds, _gap(name, a, b))
            for name in METRICS
            if name != primary
        },
        differences=[Difference(repeat=r, fold=f, difference=d) for r, f, d in lines],
    )
    return decided(study, pair, test.p)


def decided(study: Study, pair: Pair, p_holm: float) -> Pair:
    """A pair with its verdict, p being adjusted over all pairs that are asked about."""
    gain = METRICS[study.comparison.metric].direction * pair.mean
    verdict = statistics.verdict(gain, p_holm, pair.posterior)
    return pair.model_copy(update={"p_holm": p_holm, "verdict": verdict})


def _pairs(study: Study, names: list[str]) -> list[tuple[str, str, Kind]]:
    place = f"studies.{study.name}.comparison (variants with results)"
    baseline, declared = study.comparison.baseline, study.comparison.pairs
    try:
        for name in [baseline, *(name for pair in declared for name in pair)]:
            known(name, names, place)
    except ConfigError as error:
        raise ComparisonError(str(error)) from None
    pairs: dict[frozenset[str], tuple[str, str, Kind]] = {
        frozenset((baseline, name)): (baseline, name, "baseline")
        for name in names
        if name != baseline
    }
    for a, b in declared:
        pairs.setdefault(frozenset((a, b)), (a, b, "declared"))
    return list(pairs.values())


def _answer(
    study: Study, results: Mapping[str, Result], a: str, b: str, kind: Kind
) -> Pair | Refused:
    """The comparison of B with A, or the line that says why there is none."""
    try:
        return compare(study, results[a], results[b], kind)
    except ComparisonError as error:
        return Refused(a=a, b=b, kind=kind, refused=str(error))


def _summary(metrics: Metrics) -> VariantSummary:
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


def _exploratory(differences: np.ndarray, folds: int, gap: str) -> Exploratory:
    if gap:
        return Exploratory(missing=gap)
    test = statistics.corrected_t_test(differences, folds)
    return Exploratory(mean=test.mean, ci95=test.ci95, p=test.p)


def _gap(metric: str, *results: Result) -> str:
    """Why one of the results has no score of a metric on some split; "" where all have them."""
    for result in results:
        if reason := result.metrics.missing.get(metric):
            return reason
        if metric not in result.scores or not np.isfinite(result.scores[metric]).all():
            return "it was evaluated by an older foldwise; `dvc repro` evaluates it again"
    return ""


def _tests_of_rows(a: RunFolder, b: RunFolder) -> tuple[list[McNemar], Bootstrap]:
    """McNemar by repeat, and the bootstrap, which draws a row with all its repeats."""
    changes = _right(b).astype(np.int64) - _right(a)  # 1 where only B is right, −1 only A
    counts = [(int((rows < 0).sum()), int((rows > 0).sum())) for rows in changes]
    mcnemar = [
        McNemar(repeat=repeat, only_a=a, only_b=b, p=statistics.exact_mcnemar(a, b))
        for repeat, (a, b) in enumerate(counts)
    ]
    mean, ci95 = statistics.row_bootstrap(changes.sum(axis=0), len(changes), BOOTSTRAP_SEED)
    return mcnemar, Bootstrap(mean=mean, ci95=ci95, replicates=statistics.REPLICATES)


def _right(run: RunFolder) -> np.ndarray:
    """Whether each row is predicted right in each repeat: (repeats, rows)."""
    table = run.predictions.sort_values(["repeat", "row"])
    shape = table["repeat"].nunique(), table["row"].nunique()
    right: np.ndarray = np.equal(predicted(table), table["label"].to_numpy()).reshape(shape)
    return right


# --- refusals ---------------------------------------------------------------------------------


def check_comparable(study: Study, a: Result, b: Result, names: tuple[str, str]) -> None:
    """That B can be compared with A: same data, same splits, both trained to the end.

    Their training settings may differ: an override is part of a variant.

    Raises:
        ComparisonError: they cannot; the message says why and what to do.
    """
    for result, name in zip((a, b), names, strict=True):
        _check_scores(study, result, name)
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
    columns = [*SPLIT, *SIZES]
    first, second = (result.scores[columns].sort_values(columns).to_numpy() for result in (a, b))
    if not np.array_equal(first, second):
        raise _unpaired(names, "splits of other sizes")


def _check_scores(study: Study, result: Result, name: str) -> None:
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
    if reason := _gap(study.comparison.metric, result):
        title = METRICS[study.comparison.metric].title
        raise ComparisonError(f"{name} has no {title} of every split: {reason}")


def _check_run(study: Study, result: Result, run: RunFolder) -> None:
    """That the scores are those of the run, and the run is one of the study."""
    if result.stale:
        raise ComparisonError(result.stale)
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
    metrics = result.metrics
    for what, of_run, of_scores in (
        ("data", short(run.manifest.dataset.digest), metrics.data_digest),
        ("held-out rows", split_digest(run.predictions), metrics.split_digest),
    ):
        if of_run != of_scores:
            raise ComparisonError(
                f"{result.name}: its scores are of other {what} than its predictions; "
                f"`dvc repro evaluate@{result.name}` evaluates it again"
            )


def _unpaired(names: tuple[str, str], what: str) -> ComparisonError:
    return ComparisonError(
        f"{names[0]} and {names[1]} have {what}, so their differences would not be paired; "
        "`dvc repro` trains and evaluates both on the same"
    )
