"""Projects to track, stores to track them to."""

import multiprocessing
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldwise import config, tracking

tracking.without_telemetry()
with warnings.catch_warnings():  # MLflow's own, the first time that it is imported
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
    import mlflow.pyfunc
    import mlflow.pytorch
    from projects import PARAMS, Project, fabricate, write_comparison

    from foldwise.tracking import place, store


# --- projects ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with three variants in two studies, tracked twice; for reading only."""
    root = tmp_path_factory.mktemp("projects") / "Ein Projekt für #1"
    project = Project(root, config.parse(PARAMS))
    for variant in project.config.resolved.values():
        fabricate(root, variant)
    write_comparison(root, "Helps: by much.")
    return project


@pytest.fixture(scope="module")
def tracked(original: Project) -> tuple[Project, tracking.Summary]:
    return original, original.track(charts=lambda name: {"curves.png": name.encode()})


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database; making one takes seconds."""
    path = tmp_path_factory.mktemp("database") / place.DATABASE
    with store.opened(place.SQLITE + path.as_posix(), {}):
        pass
    return path


@pytest.fixture
def project(tmp_path: Path, original: Project, empty_database: Path) -> Project:
    """The smallest project of its own: one variant, five splits, an empty store."""
    shutil.copytree(original.root / "runs", tmp_path / "runs")
    shutil.copytree(original.root / "metrics", tmp_path / "metrics")
    shutil.copy(empty_database, tmp_path / place.DATABASE)
    return Project(tmp_path, original.config).only("tiny-plain")


@pytest.fixture
def bare(project: Project) -> Project:
    """The same without a store."""
    (project.root / place.DATABASE).unlink()
    return project


@pytest.fixture
def loading(
    tracked: tuple[Project, tracking.Summary], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """The global address that `runs:/` and `models:/` are looked up at."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(tracked[0].uri)
    yield tracked[0]
    mlflow.set_tracking_uri(None)


# --- processes --------------------------------------------------------------------------------

PRELOADED = (
    "foldwise.cross_validation",
    "foldwise.evaluation",
    "foldwise.tracking.live",
    "foldwise.tracking.models",
    "mlflow.pyfunc",
    "pytest",
    "torch._dynamo",
)


@pytest.fixture(scope="session")
def processes() -> Any:
    """New processes that have imported everything already: forks of a clean one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    return context
