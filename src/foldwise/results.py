"""The run folder: what one variant left on disk. Written atomically, verified on reading.

`run.json` is written last and holds the sha256 of every other file but the timeline: a folder
without it, or with a file that does not match it, is never accepted.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from foldwise.errors import ResultsError
from foldwise.files import atomically, read_facts, sha256, write_json, write_table

SCHEMA = 1
REFIT = -1  # repeat and fold of the split that trains on all rows

HISTORY = "history.parquet"
DIAGNOSTICS = "diagnostics.parquet"
PREDICTIONS = "predictions.parquet"
TEST_PREDICTIONS = "test_predictions.parquet"
MODELS = "models.safetensors"
MANIFEST = "run.json"
TIMELINE = "timeline.parquet"
FILES = (DIAGNOSTICS, HISTORY, PREDICTIONS, TEST_PREDICTIONS, MODELS, MANIFEST, TIMELINE)


@dataclass(frozen=True)
class RunFiles:
    """Everything that training one variant yields. S splits (`refit` last), K classes.

    Attributes:
        manifest: resolved settings, digests, versions; no times, ids or absolute paths.
            Keys: schema, status ("complete" or "failed"), reason (None or why it failed),
            variant (`config.Variant` as a dict), dataset (meta.json of the prepared data),
            split_digest, code_digest, versions, device, parameters (per model),
            splits ([[repeat, fold], ...] in the order of the stack's axis 0).
        history: repeat, fold, epoch (from 1), train_loss, train_accuracy, validation_loss,
            validation_accuracy; all in evaluation mode after the epoch; NaN where a split
            holds no rows out.
        predictions: row, repeat, fold, label, p0 ... p{K-1}: out-of-fold probabilities.
        test_predictions: repeat, fold, row, label, p0 ... p{K-1}, on the data set's test rows,
            by every fold's model and `refit`; empty where the data set has none.
        diagnostics: step, layer (from 1, the output last), p15, p50, p85, saturated, dead,
            gradient_norm, update_ratio of the probed split (see `diagnostics.measure`).
        weights: name -> array (S, ...).
        timeline: repeat, fold, epoch, finished (Unix time in seconds); epoch 0 is the start.
        facts: wall-clock and machine facts: started, finished (Unix seconds), device, workers,
            threads, peak_memory_bytes.
    """

    manifest: dict[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame
    test_predictions: pd.DataFrame
    diagnostics: pd.DataFrame
    weights: dict[str, np.ndarray]
    timeline: pd.DataFrame
    facts: dict[str, Any]


def split_name(repeat: int, fold: int) -> str:
    """The name of a split wherever one is shown: `r0-f03`, or `refit`."""
    return "refit" if fold == REFIT else f"r{repeat}-f{fold:02d}"


def write(folder: Path, run: RunFiles) -> None:
    """Write a run folder, the manifest last; nothing half-written is ever accepted.

    Raises:
        ResultsError: the folder cannot be written (read-only, disk full).
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    write_table(folder / HISTORY, run.history)
    write_table(folder / PREDICTIONS, run.predictions)
    write_table(folder / TEST_PREDICTIONS, run.test_predictions)
    write_table(folder / DIAGNOSTICS, run.diagnostics)
    write_table(folder / TIMELINE, run.timeline, run.facts)
    atomically(folder / MODELS, lambda part: save_file(run.weights, part))
    digests = {name: sha256(folder / name) for name in sorted(_verified_files())}
    write_json(folder / MANIFEST, {**run.manifest, "files": digests})


def read_manifest(folder: Path) -> dict[str, Any]:
    """run.json of a run folder.

    Raises:
        ResultsError: it is missing, damaged, or of another schema version.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: not there, so this run is not complete; `dvc pull` fetches it or "
            f"`dvc repro train@{folder.name}` trains it"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path}: damaged ({error}); {_remedy(folder)}") from None
    if manifest.get("schema") != SCHEMA:
        raise ResultsError(
            f"{path}: schema {manifest.get('schema')}, this foldwise reads {SCHEMA}; "
            f"{_remedy(folder)}"
        )
    return manifest


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """One of the run's tables, verified against the manifest's sha256.

    Raises:
        ResultsError: the file is missing or does not match the manifest.
    """
    return pd.read_parquet(_verified(folder, name))


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The stack's parameters and buffers, name -> (S, ...), verified.

    Raises:
        ResultsError: the file is missing or does not match the manifest.
    """
    path = _verified(folder, MODELS)
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ResultsError(f"{path}: damaged ({error}); {_remedy(folder)}") from None


def read(folder: Path) -> RunFiles:
    """The whole run folder, every file verified against the manifest.

    Raises:
        ResultsError: a file is missing or does not match the manifest.
    """
    return RunFiles(
        manifest=read_manifest(folder),
        history=read_table(folder, HISTORY),
        predictions=read_table(folder, PREDICTIONS),
        test_predictions=read_table(folder, TEST_PREDICTIONS),
        diagnostics=read_table(folder, DIAGNOSTICS),
        weights=read_weights(folder),
        timeline=pd.read_parquet(folder / TIMELINE),
        facts=read_facts(folder / TIMELINE),
    )


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The columns p0 ... p{K-1} of a prediction table as an array (rows, K)."""
    columns = [name for name in table.columns if name[0] == "p" and name[1:].isdigit()]
    return table[columns].to_numpy(dtype=np.float64)


def _verified_files() -> Iterable[str]:
    return (name for name in FILES if name not in (MANIFEST, TIMELINE))


def _verified(folder: Path, name: str) -> Path:
    path = folder / name
    expected = read_manifest(folder)["files"].get(name)
    if not path.is_file():
        raise ResultsError(f"{path}: missing; {_remedy(folder)}")
    if (found := sha256(path)) != expected:
        raise ResultsError(
            f"{path}: damaged: its sha256 is {found}, the manifest says {expected}; "
            f"{_remedy(folder)}"
        )
    return path


def _remedy(folder: Path) -> str:
    return (
        f"`dvc checkout --force train@{folder.name}` restores it from the cache, "
        f"`dvc repro --force --single-item train@{folder.name}` trains it again"
    )
