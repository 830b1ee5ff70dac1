"""What the command line asks of the library, and what it leaves as exit status."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from foldwise import cli, revisions
from foldwise.core import config
from foldwise.core.errors import ComparisonError

ROOT = Path(__file__).parent.parent

PAIR: dict[str, Any] = {
    "variant_a": "x",
    "variant_b": "x",
    "study": "s",
    "refused": "other splits",
}
CONTENT: dict[str, Any] = {
    "a": {"revision": "main", "commit": "0" * 40},
    "b": {"revision": "workspace", "commit": None},
    "pairs": [PAIR],
    "only_in_a": [],
    "only_in_b": [],
}


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    code = stopped.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `revisions.compare` was asked; it answers with one refused pair."""
    calls: list[tuple[Any, ...]] = []

    def compare(names: Sequence[str], revs: Sequence[str], study: str | None) -> dict[str, Any]:
        calls.append((names, revs, study))
        return CONTENT

    monkeypatch.setattr(revisions, "compare", compare)
    return calls


def test_compare_passes_on_what_was_asked(asked: list[tuple[Any, ...]]) -> None:
    status("compare", "a", "b", "--rev", "v1", "--rev", "v2", "--study", "s")
    status("compare", "--rev", "main")
    assert asked == [(["a", "b"], ["v1", "v2"], "s"), ([], ["main"], None)]


@pytest.mark.usefixtures("asked")
def test_compare_prints_a_table_markdown_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    status("compare", "--rev", "main")
    assert capsys.readouterr().out.startswith("A = main (0000000), B = workspace")
    status("compare", "--rev", "main", "--markdown")
    assert capsys.readouterr().out.startswith("### foldwise compare: A = `main (0000000)`")
    status("compare", "--rev", "main", "--json")
    assert json.loads(capsys.readouterr().out) == CONTENT
    assert status("compare", "--rev", "main", "--json", "--markdown") == 2


@pytest.mark.usefixtures("asked")
def test_compare_exits_with_2_where_nothing_is_compared() -> None:
    assert status("compare", "--rev", "main") == 2
    assert status("compare", "--rev", "main", "--fail-if", "worse") == 2
    assert status("compare", "--rev", "main", "--fail-if", "better") == 2


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
def test_exit_status(verdicts: list[str | None], plain: int, gate: int) -> None:
    pairs = [{"verdict": v} if v else {"refused": "why"} for v in verdicts]
    assert revisions.exit_status({"pairs": pairs}, fail_if_worse=False) == plain
    assert revisions.exit_status({"pairs": pairs}, fail_if_worse=True) == gate


def test_an_error_of_compare_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(*arguments: object) -> None:
        raise ComparisonError("no such thing")

    monkeypatch.setattr(revisions, "compare", compare)
    assert status("compare", "--rev", "nope", "--fail-if", "worse") == 2
    assert capsys.readouterr().err == "error: no such thing\n"


def test_simulate_passes_on_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldwise import simulation

    calls = []

    def run(settings: object, study: str, runs: int, effects: list[float]) -> dict[str, Any]:
        calls.append((study, runs, effects))
        return {"rows": []}

    monkeypatch.setattr(simulation, "run", run)
    monkeypatch.setattr(config, "load", lambda: None)
    assert status("simulate", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"rows": []}
    status("simulate", "--study", "s", "--runs", "7", "--effect", "5", "--effect", "-2", "--json")
    assert calls == [("sonar-sound", 200, [0.02, 0.05, 0.1]), ("s", 7, [0.05, -0.02])]


def test_simulate_refuses_what_cannot_be_before_it_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert status("simulate", "--runs", "1") == 1
    assert "1 runs are too few; use 5 or more" in capsys.readouterr().err
    assert status("simulate", "--study", "sonar-sond") == 1
    assert "did you mean 'sonar-sound'?" in capsys.readouterr().err
    assert status("simulate", "--effect", "0") == 1
    assert "an effect of 0 is none" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_an_interval_that_cannot_be(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("track", "--follow", f"--interval={interval}") == 2
    assert f"'{interval}' is not a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["compare"], ["simulate"], ["track"], ["ui"]])
def test_help_has_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*command, "--help") == 0
    assert "examples:\n  " in capsys.readouterr().out
