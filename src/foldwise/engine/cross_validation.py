"""One variant over all splits of its study: plan the chunks, train them, put the run together."""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foldwise import results
from foldwise.core import files
from foldwise.core.config import Network, Variant
from foldwise.core.errors import DivergedError
from foldwise.datasets.prepared import Dataset, describe
from foldwise.engine import executors
from foldwise.numerics import diagnostics, networks
from foldwise.numerics.training import Chunk, Trained
from foldwise.results import RunFiles
from foldwise.splits import Split, splits

MODELS = 5  # of a stack: enough to share what a step costs outside of the arithmetic
STACK_BYTES = 2**21  # and no more than keep their state, four numbers a parameter, within this
PACKAGE = Path(__file__).parents[1]
CODE = (
    "engine/batches.py",
    "engine/diagnostics.py",
    "engine/kernels.py",
    "engine/losses.py",
    "engine/networks.py",
    "engine/randomness.py",
    "engine/steps.py",
    "engine/training.py",
    "splits.py",
)
METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def cross_validate(
    variant: Variant,
    dataset: Dataset,
    table: pd.DataFrame,
    split_digest: str,
    environ: Mapping[str, str] = os.environ,
    journal: Callable[[Mapping[str, Any]], object] = lambda line: None,
) -> RunFiles:
    """Train a variant on every split of its study, `refit` included.

    Args:
        variant: resolved settings.
        dataset: the study's data set.
        table: the study's split table.
        split_digest: sha256 of that table's file.
        environ: FOLDWISE_WORKERS and FOLDWISE_DEVICE.
        journal: takes the lines of a journal (see `journal`) as they come.

    Returns:
        The run. One whose loss stopped being finite has status "failed" and the reason.

    Raises:
        TrainingError: a worker died, or the device is not there.
    """
    started = time.time()
    plan = splits(table)
    device = executors.choose_device(environ)
    chunks = plan_chunks(variant, plan, dataset, device)
    manifest = _manifest(variant, dataset, plan, split_digest, device)
    facts = _facts(started, device, environ)
    journal({"manifest": manifest, "facts": facts})
    try:
        trained = executors.run_chunks(
            chunks, dataset, device, environ, lambda line: journal(vars(line))
        )
    except DivergedError as error:
        return _failed(manifest, facts, str(error), dataset)
    return RunFiles(
        manifest=manifest,
        history=_history(chunks, trained),
        predictions=_predictions(chunks, trained, dataset.y),
        test_predictions=_test_predictions(chunks, trained, dataset.y_test),
        diagnostics=_diagnostics([r for result in trained for r in result.diagnostics]),
        weights=_weights(chunks, trained, plan),
        timeline=_timeline(chunks, trained),
        facts=facts | _final_facts(),
    )


def plan_chunks(
    variant: Variant, plan: Sequence[Split], dataset: Dataset, device: str = "cpu"
) -> list[Chunk]:
    """Splits that train as one stack: equally many training rows, and on a CPU few enough.

    A GPU takes as many at once as there are. On a CPU it is a fixed function of the study and
    the network, never of the machine, so that results do not depend on it.
    """
    inputs = int(np.prod(dataset.X.shape[1:]))
    outputs = networks.logits_for(len(dataset.class_names))
    most = len(plan) if device == "cuda" else stack_size(variant.network, inputs, outputs)
    chunks = []
    by_size = sorted(plan, key=lambda split: len(split.train))
    for _, group in groupby(by_size, key=lambda split: len(split.train)):
        members = list(group)
        parts = -(-len(members) // most)
        bounds = np.linspace(0, len(members), parts + 1).round().astype(int)
        chunks += [Chunk(variant, tuple(members[a:b])) for a, b in pairwise(bounds)]
    return chunks


def stack_size(network: Network, inputs: int, outputs: int) -> int:
    """How many models train together: at least one, and few enough to share among cores."""
    widths = [inputs, *network.hidden, outputs]
    parameters = sum((a + 1) * b for a, b in pairwise(widths))
    return min(MODELS, max(1, STACK_BYTES // (16 * parameters)))


# --- tables -----------------------------------------------------------------------------------


def _in_split_order(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Sorted by repeat and fold, `refit` last."""
    key = table["fold"] == results.REFIT
    ordered = table.assign(_refit=key).sort_values(["_refit", *by], kind="stable")
    return ordered.drop(columns="_refit").reset_index(drop=True)


def _members(
    chunks: Sequence[Chunk], trained: Sequence[Trained]
) -> Iterable[tuple[Split, Trained, int]]:
    """Every split with its chunk's result and its place in it."""
    for chunk, result in zip(chunks, trained, strict=True):
        for i, split in enumerate(chunk.splits):
            yield split, result, i


def _history(chunks: Sequence[Chunk], trained: Sequence[Trained]) -> pd.DataFrame:
    frames = []
    for split, result, i in _members(chunks, trained):
        columns = {"repeat": split.repeat, "fold": split.fold, "epoch": result.epochs}
        found = zip(METRICS, result.history[i].T.astype(np.float64), strict=True)
        frames.append(pd.DataFrame(columns | dict(found)))
    return _in_split_order(pd.concat(frames), ["repeat", "fold", "epoch"])


def _timeline(chunks: Sequence[Chunk], trained: Sequence[Trained]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "repeat": split.repeat,
                "fold": split.fold,
                "epoch": np.append(0, result.epochs),
                "finished": np.append(result.started, result.finished),
            }
        )
        for split, result, _ in _members(chunks, trained)
    ]
    return _in_split_order(pd.concat(frames), ["repeat", "fold", "epoch"])


def _predictions(chunks: Sequence[Chunk], trained: Sequence[Trained], y: Any) -> pd.DataFrame:
    frames = [
        _probability_table(result.held_out[i], split.held_out, split, y)
        for split, result, i in _members(chunks, trained)
    ]
    table = pd.concat(frames)
    columns = ["row", "repeat", "fold", *table.columns.drop(["row", "repeat", "fold"])]
    return table[columns].sort_values(["repeat", "row"]).reset_index(drop=True)


def _test_predictions(
    chunks: Sequence[Chunk], trained: Sequence[Trained], y: Any | None
) -> pd.DataFrame:
    labels = np.empty(0, dtype=np.int64) if y is None else y
    rows = np.arange(len(labels))
    frames = [
        _probability_table(result.test[i], rows, split, labels)
        for split, result, i in _members(chunks, trained)
    ]
    return _in_split_order(pd.concat(frames), ["repeat", "fold", "row"])


def _probability_table(
    p: np.ndarray, rows: np.ndarray, split: Split, y: np.ndarray
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "repeat": np.full(len(rows), split.repeat, dtype=np.int16),
        "fold": np.full(len(rows), split.fold, dtype=np.int16),
        "row": rows.astype(np.int32),
        "label": y[rows].astype(np.int16),
    }
    return pd.DataFrame(columns | {f"p{k}": p[:, k] for k in range(p.shape[1])})


def _diagnostics(records: Sequence[dict[str, float]]) -> pd.DataFrame:
    kinds = dict.fromkeys(diagnostics.COLUMNS, "float64") | {"step": "int64", "layer": "int64"}
    return pd.DataFrame(list(records), columns=list(diagnostics.COLUMNS)).astype(kinds)


def _weights(
    chunks: Sequence[Chunk], trained: Sequence[Trained], plan: Sequence[Split]
) -> dict[str, np.ndarray]:
    """The chunks' stacks as one, axis 0 in the order of `plan`."""
    found = {(s.repeat, s.fold): (result, i) for s, result, i in _members(chunks, trained)}
    members = [found[split.repeat, split.fold] for split in plan]
    return {
        name: np.stack([result.weights[name][i] for result, i in members])
        for name in trained[0].weights
    }


# --- manifest and facts -----------------------------------------------------------------------


def _manifest(
    variant: Variant,
    dataset: Dataset,
    plan: Sequence[Split],
    split_digest: str,
    device: str,
) -> dict[str, Any]:
    inputs = int(np.prod(dataset.X.shape[1:]))
    outputs = networks.logits_for(len(dataset.class_names))
    stack = networks.StackedNetwork(variant.network, inputs, outputs, models=1)
    return {
        "schema": results.SCHEMA,
        "status": "complete",
        "reason": None,
        "variant": variant.model_dump(mode="json"),
        "dataset": json.loads(json.dumps(asdict(describe(dataset)))),
        "split_digest": split_digest,
        "code_digest": code_digest(),
        "versions": {name: version(name) for name in ("foldwise", "numpy", "torch")}
        | {"python": platform.python_version()},
        "device": device,
        "parameters": stack.parameters_per_model(),
        "splits": [[split.repeat, split.fold] for split in plan],
    }


def code_digest() -> str:
    """Sha256 over the source of the modules that decide a training's numbers."""
    return files.digest({name: files.sha256(PACKAGE / name) for name in CODE})


def _facts(started: float, device: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What is known at the start."""
    return {
        "started": started,
        "device": device,
        "workers": executors.worker_count(environ),
        "threads": 1,
    }


def _final_facts() -> dict[str, Any]:
    usage = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    unit = 1 if sys.platform == "darwin" else 1024
    return {"finished": time.time(), "peak_memory_bytes": max(usage) * unit}


def _failed(
    manifest: dict[str, Any], facts: dict[str, Any], reason: str, dataset: Dataset
) -> RunFiles:
    """A run without results: its tables have their columns and no rows."""
    names = [f"p{k}" for k in range(len(dataset.class_names))]
    predictions = pd.DataFrame(columns=["row", "repeat", "fold", "label", *names], dtype=float)
    return RunFiles(
        manifest={**manifest, "status": "failed", "reason": reason},
        history=pd.DataFrame(columns=["repeat", "fold", "epoch", *METRICS], dtype=float),
        predictions=predictions,
        test_predictions=predictions,
        diagnostics=_diagnostics([]),
        weights={},
        timeline=pd.DataFrame(columns=["repeat", "fold", "epoch", "finished"], dtype=float),
        facts=facts | _final_facts(),
    )
