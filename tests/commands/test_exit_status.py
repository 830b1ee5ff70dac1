"""The table of exit statuses, and a real cause for each line of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fabricate import Cache
from shell import Run

from foldwise.commands.main import app

ROOT = Path(__file__).parent.parent.parent
FOLDWISE = [sys.executable, "-m", "foldwise"]
COMMANDS = tuple(str(command.name) for command in app.registered_commands)


def table() -> dict[str, dict[int, str]]:
    """The cells of docs/exit-status.md: command → status → what it means."""
    lines = (ROOT / "docs/exit-status.md").read_text().replace("\\|", "or").splitlines()
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    statuses = [int(cell) for cell in cells[0][1:]]
    return {row[0].strip("`"): dict(zip(statuses, row[1:], strict=True)) for row in cells[2:]}


def test_every_command_is_in_the_table() -> None:
    commands = [name for name in table() if name.startswith("foldwise ")]
    assert commands == [f"foldwise {name}" for name in COMMANDS]
    general = next(iter(table().values()))
    assert all(general.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_3_is_in_the_help_of_those_that_have_it(command: str, foldwise: Run) -> None:
    text = foldwise(command, "--help").out.partition("exit status:\n")[2]
    cells = table()[f"foldwise {command}"]
    assert ("  3  " in text) == (cells[3] != "–")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_line(command: str, foldwise: Run) -> None:
    done = foldwise(command, "--nonsense")
    assert (done.status, done.out) == (2, "")
    assert "No such option: --nonsense" in done.err


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["predict"], ["ui", "--port", "x"]])
def test_a_wrong_command_line_shows_the_right_one(arguments: list[str], foldwise: Run) -> None:
    done = foldwise(*arguments)
    assert done.status == 2
    assert "Usage: " in done.err


@pytest.mark.parametrize(
    "line",
    [
        "check",
        "train",
        "verify",
        "results",
        "compare a b",
        "track",
        "track --follow",
        "predict --model a rows.csv",
        "promote a",
        "report",
        "clean",
    ],
)
def test_an_error_is_one_line(
    line: str, foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here it is that this is no project."""
    monkeypatch.chdir(tmp_path)
    done = foldwise(*line.split())
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["check", "doctor", "demo", "ui"])
def test_an_error_of_the_surroundings(
    command: str, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDWISE_TARGET", "6502")
    done = foldwise(command)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: FOLDWISE_TARGET: '6502' is none of")


def test_the_doctor_s_answer_is_no(
    foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert foldwise("doctor").status == 3


@pytest.fixture
def project(fabricated: Cache) -> Path:
    return fabricated.shared().root


@pytest.mark.parametrize(("line", "status"), [("results", 141), ("results --help", 1)])
def test_a_reader_that_goes_away_is_no_error_to_read(line: str, status: int, project: Path) -> None:
    """Of the help, Typer decides."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*FOLDWISE, *line.split()],
        cwd=project,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (status, "")


def test_results_that_cannot_be_printed_are_an_error(project: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*FOLDWISE, "results"],
            cwd=project,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device; make room")
    assert done.stderr.count("\n") == 1


def test_an_output_that_has_no_sign_for_a_minus_is_none_to_stumble_over(project: Path) -> None:
    done = subprocess.run(
        [*FOLDWISE, "results"],
        cwd=project,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2212" in done.stdout  # a question mark would be no minus


@pytest.mark.parametrize("folder", [".", "src", "src/demo", "other"])
def test_a_demonstration_replaces_no_project(
    folder: str, foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pipeline", "src", "other"):
        Path(name).mkdir()
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", "other/params.yaml"):
        Path(name).write_text("mine")
    done = foldwise("demo", folder)
    assert (done.status, done.out) == (2, "")
    assert "choose another folder" in done.err
    assert Path("params.yaml").read_text() == Path("other/params.yaml").read_text() == "mine"
