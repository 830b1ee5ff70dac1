"""One wrapper of git: answers, errors with git's own reason, and "" for what may be missing."""

from pathlib import Path

import pytest

from foldwise.core import git
from foldwise.core.errors import GitError


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git.run(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "ü.txt").write_text("x")
    git.run(tmp_path, "add", "-A")
    git.run(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_answers(checkout: Path) -> None:
    assert git.run(checkout, "log", "--format=%s") == "first\n"
    assert git.ask(checkout, "log", "--format=%s") == "first"
    assert git.run(checkout, "cat-file", "-p", "HEAD:ü.txt") == "x"


def test_what_cannot_be_done_is_named_with_gits_reason(checkout: Path) -> None:
    with pytest.raises(GitError, match="git show: fatal: invalid object name 'nowhere'"):
        git.run(checkout, "show", "nowhere:file")
    assert git.ask(checkout, "rev-parse", "--verify", "-q", "nowhere") == ""


def test_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"git rev-parse: .*not a git repository"):
        git.run(tmp_path, "rev-parse", "HEAD")
    assert git.ask(tmp_path, "rev-parse", "HEAD") == ""
    assert git.ask(tmp_path / "nowhere", "status") == ""


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match=r"git status: .*No such file or directory: 'git'"):
        git.run(tmp_path, "status")
    assert git.ask(tmp_path, "status") == ""


def test_git_that_hangs_is_given_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "SECONDS", 0.2)
    with pytest.raises(GitError, match="timed out"):
        git.run(checkout, "-c", "alias.hang=!sleep 60", "hang")
