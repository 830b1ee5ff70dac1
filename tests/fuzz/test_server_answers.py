"""A tracking server, or what stands where one should be, says anything at all."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fabricate import TINY, Cache, Project
from hypothesis import given
from hypothesis import strategies as st
from mutations import accepted_or_refused, either, examples, unchanged

from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.tracking import experiments, tracker

QUICK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
EXPERIMENTS, RUNS = "/experiments/search", "/runs/search"
TIME = 1_700_000_000_000


def _tags(**tags: str) -> list[dict[str, str]]:
    return [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]


ANSWERS: dict[str, Any] = {
    EXPERIMENTS: {
        "experiments": [
            {
                "experiment_id": "1",
                "name": "tiny",
                "artifact_location": "mlflow-artifacts:/1",
                "lifecycle_stage": "active",
                "last_update_time": TIME,
                "creation_time": TIME,
                "tags": _tags(foldwise__study="tiny", edition="synthetic"),
            }
        ]
    },
    RUNS: {
        "runs": [
            {
                "info": {
                    "run_id": 32 * "a",
                    "run_uuid": 32 * "a",
                    "run_name": "tiny-plain",
                    "experiment_id": "1",
                    "user_id": "somebody",
                    "status": "FINISHED",
                    "start_time": TIME,
                    "end_time": TIME + 1,
                    "artifact_uri": "mlflow-artifacts:/1/a/artifacts",
                    "lifecycle_stage": "active",
                },
                "data": {
                    "metrics": [{"key": "accuracy", "value": 0.5, "timestamp": TIME, "step": 0}],
                    "params": [{"key": "cv.folds", "value": "2"}],
                    "tags": _tags(
                        role="variant",
                        variant="tiny-plain",
                        study="tiny",
                        foldwise__spec=64 * "b",
                        foldwise__outputs=64 * "c",
                        foldwise__current="true",
                        foldwise__created=str(TIME),
                    ),
                },
                "inputs": {},
                "outputs": {},
            }
        ]
    },
}
TEXTS = {end: json.dumps(answer).encode() for end, answer in ANSWERS.items()}


class Server(ThreadingHTTPServer):
    """Answers every request alike, or as MLflow would; `status`, `kind` and bodies can be set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.bodies: dict[str, bytes] = {}
        self.status, self.kind, self.other = 200, "application/json", b"{}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        ends = (body for end, body in self.server.bodies.items() if path.endswith(end))
        body = next(ends, self.server.other)
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def made(fabricated: Cache) -> Iterator[Project]:
    project = fabricated.shared(TINY, models=True)
    with unchanged(project.root):
        yield project


def environment(server: Server) -> Environment:
    return Environment.read({"MLFLOW_TRACKING_URI": server.uri, **QUICK})


def answer(server: Server, data: st.DataObject) -> None:
    """One of the answers is another one."""
    end = data.draw(st.sampled_from((EXPERIMENTS, RUNS)))
    server.bodies = TEXTS | {end: data.draw(either(TEXTS[end]))}
    server.status = data.draw(st.sampled_from((200,) * 8 + (201, 204, 302, 404, 418)))
    server.kind = data.draw(st.sampled_from(("application/json", "text/html", "x")))
    server.other = data.draw(st.sampled_from((b"{}", b"[]", b"", b"null", b"<html>", b'{"a": 1}')))


def test_as_it_should_be(server: Server, made: Project) -> None:
    server.bodies, server.status = TEXTS, 200
    shown = experiments.shown(server.uri, environment(server))
    assert shown == {"tiny-plain": 32 * "a"}


@examples(100)
@given(data=st.data())
def test_what_is_read(server: Server, data: st.DataObject) -> None:
    answer(server, data)
    with accepted_or_refused(server.uri, seconds=20):
        experiments.shown(server.uri, environment(server))


@examples(1)
@given(data=st.data())
def test_what_is_tracked_to(server: Server, made: Project, data: st.DataObject) -> None:
    answer(server, data)
    track(made, server)


@pytest.mark.parametrize("body", [b"{}", b"[" * 100_000])
def test_the_same_answer_to_everything(server: Server, made: Project, body: bytes) -> None:
    server.bodies, server.other, server.status = {}, body, 200
    track(made, server)


def track(made: Project, server: Server) -> None:
    with accepted_or_refused(server.uri, seconds=120):
        tracker.track(made.config, made.root, environment(server))
        raise TrackingError(f"{server.uri} keeps nothing, so this cannot have been a success")
