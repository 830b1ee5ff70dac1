"""Workers have one thread each, end with their parent, and are missed when they die."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from foldwise import journal
from foldwise.core.environment import Environment
from foldwise.core.errors import TrainingError
from foldwise.engine.executors import THREADS, choose_device

TESTS = Path(__file__).parents[1]


def test_devices() -> None:
    assert choose_device(Environment(device="cpu")) == "cpu"
    if not torch.cuda.is_available():
        assert choose_device(Environment()) == "cpu"
        with pytest.raises(TrainingError, match="finds no usable GPU"):
            choose_device(Environment(device="cuda"))


@contextmanager
def started(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """Python in a process of its own, where nothing but foldwise limits threads."""
    kept = {name: value for name, value in os.environ.items() if name not in THREADS}
    folders = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kept | {"PYTHONPATH": folders},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def output_of(*arguments: str) -> str:
    with started(*arguments) as process:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    return output


# --- threads ----------------------------------------------------------------------------------

POOLS = """
import torch
from builders import dataset, variant
from threadpoolctl import threadpool_info
from foldwise.engine import executors, mlp
from foldwise.splits import split_table, splits_of

class Learner(mlp.Mlp):
    def train(self, *arguments):
        trained = super().train(*arguments)
        probed = sum(len(each.diagnostics) > 0 for each in trained)
        return [("probed", probed)] + pools()

def pools():
    return [(pool["internal_api"], pool["num_threads"]) for pool in threadpool_info()]

def in_workers():
    print(executors._start_method())
    lines = []
    works = [executors.Work(Learner(v), data, chunks)]
    executors.run_chunks(works, "cpu", 2, lambda work, done: lines.extend(done.trained))
    for name, number in lines:
        print(name, number)

if __name__ == "__main__":
    v, data = variant(), dataset(rows=41)
    chunks = Learner(v).plan(splits_of(split_table(data.y, v.cv)), data)
    in_workers()
    torch.export.export(torch.nn.Linear(3, 2), (torch.ones(4, 3),))
    torch.ones((), requires_grad=True).backward()
    in_workers()
    import sklearn.svm
    print("here")
    for name, number in pools():
        print(name, number)
"""


def test_blas_and_openmp_have_one_thread_and_workers_autograd(tmp_path: Path) -> None:
    """In copies of this process; then in new ones, since autograd, which the probe uses, cannot
    work in a copy once it has threads of its own here. BLAS is limited in workers and here, also
    in libraries that the compiled step or anything else loads.
    """
    program = tmp_path / "program.py"  # a file: new processes import it again
    program.write_text(POOLS)
    output = output_of(str(program))
    copies, rest = output.removeprefix("fork\n").split("spawn\n")
    new, here = rest.split("here\n")
    for part in (copies, new):
        assert part.split().count("probed") > 1
        assert "probed 1" in part
    for part in (copies, new, here):
        pools = [line.split() for line in part.splitlines() if not line.startswith("probed")]
        assert {name for name, _ in pools} >= {"openblas", "openmp"}
        assert {number for _, number in pools} == {"1"}


# --- processes --------------------------------------------------------------------------------

LONG = """
import sys
from pathlib import Path
from builders import dataset, variant
from foldwise.core.environment import Environment
from foldwise.engine.cross_validation import cross_validate
from foldwise.journal import Recorder
from foldwise.splits import split_table
data = dataset(rows=400, features=200)
v = variant(training={"epochs": 100000, "batch_size": 2}, network={"hidden": [200]})
with Recorder(Path(sys.argv[1])) as recorder:
    environment = Environment(workers=2, device="cpu")
    cross_validate(v, data, split_table(data.y, v.cv), "d", environment, recorder)
"""


@contextmanager
def long_training(
    path: Path,
) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """A training with two workers that are at work, and its journal."""
    with started("-c", LONG, str(path)) as process:
        deadline = time.monotonic() + 300
        while status(path) != "running":
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.05)
        yield process, psutil.Process(process.pid).children()


def status(path: Path) -> str:
    """Of a training that has recorded something."""
    found = journal.read(path)
    return found.status if found and found.epochs else ""


def test_workers_and_the_lock_on_the_journal_end_with_their_parent(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with long_training(path) as (process, workers):
        assert len(workers) == 2
        process.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive
    assert status(path) == "killed"


def test_a_killed_worker_is_said_clearly(tmp_path: Path) -> None:
    with long_training(tmp_path / "x.jsonl") as (process, workers):
        os.kill(workers[0].pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
    assert "a worker process died" in errors
