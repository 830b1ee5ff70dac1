"""Where the MLflow store is, and the command that shows it. Imports no mlflow."""

import sys
from pathlib import Path

from foldwise.core import paths
from foldwise.core.environment import TRACKING, Environment
from foldwise.core.errors import TrackingError, masked

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
SQLITE = "sqlite:///"
CHAMPION = "champion"  # alias of a study's best model: models:/<study>@champion
SAFE = "the results in runs/ are safe, and `foldwise track` completes the mirror"
LOCAL_HOSTS = "localhost,localhost:*,127.0.0.1,127.0.0.1:*"


def store_uri(root: Path, environment: Environment | None = None) -> str:
    """MLFLOW_TRACKING_URI, or the project's own SQLite database; never relative.

    Raises:
        TrackingError: it is not an address, or has a character that a database's cannot have.
    """
    root = paths.home(root)
    uri = environment.tracking_uri if environment else ""
    if not uri:
        return _sqlite(root / DATABASE)
    if uri.startswith(SQLITE):
        return _sqlite(root / uri.removeprefix(SQLITE))
    if "://" not in uri and not uri.startswith("databricks"):
        said = masked(f"http://{uri}").removeprefix("http://")
        raise TrackingError(
            f"{TRACKING}: '{said}' is not an address; that of a server is like "
            "http://127.0.0.1:5000, that of a database like sqlite:///mlflow.db"
        )
    return uri


def database(uri: str) -> Path | None:
    """The file of an SQLite store, None for any other store."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def is_built(uri: str) -> bool:
    """Whether there is a store; of a server it is not known, and True."""
    path = database(uri)
    return path is None or path.exists()


def artifacts(uri: str) -> str | None:
    """Where the files of an SQLite store's runs go, as a URI; None: its server decides."""
    path = database(uri)
    return None if path is None else (path.parent / ARTIFACTS).as_uri()


def ui_command(uri: str, port: int = 5000) -> list[str]:
    """The command line that serves the MLflow UI on this machine; run it `without_telemetry`.

    Raises:
        TrackingError: the runs are on a server, which has its own UI.
    """
    location = artifacts(uri)
    if location is None:
        raise TrackingError(f"the runs are on a tracking server: open {masked(uri)} in a browser")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--default-artifact-root", location, "--artifacts-destination", location]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--allowed-hosts", LOCAL_HOSTS, "--workers", "2"]


def _sqlite(path: Path) -> str:
    if set("?%") & set(path.as_posix()):
        raise TrackingError(
            f"{path}: a database address cannot have '?' or '%' in it; move the project, or set "
            "MLFLOW_TRACKING_URI=sqlite:////another/folder/mlflow.db"
        )
    return SQLITE + path.as_posix()
