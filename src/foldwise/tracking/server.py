"""Talk to a tracking server: is it there, for how long to be patient, what its failures mean."""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from foldwise.core.errors import FoldwiseError, TrackingError, masked
from foldwise.tracking.place import SAFE

PROBE_SECONDS = 12  # name look-up, connections, both attempts: a dead server is known within them
CALL_SECONDS = 60  # for a request with all its attempts, whatever the server does meanwhile
LOAD_SECONDS = 600  # for a model
BYTES_PER_SECOND = 100_000  # of an upload, at least
PROBED = "/api/2.0/mlflow/experiments/search"  # /health knows neither database nor password
PATIENCE = {  # MLflow's own defaults retry a dead server for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # it may ask for hours
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for each run
}
ACCESS = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "of someone who may write"
)
ADDRESS = "start it, or correct or unset MLFLOW_TRACKING_URI"
DENIED = (requests.codes.unauthorized, requests.codes.forbidden)
Given = TypeVar("Given")


def is_server(uri: str) -> bool:
    """Whether a store is reached over HTTP."""
    return uri.startswith(("http://", "https://"))


def probe(uri: str) -> None:
    """Ask a tracking server for an experiment: is it there, does it let us in, has it a database?

    Raises:
        TrackingError: no sensible answer within `PROBE_SECONDS`.
    """
    silence = f"does not answer within {PROBE_SECONDS} s: {ADDRESS}"
    if problem := within(PROBE_SECONDS, lambda: _problem(uri), trouble(uri, silence)):
        raise trouble(uri, problem)


def failure(uri: str, error: Exception) -> TrackingError | None:
    """What a server's failure midway means; None where the error says it best itself."""
    if _status(error) in DENIED:
        return trouble(uri, f"refuses access ({_last(error)}): {ACCESS}")
    if re.match(r"API request to \S+ failed with (timeout )?exception", str(error)):
        return trouble(uri, f"stopped answering ({_last(error)})")
    return None


def trouble(uri: str, problem: str) -> TrackingError:
    """The error for a server that has a problem."""
    return TrackingError(f"tracking server {masked(uri)} {problem}; {SAFE}")


class Patient:
    """MLflow's client for a server: every call ends in time, and an answer is one of MLflow's."""

    def __init__(self, uri: str):
        self._uri, self._client = uri, MlflowClient(uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            seconds = max(CALL_SECONDS, 2 * MLFLOW_HTTP_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]
            if name.endswith("_artifacts"):
                files = Path(arguments[1]).rglob("*")
                seconds += sum(file.stat().st_size for file in files) / BYTES_PER_SECOND
            silence = trouble(self._uri, f"stopped answering ({name} took {seconds:.0f} s)")
            try:
                return within(seconds, lambda: method(*arguments, **options), silence)
            except Exception as error:
                of_connection = isinstance(error, OSError) and not isinstance(error, ValueError)
                if of_connection or isinstance(error, FoldwiseError | MlflowException):
                    raise
                said = f"answers {name} with what is not MLflow's ({type(error).__name__}: {error})"
                raise trouble(self._uri, f"{said[:300]}: see its log, or {ADDRESS}") from error

        return call


def within(seconds: float, work: Callable[[], Given], otherwise: TrackingError) -> Given:
    """What some work gives.

    Raises:
        TrackingError: it takes too long, however it spends its time; `otherwise`.
    """
    given: Future[Given] = Future()

    def do() -> None:
        try:
            given.set_result(work())
        except BaseException as error:
            given.set_exception(error)

    threading.Thread(target=do, daemon=True).start()
    try:
        return given.result(seconds)
    except TimeoutError:
        if given.done():  # the work's own
            raise
        raise otherwise from None


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables, for as long as the block lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- helpers ----------------------------------------------------------------------------------


def _problem(uri: str) -> str:
    """What is wrong with a server and what to do, "" where nothing is."""
    try:
        answer: requests.Response = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            PROBED,
            "GET",
            params={"max_results": 1},
            timeout=PROBE_SECONDS / 2,
            max_retries=1,
            backoff_factor=0,
            backoff_jitter=0,
            raise_on_status=False,
        )
    except MlflowException as error:
        return f"does not answer ({_last(error)}): {ADDRESS}"
    status = answer.status_code
    said = " ".join(answer.text.split())[:200]
    if status in DENIED:
        return f"refuses access (status {status}: {said}): {ACCESS}"
    if status >= requests.codes.server_error:
        return f"answers with status {status} ({said}): see its log, or {ADDRESS}"
    if status != requests.codes.ok or not _is_json(answer):
        return f"is there, but is not MLflow's (status {status} for {PROBED}): {ADDRESS}"
    return ""


def _status(error: Exception) -> int | None:
    """The HTTP status that an error stands for."""
    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    answer = getattr(error, "response", None)  # of `requests`, which artifacts go through
    return None if answer is None else int(answer.status_code)


def _is_json(answer: requests.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except (requests.JSONDecodeError, RecursionError):
        return False


def _last(error: Exception) -> str:
    """The innermost cause, which `requests` and urllib3 wrap several times."""
    return re.split(r": |\(Caused by ", str(error))[-1].strip("\"'() ")[:300]
