"""Trainings as they go on: journals → MLflow runs, which `tracking.mirror` takes over at the end.

A run is made only while its training holds its journal, so never beside the runs of its results.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, Run
from tqdm import tqdm

from foldwise import journal
from foldwise.core import paths
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.journal import Journal
from foldwise.numerics.outcomes import Recorded
from foldwise.results.runs import CURVES, Facts, Place
from foldwise.tracking import experiments, live, origin, place
from foldwise.tracking import store as stores
from foldwise.tracking.experiments import RUNNING
from foldwise.tracking.live import LIVE
from foldwise.tracking.records import NOTE, Entry, Point, Source, milliseconds
from foldwise.tracking.store import Store
from foldwise.wording import notes
from foldwise.wording.numbers import percent

LONGEST_WAIT = 60  # seconds between two attempts to reach a store that fails
ENDED = {"complete": "FINISHED", "failed": "FAILED", journal.KILLED: "KILLED"}


def follow(
    root: Path,
    environment: Environment,
    interval: float = 10.0,
    going: Callable[[], bool] = lambda: True,
) -> None:
    """Show the trainings of a project in the MLflow store as they go on, until Ctrl-C.

    `track` takes over what this has begun, and deletes what it leaves of killed trainings. A
    store that fails is tried again, with everything that it missed.

    Args:
        root: the project's root.
        environment: where the store is, and which DVC experiment runs.
        interval: seconds between two looks at the journals.
        going: asked before every look whether to go on.

    Raises:
        TrackingError: the project's path cannot be part of a database's address.
    """
    follower = Follower(root.resolve(), environment)
    wait, due, problem = 0.0, 0.0, ""
    with closing(Board()) as board:
        while going():
            board.show(follower.read())
            if follower.has_news() and time.monotonic() >= due:
                try:
                    follower.mirror()
                except TrackingError as error:
                    wait = min(max(interval, 2 * wait), LONGEST_WAIT)
                    if str(error) != problem:
                        board.say(f"{error}; trying again until it works; trainings go on")
                    problem = str(error)
                else:
                    if problem:
                        board.say(f"{follower.uri}: works again, and has all that was missed")
                    wait, problem = 0.0, ""
                due = time.monotonic() + wait
            time.sleep(interval)


# --- what is shown ----------------------------------------------------------------------------


@dataclass(frozen=True)
class JournalSource(Source):
    """The source that a journal is, as far as its training has come."""

    journal: Journal

    @property
    def attempt(self) -> str:
        """Which training this is, of all that ever were."""
        return live.attempt(self.root, self.journal.facts.started)

    @property
    def state(self) -> tuple[int, str]:
        """How many epochs of chunks are recorded, and whether more are to come."""
        return len(self.journal.epochs), self.journal.status

    @property
    def models(self) -> int:
        """How many networks train."""
        return len(self.splits)

    @property
    def epochs(self) -> int:
        """How many epochs each of them is to take."""
        return self.manifest.variant.training.epochs

    @property
    def epoch(self) -> int:
        """The last one that is recorded, in the mean over the networks."""
        return sum(recorded.epoch for recorded, _ in self._last.values()) // self.models

    @property
    def accuracy(self) -> float | None:
        """The latest on held-out rows, in the mean over the networks that have one."""
        i = CURVES.index("validation_accuracy")
        values = [metrics[i] for _, metrics in self._last.values() if metrics]
        finite = [value for value in values if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else None

    @property
    def progress(self) -> str:
        """How far the training is, in words."""
        return notes.progress(self.epoch, self.epochs, self.models, self.accuracy)

    @property
    def started(self) -> list[int]:
        """The indices of the splits that train, or have trained."""
        return [i for i, split in enumerate(self.splits) if split in self._last]

    def is_done(self, index: int) -> bool:
        """Whether a split has taken its last epoch."""
        recorded, _ = self._last[self.splits[index]]
        return recorded.epoch == self.epochs

    def points(self, first: int) -> dict[Place, list[Point]]:
        """The points of the curves from a line of the journal on, by split."""
        points: dict[Place, list[Point]] = {split: [] for split in self.splits}
        for recorded in self.journal.epochs[first:]:
            reached = milliseconds(recorded.finished)
            for split, metrics in _by_split(recorded):
                points[split] += [
                    Point(key, value, recorded.epoch, reached)
                    for key, value in zip(CURVES, metrics, strict=False)
                    if math.isfinite(value)
                ]
        return points

    @cached_property
    def _last(self) -> dict[Place, tuple[Recorded, list[float]]]:
        """Of each split that has started: its last line in the journal, and its own metrics."""
        lines = self.journal.epochs
        return {split: (line, metrics) for line in lines for split, metrics in _by_split(line)}

    @cached_property
    def _begun(self) -> dict[Place, float]:
        starts = (line for line in self.journal.epochs if line.epoch == 0)
        return {split: line.finished for line in starts for split in line.splits}

    # What every source has.

    @property
    def outputs(self) -> str:
        """Not known yet."""
        return ""

    @cached_property
    def facts(self) -> Facts:
        """As of the last line."""
        facts = self.journal.facts
        times = [line.finished for line, _ in self._last.values()]
        return facts.model_copy(update={"finished": max(times, default=facts.started)})

    @property
    def note(self) -> str:
        """How far it is."""
        return notes.training(self.manifest, self.journal.status, self.progress)

    def times(self, index: int) -> tuple[float, float]:
        """When a split began, and when it came to its last line."""
        recorded, _ = self._last[self.splits[index]]
        return self._begun[self.splits[index]], recorded.finished


def _by_split(line: Recorded) -> Iterator[tuple[Place, list[float]]]:
    """The splits of a chunk with the metrics of each, which has none at epoch 0."""
    yield from zip(line.splits, line.metrics or [[]] * len(line.splits), strict=True)


# --- the mirror -------------------------------------------------------------------------------


@dataclass
class Follower:
    """Mirrors the journals of a workspace, and remembers what the store has of them."""

    root: Path
    environment: Environment
    _read: dict[Path, JournalSource] = field(default_factory=dict)
    _mirrored: dict[str, tuple[int, str]] = field(default_factory=dict)

    @cached_property
    def uri(self) -> str:
        """The store."""
        return place.store_uri(self.root, self.environment)

    def read(self) -> list[JournalSource]:
        """The latest training of every variant."""
        files = sorted((self.root / paths.LIVE).glob("*.jsonl"))
        latest = {path: self._latest(path) for path in files}
        self._read = {path: source for path, source in latest.items() if source is not None}
        return [*self._read.values()]

    def has_news(self) -> bool:
        """Whether the journals, as last read, say what the store does not have."""
        sources = self._read.values()
        return any(self._mirrored.get(source.attempt) != source.state for source in sources)

    def mirror(self) -> None:
        """Bring the store up to what the journals say now.

        Raises:
            TrackingError: the store fails; the next call makes up for it.
        """
        before, self._mirrored = self._mirrored, {}
        with stores.opened(self.uri, self.environment) as store:
            runs = live.runs_of(store.client, self.root)
            sources = self.read()  # not earlier: a training that is over may be tracked by now
            for source in sources:
                if before.get(source.attempt) != source.state:
                    first, _ = before.get(source.attempt, (0, ""))
                    _show(store, source, live.showing(runs, source.attempt), first)
            latest = {source.attempt for source in sources}
            for left in (run for run in runs if run.data.tags[LIVE] not in latest):
                _end(store.client, left, "KILLED", None)
        self._mirrored = {source.attempt: source.state for source in sources}

    def _latest(self, path: Path) -> JournalSource | None:
        known = self._read.get(path)
        written = journal.read(path, known.journal if known else None)
        if written is None:
            return None
        if known is None or known.journal.facts != written.facts:
            start = origin.of_workspace(self.root, self.environment)
        elif known.state == (len(written.epochs), written.status):
            return known  # with all that was worked out from it
        else:
            start = known.origin
        return JournalSource(self.root, written.manifest, start, written)


def _show(store: Store, source: JournalSource, runs: dict[str, Run], first: int) -> None:
    """Mirror one training; `runs` are its own by spec, the lines before `first` are there."""
    if source.journal.status == journal.RUNNING:
        _create_missing(store, source, runs)
    points, ended = source.points(first), ENDED.get(source.journal.status)
    for index in source.started:
        entry = source.child(index)
        if entry.spec in runs:
            run = runs[entry.spec]
            store.log_points(run.info.run_id, points[source.splits[index]])
            _end(store.client, run, "FINISHED" if source.is_done(index) else ended, entry.finished)
    if source.spec in runs:
        parent = runs[source.spec]
        store.client.set_tag(parent.info.run_id, NOTE, source.parent.note)
        _end(store.client, parent, ended, source.parent.finished)


def _create_missing(store: Store, source: JournalSource, runs: dict[str, Run]) -> None:
    """Add the parent and a child for every split that trains to `runs`."""
    entries: Iterable[Entry] = (source.parent, *map(source.child, source.started))
    missing = [entry for entry in entries if entry.spec not in runs]
    if not missing:
        return
    experiment = experiments.of_study(store, source.study, [source])
    for entry in missing:
        parent = None if entry.role == "variant" else runs[source.spec].info.run_id
        run = experiments.create(store.client, experiment, entry, {LIVE: source.attempt}, parent)
        params = [Param(key, value) for key, value in entry.params.items()]
        store.client.log_batch(run.info.run_id, params=params)
        runs[entry.spec] = run


def _end(client: MlflowClient, run: Run, status: str | None, finished: int | None) -> None:
    """Give a run that is RUNNING its status, if it has one, and the time of its end (or now)."""
    if status and run.info.status == RUNNING:
        client.set_terminated(run.info.run_id, status, end_time=finished)


# --- the terminal -----------------------------------------------------------------------------


class Board:
    """A line per training: a bar that moves on a terminal, in a log a line with every news."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}
        self._said: dict[str, str] = {}

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in self._bars.values():
            bar.close()

    def show(self, sources: Iterable[JournalSource]) -> None:
        """Show the trainings that go on, and the end of those that were shown before."""
        for source in sources:
            status = source.journal.status
            running = status == journal.RUNNING
            text = source.progress if running else f"{status}; {source.progress}"
            if self._said.get(source.attempt, None if running else text) != text:
                self._said[source.attempt] = text
                if sys.stdout.isatty():
                    self._draw(source)
                else:
                    self.say(f"{source.name}: {text}")

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def _draw(self, source: JournalSource) -> None:
        if source.attempt not in self._bars:
            bar = tqdm(total=source.epochs, desc=source.name, unit="epoch", file=sys.stdout)
            bar.start_t = source.journal.facts.started
            self._bars[source.attempt] = bar
        bar, status = self._bars[source.attempt], source.journal.status
        bar.n = source.epoch
        accuracy = source.accuracy
        scored = "" if accuracy is None else f", {percent(accuracy)} validation accuracy"
        bar.set_postfix_str(f"{status}, {source.models} models{scored}")
        if status != journal.RUNNING:
            bar.close()
