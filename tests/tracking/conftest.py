"""Projects to track, stores to track them to."""

import multiprocessing
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabricate import TINY, Cache

from foldwise.core.environment import Environment, without_telemetry

without_telemetry()
with warnings.catch_warnings():  # MLflow's own, the first time that it is imported
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")
    import mlflow.pyfunc
    import mlflow.pytorch
    from mlflow import MlflowClient
    from projects import Project, charts
    from servers import (
        NO_DATABASE,
        Postgres,
        Proxy,
        Server,
        postgresql,
        running_postgres,
        running_proxy,
    )

    from foldwise.tracking import place, store, workshop
    from foldwise.tracking.summary import Summary

# --- projects ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def original(fabricated: Cache, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with three variants in two studies; for copying, and tracked once."""
    root = tmp_path_factory.mktemp("projects") / "Ein Projekt für #1"
    made = fabricated.copy(root, TINY, models=True)
    project = Project(root, made.config)
    project.compare(dropout="Helps")
    return project


@pytest.fixture(scope="session")
def tracked(original: Project) -> tuple[Project, Summary]:
    """The same, and what its first `track` did; for reading only."""
    return original, original.track(charts=charts)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database; making one takes seconds."""
    path = tmp_path_factory.mktemp("database") / place.DATABASE
    store.prepare(place.SQLITE + path.as_posix(), Environment())
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
def loading(tracked: tuple[Project, Summary], monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The global address that `runs:/` and `models:/` are looked up at."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(tracked[0].uri)
    yield tracked[0]
    mlflow.set_tracking_uri(None)


# --- processes --------------------------------------------------------------------------------

PRELOADED = (
    "torch._inductor.fx_passes.joint_graph",
    "foldwise.engine.cross_validation",
    "foldwise.evaluation",
    "foldwise.tracking.champions",
    "foldwise.tracking.models",
    "mlflow.pyfunc",
    "pytest",
)


@pytest.fixture(scope="session", autouse=True)
def processes() -> Any:
    """New processes that have imported everything already: forks of a clean one.

    `track` takes one of them, too: hundreds of tests need not import torch again.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    workshop.START = "forkserver"
    return context


# --- tracking servers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL cluster of its own."""
    programs = postgresql()
    if programs is None:
        pytest.skip(NO_DATABASE)
    with running_postgres(programs) as running:
        yield running


@pytest.fixture(scope="module")
def module_server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real `mlflow server` on it, with proxied artifacts; takes seconds."""
    server = Server(postgres.create("mlflow"), tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def empty_server(module_server: Server) -> Server:
    """The module's server with nothing in it but its default experiment."""
    client = MlflowClient(module_server.uri)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    for experiment in client.search_experiments(filter_string="name != 'Default'"):
        client.rename_experiment(experiment.experiment_id, f"old {experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)
    return module_server


@pytest.fixture
def proxy(empty_server: Server) -> Iterator[Proxy]:
    """Something between `track` and the server that can go wrong."""
    with running_proxy(empty_server) as running:
        yield running
