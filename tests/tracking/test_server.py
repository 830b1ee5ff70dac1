"""Tracking to a real `mlflow server` on PostgreSQL: it dies, drags, errs, is tracked to by two."""

import itertools
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow import MlflowClient
from projects import Project, assert_whole, charts, content, models_of, run_of, runs_of, track_here
from servers import (
    QUICK,
    SAFE,
    USER,
    Fault,
    Handler,
    Plan,
    Postgres,
    Proxy,
    Server,
    free_port,
)

from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.tracking import server, store
from foldwise.tracking.summary import Summary


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


def track_at_last(project: Project, expected: dict[str, Any], proxy: Proxy) -> Summary:
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
    parent = run_of(there, "tiny-plain").info.run_id
    assert [f.path for f in there.client.list_artifacts(parent, "charts")] == ["charts/curves.png"]


def test_twice_writes_nothing(project: Project, proxy: Proxy) -> None:
    there = project.on(proxy.uri)
    there.track()
    proxy.follow(lambda *_: None)
    assert there.track().skipped == 6
    assert [
        path for _, path in proxy.seen if not path.endswith(("search", "get", "get-by-name"))
    ] == []


# --- faults -----------------------------------------------------------------------------------


def from_then_on(number: int, fault: Fault) -> Plan:
    return lambda n, *_: fault if n >= number else None


def track_or_say(project: Project) -> bool:
    """Whether it is complete; otherwise there is one clear error."""
    said = SAFE
    try:
        project.track(charts=charts)
    except TrackingError as error:
        said = str(error)
    assert re.search(SAFE, said)
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
    try:
        with pytest.raises(TrackingError, match=SAFE):
            project.on(empty_server.uri).track()
    finally:
        postgres.start()


def track_in_process(project: Project) -> None:
    track_here(project, charts=charts)


def test_a_killed_track(
    project: Project, proxy: Proxy, expected: dict[str, Any], processes: Any
) -> None:
    there = project.on(proxy.uri, **QUICK)
    killed = processes.Process(target=track_in_process, args=(there,))
    killed.start()
    proxy.follow(once_at(50, lambda: os.kill(killed.pid, signal.SIGKILL)))
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    assert "RUNNING" in {run.info.status for run in runs_of(there)}
    assert track_at_last(there, expected, proxy).repaired >= 1


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
        process.join(300)
    return [process.exitcode for process in together]


def meeting(number: int) -> Plan:
    """None of so many trackers sees a run of another before it makes its own."""
    together, creations = threading.Barrier(number), itertools.count()

    def plan(_: int, method: str, path: str) -> None:
        if path.endswith("runs/create") and next(creations) < number:
            together.wait(300)

    return plan


def assert_settled(there: Project, expected: dict[str, Any], codes: Sequence[int]) -> None:
    """One run of each is left, or one of the trackers said that it is not: then the next helps."""
    assert set(codes) <= {0, 1}
    if any(codes):
        there.track(charts=charts)
    assert_same(there, expected)


@pytest.mark.parametrize("number", [2, 3])
def test_several_at_once_leave_one_run_of_each(
    project: Project, proxy: Proxy, expected: dict[str, Any], processes: Any, number: int
) -> None:
    """They double what they make, and settle it among themselves."""
    there = project.on(proxy.uri)
    proxy.follow(meeting(number))
    codes = at_once(number, processes, track_in_process, there)
    created = [path for _, path in proxy.seen if path.endswith("runs/create")]
    assert len(created) > 6
    assert_settled(there, expected, codes)
    assert there.track(charts=charts).skipped == 6


def test_a_second_one_that_comes_in_the_middle(
    project: Project, proxy: Proxy, expected: dict[str, Any], processes: Any
) -> None:
    """It works on the runs that the first has begun."""
    there, second = project.on(proxy.uri), []

    def start() -> None:
        second.append(processes.Process(target=track_in_process, args=(there,)))
        second[0].start()

    proxy.follow(once_at(4, start, "/runs/log-batch"))
    codes = at_once(1, processes, track_in_process, there)
    second[0].join(300)
    assert_settled(there, expected, [*codes, second[0].exitcode])


# --- servers that cannot be used --------------------------------------------------------------


def test_a_server_that_is_not_there(project: Project) -> None:
    with pytest.raises(TrackingError, match=rf"does not answer \(.*refused\).*{SAFE}"):
        project.on(f"http://127.0.0.1:{free_port()}").track()


@pytest.mark.parametrize("silence", [Handler.hang, Handler.drip])
def test_a_server_that_never_answers(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, silence: Fault
) -> None:
    assert server.PROBE_SECONDS < 15
    monkeypatch.setattr(server, "PROBE_SECONDS", 1)
    proxy.follow(from_then_on(1, silence))
    with pytest.raises(TrackingError, match=f"does not answer.*{SAFE}"):
        server.probe(proxy.uri)


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
    with store.opened(proxy.uri, Environment(mlflow=settings)) as opened:
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
    assert "secret" not in str(Summary(address))
