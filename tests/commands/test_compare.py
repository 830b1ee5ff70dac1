"""What `foldwise compare` asks of the library, and what it leaves as exit status."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from shell import Run

from foldwise import revisions
from foldwise.core.errors import ComparisonError
from foldwise.revisions import Place, RevisionComparison, RevisionPair, RevisionRefused

REFUSED = RevisionRefused(variant_a="x", variant_b="x", study="s", refused="other splits")


def comparison(*pairs: RevisionPair | RevisionRefused) -> RevisionComparison:
    return RevisionComparison(
        a=Place(revision="main", commit="0" * 40),
        b=Place(revision="workspace", commit=None),
        pairs=list(pairs),
        only_in_a=[],
        only_in_b=[],
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `revisions.compare` was asked; it answers with one refused pair."""
    calls: list[tuple[Any, ...]] = []

    def compare(names: Sequence[str], revs: Sequence[str], study: str | None) -> RevisionComparison:
        calls.append((names, revs, study))
        return comparison(REFUSED)

    monkeypatch.setattr(revisions, "compare", compare)
    return calls


def test_what_was_asked_is_passed_on(asked: list[tuple[Any, ...]], foldwise: Run) -> None:
    foldwise("compare", "a", "b", "--rev", "v1", "--rev", "v2", "--study", "s")
    foldwise("compare", "--rev", "main")
    assert asked == [(["a", "b"], ["v1", "v2"], "s"), ([], ["main"], None)]


@pytest.mark.usefixtures("asked")
def test_a_table_markdown_or_json_is_printed(foldwise: Run) -> None:
    assert foldwise("compare", "--rev", "main").out.startswith("A = main (0000000), B = workspace")
    page = foldwise("compare", "--rev", "main", "--markdown").out
    assert page.startswith("### foldwise compare: A = `main (0000000)`")
    tree = json.loads(foldwise("compare", "--rev", "main", "--json").out)
    assert tree == comparison(REFUSED).model_dump(mode="json")
    both = foldwise("compare", "--rev", "main", "--json", "--markdown")
    assert both.status == 2
    assert "--markdown and --json exclude each other" in both.err


@pytest.mark.usefixtures("asked")
def test_exit_status_2_where_nothing_is_compared(foldwise: Run) -> None:
    assert foldwise("compare", "--rev", "main").status == 2
    assert foldwise("compare", "--rev", "main", "--fail-if", "worse").status == 2
    assert foldwise("compare", "--rev", "main", "--fail-if", "better").status == 2


@pytest.mark.parametrize(
    ("verdicts", "plain", "gate"),
    [
        (["Inconclusive", "Helps"], 0, 0),
        (["Inconclusive", "Hurts"], 0, 1),
        (["Helps", None], 0, 2),
        (["Hurts", None], 0, 1),
        ([None, None], 2, 2),
        ([], 2, 2),
    ],
)
def test_exit_status_of_a_gate(
    verdicts: list[str | None],
    plain: int,
    gate: int,
    foldwise: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [RevisionPair.model_construct(verdict=v) if v else REFUSED for v in verdicts]
    monkeypatch.setattr(
        revisions, "compare", lambda *asked: comparison().model_copy(update={"pairs": pairs})
    )
    monkeypatch.setattr("foldwise.wording.revisions.text", lambda compared: "")
    assert foldwise("compare", "--rev", "main").status == plain
    assert foldwise("compare", "--rev", "main", "--fail-if", "worse").status == gate


def test_an_error_is_no_verdict(monkeypatch: pytest.MonkeyPatch, foldwise: Run) -> None:
    def compare(*arguments: object) -> None:
        raise ComparisonError("no such thing")

    monkeypatch.setattr(revisions, "compare", compare)
    done = foldwise("compare", "--rev", "nope", "--fail-if", "worse")
    assert (done.status, done.out, done.err) == (2, "", "error: no such thing\n")
