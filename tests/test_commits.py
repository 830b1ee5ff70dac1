"""What the project holds at a commit, through real git and DVC."""

from pathlib import Path

import fabricate
import pytest
import repositories
from dvc.repo import Repo
from repositories import PARAMS, PLAN, cached, git

from foldwise import commits
from foldwise.core import paths
from foldwise.core.errors import ComparisonError, ConfigError, MissingError
from foldwise.results import runs

RUN = paths.run("tiny-plain")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results at v1, nothing at `start` and at `later`; for reading only."""
    root = tmp_path_factory.mktemp("commits") / "Ein Projekt für #1"
    repositories.start(root)
    repositories.commit_only(root, "start")
    fabricate.project(root, PLAN)
    repositories.commit(root, "v1")
    (root / paths.PARAMS).write_text(PARAMS.replace("lr: 0.1", "lr: 0.2"))
    repositories.commit_only(root, "later")
    return root


def test_files_of_git_and_of_dvc_s_cache(repository: Path, tmp_path: Path) -> None:
    with commits.opened("v1", repository) as snapshot:
        assert snapshot.commit == git(repository, "rev-parse", "v1").strip()
        assert snapshot.settings == PLAN.config
        assert snapshot.has(RUN / runs.MANIFEST)
        for path in (paths.metrics("tiny-plain"), RUN / runs.MANIFEST):
            assert snapshot.read(path) == (repository / path).read_bytes()
        snapshot.copy(RUN, tmp_path)
        snapshot.copy(paths.comparison("tiny"), tmp_path)
    runs.RunFolder(tmp_path / RUN).check()
    assert (tmp_path / paths.comparison("tiny")).exists()


def test_what_is_not_there(repository: Path, tmp_path: Path) -> None:
    with commits.opened("start", repository) as snapshot:
        assert not snapshot.has(paths.metrics("tiny-plain"))
        with pytest.raises(MissingError, match=r"metrics/tiny-plain.json is not in start"):
            snapshot.read(paths.metrics("tiny-plain"))
        snapshot.copy(paths.METRICS, tmp_path)
    assert not list(tmp_path.iterdir())
    kept = cached(repository, f"{RUN}/{runs.HISTORY}", "v1")
    kept.rename(f"{kept}-away")
    try:
        with commits.opened("v1", repository) as snapshot:
            assert snapshot.has(RUN / runs.HISTORY)
            with pytest.raises(MissingError, match=r"history.parquet is not in v1"):
                snapshot.read(RUN / runs.HISTORY)
            with pytest.raises(MissingError, match="in neither DVC's cache nor its remote"):
                snapshot.copy(RUN, tmp_path)
    finally:
        Path(f"{kept}-away").rename(kept)


def test_changed_parameters_are_those_of_dvc_status(repository: Path) -> None:
    """Which would parse params.yaml for every stage."""
    path = repository / paths.PARAMS
    text = path.read_text()
    changes = (
        ("hidden_dropout: 0.2", "hidden_dropout: 0.3"),  # of one variant
        ("seed: 0", "seed: 1"),  # of its study
        ("  tiny-dropout:", "  other:"),  # gone, and a new one that is in no lock
    )
    try:
        for old, new in changes:
            path.write_text(text.replace(old, new))
            with Repo(str(repository)) as repo:
                expected = {
                    stage.name: _lines(dep.status())
                    for stage in repo.index.stages
                    for dep in stage.deps
                }
            assert any(expected.values())
            with commits.opened(None, repository) as workspace:
                for name, lines in expected.items():
                    assert workspace.changed_parameters(name) == lines
                assert workspace.changed_parameters("no-such-stage") == []
    finally:
        path.write_text(text)
    with commits.opened("v1", repository) as snapshot:
        assert snapshot.changed_parameters("train@tiny-plain") == []
    with commits.opened("later", repository) as snapshot:
        (line,) = snapshot.changed_parameters("train@tiny-plain")
        assert line == "studies.tiny.training modified"


def _lines(status: dict[str, object]) -> list[str]:
    (changes,) = status.values() or [{}]
    if isinstance(changes, dict):
        return [f"{key} {how}" for key, how in changes.items()]
    return [f"{paths.PARAMS} {changes}"]


def test_revisions_and_ranges(repository: Path) -> None:
    start, first, later = (git(repository, "rev-parse", t).strip() for t in ("start", "v1", "main"))
    assert commits.resolve(["v1", "start", "v1"], repository) == [first, start]
    assert commits.resolve(["start..main", "v1"], repository) == [first, later]
    assert commits.resolve(["main~2"], repository) == [start]
    assert commits.resolve(["main..main"], repository) == []
    nothing, one, other = (commits.lock(commit, repository) for commit in (start, first, later))
    assert (nothing, one) == ("", other)


@pytest.mark.parametrize("revision", ["nope", "v1..nope"])
def test_a_revision_that_is_not_there(repository: Path, revision: str) -> None:
    with pytest.raises(ComparisonError, match=rf"--rev {revision}: .*`git fetch`"):
        commits.resolve([revision], repository)


def test_without_git(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="not a git repository"):
        commits.resolve(["HEAD"], tmp_path)


def test_settings_that_cannot_be_read(repository: Path) -> None:
    path = repository / paths.PARAMS
    text = path.read_text()
    path.unlink()
    try:
        with (
            commits.opened(None, repository) as workspace,
            pytest.raises(ConfigError, match=r"params.yaml of workspace: cannot be read"),
        ):
            _ = workspace.settings
    finally:
        path.write_text(text)
