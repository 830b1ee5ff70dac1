"""A run has every split once, whatever the number of workers; divergence is a result."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from builders import dataset, variant

from foldwise import results
from foldwise.core.config import Variant
from foldwise.core.errors import ConfigError, TrainingError
from foldwise.datasets.prepared import Dataset
from foldwise.engine import cross_validation, executors
from foldwise.engine.cross_validation import METRICS, cross_validate, plan_chunks, stack_size
from foldwise.numerics import training
from foldwise.numerics.networks import from_weights
from foldwise.results import REFIT, RunFiles
from foldwise.splits import split_table, splits


def run_of(v: Variant, data: Dataset, workers: int = 1) -> RunFiles:
    environ = {"FOLDWISE_WORKERS": str(workers), "FOLDWISE_DEVICE": "cpu"}
    return cross_validate(v, data, split_table(data.y, v.cv), "digest", environ)


def files_of(run: RunFiles, folder: Path) -> dict[str, str]:
    results.write(folder, run)
    names: dict[str, str] = results.read_manifest(folder)["files"]
    return names


@pytest.mark.parametrize("network", [{}, {"batch_norm": True, "hidden_dropout": 0.3}])
def test_the_number_of_workers_changes_no_bit(
    network: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "STACK_BYTES", 2000)  # several chunks
    v, data = variant(network=network, repeats=2), dataset(test_rows=6)
    assert len(plan_chunks(v, splits(split_table(data.y, v.cv)), data)) > 3
    one = files_of(run_of(v, data, workers=1), tmp_path / "one")
    assert one == files_of(run_of(v, data, workers=3), tmp_path / "three")


def test_every_split_is_there_once_and_refit_is_last() -> None:
    v, data = variant(repeats=2), dataset(rows=41, test_rows=5)
    run = run_of(v, data)
    last = run.history[run.history["epoch"] == v.training.epochs]
    expected = [(r, f) for r in range(2) for f in range(4)] + [(REFIT, REFIT)]
    assert list(zip(last["repeat"], last["fold"], strict=True)) == expected
    assert run.manifest["splits"] == [list(pair) for pair in expected]
    assert not run.predictions.duplicated(["repeat", "row"]).any()
    assert len(run.predictions) == 2 * 41
    assert (run.predictions["label"].to_numpy() == data.y[run.predictions["row"]]).all()
    assert len(run.test_predictions) == 9 * 5
    assert run.history[run.history["fold"] == REFIT]["validation_loss"].isna().all()


def test_a_gpu_takes_all_splits_of_a_size_at_once() -> None:
    v, data = variant(folds=4, repeats=5), dataset(rows=42)
    plan = splits(split_table(data.y, v.cv))
    on_gpu = plan_chunks(v, plan, data, "cuda")
    assert [len(c.splits) for c in on_gpu] == [10, 10, 1]
    assert max(len(c.splits) for c in plan_chunks(v, plan, data)) <= 5


def test_predictions_are_those_of_the_stored_models() -> None:
    v, data = variant(network={"batch_norm": True}), dataset(rows=42)
    run = run_of(v, data)
    stack = from_weights(v.network, run.weights)
    for i, (repeat, fold) in enumerate(run.manifest["splits"][:-1]):
        table = run.predictions
        rows = table[(table["repeat"] == repeat) & (table["fold"] == fold)]
        with torch.no_grad():
            p = torch.sigmoid(stack.unstack(i)(torch.from_numpy(data.X[rows["row"]])))
        np.testing.assert_allclose(rows["p1"], p.squeeze(1).numpy(), rtol=1e-4)


def test_a_chunk_trains_equally_many_rows_and_stays_in_cache() -> None:
    v, data = variant(repeats=3), dataset(rows=41)
    chunks = plan_chunks(v, splits(split_table(data.y, v.cv)), data)
    for chunk in chunks:
        assert len({len(split.train) for split in chunk.splits}) == 1
    assert sum(len(chunk.splits) for chunk in chunks) == 3 * 4 + 1
    assert stack_size(v.network, 3072, 10) * 16 * (3072 * 5) < cross_validation.STACK_BYTES
    big = variant(network={"hidden": [64, 32]})
    assert stack_size(big.network, 3072, 10) == 1


def test_a_diverging_variant_is_a_failed_run_that_can_be_written(tmp_path: Path) -> None:
    wild = {"optimizer": {"name": "sgd", "lr": 1.0e30}, "epochs": 20}
    run = run_of(variant(training=wild), dataset())
    assert run.manifest["status"] == "failed"
    assert "try a smaller lr" in run.manifest["reason"]
    results.write(tmp_path, run)
    again = results.read(tmp_path)
    assert again.manifest["reason"] == run.manifest["reason"]
    assert len(again.predictions) == 0


def test_a_run_read_back_is_the_run_written(tmp_path: Path) -> None:
    run = run_of(variant(), dataset(test_rows=4))
    results.write(tmp_path, run)
    again = results.read(tmp_path)
    for name in ("history", "predictions", "test_predictions", "timeline"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(run, name))
    assert again.facts == run.facts
    assert {k: v for k, v in again.manifest.items() if k != "files"} == run.manifest


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_bad_number_of_workers_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="FOLDWISE_WORKERS"):
        executors.worker_count({"FOLDWISE_WORKERS": value})


def test_devices() -> None:
    assert executors.choose_device({"FOLDWISE_DEVICE": "cpu"}) == "cpu"
    with pytest.raises(ConfigError, match="none of auto, cpu, cuda"):
        executors.choose_device({"FOLDWISE_DEVICE": "tpu"})
    if not torch.cuda.is_available():
        assert executors.choose_device({}) == "cpu"
        with pytest.raises(TrainingError, match="finds no usable GPU"):
            executors.choose_device({"FOLDWISE_DEVICE": "cuda"})


# --- journals ---------------------------------------------------------------------------------


def journalled(workers: int) -> tuple[RunFiles, list[dict[str, Any]]]:
    """A run without a probe, and the lines of its journal."""
    v = variant(repeats=2, training={"epochs": 150, "probe": [9, 9]})
    data = dataset(rows=41, test_rows=5)
    environ = {"FOLDWISE_WORKERS": str(workers), "FOLDWISE_DEVICE": "cpu"}
    table, lines = split_table(data.y, v.cv), list[str]()
    run = cross_validate(
        v, data, table, "digest", environ, lambda line: lines.append(json.dumps(line))
    )
    return run, [json.loads(line) for line in lines]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_journal_has_the_very_numbers_of_the_run(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "STACK_BYTES", 4000)  # several chunks
    monkeypatch.setattr(executors, "_start_method", lambda: "fork")  # what is set here, too
    monkeypatch.setattr(training, "RECORD_SECONDS", 0)
    run, (header, *epochs) = journalled(workers)
    assert header["manifest"] == run.manifest
    assert header["facts"].items() <= run.facts.items()
    told: dict[tuple[int, int, int], tuple[float, list[float]]] = {}
    for line in epochs:
        metrics = line["metrics"] or [[]] * len(line["splits"])
        for (repeat, fold), each in zip(line["splits"], metrics, strict=True):
            told[repeat, fold, line["epoch"]] = line["finished"], each
    timeline = run.timeline.set_index(["repeat", "fold", "epoch"])["finished"].to_dict()
    assert {key: finished for key, (finished, _) in told.items()} == timeline
    history = run.history.set_index(["repeat", "fold", "epoch"])
    for key, values in zip(history.index, history[list(METRICS)].to_numpy(), strict=True):
        np.testing.assert_array_equal(told[key][1], values)
    assert len(told) == len(history) + len(run.manifest["splits"])
    assert 0 <= min(timeline.values()) - header["facts"]["started"] < 60
    monkeypatch.setattr(training, "RECORD_SECONDS", math.inf)
    less, lines = journalled(workers)
    assert len(lines) < 1 + len(epochs)
    assert files_of(less, tmp_path / "less") == files_of(run, tmp_path / "all")


def test_quick_epochs_are_not_all_told_but_the_last_is() -> None:
    run, (_, *lines) = journalled(workers=1)
    epochs = [line["epoch"] for line in lines]
    chunks = epochs.count(0)
    assert epochs.count(150) == chunks
    assert 2 * chunks <= len(epochs) < chunks * run.history["epoch"].nunique()


# --- processes --------------------------------------------------------------------------------

LONG = """
from builders import dataset, variant
from foldwise.engine.cross_validation import cross_validate
from foldwise.splits import split_table
data = dataset(rows=400, features=200)
v = variant(training={"epochs": 100000, "batch_size": 2}, network={"hidden": [200]})
cross_validate(v, data, split_table(data.y, v.cv), "d", {"FOLDWISE_WORKERS": "2"})
"""


def start(program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ".", "FOLDWISE_DEVICE": "cpu"},
    )


def start_long_training() -> tuple["subprocess.Popen[bytes]", list[psutil.Process]]:
    process = start(LONG)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children()
        if len(children) == 2:
            return process, children
        time.sleep(0.1)
    raise AssertionError("the workers did not start")


def test_workers_end_when_their_parent_is_killed() -> None:
    process, workers = start_long_training()
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive


def test_a_killed_worker_is_said_clearly() -> None:
    process, workers = start_long_training()
    time.sleep(1)
    os.kill(workers[0].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"a worker process died" in errors


AUTOGRAD_HAS_THREADS = """
import torch
from builders import dataset, variant
from foldwise.engine.cross_validation import cross_validate
from foldwise.splits import split_table
torch.export.export(torch.nn.Linear(3, 2), (torch.ones(4, 3),))
torch.ones((), requires_grad=True).backward()
v, data = variant(), dataset(rows=41)
run = cross_validate(v, data, split_table(data.y, v.cv), "d", {"FOLDWISE_WORKERS": "2"})
print(run.manifest["status"], len(run.diagnostics))
"""


def test_a_process_whose_autograd_has_threads_can_have_workers() -> None:
    """A copy of it cannot use autograd, which the probe does."""
    process = start(AUTOGRAD_HAS_THREADS)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    status, rows = output.split()
    assert status == b"complete"
    assert int(rows) > 0
