"""Train one variant on all splits of its study, and put the run together."""

import platform
import resource
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.datasets.prepared import Dataset, describe
from foldwise.engine import executors, identity, learners
from foldwise.engine.learners import Learner
from foldwise.journal import Recorder
from foldwise.numerics import diagnostics
from foldwise.numerics.outcomes import DivergedError, Trained
from foldwise.numerics.split import Split, split_name
from foldwise.results.runs import Facts, Manifest, Run
from foldwise.splits import splits_of

CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def cross_validate(
    variant: Variant,
    dataset: Dataset,
    table: pd.DataFrame,
    split_digest: str,
    environment: Environment,
    journal: Recorder | None = None,
) -> Run:
    """Train a variant on every split of its study, `refit` included.

    Args:
        variant: resolved settings.
        dataset: the study's data set.
        table: the study's split table.
        split_digest: sha256 of that table's file.
        environment: workers and device.
        journal: gets the start and the recorded epochs; the caller writes the end.

    Returns:
        The run. One whose loss stopped being finite has status "failed" and the reason.

    Raises:
        TrainingError: a worker died, or the device is not there.
    """
    started, journal = time.time(), journal or Recorder(None)
    device, learner = executors.choose_device(environment), learners.learner_of(variant)
    plan = splits_of(table)
    manifest = _manifest(learner, dataset, plan, split_digest, device)
    facts = Facts(started=started, device=device, workers=environment.workers)
    journal.begin(manifest, facts)
    chunks = learner.plan(plan, dataset, device)
    try:
        trained = executors.run_chunks(
            learner, chunks, dataset, device, environment.workers, journal.record
        )
    except DivergedError as error:
        return _failed(manifest, facts, error, dataset)
    return _complete(manifest, facts, _in_order(trained, plan), dataset)


def _manifest(
    learner: Learner, dataset: Dataset, plan: Sequence[Split], split_digest: str, device: str
) -> Manifest:
    libraries = {name: version(name) for name in ("foldwise", "numpy", "torch")}
    return Manifest(
        status="complete",
        variant=learner.variant,
        dataset=describe(dataset),
        split_digest=split_digest,
        code_digest=identity.code_digest(learner.code),
        versions={**libraries, "python": platform.python_version()},
        device=device,
        parameters=learner.parameters(dataset),
        splits=[(split.repeat, split.fold) for split in plan],
    )


def _complete(
    manifest: Manifest, facts: Facts, trained: Sequence[Trained], dataset: Dataset
) -> Run:
    return Run(
        manifest=manifest,
        history=_history(trained),
        predictions=_predictions(trained, dataset.y),
        test_predictions=_test_predictions(trained, dataset.y_test),
        diagnostics=_diagnostics([line for each in trained for line in each.diagnostics]),
        weights=_weights(trained),
        timeline=_timeline(trained),
        facts=_finished(facts),
    )


def _failed(manifest: Manifest, facts: Facts, error: DivergedError, dataset: Dataset) -> Run:
    """A run without results: its tables have their columns and no rows."""
    names = [f"p{k}" for k in range(len(dataset.class_names))]
    predictions = pd.DataFrame(columns=["row", "repeat", "fold", "label", *names], dtype=float)
    return Run(
        manifest=manifest.model_copy(
            update={"status": "failed", "reason": _reason(manifest.variant, error)}
        ),
        history=pd.DataFrame(columns=["repeat", "fold", "epoch", *CURVES], dtype=float),
        predictions=predictions,
        test_predictions=predictions,
        diagnostics=_diagnostics([]),
        weights={},
        timeline=pd.DataFrame(columns=["repeat", "fold", "epoch", "finished"], dtype=float),
        facts=_finished(facts),
    )


def _reason(variant: Variant, error: DivergedError) -> str:
    optimizer = variant.training.optimizer
    return (
        f"{variant.name}, {split_name(error.repeat, error.fold)}, epoch {error.epoch}: the "
        f"training loss is {error.loss} with {optimizer.name}, lr {optimizer.lr}; "
        "try a smaller lr"
    )


def _finished(facts: Facts) -> Facts:
    """The facts with the time of the end and the memory of the largest process."""
    usage = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    unit = 1 if sys.platform == "darwin" else 1024
    known = {"finished": time.time(), "peak_memory_bytes": max(usage) * unit}
    return facts.model_copy(update=known)


# --- tables -----------------------------------------------------------------------------------


def _in_order(trained: Sequence[Trained], plan: Sequence[Split]) -> list[Trained]:
    by_place = {(each.split.repeat, each.split.fold): each for each in trained}
    return [by_place[split.repeat, split.fold] for split in plan]


def _history(trained: Sequence[Trained]) -> pd.DataFrame:
    frames = []
    for each in trained:
        metrics = zip(CURVES, each.history.T.astype(np.float64), strict=True)
        frames.append(pd.DataFrame({**_place(each), "epoch": each.epochs, **dict(metrics)}))
    return pd.concat(frames, ignore_index=True)


def _timeline(trained: Sequence[Trained]) -> pd.DataFrame:
    frames = []
    for each in trained:
        epochs, finished = np.append(0, each.epochs), np.append(each.started, each.finished)
        frames.append(pd.DataFrame({**_place(each), "epoch": epochs, "finished": finished}))
    return pd.concat(frames, ignore_index=True)


def _place(trained: Trained) -> dict[str, int]:
    return {"repeat": trained.split.repeat, "fold": trained.split.fold}


def _predictions(trained: Sequence[Trained], y: np.ndarray) -> pd.DataFrame:
    frames = [_probability_table(each.held_out, each.split.held_out, each, y) for each in trained]
    table = pd.concat(frames)
    columns = ["row", "repeat", "fold", *table.columns.drop(["row", "repeat", "fold"])]
    return table[columns].sort_values(["repeat", "row"], kind="stable", ignore_index=True)


def _test_predictions(trained: Sequence[Trained], y: np.ndarray | None) -> pd.DataFrame:
    labels = np.empty(0, dtype=np.int64) if y is None else y
    rows = np.arange(len(labels))
    frames = [_probability_table(each.test, rows, each, labels) for each in trained]
    return pd.concat(frames, ignore_index=True)


def _probability_table(
    p: np.ndarray, rows: np.ndarray, trained: Trained, y: np.ndarray
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "repeat": np.full(len(rows), trained.split.repeat, dtype=np.int16),
        "fold": np.full(len(rows), trained.split.fold, dtype=np.int16),
        "row": rows.astype(np.int32),
        "label": y[rows].astype(np.int16),
    }
    return pd.DataFrame(columns | {f"p{k}": p[:, k] for k in range(p.shape[1])})


def _diagnostics(records: Sequence[dict[str, float]]) -> pd.DataFrame:
    kinds = dict.fromkeys(diagnostics.COLUMNS, "float64") | {"step": "int64", "layer": "int64"}
    return pd.DataFrame(list(records), columns=list(diagnostics.COLUMNS)).astype(kinds)


def _weights(trained: Sequence[Trained]) -> dict[str, np.ndarray]:
    """Axis 0 is the split."""
    names = trained[0].weights
    return {name: np.stack([each.weights[name] for each in trained]) for name in names}
