"""What the project holds at a commit, through real git and DVC."""

from pathlib import Path

import fabricate
import pytest
import repositories
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


@pytest.mark.parametrize(
    ("old", "new", "plain", "dropout"),
    [
        ("hidden_dropout: 0.2", "hidden_dropout: 0.3", [], ["variants.tiny-dropout modified"]),
        ("  tiny-dropout:", "  other:", [], []),  # which has no stage any more
        ("seed: 0", "seed: 1", ["studies.tiny.cv modified"], ["studies.tiny.cv modified"]),
    ],
)
def test_parameters_that_changed_since_the_training(
    repository: Path, old: str, new: str, plain: list[str], dropout: list[str]
) -> None:
    path = repository / paths.PARAMS
    text = path.read_text()
    try:
        path.write_text(text.replace("lr: 0.2", "lr: 0.1").replace(old, new))
        with commits.opened(None, repository) as workspace:
            assert workspace.changed_parameters("train@tiny-plain") == plain
            assert workspace.changed_parameters("train@tiny-dropout") == dropout
            assert workspace.changed_parameters("no-such-stage") == []
    finally:
        path.write_text(text)


def test_parameters_that_changed_in_a_commit(repository: Path) -> None:
    with commits.opened("v1", repository) as snapshot:
        assert snapshot.changed_parameters("train@tiny-plain") == []
    with commits.opened("later", repository) as snapshot:
        (line,) = snapshot.changed_parameters("train@tiny-plain")
        assert line == "studies.tiny.training modified"


def test_revisions_and_ranges(repository: Path) -> None:
    start, first, later = (git(repository, "rev-parse", t).strip() for t in ("start", "v1", "main"))
    assert commits.resolve(["v1", "start", "v1"], repository) == [first, start]
    assert commits.resolve(["start..main", "v1"], repository) == [first, later]
    assert commits.resolve(["main~2"], repository) == [start]
    assert commits.resolve(["main..main"], repository) == []
    nothing, one, other = (commits.lock(commit, repository) for commit in (start, first, later))
    assert (nothing, one) == ("", other)


@pytest.mark.parametrize("revision", ["nope", "v1..nope", "", " ", "..", "...", "--all..HEAD"])
def test_a_revision_that_is_not_there(repository: Path, revision: str) -> None:
    """An empty one would be HEAD to git, and the workspace to DVC."""
    with pytest.raises(ComparisonError, match=rf"--rev {revision}: .*`git fetch`"):
        commits.resolve([revision], repository)
    with pytest.raises(ComparisonError), commits.opened(revision, repository):
        raise AssertionError(revision)


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


# --- where the project lies -------------------------------------------------------------------


def test_a_project_in_a_subfolder_of_its_repository(tmp_path: Path) -> None:
    """With a cache that only the workspace's settings name."""
    outer, root = tmp_path / "outer", tmp_path / "outer" / "a" / "projekt für #1"
    (outer / "a").mkdir(parents=True)
    git(outer, "init", "-q", "-b", "main")
    repositories.start(root, subfolder=True)
    repositories.run(root, "dvc", "cache", "dir", "../../../cache")
    fabricate.project(root, PLAN)
    repositories.commit(root, "v1")
    (root / paths.PARAMS).write_text(PARAMS.replace("lr: 0.1", "lr: 0.2"))
    repositories.commit_only(root, "v2")
    assert [len(commit) for commit in commits.resolve(["v1..v2", "v1"], root)] == [40, 40]
    assert commits.lock("v1", root) == commits.lock("v2", root) != ""
    with commits.opened("v1", root) as snapshot:
        assert snapshot.settings == PLAN.config
        assert snapshot.read(paths.metrics("tiny-plain"))
        assert snapshot.changed_parameters("train@tiny-plain") == []
        snapshot.copy(RUN, tmp_path / "there")
        snapshot.copy(paths.COMPARISONS, tmp_path / "there")
    runs.RunFolder(tmp_path / "there" / RUN).check()
    assert (tmp_path / "there" / paths.comparison("tiny")).exists()
    with commits.opened("v2", root) as snapshot:
        assert snapshot.changed_parameters("train@tiny-plain") == ["studies.tiny.training modified"]


def test_in_a_shallow_clone_the_advice_is_to_fetch_the_rest(
    repository: Path, tmp_path: Path
) -> None:
    """And it helps."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(clone))
    for revision in ("HEAD~1", "HEAD~1..HEAD"):
        with pytest.raises(ComparisonError, match="this clone is shallow, `git fetch --unshallow`"):
            commits.resolve([revision], clone)
    git(clone, "fetch", "-q", "--unshallow")
    assert commits.resolve(["HEAD~1..HEAD"], clone) == commits.resolve(["main"], repository)
    with commits.opened("HEAD~1", clone) as snapshot:
        assert snapshot.settings == PLAN.config
