"""Tracking to a real `mlflow server` on PostgreSQL: it dies, drags, errs, is tracked to by two."""

import itertools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from random import Random
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow import MlflowClient
from projects import Project, assert_whole, charts, content, models_of, run_of, runs_of
from servers import USER, Fault, Handler, Plan, Postgres, Proxy, Server, free_port

from foldwise import tracking
from foldwise.core.errors import TrackingError
from foldwise.tracking import lease, records, server, store

SAFE = r"results in runs/ are safe, and `foldwise track` completes the mirror"
QUICK = {  # as patient as a test can be
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PAUSE", 0.05)
    monkeypatch.setattr(lease, "POLL", 0.05)
    monkeypatch.setattr(lease, "SECONDS", 0.1)  # this process is alive, and so is its lease


@pytest.fixture(scope="module")
def expected(original: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an SQLite store holds of the project, as a person sees it."""
    root = tmp_path_factory.mktemp("sqlite")
    shutil.copytree(original.root / "runs", root / "runs")
    shutil.copytree(original.root / "metrics", root / "metrics")
    project = Project(root, original.config).only("tiny-plain")
    project.track(charts=charts)
    return content(project)


def assert_same(project: Project, expected: dict[str, Any]) -> None:
    """Complete, nothing double, nothing else than in an SQLite store."""
    assert_whole(project)
    assert content(project) == expected
    (version,) = project.client.search_model_versions("name = 'tiny'")
    assert version.run_id == run_of(project, "tiny-plain", "refit").info.run_id


def track_at_last(project: Project, expected: dict[str, Any], proxy: Proxy) -> tracking.Summary:
    """The server is well again: one more `track` completes, and a second adds nothing."""
    proxy.follow(lambda *_: None)
    summary = project.track(charts=charts)
    assert_same(project, expected)
    assert project.track(charts=charts).skipped == 6
    return summary


# --- the same as in a file --------------------------------------------------------------------


def test_a_server_holds_what_a_file_does(
    project: Project, empty_server: Server, expected: dict[str, Any]
) -> None:
    there = project.on(empty_server.uri)
    summary = there.track(charts=charts)
    assert (summary.created, summary.retired) == (6, 0)
    assert_same(there, expected)
    experiment = there.client.get_experiment_by_name("tiny")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    assert lease.TAG not in experiment.tags
    parent = run_of(there, "tiny-plain").info.run_id
    assert [f.path for f in there.client.list_artifacts(parent, "charts")] == ["charts/curves.png"]


def test_twice_writes_nothing_but_the_lease(project: Project, proxy: Proxy) -> None:
    there = project.on(proxy.uri)
    there.track()
    proxy.follow(lambda *_: None)
    assert there.track().skipped == 6
    reads = ("search", "get", "get-by-name")
    writes = [path for _, path in proxy.seen if not path.endswith(reads)]
    assert {path.rsplit("/", 1)[-1] for path in writes} == {
        "set-experiment-tag",
        "delete-experiment-tag",
    }


def test_more_points_than_a_request_takes(project: Project, empty_server: Server) -> None:
    there = project.on(empty_server.uri)
    points = [records.Point("curve", 1 / step, step, step) for step in range(1, 1102)]
    with store.opened(there.uri, there.environ) as opened:
        run = opened.client.create_run("0").info.run_id
        opened.log_points({run: points})
        opened.log_points({run: points})
        found = opened.client.get_metric_history(run, "curve")
        opened.client.delete_run(run)
    assert [(m.value, m.step) for m in found] == [(p.value, p.step) for p in points]


# --- faults -----------------------------------------------------------------------------------


def from_then_on(number: int, fault: Fault) -> Plan:
    return lambda n, *_: fault if n >= number else None


def track_or_say(project: Project) -> bool:
    """Whether it is complete; otherwise there is one clear error, in bounded time."""
    start, said = time.monotonic(), SAFE
    try:
        project.track(charts=charts)
    except TrackingError as error:
        said = str(error)
    assert re.search(SAFE, said)
    assert time.monotonic() - start < 60
    return said == SAFE


def test_every_request_is_sent_twice(
    project: Project, proxy: Proxy, expected: dict[str, Any]
) -> None:
    """The server does what it is asked, but each answer is lost at first: ghosts everywhere."""
    proxy.follow(lambda n, *_: Handler.lose if n % 2 else None)
    there = project.on(proxy.uri, **QUICK)
    summary = there.track(charts=charts)
    assert summary.created == 6
    assert summary.retired == 6
    assert_same(there, expected)
    assert track_at_last(there, expected, proxy).skipped == 6


def test_a_server_that_dies_again_and_again(
    project: Project, proxy: Proxy, expected: dict[str, Any]
) -> None:
    """After 3, 26, 49, ... requests, until there are enough for what is left."""
    there = project.on(proxy.uri, **QUICK)
    for number in range(3, 200, 23):
        proxy.follow(from_then_on(number, Handler.fail))
        if track_or_say(there):
            break
    assert 49 < number < 190
    assert track_at_last(there, expected, proxy).skipped == 6


def test_requests_go_wrong_in_every_way(
    project: Project, proxy: Proxy, expected: dict[str, Any]
) -> None:
    """Some even three times in a row, which is more often than the client tries."""
    random = Random(0)
    faults = [Handler.fail, Handler.lose, Handler.drop, Handler.drag, Handler.halve]
    weights = [5, 5, 5, 1, 5]  # one of them takes its time
    proxy.follow(lambda *_: random.choices(faults, weights)[0] if random.random() < 0.4 else None)
    there = project.on(proxy.uri, **QUICK)
    for _ in range(3):
        track_or_say(there)
    track_at_last(there, expected, proxy)


def test_an_upload_that_breaks_leaves_the_run_incomplete(
    project: Project, proxy: Proxy, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.follow(lambda _, method, path: Handler.halve if path.endswith(".pt2") else None)
    there = project.on(proxy.uri, **QUICK)
    with pytest.raises(TrackingError, match=f"stopped answering.*{SAFE}"):
        there.track(charts=charts)
    assert {run.info.status for run in runs_of(there)} == {"RUNNING"}
    track_at_last(there, expected, proxy)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    (model,) = [m for m in models_of(there) if m.tags["split"] == "r0-f00"]
    mlflow.set_tracking_uri(there.uri)
    try:
        given = mlflow.pyfunc.load_model(model.model_uri).predict(np.ones((2, 6), np.float32))
    finally:
        mlflow.set_tracking_uri(None)
    np.testing.assert_allclose(given.sum(axis=1), 1, rtol=1e-5)


def test_a_server_that_asks_to_come_back_in_an_hour(project: Project, proxy: Proxy) -> None:
    proxy.follow(from_then_on(10, Handler.busy))
    assert not track_or_say(project.on(proxy.uri, **QUICK))


# --- deaths -----------------------------------------------------------------------------------


def once_at(number: int, do: Callable[[], object], end: str = "") -> Plan:
    """Something happens right after a request arrived, before it is passed on.

    Requests are counted whose path has this end.
    """
    count = itertools.count(1)

    def plan(_: int, __: str, path: str) -> None:
        if path.endswith(end) and next(count) == number:
            do()

    return plan


def test_a_killed_server(project: Project, proxy: Proxy, expected: dict[str, Any]) -> None:
    proxy.follow(once_at(2, proxy.target.kill, "/runs/update"))  # where the second run is to end
    there = project.on(proxy.uri, **QUICK)
    with pytest.raises(TrackingError, match=f"stopped answering.*{SAFE}"):
        there.track(charts=charts)
    with pytest.raises(TrackingError, match=f"does not answer.*Connection refused.*{SAFE}"):
        project.on(proxy.target.uri).track()
    proxy.target.start()
    assert {run.info.status for run in runs_of(there)} == {"FINISHED", "RUNNING"}
    summary = track_at_last(there, expected, proxy)
    assert summary.repaired >= 1


def test_a_restarted_database(
    project: Project, proxy: Proxy, postgres: Postgres, expected: dict[str, Any]
) -> None:
    """Whoever is connected is thrown out, asks again, and is served."""
    proxy.follow(once_at(50, postgres.restart))
    there = project.on(proxy.uri)
    assert track_or_say(there)
    assert track_at_last(there, expected, proxy).skipped == 6


def test_a_server_without_its_database(
    project: Project, empty_server: Server, postgres: Postgres
) -> None:
    postgres.stop()
    start = time.monotonic()
    try:
        with pytest.raises(TrackingError, match=SAFE):
            project.on(empty_server.uri).track()
        assert time.monotonic() - start < 15
    finally:
        postgres.start()


def track_in_process(project: Project) -> None:
    project.track(charts=charts)


def test_a_killed_track(
    project: Project,
    proxy: Proxy,
    expected: dict[str, Any],
    processes: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The next one does not wait for a lease whose owner is dead."""
    there = project.on(proxy.uri, **QUICK)
    killed = processes.Process(target=track_in_process, args=(there,))
    killed.start()
    proxy.follow(once_at(50, lambda: os.kill(killed.pid, signal.SIGKILL)))
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert "RUNNING" in {run.info.status for run in runs_of(there)}
    monkeypatch.setattr(lease, "SECONDS", 60)
    assert track_at_last(there, expected, proxy).repaired >= 1
    assert "is at work" not in capfd.readouterr().err


def test_an_experiment_that_was_deleted(
    project: Project, proxy: Proxy, expected: dict[str, Any]
) -> None:
    """While `track` is at work; the next one restores it."""
    there = project.on(proxy.uri, **QUICK)

    def delete() -> None:
        direct = MlflowClient(proxy.target.uri)
        direct.delete_experiment(direct.get_experiment_by_name("tiny").experiment_id)

    proxy.follow(once_at(50, delete))
    with pytest.raises(TrackingError, match=SAFE):
        there.track(charts=charts)
    track_at_last(there, expected, proxy)


# --- two at once ------------------------------------------------------------------------------


def at_once(number: int, processes: Any, target: Any, project: Project) -> list[int]:
    """The exit codes of so many processes."""
    together = [processes.Process(target=target, args=(project,)) for _ in range(number)]
    for process in together:
        process.start()
    for process in together:
        process.join(60)
    return [process.exitcode for process in together]


def test_two_take_turns(
    project: Project, proxy: Proxy, expected: dict[str, Any], processes: Any
) -> None:
    there = project.on(proxy.uri)
    assert at_once(2, processes, track_in_process, there) == [0, 0]
    created = [path for _, path in proxy.seen if path.endswith("runs/create")]
    assert len(created) == 6
    assert_same(there, expected)


def track_without_lease(project: Project) -> None:
    @contextmanager
    def held(*_: Any) -> Iterator[Callable[[], None]]:
        yield lambda: None

    lease.held = held
    track_or_say(project)


def test_what_two_without_a_lease_do_is_settled_later(
    project: Project, proxy: Proxy, expected: dict[str, Any], processes: Any
) -> None:
    """Neither sees a run of the other before it makes its own."""
    there, both, creations = project.on(proxy.uri), threading.Barrier(2), itertools.count()

    def plan(_: int, method: str, path: str) -> None:
        if path.endswith("runs/create") and next(creations) < 2:
            both.wait(60)

    proxy.follow(plan)
    assert at_once(2, processes, track_without_lease, there) == [0, 0]
    created = [path for _, path in proxy.seen if path.endswith("runs/create")]
    assert len(created) > 6
    track_at_last(there, expected, proxy)


@pytest.fixture
def opened(project: Project) -> Iterator[store.Store]:
    """A store that is no file of ours, as far as leases know."""
    with store.opened(project.uri, {}) as opened:
        yield store.Store("http://example.org", opened.client, None)


def test_the_second_waits_until_the_first_is_done(
    opened: store.Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 60)
    events: list[str] = []

    def second() -> None:
        with lease.held(opened, ["0"]):
            events.append("second")

    with lease.held(opened, ["0"]):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        events.append("first")
    thread.join(10)
    assert events == ["first", "second"]
    assert re.search(r"another `track` \(process \d+ on .*\) is at work", capsys.readouterr().err)


def test_a_lease_is_renewed_while_at_work(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.6)
    with lease.held(opened, ["0"]) as renew:
        other = threading.Thread(target=lambda: lease.Lease(opened.client, "").take("0"))
        other.start()
        for _ in range(15):
            time.sleep(0.1)
            renew()
        assert other.is_alive()
        other.join(5)  # not renewed any more
        with pytest.raises(TrackingError, match=r"has taken over.*safe"):
            renew()


@pytest.mark.parametrize("until", [-1, 3600])
def test_a_lease_that_nobody_renews_runs_out(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    """Also where the clock of its owner is an hour ahead."""
    monkeypatch.setattr(lease, "SECONDS", 0.5)
    dead = lease.Claim("someone", "elsewhere", 1, time.time() + until)
    opened.client.set_experiment_tag("0", lease.TAG, json.dumps(asdict(dead)))
    start = time.monotonic()
    with lease.held(opened, ["0"]):
        assert (time.monotonic() - start > 0.5) == (until > 0)
    assert lease.TAG not in opened.client.get_experiment("0").tags


def test_waiting_for_a_lease_has_an_end(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 60)
    monkeypatch.setattr(lease, "LOCK_SECONDS", 0.3)
    lease.Lease(opened.client, "").take("0")
    with pytest.raises(TrackingError, match=SAFE), lease.held(opened, ["0"]):
        pass


# --- servers that cannot be used --------------------------------------------------------------


def test_a_server_that_is_not_there(project: Project) -> None:
    start = time.monotonic()
    with pytest.raises(TrackingError, match=rf"does not answer \(.*refused\).*{SAFE}"):
        project.on(f"http://127.0.0.1:{free_port()}").track()
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("silence", [Handler.hang, Handler.drip])
def test_a_server_that_never_answers(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, silence: Fault
) -> None:
    assert server.PROBE_SECONDS < 15
    monkeypatch.setattr(server, "PROBE_SECONDS", 1)
    proxy.follow(from_then_on(1, silence))
    start = time.monotonic()
    with pytest.raises(TrackingError, match=f"does not answer.*{SAFE}"):
        server.probe(proxy.uri)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Handler.fail, "status 500.*out of order"),
        (Handler.missing, "not MLflow's .status 404.*correct or unset MLFLOW_TRACKING_URI"),
        (Handler.login_page, "not MLflow's .status 200"),
        (Handler.forbid, "refuses access .status 403: Permission denied.*MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_a_server_that_is_no_use(proxy: Proxy, fault: Fault, message: str) -> None:
    proxy.follow(from_then_on(1, fault))
    with pytest.raises(TrackingError, match=f"{message}.*{SAFE}"):
        server.probe(proxy.uri)


def test_a_server_that_asks_who_it_is(project: Project, proxy: Proxy) -> None:
    proxy.follow(from_then_on(1, Handler.ask_who))
    with pytest.raises(TrackingError, match=r"401.*MLFLOW_TRACKING_USERNAME.*PASSWORD.*TOKEN"):
        project.on(proxy.uri).track()
    user, password = (part.decode() for part in USER)
    settings = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    with store.opened(proxy.uri, settings) as opened:
        assert opened.client.get_experiment("0").name == "Default"


def test_a_server_that_lets_us_only_read(project: Project, proxy: Proxy) -> None:
    proxy.follow(lambda _, m, path: Handler.forbid if path.endswith("/create") else None)
    with pytest.raises(TrackingError, match=f"refuses access .*MLFLOW_TRACKING_USERNAME.*{SAFE}"):
        project.on(proxy.uri).track()


def test_no_password_is_shown(project: Project) -> None:
    address = f"http://me:secret@127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError) as caught:
        project.on(address).track()
    assert "secret" not in str(caught.value)
    assert "secret" not in str(tracking.Summary(address))
