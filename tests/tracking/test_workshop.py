"""The process that makes models and pictures: the same files as without, none left behind."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from projects import Project

from foldwise.errors import ResultsError, TrackingError
from foldwise.tracking import place, records, workshop
from foldwise.tracking.records import VariantRun

VOLATILE = ("model.pt2", "MLmodel")  # an export has its time in it


def one_run(project: Project) -> VariantRun:
    run = records.read(project.root, "tiny-plain", {})
    assert run is not None
    return run


def drawn(name: str) -> Mapping[str, bytes]:
    """A picture that says who drew it."""
    return {"own.png": name.encode(), "process.png": str(os.getpid()).encode()}


def sizes(folders: list[Path]) -> list[dict[str, int]]:
    """The files of each folder, with their sizes where these are always the same."""
    return [
        {
            str(path.relative_to(folder)): 0 if path.name in VOLATILE else path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in folders
    ]


def test_what_is_made_ahead_is_what_is_made_when_taken(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = one_run(project)
    with workshop.opened(drawn) as ahead:
        ahead.order(run)
        ordered, pictures = ahead.models(run), ahead.pictures(run)
        assert pictures is not None
        assert (pictures / "own.png").read_text() == "tiny-plain"
        assert (pictures / "process.png").read_text() != str(os.getpid())
        made = sizes(ordered.folders)
    monkeypatch.setattr(workshop.sys, "platform", "darwin")
    with workshop.opened(drawn) as here:
        here.order(run)
        taken, pictures = here.models(run), here.pictures(run)
        assert pictures is not None
        assert (pictures / "process.png").read_text() == str(os.getpid())
        assert sizes(taken.folders) == made
        assert len(made) == len(run.splits)
        assert taken.description["flavors"] == ordered.description["flavors"]
        assert taken.description["signature"] == ordered.description["signature"]


def test_a_system_without_fork_tracks_the_same(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop.sys, "platform", "darwin")
    assert project.track(charts=drawn).created == 6
    assert project.track(charts=drawn).skipped == 6


def test_nothing_is_left_behind(project: Project) -> None:
    with workshop.opened(drawn) as opened:
        run, folder = one_run(project), opened.folder
        opened.order(run)
        opened.models(run)
        opened.pictures(run)
        opened.discard(run)
        assert list(folder.iterdir()) == []
        opened.order(run)
    assert not folder.exists()


def test_an_error_reaches_the_one_who_takes(project: Project) -> None:
    def damaged(name: str) -> Mapping[str, bytes]:
        raise ResultsError(f"{name}: damaged")

    with pytest.raises(ResultsError, match="tiny-plain: damaged"):
        project.track(charts=damaged)
    assert project.track(charts=drawn).repaired >= 1


def test_a_killed_process_is_an_error_that_the_next_track_mends(project: Project) -> None:
    def killed(name: str) -> Mapping[str, bytes]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError(name)

    with pytest.raises(TrackingError, match=f"died.*{place.SAFE}"):
        project.track(charts=killed)
    assert project.track(charts=drawn).repaired >= 1
    assert project.track(charts=drawn).skipped == 6


def track_and_die(project: Project, started: Path) -> None:
    def slow(name: str) -> Mapping[str, bytes]:
        started.write_text(str(os.getpid()))
        time.sleep(60)
        return {name: b""}

    def die(*_: Any) -> None:
        wait_until(started.exists)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", die)
        project.track(charts=slow)


def test_the_process_ends_with_the_one_that_it_works_for(
    project: Project, processes: Any, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    process = processes.Process(target=track_and_die, args=(project, started))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert wait_until(lambda: not is_alive(int(started.read_text())))


def is_alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
