"""The run folder: what training one variant leaves. Replaced as a whole, verified on reading.

`run.json` holds the sha256 of every other file but the timeline: a folder without it, or with a
file that does not match it, is never accepted.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import safetensors.numpy
from pydantic import ConfigDict, Field
from safetensors import SafetensorError

from foldwise.core import files
from foldwise.core.config import Variant
from foldwise.core.errors import DamagedError, MissingError, ResultsError
from foldwise.core.files import Record
from foldwise.datasets.prepared import Meta
from foldwise.numerics.split import REFIT

SCHEMA = 1
HISTORY = "history.parquet"
DIAGNOSTICS = "diagnostics.parquet"
PREDICTIONS = "predictions.parquet"
TEST_PREDICTIONS = "test_predictions.parquet"
MODELS = "models.safetensors"
MANIFEST = "run.json"
TIMELINE = "timeline.parquet"
CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")  # of a history
EPOCH, ROW = ["repeat", "fold", "epoch"], ["row", "repeat", "fold", "label"]
VERIFIED = (DIAGNOSTICS, HISTORY, MODELS, PREDICTIONS, TEST_PREDICTIONS)
FILES = (*VERIFIED, MANIFEST, TIMELINE)

Status = Literal["complete", "failed"]
NumericsPath = Literal["compiled", "autograd", "cuda"]
Place = tuple[int, int]  # repeat and fold of a split
T = TypeVar("T")


class Numerics(Record):
    """What decides the bits of a training beside settings, data and foldwise's own code."""

    path: NumericsPath  # "compiled" has the same bits on every x86-64 machine
    versions: dict[str, str]  # of the libraries that take part
    hardware: str = ""  # what the numbers depend on as well

    @property
    def named(self) -> dict[str, str]:
        """All of it by name."""
        return {"path": self.path, **self.versions, "hardware": self.hardware}


class Manifest(Record):
    """run.json: resolved settings, digests, versions; no times, ids or absolute paths.

    A run whose loss stopped being finite has "failed".
    """

    model_config = ConfigDict(serialize_by_alias=True)

    schema_version: int = Field(default=SCHEMA, alias="schema")
    status: Status
    reason: str | None = None
    variant: Variant
    dataset: Meta
    split_digest: str  # sha256 of the split table's file
    code_digest: str  # of the code that decides numbers
    numerics: Numerics | None = None  # what else does; None in files of an older foldwise
    versions: dict[str, str] = Field(default_factory=dict)  # of foldwise, Python, main libraries
    device: str = "cpu"
    parameters: int  # trained numbers of one model
    splits: list[Place]  # along axis 0 of the weights, `refit` last
    files: dict[str, str] = Field(default_factory=dict)  # name → sha256, once they are written

    @property
    def complete(self) -> bool:
        """Whether every model was trained to the end."""
        return self.status == "complete"

    @property
    def digest(self) -> str:
        """Of all that it says but the versions that decide no bit, as metrics carry it."""
        return files.short(files.digest(self.model_dump(mode="json", exclude={"versions"})))


class Facts(Record):
    """Wall-clock and machine facts. Times are Unix time in seconds.

    What is not known yet while a training goes on is None.
    """

    started: float
    device: str = "cpu"
    workers: int = 1
    threads: int = 1
    finished: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, eq=False)
class Run:
    """Everything that training one variant yields. S splits (`refit` last), K classes.

    Attributes:
        manifest: see `Manifest`.
        history: repeat, fold, epoch (from 1), train_loss, train_accuracy, validation_loss,
            validation_accuracy; all in evaluation mode after the epoch; NaN where a split
            holds no rows out.
        predictions: row, repeat, fold, label, p0 ... p{K-1}: out-of-fold probabilities.
        test_predictions: repeat, fold, row, label, p0 ... p{K-1}, on the data set's test rows,
            by every fold's model and `refit`; empty where the data set has none.
        diagnostics: step, layer (from 1, the output last), p15, p50, p85, saturated, dead,
            gradient_norm, update_ratio of the probed split (see `numerics.diagnostics`).
        weights: name → array (S, ...).
        timeline: repeat, fold, epoch, finished (Unix time in seconds); epoch 0 is the start.
        facts: see `Facts`.
    """

    manifest: Manifest
    history: pd.DataFrame
    predictions: pd.DataFrame
    test_predictions: pd.DataFrame
    diagnostics: pd.DataFrame
    weights: dict[str, np.ndarray]
    timeline: pd.DataFrame
    facts: Facts


def write_run(folder: Path, run: Run) -> Manifest:
    """Replace a run folder; the manifest with the digests of the files.

    Raises:
        WriteError: the folder cannot be written (read-only, disk full); it is as it was.
    """
    contents = {
        HISTORY: files.table_bytes(run.history),
        PREDICTIONS: files.table_bytes(run.predictions),
        TEST_PREDICTIONS: files.table_bytes(run.test_predictions),
        DIAGNOSTICS: files.table_bytes(run.diagnostics),
        MODELS: safetensors.numpy.save(run.weights),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest = run.manifest.model_copy(update={"files": digests})
    contents[TIMELINE] = files.table_bytes(run.timeline, run.facts.model_dump(exclude_none=True))
    contents[MANIFEST] = files.json_bytes(manifest.model_dump(mode="json"))
    files.write_together(folder, contents)
    return manifest


def _part(name: str, whole: list[str], numbers: list[str]) -> "cached_property[pd.DataFrame]":
    """A table of a run folder, with the columns that it must have; see `files.read_table`."""
    return cached_property(
        lambda folder: folder._read(name, lambda path: files.read_table(path, whole, numbers))
    )


@dataclass(frozen=True)
class RunFolder:
    """A run on disk, read and verified part by part, each when it is first asked for; see `Run`.

    Every part raises MissingError where its file is not there, and DamagedError where it does not
    match the manifest. No digest protects the timeline and the facts in it.
    """

    path: Path

    history = _part(HISTORY, EPOCH, [*CURVES])
    predictions = _part(PREDICTIONS, ROW, ["p0"])
    test_predictions = _part(TEST_PREDICTIONS, ROW, ["p0"])
    diagnostics = _part(DIAGNOSTICS, ["step", "layer"], [])
    timeline = _part(TIMELINE, EPOCH, ["finished"])

    @property
    def exists(self) -> bool:
        """Whether there is a manifest, without which nothing here counts."""
        return (self.path / MANIFEST).is_file()

    @cached_property
    def manifest(self) -> Manifest:
        """run.json."""
        path = self.path / MANIFEST
        if not path.is_file():
            raise MissingError(
                f"{path}: not there, so this run is not complete; `dvc pull` or "
                f"`dvc repro train@{self.path.name}` brings it"
            )
        return manifest_of(files.read_json(path, self._remedy), str(path), self._remedy)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The stack's parameters and buffers, name → (S, ...); read anew each time."""
        return self._read(MODELS, safetensors.numpy.load_file)

    @cached_property
    def facts(self) -> Facts:
        """See `Facts`."""
        return self._read(TIMELINE, lambda path: Facts.model_validate(files.read_facts(path)))

    def check(self) -> None:
        """Read everything."""
        for name in VERIFIED:
            self._read(name, Path)
        _ = self.timeline, self.facts

    def _read(self, name: str, read: Callable[[Path], T]) -> T:
        path, expected = self.path / name, self.manifest.files.get(name)
        if not path.is_file():
            raise MissingError(f"{path}: missing; {self._remedy}")
        try:
            if name in VERIFIED and (actual := files.sha256(path)) != expected:
                raise ValueError(f"its sha256 is {actual}, the manifest says {expected}")
            return read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).partition("\n")[0]
            raise DamagedError(f"{path}: damaged ({reason}); {self._remedy}") from None

    @property
    def _remedy(self) -> str:
        name = self.path.name
        return (
            f"`dvc checkout --force train@{name}` restores it from the cache, "
            f"`dvc repro --force --single-item train@{name}` trains it again"
        )


def manifest_of(tree: Any, source: str, remedy: str) -> Manifest:
    """The manifest in the object of a run.json, or of a journal's first line."""
    found = tree.get("schema") if isinstance(tree, Mapping) else None
    if found != SCHEMA:
        raise DamagedError(f"{source}: schema {found}, this foldwise reads {SCHEMA}; {remedy}")
    return files.as_record(dict(tree), Manifest, source, remedy)


def check_complete(manifest: Manifest) -> None:
    """That there are models and predictions; a ResultsError says why not."""
    if not manifest.complete:
        raise ResultsError(f"{manifest.variant.name} failed: {manifest.reason}")


def probabilities(table: pd.DataFrame) -> np.ndarray:
    """The columns p0 ... p{K-1} of a prediction table as an array (rows, K)."""
    columns = [name for name in table.columns if name[0] == "p" and name[1:].isdigit()]
    return table[columns].to_numpy(dtype=np.float64)


def predicted(table: pd.DataFrame) -> np.ndarray:
    """The most probable class of every line, (rows,); the lower one of two that tie."""
    p = probabilities(table)
    return p.argmax(axis=1) if len(p) else np.empty(0, dtype=np.intp)


def is_refit(place: Place) -> bool:
    """Whether this is the split that trains on all rows."""
    return place == (REFIT, REFIT)
