"""Variants across commits: A at one revision against B at another, or in the workspace.

Reads params.yaml and metrics/ of a commit, tag, branch or DVC experiment; the workspace stays as
it is. What is compared are scores per split, which are in git, so that nothing has to be pulled.
Predictions are not at hand: no McNemar test, no row bootstrap.

The metric, the rope and the protocol are those of A's params.yaml, fixed before B was seen. Holm
adjusts over all pairs but those whose scores are the same to the last digit: a variant that was
not touched asks no question.
"""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foldwise import commits, comparison
from foldwise.commits import Snapshot
from foldwise.core import files, paths, trees
from foldwise.core.config import Study, known
from foldwise.core.errors import ComparisonError, FoldwiseError, MissingError, ResultsError
from foldwise.core.files import Record
from foldwise.evaluation import split_digest
from foldwise.results import runs
from foldwise.results.comparisons import Pair
from foldwise.results.evaluations import Evaluation, Metrics, Result, parse_scores
from foldwise.statistics import holm


class Place(Record):
    """One side: the revision as asked for, or "workspace", and its commit's hash if it has one."""

    revision: str
    commit: str | None


class Change(Record):
    """A setting that differs: its value on side A and on side B, None where there is none."""

    key: str
    a: Any
    b: Any


class RevisionPair(Pair):
    """B against A, each at its place.

    Attributes:
        variant_a: the variant on side A; `a` also says at which place.
        variant_b: the variant on side B.
        study: of A's params.yaml, like `dataset`, `metric` and `rope`.
        edition: of the data, the same on both sides.
        synthetic: trained on the built-in stand-in.
        unchanged: the scores are the same to the last digit.
        holm_over: the pairs that p is adjusted over.
        settings: those that differ.
        numerics: what decides the bits of a training and differs; `path` is None on a side that
            an older foldwise trained, which did not record it.
    """

    variant_a: str
    variant_b: str
    study: str
    dataset: str
    edition: str
    synthetic: bool
    metric: str
    rope: float
    unchanged: bool
    holm_over: int
    settings: list[Change]
    numerics: list[Change]


class RevisionRefused(Record):
    """A pair that must not be compared, and why."""

    variant_a: str
    variant_b: str
    study: str
    refused: str


class RevisionComparison(Record):
    """All pairs between two places, in the order of A's params.yaml.

    `only_in_a` and `only_in_b` are variants that were not asked for by name and that the other
    side does not have.
    """

    a: Place
    b: Place
    pairs: list[RevisionPair | RevisionRefused]
    only_in_a: list[str]
    only_in_b: list[str]

    @property
    def made(self) -> list[RevisionPair]:
        """The pairs that were compared."""
        return [pair for pair in self.pairs if isinstance(pair, RevisionPair)]

    @property
    def refused(self) -> list[RevisionRefused]:
        """The pairs that were not."""
        return [pair for pair in self.pairs if isinstance(pair, RevisionRefused)]


@dataclass(frozen=True, eq=False)
class Answer:
    """A pair but for what depends on the others."""

    a: str
    b: str
    study: Study
    pair: Pair
    metrics: Metrics
    unchanged: bool
    settings: list[Change]
    numerics: list[Change]


# --- comparing --------------------------------------------------------------------------------


def compare(
    names: Sequence[str], revisions: Sequence[str], study: str | None = None, root: Path = Path()
) -> RevisionComparison:
    """Compare A with B, or one variant or all of them between two places.

    Side A is the first revision, side B the second; a side without one is the workspace.

    Args:
        names: [A, B], or [A] for the same variant on both sides, or [] for all.
        revisions: none to two.
        study: only this one.
        root: the project's root.

    Raises:
        ComparisonError: that is no question, or a revision is not there.
        ConfigError: a params.yaml cannot be read, or does not declare the variant or the study.
    """
    _check_question(names, revisions)
    with _sides(revisions, root) as (a, b):
        answers = [_answer(a, b, *pair) for pair in _asked(a, b, names, study)]
        in_a, in_b = _members(a, study), _members(b, study)
        return RevisionComparison(
            a=Place(revision=a.name, commit=a.commit),
            b=Place(revision=b.name, commit=b.commit),
            pairs=_decided(answers),
            only_in_a=[] if names else sorted(in_a - in_b),
            only_in_b=[] if names else sorted(in_b - in_a),
        )


def exit_status(comparison: RevisionComparison, fail_if_worse: bool) -> int:
    """What a gate needs: 0, 1 for an established loss, 2 where no comparison could be made.

    Args:
        comparison: of `compare`.
        fail_if_worse: 1 if a pair *Hurts*, else 2 if one is refused. Without it the status is 2
            only if nothing could be compared.
    """
    if fail_if_worse and any(pair.verdict == "Hurts" for pair in comparison.made):
        return 1
    return 2 if not comparison.made or (fail_if_worse and comparison.refused) else 0


def _check_question(names: Sequence[str], revisions: Sequence[str]) -> None:
    if len(names) > 2 or len(revisions) > 2:
        raise ComparisonError("at most two variants and two revisions: A and B")
    if len(names) < 2 and not revisions:
        raise ComparisonError(
            "compare with what? name a second variant, or a revision: "
            "`foldwise compare A B` or `foldwise compare A --rev main`"
        )
    if _is_one_place(revisions) and len(set(names)) < 2:
        raise ComparisonError("both sides are the same; name two variants or two revisions")


def _is_one_place(revisions: Sequence[str]) -> bool:
    return len(revisions) != 1 and len(set(revisions)) < 2


@contextmanager
def _sides(revisions: Sequence[str], root: Path) -> Iterator[tuple[Snapshot, Snapshot]]:
    """Side A and side B, the same object where both are one place."""
    first, second = [*revisions, None, None][:2]
    with commits.opened(first, root) as a:
        if _is_one_place(revisions):
            yield a, a
            return
        with commits.opened(second, root) as b:
            yield a, b


def _asked(
    a: Snapshot, b: Snapshot, names: Sequence[str], study: str | None
) -> list[tuple[str, str]]:
    if study is not None:
        for side in (a, b):
            known(study, side.settings.studies, f"studies of {side.name}")
    if not names:
        both = _members(a, study) & _members(b, study)
        return [(name, name) for name in a.settings.variants if name in both]
    place = f" in study {study}" if study else ""
    for side, name in ((a, names[0]), (b, names[-1])):
        known(name, _members(side, study), f"variants of {side.name}{place}")
    return [(names[0], names[-1])]


def _members(side: Snapshot, study: str | None) -> set[str]:
    variants = side.settings.variants.items()
    return {name for name, block in variants if study in (None, block.study)}


def _answer(a: Snapshot, b: Snapshot, name_a: str, name_b: str) -> Answer | RevisionRefused:
    study = a.settings.study(a.settings.variants[name_a].study)
    labels = (name_a, name_b) if a is b else (f"{name_a} ({a.name})", f"{name_b} ({b.name})")
    try:
        one, other = read(a, name_a), read(b, name_b)
        pair = comparison.compare(study, one, other, names=labels)
    except FoldwiseError as error:
        return RevisionRefused(
            variant_a=name_a, variant_b=name_b, study=study.name, refused=str(error)
        )
    columns = one.scores.columns.intersection(other.scores.columns)
    unchanged = one.scores[columns].equals(other.scores[columns])
    settings = _changes(_settings(a, name_a), _settings(b, name_b))
    numerics = _changes(*(_numerics(side.metrics) for side in (one, other)))
    return Answer(name_a, name_b, study, pair, one.metrics, unchanged, settings, numerics)


def _decided(answers: Sequence[Answer | RevisionRefused]) -> list[RevisionPair | RevisionRefused]:
    """The pairs with their verdicts, Holm over those that ask something."""
    questions = [x for x in answers if isinstance(x, Answer) and not x.unchanged]
    adjusted = iter(holm([x.pair.p for x in questions]))
    return [
        x
        if isinstance(x, RevisionRefused)
        else _pair(x, x.pair.p if x.unchanged else next(adjusted), len(questions))
        for x in answers
    ]


def _pair(answer: Answer, p_holm: float, questions: int) -> RevisionPair:
    study = answer.study
    return RevisionPair(
        **dict(comparison.decided(study, answer.pair, p_holm)),
        variant_a=answer.a,
        variant_b=answer.b,
        study=study.name,
        dataset=study.dataset,
        edition=answer.metrics.edition,
        synthetic=answer.metrics.synthetic,
        metric=study.comparison.metric,
        rope=study.comparison.rope,
        unchanged=answer.unchanged,
        holm_over=questions,
        settings=answer.settings,
        numerics=answer.numerics,
    )


def _settings(side: Snapshot, name: str) -> dict[str, Any]:
    """Everything that decides a variant's training, by dotted key."""
    variant = side.settings.variant(name)
    return trees.flattened(variant.model_dump(mode="json", exclude={"name"}))


def _numerics(metrics: Metrics) -> dict[str, Any]:
    return {} if metrics.numerics is None else dict(metrics.numerics.named)


def _changes(a: dict[str, Any], b: dict[str, Any]) -> list[Change]:
    return [
        Change(key=key, a=a.get(key), b=b.get(key))
        for key in dict.fromkeys([*a, *b])
        if a.get(key) != b.get(key)
    ]


# --- reading ----------------------------------------------------------------------------------


def read(side: Snapshot, variant: str) -> Result:
    """Metrics and scores of one variant, with the digests that say what they are paired with.

    Raises:
        ResultsError: they are not there or do not belong to that side's params.yaml; the message
            says what to pull or run.
        DamagedError: a file is not what was written.
    """
    _check_current(side, variant)
    remedy = _remedy(side, variant)
    path = paths.metrics(variant)
    metrics = files.parse_record(_read(side, variant, path), Metrics, str(path), remedy)
    path = paths.scores(variant)
    scores = parse_scores(_read(side, variant, path), str(path), remedy)
    if metrics.complete and metrics.split_digest is None:
        metrics = metrics.model_copy(update=_digests_of_run(side, variant))
    return Result(Evaluation(metrics, scores))


def _check_current(side: Snapshot, variant: str) -> None:
    """That the results were trained with the params.yaml that lies beside them, as dvc.lock says.

    Without this a gate would pass on the old results of new settings.
    """
    if changed := side.changed_parameters(f"train@{variant}"):
        raise ResultsError(
            f"{variant} ({side.name}): its results are older than its params.yaml "
            f"({', '.join(changed)}); {_remedy(side, variant)}"
        )


def _read(side: Snapshot, variant: str, path: Path) -> bytes:
    try:
        return side.read(path)
    except MissingError as error:
        raise ResultsError(f"{error}; {_remedy(side, variant)}") from None


def _remedy(side: Snapshot, variant: str) -> str:
    if side.commit is None:
        return f"`dvc repro evaluate@{variant}` makes them"
    return (
        f"`git checkout {side.name} && dvc repro evaluate@{variant}` makes them; then commit "
        "metrics/ and dvc.lock"
    )


def _digests_of_run(side: Snapshot, variant: str) -> dict[str, str]:
    """The digests of results whose metrics do not have them yet, from the run in DVC's cache."""
    folder = paths.run(variant)
    try:
        manifest = side.read(folder / runs.MANIFEST)
        table = side.read(folder / runs.PREDICTIONS)
    except MissingError:
        raise ResultsError(
            f"{paths.metrics(variant)} of {side.name} does not say which splits it is of, and "
            f"{folder}/ is not in DVC's cache; `dvc fetch --all-commits` brings it from a remote, "
            f"or {_remedy(side, variant)}"
        ) from None
    return {
        "data_digest": files.short(json.loads(manifest)["dataset"]["digest"]),
        "split_digest": split_digest(pd.read_parquet(io.BytesIO(table))),
    }
