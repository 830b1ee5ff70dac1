"""A variant's results → what each of its MLflow runs is to be. Imports no mlflow.

Identity: `spec` says what was asked for (data, splits, settings, code), `outputs` what came out.
Two MLflow runs with equal `spec` and `outputs` are the same run.
"""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd

from foldwise.core import files, paths, trees
from foldwise.core.errors import MissingError, ReadError
from foldwise.datasets.prepared import Meta
from foldwise.metrics import METRICS
from foldwise.numerics.split import split_name
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import Evaluation, Metrics, read_evaluation
from foldwise.results.runs import CURVES, Facts, Manifest, Place, RunFolder, is_refit
from foldwise.tracking.origin import Origin
from foldwise.wording import notes

SPEC, OUTPUTS, SUMMARY = "foldwise.spec", "foldwise.outputs", "foldwise.summary"
CURRENT, CREATED = "foldwise.current", "foldwise.created"
NOTE = "mlflow.note.content"
LONGEST = 500  # characters of a parameter
LONGEST_NOTE = 7500  # MLflow takes 8000 in a tag
FINALS = ("accuracy", "log_loss", "brier", "test_accuracy")  # of a split, before its curves
Role = Literal["variant", "split"]
Content = TypeVar("Content")


@dataclass(frozen=True)
class Point:
    """One value of a curve; `time` in milliseconds."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True)
class Entry:
    """One MLflow run as it has to be.

    Attributes:
        name: of the variant, or of the split.
        role: "variant" for the parent, "split" for its children.
        spec: digest of what was asked for.
        outputs: digest of what came out.
        started: milliseconds.
        finished: milliseconds.
        status: FINISHED or FAILED.
        tags: fixed when the run is created.
        params: likewise.
        facts: metrics that are logged once: machine facts.
        finals: final metrics; they may be revised when the evaluation changes.
        note: Markdown, revised likewise.
    """

    name: str
    role: Role
    spec: str
    outputs: str
    started: int
    finished: int
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    facts: dict[str, float] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def summary(self) -> str:
        """Digest of what may be revised."""
        return files.digest([self.finals, self.note])


@dataclass(frozen=True)
class Source(ABC):
    """What the MLflow runs of one variant are made from: the parent, and a child per split.

    Attributes:
        root: the folder of the project, or of a queued experiment.
        manifest: of the variant's run.
        origin: who tracks it, from which commit.
    """

    root: Path
    manifest: Manifest
    origin: Origin

    # --- what a kind of source has to say -----------------------------------------------------

    @property
    @abstractmethod
    def outputs(self) -> str:
        """Digest of what came out; "" as long as it is not known."""

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """When, and on what machine; `finished` is known."""

    @property
    @abstractmethod
    def note(self) -> str:
        """The parent's description in Markdown."""

    @abstractmethod
    def times(self, index: int) -> tuple[float, float]:
        """When a split's training began and ended, Unix time in seconds."""

    @property
    def evaluation(self) -> Evaluation | None:
        """How well it did; None where that is not known."""
        return None

    # --- what follows from it -----------------------------------------------------------------

    @property
    def name(self) -> str:
        """The variant."""
        return self.manifest.variant.name

    @property
    def study(self) -> str:
        """The study that it was trained in, which is its experiment."""
        return self.manifest.variant.study

    @property
    def dataset(self) -> Meta:
        """What it was trained on."""
        return self.manifest.dataset

    @property
    def splits(self) -> list[Place]:
        """(repeat, fold) along axis 0 of the weights; none of a run that failed."""
        return self.manifest.splits if self.manifest.complete else []

    @property
    def current(self) -> bool:
        """Whether these are the project's own results, not a queued experiment's or a commit's."""
        return not self.origin.backfilled and not paths.is_experiment(self.root)

    @cached_property
    def spec(self) -> str:
        """Digest of what was asked for."""
        return files.digest(self._identity)

    @cached_property
    def parent(self) -> Entry:
        """The run of the variant."""
        facts = self.facts
        return Entry(
            name=self.name,
            role="variant",
            spec=self.spec,
            outputs=self.outputs,
            started=milliseconds(facts.started),
            finished=milliseconds(facts.finished or facts.started),
            status="FINISHED" if self.manifest.complete else "FAILED",
            tags=self._tags | self._machine_tags(),
            params=self._params,
            facts=_machine_metrics(facts),
            finals=_aggregates(self.evaluation.metrics) if self.evaluation else {},
            note=self.note[:LONGEST_NOTE],
        )

    def child(self, index: int) -> Entry:
        """The run of one split."""
        repeat, fold = self.splits[index]
        started, finished = self.times(index)
        name = split_name(repeat, fold)
        return Entry(
            name=name,
            role="split",
            spec=files.digest({**self._identity, "split": [repeat, fold]}),
            outputs=self.outputs,
            started=milliseconds(started),
            finished=milliseconds(finished),
            status="FINISHED",
            tags=self._tags | {"split": name, "repeat": str(repeat), "fold": str(fold)},
            params=self._params,
            finals=self._finals((repeat, fold)),
        )

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The variant as it was written: an older foldwise knew fewer settings."""
        return self.manifest.variant.model_dump(mode="json", exclude_unset=True)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return {
            "schema": self.manifest.schema_version,
            "data": self.dataset.digest,
            "splits": self.manifest.split_digest,
            "variant": self._settings,
            "code": self.manifest.code_digest,
        }

    @cached_property
    def _params(self) -> dict[str, str]:
        settings = {k: v for k, v in self._settings.items() if k not in ("name", "study")}
        params = {key: text(value)[:LONGEST] for key, value in trees.flattened(settings).items()}
        return params | {"parameters": str(self.manifest.parameters)}

    @cached_property
    def _tags(self) -> dict[str, str]:
        data = self.dataset
        return {
            **self.origin.tags,
            "study": self.study,
            "variant": self.name,
            "dataset": data.name,
            "edition": data.edition,
            "synthetic": text(data.synthetic),
            "foldwise.data": data.digest,
        }

    def _machine_tags(self) -> dict[str, str]:
        known = self.facts.model_dump(
            include={"device", "workers", "threads"}, exclude_unset=True, exclude_none=True
        )
        reason = self.manifest.reason
        tags = {name: str(value) for name, value in known.items()}
        return tags | ({"reason": reason[:LONGEST]} if reason else {})

    @cached_property
    def _scores(self) -> dict[Place, dict[str, float]]:
        """The final metrics of each split of the folds."""
        if self.evaluation is None:
            return {}
        table, primary = self.evaluation.scores, METRICS[self.evaluation.metrics.metric]
        more = () if primary.pooled else (primary.name,)  # shares of a pooled one are no scores
        names = [name for name in dict.fromkeys(FINALS + more) if name in table.columns]
        splits = zip(table["repeat"].tolist(), table["fold"].tolist(), strict=True)
        lines = table[names].to_numpy(dtype=float).tolist()
        return {
            split: dict(zip(names, line, strict=True))
            for split, line in zip(splits, lines, strict=True)
        }

    def _finals(self, split: Place) -> dict[str, float]:
        scores: Mapping[str, Any] = self._scores.get(split, {})
        test = self.evaluation.metrics.test if self.evaluation else None
        if is_refit(split) and test is not None:
            scores = {"test_accuracy": test.refit_accuracy}
        return {name: float(value) for name, value in scores.items() if _is_number(value)}


@dataclass(frozen=True)
class FolderSource(Source):
    """The source that a run folder is, with the variant's metrics and its study's comparisons."""

    @cached_property
    def folder(self) -> RunFolder:
        """The run."""
        return RunFolder(self.root / paths.run(self.name))

    @cached_property
    def outputs(self) -> str:
        """Digest of what came out."""
        return files.digest([self.spec, self.manifest.status, self.manifest.files])

    @property
    def facts(self) -> Facts:
        """When, and on what machine."""
        return self.folder.facts

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """How well it did; None where it is not evaluated yet."""
        return self._read(lambda: read_evaluation(self.root, self.name))

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparisons of its study; None where there are none yet."""
        return self._read(lambda: read_comparison(self.root, self.study))

    @cached_property
    def note(self) -> str:
        """Verdict, score, protocol, links."""
        metrics = self.evaluation.metrics if self.evaluation else None
        return notes.run(self.manifest, metrics, self.comparison)

    def times(self, index: int) -> tuple[float, float]:
        """When a split's training began and ended; an older foldwise did not write its start.

        It is then one mean epoch before the end of the first.
        """
        table = self._by_split[self.splits[index]]
        first, last = float(table["finished"].min()), float(table["finished"].max())
        epoch = (last - first) / max(len(table) - 1, 1)
        likely = max(self.facts.started, first - epoch)
        return self._begun.get(self.splits[index], likely), last

    def curves(self, index: int) -> list[Point]:
        """Every finite value of every epoch of one split, at the time when it was reached."""
        table = self._by_split[self.splits[index]]
        times = (table["finished"] * 1000).round().astype("int64").tolist()
        steps = table["epoch"].astype("int64").tolist()
        return [
            Point(key, value, step, time)
            for key in CURVES
            for value, step, time in zip(table[key].tolist(), steps, times, strict=True)
            if math.isfinite(value)
        ]

    @cached_property
    def _begun(self) -> dict[Place, float]:
        """When each split's training began; empty for a run of an older foldwise."""
        reached = self.folder.timeline
        rows = reached[reached["epoch"] == 0]
        columns = (rows[name].tolist() for name in ("repeat", "fold", "finished"))
        return {(repeat, fold): begun for repeat, fold, begun in zip(*columns, strict=True)}

    @cached_property
    def _by_split(self) -> dict[Place, pd.DataFrame]:
        """The history of each split, with the times when its epochs were finished."""
        keys = ["repeat", "fold", "epoch"]
        times = self.folder.timeline[[*keys, "finished"]]
        table = self.folder.history.merge(times, on=keys, how="left").sort_values(keys)
        table["finished"] = table["finished"].fillna(self.facts.finished)
        splits = zip(table["repeat"].tolist(), table["fold"].tolist(), strict=True)
        groups = table.groupby(["repeat", "fold"])
        return {split: groups.get_group(split) for split in set(splits)}

    def _read(self, read: Callable[[], Content]) -> Content | None:
        """What is written; None where it is not there, or a commit has it in an older form."""
        try:
            return read()
        except MissingError:
            return None
        except ReadError:
            if self.origin.backfilled:
                return None
            raise


def read(root: Path, name: str, origin: Origin) -> FolderSource | None:
    """The results of a variant, None where there is no complete run folder.

    Raises:
        DamagedError: the run's manifest is damaged.
    """
    folder = RunFolder(root / paths.run(name))
    return FolderSource(root, folder.manifest, origin) if folder.exists else None


# --- helpers ----------------------------------------------------------------------------------


def milliseconds(seconds: float) -> int:
    """A time as MLflow has it."""
    return round(seconds * 1000)


def text(value: Any) -> str:
    """A setting as MLflow shows it."""
    return value if isinstance(value, str) else json.dumps(value)


def _machine_metrics(facts: Facts) -> dict[str, float]:
    metrics = {"duration_seconds": (facts.finished or facts.started) - facts.started}
    if facts.peak_memory_bytes is not None:
        metrics["peak_memory_mib"] = round(facts.peak_memory_bytes / 2**20, 1)
    return metrics


def _aggregates(metrics: Metrics) -> dict[str, float]:
    """The numbers of metrics/<variant>.json; a mean goes by the name of what it is of."""
    flat = trees.flattened(metrics.model_dump(mode="json", exclude_none=True), "_")
    numbers = {name: float(value) for name, value in flat.items() if _is_number(value)}
    return {_key(name.removesuffix("_mean")): value for name, value in numbers.items()}


def _key(name: str) -> str:
    """A name that MLflow takes for a metric."""
    return re.sub(r"[^A-Za-z0-9_\-. /:]", "_", name)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
