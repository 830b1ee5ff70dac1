"""What is wrong with a workspace in real git and DVC: found, mended, and right again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import repositories
from projects import Project, fabricate, write_comparison
from repositories import PARAMS, cached, run

from foldwise import cli, results, tracking
from foldwise.core import files, paths
from foldwise.doctor import workspace as doctor
from foldwise.doctor.findings import Finding

WITHOUT_DROPOUT = PARAMS.replace("  tiny-dropout: {study: tiny, hidden: [5, 4]", "  # {")
assert WITHOUT_DROPOUT != PARAMS


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two variants, trained, evaluated, compared and committed; for reading only."""
    root = tmp_path_factory.mktemp("doctor") / "Ein Projekt für #1"
    settings = repositories.start(root)
    for seed, variant in enumerate(settings.resolved.values()):
        fabricate(root, variant, seed)
    write_comparison(root, "Helps: by much.")
    repositories.commit(root, "v1")
    return Project(root, settings)


@pytest.fixture
def workspace(committed: Project, tmp_path: Path) -> Project:
    root = tmp_path / "a copy"
    shutil.copytree(committed.root, root)
    return Project(root, committed.config)


@pytest.fixture
def narrowed(workspace: Project) -> Project:
    """The same, with a variant taken out of params.yaml."""
    return Project(workspace.root, repositories.write_params(workspace.root, WITHOUT_DROPOUT))


def texts(found: Iterable[Finding]) -> list[str]:
    return [f"{'*' if finding.mend else '-'} {finding.text}" for finding in found]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


# --- the whole --------------------------------------------------------------------------------


def test_broken_found_mended_and_well_again(
    workspace: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything at once, by the command; then `track` and `dvc repro` have nothing to do."""

    def status(*arguments: str) -> object:
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        return stopped.value.code

    monkeypatch.chdir(workspace.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow sets it, too
    repositories.write_params(workspace.root, WITHOUT_DROPOUT)
    shutil.rmtree(paths.COMPARISONS)  # made up: nothing that could be drawn
    repositories.commit_only(workspace.root, "without")
    part = paths.METRICS / ".tiny-plain.json.abcdefgh"
    part.write_text("half")
    age(part, 2 * doctor.ABANDONED)
    doctor.RWLOCKS[0].write_text("")
    assert status("doctor") == 1
    found = capsys.readouterr().out.splitlines()
    assert [line[:20] for line in found] == [
        "* .dvc/tmp/rwlock: d",
        "* metrics/.tiny-plai",
        "* dvc.lock: entries ",
        "* runs/tiny-dropout:",
        "* metrics/tiny-dropo",
        "* metrics/tiny-dropo",
        "* runs/tiny-plain: t",
        "",
        "`foldwise doctor --f",
    ]
    assert part.exists()
    assert status("doctor", "--fix") == 0
    out = capsys.readouterr().out
    assert out.startswith("\n".join(found[:7]))
    assert out.endswith("what is left:\nnothing is wrong\n")
    assert status("doctor") == 0
    assert tracking.track(workspace.only("tiny-plain").config, workspace.root, {}).created == 0
    assert "up to date" in run(workspace.root, "dvc", "status", "train")
    run(workspace.root, "git", "checkout", "-q", "v1", "--", ".")
    run(workspace.root, "dvc", "checkout", "-q")
    assert results.read(paths.run("tiny-dropout"))


def test_what_could_not_be_mended_is_said() -> None:
    def fail() -> None:
        raise OSError("read-only")

    assert doctor.mend([Finding("x", fail), Finding("y"), Finding("z", fail)]) == ["read-only"]


# --- orphans ----------------------------------------------------------------------------------


def test_orphaned_results_that_can_be_had_again_go(narrowed: Project) -> None:
    found = list(doctor.orphans(narrowed.root, narrowed.config))
    commit = run(narrowed.root, "git", "rev-parse", "--short", "HEAD").strip()
    assert texts(found) == [
        "* runs/tiny-dropout: of no variant in params.yaml; delete it (DVC's cache has it, by "
        f"dvc.lock of commit {commit})",
        "* metrics/tiny-dropout.csv: of no variant in params.yaml; delete it (git has it)",
        "* metrics/tiny-dropout.json: of no variant in params.yaml; delete it (git has it)",
    ]
    assert doctor.mend(doctor.stale_entries(narrowed.root)) == []
    repositories.commit_only(narrowed.root, "narrowed")  # takes the entry away: not this commit
    assert texts(doctor.orphans(narrowed.root, narrowed.config)) == texts(found)
    assert doctor.mend(found) == []
    assert texts(doctor.orphans(narrowed.root, narrowed.config)) == []
    assert (narrowed.root / paths.run("tiny-plain")).exists()


def test_results_that_are_nowhere_else_stay(narrowed: Project) -> None:
    """Changed since, or not in the cache, or in no commit: a person decides."""

    def stays() -> bool:
        found = doctor.orphans(narrowed.root, narrowed.config)
        return [x.mend for x in found if "runs/tiny-dropout" in x.text] == [None]

    assert not stays()
    history = narrowed.root / paths.run("tiny-dropout") / results.HISTORY
    content = history.read_bytes()
    history.unlink()
    history.write_bytes(content + b"mine")
    assert stays()
    history.write_bytes(content)
    assert not stays()
    kept = cached(narrowed.root, f"runs/tiny-dropout/{results.HISTORY}", "v1")
    kept.rename(f"{kept}-away")
    assert stays()
    Path(f"{kept}-away").rename(kept)
    shutil.rmtree(narrowed.root / ".git/refs/tags")
    run(narrowed.root, "git", "update-ref", "-d", "HEAD")
    assert stays()


def test_metrics_and_comparisons_that_are_not_committed_stay(workspace: Project) -> None:
    metrics, comparison = paths.metrics("mine"), paths.comparison("mine")
    for path in (metrics, comparison):
        (workspace.root / path).write_text("{}")
    rest = "and kept nowhere else; declare it again and `dvc repro`, or delete it by hand"
    assert texts(doctor.orphans(workspace.root, workspace.config)) == [
        f"- {metrics}: of no variant in params.yaml, {rest}",
        f"- {comparison}: of no study in params.yaml, {rest}",
    ]
    repositories.commit_only(workspace.root, "mine")
    assert [x[0] for x in texts(doctor.orphans(workspace.root, workspace.config))] == ["*", "*"]


def test_orphaned_data(workspace: Project) -> None:
    for path in (paths.raw("old") / "a", paths.prepared("old") / "b", paths.splits("rows") / "c"):
        (workspace.root / path).parent.mkdir(parents=True)
        (workspace.root / path).write_text(path.name)
    (workspace.root / paths.raw("rows")).mkdir()
    found = list(doctor.orphans(workspace.root, workspace.config))
    assert [(x.text.split(":")[0], x.mend) for x in found] == [
        ("data/raw/old", None),
        ("data/prepared/old", None),
        ("data/splits/rows.parquet", None),
    ]
    run(workspace.root, "dvc", "add", "-q", "data/raw/old")
    found = list(doctor.orphans(workspace.root, workspace.config))
    assert found[0].text.endswith("delete it (DVC's cache has it, and the pipeline makes it again)")


# --- DVC --------------------------------------------------------------------------------------


def entries(workspace: Project) -> set[str]:
    lock = (workspace.root / "dvc.lock").read_text()
    return {name for name in ("tiny-plain", "tiny-dropout") if f"train@{name}:" in lock}


def test_stale_entries_of_the_lock_go_once_they_are_committed(narrowed: Project) -> None:
    root = narrowed.root
    found = list(doctor.stale_entries(root))
    assert texts(found) == [
        "* dvc.lock: entries of stages that are gone: train@tiny-dropout; remove them (git has "
        "them)"
    ]
    assert doctor.mend(found) == []
    assert entries(narrowed) == {"tiny-plain"}
    assert texts(doctor.stale_entries(root)) == []
    assert "up to date" in run(root, "dvc", "status", "train")


def test_an_entry_that_alone_knows_its_results_stays(workspace: Project) -> None:
    root = workspace.root
    fabricate(root, workspace.config.variant("tiny-dropout"), seed=7)
    run(root, "dvc", "commit", "--force", "--quiet")
    repositories.write_params(root, WITHOUT_DROPOUT)
    (finding,) = doctor.stale_entries(root)
    assert "train@tiny-dropout, and not committed" in finding.text
    assert finding.mend is None


def test_a_lock_file_with_a_conflict(workspace: Project) -> None:
    path = workspace.root / "dvc.lock"
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}")
    (finding,) = doctor.stale_entries(workspace.root)
    assert "dvc.lock" in finding.text
    assert "\n" not in finding.text


HOLD = """
import os, signal
from dvc.fs import localfs
from dvc.rwlock import rwlock
written = [os.path.abspath('runs/tiny-plain/run.json')]
with rwlock('.dvc/tmp', localfs, 'dvc repro', [], written, False):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_locks_of_a_killed_dvc(workspace: Project) -> None:
    root, path = workspace.root, workspace.root / doctor.RWLOCKS[0]
    done = subprocess.run([sys.executable, "-c", HOLD], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    (finding,) = doctor.dead_locks(root)
    assert finding.text.startswith(".dvc/tmp/rwlock: left by a dvc that was killed (process ")
    holder = json.loads(path.read_text())
    for info in holder["write"].values():
        info["pid"] = os.getpid()
    path.write_text(json.dumps(holder))
    assert texts(doctor.dead_locks(root)) == []  # as if this process held it
    age(path, 1e6)  # but it cannot be: it is younger than the lock
    assert "is busy" in run(root, "dvc", "commit", "--force", ok=False)
    found = list(doctor.dead_locks(root))
    assert len(found) == 1
    assert doctor.mend(found) == []
    run(root, "dvc", "commit", "--force")
    assert texts(doctor.dead_locks(root)) == []


@pytest.mark.parametrize("content", ["", "[]", '{"write": {"a": {}}}'])
def test_a_damaged_lock(workspace: Project, content: str) -> None:
    (workspace.root / doctor.RWLOCKS[0]).write_text(content)
    found = list(doctor.dead_locks(workspace.root))
    assert "damaged, so that every dvc command fails" in found[0].text
    assert doctor.mend(found) == []
    assert texts(doctor.dead_locks(workspace.root)) == []


# --- files ------------------------------------------------------------------------------------

LEFT = """
import os, signal, sys
from pathlib import Path
from foldwise.core import files
files.atomically(Path(sys.argv[1]), lambda part: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_temporary_files_that_a_killed_process_left(workspace: Project) -> None:
    root = workspace.root
    target = root / paths.run("tiny-plain") / results.HISTORY
    done = subprocess.run([sys.executable, "-c", LEFT, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = target.parent.glob(".*")
    others = ["data/raw/x/tmpab12_xyz", "data/raw/x/.synthetic-abcdefgh/a", "mlflow.db.part-wal"]
    others += ["runs/tiny-plain/run.json.Ab-_34567890123456789x.tmp"]
    for name in others:
        files.write_text(root / name, "half")
    assert texts(doctor.leftovers(root)) == []  # perhaps somebody is at work on them
    left = [part, *(root / name for name in others), (root / others[1]).parent]
    for path in left:
        age(path, 2 * doctor.ABANDONED)
    found = list(doctor.leftovers(root))
    assert len(found) == 5
    assert doctor.mend(found) == []
    assert texts(doctor.leftovers(root)) == []
    assert not any(path.exists() for path in left)
    assert "up to date" in run(root, "dvc", "status", "train")


def test_damaged_run_folders(workspace: Project) -> None:
    root, folder = workspace.root, workspace.root / paths.run("tiny-plain")
    for name in (results.PREDICTIONS, results.TIMELINE):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(content[:-1])
        (text,) = texts(doctor.damaged(root, workspace.config))
        assert text.startswith(f"- runs/tiny-plain/{name}: ")
        assert "`dvc checkout --force train@tiny-plain` restores it" in text
        run(root, "dvc", "checkout", "--force", "train@tiny-plain")
        assert texts(doctor.damaged(root, workspace.config)) == []


# --- surroundings -----------------------------------------------------------------------------


def test_variables(workspace: Project) -> None:
    environ = {
        "FOLDWISE_WORKERS": "many",
        "FOLDWISE_DEVICE": "tpu",
        "FOLDWISE_MIRROR": "../nowhere",
        "FOLDWISE_WORKER": "2",
        "HOME": "/",
    }
    assert texts(doctor.variables(workspace.root, environ)) == [
        "- FOLDWISE_WORKERS: 'many' is not a whole number above 0; correct or unset it",
        "- FOLDWISE_DEVICE: 'tpu' is none of auto, cpu, cuda; correct or unset it",
        "- FOLDWISE_MIRROR: there is no folder '../nowhere'; correct or unset it",
        "- FOLDWISE_WORKER: nothing reads this variable; did you mean FOLDWISE_WORKERS?",
    ]
    fine = {"FOLDWISE_WORKERS": "2", "FOLDWISE_DEVICE": "cpu", "FOLDWISE_MIRROR": "https://a.b/"}
    assert texts(doctor.variables(workspace.root, fine)) == []


def test_a_full_disk(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts(doctor.room(workspace.root)) == []
    monkeypatch.setattr(doctor, "ROOM", 2**60)
    assert "MiB are free; make room" in texts(doctor.room(workspace.root))[0]


def test_settings_that_do_not_parse(workspace: Project) -> None:
    (workspace.root / paths.PARAMS).write_text(PARAMS.replace("folds", "fold"))
    assert texts(doctor.examine(workspace.root, {}, lambda: None)) == [
        "- params.yaml: studies.tiny.cv.folds: missing; add it",
        "- params.yaml: studies.tiny.cv.fold: unknown key; did you mean 'folds'?",
    ]
