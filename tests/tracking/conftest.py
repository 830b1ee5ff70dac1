"""Stores of MLflow to read from, and tracking servers."""

from collections.abc import Iterator

import mlflow
import pytest
from projects import Project
from stores import bare, empty_database, original, processes, project, tracked

from foldwise.tracking.summary import Summary

__all__ = ["bare", "empty_database", "original", "processes", "project", "tracked"]


@pytest.fixture
def loading(tracked: tuple[Project, Summary], monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The global address that `runs:/` and `models:/` are looked up at."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(tracked[0].uri)
    yield tracked[0]
    mlflow.set_tracking_uri(None)
