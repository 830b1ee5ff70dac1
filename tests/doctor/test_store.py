"""What is wrong with a real MLflow store: found, fixed, and then nothing is wrong any more."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import fabricate
import pytest
from fabricate import TINY
from filelock import FileLock
from mlflow import MlflowClient
from projects import Killed, Project, content, models_of, run_of, runs_of
from servers import Server

from foldwise.core import paths
from foldwise.doctor import ROUNDS, Finding
from foldwise.doctor import fix as fix_all
from foldwise.doctor import store as doctor
from foldwise.journal import Recorder
from foldwise.results.runs import Facts
from foldwise.tracking import experiments, live, origin, place, records


def examine(project: Project) -> list[Finding]:
    return doctor.examine(project.config, project.root, project.environment, project.track)


def texts(project: Project) -> list[str]:
    return [finding.text.replace(str(project.root), "ROOT") for finding in examine(project)]


def fix(project: Project) -> None:
    """What `--fix` does; afterwards nothing is wrong, and `track` adds nothing."""
    assert examine(project)
    for _ in range(ROUNDS):
        assert not fix_all(examine(project))
    assert texts(project) == []
    assert project.track().created == 0


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


def test_nothing_is_wrong_with_a_tracked_project(mirrored: Project) -> None:
    before = content(mirrored)
    assert texts(mirrored) == []
    assert content(mirrored) == before


def test_results_without_runs(project: Project) -> None:
    assert texts(project) == [
        "runs/tiny-plain: these results are not in MLflow, or not whole; `foldwise track`"
    ]
    fix(project)


def test_a_deleted_run_is_missed(mirrored: Project) -> None:
    mirrored.client.delete_run(run_of(mirrored, "tiny-plain", "r0-f01").info.run_id)
    assert len(texts(mirrored)) == 1
    fix(mirrored)
    assert len(content(mirrored)) == 6


def test_a_deleted_database_is_built_again_and_its_files_go(bare: Project) -> None:
    shutil.copytree(bare.root / "runs", bare.root / place.ARTIFACTS / "tiny/models/m-0/artifacts")
    (bare.root / place.ARTIFACTS / "mine").mkdir()
    (bare.root / place.ARTIFACTS / "tiny" / ("0" * 32) / "artifacts").mkdir(parents=True)
    missing, orphans = texts(bare)
    assert "runs/tiny-plain: these results are not in MLflow" in missing
    assert "ROOT/mlartifacts: 2 folders (" in orphans
    fix(bare)
    assert len(models_of(bare)) == 5
    assert (bare.root / place.ARTIFACTS / "mine").exists()


def test_a_track_that_was_killed(project: Project) -> None:
    kill_track(project)
    assert len(texts(project)) == 1
    fix(project)
    assert {run.info.status for run in runs_of(project)} == {"FINISHED"}
    assert len(content(project)) == 6


def test_half_made_runs_of_results_that_are_gone(project: Project) -> None:
    """No `track` will finish them: they go, children and models too."""
    kill_track(project)
    project.fabricate("tiny-plain", seed=1)
    project.track()
    (text,) = texts(project)
    assert "of tiny-plain is RUNNING, and nothing is at work on it; delete it" in text
    fix(project)
    assert len(content(project)) == 6
    assert len(models_of(project)) == 5


def test_a_half_made_backfill_names_its_commit(mirrored: Project) -> None:
    tags = {"variant": "old", "study": "tiny", records.OUTPUTS: "0", "git_commit": "abcdef0123"}
    tags |= {origin.BACKFILLED: "true", "role": "variant"}
    experiment = run_of(mirrored, "tiny-plain").info.experiment_id
    mirrored.client.create_run(experiment, tags=tags)
    (text,) = texts(mirrored)
    assert text.endswith("(or `foldwise track --rev abcdef0` completes it)")
    fix(mirrored)


def test_runs_without_results(mirrored: Project) -> None:
    away = mirrored.root / "away"
    (mirrored.root / paths.run("tiny-plain")).rename(away)
    (finding,) = examine(mirrored)
    assert "results of tiny-plain as current that are not in runs/tiny-plain/" in finding.text
    assert "`dvc pull train@tiny-plain`" in finding.text
    assert finding.fix is None
    away.rename(mirrored.root / paths.run("tiny-plain"))
    assert texts(mirrored) == []


def test_runs_of_a_variant_that_is_gone_are_history(project: Project, original: Project) -> None:
    Project(project.root, original.config).only("tiny-plain", "tiny-dropout").track()
    (text,) = texts(project)
    assert text.endswith(
        "shows results of tiny-dropout as current that the project no longer has; `foldwise track`"
    )
    fix(project)
    assert len(runs_of(project)) == 12


def test_other_results_than_those_shown(mirrored: Project) -> None:
    mirrored.fabricate("tiny-plain", seed=1)
    assert len(texts(mirrored)) == 2  # one is not there, the other no longer current
    fix(mirrored)


# --- somebody is at work ----------------------------------------------------------------------


def test_a_track_at_work_is_not_disturbed(project: Project) -> None:
    kill_track(project)
    with FileLock(f"{project.root / place.DATABASE}.lock"):
        start = time.monotonic()
        (finding,) = examine(project)
        assert time.monotonic() - start < 5
    assert (finding.fix, "a `track` is at work" in finding.text) == (None, True)


@contextmanager
def live_run(project: Project, age: float, root: Path | None = None) -> Iterator[None]:
    """A run that shows a training which started in a folder, the project's own by default."""
    experiment = run_of(project, "tiny-plain").info.experiment_id
    tags = {"variant": "tiny-dropout", "study": "tiny", "role": "variant", live.LIVE: ""}
    tags[live.LIVE] = live.attempt(root or project.root, 1.0)
    tags[records.CREATED] = str(time.time_ns() - round(age * 1e9))
    run = project.client.create_run(experiment, tags=tags)
    yield
    project.client.delete_run(run.info.run_id)


def test_a_training_that_is_shown_while_it_goes_on(mirrored: Project) -> None:
    manifest = fabricate.run(TINY.config.variant("tiny-dropout")).manifest
    with live_run(mirrored, age=60):
        with Recorder(mirrored.root / paths.journal("tiny-dropout")) as journal:
            journal.begin(manifest, Facts(started=1.0))
            assert texts(mirrored) == []
        assert len(texts(mirrored)) == 1  # it was killed
        with Recorder(mirrored.root / paths.journal("tiny-dropout")) as journal:
            journal.begin(manifest, Facts(started=2.0))
            assert len(texts(mirrored)) == 1  # another one goes on
        fix(mirrored)


def test_a_training_elsewhere_is_given_a_day(mirrored: Project, tmp_path: Path) -> None:
    with live_run(mirrored, age=60, root=tmp_path / "queued"):
        assert texts(mirrored) == []
    with live_run(mirrored, age=2 * doctor.DAY, root=tmp_path / "queued"):
        assert "tiny-dropout is RUNNING" in texts(mirrored)[0]


# --- stores -----------------------------------------------------------------------------------


def test_a_moved_project(mirrored: Project, tmp_path: Path) -> None:
    moved = Project(tmp_path / "moved", mirrored.config)
    shutil.copytree(mirrored.root, moved.root, ignore=shutil.ignore_patterns("moved"))
    (finding,) = examine(moved)
    assert (
        f"mlflow.db: was made for another folder, {mirrored.root / 'mlartifacts'}" in finding.text
    )
    assert finding.fix is None
    (moved.root / place.DATABASE).unlink()
    moved.track()
    fix(moved)


def test_deleted_artifacts(mirrored: Project) -> None:
    shutil.rmtree(mirrored.root / place.ARTIFACTS / "tiny/models")
    (finding,) = examine(mirrored)
    assert "the files of 5 models are gone; move it away" in finding.text


def test_a_database_that_cannot_be_read(bare: Project) -> None:
    (bare.root / place.DATABASE).write_text("hello, I am a text file, and a long one at that\n" * 9)
    (finding,) = examine(bare)
    assert "not a database" in finding.text
    assert "`foldwise track` builds a new one" in finding.text


def test_a_server_that_does_not_answer(project: Project) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    (finding,) = examine(project.on(address))
    assert "does not answer" in finding.text


def test_on_a_server_somebody_else_may_be_at_work_for_a_day(
    project: Project, empty_database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    server = Server(f"{place.SQLITE}{folder / place.DATABASE}", folder)
    theirs = project.on(server.uri)

    def running() -> list[Finding]:
        return [finding for finding in examine(theirs) if "RUNNING" in finding.text]

    try:
        client = MlflowClient(server.uri)
        experiment = client.create_experiment("tiny", tags={experiments.STUDY: "tiny"})
        tags = {"variant": "theirs", "role": "variant", records.OUTPUTS: "0"}
        tags[records.CREATED] = str(time.time_ns())
        run = client.create_run(experiment, tags=tags)
        assert running() == []
        client.set_tag(run.info.run_id, records.CREATED, "0")
        (finding,) = running()
        assert "of theirs is RUNNING" in finding.text
        assert fix_all([finding]) == []
        assert running() == []
    finally:
        server.kill()
