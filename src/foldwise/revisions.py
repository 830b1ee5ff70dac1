"""Variants across commits: A at one revision against B at another, or in the workspace.

Reads params.yaml and metrics/ of a commit, tag, branch or DVC experiment through DVC's API; the
workspace stays as it is. What is compared are scores per split, which are in git, so that nothing
has to be pulled. Predictions are not at hand: no McNemar test, no row bootstrap.

The rope and the protocol are those of A's params.yaml, fixed before B was seen. Holm adjusts over
all pairs but those whose scores are the same to the last digit: a variant that was not touched
asks no question.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.exceptions import DvcException

from foldwise import results
from foldwise.commits import Side, open_side
from foldwise.comparison import Pair, Scored, compare_scores, holm, record
from foldwise.core import paths
from foldwise.core.config import known
from foldwise.core.errors import ComparisonError, FoldwiseError, ResultsError
from foldwise.evaluation import short, significant, split_digest

Content = dict[str, Any]
HEADER = ("B against A", "verdict", "Δ", "95 % CI", "p (Holm)", "MDE", "P worse/same/better", "n")


@dataclass(frozen=True, eq=False)
class Answer:
    """B against A in one study, or why there is none.

    Attributes:
        a: variant on side A.
        b: variant on side B.
        study: of A's params.yaml.
        result: the pair, or the reason why it is refused.
        unchanged: the scores are the same to the last digit.
        synthetic: trained on the built-in stand-in.
    """

    a: str
    b: str
    study: str
    result: Pair | str
    unchanged: bool = False
    synthetic: bool = False


# --- reading ----------------------------------------------------------------------------------


def read(side: Side, variant: str) -> Scored:
    """Metrics and scores of one variant, with the digests that say what they are paired with.

    Raises:
        ResultsError: they are not there or do not belong to that side's params.yaml; the message
            says what to pull or run.
    """
    _check_current(side, variant)
    metrics = json.loads(_bytes(side, variant, paths.metrics(variant)))
    scores = pd.read_csv(io.BytesIO(_bytes(side, variant, paths.scores(variant))))
    if metrics["status"] == "complete" and "split_digest" not in metrics:
        metrics |= _digests_of_run(side, variant)
    return Scored(metrics, scores)


# --- comparing --------------------------------------------------------------------------------


def compare(
    names: Sequence[str], revisions: Sequence[str], study: str | None = None, root: Path = Path()
) -> Content:
    """Compare A with B, or one variant or all of them between two places.

    Side A is the first revision, side B the second; a side without one is the workspace.

    Args:
        names: [A, B], or [A] for the same variant on both sides, or [] for all.
        revisions: none to two.
        study: only this one.
        root: the project's root.

    Returns:
        a, b (revision and commit), pairs (as in comparisons/<study>.json, with study, rope,
        settings that differ; or `refused`), only_in_a and only_in_b (variants).

    Raises:
        ComparisonError: that is no question, or a revision is not there.
        ConfigError: a params.yaml cannot be read, or does not declare the variant or the study.
    """
    _check_question(names, revisions)
    a = open_side(revisions[0] if revisions else None, root)
    b = (
        a
        if len(revisions) != 1 and len(set(revisions)) < 2
        else open_side(_second(revisions), root)
    )
    asked = _asked(a, b, names, study)
    answers = [_answer(a, b, *pair) for pair in asked]
    unasked = not names
    content = {
        "a": {"revision": a.name, "commit": a.commit},
        "b": {"revision": b.name, "commit": b.commit},
        "pairs": _lines(a, b, answers),
        "only_in_a": sorted(_members(a, study) - _members(b, study)) if unasked else [],
        "only_in_b": sorted(_members(b, study) - _members(a, study)) if unasked else [],
    }
    rounded: Content = significant(content)
    return rounded


def exit_status(content: Content, fail_if_worse: bool) -> int:
    """What a gate needs: 0, 1 for an established loss, 2 where no comparison could be made.

    Args:
        content: of `compare`.
        fail_if_worse: 1 if a pair *Hurts*, else 2 if one is refused. Without it the status is 2
            only if nothing could be compared.
    """
    refused = ["refused" in line for line in content["pairs"]]
    if fail_if_worse and any(line.get("verdict") == "Hurts" for line in content["pairs"]):
        return 1
    return 2 if all(refused) or (fail_if_worse and any(refused)) else 0


# --- showing ----------------------------------------------------------------------------------


def text(content: Content) -> str:
    """An aligned table per study, for a terminal."""
    lines = [f"{_places(content)}; differences in accuracy are B − A, in percentage points"]
    for study, pairs in _by_study(content):
        if changed := _changed(pairs):
            lines += ["", f"{study}: {_protocol(changed[0])}"]
            lines += aligned([HEADER, *map(_cells, changed)])
        lines += [f"settings of {_title(x)}: {_settings(x)}" for x in changed]
    lines += ["", *(f"not compared: {_title(x)}: {x['refused']}" for x in _refused(content))]
    return "\n".join([*lines, *_notes(content)]).rstrip()


def markdown(content: Content) -> str:
    """Heading, a table per study and one sentence per pair, for a comment on a pull request."""
    lines = [f"### foldwise compare: {_places(content, '`')}", "", f"**{_summary(content)}**"]
    for study, pairs in _by_study(content):
        if changed := _changed(pairs):
            lines += ["", f"#### {study}", f"{_protocol(changed[0])}. Differences are B − A.", ""]
            lines += [_row(HEADER), _row(["---", "---", *["---:"] * (len(HEADER) - 2)])]
            lines += [*(_row(_cells(x)) for x in changed), ""]
        lines += [f"- {_claim(x)} Settings: {_settings(x, '`')}." for x in changed]
    lines += ["", *(f"- **Not compared**: {_title(x)}: {x['refused']}" for x in _refused(content))]
    return "\n".join([*lines, *(f"- {line}" for line in _notes(content))]).rstrip()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
    return ["  ".join(row).rstrip() for row in padded]


# --- helpers: reading -------------------------------------------------------------------------


def _check_current(side: Side, variant: str) -> None:
    """That the results were trained with the params.yaml that lies beside them, as dvc.lock says.

    Without this a gate would pass on the old results of new settings.
    """
    changed = _changed_parameters(side, variant)
    if changed:
        raise ResultsError(
            f"{variant} ({side.name}): its results are older than its params.yaml "
            f"({', '.join(changed)}); {_remedy(side, variant)}"
        )


def _changed_parameters(side: Side, variant: str) -> list[str]:
    """What `dvc status` says of the parameters of the variant's training, where DVC knows it."""
    found: list[str] = []
    for stage in side.files.repo.index.stages:
        if getattr(stage, "name", None) == f"train@{variant}":
            changes = [dep.status() for dep in stage.deps if hasattr(dep, "params")]
            found += [change for status in changes for change in _said(status)]
    return found


def _said(status: Mapping[str, Any]) -> list[str]:
    """{"params.yaml": {"a.b": "modified"}}, or {"params.yaml": "new"}, as lines."""
    return [
        f"{key} {how}"
        for file, changes in status.items()
        for key, how in (changes if isinstance(changes, Mapping) else {file: changes}).items()
    ]


def _bytes(side: Side, variant: str, path: Path) -> bytes:
    try:
        content: bytes = side.files.read_bytes(path.as_posix())
    except FileNotFoundError:
        raise ResultsError(f"{path} is not in {side.name}; {_remedy(side, variant)}") from None
    return content


def _remedy(side: Side, variant: str) -> str:
    if side.commit is None:
        return f"`dvc repro evaluate@{variant}` makes them"
    return (
        f"`git checkout {side.name} && dvc repro evaluate@{variant}` makes them; then commit "
        "metrics/ and dvc.lock"
    )


def _digests_of_run(side: Side, variant: str) -> dict[str, str]:
    """The digests of results whose metrics do not have them yet, from the run in DVC's cache."""
    folder = paths.run(variant)
    try:
        manifest = json.loads(side.files.read_bytes((folder / results.MANIFEST).as_posix()))
        table = side.files.read_bytes((folder / results.PREDICTIONS).as_posix())
    except (FileNotFoundError, DvcException):
        raise ResultsError(
            f"{paths.metrics(variant)} of {side.name} does not say which splits it is of, and "
            f"{folder}/ is not in DVC's cache; `dvc fetch --all-commits` brings it from a remote, "
            f"or {_remedy(side, variant)}"
        ) from None
    data = short(manifest["dataset"]["digest"])
    return {"data_digest": data, "split_digest": split_digest(pd.read_parquet(io.BytesIO(table)))}


# --- helpers: comparing -----------------------------------------------------------------------


def _check_question(names: Sequence[str], revisions: Sequence[str]) -> None:
    if len(names) > 2 or len(revisions) > 2:
        raise ComparisonError("at most two variants and two revisions: A and B")
    if len(names) < 2 and not revisions:
        raise ComparisonError(
            "compare with what? name a second variant, or a revision: "
            "`foldwise compare A B` or `foldwise compare A --rev main`"
        )
    one_place = len(revisions) != 1 and len(set(revisions)) < 2
    if one_place and len(set(names)) < 2:
        raise ComparisonError("both sides are the same; name two variants or two revisions")


def _second(revisions: Sequence[str]) -> str | None:
    return revisions[1] if len(revisions) == 2 else None


def _asked(a: Side, b: Side, names: Sequence[str], study: str | None) -> list[tuple[str, str]]:
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


def _members(side: Side, study: str | None) -> set[str]:
    variants = side.settings.variants.items()
    return {name for name, block in variants if study in (None, block.study)}


def _answer(a: Side, b: Side, name_a: str, name_b: str) -> Answer:
    study = a.settings.variants[name_a].study
    try:
        one, other = read(a, name_a), read(b, name_b)
        labels = _label(a, b, a, name_a), _label(a, b, b, name_b)
        scored = (labels[0], one), (labels[1], other)
        pair = compare_scores(study, a.settings.studies[study], *scored)
    except FoldwiseError as error:
        return Answer(name_a, name_b, study, str(error))
    unchanged = one.scores.equals(other.scores)
    return Answer(name_a, name_b, study, pair, unchanged, bool(one.metrics["synthetic"]))


def _label(a: Side, b: Side, side: Side, name: str) -> str:
    return name if a is b else f"{name} ({side.name})"


def _lines(a: Side, b: Side, answers: Sequence[Answer]) -> list[Content]:
    """What `compare` says of every pair, Holm over those that ask something."""
    questions = [x.result for x in answers if isinstance(x.result, Pair) and not x.unchanged]
    adjusted = iter(holm([pair.test.p for pair in questions]))
    lines = []
    for x in answers:
        line: Content = {"variant_a": x.a, "variant_b": x.b, "study": x.study}
        if isinstance(x.result, Pair):
            p = x.result.test.p if x.unchanged else next(adjusted)
            line |= _compared(a, x, x.result, p, len(questions))
            line["settings"] = _changes(a, b, x)
        else:
            line["refused"] = x.result
        lines.append(line)
    return lines


def _compared(a: Side, answer: Answer, pair: Pair, p: float, questions: int) -> Content:
    study = a.settings.studies[answer.study]
    return {
        **record(pair, p, study, max(1, questions)),
        "dataset": study.dataset,
        "edition": pair.edition,
        "synthetic": answer.synthetic,
        "rope": study.comparison.rope,
        "unchanged": answer.unchanged,
        "holm_over": questions,
    }


def _changes(a: Side, b: Side, answer: Answer) -> list[Content]:
    """Settings that differ: key, value on side A, value on side B."""
    one, other = (
        _flat(side.settings.variant(name).model_dump(mode="json", exclude={"name"}))
        for side, name in ((a, answer.a), (b, answer.b))
    )
    keys = list(dict.fromkeys([*one, *other]))
    return [
        {"key": key, "a": one.get(key), "b": other.get(key)}
        for key in keys
        if one.get(key) != other.get(key)
    ]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


# --- helpers: showing -------------------------------------------------------------------------


def _places(content: Content, quote: str = "") -> str:
    a, b = (f"{quote}{_place(content[side])}{quote}" for side in ("a", "b"))
    return f"in {a}" if content["a"] == content["b"] else f"A = {a}, B = {b}"


def _place(side: Content) -> str:
    revision, commit = side["revision"], side["commit"]
    return f"{revision} ({commit[:7]})" if commit and commit != revision else str(revision)


def _title(pair: Content) -> str:
    a, b = pair["variant_a"], pair["variant_b"]
    return str(a) if a == b else f"{b} against {a}"


def _protocol(pair: Content) -> str:
    stand_in = "SYNTHETIC data, " if pair["synthetic"] else ""
    repeats = f" × {pair['repeats']} repeats" if pair["repeats"] > 1 else ""
    return (
        f"{stand_in}{pair['dataset']}/{pair['edition']}, {pair['n']} rows, {pair['folds']} folds"
        f"{repeats}, practically the same within ±{100 * pair['rope']:g} pp, "
        f"p by Holm over {_count(pair['holm_over'])}"
    )


def _cells(pair: Content) -> list[str]:
    low, high = (f"{100 * limit:+.2f}" for limit in pair["ci95"])
    law = pair["posterior"]
    return [
        _title(pair),
        pair["verdict"],
        f"{100 * pair['mean']:+.2f}",
        f"{low} to {high}",
        f"{pair['p_holm']:.3f}" if pair["p_holm"] >= 0.001 else f"{pair['p_holm']:.1g}",
        f"{100 * pair['mde']:.2f}",
        f"{law['worse']:.3f}/{law['equivalent']:.3f}/{law['better']:.3f}",
        f"{pair['folds'] * pair['repeats']} splits",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _claim(pair: Content) -> str:
    claim, rest = pair["sentence"].split(":", 1)
    return f"**{claim}**:{rest}"


def _settings(pair: Content, quote: str = "") -> str:
    """The settings that differ, or that none do."""
    changes = [
        f"{quote}{x['key']}{quote} {json.dumps(x['a'])} → {json.dumps(x['b'])}"
        for x in pair["settings"]
    ]
    return ", ".join(changes) or "the same"


def _summary(content: Content) -> str:
    refused = len(_refused(content))
    compared = _count(len(content["pairs"]) - refused)
    worse = sum(pair.get("verdict") == "Hurts" for pair in content["pairs"])
    said = f"Hurts: {worse} of {compared}" if worse else f"No established loss in {compared}"
    return f"{said}; {refused} not compared." if refused else f"{said}."


def _count(pairs: int) -> str:
    return f"{pairs} pair" if pairs == 1 else f"{pairs} pairs"


def _refused(content: Content) -> list[Content]:
    return [pair for pair in content["pairs"] if "refused" in pair]


def _changed(pairs: Sequence[Content]) -> list[Content]:
    return [pair for pair in pairs if not pair.get("unchanged", True)]


def _by_study(content: Content) -> list[tuple[str, list[Content]]]:
    """Pairs by study, both in the order of A's params.yaml."""
    studies: dict[str, list[Content]] = {}
    for pair in content["pairs"]:
        studies.setdefault(pair["study"], []).append(pair)
    return list(studies.items())


def _notes(content: Content) -> list[str]:
    """What there is no line for in a table."""
    same = [_title(pair) for pair in content["pairs"] if pair.get("unchanged")]
    only = [
        f"only in {content[side]['revision']}, so not compared: {', '.join(names)}"
        for side, names in (("a", content["only_in_a"]), ("b", content["only_in_b"]))
        if names
    ]
    return [f"the same scores to the last digit: {', '.join(same)}", *only] if same else only
