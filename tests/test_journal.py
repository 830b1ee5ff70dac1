"""Journals: whole lines or none, one writer, and nothing that goes wrong reaches the training."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import dataset, variant
from hypothesis import given
from hypothesis import strategies as st

from foldwise import journal
from foldwise.datasets.prepared import describe
from foldwise.journal import Recorder, parse
from foldwise.numerics.outcomes import Recorded
from foldwise.numerics.split import REFIT
from foldwise.results.runs import Facts, Manifest

HERE = Path(__file__).parent
EPOCH = Recorded(splits=[(0, 0)], epoch=3, finished=2.25, metrics=[[0.5] * 4])
MANIFEST = Manifest(
    status="complete",
    variant=variant(),
    dataset=describe(dataset()),
    split_digest="ä\n",
    code_digest="",
    parameters=1,
    splits=[(0, 0), (REFIT, REFIT)],
)


def facts(started: float = 1.5) -> Facts:
    return Facts(started=started)


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


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"manifest": {',
        "{}\n",
        "[]\n",
        '{"manifest": {"schema": 0}, "facts": {"started": 1.0}}\n',
        '{"manifest": {"schema": 1}, "facts": {"started": 1.0}}\n',
    ],
)
def test_there_is_no_journal_before_its_first_line_is_whole_and_known(
    content: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    assert journal.read(path) is None
    path.write_text(content)
    assert journal.read(path) is None


# --- writing ----------------------------------------------------------------------------------


def test_the_status_is_that_of_the_training(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "x.jsonl"
    with Recorder(path) as recorder:
        recorder.begin(MANIFEST, facts())
        recorder.record(EPOCH)
        running = journal.read(path)
        assert journal.read(path) == running  # looking changes nothing
    size = path.stat().st_size
    assert running == journal.Journal(MANIFEST, facts(), [EPOCH], "running", size)
    killed = journal.read(path)
    assert killed is not None
    assert (killed.status, killed.epochs) == ("killed", [EPOCH])
    with Recorder(path) as recorder:
        recorder.begin(MANIFEST, facts())
        recorder.end("complete")
        complete = journal.read(path)
    assert complete is not None
    assert (complete.status, complete.epochs) == ("complete", [])
    assert [file.name for file in path.parent.iterdir()] == ["x.jsonl"]


def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    """At every moment, what is read in pieces is what is read at once."""
    path, known = tmp_path / "x.jsonl", None
    for started in (1.5, 2.5):
        with Recorder(path) as recorder:
            recorder.begin(MANIFEST, facts(started))
            for _ in range(3):
                known = journal.read(path, known)
                assert known == journal.read(path)
                recorder.record(EPOCH)
            known = journal.read(path, known)
            with path.open("ab") as torn:
                torn.write(b'{"epoch": 4, "splits": [], "finished": 1')
            assert journal.read(path, known) == known
            with path.open("ab") as torn:
                torn.write(b', "metrics": []}\n{"status": "complete"}\n')
            for _ in range(2):
                known = journal.read(path, known)
                assert known == journal.read(path)
                assert known is not None
                assert (known.status, len(known.epochs)) == ("complete", 4)


def test_a_new_training_takes_the_place_of_an_older_one_that_still_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with Recorder(path) as old, Recorder(path) as new:
        old.begin(MANIFEST, facts())
        new.begin(MANIFEST, facts(2.5))
        old.record(EPOCH)
        found = journal.read(path)
    assert found is not None
    assert (found.facts.started, found.epochs) == (2.5, [])


def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "live").write_text("not a folder")
    with Recorder(tmp_path / "live" / "x.jsonl") as recorder:
        recorder.begin(MANIFEST, facts())
        recorder.record(EPOCH)
    assert capsys.readouterr().err.count("cannot be watched; it goes on") == 1


def test_without_a_path_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(None) as recorder:
        recorder.begin(MANIFEST, facts())
        recorder.record(EPOCH)
    assert capsys.readouterr().err == ""


FULL = """
import resource, sys
from pathlib import Path
from test_journal import EPOCH, MANIFEST, facts
from foldwise.journal import Recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
with Recorder(Path(sys.argv[1])) as recorder:
    recorder.begin(MANIFEST, facts())
    for _ in range(100):
        recorder.record(EPOCH)
"""


def test_a_full_disk_leaves_whole_lines_and_one_warning(tmp_path: Path) -> None:
    """The size that this process may give a file stands for that of the disk."""
    path = tmp_path / "x.jsonl"
    command = [sys.executable, "-c", FULL, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    assert done.stderr.count("cannot be watched; it goes on") == 1
    found = journal.read(path)
    assert found is not None
    assert path.stat().st_size == 9000
    assert found.epochs == [EPOCH] * len(found.epochs)
    assert 50 < len(found.epochs) < 100
