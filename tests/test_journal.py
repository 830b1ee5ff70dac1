"""Journals: whole lines or none, one writer, and nothing that goes wrong reaches the training."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldwise import journal
from foldwise.journal import Recorder, parse

HEADER: dict[str, Any] = {"manifest": {"variant": {"name": "ä\n"}}, "facts": {"started": 1.5}}
EPOCH: dict[str, Any] = {"splits": [[0, 0]], "epoch": 3, "finished": 2.25, "metrics": [[0.5] * 4]}
TESTS = Path(__file__).parent

# --- reading ----------------------------------------------------------------------------------

values = st.floats(allow_nan=False) | st.text() | st.integers() | st.none()
written = st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=5)


@given(written, st.data())
def test_any_truncation_of_a_journal_is_read_as_its_first_lines(
    lines: list[dict[str, Any]], data: st.DataObject
) -> None:
    content = b"".join(f"{json.dumps(line)}\n".encode() for line in lines)
    cut = data.draw(st.integers(0, len(content)))
    assert parse(content[:cut]) == lines[: content[:cut].count(b"\n")]
    assert parse(content) == lines


@given(written, st.binary(max_size=9))
def test_what_follows_a_damaged_line_counts_as_not_written(
    lines: list[dict[str, Any]], rest: bytes
) -> None:
    content = b"".join(f"{json.dumps(line)}\n".encode() for line in lines)
    assert parse(content + b'{"torn": \n' + rest + b'\n{"epoch": 1}\n') == lines


def test_there_is_no_journal_before_its_first_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert journal.read(path) is None
    for content in (b"", b'{"manifest": {', b"{}\n"):
        path.write_bytes(content)
        assert journal.read(path) is None


# --- writing ----------------------------------------------------------------------------------


def test_the_status_is_that_of_the_training(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "x.jsonl"
    with Recorder(path) as recorder:
        recorder.write(HEADER)
        recorder.write(EPOCH)
        running = journal.read(path)
        assert journal.read(path) == running  # looking changes nothing
    size = path.stat().st_size
    assert running == journal.Journal(HEADER["manifest"], HEADER["facts"], [EPOCH], "running", size)
    killed = journal.read(path)
    assert killed is not None
    assert (killed.status, killed.epochs) == ("killed", [EPOCH])
    with Recorder(path) as recorder:
        recorder.write(HEADER)
        recorder.write({"status": "complete"})
        complete = journal.read(path)
    assert complete is not None
    assert (complete.status, complete.epochs) == ("complete", [])
    assert [file.name for file in path.parent.iterdir()] == ["x.jsonl"]


def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    """At every moment, what is read in pieces is what is read at once."""
    path, known = tmp_path / "x.jsonl", None
    for started in (1.5, 2.5):
        with Recorder(path) as recorder:
            for line in (HEADER | {"facts": {"started": started}}, EPOCH, EPOCH):
                recorder.write(line)
                known = journal.read(path, known)
                assert known == journal.read(path)
            with path.open("ab") as torn:
                torn.write(b'{"epoch": 4, ')
            assert journal.read(path, known) == known
            with path.open("ab") as torn:
                torn.write(b'"splits": []}\n{"status": "complete"}\n')
            for _ in range(2):
                known = journal.read(path, known)
                assert known == journal.read(path)
                assert known is not None
                assert (known.status, len(known.epochs)) == ("complete", 3)


def test_a_new_training_takes_the_place_of_an_older_one_that_still_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Recorder(path) as old, Recorder(path) as new:
        old.write(HEADER)
        new.write(HEADER | {"facts": {"started": 2.5}})
        old.write(EPOCH)
        found = journal.read(path)
    assert found is not None
    assert (found.facts["started"], found.epochs) == (2.5, [])


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "live").write_text("not a folder")
    with Recorder(tmp_path / "live" / "x.jsonl") as recorder:
        recorder.write(HEADER)
        recorder.write(EPOCH)
    assert capsys.readouterr().err.count("cannot be watched; it goes on") == 1


FULL = """
import resource, sys
from pathlib import Path
from foldwise.journal import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Recorder(Path(sys.argv[1])) as recorder:
    recorder.write({"manifest": {}, "facts": {}})
    for epoch in range(100):
        recorder.write({"epoch": epoch})
"""


def test_a_full_disk_leaves_whole_lines_and_one_warning(tmp_path: Path) -> None:
    """The size that this process may give a file stands for that of the disk."""
    path = tmp_path / "x.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("cannot be watched; it goes on") == 1
    found = journal.read(path)
    assert found is not None
    assert path.stat().st_size == 1000
    assert [line["epoch"] for line in found.epochs] == list(range(len(found.epochs)))
    assert len(found.epochs) > 50


# --- training ---------------------------------------------------------------------------------

LONG = """
import sys
from pathlib import Path
from builders import dataset, variant
from foldwise.engine.cross_validation import cross_validate
from foldwise.journal import Recorder
from foldwise.splits import split_table
data = dataset(rows=400, features=200)
v = variant(training={"epochs": 100000, "batch_size": 2}, network={"hidden": [200]})
with Recorder(Path(sys.argv[1])) as recorder:
    environ = {"FOLDWISE_WORKERS": "2", "FOLDWISE_DEVICE": "cpu"}
    cross_validate(v, data, split_table(data.y, v.cv), "d", environ, recorder.write)
"""


def test_a_killed_training_lets_go_of_its_journal(tmp_path: Path) -> None:
    """Its workers, which inherited the lock, end with it."""
    path = tmp_path / "x.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", LONG, str(path)], cwd=TESTS, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(path, "running")
        os.kill(process.pid, signal.SIGKILL)
    wait_for(path, "killed")


def wait_for(path: Path, status: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = journal.read(path)
        if found is not None and found.status == status and found.epochs:
            return
        time.sleep(0.05)
    raise AssertionError(f"not {status}")
