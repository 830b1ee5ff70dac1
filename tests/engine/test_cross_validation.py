"""A run has every split once, whatever the number of workers; divergence is a result."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from builders import dataset, variant

from foldwise import journal
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.datasets.prepared import Dataset
from foldwise.engine import executors, learners, mlp
from foldwise.engine.cross_validation import cross_validate
from foldwise.journal import Journal, Recorder
from foldwise.numerics import training
from foldwise.numerics.split import REFIT
from foldwise.results.runs import CURVES, Run, RunFolder, write_run
from foldwise.splits import split_table, splits_of


def run_of(v: Variant, data: Dataset, workers: int = 1, to: Recorder | None = None) -> Run:
    environment = Environment(workers=workers, device="cpu")
    return cross_validate(v, data, split_table(data.y, v.cv), "digest", environment, to)


def files_of(run: Run, folder: Path) -> dict[str, str]:
    return write_run(folder, run).files


@pytest.mark.parametrize("network", [{}, {"batch_norm": True, "hidden_dropout": 0.3}])
def test_the_number_of_workers_changes_no_bit(
    network: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "STACK_BYTES", 2000)  # several chunks
    v, data = variant(network=network, repeats=2), dataset(test_rows=6)
    plan = splits_of(split_table(data.y, v.cv))
    assert len(learners.learner_of(v).plan(plan, data, "cpu")) > 3
    one = files_of(run_of(v, data, workers=1), tmp_path / "one")
    assert one == files_of(run_of(v, data, workers=3), tmp_path / "three")


def test_every_split_is_there_once_and_refit_is_last() -> None:
    v, data = variant(repeats=2), dataset(rows=41, test_rows=5)
    run = run_of(v, data)
    last = run.history[run.history["epoch"] == v.training.epochs]
    expected = [(r, f) for r in range(2) for f in range(4)] + [(REFIT, REFIT)]
    assert list(zip(last["repeat"], last["fold"], strict=True)) == expected
    assert run.manifest.splits == expected
    assert not run.predictions.duplicated(["repeat", "row"]).any()
    assert len(run.predictions) == 2 * 41
    assert (run.predictions["label"].to_numpy() == data.y[run.predictions["row"]]).all()
    assert len(run.test_predictions) == 9 * 5
    assert run.history[run.history["fold"] == REFIT]["validation_loss"].isna().all()


def test_predictions_are_those_of_the_stored_networks() -> None:
    v, data = variant(network={"batch_norm": True}), dataset(rows=42)
    run = run_of(v, data)
    for i, (repeat, fold) in enumerate(run.manifest.splits[:-1]):
        table, network = run.predictions, learners.network(run.manifest, run.weights, i)
        rows = table[(table["repeat"] == repeat) & (table["fold"] == fold)]
        with torch.no_grad():
            p = network(torch.from_numpy(data.X[rows["row"]]))
        np.testing.assert_allclose(rows[["p0", "p1"]], p.numpy(), rtol=1e-4)


def test_a_diverging_variant_is_a_failed_run_that_can_be_written(tmp_path: Path) -> None:
    wild = {"optimizer": {"name": "sgd", "lr": 1.0e30}, "epochs": 20}
    run = run_of(variant(training=wild), dataset())
    assert run.manifest.status == "failed"
    reason = run.manifest.reason or ""
    assert reason.startswith("toy-variant, r0-f00, epoch ")
    assert reason.endswith("with sgd, lr 1e+30; try a smaller lr")
    write_run(tmp_path, run)
    again = RunFolder(tmp_path)
    assert again.manifest.reason == reason
    assert len(again.predictions) == 0


def test_a_run_read_back_is_the_run_written(tmp_path: Path) -> None:
    run = run_of(variant(), dataset(test_rows=4))
    write_run(tmp_path, run)
    again = RunFolder(tmp_path)
    for name in ("history", "predictions", "test_predictions", "diagnostics", "timeline"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(run, name))
    assert again.facts == run.facts
    assert again.manifest.model_copy(update={"files": {}}) == run.manifest


# --- journals ---------------------------------------------------------------------------------


def journalled(path: Path, workers: int) -> tuple[Run, Journal]:
    """A run without a probe, and its journal."""
    v = variant(repeats=2, training={"epochs": 150, "probe": [9, 9]})
    with Recorder(path) as recorder:
        run = run_of(v, dataset(rows=41, test_rows=5), workers, recorder)
    found = journal.read(path)
    assert found is not None
    return run, found


@pytest.mark.parametrize("workers", [1, 3])
def test_a_journal_has_the_very_numbers_of_the_run(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "STACK_BYTES", 4000)  # several chunks
    monkeypatch.setattr(executors, "_start_method", lambda: "fork")  # what is set here, too
    monkeypatch.setattr(training, "RECORD_SECONDS", 0)
    run, found = journalled(tmp_path / "x.jsonl", workers)
    assert found.manifest == run.manifest
    assert run.facts == run.facts.model_copy(update=found.facts.model_dump(exclude_none=True))
    told: dict[tuple[int, int, int], tuple[float, list[float]]] = {}
    for each in found.epochs:
        metrics = each.metrics or [[]] * len(each.splits)
        for (repeat, fold), values in zip(each.splits, metrics, strict=True):
            told[repeat, fold, each.epoch] = each.finished, values
    timeline = run.timeline.set_index(["repeat", "fold", "epoch"])["finished"].to_dict()
    assert {key: finished for key, (finished, _) in told.items()} == timeline
    history = run.history.set_index(["repeat", "fold", "epoch"])
    for key, values in zip(history.index, history[list(CURVES)].to_numpy(), strict=True):
        np.testing.assert_array_equal(told[key][1], values)
    assert len(told) == len(history) + len(run.manifest.splits)
    assert found.facts.started <= min(timeline.values())
    monkeypatch.setattr(training, "RECORD_SECONDS", math.inf)
    less, shorter = journalled(tmp_path / "less.jsonl", workers)
    assert len(shorter.epochs) < len(found.epochs)
    assert files_of(less, tmp_path / "less") == files_of(run, tmp_path / "all")


def test_of_quick_epochs_the_start_and_the_last_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "RECORD_SECONDS", math.inf)
    _, found = journalled(tmp_path / "x.jsonl", workers=1)
    epochs = [each.epoch for each in found.epochs]
    assert sorted(epochs) == [0] * epochs.count(0) + [150] * epochs.count(0)
