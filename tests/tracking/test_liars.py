"""Servers that answer what is not MLflow's, or nothing any more: one clear error, in time."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from projects import Project, assert_whole, charts
from servers import QUICK, SAFE, Fault, Handler, Proxy, Server, running_proxy

from foldwise.core.errors import TrackingError
from foldwise.doctor import store as doctor
from foldwise.tracking import loading, place, server

NONSENSE = [
    b"{}",
    b"",
    b"[]",
    b"null",
    b"7",
    b"{",
    b"\xff\xfe",
    b'{"experiments": 7}',
    b'{"experiments": [{"experiment_id": [1]}], "runs": [7]}',
    b'{"experiments": [{"name": "tiny", "experiment_id": "soon", "tags": [{}]}]}',
    b'{"experiment": {"name": "tiny", "experiment_id": "1"}, "run": {}, "next_page_token": "x"}',
    b'{"experiment": {"experiment_id": "1"}, "runs": [{"info": {}}], "model": {"info": null}}',
]


@pytest.fixture
def liar() -> Iterator[Proxy]:
    """A server with nothing behind it."""
    with running_proxy(cast(Server, SimpleNamespace(port=0))) as proxy:
        yield proxy


@pytest.fixture
def proxy(tmp_path: Path, empty_database: Path) -> Iterator[Proxy]:
    """Something before a real server that can go wrong."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder)
    real = Server(f"{place.SQLITE}{folder / place.DATABASE}", folder)
    try:
        with running_proxy(real) as proxy:
            yield proxy
    finally:
        real.kill()


def answering(body: bytes) -> Fault:
    return lambda handler: handler._answer(200, body, {"Content-Type": "application/json"})


@pytest.mark.parametrize("body", NONSENSE)
def test_a_server_that_answers_everything_alike(project: Project, liar: Proxy, body: bytes) -> None:
    there = project.on(liar.uri, **QUICK)
    liar.follow(lambda *_: answering(body))
    with pytest.raises(TrackingError, match=SAFE) as caught:
        there.track()
    assert liar.uri in str(caught.value)
    findings = doctor.examine(there.config, there.root, there.environment, there.track)
    assert all(finding.text for finding in findings)
    with pytest.raises(TrackingError):
        loading.load("models:/tiny@champion", there.root, there.environment)


@pytest.mark.parametrize("requests", [4, 9, 15, 40, 80])
def test_a_server_that_says_yes_to_everything_from_some_time_on(
    project: Project, proxy: Proxy, requests: int
) -> None:
    there = project.on(proxy.uri, **QUICK)
    proxy.follow(lambda n, *_: answering(b"{}") if n >= requests else None)
    with pytest.raises(TrackingError, match=SAFE):
        there.track(charts=charts)
    proxy.follow(lambda *_: None)
    there.track(charts=charts)
    assert_whole(there)


@pytest.mark.parametrize("silence", [Handler.hang, Handler.drip])
@pytest.mark.parametrize("requests", [4, 40])
def test_a_server_that_freezes(
    project: Project, proxy: Proxy, requests: int, silence: Fault, monkeypatch: Any
) -> None:
    """However it spends its time: without a word, or with a bit now and then."""
    monkeypatch.setattr(server, "CALL_SECONDS", 2)
    there = project.on(proxy.uri, **QUICK)
    proxy.follow(lambda n, *_: silence if n >= requests else None)
    start = time.monotonic()
    with pytest.raises(TrackingError, match=f"stopped answering .*{SAFE}"):
        there.track(charts=charts)
    assert time.monotonic() - start < 160  # it would be five attempts of 30 seconds, and more
