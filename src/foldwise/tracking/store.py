"""Open a store safely: probe servers, initialise and check databases, one writer at a time."""

import logging
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar, cast

import mlflow.store.db_migrations
from alembic.script import ScriptDirectory
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as ModelRegistry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from foldwise.core.environment import TRACKING, Environment
from foldwise.core.errors import TrackingError, masked
from foldwise.tracking import place, server
from foldwise.tracking.place import SAFE
from foldwise.tracking.records import Point

LOCK_SECONDS = 900
BUSY_SECONDS = 20  # as MLflow's own connections wait
BATCH = 1000  # metrics in one request
Item = TypeVar("Item")
PASSING = {  # of MLflow's errors: those that others make for a moment
    "database is locked": (
        "another process (the MLflow UI, a sync tool?) holds the database locked; close it and "
        "try again"
    ),
    "must be in the 'active' state|RESOURCE_DOES_NOT_EXIST": (
        "another `track`, or a person, deleted what this one was writing; try again"
    ),
    "unique constraint|duplicate (key|entry)": (
        "another `track` was writing the same at the same time; try again"
    ),
}


class PassingError(TrackingError):
    """Another process was in the way; trying again may help."""


@dataclass(frozen=True)
class Store:
    """An open store: its address, and MLflow's own client."""

    uri: str
    client: MlflowClient

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Log the points of a run's curves; points that are there already stay as they are."""
        for start in range(0, len(points), BATCH):
            metrics = [Metric(*point) for point in points[start : start + BATCH]]
            self.client.log_batch(run_id, metrics=metrics)


def pages(search: Callable[[str | None], PagedList[Item]]) -> list[Item]:
    """All that a search of MLflow's gives; `search` takes the token of a page, None at first."""
    page = search(None)
    items, tokens = list(page), set()
    while page.token:
        if page.token in tokens:  # it would go on for ever
            raise MlflowException(f"page {page.token} comes after itself")
        tokens.add(page.token)
        page = search(page.token)
        items += page
    return items


@contextmanager
def opened(uri: str, environment: Environment, write: bool = True) -> Iterator[Store]:
    """A store that answers.

    To write, an SQLite database is made where there is none, and held by this process alone.

    Raises:
        TrackingError: it does not answer, is not there, is held by another process for too long,
            or is not a database that this version of MLflow can read.
    """
    path, is_server = place.database(uri), server.is_server(uri)
    settings = {**server.PATIENCE, **environment.mlflow, TRACKING: uri}  # for models:/…, runs:/…
    settings |= {} if write else {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    with _quiet(), server.variables(settings), translated(uri), ExitStack() as stack:
        if is_server:
            server.probe(uri)
        if path is not None and write:
            stack.enter_context(_locked(path))
            _prepare(path, uri)
        elif path is not None and not path.is_file():
            raise TrackingError(f"{path}: nothing is tracked yet; `foldwise track` makes it")
        elif path is not None:
            _check(path, uri)
        stack.callback(_close, uri)
        client = cast(MlflowClient, server.Patient(uri)) if is_server else MlflowClient(uri)
        client.search_experiments(max_results=1)
        yield Store(uri, client)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database and its server raise into a `TrackingError`."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise _translation(uri, error) from error


@contextmanager
def tolerating(code: str) -> Iterator[None]:
    """Let one of MLflow's errors pass: sent twice, another was faster, or simply not there."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def _translation(uri: str, error: Exception) -> TrackingError:
    if server.is_server(uri) and (known := server.failure(uri, error)):
        return known
    if isinstance(error, OSError):  # those of `requests` are among them
        return TrackingError(f"{masked(uri)}: {error}; {SAFE}")
    message = " ".join(str(error).split("\n")[:2])[:400]
    for pattern, meaning in PASSING.items():
        if re.search(pattern, message, re.IGNORECASE):
            return PassingError(f"{masked(uri)}: {meaning} ({message}); {SAFE}")
    return TrackingError(f"{masked(uri)}: MLflow failed: {message}; {SAFE}")


# --- databases --------------------------------------------------------------------------------


def _prepare(path: Path, uri: str) -> None:
    """Make the database where there is none, whole or not at all; check one that is there."""
    if path.exists() and path.stat().st_size > 0:
        _check(path, uri)
        return
    part = path.with_name(f"{path.name}.part")
    logs = [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]
    for leftover in (*path.parent.glob(f"{part.name}*"), *logs):  # a log is of one database only
        leftover.unlink(missing_ok=True)
    artifacts = place.artifacts(uri)
    SqlAlchemyStore(place.SQLITE + part.as_posix(), artifacts).engine.dispose()  # type: ignore[no-untyped-call]
    part.replace(path)
    # So that MLflow's UI can read while this writes; some network file systems cannot.
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def _close(uri: str) -> None:
    """Close MLflow's connections to a database, which it would keep for as long as it lives."""
    for kind in (SqlAlchemyStore, ModelRegistry):
        if engine := kind._engine_map.get(uri):
            engine.dispose()


def _check(path: Path, uri: str) -> None:
    """Refuse a file that is no database, or one of another MLflow, each with its remedy."""
    found = _revision(path)
    script = _migrations()
    if found == script.get_current_head():
        return
    age, remedy = "a newer", "update the environment"
    if found in {revision.revision for revision in script.walk_revisions()}:
        age, remedy = "an older", f"back it up and run `mlflow db upgrade {uri}`"
    raise TrackingError(
        f"{path}: made by {age} MLflow than {mlflow.__version__} (schema {found}); {remedy}, or "
        "move the file away and `foldwise track` builds a new one from the results in runs/"
    )


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory(str(Path(mlflow.store.db_migrations.__file__).parent))


def _revision(path: Path) -> str:
    """The schema revision that a database says it has."""
    try:
        address = f"{path.as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
            if ("alembic_version",) not in tables:
                raise TrackingError(
                    f"{path}: a database, but not one of MLflow; move it away, or set "
                    "MLFLOW_TRACKING_URI to another place"
                )
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path}: not a database, or a damaged one ({error}); move it away and "
            "`foldwise track` builds a new one from the results in runs/"
        ) from None
    return str(row[0]) if row else "none"


# --- surroundings -----------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a database's lock file; the system lets go of it when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        with suppress(Timeout):
            lock.acquire(timeout=1)
        if not lock.is_locked:
            print(f"{path}: another `track` is at work, waiting", file=sys.stderr)  # noqa: T201
            lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise TrackingError(
            f"{path}: another `track` has held it for {LOCK_SECONDS // 60} minutes; {SAFE}"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's log to itself: what goes wrong is in the exception."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
