"""The process that makes models and pictures: the same files as without, none left behind."""

import functools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from projects import Project

from foldwise.core.errors import DamagedError, TrackingError
from foldwise.reporting.png import png
from foldwise.tracking import place, records, workshop
from foldwise.tracking.models import export
from foldwise.tracking.origin import Origin
from foldwise.tracking.records import FolderSource

VOLATILE = ("model.pt2", "MLmodel")  # an export has its time in it


def one_source(project: Project) -> FolderSource:
    source = records.read(project.root, "tiny-plain", Origin("somebody", "a test"))
    assert source is not None
    return source


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


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_models_and_pictures_are_made_by_another_process(
    project: Project, start: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workshop, "START", start)
    source = one_source(project)
    with workshop.opened(drawn) as opened:
        models = opened.models(source.folder.path)
        pictures = opened.pictures(["tiny-plain"]).result()["tiny-plain"]
        assert pictures is not None
        assert (pictures / "own.png").read_text() == "tiny-plain"
        assert (pictures / "process.png").read_text() != str(os.getpid())
        made = models.result()
        assert len(made.folders) == len(source.splits)
        here = export(source.folder.path, tmp_path / "here")
        assert sizes(here.folders) == sizes(made.folders)
        assert made.description["flavors"] == here.description["flavors"]
        assert made.description["signature"] == here.description["signature"]
    assert not opened.folder.exists()


def test_a_variant_without_pictures(project: Project) -> None:
    with workshop.opened(nothing) as opened:
        assert opened.pictures(["a", "b"]).result() == {"a": None, "b": None}


def nothing(name: str) -> Mapping[str, bytes]:
    return {}


def test_charts_that_cannot_be_sent_are_an_error(project: Project) -> None:
    with pytest.raises(Exception, match=r"(?i)pickle"):
        project.track(charts=lambda name: {"a.png": name.encode()})


def test_models_go_as_soon_as_they_are_tracked(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large project would fill the folder for temporary files otherwise."""
    finish, left = MlflowClient.set_terminated, []

    def look(client: MlflowClient, run_id: str, *arguments: Any, **options: Any) -> None:
        left.append(len([*opened_folder().glob("*/models/*")]))
        finish(client, run_id, *arguments, **options)

    def opened_folder() -> Path:
        (folder,) = Path(tempfile.gettempdir()).glob("foldwise-*")
        return folder

    monkeypatch.setattr(tempfile, "tempdir", str(project.root))
    monkeypatch.setattr(MlflowClient, "set_terminated", look)
    project.track()
    assert left == [6] * 6
    assert list(project.root.glob("foldwise-*")) == []


def damaged(name: str) -> Mapping[str, bytes]:
    raise DamagedError(f"{name}: damaged")


def test_an_error_reaches_the_one_who_takes(project: Project) -> None:
    with pytest.raises(DamagedError, match="tiny-plain: damaged"):
        project.track(charts=damaged)
    assert project.track(charts=drawn).repaired >= 1


def killed(name: str) -> Mapping[str, bytes]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(name)


def test_a_killed_process_is_an_error_that_the_next_track_repairs(project: Project) -> None:
    with pytest.raises(TrackingError, match=f"died.*{place.SAFE}"):
        project.track(charts=killed)
    assert project.track(charts=drawn).repaired >= 1
    assert project.track(charts=drawn).skipped == 6


def draw_and_track(project: Project) -> None:
    """Draws in threads of its own, and so does the process that it has draw."""
    vegalite(project.root.name)
    project.track(charts=vegalite)


def vegalite(name: str) -> Mapping[str, bytes]:
    return {"own.png": png({"mark": "bar", "data": {"values": []}, "title": name})}


def test_a_process_that_has_drawn_itself(project: Project, processes: Any) -> None:
    process = processes.Process(target=draw_and_track, args=(project,))
    process.start()
    process.join(300)
    process.kill()
    assert process.exitcode == 0
    assert project.track(charts=vegalite).skipped == 6


def slow(started: Path, name: str) -> Mapping[str, bytes]:
    started.write_text(str(os.getpid()))
    time.sleep(60)
    return {name: b""}


def track_and_die(project: Project, started: Path) -> None:
    def die(*_: Any) -> None:
        wait_until(started.exists)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", die)
        project.track(charts=functools.partial(slow, started))


def test_the_process_ends_with_the_one_that_it_works_for(
    project: Project, processes: Any, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    process = processes.Process(target=track_and_die, args=(project, started))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert wait_until(lambda: not is_alive(int(started.read_text())))


def is_alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()
