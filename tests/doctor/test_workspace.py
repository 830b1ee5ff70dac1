"""What is wrong with a workspace in real git and DVC: findings, fixed, and right again."""

import os
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import fabricate
import pytest
import repositories
from fabricate import Project
from kills import killed
from repositories import PARAMS, PLAN, cached, dvc, git

from foldwise.core import config, files, paths
from foldwise.doctor import Finding
from foldwise.doctor import fix as fix_all
from foldwise.doctor import workspace as doctor
from foldwise.engine.store import Store, pack
from foldwise.results import runs

WITHOUT_DROPOUT = PARAMS.replace("  tiny-dropout: {study: tiny, hidden: [5, 4]", "  # {")
assert WITHOUT_DROPOUT != PARAMS


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two variants, trained, evaluated, compared and committed; for reading only."""
    root = tmp_path_factory.mktemp("doctor") / "Ein Projekt für #1"
    repositories.start(root)
    made = fabricate.project(root, PLAN)
    repositories.commit(root, "v1")
    return made


@pytest.fixture
def workspace(committed: Project, tmp_path: Path) -> Project:
    root = tmp_path / "a copy"
    shutil.copytree(committed.root, root)
    return Project(root, committed.config)


@pytest.fixture
def narrowed(workspace: Project) -> Project:
    """The same, with a variant taken out of params.yaml."""
    (workspace.root / paths.PARAMS).write_text(WITHOUT_DROPOUT)
    return Project(workspace.root, config.parse(WITHOUT_DROPOUT))


def test_scores_of_another_training_are_found(workspace: Project) -> None:
    """As after `dvc repro train@tiny-plain` alone."""
    variant = workspace.config.variant("tiny-plain")
    runs.write_run(workspace.root / paths.run("tiny-plain"), fabricate.run(variant, PLAN, seed=1))
    found = doctor.examine(workspace.root, lambda: None)
    line = "- metrics/tiny-plain.json: made from another training than runs/tiny-plain/ holds; "
    assert f"{line}`dvc repro evaluate@tiny-plain` evaluates it again" in texts(found)


def texts(findings: Iterable[Finding]) -> list[str]:
    return [f"{'*' if finding.fix else '-'} {finding.text}" for finding in findings]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


def status(root: Path) -> object:
    """What `dvc status train` says; {} where all is up to date."""
    with dvc(root) as repo:
        return repo.status(targets=["train"])


def test_what_could_not_be_fixed_is_said() -> None:
    def fail() -> None:
        raise OSError("read-only")

    assert fix_all([Finding("x", fail), Finding("y"), Finding("z", fail)]) == ["read-only"]


# --- orphans ----------------------------------------------------------------------------------


def test_orphaned_results_that_can_be_had_again_go(narrowed: Project) -> None:
    findings = list(doctor.orphans(narrowed.root, narrowed.config))
    commit = git(narrowed.root, "rev-parse", "--short", "HEAD").strip()
    assert texts(findings) == [
        "* runs/tiny-dropout: of no variant in params.yaml; delete it (DVC's cache has it, by "
        f"dvc.lock of commit {commit})",
        "* metrics/tiny-dropout.csv: of no variant in params.yaml; delete it (git has it)",
        "* metrics/tiny-dropout.json: of no variant in params.yaml; delete it (git has it)",
    ]
    assert fix_all(doctor.stale_entries(narrowed.root)) == []
    repositories.commit_only(narrowed.root, "narrowed")  # takes the entry away: not this commit
    assert texts(doctor.orphans(narrowed.root, narrowed.config)) == texts(findings)
    assert fix_all(findings) == []
    assert texts(doctor.orphans(narrowed.root, narrowed.config)) == []
    assert (narrowed.root / paths.run("tiny-plain")).exists()


def test_results_that_are_nowhere_else_stay(narrowed: Project) -> None:
    """Changed since, or not in the cache, or in no commit: a person decides."""

    def stays() -> bool:
        findings = doctor.orphans(narrowed.root, narrowed.config)
        return [x.fix for x in findings if "runs/tiny-dropout" in x.text] == [None]

    assert not stays()
    history = narrowed.root / paths.run("tiny-dropout") / runs.HISTORY
    content = history.read_bytes()
    history.unlink()
    history.write_bytes(content + b"mine")
    assert stays()
    history.write_bytes(content)
    assert not stays()
    kept = cached(narrowed.root, f"runs/tiny-dropout/{runs.HISTORY}", "v1")
    kept.rename(f"{kept}-away")
    assert stays()
    Path(f"{kept}-away").rename(kept)
    shutil.rmtree(narrowed.root / ".git/refs/tags")
    git(narrowed.root, "update-ref", "-d", "HEAD")
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
    (workspace.root / ".git/index").write_text("damaged")  # what has changed cannot be told
    assert [x[0] for x in texts(doctor.orphans(workspace.root, workspace.config))] == ["-", "-"]


def test_orphaned_data(workspace: Project) -> None:
    for path in (paths.raw("old") / "a", paths.prepared("old") / "b", paths.splits("rows") / "c"):
        (workspace.root / path).parent.mkdir(parents=True)
        (workspace.root / path).write_text(path.name)
    (workspace.root / paths.raw("rows")).mkdir()
    findings = list(doctor.orphans(workspace.root, workspace.config))
    assert [(x.text.split(":")[0], x.fix) for x in findings] == [
        ("data/raw/old", None),
        ("data/prepared/old", None),
        ("data/splits/rows.parquet", None),
    ]
    with dvc(workspace.root) as repo:
        repo.add("data/raw/old")
    findings = list(doctor.orphans(workspace.root, workspace.config))
    assert findings[0].text.endswith(
        "delete it (DVC's cache has it, and the pipeline makes it again)"
    )


# --- DVC --------------------------------------------------------------------------------------


def entries(workspace: Project) -> set[str]:
    lock = (workspace.root / "dvc.lock").read_text()
    return {name for name in ("tiny-plain", "tiny-dropout") if f"train@{name}:" in lock}


def test_stale_entries_of_the_lock_go_once_they_are_committed(narrowed: Project) -> None:
    root = narrowed.root
    findings = list(doctor.stale_entries(root))
    assert texts(findings) == [
        "* dvc.lock: entries of stages that are gone: train@tiny-dropout; remove them (git has "
        "them)"
    ]
    assert fix_all(findings) == []
    assert entries(narrowed) == {"tiny-plain"}
    assert texts(doctor.stale_entries(root)) == []
    assert status(root) == {}


def test_an_entry_that_alone_knows_its_results_stays(workspace: Project) -> None:
    root = workspace.root
    fabricate.write_variant(root, workspace.config.variant("tiny-dropout"), PLAN, seed=7)
    repositories.keep(root)
    (root / paths.PARAMS).write_text(WITHOUT_DROPOUT)
    (finding,) = doctor.stale_entries(root)
    assert "train@tiny-dropout, and not committed" in finding.text
    assert finding.fix is None


# --- files ------------------------------------------------------------------------------------


def test_temporary_files_that_a_killed_process_left(workspace: Project) -> None:
    root = workspace.root
    target = root / paths.run("tiny-plain") / runs.HISTORY

    def leave() -> None:
        with files.replacing(target) as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    killed(leave)
    (part,) = target.parent.glob(".*")
    others = ["data/raw/x/.synthetic-abcdefgh/a", "mlflow.db.part-wal"]
    others += ["runs/tiny-plain/run.json.Ab-_34567890123456789x.tmp"]
    for name in others:
        files.write_text(root / name, "half")
    assert texts(doctor.leftovers(root)) == []  # perhaps somebody is at work on them
    left = [part, *(root / name for name in others), (root / others[0]).parent]
    for path in left:
        age(path, 2 * doctor.ABANDONED)
    findings = list(doctor.leftovers(root))
    assert len(findings) == 4
    assert fix_all(findings) == []
    assert texts(doctor.leftovers(root)) == []
    assert not any(path.exists() for path in left)
    assert status(root) == {}


def test_damaged_run_folders(workspace: Project) -> None:
    root, folder = workspace.root, workspace.root / paths.run("tiny-plain")
    for name in (runs.PREDICTIONS, runs.TIMELINE):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(content[:-1])
        (text,) = texts(doctor.damaged(root, workspace.config))
        assert text.startswith(f"- runs/tiny-plain/{name}: ")
        assert "`dvc checkout --force train@tiny-plain` restores it" in text
        with dvc(root) as repo:
            repo.checkout(["train@tiny-plain"], force=True)
        assert texts(doctor.damaged(root, workspace.config)) == []


# --- surroundings -----------------------------------------------------------------------------


def test_damaged_trained_splits(workspace: Project) -> None:
    store = Store(workspace.root)
    good, bad = store.folder / "aa" / "aab", store.folder / "bb" / "bbc"
    files.write_bytes(good, pack({}, {}))
    files.write_bytes(bad, pack({}, {})[:-1])
    findings = list(doctor.damaged_splits(workspace.root))
    assert texts(findings) == [
        "* .foldwise/splits/bb/bbc: a damaged trained split; delete it (it is trained again where "
        "it is needed)"
    ]
    assert fix_all(findings) == []
    assert list(store.kept()) == [good]


def test_variables(workspace: Project) -> None:
    bad = {"FOLDWISE_WORKERS": "many", "FOLDWISE_DEVICE": "tpu", "HOME": "/"}
    bad |= {"FOLDWISE_MIRROR": "../nowhere", "FOLDWISE_WORKER": "2"}
    assert texts(doctor.surroundings(workspace.root, bad)) == [
        "- FOLDWISE_WORKERS: 'many' is not a whole number from 1 to 9999; correct or unset it",
        "- FOLDWISE_DEVICE: 'tpu' is none of auto, cpu, cuda; correct or unset it",
        "- FOLDWISE_WORKER: nothing reads this variable; did you mean FOLDWISE_WORKERS?",
        "- FOLDWISE_MIRROR: there is no folder '../nowhere'; correct or unset it",
    ]
    fine = {"FOLDWISE_WORKERS": "2", "FOLDWISE_DEVICE": "cpu", "FOLDWISE_MIRROR": "https://a.b/"}
    assert texts(doctor.surroundings(workspace.root, fine)) == []


def test_a_full_disk(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ROOM", 0)
    assert texts(doctor.room(workspace.root)) == []
    monkeypatch.setattr(doctor, "ROOM", 2**60)
    assert "MiB are free; make room" in texts(doctor.room(workspace.root))[0]


def test_settings_that_do_not_parse(workspace: Project) -> None:
    (workspace.root / paths.PARAMS).write_text(PARAMS.replace("folds", "fold"))
    assert texts(doctor.examine(workspace.root, lambda: None, {})) == [
        "- params.yaml: studies.tiny.cv.folds: missing; add it",
        "- params.yaml: studies.tiny.cv.fold: unknown key; did you mean 'folds'?",
    ]
