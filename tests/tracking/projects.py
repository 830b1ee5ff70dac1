"""Projects with fabricated run folders, and what a store says about them."""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import pytest
import torch
from builders import dataset
from mlflow import MlflowClient

from foldwise import evaluation, results, tracking
from foldwise.core import config, files, paths
from foldwise.core.config import Config
from foldwise.datasets.prepared import Dataset
from foldwise.engine.cross_validation import cross_validate
from foldwise.numerics import networks
from foldwise.splits import split_table
from foldwise.tracking import place, records

EPOCHS = 5
STARTED = 1_700_000_000.0
VOLATILE = {"foldwise.created", "mlflow.parentRunId"}
PARAMS = """
datasets:
  rows: {editions: {synthetic: {rows: 40}}}
  pictures: {editions: {synthetic: {rows: 40}}}
studies:
  tiny: &study
    dataset: rows
    cv: {folds: 2, repeats: 2, seed: 0}
    training: &training
      epochs: 5
      batch_size: 8
      shuffle: true
      optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
      preprocessing: standardize
    comparison: {baseline: tiny-plain}
  pictures:
    dataset: pictures
    cv: {folds: 2}
    training: *training
    comparison: {baseline: pictures-plain}
variants:
  tiny-plain: {study: tiny, hidden: [5]}
  tiny-dropout: {study: tiny, hidden: [5, 4], batch_norm: true, hidden_dropout: 0.2}
  pictures-plain: {study: pictures, hidden: [5], activation: tanh}
"""


@dataclass
class Project:
    """A project's folder with run folders in it, and the environment that it is tracked in."""

    root: Path
    config: Config
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return tracking.store_uri(self.environ, self.root)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def track(self, **options: Any) -> tracking.Summary:
        return tracking.track(self.config, self.root, self.environ, **options)

    def only(self, *names: str) -> "Project":
        """The same folder with fewer variants declared."""
        variants = {name: self.config.variants[name] for name in names}
        fewer = self.config.model_copy(update={"variants": variants})
        return replace(self, config=fewer)

    def on(self, address: str, **environ: str) -> "Project":
        """The same folder, tracked to another store."""
        return replace(self, environ={"MLFLOW_TRACKING_URI": address, **environ})


def charts(name: str) -> dict[str, bytes]:
    """Pictures to track with."""
    return {"curves.png": name.encode()}


# --- fabricated runs --------------------------------------------------------------------------


def fabricate(root: Path, variant: config.Variant, seed: int = 0) -> None:
    """A run folder as training would leave it, and the metrics as evaluation would."""
    run = complete_run(variant, seed)
    results.write(root / paths.run(variant.name), run)
    evaluate(root, variant.name, run)


def evaluate(root: Path, name: str, run: results.RunFiles) -> None:
    tables = (run.history, run.predictions, run.test_predictions)
    evaluated = evaluation.evaluate(run.manifest, *tables)
    files.write_json(root / paths.metrics(name), evaluated.metrics)
    evaluated.scores.to_csv(root / paths.scores(name), index=False)


def complete_run(variant: config.Variant, seed: int) -> results.RunFiles:
    shape, classes = ((3, 4, 4), 3) if variant.dataset == "pictures" else ((6,), 2)
    folds, repeats, refit = variant.cv.folds, variant.cv.repeats, (results.REFIT, results.REFIT)
    splits = [*((r, f) for r in range(repeats) for f in range(folds)), refit]
    random = np.random.default_rng(seed)
    history = pd.DataFrame(
        [(*split, epoch) for split in splits for epoch in range(1, EPOCHS + 1)],
        columns=["repeat", "fold", "epoch"],
    )
    for name in records.CURVES:
        history[name] = random.random(len(history))
    held_out = [name for name in records.CURVES if name.startswith("validation")]
    history.loc[history["fold"] == results.REFIT, held_out] = np.nan
    timeline = history[["repeat", "fold", "epoch"]].copy()
    timeline["finished"] = STARTED + timeline["epoch"] * 0.25
    predictions = pd.DataFrame(
        [(row, r, row % folds, row % classes) for r in range(repeats) for row in range(40)],
        columns=["row", "repeat", "fold", "label"],
    )
    p = random.dirichlet(np.ones(classes), len(predictions))
    predictions = predictions.assign(**{f"p{k}": p[:, k] for k in range(classes)})
    return results.RunFiles(
        manifest=manifest(variant, splits, shape, classes),
        history=history,
        predictions=predictions,
        test_predictions=predictions.iloc[:0],
        diagnostics=pd.DataFrame({"step": [0], "layer": [1], "p50": [0.5]}),
        weights=weights(variant, int(np.prod(shape)), classes, len(splits), seed),
        timeline=timeline,
        facts={"started": STARTED, "finished": STARTED + 2, "device": "cpu", "workers": 2}
        | {"threads": 1, "peak_memory_bytes": 3 * 2**20},
    )


def manifest(
    variant: config.Variant, splits: list[tuple[int, int]], shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    return {
        "schema": results.SCHEMA,
        "status": "complete",
        "reason": None,
        "variant": variant.model_dump(mode="json"),
        "dataset": {
            "name": variant.dataset,
            "edition": "synthetic",
            "synthetic": True,
            "class_names": [f"class {k}" for k in range(classes)],
            "scale": 1.0,
            "rows": 40,
            "test_rows": 0,
            "shape": list(shape),
            "dtype": "uint8" if len(shape) > 1 else "float32",
            "digest": hashlib.sha256(variant.dataset.encode()).hexdigest(),
        },
        "split_digest": "5" * 64,
        "code_digest": "c" * 64,
        "versions": {},
        "device": "cpu",
        "parameters": 41,
        "splits": [list(split) for split in splits],
    }


def weights(
    variant: config.Variant, inputs: int, classes: int, models: int, seed: int
) -> dict[str, np.ndarray]:
    outputs = networks.logits_for(classes)
    stack = networks.StackedNetwork(variant.network, inputs, outputs, models)
    generator = torch.Generator().manual_seed(seed)
    networks.initialise(stack, variant.training.init, lambda _model, _layer: generator)
    for name, buffer in stack.named_buffers():  # BatchNorm's and the rescaling's, all different
        values = torch.rand(buffer.shape, generator=generator)
        buffer.copy_(values + (0.5 if name in ("scale",) or name.endswith("var") else 0))
    return {name: tensor.detach().numpy() for name, tensor in stack.state_dict().items()}


def write_comparison(root: Path, sentence: str) -> None:
    pair = {"a": "tiny-plain", "b": "tiny-dropout", "verdict": "Helps", "sentence": sentence}
    files.write_json(root / paths.comparison("tiny"), {"study": "tiny", "pairs": [pair]})


# --- trained runs -----------------------------------------------------------------------------


def train(root: Path, variant: config.Variant) -> Dataset:
    """A run folder whose predictions come from its weights; the data it was trained on."""
    data = pictures() if variant.dataset == "pictures" else rows()
    environ = {"FOLDWISE_WORKERS": "1", "FOLDWISE_DEVICE": "cpu"}
    run = cross_validate(variant, data, split_table(data.y, variant.cv), "5" * 64, environ)
    results.write(root / paths.run(variant.name), run)
    evaluate(root, variant.name, run)
    return data


def rows() -> Dataset:
    """40 rows of 6 features in 2 classes, and 8 to test."""
    return replace(dataset(test_rows=8), name="rows")


def pictures() -> Dataset:
    """40 pictures (3, 4, 4) in 3 classes, and 6 to test."""
    random = np.random.default_rng(0)
    y = (np.arange(46) % 3).astype(np.int64)
    X = (random.integers(0, 120, (46, 3, 4, 4)) + 60 * y[:, None, None, None]).astype(np.uint8)
    names = ("dark", "middling", "bright")
    return Dataset("pictures", X[:40], y[:40], X[40:], y[40:], names, 255.0, "made-up")


# --- reading back -----------------------------------------------------------------------------


def dump(project: Project) -> dict[str, Any]:
    """Every row of every table and the bytes of every artifact."""
    with closing(sqlite3.connect(project.root / place.DATABASE)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = [name for (name,) in connection.execute(query)]
        tables = {n: sorted(map(repr, connection.execute(f"SELECT * FROM {n}"))) for n in names}
    folder = project.root / place.ARTIFACTS
    found = {str(path): files.sha256(path) for path in folder.rglob("*") if path.is_file()}
    return tables | {"artifacts": found}


def content(project: Project, **tags_of_all: str) -> dict[str, Any]:
    """What a person sees, without ids: (variant, split) → everything about the run."""
    client = project.client
    runs = [run for run in runs_of(project) if tags_of_all.items() <= run.data.tags.items()]
    by_id = {run.info.run_id: run for run in runs}
    seen = {}
    for run in runs:
        tags = {key: v for key, v in run.data.tags.items() if key not in VOLATILE}
        parent = by_id.get(run.data.tags.get("mlflow.parentRunId"))
        histories = {
            key: [
                (m.step, m.timestamp, m.value)
                for m in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
        }
        inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
        facts = (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name)
        models = len(run.outputs.model_outputs)
        name = (tags["variant"], tags.get("split"))
        assert name not in seen, f"{name} twice"
        parent_name = parent and parent.data.tags["variant"]
        seen[name] = (facts, tags, run.data.params, histories, inputs, models, parent_name)
    return seen


def runs_of(project: Project) -> list[mlflow.entities.Run]:
    client = project.client
    ids = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(ids))


def run_of(project: Project, variant: str, split: str | None = None) -> mlflow.entities.Run:
    found = [
        run
        for run in runs_of(project)
        if run.data.tags["variant"] == variant and run.data.tags.get("split") == split
    ]
    assert len(found) == 1
    return project.client.get_run(found[0].info.run_id)


def models_of(project: Project) -> list[Any]:
    ids = [e.experiment_id for e in project.client.search_experiments()]
    return list(project.client.search_logged_models(ids))


def assert_whole(project: Project) -> None:
    """Six finished runs and five models, each once."""
    seen = content(project)
    assert len(seen) == 6
    assert {facts[0][0] for facts in seen.values()} == {"FINISHED"}
    assert {facts[5] for facts in seen.values()} == {1}
    models = models_of(project)
    assert len(models) == 5
    assert {model.status for model in models} == {"READY"}


# --- interruptions ----------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def interrupt(patch: pytest.MonkeyPatch, writes: Sequence[str], calls: int, die: Any) -> None:
    """Let the client die right after its n-th write."""
    count = iter(range(1, 10_000))

    def dying(write: Any) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            answer = write(*arguments, **options)
            if next(count) == calls:
                die()
            return answer

        return method

    for name in writes:
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))


def raise_killed() -> None:
    raise Killed
