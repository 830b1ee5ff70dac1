"""What all commands have in common: help, imports, exit statuses, completion."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fabricate import Cache
from shell import Run

from foldwise.commands.main import app

ROOT = Path(__file__).parent.parent.parent
COMMANDS = (
    "check",
    "train",
    "verify",
    "results",
    "compare",
    "track",
    "ui",
    "predict",
    "promote",
    "report",
    "doctor",
    "clean",
    "demo",
)
SLOW = {"torch", "mlflow", "dvc", "altair"}
TABLES = {"pandas", "sklearn", "scipy", "numpy", "pyarrow"}

LOADED = """
import sys
from foldwise.commands.main import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as done:
        assert not done.code
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def imported(folder: Path, *lines: str) -> set[str]:
    """The packages that a process has loaded when its commands are done."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *lines],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples(command: str, foldwise: Run) -> None:
    done = foldwise(*command.split(), "--help")
    assert (done.status, done.err) == (0, "")
    assert "  example" in done.out
    assert f"    foldwise {command}".rstrip() in done.out
    assert foldwise(*command.split(), "-h").out == done.out


def test_help_lists_every_command_whole(foldwise: Run) -> None:
    text = foldwise("--help").out
    for command in COMMANDS:
        assert f"\n  {command} " in text
    listed = text.partition("Commands:")[2].partition("examples:")[0]
    assert "..." not in listed  # no line is cut off


@pytest.mark.parametrize("command", ["", "compare", "track", "doctor"])
def test_help_has_the_exit_statuses(command: str, foldwise: Run) -> None:
    assert "exit status:\n" in foldwise(*command.split(), "--help").out


# --- what is imported -------------------------------------------------------------------------


@pytest.mark.contract
def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    lines = [f"{command} --help" for command in ("", *COMMANDS)]
    assert not imported(tmp_path, *lines) & (SLOW | TABLES)


@pytest.mark.contract
def test_check_and_results_import_nothing_slow(fabricated: Cache) -> None:
    root = fabricated.shared().root
    assert not imported(root, "check") & (SLOW | TABLES)
    assert not imported(root, "results") & (SLOW | {"sklearn"})


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command(number: signal.Signals, status: int, tmp_path: Path) -> None:
    """While it waits for what it was asked to read."""
    os.mkfifo(tmp_path / "params.yaml")
    command = subprocess.Popen(
        [sys.executable, "-m", "foldwise", "check"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    with (tmp_path / "params.yaml").open("w"):  # opens when the command reads
        command.send_signal(number)
        _, err = command.communicate(timeout=120)
    assert command.returncode == status
    assert "Traceback" not in err


# --- output -----------------------------------------------------------------------------------


def test_there_is_no_colour_to_switch_off(foldwise: Run) -> None:
    assert "\x1b" not in foldwise("--help").out + foldwise("nothing").err


@pytest.fixture
def complete(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], list[str]]:
    """What bash offers for the last word of a line."""

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("_FOLDWISE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        with pytest.raises(SystemExit):
            app(prog_name="foldwise")
        return capsys.readouterr().out.split()

    return offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("foldwise com", ["compare"]),
        ("foldwise compare --mark", ["--markdown"]),
        ("foldwise compare tiny-d", ["tiny-dropout"]),
        ("foldwise compare --study ti", ["tiny"]),
        ("foldwise predict --model tiny", ["tiny", "tiny-plain", "tiny-dropout"]),
        ("foldwise promote ti", ["tiny-plain", "tiny-dropout"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(
    line: str,
    offered: list[str],
    complete: Callable[[str], list[str]],
    fabricated: Cache,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(fabricated.shared().root)
    assert complete(line) == offered
    monkeypatch.chdir(tmp_path)  # where there is no params.yaml
    assert complete(line) == [word for word in offered if not word.startswith("tiny")]


def test_check_counts_the_models(
    foldwise: Run, fabricated: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fabricated.shared().root)
    assert foldwise("check").out.splitlines() == [
        "tiny: 2 variants x (2 folds x 2 repeats + refit) = 10 models of 5 epochs on 'rows'",
        "pictures: 1 variants x (2 folds x 1 repeats + refit) = 3 models of 5 epochs on 'pictures'",
    ]


def test_results_are_tables(
    foldwise: Run, fabricated: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fabricated.shared().root)
    done = foldwise("results")
    assert done.status == 0
    assert "tiny-dropout" in done.out
    assert "Data: rows" in done.out
