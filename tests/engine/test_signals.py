"""A signal ends a training soon, leaves no process, and costs the splits in hand alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from builders import dataset
from fabricate import TINY

from foldwise import journal
from foldwise.core import files, paths
from foldwise.datasets import prepared
from foldwise.engine import tasks
from foldwise.engine.store import Store
from foldwise.splits import split_table

SECONDS = 60  # for what takes less than two
LONG_STEP = {"rows": 100_000, "features": 2}  # a block of batches takes seconds in compiled code
PARAMS = TINY.params.replace(
    "tiny-dropout: {study: tiny,", "tiny-dropout: {study: tiny, training: {epochs: 10000000},"
)
WIDE = PARAMS.replace("hidden: [5, 4], batch_norm: true", "hidden: [300, 300]")


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Variant tiny-plain is trained at once, tiny-dropout never."""

    def make(params: str = PARAMS, rows: int = 40, features: int = 6) -> Path:
        (tmp_path / paths.PARAMS).write_text(params.replace("rows: 40", f"rows: {rows}"))
        data = dataset(rows, features)
        prepared.save(data, tmp_path / paths.prepared("rows"))
        table = split_table(data.y, TINY.config.study("tiny").cv)
        facts = {"data_digest": data.digest}
        files.write_table(tmp_path / paths.splits("tiny"), table, facts)
        return tmp_path

    return make


def started(root: Path, workers: int, *names: str) -> "subprocess.Popen[str]":
    environ = {**os.environ, "FOLDWISE_WORKERS": str(workers), "FOLDWISE_DEVICE": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "foldwise", "train", *names],
        cwd=root,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(event: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not event():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def at_work(root: Path) -> bool:
    found = journal.read(root / paths.journal("tiny-dropout"))
    return found is not None and len(found.epochs) > 0


def ended(process: "subprocess.Popen[str]", send: Callable[[], object]) -> tuple[str, float]:
    """What it said after a signal, and how long that took; none of its processes is left."""
    family = psutil.Process(process.pid).children(recursive=True)
    begun = time.monotonic()
    send()
    _, said = process.communicate(timeout=SECONDS)
    seconds = time.monotonic() - begun
    _, alive = psutil.wait_procs(family, timeout=SECONDS)
    assert alive == []
    return said, seconds


@pytest.mark.parametrize(
    ("workers", "sent", "status", "whom"),
    [
        (1, signal.SIGTERM, 143, "one"),
        (1, signal.SIGINT, 130, "group"),
        (4, signal.SIGTERM, 143, "group"),
        (4, signal.SIGINT, 130, "one"),
        (4, signal.SIGHUP, 129, "one"),
    ],
)
def test_finished_splits_are_kept(
    project: Callable[..., Path], workers: int, sent: signal.Signals, status: int, whom: str
) -> None:
    if signal.getsignal(sent) is signal.SIG_IGN:
        pytest.skip("whoever runs the tests ignores this signal, as nohup does")
    root = project()
    store = Store(root)
    if workers == 1:  # the long ones come first
        with started(root, 1, "tiny-plain") as process:
            process.communicate(timeout=300)
    with started(root, workers, "tiny-plain", "tiny-dropout") as process:
        wait_for(lambda: at_work(root) and len(store.kept()) == 5, process)
        send = {"one": process.send_signal, "group": lambda s: os.killpg(process.pid, s)}[whom]
        said, seconds = ended(process, lambda: send(sent))
    assert process.returncode == status
    assert "Traceback" not in said
    assert "error" not in said
    assert seconds < 10
    (task,) = tasks.load([TINY.config.variant("tiny-plain")], "cpu", root)
    assert all(store.get(task.keys[split.place], split) for split in task.splits)
    assert [path for path in root.rglob(".*.*") if path.is_file()] == []
    found = journal.read(root / paths.journal("tiny-dropout"))
    assert found is not None
    assert found.status == "killed"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_long_step_of_compiled_code_does_not_hold_it_up(
    project: Callable[..., Path], workers: int
) -> None:
    root = project(WIDE, **LONG_STEP)
    with started(root, workers, "tiny-dropout") as process:
        wait_for(lambda: at_work(root), process)
        said, seconds = ended(process, lambda: process.send_signal(signal.SIGTERM))
    assert process.returncode == 143
    assert "Traceback" not in said
    assert seconds < 10
