"""Faults of a small project that is reproduced by real dvc: kills, disks, two at once."""

import copy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import killing
import pytest
from killing import COMMANDS, STAGES, Outcome, Site, state

from foldwise.core import paths

pytestmark = pytest.mark.slow
SEED = 1
MANY_EPOCHS = "studies.table.training.epochs"
KEYS = {
    **dict.fromkeys(("download", "prepare"), "sonar"),
    **dict.fromkeys(("split", "compare"), "table"),
    **dict.fromkeys(("train", "evaluate"), "table-dropout"),
}
OUTPUT = {
    "download": paths.RAW,
    "prepare": paths.PREPARED,
    "split": paths.SPLITS,
    "train": paths.RUNS,
    "evaluate": paths.METRICS,
    "compare": paths.COMPARISONS,
    "report": paths.REPORT.parent,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Reproduced once, stage by stage."""
    return Site(tmp_path_factory.mktemp("faults") / "site")


# --- kills ------------------------------------------------------------------------------------


FEW = ("dvc repro train", "dvc repro evaluate", "dvc repro compare", "dvc repro track")


@pytest.mark.parametrize("name", [*FEW, "foldwise train"])
def test_a_few_random_kills(name: str, site: Site) -> None:
    """`make faults` has many more."""
    outcome = killing.trial(site, COMMANDS[name], SEED, list(COMMANDS).index(name))
    assert outcome.problems == [], outcome


def test_dvc_alone_is_killed(site: Site) -> None:
    """While its stage trains; the same command at once."""
    command = COMMANDS["dvc repro train"]
    site.restore(command.before)
    with site.start(*command.line, said=site.folder / "killed") as process:
        wait_for(site.root / paths.LIVE, process)
        process.kill()
    outcome = Outcome(0, 0, command.name, "in training", "parent", killed=True)
    killing.rerun(site, command, outcome)
    assert outcome.problems + killing.compared(site, command) == [], outcome
    assert not outcome.mended


def test_two_reproductions_at_once(site: Site) -> None:
    command = COMMANDS["dvc repro train"]
    site.restore(command.before)
    with site.start(*command.line, said=site.folder / "first") as process:
        wait_for(site.root / paths.LIVE, process)
        second = site.run(*command.line)
    first = (site.folder / "first").read_text()
    assert process.returncode == 0, first
    if second.returncode:
        assert f"(PID {process.pid})" in second.stdout
        assert "Traceback" not in second.stdout
    assert killing.compared(site, command) == []


def wait_for(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    """Until there is a file in a folder."""
    deadline = time.monotonic() + killing.SECONDS
    while not (folder.is_dir() and any(folder.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- disks ------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, *options: str | Path) -> Iterator[Path]:
    """Something mounted there; only root can."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def run_stage(site: Site, root: Path, stage: str) -> "subprocess.CompletedProcess[str]":
    """A stage's script in a copy of the project."""
    there = copy.copy(site)
    there.root = root
    key = (KEYS[stage],) if stage in KEYS else ()
    return there.run(sys.executable, f"pipeline/{stage}.py", *key)


@pytest.mark.parametrize(
    ("stage", "room"), [*((stage, 0) for stage in STAGES), ("train", 20_000), ("track", 2_000_000)]
)
def test_a_full_disk(stage: str, room: int, site: Site, tmp_path: Path) -> None:
    """The stage is to write what is not there yet; then it is given room."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=100m", "tmpfs") as disk:
        root = disk / "project"
        no_history = shutil.ignore_patterns(".git", "cache")
        shutil.copytree(site.folder / "kept" / stage, root, symlinks=True, ignore=no_history)
        before = state(root)
        fill(disk / "ballast", room)
        done = run_stage(site, root, stage)
        if done.returncode:
            assert done.returncode == 1, done.stdout
            assert "Traceback" not in done.stdout
            said = ("No space left on device", "disk is full", "are free; make room")
            assert any(words in done.stdout for words in said), done.stdout
            assert before.items() <= state(root).items()
        else:
            assert room, "a full disk has no room for anything"
        (disk / "ballast").unlink()
        done = run_stage(site, root, stage)
        assert done.returncode == 0, done.stdout


def fill(path: Path, room: int) -> None:
    """Leave no more than so many bytes on the disk."""
    with path.open("wb", buffering=0) as file:
        file.truncate(0)
        size = 0
        try:
            while True:
                size += file.write(bytes(1 << 16))
        except OSError:
            pass
        file.truncate(max(0, size - room))


@pytest.mark.parametrize("stage", OUTPUT)
def test_a_folder_that_is_read_only(stage: str, site: Site, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(site.folder / "kept" / stage, root, symlinks=True)
    folder = root / OUTPUT[stage]
    folder.mkdir(parents=True, exist_ok=True)
    before = state(root)
    with mounted(folder, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        done = run_stage(site, root, stage)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stdout
        assert f"{OUTPUT[stage]}" in done.stdout
        assert "Read-only file system" in done.stdout
        assert before.items() <= state(root).items()
        assert stage != "train" or state(root) == before, "it trained in vain"
