"""`make check` asks for known vulnerabilities of what is locked, and fails for none of them."""

import importlib.util
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ADVISORY = {
    "id": "GHSA-0000",
    "modified": "2024-01-01T00:00:00Z",
    "summary": "it burns",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "one"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}
LOCKED = "one==1.0 \\\n    --hash=sha256:00\ntwo==2 ; python_version < '3.12' \\\n"


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCKED)
    return path


class Source(BaseHTTPRequestHandler):
    """What osv.dev says; `found` is set by the test."""

    found: tuple[dict[str, Any], ...] = ()
    asked: Any = None

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        type(self).asked = [(q["package"]["name"], q["version"]) for q in queries]
        first = {"vulns": [{"id": v["id"], "modified": v["modified"]} for v in self.found]}
        self.answer({"results": [first, *[{}] * (len(queries) - 1)]})

    def do_GET(self) -> None:
        if self.path.startswith("/v1/vulns/"):
            self.answer(self.found[0])
        else:
            self.send_error(404)

    def answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def source(*found: dict[str, Any]) -> Iterator[str]:
    handler = type("Handler", (Source,), {"found": found})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_an_advisory_is_printed_and_fails_nothing(
    audit: ModuleType, lock: Path, capsys: Any
) -> None:
    with source(ADVISORY) as address:
        audit.main("--service-url", address, lock=lock)
    said = capsys.readouterr().out
    assert "one 1.0 has 1 known vulnerability" in said
    assert "GHSA-0000: it burns" in said
    assert "Fixed in: 1.1" in said


def test_nothing_is_known(audit: ModuleType, lock: Path, capsys: Any) -> None:
    with source() as address:
        audit.main("--service-url", address, lock=lock)
    said = capsys.readouterr().out
    assert said.startswith("advisories: Found no known vulnerabilities")
    assert "in 2 packages" in said


def test_a_source_that_is_not_there_is_a_reason(audit: ModuleType, lock: Path, capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    audit.main("--service-url", f"http://127.0.0.1:{port}", lock=lock)
    assert capsys.readouterr().out.startswith("advisories: skipped (Connection refused")


def test_a_source_that_never_answers_costs_seconds(
    audit: ModuleType, lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(audit, "SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        audit.main("--service-url", f"http://127.0.0.1:{silent.getsockname()[1]}", lock=lock)
    assert time.monotonic() - started < 5
    assert capsys.readouterr().out == "advisories: skipped (no answer within 1 s)\n"


def test_everything_that_is_locked_is_asked_about(audit: ModuleType, tmp_path: Path) -> None:
    audit.write_project(audit.LOCK, tmp_path)
    text = (tmp_path / "uv.lock").read_text()
    for name in ("torch", "mlflow", "dvc", "numba"):
        assert f'name = "{name}"' in text
