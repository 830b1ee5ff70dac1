"""A store gets what DVC's experiments find, and is built anew with all of its history."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fabricate
import forked
import psutil
import pytest
import repositories
from fabricate import Plan
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from projects import Project, by_outputs, interrupt, runs_of
from repositories import PARAMS, bring_back, commit_only, dvc, git, run

from foldwise import backfill, doctor
from foldwise.commands import track
from foldwise.core import config, paths
from foldwise.core.environment import Environment
from foldwise.doctor import workspace as workspaces
from foldwise.results import runs
from foldwise.tracking import origin, place, records, store

NAME, RUNS = "tiny-plain", 4  # of the variant: itself, two splits, refit
ONE_VARIANT = PARAMS[: PARAMS.index("  tiny-dropout")]
RATE = "studies.tiny.training.optimizer.lr"
PATIENCE = 600  # seconds, after which something is wrong even on a busy machine


def fabricate_at(root: Path, rate: str, seed: int) -> None:
    """params.yaml with a learning rate, and results that go with it."""
    params = ONE_VARIANT.replace("lr: 0.1", f"lr: {rate}")
    fabricate.project(root, Plan(params, synthetic=True, models=True, seed=seed))
    shutil.rmtree(root / paths.COMPARISONS)  # nothing is drawn without it


def workspace(root: Path) -> Project:
    return Project(root, config.load(root / paths.PARAMS))


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def experiments(project: Project) -> dict[str | None, tuple[int, set[str]]]:
    """By DVC experiment how many runs it has, and whether they are current."""
    found = runs_of(project)
    assert {each.info.status for each in found} == {"FINISHED"}
    names = {each.data.tags.get("experiment") for each in found}
    tags = {n: [e.data.tags for e in found if e.data.tags.get("experiment") == n] for n in names}
    return {n: (len(t), {each[records.CURRENT] for each in t}) for n, t in tags.items()}


# --- experiments ------------------------------------------------------------------------------


@pytest.fixture
def laboratory(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A project whose `train` takes prepared results, by the learning rate; tracked once."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    root = tmp_path / "a place"  # in ASCII: `dvc exp run --queue` and `--temp` fail otherwise
    repositories.start(root, ONE_VARIANT)
    for seed, rate in enumerate(("0.1", "0.3", "0.9")):
        fabricate_at(tmp_path / rate, rate, seed)
    outs = "".join(f"      - runs/{NAME}/{name}\n" for name in runs.FILES)
    copy = "; ".join(f"cp -R '{tmp_path}'/${{{RATE}}}/{part} ." for part in ("runs", "metrics"))
    (root / "dvc.yaml").write_text(
        f"stages:\n  train:\n    cmd: {copy}\n    params: [{RATE}]\n    outs:\n{outs}"
        f"  track:\n    cmd: python '{repositories.ROOT}/pipeline/track.py'\n"
        f"    deps: [runs/{NAME}]\n    outs:\n      - {paths.TRACKED}: {{cache: false}}\n"
    )
    shutil.copy(empty_database, root / place.DATABASE)
    assert stages_run(root) == {"train", "track"}
    commit_only(root, "v1")
    yield root
    for process in psutil.process_iter():  # workers of `dvc queue`, should the test have failed
        with suppress(psutil.Error):
            if process.cwd() == str(root):
                process.kill()


def stages_run(root: Path) -> set[str]:
    """What `dvc repro` runs."""
    with dvc(root) as repo:
        return {stage.name for stage in repo.reproduce()}


@pytest.mark.slow
def test_experiments_go_to_the_same_store_and_one_is_applied(laboratory: Path) -> None:
    """One of DVC's queue and one in the foreground, both at once."""
    project = workspace(laboratory)
    before = by_outputs(project)
    run(laboratory, "dvc", "exp", "run", "--queue", "-n", "queued", "-S", f"{RATE}=0.3")
    with dvc(laboratory) as repo:
        repo.experiments.celery_queue.start_workers(1)
    run(laboratory, "dvc", "exp", "run", "--temp", "-n", "aside", "-S", f"{RATE}=0.9")
    wait_for(lambda: "/queued" in git(laboratory, "for-each-ref", "refs/exps"))
    run(laboratory, "dvc", "queue", "stop", "--kill")
    assert experiments(project) == {
        None: (RUNS, {"true"}),
        "queued": (RUNS, {"false"}),
        "aside": (RUNS, {"false"}),
    }
    after = by_outputs(project)
    assert {digest: after[digest] for digest in before} == before
    baseline = git(laboratory, "rev-parse", "HEAD").strip()
    rates = {}
    for each in runs_of(project):
        tags = each.data.tags
        assert tags.get("baseline_rev") == (baseline if "experiment" in tags else None)
        rates[tags.get("experiment")] = each.data.params["training.optimizer.lr"]
    assert rates == {None: "0.1", "queued": "0.3", "aside": "0.9"}

    run(laboratory, "dvc", "exp", "apply", "queued")
    assert stages_run(laboratory) == {"track"}
    assert experiments(project) == {  # none is there twice
        None: (RUNS, {"false"}),
        "queued": (RUNS, {"true"}),
        "aside": (RUNS, {"false"}),
    }


# --- a deleted store --------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path, empty_database: Path) -> Project:
    """Results of v1, of an experiment on top of it, and of the workspace, v2; all tracked."""
    root = tmp_path / "Ein Projekt für #1"
    repositories.start(root, ONE_VARIANT)
    commit_only(root, "v0")
    fabricate_at(root, "0.1", seed=0)
    repositories.commit(root, "v1")
    fabricate_at(root, "0.3", seed=1)
    repositories.keep(root)
    with dvc(root) as repo:
        repo.experiments.save(name="aside")
    git(root, "checkout", "-q", "--", ".")
    bring_back(root, "v1")
    fabricate_at(root, "0.9", seed=2)
    repositories.commit(root, "v2")
    shutil.copy(empty_database, root / place.DATABASE)
    project = workspace(root)
    project.track()
    backfill.backfill(root, ["v1", "aside"], Environment())
    return project


def killed(root: Path, *arguments: str) -> None:
    """`foldwise` that is killed in the middle of the second results."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    interrupt(pytest.MonkeyPatch(), ["create_run"], RUNS + 2, die)
    forked.foldwise(root, *arguments)


def test_a_deleted_store_is_rebuilt_with_its_history_also_after_a_kill(
    history: Project, processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the doctor deletes the old store's models, and there is nothing more to do."""
    root = history.root
    monkeypatch.chdir(root)
    before = by_outputs(history)
    with store.opened(history.uri, Environment()):
        pass  # closes what this process still has open
    (root / place.DATABASE).unlink()
    revisions = ["v1", "v0..HEAD", "aside"]
    arguments = [part for revision in revisions for part in ("--rev", revision)]
    process = processes.Process(target=killed, args=(root, "track", *arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "RUNNING" in {each.info.status for each in runs_of(history)}
    track.run(revisions)
    assert experiments(history) == {None: (2 * RUNS, {"true", "false"}), "aside": (RUNS, {"false"})}
    assert by_outputs(history) == before
    commits = {
        each.data.tags["git_commit"]
        for each in runs_of(history)
        if origin.BACKFILLED in each.data.tags and "experiment" not in each.data.tags
    }
    assert commits == {git(root, "rev-parse", "v1").strip()}

    (finding,) = workspaces.examine(root, track.mirror, {})
    assert "mlartifacts: " in finding.text
    assert "of runs and models that are not in mlflow.db" in finding.text
    assert doctor.fix([finding]) == []
    assert workspaces.examine(root, track.mirror, {}) == []
    client = MlflowClient(history.uri)
    models = client.search_logged_models([e.experiment_id for e in client.search_experiments()])
    assert len(models) == 3 * (RUNS - 1)
    for model in models:
        assert Path(local_file_uri_to_path(model.artifact_location)).exists()
    assert history.track().created == 0
