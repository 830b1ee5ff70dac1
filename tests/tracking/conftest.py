"""Stores of MLflow to read from, and tracking servers."""

from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient
from projects import Project
from servers import (
    NO_DATABASE,
    Postgres,
    Proxy,
    Server,
    postgresql,
    running_postgres,
    running_proxy,
)
from stores import (
    bare,
    empty_database,
    mirrored,
    mirrored_once,
    original,
    processes,
    project,
    tracked,
)

from foldwise.tracking.summary import Summary

__all__ = [
    "bare",
    "empty_database",
    "mirrored",
    "mirrored_once",
    "original",
    "processes",
    "project",
    "tracked",
]


@pytest.fixture
def loading(tracked: tuple[Project, Summary], monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The global address that `runs:/` and `models:/` are looked up at."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(tracked[0].uri)
    yield tracked[0]
    mlflow.set_tracking_uri(None)


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
        for tag in experiment.tags:  # or `track` would find and restore it
            client.delete_experiment_tag(experiment.experiment_id, tag)
        client.delete_experiment(experiment.experiment_id)
    return module_server


@pytest.fixture
def proxy(empty_server: Server) -> Iterator[Proxy]:
    """Something between `track` and the server that can go wrong."""
    with running_proxy(empty_server) as running:
        yield running
