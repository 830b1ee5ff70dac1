"""Memory that is not there is asked for before anything trains, with the numbers."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import fabricate
import psutil
import pytest
from builders import dataset, variant

from foldwise.core import config, paths
from foldwise.core.environment import Environment
from foldwise.core.errors import TrainingError
from foldwise.datasets import prepared
from foldwise.engine import limits, tasks
from foldwise.engine.executors import Work
from foldwise.engine.learners import learner_of
from foldwise.splits import split_table, splits_of

TESTS = Path(__file__).parents[1]
HERE = Environment(workers=4, device="cpu")
DATA = dataset(rows=41)


def fits(free: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> int:
    learner, splits = learner_of(variant()), splits_of(split_table(DATA.y, variant().cv))
    monkeypatch.setattr(limits, "free_memory", lambda: free)
    return limits.workers_that_fit([Work(learner, DATA, [tuple(splits)])], workers)


def test_as_many_workers_as_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = learner_of(variant())
    one, kept = learner.memory(DATA), 4 * 5 * learner.parameters(DATA)
    assert fits(2**40, 4, monkeypatch) == 4
    assert capsys.readouterr().err == ""
    assert fits(2 * one + kept, 4, monkeypatch) == 2
    assert "memory for 2 of 4 workers: toy-variant: training networks of 57" in (
        capsys.readouterr().err
    )
    with pytest.raises(TrainingError, match=r"make variants\.toy-variant\.hidden smaller"):
        fits(one + kept - 1, 4, monkeypatch)


@pytest.mark.parametrize("hidden", [[2_000_000_000], [1_000_000, 1_000_000], [10**11]])
def test_absurd_sizes_are_refused_before_anything_trains(hidden: list[int]) -> None:
    v = variant(network={"hidden": hidden})
    task = tasks.task(v, DATA, split_table(DATA.y, v.cv), "", "cpu")
    with pytest.raises(TrainingError, match=r"parameters takes [\d,.]+ GiB of memory in a worker"):
        tasks.train([task], HERE)


def test_a_machine_or_its_limit_says_what_is_free() -> None:
    free = limits.free_memory()
    assert 0 < free <= psutil.virtual_memory().total
    code = "from foldwise.engine import limits; print(limits.free_memory())"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))

    done = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limited, capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < 2**33


PEAK = """
import sys
import numpy as np
from builders import chunk, dataset, variant
from foldwise.engine.learners import learner_of

def peak():  # of this program: ru_maxrss begins with that of the one that started it
    return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

data = dataset(rows=41, features=50)
hidden = [int(n) for n in sys.argv[1].split(",")]
v = variant(network={"hidden": hidden, "hidden_dropout": 0.5}, training={"epochs": 1})
learner = learner_of(v)
learner.prepare("cpu")
before = peak()
learner.train(chunk(v, data).splits[:learner.stack_size(data)], data, "cpu", lambda said: None)
print(peak() - before, learner.memory(data))
"""


@pytest.mark.slow
@pytest.mark.parametrize("hidden", ["20000", "400,400,400,400"])
def test_the_estimate_is_about_what_a_training_takes(hidden: str) -> None:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-c", PEAK, hidden]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    taken, estimated = map(int, done.stdout.split())
    assert taken / 2 <= estimated <= 2 * taken + 2**26


def test_check_counts_before_there_are_data(tmp_path: Path) -> None:
    (tmp_path / paths.PARAMS).write_text(fabricate.TINY.params)
    limits.check_settings(fabricate.TINY.config, tmp_path)
    wide = fabricate.TINY.params.replace("hidden: [5, 4]", "hidden: [1000, 100000000000]")
    with pytest.raises(TrainingError, match="tiny-dropout: training networks of 100,") as raised:
        limits.check_settings(config.parse(wide), tmp_path)
    assert "and this machine has " in str(raised.value)
    assert "of 100,400,000,004,001 parameters" in str(raised.value)
    prepared.save(DATA, tmp_path / paths.prepared("rows"))
    with pytest.raises(TrainingError, match="of 100,400,000,009,001 "):  # with six features a row
        limits.check_settings(config.parse(wide), tmp_path)
