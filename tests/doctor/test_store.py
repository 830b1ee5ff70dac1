"""What is wrong with a real MLflow store: found, mended, and then nothing is wrong any more."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from filelock import FileLock
from mlflow import MlflowClient
from projects import Project, content, fabricate, models_of, run_of, runs_of

from foldwise import tracking
from foldwise.core import paths
from foldwise.doctor import store as health
from foldwise.doctor import workspace as doctor
from foldwise.doctor.findings import Finding
from foldwise.journal import Recorder
from foldwise.tracking import mirror, place, records


def examine(project: Project, uri: str = "") -> list[Finding]:
    environ = {"MLFLOW_TRACKING_URI": uri} if uri else {}
    return health.examine(project.config, project.root, environ, project.track)


def texts(project: Project, uri: str = "") -> list[str]:
    return [finding.text.replace(str(project.root), "ROOT") for finding in examine(project, uri)]


def mend(project: Project) -> None:
    """What `--fix` does; afterwards nothing is wrong, and `track` adds nothing."""
    assert examine(project)
    for _ in range(doctor.ROUNDS):
        assert not doctor.mend(examine(project))
    assert texts(project) == []
    assert project.track().created == 0


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_track(project: Project, finished: int = 2) -> None:
    """A `track` that ends after some finished runs, in the middle of the next."""
    left, terminate = iter(range(finished)), MlflowClient.set_terminated

    def method(*arguments: object, **options: object) -> None:
        if next(left, None) is None:
            raise Killed
        terminate(*arguments, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", method)
        with pytest.raises(Killed):
            project.track()


# --- results and runs -------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_tracked_project(project: Project) -> None:
    project.track()
    before = content(project)
    assert texts(project) == []
    assert content(project) == before


def test_results_without_runs(project: Project) -> None:
    assert texts(project) == [
        "runs/tiny-plain: these results are not in MLflow, or not whole; `foldwise track`"
    ]
    mend(project)


def test_a_deleted_run_is_missed(project: Project) -> None:
    project.track()
    project.client.delete_run(run_of(project, "tiny-plain", "r0-f01").info.run_id)
    assert len(texts(project)) == 1
    mend(project)
    assert len(content(project)) == 6


def test_a_deleted_database_is_built_again_and_its_files_go(bare: Project) -> None:
    shutil.copytree(bare.root / "runs", bare.root / place.ARTIFACTS / "tiny/models/m-0/artifacts")
    (bare.root / place.ARTIFACTS / "mine").mkdir()
    (bare.root / place.ARTIFACTS / "tiny" / ("0" * 32) / "artifacts").mkdir(parents=True)
    missing, orphans = texts(bare)
    assert "runs/tiny-plain: these results are not in MLflow" in missing
    assert "ROOT/mlartifacts: 2 folders (" in orphans
    mend(bare)
    assert len(models_of(bare)) == 5
    assert (bare.root / place.ARTIFACTS / "mine").exists()


def test_a_track_that_was_killed(project: Project) -> None:
    kill_track(project)
    assert len(texts(project)) == 1
    mend(project)
    assert {run.info.status for run in runs_of(project)} == {"FINISHED"}
    assert len(content(project)) == 6


def test_half_made_runs_of_results_that_are_gone(project: Project) -> None:
    """No `track` will finish them: they go, children and models too."""
    kill_track(project)
    fabricate(project.root, project.config.variant("tiny-plain"), seed=1)
    project.track()
    (text,) = texts(project)
    assert "of tiny-plain is RUNNING, and nothing is at work on it; delete it" in text
    mend(project)
    assert len(content(project)) == 6
    assert len(models_of(project)) == 5


def test_a_half_made_backfill_names_its_commit(project: Project) -> None:
    project.track()
    tags = {"variant": "old", "study": "tiny", records.OUTPUTS: "0", "git_commit": "abcdef0123"}
    tags |= {records.BACKFILLED: "true", "role": "variant"}
    experiment = run_of(project, "tiny-plain").info.experiment_id
    project.client.create_run(experiment, tags=tags)
    (text,) = texts(project)
    assert text.endswith("(or `foldwise track --rev abcdef0` completes it)")
    mend(project)


def test_runs_without_results(project: Project) -> None:
    project.track()
    away = project.root / "away"
    (project.root / paths.run("tiny-plain")).rename(away)
    (finding,) = examine(project)
    assert "results of tiny-plain as current that are not in runs/tiny-plain/" in finding.text
    assert "`dvc pull train@tiny-plain`" in finding.text
    assert finding.mend is None
    away.rename(project.root / paths.run("tiny-plain"))
    assert texts(project) == []


def test_runs_of_a_variant_that_is_gone_are_history(project: Project, original: Project) -> None:
    Project(project.root, original.config).only("tiny-plain", "tiny-dropout").track()
    (text,) = texts(project)
    assert text.endswith(
        "shows results of tiny-dropout as current that the project no longer has; `foldwise track`"
    )
    mend(project)
    assert len(runs_of(project)) == 12


def test_other_results_than_those_shown(project: Project) -> None:
    project.track()
    fabricate(project.root, project.config.variant("tiny-plain"), seed=1)
    assert len(texts(project)) == 2  # one is not there, the other no longer current
    mend(project)


# --- somebody is at work ----------------------------------------------------------------------


def test_a_track_at_work_is_not_disturbed(project: Project) -> None:
    kill_track(project)
    with FileLock(f"{project.root / place.DATABASE}.lock"):
        start = time.monotonic()
        (finding,) = examine(project)
        assert time.monotonic() - start < 5
    assert (finding.mend, "a `track` is at work" in finding.text) == (None, True)


@contextmanager
def live_run(project: Project, age: float, root: Path | None = None) -> Iterator[None]:
    """A run that shows a training which started in a folder, the project's own by default."""
    experiment = run_of(project, "tiny-plain").info.experiment_id
    tags = {"variant": "tiny-dropout", "study": "tiny", "role": "variant", records.LIVE: ""}
    tags[records.LIVE] = records.attempt(root or project.root, 1.0)
    tags[records.CREATED] = str(time.time_ns() - round(age * 1e9))
    run = project.client.create_run(experiment, tags=tags)
    yield
    project.client.delete_run(run.info.run_id)


def test_a_training_that_is_shown_while_it_goes_on(project: Project) -> None:
    project.track()
    with live_run(project, age=60):
        with Recorder(project.root / paths.journal("tiny-dropout")) as journal:
            journal.write({"manifest": {}, "facts": {"started": 1.0}})
            assert texts(project) == []
        assert len(texts(project)) == 1  # it was killed
        with Recorder(project.root / paths.journal("tiny-dropout")) as journal:
            journal.write({"manifest": {}, "facts": {"started": 2.0}})
            assert len(texts(project)) == 1  # another one goes on
        mend(project)


def test_a_training_elsewhere_is_given_a_day(project: Project, tmp_path: Path) -> None:
    project.track()
    with live_run(project, age=60, root=tmp_path / "queued"):
        assert texts(project) == []
    with live_run(project, age=2 * health.DAY, root=tmp_path / "queued"):
        assert "tiny-dropout is RUNNING" in texts(project)[0]


# --- stores -----------------------------------------------------------------------------------


def test_a_moved_project(project: Project, tmp_path: Path) -> None:
    project.track()
    moved = Project(tmp_path / "moved", project.config)
    shutil.copytree(project.root, moved.root, ignore=shutil.ignore_patterns("moved"))
    (finding,) = examine(moved)
    assert f"mlflow.db: was made for another folder, {project.root / 'mlartifacts'}" in finding.text
    assert finding.mend is None
    (moved.root / place.DATABASE).unlink()
    moved.track()
    mend(moved)


def test_deleted_artifacts(project: Project) -> None:
    project.track()
    shutil.rmtree(project.root / place.ARTIFACTS / "tiny/models")
    (finding,) = examine(project)
    assert "the files of 5 models are gone; move it away" in finding.text


def test_a_database_that_cannot_be_read(bare: Project) -> None:
    (bare.root / place.DATABASE).write_text("hello, I am a text file, and a long one at that\n" * 9)
    (finding,) = examine(bare)
    assert "not a database" in finding.text
    assert "`foldwise track` builds a new one" in finding.text


def test_a_server_that_does_not_answer(project: Project) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    (finding,) = examine(project, address)
    assert "does not answer" in finding.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[str]:
    """A real tracking server."""
    root = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, root / place.DATABASE)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    command = tracking.ui_command(root, {}, port)
    command[command.index("--workers") + 1] = "1"
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    output = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=environ, stdout=output, stderr=output, start_new_session=True
    ) as process:
        try:
            for _ in range(300):
                try:
                    requests.get(f"http://127.0.0.1:{port}/health", timeout=1)
                    break
                except requests.RequestException:
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 9)


def test_on_a_server_somebody_else_may_be_at_work_for_a_day(project: Project, server: str) -> None:
    def found() -> list[Finding]:
        return [finding for finding in examine(project, server) if "RUNNING" in finding.text]

    client = MlflowClient(server)
    experiment = client.create_experiment("tiny", tags={mirror.STUDY: "tiny"})
    tags = {"variant": "theirs", "role": "variant", records.OUTPUTS: "0"}
    tags[records.CREATED] = str(time.time_ns())
    run = client.create_run(experiment, tags=tags)
    assert found() == []
    client.set_tag(run.info.run_id, records.CREATED, "0")
    (finding,) = found()
    assert "of theirs is RUNNING" in finding.text
    assert doctor.mend([finding]) == []
    assert found() == []
