"""Commits with results → a real MLflow store, through real git and DVC."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import fabricate
import pytest
import repositories
from fabricate import Plan
from projects import (
    Killed,
    Project,
    charts,
    content,
    dump,
    interrupt,
    models_of,
    raise_killed,
    runs_of,
)
from repositories import PARAMS, bring_back, cached, dvc

from foldwise import backfill
from foldwise.commands import track
from foldwise.core import config, paths
from foldwise.core.endings import FAILED
from foldwise.results import runs
from foldwise.statistics import Verdict
from foldwise.tracking import origin, place, records

GIT = {"git_commit", "mlflow.source.git.commit", "mlflow.source.name", "dirty"}
GIT |= {records.CURRENT, origin.BACKFILLED}


@dataclass
class Past(Project):
    """A project in git with commits by tag; its workspace has the results of the last one."""

    commits: Mapping[str, str] = field(default_factory=dict)

    def backfill(self, *revisions: str, **options: Any) -> backfill.History:
        asked = revisions or ["start..HEAD"]
        return backfill.backfill(self.root, asked, self.environment, **options)

    def at(self, tag: str) -> "Past":
        """The workspace with the results of a commit."""
        bring_back(self.root, tag)
        return replace(self, config=config.load(self.root / paths.PARAMS))


def fabricate_all(root: Path, params: str, plain: int, dropout: int, verdict: Verdict) -> None:
    """Results of both variants, from seeds, and a verdict on them."""
    (root / paths.PARAMS).write_text(params)
    plan = Plan(params, synthetic=True, models=True)
    for name, seed in (("tiny-plain", plain), ("tiny-dropout", dropout)):
        fabricate.write_variant(root, plan.config.variant(name), plan, seed=seed)
    fabricate.write_comparison(root, plan, "tiny", {"tiny-dropout": verdict})


OTHER = PARAMS.replace("lr: 0.1", "lr: 0.2")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Past:
    """Three commits with results, one before and one between them without; for reading only."""
    root = tmp_path_factory.mktemp("history") / "Ein Projekt für #1"
    repositories.start(root)
    commits = {"start": repositories.commit_only(root, "start")}
    fabricate_all(root, PARAMS, 0, 10, "Helps")
    commits["v1"] = repositories.commit(root, "v1")
    (root / "README").write_text("Read me.")
    commits["between"] = repositories.commit_only(root, "between")
    fabricate_all(root, PARAMS, 0, 11, "Hurts")
    commits["v2"] = repositories.commit(root, "v2")
    fabricate_all(root, OTHER, 2, 12, "Helps")
    commits["v3"] = repositories.commit(root, "v3")
    shutil.copy(empty_database, root / place.DATABASE)
    return Past(root, config.parse(OTHER), commits=commits)


@pytest.fixture
def past(written: Past, tmp_path: Path) -> Past:
    """A copy with an empty store."""
    root = tmp_path / "a copy"
    shutil.copytree(written.root, root)
    return replace(written, root=root)


def by_commit(past: Past) -> dict[str, int]:
    """How many runs have the tag of which commit."""
    names = {commit: tag for tag, commit in past.commits.items()}
    found = [names[r.data.tags["git_commit"]] for r in runs_of(past)]
    return {name: found.count(name) for name in sorted(set(found))}


def without_git(seen: dict[Any, Any]) -> dict[Any, Any]:
    """`content` but for the tags that tell the commit."""
    return {
        name: (facts, {key: v for key, v in tags.items() if key not in GIT}, *rest)
        for name, (facts, tags, *rest) in seen.items()
    }


# --- what is made -----------------------------------------------------------------------------


def test_every_commit_s_results_are_there_once_and_twice_adds_nothing(past: Past) -> None:
    assert past.track().created == 8
    before = content(past)
    history = past.backfill()
    assert (history.commits, history.created, history.lacking) == (4, 8 + 4, {})
    assert by_commit(past) == {"v1": 8, "v2": 4, "v3": 8}
    assert content(past, git_commit=past.commits["v3"]) == before
    for each in runs_of(past):
        backfilled = each.data.tags["git_commit"] != past.commits["v3"]
        assert each.data.tags["dirty"] == "false"
        assert each.data.tags[records.CURRENT] == ("false" if backfilled else "true")
        assert each.data.tags.get(origin.BACKFILLED) == ("true" if backfilled else None)
        assert each.info.status == "FINISHED"
    assert len(models_of(past)) == 3 * (2 + 1 + 2)
    seen = dump(past)
    again = past.backfill()
    assert (again.created, again.updated, again.results) == (0, 0, 6)
    assert str(again) == "4 commits: nothing to add"
    assert dump(past) == seen


def test_a_commit_is_mirrored_as_it_would_have_been_then(
    past: Past, empty_database: Path, tmp_path: Path
) -> None:
    """Curves, times, metrics, notes, inputs, models: as `track` in the commit's workspace."""
    root = tmp_path / "then"
    root.mkdir()
    fabricate_all(root, PARAMS, 0, 10, "Helps")
    shutil.copy(empty_database, root)
    then = Project(root, config.parse(PARAMS))
    then.track(charts=charts)
    past.backfill("v1", drawing=lambda settings, root: charts)
    assert without_git(content(past)) == without_git(content(then))
    pictures = [
        past.client.list_artifacts(each.info.run_id, "charts")
        for each in runs_of(past)
        if each.data.tags["role"] == "variant"
    ]
    assert [[file.path for file in files] for files in pictures] == [["charts/curves.png"]] * 2


def test_history_stays_history_and_what_is_current_stays_as_it_is(past: Past) -> None:
    """v2 says other things about the plain variant than v1, of the same results."""
    now = past.at("v2")
    now.track()
    before = content(now)
    past.backfill("start..v2")
    assert content(now, git_commit=past.commits["v2"]) == before
    assert by_commit(past) == {"v1": 4, "v2": 8}
    assert now.track().skipped == 8


def test_the_workspace_takes_backfilled_runs_for_its_own_when_it_gets_there(past: Past) -> None:
    past.backfill("v1")
    summary = past.at("v1").track()
    assert (summary.created, summary.updated) == (0, 8)
    assert {each.data.tags[records.CURRENT] for each in runs_of(past)} == {"true"}


WRITES = ("create_run", "log_inputs", "log_batch", "log_outputs", "set_terminated")


@pytest.mark.parametrize("writes", [1, 9, 50])
def test_an_interrupted_backfill_is_completed(
    past: Past, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, WRITES, writes, raise_killed)
        with pytest.raises(Killed):
            past.backfill("start..v2")
    past.backfill("start..v2")
    assert by_commit(past) == {"v1": 8, "v2": 4}
    assert {each.info.status for each in runs_of(past)} == {"FINISHED"}
    assert {model.status for model in models_of(past)} == {"READY"}
    assert past.backfill("start..v2").created == 0


# --- which commits ----------------------------------------------------------------------------


def test_single_revisions_and_ranges(past: Past) -> None:
    assert past.backfill("v2", "v1..v2").commits == 2
    assert by_commit(past) == {"between": 4, "v2": 8}
    assert past.backfill("v1^").commits == 1
    nothing = past.backfill("HEAD..HEAD")
    assert (nothing.commits, nothing.failed, str(nothing)) == (0, False, "0 commits: no results")


def test_a_project_in_a_subfolder_of_its_repository(empty_database: Path, tmp_path: Path) -> None:
    root = tmp_path / "outer/project"
    (tmp_path / "outer").mkdir()
    repositories.git(tmp_path / "outer", "init", "-q")
    repositories.start(root, subfolder=True)
    fabricate_all(root, PARAMS, 0, 10, "Helps")
    commit = repositories.commit(root, "v1")
    shutil.copy(empty_database, root / place.DATABASE)
    past = Past(root, config.parse(PARAMS), commits={"v1": commit})
    history = past.backfill("v1")
    assert (history.created, history.lacking) == (8, {})
    assert by_commit(past) == {"v1": 8}


# --- what a commit lacks ----------------------------------------------------------------------


def test_results_in_neither_cache_nor_remote_are_named_and_left_out(past: Past) -> None:
    cached(past.root, "runs/tiny-dropout/run.json", "v1").unlink()
    cached(past.root, f"runs/tiny-dropout/{runs.MODELS}", "v2").unlink()
    history = past.backfill("v1", "v2")
    assert by_commit(past) == {"v1": 4}
    assert [(commit, names) for (commit, _), names in history.lacking.items()] == [
        (past.commits["v1"][:7], ["tiny-dropout"]),
        (past.commits["v2"][:7], ["tiny-dropout"]),
    ]
    assert "tiny-dropout: in neither DVC's cache nor its remote" in str(history)
    assert not history.failed


def test_results_come_from_the_remote_that_the_workspace_has(past: Past, tmp_path: Path) -> None:
    """The commits are older than the remote, and nothing is put into the cache."""
    with dvc(past.root) as repo, repo.config.edit("local") as local:
        local["remote"]["store"] = {"url": str(tmp_path / "remote")}
        local["core"]["remote"] = "store"
    with dvc(past.root) as repo:
        repo.push(all_commits=True)
    shutil.rmtree(past.root / ".dvc/cache")
    assert past.backfill("v1", "v2").lacking == {}
    assert by_commit(past) == {"v1": 8, "v2": 4}
    assert not (past.root / ".dvc/cache/files").exists()


def test_damaged_results_leave_no_half_made_runs(past: Past) -> None:
    path = cached(past.root, f"runs/tiny-plain/{runs.HISTORY}", "v1")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    history = past.backfill("v1", "v2")
    assert by_commit(past) == {"v1": 4, "v2": 4}
    assert "tiny-plain: their files are not whole" in str(history)


def test_older_settings_that_do_not_parse_are_said(past: Past) -> None:
    (past.root / paths.PARAMS).write_text(OTHER.replace("batch_size", "batchsize"))
    (past.root / "dvc.lock").write_text((past.root / "dvc.lock").read_text() + "# other\n")
    commit = repositories.commit_only(past.root, "old")
    history = past.backfill("old")
    assert history.failed
    assert f"not tracked: {commit[:7]}: params.yaml of {commit}" in str(history)
    assert "batchsize" in str(history)


def test_pictures_of_results_too_old_to_be_drawn_are_left_out(past: Past) -> None:
    assert past.backfill("v1", drawing=lambda settings, root: too_old).created == 8


def too_old(name: str) -> dict[str, bytes]:
    raise ValueError(f"{name} has no such column")


# --- the command ------------------------------------------------------------------------------


def test_the_command(
    past: Past, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(past.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow sets it, too
    shutil.rmtree(paths.COMPARISONS)  # nothing is drawn without it
    track.run(["v1"])
    out = capsys.readouterr().out.splitlines()
    assert (out[0], out[-1]) == (f"{past.uri}: 8 created, 2 registered", "1 commit: 8 created")
    shutil.rmtree(past.root / ".dvc/cache/files/md5")
    assert track.run(["v2"]) == FAILED
    assert "not tracked" in capsys.readouterr().out
    track.run(["start"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 commit: no results"
