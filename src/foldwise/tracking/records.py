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
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd

from foldwise.core import files, paths, trees
from foldwise.core.errors import MissingError, ReadError
from foldwise.datasets.prepared import Meta
from foldwise.metrics import METRICS
from foldwise.numerics.split import split_name
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import SPLIT, Evaluation, Metrics, Result, read_evaluation
from foldwise.results.runs import CURVES, Facts, Manifest, Place, RunFolder, is_refit
from foldwise.results.studies import belongs
from foldwise.tracking.origin import Origin
from foldwise.wording import notes

SPEC, OUTPUTS, SUMMARY = "foldwise.spec", "foldwise.outputs", "foldwise.summary"
CURRENT, CREATED = "foldwise.current", "foldwise.created"
NOTE = "mlflow.note.content"
LONGEST = 500  # characters of a parameter
LONGEST_NOTE = 7500  # MLflow takes 8000 in a tag
FINALS = ("accuracy", "log_loss", "brier", "test_accuracy")  # of a split, before its curves
Content = TypeVar("Content")


class Point(NamedTuple):
    """One value of a curve; `time` in milliseconds. The order of fields is that of MLflow."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class Entry:
    """One MLflow run as it has to be; times in milliseconds."""

    name: str  # of the variant, or of the split
    role: Literal["variant", "split"]  # the parent, or one of its children
    spec: str  # digest of what was asked for
    outputs: str  # digest of what came out
    started: int
    finished: int
    status: str  # FINISHED or FAILED
    tags: dict[str, str]  # what it is and where it was made; fixed, as are params
    params: dict[str, str]
    facts: dict[str, float] = field(default_factory=dict)  # metrics that are logged once
    finals: dict[str, float] = field(default_factory=dict)  # metrics that may be revised
    note: str = ""  # Markdown, may be revised

    @property
    def summary(self) -> str:
        """Digest of what may be revised."""
        return files.digest([self.finals, self.note])


@dataclass(frozen=True)
class Source(ABC):
    """What the MLflow runs of one variant are made from: the parent, and a child per split."""

    root: Path  # the folder of the project, or of a queued experiment
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

    @property
    @abstractmethod
    def history(self) -> pd.DataFrame:
        """The curves, as a run has them, and `finished`: when each epoch was; epoch 0 the start."""

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
        facts, reason = self.facts, self.manifest.reason
        finished = facts.finished or facts.started
        known = facts.model_dump(
            include={"device", "workers", "threads"}, exclude_unset=True, exclude_none=True
        )
        machine = {"duration_seconds": finished - facts.started}
        if facts.peak_memory_bytes is not None:
            machine["peak_memory_mib"] = round(facts.peak_memory_bytes / 2**20, 1)
        return Entry(
            name=self.name,
            role="variant",
            spec=self.spec,
            outputs=self.outputs,
            started=milliseconds(facts.started),
            finished=milliseconds(finished),
            status="FINISHED" if self.manifest.complete else "FAILED",
            tags={
                **self._tags,
                **{name: str(value) for name, value in known.items()},
                **({"reason": reason[:LONGEST]} if reason else {}),
            },
            params=self._params,
            facts=machine,
            finals=_aggregates(self.evaluation.metrics) if self.evaluation else {},
            note=self.note[:LONGEST_NOTE],
        )

    def child(self, index: int) -> Entry:
        """The run of one split."""
        repeat, fold = place = self.splits[index]
        started, finished = self.times(index)
        name = split_name(repeat, fold)
        return Entry(
            name=name,
            role="split",
            spec=files.digest({**self._identity, "split": place}),
            outputs=self.outputs,
            started=milliseconds(started),
            finished=milliseconds(finished),
            status="FINISHED",
            tags=self._tags | {"split": name, "repeat": str(repeat), "fold": str(fold)},
            params=self._params,
            finals=_numbers(self._scores.get(place, {})),
        )

    def times(self, index: int) -> tuple[float, float]:
        """When a split's training began and ended, Unix time in seconds.

        An older foldwise did not write the start: it is then one mean epoch before the first's end.
        """
        table = self.by_split[self.splits[index]]
        finished = table["finished"].tolist()
        if table["epoch"].iloc[0] > 0:
            epoch = (finished[-1] - finished[0]) / max(len(finished) - 1, 1)
            finished.insert(0, max(self.facts.started, finished[0] - epoch))
        return finished[0], finished[-1]

    @cached_property
    def by_split(self) -> dict[Any, pd.DataFrame]:
        """The history of each split that has one."""
        return dict(iter(self.history.groupby(SPLIT)))

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
            "study": self.study,
            "variant": self.name,
            "dataset": data.name,
            "edition": data.edition,
            "synthetic": text(data.synthetic),
            "foldwise.data": data.digest,
        }

    @cached_property
    def _scores(self) -> Mapping[Place, Mapping[str, float]]:
        """The final metrics of each split: of held-out rows, and of test rows by the refit."""
        if self.evaluation is None:
            return {}
        table, metrics = self.evaluation.scores, self.evaluation.metrics
        primary = METRICS[metrics.metric]
        more = () if primary.pooled else (primary.name,)  # shares of a pooled one are no scores
        names = [name for name in dict.fromkeys(FINALS + more) if name in table.columns]
        scores: dict[Any, Any] = table.set_index(SPLIT)[names].to_dict("index")
        if metrics.test:
            of_refit = {"test_accuracy": metrics.test.refit_accuracy}
            scores |= {split: of_refit for split in self.splits if is_refit(split)}
        return scores


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
        """How well it did; None where it is not evaluated yet, but perhaps another training."""
        made = self._read(lambda: read_evaluation(self.root, self.name))
        return None if made and Result(made, self.folder).stale else made

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparisons of its study; None where there are none of these scores yet."""

        def belonging() -> Comparison | None:
            made = read_comparison(self.root, self.study)
            return made if belongs(made, self.root) else None

        return self._read(belonging)

    @cached_property
    def note(self) -> str:
        """Verdict, score, protocol, links."""
        metrics = self.evaluation.metrics if self.evaluation else None
        return notes.run(self.manifest, metrics, self.comparison)

    @cached_property
    def history(self) -> pd.DataFrame:
        """The run's history, with its timeline."""
        timeline, keys = self.folder.timeline, [*SPLIT, "epoch"]
        times = timeline[[*keys, "finished"]]
        table = self.folder.history.merge(times, on=keys, how="left")
        table["finished"] = table["finished"].fillna(self.facts.finished)
        return pd.concat([times[times["epoch"] == 0], table]).sort_values(keys)

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


def points(table: pd.DataFrame) -> list[Point]:
    """Every finite value of the curves in a history, at the time when it was reached."""
    times = (table["finished"] * 1000).round().astype("int64").tolist()
    steps = table["epoch"].astype("int64").tolist()
    return [
        Point(key, value, time, step)
        for key in CURVES
        for value, time, step in zip(table[key].tolist(), times, steps, strict=True)
        if math.isfinite(value)
    ]


def milliseconds(seconds: float) -> int:
    """A time as MLflow has it."""
    return round(seconds * 1000)


def text(value: Any) -> str:
    """A setting as MLflow shows it."""
    return value if isinstance(value, str) else json.dumps(value)


def _aggregates(metrics: Metrics) -> dict[str, float]:
    """The numbers of metrics/<variant>.json; a mean goes by the name of what it is of."""
    flat = trees.flattened(metrics.model_dump(mode="json", exclude_none=True), "_")
    # MLflow takes few characters in a metric's name.
    names = {name: re.sub(r"[^\w\-. /:]", "_", name, flags=re.ASCII) for name in flat}
    return _numbers({names[name].removesuffix("_mean"): value for name, value in flat.items()})


def _numbers(tree: Mapping[str, Any]) -> dict[str, float]:
    """What is a finite number."""
    return {
        name: float(value)
        for name, value in tree.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
