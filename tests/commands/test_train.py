"""`foldwise train` and `foldwise verify`: what they train, say and leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from disks import read_only, small_disk
from fabricate import TINY
from projects import rows
from shell import Run

from foldwise import journal
from foldwise.core import files, paths
from foldwise.core.environment import Environment
from foldwise.datasets import prepared
from foldwise.engine import tasks
from foldwise.engine.cross_validation import run_of
from foldwise.engine.store import Store
from foldwise.results.runs import RunFolder, write_run
from foldwise.splits import split_table

STAGE = Path(__file__).parents[2] / "pipeline/train.py"
HERE = Environment(workers=1, device="cpu")
NAMES = ("tiny-plain", "tiny-dropout")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with data and splits of one study, which is the working directory."""
    (tmp_path / paths.PARAMS).write_text(TINY.params)
    data, study = rows(), TINY.config.study("tiny")
    prepared.save(data, tmp_path / paths.prepared("rows"))
    table = split_table(data.y, study.cv)
    files.write_table(tmp_path / paths.splits("tiny"), table, {"data_digest": data.digest})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOLDWISE_WORKERS", "1")
    monkeypatch.setenv("FOLDWISE_DEVICE", "cpu")
    return tmp_path


def test_it_trains_what_is_missing(root: Path, foldwise: Run) -> None:
    assert foldwise("train", "tiny-plain").out == "5 splits trained, 0 were there\n"
    assert foldwise("train", *NAMES).out == "5 splits trained, 5 were there\n"
    assert foldwise("train", *NAMES).out == "0 splits trained, 10 were there\n"
    assert foldwise("train", "--fresh", "tiny-plain").out == "5 splits trained, 0 were there\n"
    for name in NAMES:
        written = journal.read(root / paths.journal(name))
        assert written is not None
        assert written.status == "complete"


def test_the_run_has_the_start_that_its_journal_has(root: Path, foldwise: Run) -> None:
    """So that `track` takes over what was shown in MLflow meanwhile."""
    assert foldwise("train", *NAMES).status == 0
    for task in tasks.load([TINY.config.variant(name) for name in NAMES], "cpu"):
        written = journal.read(paths.journal(task.learner.variant.name))
        assert written is not None
        assert run_of(task, HERE, store=Store(Path())).facts.started == written.facts.started


@pytest.mark.usefixtures("root")
def test_a_training_that_diverges_is_a_result(foldwise: Run) -> None:
    text = TINY.params.replace("lr: 0.1", "lr: 1.0e+30")
    Path(paths.PARAMS).write_text(text)
    done = foldwise("train", "tiny-plain")
    assert done.status == 0
    assert "tiny-plain failed: tiny-plain, r0-f00, epoch 1: the training loss is" in done.err
    written = journal.read(paths.journal("tiny-plain"))
    assert written is not None
    assert written.status == "failed"


@pytest.mark.usefixtures("root")
def test_an_error_says_what_to_do(foldwise: Run) -> None:
    assert "did you mean 'tiny-plain'?" in foldwise("train", "tiny-plan").err
    done = foldwise("train")  # pictures are not prepared
    assert done.status == 1
    assert "`dvc repro prepare@pictures` makes it" in done.err


# --- disks ------------------------------------------------------------------------------------


def stage(root: Path) -> "subprocess.CompletedProcess[str]":
    """`dvc repro train@tiny-plain`, as DVC runs it."""
    command = [sys.executable, str(STAGE), "tiny-plain"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_stage_looks_at_its_folder_before_it_trains(root: Path) -> None:
    folder = root / paths.run("tiny-plain")
    folder.mkdir(parents=True)
    with read_only(root / paths.RUNS):
        done = stage(root)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: runs/tiny-plain: cannot be written (Read-only file")
        assert "\n" not in done.stderr.strip()
    assert Store(root).kept() == {}
    assert not (root / paths.journal("tiny-plain")).exists()
    assert stage(root).returncode == 0
    RunFolder(folder).check()


def test_a_full_disk_is_said_before_anything_trains(root: Path, foldwise: Run) -> None:
    with small_disk(root / ".foldwise", kib=64) as disk:
        (disk / "other").write_bytes(bytes(60_000))
        done = foldwise("train", "tiny-plain")
        assert done.status == 1
        assert "splits: this needs about 83 KiB, and 4 KiB are free; make room" in done.err
        assert list(disk.rglob("*.jsonl")) == []
        (disk / "other").unlink()
        assert foldwise("train", "tiny-plain").status == 1  # 64 KiB are too few
    assert foldwise("train", "tiny-plain").status == 0


def test_a_run_that_does_not_fit_leaves_the_old_one(root: Path, foldwise: Run) -> None:
    """The disk is full when all is trained: the run that was there is there."""
    with small_disk(root / paths.RUNS, kib=256) as disk:
        assert stage(root).returncode == 0
        before = {path.name: path.read_bytes() for path in (disk / "tiny-plain").iterdir()}
        (disk / "other").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 20_000))
        text = (root / paths.PARAMS).read_text().replace("lr: 0.1", "lr: 0.2")
        (root / paths.PARAMS).write_text(text)
        done = stage(root)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert {p.name: p.read_bytes() for p in (disk / "tiny-plain").iterdir()} == before


def test_clean_empties_the_store(root: Path, foldwise: Run) -> None:
    foldwise("train", "tiny-plain")
    assert foldwise("clean").out.startswith("removed 5 trained splits, ")
    assert foldwise("clean").out.startswith("removed 0 trained splits, ")
    assert foldwise("train", "tiny-plain").out == "5 splits trained, 0 were there\n"


# --- verify -----------------------------------------------------------------------------------


def test_verify_exits_with_3_where_something_differs(root: Path, foldwise: Run) -> None:
    for task in tasks.load([TINY.config.variant(name) for name in NAMES], "cpu"):
        write_run(paths.run(task.learner.variant.name), run_of(task, HERE))
    done = foldwise("verify", *NAMES)
    assert done.status == 0
    assert done.out.splitlines() == [
        f"{name}: r0-f00 trained again: the same to the byte" for name in NAMES
    ]
    folder = RunFolder(root / paths.run("tiny-plain"))
    training = folder.manifest.variant.training.model_copy(update={"seed": 7})
    tree = files.read_json(folder.path / "run.json", "")
    tree["variant"]["training"]["seed"] = training.seed
    files.write_json(folder.path / "run.json", tree)
    done = foldwise("verify", "--all", *NAMES)
    assert done.status == 3
    assert "tiny-plain: 5 splits trained again: 5 of 5 differ" in done.out
    assert "tiny-dropout: 5 splits trained again: the same to the byte" in done.out
    assert foldwise("verify").status == 1  # pictures were never trained
