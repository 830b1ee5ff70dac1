"""A comparison across commits: for a terminal, for a pull request, and for a program."""

import json
from collections.abc import Sequence
from typing import Literal

from foldwise.core import trees
from foldwise.metrics import METRICS
from foldwise.revisions import Change, Place, RevisionComparison, RevisionPair, RevisionRefused
from foldwise.wording import numbers, tables
from foldwise.wording.sentences import Context, answer, counted, directed, sentence

HEADER = ("B against A", "verdict", "Δ", "95 % CI", "p (Holm)", "MDE", "P worse/same/better", "n")
Quote = Literal["", "`"]


def text(comparison: RevisionComparison) -> str:
    """An aligned table per study, for a terminal."""
    lines = [_places(comparison)]
    for study, pairs in _changed(comparison):
        lines += ["", f"{study}: {_protocol(pairs[0])}"]
        lines += tables.aligned([HEADER, *map(_cells, pairs)])
        lines += [f"settings of {_title(pair)}: {_settings(pair)}" for pair in pairs]
        lines += [
            f"numerics of {_title(pair)}: {_numerics(pair)}" for pair in pairs if pair.numerics
        ]
    refused = (f"not compared: {_title(pair)}: {pair.refused}" for pair in comparison.refused)
    lines += ["", *refused]
    return "\n".join([*lines, *_notes(comparison)]).rstrip()


def markdown(comparison: RevisionComparison) -> str:
    """Heading, a table per study and one sentence per pair, for a comment on a pull request."""
    lines = [f"### foldwise compare: {_places(comparison, '`')}", "", f"**{_summary(comparison)}**"]
    for study, pairs in _changed(comparison):
        table = tables.markdown(HEADER, [_cells(pair) for pair in pairs], left=2)
        lines += ["", f"#### {study}", f"{_protocol(pairs[0])}.", "", table, ""]
        for pair in pairs:
            claim = f"**{pair.verdict}**: {answer(pair, _context(pair))}"
            numerics = f" Numerics: {_numerics(pair, '`')}." if pair.numerics else ""
            lines.append(f"- {claim} Settings: {_settings(pair, '`')}.{numerics}")
    refused = (f"- **Not compared**: {_title(pair)}: {pair.refused}" for pair in comparison.refused)
    lines += ["", *map(tables.plain, refused)]
    return "\n".join([*lines, *(f"- {line}" for line in _notes(comparison))]).rstrip()


def as_json(comparison: RevisionComparison) -> str:
    """Every number, floats with ten significant digits, and each pair's sentence."""
    tree = trees.rounded(comparison.model_dump(mode="json"))
    for line, pair in zip(tree["pairs"], comparison.pairs, strict=True):
        if isinstance(pair, RevisionPair):
            line["sentence"] = sentence(pair, _context(pair))
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)


def _context(pair: RevisionPair) -> Context:
    return Context(
        metric=METRICS[pair.metric],
        rope=pair.rope,
        dataset=pair.dataset,
        edition=pair.edition,
        folds=pair.folds,
        repeats=pair.repeats,
        pairs=max(1, pair.holm_over),
    )


def _places(comparison: RevisionComparison, quote: Quote = "") -> str:
    a, b = (f"{quote}{_place(place)}{quote}" for place in (comparison.a, comparison.b))
    return f"in {a}" if comparison.a == comparison.b else f"A = {a}, B = {b}"


def _place(place: Place) -> str:
    revision, commit = place.revision, place.commit
    return f"{revision} ({commit[:7]})" if commit and commit != revision else revision


def _title(pair: RevisionPair | RevisionRefused) -> str:
    a, b = pair.variant_a, pair.variant_b
    return a if a == b else f"{b} against {a}"


def _protocol(pair: RevisionPair) -> str:
    metric = METRICS[pair.metric]
    stand_in = "SYNTHETIC data, " if pair.synthetic else ""
    repeats = f" × {counted(pair.repeats, 'repeat')}" if pair.repeats > 1 else ""
    return (
        f"differences in {directed(metric)} are B − A; {stand_in}{pair.dataset}/{pair.edition}, "
        f"{pair.n} rows, {pair.folds} folds{repeats}, practically the same within "
        f"{numbers.margin(pair.rope, metric)}, p by Holm over {counted(pair.holm_over, 'pair')}"
    )


def _cells(pair: RevisionPair) -> list[str]:
    metric, odds = METRICS[pair.metric], pair.posterior
    return [
        _title(pair),
        pair.verdict,
        numbers.difference(pair.mean, metric),
        numbers.span(pair.ci95, metric),
        numbers.p_value(pair.p_holm),
        numbers.difference(pair.mde, metric, sign="-"),
        f"{odds.worse:.3f}/{odds.equivalent:.3f}/{odds.better:.3f}",
        counted(pair.folds * pair.repeats, "split"),
    ]


def _settings(pair: RevisionPair, quote: Quote = "") -> str:
    """The settings that differ, or that none do."""
    return _listed(pair.settings, quote) or "the same"


def _numerics(pair: RevisionPair, quote: Quote = "") -> str:
    """What of the numerics differs, and what that means."""
    keys = {change.key for change in pair.numerics}
    unknown = any(change.key == "path" and None in (change.a, change.b) for change in pair.numerics)
    if unknown:
        listed, cause = "not recorded on both sides", "the machine"
    else:
        listed = _listed(pair.numerics, quote)
        cause = "the machine" if keys & {"path", "hardware"} else "the libraries"
    return f"{listed}; part of the difference may come from {cause}"


def _listed(changes: Sequence[Change], quote: Quote) -> str:
    return ", ".join(
        f"{quote}{change.key}{quote} {json.dumps(change.a)} → {json.dumps(change.b)}"
        for change in changes
    )


def _summary(comparison: RevisionComparison) -> str:
    refused, compared = len(comparison.refused), counted(len(comparison.made), "pair")
    worse = sum(pair.verdict == "Hurts" for pair in comparison.made)
    result = f"Hurts: {worse} of {compared}" if worse else f"No established loss in {compared}"
    return f"{result}; {refused} not compared." if refused else f"{result}."


def _changed(comparison: RevisionComparison) -> list[tuple[str, Sequence[RevisionPair]]]:
    """The pairs whose scores differ, by study."""
    studies: dict[str, list[RevisionPair]] = {}
    for pair in comparison.made:
        if not pair.unchanged:
            studies.setdefault(pair.study, []).append(pair)
    return list(studies.items())


def _notes(comparison: RevisionComparison) -> list[str]:
    same = [_title(pair) for pair in comparison.made if pair.unchanged]
    notes = [f"the same scores to the last digit: {', '.join(same)}"] if same else []
    sides = ((comparison.a, comparison.only_in_a), (comparison.b, comparison.only_in_b))
    return notes + [
        f"only in {place.revision}, so not compared: {', '.join(names)}"
        for place, names in sides
        if names
    ]
