"""Variants across commits: A at one revision against B at another, or in the workspace.

Reads params.yaml and metrics/ of a commit, tag, branch or DVC experiment; the workspace stays as
it is. What is compared are scores per split, which are in git, so that nothing has to be pulled.
Predictions are not at hand: no McNemar test, no row bootstrap.

The metric, the rope and the protocol are those of A's params.yaml, fixed before B was seen. Holm
adjusts over all pairs but those whose scores are the same to the last digit: a variant that was
not touched asks no question.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foldwise import commits, comparison
from foldwise.commits import Snapshot
from foldwise.core import files, paths, trees
from foldwise.core.config import known
from foldwise.core.endings import DONE, NEGATIVE, REFUSED
from foldwise.core.errors import (
    FoldwiseError,
    MissingError,
    ResultsError,
    UsageError,
)
from foldwise.core.files import Record
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
        UsageError: that is no question.
        ComparisonError: a revision is not there.
        ConfigError: a params.yaml cannot be read, or does not declare the variant or the study.
    """
    if len(names) > 2 or len(revisions) > 2:
        raise UsageError("at most two variants and two revisions: A and B")
    if len(names) < 2 and not revisions:
        raise UsageError(
            "compare with what? name a second variant, or a revision: "
            "`foldwise compare A B` or `foldwise compare A --rev main`"
        )
    one_place = len(revisions) != 1 and len(set(revisions)) < 2
    if one_place and len(set(names)) < 2:
        raise UsageError("both sides are the same; name two variants or two revisions")
    with _sides(revisions, one_place, root) as (a, b):
        in_a, in_b = _members(a, study), _members(b, study)
        if names:
            place = f" in study {study}" if study else ""
            for side, name, there in ((a, names[0], in_a), (b, names[-1], in_b)):
                known(name, there, f"variants of {side.name}{place}")
        asked = [(names[0], names[-1])] if names else [(x, x) for x in in_a if x in in_b]
        return RevisionComparison(
            a=Place(revision=a.name, commit=a.commit),
            b=Place(revision=b.name, commit=b.commit),
            pairs=_decided(a, [_pair(a, b, *pair) for pair in asked]),
            only_in_a=[] if names else sorted({*in_a} - {*in_b}),
            only_in_b=[] if names else sorted({*in_b} - {*in_a}),
        )


def exit_status(comparison: RevisionComparison, fail_if_worse: bool) -> int:
    """The exit status of a gate: that of an established loss, or where no comparison could be made.

    Args:
        comparison: of `compare`.
        fail_if_worse: NEGATIVE if a pair *Hurts*, else REFUSED if one is refused. Without it the
            status is REFUSED only if nothing could be compared.
    """
    if fail_if_worse and any(pair.verdict == "Hurts" for pair in comparison.made):
        return NEGATIVE
    refused = not comparison.made or (fail_if_worse and comparison.refused)
    return REFUSED if refused else DONE


@contextmanager
def _sides(
    revisions: Sequence[str], one_place: bool, root: Path
) -> Iterator[tuple[Snapshot, Snapshot]]:
    """Side A and side B, the same object where both are one place."""
    first, second = [*revisions, None, None][:2]
    with commits.opened(first, root) as a:
        if one_place:
            yield a, a
            return
        with commits.opened(second, root) as b:
            yield a, b


def _members(side: Snapshot, study: str | None) -> list[str]:
    """The variants of a side, or of a study there."""
    if study is not None:
        known(study, side.settings.studies, f"studies of {side.name}")
    variants = side.settings.variants.items()
    return [name for name, block in variants if study in (None, block.study)]


def _pair(a: Snapshot, b: Snapshot, name_a: str, name_b: str) -> RevisionPair | RevisionRefused:
    """B against A as if nothing else were asked."""
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
    return RevisionPair(
        **dict(pair),
        variant_a=name_a,
        variant_b=name_b,
        study=study.name,
        dataset=study.dataset,
        edition=one.metrics.edition,
        synthetic=one.metrics.synthetic,
        metric=study.comparison.metric,
        rope=study.comparison.rope,
        unchanged=one.scores[columns].equals(other.scores[columns]),
        holm_over=1,
        settings=_changes(*(_settings(side, x) for side, x in ((a, name_a), (b, name_b)))),
        numerics=_changes(*(_numerics(side.metrics) for side in (one, other))),
    )


def _decided(
    a: Snapshot, pairs: Sequence[RevisionPair | RevisionRefused]
) -> list[RevisionPair | RevisionRefused]:
    """The pairs with their verdicts, Holm over those that ask something."""
    asked = [x for x in pairs if isinstance(x, RevisionPair) and not x.unchanged]
    adjusted = iter(holm([x.p for x in asked]))
    decided: list[RevisionPair | RevisionRefused] = []
    for x in pairs:
        if isinstance(x, RevisionPair):
            p_holm = x.p if x.unchanged else next(adjusted)
            pair = comparison.decided(a.settings.study(x.study), x, p_holm)
            x = RevisionPair(**{**dict(pair), "holm_over": len(asked)})
        decided.append(x)
    return decided


def _settings(side: Snapshot, name: str) -> dict[str, Any]:
    """Everything that decides a variant's training, by dotted key."""
    variant = side.settings.variant(name)
    return trees.flattened(variant.model_dump(mode="json", exclude={"name"}))


def _numerics(metrics: Metrics) -> dict[str, Any]:
    return {} if metrics.numerics is None else dict(metrics.numerics.named)


def _changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Change]:
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
    remedy = f"`dvc repro evaluate@{variant}` makes them"
    if side.commit is not None:
        again = f"`git checkout {side.name} && dvc repro evaluate@{variant}`"
        remedy = f"{again} makes them; then commit metrics/ and dvc.lock"
    # Otherwise a gate would pass on the old results of new settings.
    if changed := side.changed_parameters(f"train@{variant}"):
        raise ResultsError(
            f"{variant} ({side.name}): its results are older than its params.yaml "
            f"({', '.join(changed)}); {remedy}"
        )
    places = paths.metrics(variant), paths.scores(variant)
    try:
        first, second = (side.read(path) for path in places)
    except MissingError as error:
        raise ResultsError(f"{error}; {remedy}") from None
    metrics = files.parse_record(first, Metrics, str(places[0]), remedy)
    if metrics.complete and metrics.split_digest is None:
        raise ResultsError(
            f"{places[0]} of {side.name} does not say which splits it is of, as it was made by an "
            f"older foldwise; {remedy}"
        )
    return Result(Evaluation(metrics, parse_scores(second, str(places[1]), remedy)))
