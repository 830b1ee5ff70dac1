"""The mirror through real git and dvc: a fresh clone, experiments in parallel, a deleted store.

The tests of this file run in order on one workspace: each continues where the last one stopped.
"""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from projects import Project, content, runs_of
from repositories import commit_only, run

from foldwise import demo, tracking
from foldwise.core import config, paths
from foldwise.tracking import place, records, store

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow
PARAMS = """
data: {mirror: null, allow_synthetic: true}
datasets:
  sonar: {editions: {synthetic: {rows: 60}}}
studies:
  table:
    dataset: sonar
    cv: {folds: 2}
    training:
      epochs: 3
      batch_size: 16
      shuffle: true
      optimizer: {name: sgd, lr: 0.5, momentum: 0.8}
    comparison: {baseline: table-baseline}
variants:
  table-baseline: {study: table, hidden: [4]}
"""
RUNS = 4  # of the variant: itself, two splits, refit
OF_COMMITS = {"git_commit", "mlflow.source.git.commit", "mlflow.source.name", "dirty"}
OF_COMMITS |= {records.CURRENT, records.BACKFILLED, "experiment", "baseline_rev"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with results in git and in a folder as DVC remote, whose path has a space."""
    root = (
        tmp_path_factory.mktemp("work") / "a place"
    )  # in ASCII: `dvc exp run --queue` and `--temp` fail otherwise
    root.mkdir()
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "-q")
    run(root, "dvc", "remote", "add", "-q", "-d", "folder", "../remote")
    demo.make_workspace(ROOT, root)
    (root / paths.PARAMS).write_text(PARAMS)
    (root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    commit_only(root, "v0")
    run(root, "dvc", "repro")
    commit_only(root, "v1")
    run(root, "dvc", "push", "-q")
    yield Project(root, config.parse(PARAMS))
    for process in psutil.process_iter():  # workers of `dvc queue`, should a test have failed
        with suppress(psutil.Error):
            if process.cwd() == str(root):
                process.kill()


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def by_outputs(project: Project) -> dict[str, Any]:
    """What a person sees of every results, but for what tells who tracked them, and when."""
    digests = {each.data.tags[records.OUTPUTS] for each in runs_of(project)}
    return {
        digest: {
            name: (facts, {k: v for k, v in tags.items() if k not in OF_COMMITS}, *rest)
            for name, (facts, tags, *rest) in content(project, **{records.OUTPUTS: digest}).items()
        }
        for digest in digests
    }


def artifacts(project: Project) -> list[tuple[str, bytes]]:
    """Pictures and networks: name and content."""
    files = (project.root / place.ARTIFACTS).rglob("*")
    return sorted((f.name, f.read_bytes()) for f in files if f.suffix in (".png", ".pt2"))


def experiments(project: Project) -> dict[str | None, tuple[int, set[str]]]:
    """By DVC experiment how many runs it has, and whether they are current."""
    found = runs_of(project)
    assert {each.info.status for each in found} == {"FINISHED"}
    names = {each.data.tags.get("experiment") for each in found}
    tags = {n: [e.data.tags for e in found if e.data.tags.get("experiment") == n] for n in names}
    return {n: (len(t), {each[records.CURRENT] for each in t}) for n, t in tags.items()}


def test_a_fresh_clone_reruns_only_track_and_holds_the_same(workspace: Project) -> None:
    root = workspace.root.parent / "clone"
    run(workspace.root, "git", "clone", "-q", ".", str(root))
    run(root, "dvc", "pull", "-q")
    assert stages_run(run(root, "dvc", "repro")) == {"track"}
    assert run(root, "git", "status", "--porcelain") == ""
    clone = Project(root, workspace.config)
    assert len(runs_of(clone)) == RUNS
    assert by_outputs(clone) == by_outputs(workspace)
    assert artifacts(clone) == artifacts(workspace)


def test_queued_and_temporary_experiments_go_to_the_same_store(workspace: Project) -> None:
    """Two workers of DVC's queue and one experiment in the foreground, all at once."""
    root = workspace.root
    lr = "studies.table.training.optimizer.lr"
    for name, rate in (("slow", 0.1), ("fast", 0.9)):
        run(root, "dvc", "exp", "run", "--queue", "-n", name, "-S", f"{lr}={rate}")
    before = by_outputs(workspace)
    subprocess.run(
        [sys.executable, "-m", "dvc", "queue", "start", "-j", "2"],
        cwd=root,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    run(root, "dvc", "exp", "run", "--temp", "-n", "aside", "-S", f"{lr}=0.3")
    for _ in range(60):
        status = run(root, "dvc", "queue", "status")
        if "Running" not in status and "Queued" not in status:
            break
        time.sleep(2)
    assert status.count("Success") == 2, status
    run(root, "dvc", "queue", "stop", "--kill")
    sweeps = {name: (RUNS, {"false"}) for name in ("slow", "fast", "aside")}
    assert experiments(workspace) == {None: (RUNS, {"true"}), **sweeps}
    after = by_outputs(workspace)
    assert {digest: after[digest] for digest in before} == before
    baseline = run(root, "git", "rev-parse", "HEAD").strip()
    rates = {}
    for each in runs_of(workspace):
        tags = each.data.tags
        assert tags.get("baseline_rev") == (baseline if "experiment" in tags else None)
        rates[tags.get("experiment")] = each.data.params["training.optimizer.lr"]
    assert rates == {None: "0.5", "slow": "0.1", "fast": "0.9", "aside": "0.3"}


def test_an_applied_experiment_is_current_without_doubling(workspace: Project) -> None:
    run(workspace.root, "dvc", "exp", "apply", "fast")
    assert stages_run(run(workspace.root, "dvc", "repro")) == {"track"}
    assert experiments(workspace) == {
        None: (RUNS, {"false"}),
        "fast": (RUNS, {"true"}),
        "slow": (RUNS, {"false"}),
        "aside": (RUNS, {"false"}),
    }
    commit_only(workspace.root, "v2")


def count(database: Path) -> int:
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
    return 0


def test_a_deleted_store_is_rebuilt_with_its_history_also_after_a_kill(workspace: Project) -> None:
    root, database = workspace.root, workspace.root / place.DATABASE
    before = by_outputs(workspace)
    with store.opened(workspace.uri, {}):
        pass  # lets go of what this process still has open
    database.unlink()
    assert stages_run(run(root, "dvc", "repro")) == set()  # knows nothing of the store
    assert "`foldwise track` builds it" in said_by_ui(root)
    command = ["foldwise", "track", "--rev", "v1", "--rev", "v0..HEAD"]
    command += ["--rev", "slow", "--rev", "aside"]
    script = str(Path(sys.executable).parent / command[0])
    with subprocess.Popen([sys.executable, script, *command[1:]], cwd=root) as process:
        while process.poll() is None and count(database) < RUNS + 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert "RUNNING" in {each.info.status for each in runs_of(workspace)}
    run(root, *command)
    assert experiments(workspace) == {
        None: (2 * RUNS, {"true", "false"}),
        "slow": (RUNS, {"false"}),
        "aside": (RUNS, {"false"}),
    }
    assert by_outputs(workspace) == before
    commits = {
        each.data.tags["git_commit"]
        for each in runs_of(workspace)
        if records.BACKFILLED in each.data.tags and "experiment" not in each.data.tags
    }
    assert commits == {run(root, "git", "rev-parse", "v1").strip()}


def said_by_ui(root: Path) -> str:
    """The first lines of `foldwise ui`, which is stopped before it serves anything."""
    script = str(Path(sys.executable).parent / "foldwise")
    with subprocess.Popen(
        [sys.executable, script, "ui", "--port", "0"], cwd=root, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = process.stderr.readline() + process.stderr.readline()
        process.kill()
    return lines


def test_the_doctor_clears_up_after_the_deleted_store(workspace: Project) -> None:
    """Its models lie about; then nothing is wrong, and there is nothing to do."""
    output = run(workspace.root, "foldwise", "doctor", ok=False)
    folders = re.search(r"\* .*mlartifacts: (\d+) folders .* are not in mlflow.db", output)
    assert folders is not None, output
    assert output.count("\n") == 3, output
    assert "nothing is wrong" in run(workspace.root, "foldwise", "doctor", "--fix")
    client = MlflowClient(workspace.uri)
    ids = [e.experiment_id for e in client.search_experiments()]
    for model in client.search_logged_models(ids):
        assert Path(model.artifact_location.removeprefix("file://")).name == "artifacts"
    assert len(client.search_logged_models(ids)) == 4 * (RUNS - 1)
    assert stages_run(run(workspace.root, "dvc", "repro")) == set()
    assert (
        tracking.track(config.load(workspace.root / paths.PARAMS), workspace.root, {}).created == 0
    )
    shutil.rmtree(workspace.root.parent / "clone")
