"""Trainings in a process of their own, watched while they go on, then tracked.

A training waits in its middle, where a test looks at it, until the test lets it go on.
"""

import math
import os
import re
import runpy
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import psutil
import pytest
from builders import dataset
from mlflow import MlflowClient
from projects import Killed, Project, content, dump, run_of, runs_of
from servers import Server, free_port
from torch import Tensor

from foldwise import journal, watching
from foldwise.core import config, files, paths
from foldwise.core.environment import Environment
from foldwise.datasets import prepared
from foldwise.evaluation import evaluate
from foldwise.numerics import training
from foldwise.numerics.outcomes import Recorded
from foldwise.results.evaluations import write_evaluation
from foldwise.results.runs import RunFolder
from foldwise.splits import split_table
from foldwise.tracking import live, place, records, tracker

ROOT = Path(__file__).parents[2]
WORKERS = {"FOLDWISE_WORKERS": "2", "FOLDWISE_DEVICE": "cpu"}
NAME, RUNS = "watched", 6  # its parent, four folds, refit
OTHER = "other"  # folder of a second store
GO_ON = "go-on"  # a file: as long as it is not there, trainings wait in their middle
EPOCHS, MIDDLE = 200, 100
PATIENCE = 600  # seconds, after which something is wrong even on a busy machine
PARAMS = """
datasets:
  rows: {editions: {synthetic: {rows: 60}}}
studies:
  tiny:
    dataset: rows
    cv: {folds: 2, repeats: 2, seed: 0}
    training: {epochs: 200, batch_size: 8, shuffle: true, optimizer: {name: sgd, lr: 0.01}}
    comparison: {baseline: watched}
variants:
  watched: {study: tiny, hidden: [5]}
"""


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A project whose one variant can be trained, with two empty stores; for copying."""
    root = tmp_path_factory.mktemp("watching") / "project"
    data = dataset(rows=60)
    prepared.save(data, root / paths.prepared("rows"))
    table = split_table(data.y, config.parse(PARAMS).study("tiny").cv)
    files.write_table(root / paths.splits("tiny"), table, {"data_digest": data.digest})
    (root / paths.PARAMS).write_text(PARAMS)
    (root / OTHER).mkdir()
    for folder in (root, root / OTHER):
        shutil.copy(empty_database, folder / place.DATABASE)
    return root


@pytest.fixture
def project(tmp_path: Path, prepared_once: Path) -> Project:
    root = tmp_path / "it's a project"
    shutil.copytree(prepared_once, root)
    return Project(root, config.parse(PARAMS))


# --- trainings --------------------------------------------------------------------------------


@dataclass
class Trainer:
    """Trains the variant of a project: the stage's own script, in processes of their own."""

    project: Project
    processes: Any

    @contextmanager
    def running(self) -> Iterator[Any]:
        """A process that trains, every split anew; killed at the end if it is still there."""
        shutil.rmtree(self.project.root / paths.STORE, ignore_errors=True)
        process = self.processes.Process(target=train, args=(self.project.root,))
        process.start()
        try:
            yield process
        finally:
            self.kill(process)

    @contextmanager
    def waiting(self) -> Iterator[Any]:
        """One that has recorded half of its epochs, for all models, and holds still."""
        (self.project.root / GO_ON).unlink(missing_ok=True)
        with self.running() as process:
            wait_for(lambda: status(self.project) == "running")
            wait_for(lambda: models_in_the_middle(self.project) == RUNS - 1)
            yield process

    def kill(self, process: Any) -> None:
        """End a training and its workers, if they are still there."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join(PATIENCE)
        wait_for(lambda: status(self.project) != "running")

    def go_on(self, process: Any) -> None:
        """Let a training go on to its end."""
        (self.project.root / GO_ON).touch()
        process.join(PATIENCE)
        assert process.exitcode == 0

    def finish(self, process: Any) -> None:
        """Let a training go on to its end, and evaluate it."""
        self.go_on(process)
        run = RunFolder(self.project.root / paths.run(NAME))
        write_evaluation(self.project.root, evaluate(run))


@pytest.fixture
def trainer(project: Project, processes: Any) -> Trainer:
    return Trainer(project, processes)


def train(root: Path) -> None:
    """`python pipeline/train.py watched` in a process group of its own.

    It records whatever it evaluates until it waits, and its end.
    """
    add = training._Reporter.add

    def wait_and_add(reporter: training._Reporter, epoch: int, metrics: Tensor) -> None:
        if epoch > MIDDLE:
            reporter._due = math.inf
            wait_for(Path(GO_ON).exists)
        add(reporter, epoch, metrics)

    training.RECORD_SECONDS = 0
    training._Reporter.add = wait_and_add
    forked.enter(root)
    os.environ.update(WORKERS)
    sys.argv = ["train.py", NAME]
    runpy.run_path(str(ROOT / "pipeline/train.py"), run_name="__main__")


def lines(project: Project) -> list[Recorded]:
    written = journal.read(project.root / paths.journal(NAME))
    return written.epochs if written else []


def models_in_the_middle(project: Project) -> int:
    return sum(len(line.splits) for line in lines(project) if line.epoch == MIDDLE)


def status(project: Project) -> str:
    written = journal.read(project.root / paths.journal(NAME))
    return written.status if written else ""


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# --- looking ----------------------------------------------------------------------------------


def look(project: Project, times: int = 1) -> None:
    """Follow for so many looks at the journals."""
    count = iter(range(times))
    going = lambda: next(count, None) is not None  # noqa: E731
    watching.follow(project.root, project.environment, 0.0, going)


def statuses(project: Project) -> dict[str, str]:
    """By split, the parent as "parent"."""
    return {run.data.tags.get("split", "parent"): run.info.status for run in runs_of(project)}


def ids(project: Project) -> set[str]:
    return {run.info.run_id for run in runs_of(project)}


def assert_as_if_never_watched(project: Project) -> None:
    """The store says what another one says that saw the results only."""
    other = Project(project.root / OTHER, project.config)
    for path in (paths.RUNS, paths.METRICS):
        shutil.copytree(project.root / path, other.root / path)
    assert other.track().created == RUNS
    assert content(project) == content(other)


# --- the way it goes --------------------------------------------------------------------------


def test_a_training_is_seen_while_it_goes_on_and_then_tracked_in_the_same_runs(
    project: Project, trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    with trainer.waiting() as process:
        look(project, times=2)
        assert statuses(project)["parent"] == "RUNNING"
        parent, known = run_of(project, NAME), len(lines(project))
        said = parent.data.tags[records.NOTE]
        epoch = re.search(r"\*\*Training, running\*\*: epoch (\d+) of 200, 5 models, mean", said)
        assert epoch is not None
        assert 0 < int(epoch[1]) < EPOCHS
        assert capsys.readouterr().out.count(f"{NAME}: epoch {epoch[1]} of {EPOCHS}") == 1
        begun = ids(project)
        seen = curve(project, "r0-f00")
        assert 0 < len(seen) <= 100
        assert run_of(project, NAME, "r0-f00").data.params["training.epochs"] == str(EPOCHS)
        trainer.finish(process)
    look(project)
    assert set(statuses(project).values()) == {"FINISHED"}
    assert records.OUTPUTS not in run_of(project, NAME).data.tags
    assert len(lines(project)) > known
    before = curve(project, "r0-f00")
    assert before[: len(seen)] == seen
    assert before[-1][0] == EPOCHS
    summary = project.track()
    assert (summary.adopted + summary.created, summary.retired) == (RUNS, 0)
    assert begun <= ids(project)
    assert set(before) < set(curve(project, "r0-f00"))  # with all that was told to nobody
    assert len(curve(project, "r0-f00")) == 100
    assert live.LIVE not in run_of(project, NAME).data.tags
    first = dump(project)
    look(project)
    assert project.track().skipped == RUNS
    assert dump(project) == first
    assert_as_if_never_watched(project)


def curve(project: Project, split: str) -> list[tuple[int, int, float]]:
    run = run_of(project, NAME, split)
    points = project.client.get_metric_history(run.info.run_id, "validation_loss")
    return [(point.step, point.timestamp, point.value) for point in points]


def test_a_training_that_diverges_fails_in_the_same_run(project: Project, trainer: Trainer) -> None:
    text = PARAMS.replace("lr: 0.01", "lr: 1.0e30").replace("epochs: 200", "epochs: 40")
    (project.root / paths.PARAMS).write_text(text)
    with trainer.running() as process:
        wait_for(lambda: status(project) == "running")
        os.killpg(process.pid, signal.SIGSTOP)
        look(project)
        begun = run_of(project, NAME).info.run_id
        os.killpg(process.pid, signal.SIGCONT)
        trainer.finish(process)
    look(project)
    assert statuses(project)["parent"] == "FAILED"
    project.track()
    assert statuses(project) == {"parent": "FAILED"}
    assert ids(project) == {begun}


def test_tracking_leaves_a_training_alone_that_goes_on(project: Project, trainer: Trainer) -> None:
    """Its results are the same, so at the end the runs that were there before stay."""
    with trainer.running() as process:
        trainer.finish(process)
    project.track()
    tracked = ids(project)
    with trainer.waiting() as process:
        look(project)
        begun = ids(project) - tracked
        assert 1 < len(begun) <= RUNS
        summary = project.track()
        assert (summary.skipped, summary.retired) == (RUNS, 0)
        assert begun < ids(project)
        elsewhere = project.root.with_name("it's a")  # its path is the beginning of this one's
        elsewhere.mkdir()
        other = Environment(tracking_uri=project.uri)
        tracker.track(project.config, elsewhere, other)
        assert begun < ids(project)
        trainer.finish(process)
    look(project)
    assert project.track().retired == len(begun)
    assert ids(project) == tracked


# --- kills ------------------------------------------------------------------------------------


def test_killed_trainings_leave_nothing_once_the_variant_was_trained(
    project: Project, trainer: Trainer
) -> None:
    """The follower sees the end of the first, and sees of the second only that there is a third."""
    with trainer.waiting() as process:
        look(project)
        trainer.kill(process)
    look(project)
    assert statuses(project)["parent"] == "KILLED"
    assert "RUNNING" not in statuses(project).values()
    first = ids(project)
    with trainer.waiting() as process:
        look(project)
        trainer.kill(process)
    second = ids(project) - first
    with trainer.waiting() as process:
        look(project)
        ended = {run.info.run_id: run.info.status for run in runs_of(project)}
        assert {ended[run_id] for run_id in second} == {"KILLED"}
        trainer.finish(process)
    summary = project.track()
    assert summary.retired == len(first | second)
    assert summary.adopted > 1
    assert_as_if_never_watched(project)


def test_a_killed_training_that_nobody_repeats_is_deleted_by_track(
    project: Project, trainer: Trainer
) -> None:
    with trainer.waiting() as process:
        look(project)
        trainer.kill(process)
    assert project.track().missing == [NAME]
    assert ids(project) == set()


def test_a_killed_follower_and_then_another(project: Project, trainer: Trainer) -> None:
    """Two real ones: the second takes up the runs of the first, and ends with Ctrl-C."""

    def follower() -> Any:
        arguments = (project.root, "track", "--follow", "--interval", "0.1")
        process = trainer.processes.Process(target=forked.foldwise, args=arguments)
        process.start()
        return process

    said = project.root / forked.SAID
    with trainer.waiting() as process:
        first = follower()
        wait_for(lambda: len(ids(project)) >= 3)
        first.kill()
        first.join()
        begun = ids(project)
        said.unlink()
        second = follower()
        wait_for(lambda: said.exists() and f"{NAME}: epoch " in said.read_text())
        trainer.go_on(process)
        wait_for(lambda: "RUNNING" not in statuses(project).values())
        wait_for(lambda: f"{NAME}: complete; epoch {EPOCHS} of {EPOCHS}" in said.read_text())
        os.kill(second.pid, signal.SIGINT)
        second.join(PATIENCE)
    assert second.exitcode == 0
    first_line, *others = said.read_text().splitlines()
    assert first_line == "watching .foldwise/live/ for trainings; Ctrl-C ends it"
    assert all(line.startswith(f"{NAME}: ") for line in others)
    trainer.finish(process)
    project.track()
    assert begun <= ids(project)
    assert_as_if_never_watched(project)


def test_track_killed_in_the_middle_of_taking_over(
    project: Project, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    with trainer.waiting() as process:
        look(project)
        trainer.finish(process)
    for method in ("update_run", "log_inputs", "delete_tag"):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, die)
            with pytest.raises(Killed):
                project.track()
        look(project)
    project.track()
    assert_as_if_never_watched(project)


# --- what is out of order ---------------------------------------------------------------------


def test_a_journal_that_cannot_be_written_stops_no_training(
    project: Project, trainer: Trainer
) -> None:
    folder = project.root / paths.LIVE
    folder.parent.mkdir()
    folder.write_text("not a folder")
    with trainer.running() as process:
        trainer.finish(process)
    assert (project.root / forked.SAID).read_text().count("cannot be watched; it goes on") == 1
    look(project)
    assert project.track().created == RUNS


def test_a_torn_line_is_not_there_yet(project: Project, trainer: Trainer) -> None:
    with trainer.waiting() as process:
        look(project)
        path, known = project.root / paths.journal(NAME), len(lines(project))
        seen = {split: curve(project, split) for split in statuses(project) if split != "parent"}
        trainer.kill(process)
    with path.open("ab") as file:
        file.write(b'{"splits": [[0, 0]], "epoch": 39')
    assert len(lines(project)) >= known
    look(project)
    assert statuses(project)["parent"] == "KILLED"
    for split, points in seen.items():
        assert curve(project, split)[: len(points)] == points


def test_a_server_that_dies_and_comes_back(
    project: Project, trainer: Trainer, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training goes on meanwhile; the follower says so, and makes up for what it missed."""
    folder = project.root / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    server = Server(f"{place.SQLITE}{folder / place.DATABASE}", folder)
    served = project.on(server.uri)

    def looks(process: Any) -> Iterator[bool]:
        yield True
        assert statuses(served)["parent"] == "RUNNING"
        server.kill()
        trainer.finish(process)
        yield True
        yield True
        server.start()
        deadline = time.monotonic() + PATIENCE
        while statuses(served)["parent"] == "RUNNING":
            assert time.monotonic() < deadline
            yield True
        served.track()
        seen.update(content(served))

    seen: dict[str, object] = {}
    try:
        with trainer.waiting() as process:
            script = looks(process)
            watching.follow(project.root, served.environment, 0.1, lambda: next(script, False))
    finally:
        server.kill()
    said = capsys.readouterr().out
    assert said.count("does not answer") == 1
    assert said.count("works again") == 1
    assert "View run" not in said
    project.track()
    assert content(project) == seen


def test_the_ui_with_a_follower_ends_as_one(project: Project, trainer: Trainer) -> None:
    arguments = (project.root, "ui", "--follow", "--port", str(free_port()))
    with trainer.waiting():
        server = trainer.processes.Process(target=forked.foldwise, args=arguments)
        server.start()
        try:
            wait_for(lambda: statuses(project).get("parent") == "RUNNING")
            wait_for(lambda: len(psutil.Process(server.pid).children()) >= 2)  # and a worker
            os.killpg(server.pid, signal.SIGINT)
            server.join(PATIENCE)
            wait_for(lambda: not group(server.pid))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def group(leader: int) -> list[int]:
    """The processes of a group that have not ended."""
    alive = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == leader and process.info["status"] != "zombie":
                alive.append(process.pid)
    return alive
