"""Trainings as they go on: journals → MLflow runs, which `tracking.mirror` takes over at the end.

A run is made only while its training holds its journal, so never beside the runs of its results.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Param, Run
from tqdm import tqdm

from foldwise import journal
from foldwise.core import paths
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.journal import Journal
from foldwise.results.evaluations import SPLIT
from foldwise.results.runs import CURVES, Facts
from foldwise.tracking import experiments, live, origin, place, records
from foldwise.tracking import store as stores
from foldwise.tracking.experiments import RUNNING
from foldwise.tracking.live import LIVE
from foldwise.tracking.records import NOTE, Entry, Source
from foldwise.tracking.store import Store
from foldwise.wording import notes

LONGEST_WAIT = 60  # seconds between two attempts to reach a store that fails
BAR = "{desc} |{bar:20}| {elapsed}<{remaining}"
UNKNOWN = [math.nan] * len(CURVES)  # before the first epoch
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
    def epochs(self) -> int:
        """How many epochs each network is to take."""
        return self.manifest.variant.training.epochs

    @property
    def epoch(self) -> int:
        """The last one that is recorded, in the mean over the networks."""
        return int(self._last["epoch"].sum()) // len(self.splits)

    @property
    def progress(self) -> str:
        """How far the training is, with the mean of the latest accuracies on held-out rows."""
        accuracy = self._last["validation_accuracy"].astype(float).mean()
        known = accuracy if math.isfinite(accuracy) else None
        return notes.progress(self.epoch, self.epochs, len(self.splits), known)

    @property
    def outputs(self) -> str:
        """Not known yet."""
        return ""

    @property
    def facts(self) -> Facts:
        """As of the last line."""
        facts, lines = self.journal.facts, self.journal.epochs
        finished = max((line.finished for line in lines), default=facts.started)
        return facts.model_copy(update={"finished": finished})

    @property
    def note(self) -> str:
        """How far it is."""
        return notes.training(self.manifest, self.journal.status, self.progress)

    @cached_property
    def history(self) -> pd.DataFrame:
        """What is recorded, and in which `line` of the journal."""
        rows = [
            (*split, line.epoch, line.finished, number, *metrics)
            for number, line in enumerate(self.journal.epochs)
            for split, metrics in zip(
                line.splits, line.metrics or [UNKNOWN] * len(line.splits), strict=True
            )
        ]
        columns = [*SPLIT, "epoch", "finished", "line", *CURVES]
        return pd.DataFrame(rows, columns=columns)

    @property
    def _last(self) -> pd.DataFrame:
        """The last line of each split that has started."""
        return self.history.groupby(SPLIT).tail(1)


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
    ended = ENDED.get(source.journal.status)
    for index, split in enumerate(source.splits):
        entry = source.child(index) if split in source.by_split else None
        if entry and entry.spec in runs:
            run, table = runs[entry.spec], source.by_split[split]
            store.log_points(run.info.run_id, records.points(table[table["line"] >= first]))
            done = table["epoch"].max() == source.epochs
            _end(store.client, run, "FINISHED" if done else ended, entry.finished)
    if source.spec in runs:
        parent = runs[source.spec]
        store.client.set_tag(parent.info.run_id, NOTE, source.parent.note)
        _end(store.client, parent, ended, source.parent.finished)


def _create_missing(store: Store, source: JournalSource, runs: dict[str, Run]) -> None:
    """Add the parent and a child for every split that trains to `runs`."""
    started = [i for i, split in enumerate(source.splits) if split in source.by_split]
    entries: list[Entry] = [source.parent, *map(source.child, started)]
    missing = [entry for entry in entries if entry.spec not in runs]
    if not missing:
        return
    experiment = experiments.of_study(store, source.study, [source])
    for entry in missing:
        parent = None if entry.role == "variant" else runs[source.spec].info.run_id
        tags = {**source.origin.tags, LIVE: source.attempt}
        run = experiments.create(store.client, experiment, entry, tags, parent)
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

    def show(self, sources: Iterable[JournalSource]) -> None:
        """Show the trainings that go on, and the end of those that were shown before."""
        for source in sources:
            status, key = source.journal.status, source.attempt
            running = status == journal.RUNNING
            text = f"{source.name}: {'' if running else f'{status}; '}{source.progress}"
            if self._said.get(key, "" if running else text) == text:
                continue
            self._said[key] = text
            if not sys.stdout.isatty():
                self.say(text)
                continue
            if key not in self._bars:
                self._bars[key] = tqdm(total=source.epochs, bar_format=BAR, file=sys.stdout)
                self._bars[key].start_t = source.journal.facts.started
            self._bars[key].n = source.epoch
            self._bars[key].set_description_str(text)
            if not running:
                self._bars[key].close()

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in self._bars.values():
            bar.close()
