"""`foldwise ui` as people see it: a real server, a real browser."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from chromium import Browser, browser, executable
from mlflow import MlflowClient
from mlflow_pages import VARIANTS, pages, picture, show
from projects import Project
from servers import free_port

from foldwise.tracking.summary import Summary

COMMAND = "from foldwise.commands.main import main; main()"
pytestmark = pytest.mark.skipif(executable() is None, reason="no Chromium: apt install chromium")


@pytest.fixture(scope="module")
def address(tracked: tuple[Project, Summary]) -> Iterator[str]:
    """A running `foldwise ui` on a store with three variants."""
    port = free_port()
    command = [sys.executable, "-c", COMMAND, "ui", "--port", str(port)]
    server = subprocess.Popen(
        command,
        cwd=tracked[0].root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def wait_until_healthy(address: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None
        try:
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError("the server never answered")


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.mark.parametrize("name", ["experiment", "charts", "compare", "parent", "child"])
def test_pages_show_what_people_look_for(
    name: str,
    address: str,
    window: Browser,
    tracked: tuple[Project, Summary],
    tmp_path: Path,
) -> None:
    page = pages(tracked[0].client, "tiny")[name]
    show(window, address, page)
    picture(window, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_the_description_is_read_on_the_parent_s_page(
    address: str, window: Browser, tracked: tuple[Project, Summary]
) -> None:
    page = pages(tracked[0].client, "tiny")["parent"]
    show(window, address, page)
    assert "SYNTHETIC DATA" in window.evaluate("document.body.innerText")


def test_the_filter_shows_variants_alone(address: str, tracked: tuple[Project, Summary]) -> None:
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("tiny")
    found = client.search_runs([experiment.experiment_id], VARIANTS)
    assert {run.info.run_name for run in found} == {"tiny-plain", "tiny-dropout"}
