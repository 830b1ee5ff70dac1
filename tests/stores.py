"""Fixtures for tests that write MLflow stores: a room's conftest.py imports what it needs."""

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricate import TINY, Cache
from projects import Project, charts
from repositories import move_store

from foldwise.core.environment import Environment
from foldwise.tracking import place, store, workshop
from foldwise.tracking.summary import Summary

PRELOADED = (
    "torch._inductor.fx_passes.joint_graph",
    "foldwise.engine.cross_validation",
    "foldwise.evaluation",
    "foldwise.tracking.champions",
    "foldwise.tracking.models",
    "mlflow.cli",
    "mlflow.pyfunc",
    "mlflow.server",
    "pytest",
    "uvicorn",
)


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
    with store.opened(place.SQLITE + path.as_posix(), Environment()):
        return path


@pytest.fixture
def project(tmp_path: Path, original: Project, empty_database: Path) -> Project:
    """The smallest project of its own: one variant, five splits, an empty store."""
    shutil.copytree(original.root / "runs", tmp_path / "runs")
    shutil.copytree(original.root / "metrics", tmp_path / "metrics")
    shutil.copy(empty_database, tmp_path / place.DATABASE)
    return Project(tmp_path, original.config).only("tiny-plain")


@pytest.fixture(scope="session")
def mirrored_once(
    original: Project, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """The smallest project, tracked; for copying."""
    root = tmp_path_factory.mktemp("mirrored") / "project"
    shutil.copytree(original.root / "runs", root / "runs")
    shutil.copytree(original.root / "metrics", root / "metrics")
    shutil.copy(empty_database, root / place.DATABASE)
    project = Project(root, original.config).only("tiny-plain")
    project.track()
    return project


@pytest.fixture
def mirrored(mirrored_once: Project, tmp_path: Path) -> Project:
    """The smallest project of its own, tracked; to track it takes seconds."""
    root = tmp_path / "project"
    shutil.copytree(mirrored_once.root, root)
    move_store(mirrored_once.root, root)
    return replace(mirrored_once, root=root)


@pytest.fixture
def bare(project: Project) -> Project:
    """The same without a store."""
    (project.root / place.DATABASE).unlink()
    return project


@pytest.fixture(scope="session", autouse=True)
def processes() -> Any:
    """New processes that have imported everything already: forks of a clean one.

    `track` takes one of them, too: hundreds of tests need not import torch again.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    workshop.START = "forkserver"
    return context
