"""What the commands about MLflow ask of the library, and what they print."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabricate import Cache
from shell import Run

from foldwise import backfill, watching
from foldwise.commands import track
from foldwise.core.environment import Environment
from foldwise.tracking import champions


@pytest.fixture
def root(fabricated: Cache, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, which is the working directory."""
    monkeypatch.chdir(fabricated.shared().root)
    return Path.cwd()


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "soon"])
def test_an_interval_that_cannot_be(interval: str, foldwise: Run) -> None:
    done = foldwise("track", "--follow", f"--interval={interval}")
    assert done.status == 2
    assert f"'{interval}' is not a number above 0" in done.err


def test_following_watches_until_ctrl_c(
    root: Path, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def follow(*asked: Any) -> None:
        calls.append(asked)
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "follow", follow)
    done = foldwise("track", "--follow", "--interval", "0.5")
    assert (done.status, done.out) == (0, "")
    assert done.err == "watching .foldwise/live/ for trainings; Ctrl-C ends it\n"
    assert calls[0][:3] == (root, Environment.read(), 0.5)
    assert foldwise("track", "--follow").status == 0
    assert calls[1][2] == track.INTERVAL


def test_following_needs_a_project(
    foldwise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = foldwise("track", "--follow")
    assert done.status == 1
    assert "params.yaml: not found" in done.err


@pytest.mark.parametrize(("failed", "status"), [(False, 0), (True, 1)])
def test_revisions_come_after_the_workspace(
    failed: bool, status: int, foldwise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(track, "mirror", lambda: done.append("workspace"))

    def add(root: Path, revisions: list[str], *more: object) -> SimpleNamespace:
        done.append(revisions)
        return SimpleNamespace(failed=failed)

    monkeypatch.setattr(backfill, "backfill", add)
    assert foldwise("track", "--rev", "v1", "--rev", "v2..HEAD").status == status
    assert done == ["workspace", ["v1", "v2..HEAD"]]


@pytest.mark.usefixtures("root")
def test_promote_passes_on_what_was_asked(foldwise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def promote(settings: object, *asked: Any) -> str:
        calls.append(asked)
        return "promoted"

    monkeypatch.setattr(champions, "promote", promote)
    assert foldwise("promote", "tiny-plain", "--why", "quick").out == "promoted\n"
    foldwise("promote", "gone", "--study", "tiny")
    here = Path.cwd(), Environment.read()
    assert calls == [(*here, "tiny-plain", None, "quick"), (*here, "gone", "tiny", "")]
