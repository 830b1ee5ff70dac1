"""What is said of an error, by real processes: one line, or two and a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foldwise.core import paths

HEAD = """import errno, os, sys
from foldwise.core.endings import status_of
from foldwise.core.errors import ComparisonError, DataError
def work():
    """


def ended(folder: Path, body: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"{HEAD}{body}\nsys.exit(status_of(work))"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("raise DataError('no file; make one')", 1, "no file; make one"),
        ("raise ComparisonError('other splits')", 2, "other splits"),
        ("raise MemoryError('8 GiB')", 1, "out of memory: 8 GiB; close other programs"),
        ("bytearray(2**62)", 1, "out of memory"),
        ("raise OSError(errno.EIO, 'I/O', 'a.db')", 1, "a.db: I/O; the disk"),
        ("open('/')", 1, "/: Is a directory; it is not what must be there"),
        ("open('x' * 999)", 1, f"{'x' * 999}: File name too long; choose a shorter name"),
        ("open('/dev/full', 'w').write('x' * 9999)", 1, "No space left on device; make room"),
    ],
)
def test_what_users_can_do_something_about_is_a_line(
    body: str, status: int, line: str, tmp_path: Path
) -> None:
    done = ended(tmp_path, body)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"error: {line}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_anything_else_is_two_lines_and_a_file(tmp_path: Path) -> None:
    (tmp_path / paths.PARAMS).touch()
    done = ended(tmp_path, "from foldwise.core import trees; trees.significant('x')")
    assert (done.returncode, done.stdout) == (70, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("unexpected error: core/trees.py, line ")
    assert "ValueError: Unknown format code" in first
    (kept,) = (tmp_path / paths.ERRORS).iterdir()
    assert second.endswith(f"Its traceback: {kept}")
    text = kept.read_text()
    assert "Traceback (most recent call last)" in text
    assert "numpy 2" in text


def test_outside_of_a_project_it_is_among_the_temporary_files(tmp_path: Path) -> None:
    where = tmp_path / "temporary"
    where.mkdir()
    done = ended(tmp_path, "1 / 0", TMPDIR=str(where))
    assert done.returncode == 70
    (kept,) = where.iterdir()
    assert str(kept) in done.stderr
    assert "ZeroDivisionError" in kept.read_text()


def test_where_nothing_can_be_written_it_is_said_at_once(tmp_path: Path) -> None:
    body = "import tempfile; tempfile.tempdir = '/dev/null'; 1 / 0"
    done = ended(tmp_path, body)
    assert done.returncode == 70
    assert "Its traceback:" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n\n")
