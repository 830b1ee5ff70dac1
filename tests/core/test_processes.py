"""Exit statuses of a stage's script, and processes that end with their parent."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import foldwise

PACKAGE = Path(foldwise.__file__).parent
SECONDS = 60  # for what takes a fraction of one
HEAD = '''"""Stage toy@key: a toy."""
import sys, time, gc, os, atexit
from foldwise.core import processes
from foldwise.core.errors import DataError
'''
ENDLESS = 'print("started", flush=True)\ntime.sleep(600)'


def script(folder: Path, body: str, call: str = 'run_stage(main, "study", "sonar")') -> Path:
    arguments = "" if call == "run_stage(main)" else "name"
    path = folder / "toy.py"
    work = textwrap.indent(body, "    ")
    path.write_text(f"{HEAD}def main({arguments}):\n{work}\nprocesses.{call}\n")
    return path


def done(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(
        command, cwd=path.parent, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def test_a_stage_works_for_its_key(tmp_path: Path) -> None:
    """Exit at once: handlers of the interpreter's end, which take time, do not run."""
    body = 'atexit.register(print, "taken apart")\nprint(name, gc.get_threshold()[0], end="")'
    ended = done(script(tmp_path, body), "sonar")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "sonar 100000", "")


def test_a_stage_keeps_telemetry_off(tmp_path: Path) -> None:
    ended = done(script(tmp_path, 'print(os.environ["DO_NOT_TRACK"])'), "sonar")
    assert ended.stdout == "true\n"


def test_an_error_that_can_be_fixed_is_one_line(tmp_path: Path) -> None:
    ended = done(script(tmp_path, 'raise DataError("no file; make one")'), "sonar")
    assert (ended.returncode, ended.stderr) == (1, "error: no file; make one\n")


def test_any_other_error_has_a_status_of_its_own(tmp_path: Path) -> None:
    ended = done(script(tmp_path, 'raise ZeroDivisionError("a bug")'), "sonar")
    assert ended.returncode == 70
    assert "ZeroDivisionError: a bug" in ended.stderr.splitlines()[0]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    body = f"import os; os.chdir({str(tmp_path / 'gone')!r}); os.rmdir(os.getcwd())\n"
    (tmp_path / "gone").mkdir()
    path = script(tmp_path, "raise AssertionError('not begun')")
    path.write_text(body + path.read_text())
    ended = done(path, "sonar")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: this folder is not there any more")


def test_warnings_of_libraries_are_not_for_users(tmp_path: Path) -> None:
    body = "import warnings\nwarnings.warn('do otherwise', FutureWarning, stacklevel=1)"
    ended = done(script(tmp_path, body), "sonar")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_command_line(tmp_path: Path) -> None:
    path = script(tmp_path, "pass")
    asked = done(path, "--help")
    assert asked.returncode == 0
    assert "Stage toy@key: a toy." in asked.stdout
    assert f"example: python {path} sonar" in asked.stdout
    for wrong in ([], ["a", "b"]):
        refused = done(path, *wrong)
        assert refused.returncode == 2
        assert "usage:" in refused.stderr


def test_a_stage_without_a_key(tmp_path: Path) -> None:
    path = script(tmp_path, 'print("done")', "run_stage(main)")
    assert done(path).stdout == "done\n"
    assert done(path, "sonar").returncode == 2


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A project's folder whose source says so."""
    shutil.copytree(PACKAGE / "core", tmp_path / "src/foldwise/core")
    shutil.copy(PACKAGE / "__init__.py", tmp_path / "src/foldwise")
    with (tmp_path / "src/foldwise/core/errors.py").open("a") as file:
        file.write('WHOSE = "the copy\'s"\n')
    return tmp_path


WHOSE = "from foldwise.core import errors\nprint(getattr(errors, 'WHOSE', 'another'))"


def test_a_stage_runs_the_source_beside_it(copied: Path) -> None:
    """Whatever is installed: with the arguments that it had."""
    path = script(copied, f"{WHOSE}\nprint(name)")
    command = [sys.executable, str(path), "sonar"]
    ended = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert ended.stdout == "another\nsonar\n"
    ended = done(path, "sonar")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the copy's\nsonar\n", "")


def test_a_command_runs_the_source_of_the_project_it_is_called_in(copied: Path) -> None:
    shutil.copytree(PACKAGE, copied / "src/foldwise", dirs_exist_ok=True)
    check = copied / "src/foldwise/commands/check.py"
    check.write_text(check.read_text() + '\n\ndef run() -> None:\n    print("the copy\'s")\n')
    command = [sys.executable, "-m", "foldwise", "check"]
    ended = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=True)
    assert ended.stdout == "the copy's\n"


def test_where_it_cannot_it_refuses(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is told to ignore what says where its source is."""
    path = script(copied, 'print("ran")')
    source = Path(*PACKAGE.parts[:-1])
    path.write_text(f"import sys\nsys.path.insert(0, {str(source)!r})\n{path.read_text()}")
    monkeypatch.chdir(copied)
    command = [sys.executable, "-E", str(path), "sonar"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"error: {copied}/src: not what runs, which is {source}; `make setup` makes an "
        "environment of this project's own\n"
    )


@contextmanager
def started(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The script, running: it has said so."""
    command = [sys.executable, str(path), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_without_a_traceback(
    tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    body = (
        f'try:\n    {textwrap.indent(ENDLESS, "    ").strip()}\nfinally:\n    print("cleaned up")'
    )
    with started(script(tmp_path, body), "sonar") as process:
        process.send_signal(sent)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (status, "cleaned up\n", "")


PARENT = """import multiprocessing, os, sys, threading, time
from foldwise.core.processes import exit_with_parent

def child():
    threading.Thread(target=exit_with_parent, daemon=True).start()
    print("started", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=child).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, method: str) -> None:
    """Its end closes the pipe that both write to."""
    path = tmp_path / "parent.py"
    path.write_text(PARENT)
    with started(path, method) as process:
        process.kill()
        assert process.communicate(timeout=SECONDS)[0] == ""
    assert process.returncode == -signal.SIGKILL


def test_a_process_without_a_parent_of_its_own_goes_on() -> None:
    from foldwise.core.processes import exit_with_parent

    assert multiprocessing.parent_process() is None
    exit_with_parent()
    assert os.getpid()
