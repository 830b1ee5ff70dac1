"""What a dvc that is killed at the wrong moment leaves, and how the next one works again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import repositories
from dvc.exceptions import DvcException
from kills import killed
from repositories import dvc, git, run

from foldwise.doctor import Finding, fix, locks

DVC_YAML = """
stages:
  one: {cmd: echo 1 > one, outs: [one]}
  two: {cmd: echo 2 > two, deps: [one], outs: [two]}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two stages, the first of which has run and is committed."""
    folder = tmp_path / "Ein Projekt für #1"
    repositories.start(folder)
    (folder / "dvc.yaml").write_text(DVC_YAML)
    repro(folder, "one")
    repositories.commit_only(folder, "one")
    return folder


def repro(root: Path, *targets: str) -> None:
    with dvc(root) as repo:
        repo.reproduce(list(targets) or None)


def texts(root: Path) -> list[str]:
    return [f"{'*' if found.fix else '-'} {found.text}" for found in locks.examine(root)]


def mend(root: Path) -> None:
    """What `make repro` does first; then dvc does all that was left to do, and once."""
    assert fix(locks.examine(root)) == []
    assert texts(root) == []
    repro(root)
    assert (root / "two").read_text() == "2\n"
    with dvc(root) as repo:
        assert repo.status() == {}


def kill_at(root: Path, place: str, writing: str = "") -> None:
    """A dvc that is killed with SIGKILL when it calls what is at this place, to write a file."""

    def die(*arguments: object, **_: object) -> None:
        if not writing or str(arguments[1].name).endswith(writing):  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, die)
            repro(root)

    killed(work)


def test_nothing_is_wrong(root: Path) -> None:
    assert texts(root) == []
    repro(root)
    assert texts(root) == []  # dvc.lock is another than the one that is committed
    (root / "dvc.lock").unlink()
    assert texts(root) == []


# --- .dvc/tmp/rwlock --------------------------------------------------------------------------


def test_killed_while_it_wrote_its_lock(root: Path) -> None:
    kill_at(root, "dvc.rwlock.json.dump")
    assert (root / locks.RWLOCKS[0]).read_text() == ""
    with pytest.raises(DvcException):
        repro(root)
    assert texts(root) == ["* .dvc/tmp/rwlock: damaged, so that every dvc command fails; delete it"]
    mend(root)


@pytest.mark.parametrize("content", ["[]", '{"write": {"a": {}}}', '{"read": {"a": 1}}'])
def test_a_lock_of_another_shape(root: Path, content: str) -> None:
    (root / locks.RWLOCKS[0]).write_text(content)
    assert "damaged" in texts(root)[0]
    mend(root)


def test_killed_while_a_stage_ran(root: Path) -> None:
    kill_at(root, "dvc.stage.run.cmd_run")
    (text,) = texts(root)
    assert text.startswith("* .dvc/tmp/rwlock: left by a dvc that was killed (process ")
    mend(root)


def held_by(root: Path, pid: int) -> None:
    """The lock of `two` is a process's."""
    info = {"pid": pid, "cmd": "dvc repro"}
    path = root / locks.RWLOCKS[0]
    path.write_text(json.dumps({"write": {str(root / "two"): info}, "read": {}}))


def test_a_killed_dvc_that_nobody_asked_about(root: Path) -> None:
    """As in a container whose first process does not look after others."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    held_by(root, child.pid)
    assert texts(root) == []  # it is at work
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and still there
    try:
        with pytest.raises(DvcException):
            repro(root)
        assert "was killed" in texts(root)[0]
        mend(root)
    finally:
        child.communicate()


def test_a_number_that_is_another_process_s_by_now(root: Path) -> None:
    held_by(root, os.getpid())
    assert texts(root) == []
    os.utime(root / locks.RWLOCKS[0], (1e9, 1e9))  # this process is younger than the lock
    assert "was killed" in texts(root)[0]
    mend(root)


# --- dvc.lock ---------------------------------------------------------------------------------


def test_killed_while_it_wrote_dvc_lock(root: Path) -> None:
    before = (root / "dvc.lock").read_bytes()
    kill_at(root, "dvc.utils.serialize._yaml._dump", writing="dvc.lock")
    assert (root / "dvc.lock").read_bytes() == b""
    with pytest.raises(DvcException):
        repro(root)
    (text,) = [text for text in texts(root) if "rwlock" not in text]
    assert text.startswith("* dvc.lock: damaged (")
    assert "; restore that of the last commit (what is newer, dvc takes from its cache" in text
    assert fix(locks.examine(root)) == []
    assert (root / "dvc.lock").read_bytes() == before
    assert git(root, "status", "--porcelain", "--", "dvc.lock") == ""
    mend(root)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_lock_file_cut_off_anywhere(root: Path, share: float) -> None:
    """Either dvc takes it, or it is mended."""
    repro(root)
    content = (root / "dvc.lock").read_bytes()
    (root / "dvc.lock").write_bytes(content[: int(share * len(content))])
    mend(root)


def test_a_lock_file_that_was_never_committed(root: Path) -> None:
    git(root, "rm", "-q", "--cached", "dvc.lock")
    git(root, "commit", "-qm", "without")
    (root / "dvc.lock").write_bytes(b"")
    assert "; remove it (" in texts(root)[0]
    mend(root)


def test_a_lock_file_with_a_conflict_is_a_persons(root: Path) -> None:
    content = (root / "dvc.lock").read_bytes()
    (root / "dvc.lock").write_bytes(b"<<<<<<< HEAD\n" + content)
    (text,) = texts(root)
    assert text.startswith("- dvc.lock:")
    assert "\n" not in text
    git(root, *text.partition("`git ")[2].rstrip("`").split())  # the remedy
    mend(root)


def test_a_lock_file_that_is_just_being_written_stays(root: Path) -> None:
    """By a dvc at work, which has the repository's lock."""
    findings: list[Finding] = []
    (root / "dvc.lock").write_bytes(b"")
    with dvc(root) as repo, repo.lock:
        findings = locks.examine(root)
        assert "lock" in fix(findings)[0]
        assert (root / "dvc.lock").read_bytes() == b""
    assert fix(findings) == []


# --- git --------------------------------------------------------------------------------------


def test_a_project_that_was_downloaded_as_an_archive(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "project.tar"
    git(root, "archive", "--output", str(archive), "HEAD")
    copy = tmp_path / "downloaded"
    copy.mkdir()
    run(copy, "tar", "-xf", str(archive))
    (text,) = texts(copy)
    assert text.startswith(f"- {copy}: in no git repository")
    for command in text.split("`")[1].split(" && "):  # the remedy
        run(copy, *command.split())
    mend(copy)


def test_a_project_that_wants_no_git(tmp_path: Path) -> None:
    run(tmp_path, "dvc", "init", "--no-scm", "-q")
    assert texts(tmp_path) == []
