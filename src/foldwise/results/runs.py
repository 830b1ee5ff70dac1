"""The run folder: what training one variant leaves. Written atomically, verified on reading.

`run.json` is written last and holds the sha256 of every other file but the timeline: a folder
without it, or with a file that does not match it, is never accepted.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import safetensors.numpy
from pydantic import Field
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
FILES = (DIAGNOSTICS, HISTORY, PREDICTIONS, TEST_PREDICTIONS, MODELS, MANIFEST, TIMELINE)
VERIFIED = tuple(sorted(set(FILES) - {MANIFEST, TIMELINE}))

Status = Literal["complete", "failed"]
NumericsPath = Literal["compiled", "autograd", "cuda"]
Place = tuple[int, int]  # repeat and fold of a split


class Numerics(Record):
    """What decides the bits of a training beside settings, data and foldwise's own code.

    Attributes:
        path: "compiled" (the same bits on every x86-64 machine), "autograd", or "cuda".
        versions: of the libraries that take part.
        hardware: what the numbers depend on as well; "" for the compiled path.
    """

    path: NumericsPath
    versions: dict[str, str]
    hardware: str = ""

    @property
    def named(self) -> dict[str, str]:
        """All of it by name."""
        return {"path": self.path, **self.versions, "hardware": self.hardware}


class Manifest(Record):
    """run.json: resolved settings, digests, versions; no times, ids or absolute paths.

    Attributes:
        schema_version: of this file, `schema` in it.
        status: a run whose loss stopped being finite has "failed".
        reason: why it failed, None where it did not.
        variant: all that was asked for.
        dataset: meta.json of the prepared data.
        split_digest: sha256 of the split table's file.
        code_digest: of the code that decides numbers.
        numerics: what else does; None in files of an older foldwise.
        versions: of foldwise, Python and the main libraries.
        device: "cpu" or "cuda".
        parameters: trained numbers of one model.
        splits: (repeat, fold) along axis 0 of the weights, `refit` last.
        files: name → sha256; empty until they are written.
    """

    schema_version: int = SCHEMA
    status: Status
    reason: str | None = None
    variant: Variant
    dataset: Meta
    split_digest: str
    code_digest: str
    numerics: Numerics | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    device: str = "cpu"
    parameters: int
    splits: list[Place]
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every model was trained to the end."""
        return self.status == "complete"


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
    """Write a run folder, the manifest last; the manifest with the digests of the files.

    Raises:
        WriteError: the folder cannot be written (read-only, disk full).
    """
    files.remove(folder / MANIFEST)
    files.write_table(folder / HISTORY, run.history)
    files.write_table(folder / PREDICTIONS, run.predictions)
    files.write_table(folder / TEST_PREDICTIONS, run.test_predictions)
    files.write_table(folder / DIAGNOSTICS, run.diagnostics)
    facts = run.facts.model_dump(exclude_none=True)
    files.write_table(folder / TIMELINE, run.timeline, facts)
    files.write_bytes(folder / MODELS, safetensors.numpy.save(run.weights))
    digests = {name: files.sha256(folder / name) for name in VERIFIED}
    manifest = run.manifest.model_copy(update={"files": digests})
    files.write_json(folder / MANIFEST, as_json(manifest))
    return manifest


def as_json(manifest: Manifest) -> dict[str, Any]:
    """A manifest as run.json and a journal hold it."""
    tree = manifest.model_dump(mode="json")
    return {"schema": tree.pop("schema_version"), **tree}


@dataclass(frozen=True)
class RunFolder:
    """A run on disk, read and verified part by part, each when it is first asked for.

    Every part raises MissingError where its file is not there, and DamagedError where it does not
    match the manifest.
    """

    path: Path

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

    @cached_property
    def history(self) -> pd.DataFrame:
        """See `Run`."""
        return self._table(HISTORY)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """See `Run`."""
        return self._table(PREDICTIONS)

    @cached_property
    def test_predictions(self) -> pd.DataFrame:
        """See `Run`."""
        return self._table(TEST_PREDICTIONS)

    @cached_property
    def diagnostics(self) -> pd.DataFrame:
        """See `Run`."""
        return self._table(DIAGNOSTICS)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The stack's parameters and buffers, name → (S, ...); read anew each time."""
        path = self._verified(MODELS)
        try:
            return safetensors.numpy.load_file(path)
        except SafetensorError as error:
            raise DamagedError(f"{path}: damaged ({error}); {self._remedy}") from None

    @cached_property
    def timeline(self) -> pd.DataFrame:
        """See `Run`; no digest protects it."""
        try:
            return pd.read_parquet(io.BytesIO(self._timeline.read_bytes()))
        except (OSError, ValueError) as error:
            raise self._bad_timeline(error) from None

    @cached_property
    def facts(self) -> Facts:
        """See `Facts`."""
        try:
            return Facts.model_validate(files.read_facts(self._timeline))
        except (OSError, ValueError) as error:
            raise self._bad_timeline(error) from None

    def check(self) -> None:
        """Read everything.

        Raises:
            MissingError: a file is not there.
            DamagedError: a file does not match the manifest.
        """
        for name in VERIFIED:
            self._verified(name)
        _ = self.timeline, self.facts

    def _table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self._verified(name))

    def _verified(self, name: str) -> Path:
        path, expected = self.path / name, self.manifest.files.get(name)
        if not path.is_file():
            raise MissingError(f"{path}: missing; {self._remedy}")
        if (actual := files.sha256(path)) != expected:
            raise DamagedError(
                f"{path}: damaged: its sha256 is {actual}, the manifest says {expected}; "
                f"{self._remedy}"
            )
        return path

    @property
    def _timeline(self) -> Path:
        path = self.path / TIMELINE
        if not path.is_file():
            raise MissingError(f"{path}: missing; {self._remedy}")
        return path

    def _bad_timeline(self, error: Exception) -> DamagedError:
        path = self.path / TIMELINE
        return DamagedError(f"{path}: damaged ({type(error).__name__}); {self._remedy}")

    @property
    def _remedy(self) -> str:
        name = self.path.name
        return (
            f"`dvc checkout --force train@{name}` restores it from the cache, "
            f"`dvc repro --force --single-item train@{name}` trains it again"
        )


def manifest_of(tree: Mapping[str, Any], source: str, remedy: str) -> Manifest:
    """The manifest in the object of a run.json, or of a journal's first line.

    Raises:
        DamagedError: a field is missing or bad, or it is of another schema version.
    """
    if tree.get("schema") != SCHEMA:
        raise DamagedError(
            f"{source}: schema {tree.get('schema')}, this foldwise reads {SCHEMA}; {remedy}"
        )
    content = {key: value for key, value in tree.items() if key != "schema"}
    return files.as_record({**content, "schema_version": SCHEMA}, Manifest, source, remedy)


def check_complete(manifest: Manifest) -> None:
    """That there are models and predictions.

    Raises:
        ResultsError: the training failed; the message says why.
    """
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
