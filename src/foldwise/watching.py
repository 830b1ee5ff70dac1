"""Trainings as they go on: journals → MLflow runs, which `mirror` takes over at the end.

A live run has the tag `foldwise.live`, which says what training it shows, and no outputs yet. It
is made only while that training holds its journal, so never beside the runs of its results.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
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
from foldwise.core.errors import TrackingError
from foldwise.journal import Journal
from foldwise.tracking import mirror, place, records, store
from foldwise.tracking.records import CURVES, LIVE, NOTE, Point, Record, VariantRun
from foldwise.tracking.store import Store

LONGEST_WAIT = 60  # seconds between two attempts to reach a store that fails
ENDED = {"complete": "FINISHED", "failed": "FAILED", journal.KILLED: "KILLED"}
Split = tuple[int, int]


def follow(
    root: Path, environ: Mapping[str, str], interval: float, going: Callable[[], bool]
) -> None:
    """See `foldwise.tracking.follow`."""
    follower = Follower(root, environ)
    wait, due, said = 0.0, 0.0, ""
    with closing(Board()) as board:
        while going():
            board.show(follower.read())
            if follower.has_news() and time.monotonic() >= due:
                try:
                    follower.mirror()
                except TrackingError as error:
                    wait = min(max(interval, 2 * wait), LONGEST_WAIT)
                    if str(error) != said:
                        board.say(f"{error}; trying again until it works; trainings go on")
                    said = str(error)
                else:
                    if said:
                        board.say(f"{follower.uri}: works again, and has all that was missed")
                    wait, said = 0.0, ""
                due = time.monotonic() + wait
            time.sleep(interval)


# --- what is shown ----------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveRun(VariantRun):
    """The run of a variant as far as the journal of its training goes."""

    journal: Journal

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
        return int(self.manifest["variant"]["training"]["epochs"])

    @property
    def epoch(self) -> int:
        """The last one that is recorded, in the mean over the networks."""
        return sum(int(line["epoch"]) for line, _ in self._last.values()) // self.models

    @property
    def accuracy(self) -> float | None:
        """The latest on held-out rows, in the mean over the networks that have one."""
        i = CURVES.index("validation_accuracy")
        values = [metrics[i] for _, metrics in self._last.values() if metrics]
        finite = [value for value in values if math.isfinite(value)]
        return sum(finite) / len(finite) if finite else None

    @property
    def progress(self) -> str:
        """How far the training is."""
        text = f"epoch {self.epoch} of {self.epochs}, {self.models} models"
        if self.accuracy is not None:
            text += f", mean validation accuracy {100 * self.accuracy:.1f} %"
        return text

    def started(self) -> list[int]:
        """The indices of the splits that train, or have trained."""
        return [i for i, split in enumerate(self.splits) if split in self._last]

    def is_done(self, index: int) -> bool:
        """Whether a split has taken its last epoch."""
        line, _ = self._last[self.splits[index]]
        return bool(line["epoch"] == self.epochs)

    def points(self, first: int) -> dict[Split, list[Point]]:
        """The points of the curves from a line of the journal on, by split."""
        found: dict[Split, list[Point]] = {split: [] for split in self.splits}
        for line in self.journal.epochs[first:]:
            reached = records.milliseconds(line["finished"])
            for split, metrics in _by_split(line):
                found[split] += [
                    Point(key, value, line["epoch"], reached)
                    for key, value in zip(CURVES, metrics, strict=False)
                    if math.isfinite(value)
                ]
        return found

    @cached_property
    def _last(self) -> dict[Split, tuple[dict[str, Any], list[float]]]:
        """Of each split that has started: its last line in the journal, and its own metrics."""
        lines = self.journal.epochs
        return {split: (line, metrics) for line in lines for split, metrics in _by_split(line)}

    # What a VariantRun has from the run folder, from the journal.

    @cached_property
    def outputs(self) -> str:
        """Not known yet."""
        return ""

    @cached_property
    def _begun(self) -> dict[Split, float]:
        starts = (line for line in self.journal.epochs if line["epoch"] == 0)
        return {split: line["finished"] for line in starts for split, _ in _by_split(line)}

    @cached_property
    def _facts(self) -> dict[str, Any]:
        facts = self.journal.facts
        times = [line["finished"] for line, _ in self._last.values()]
        return {**facts, "finished": max(times, default=facts["started"])}

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        return {}

    def _times(self, repeat: int, fold: int) -> tuple[int, int]:
        line, _ = self._last[repeat, fold]
        begun = self._begun[repeat, fold]
        return records.milliseconds(begun), records.milliseconds(line["finished"])

    def _note(self) -> str:
        said = f"**Training, {self.journal.status}**: {self.progress}"
        return "\n\n".join(line for line in (self.warning(), said, self.protocol()) if line)


def _by_split(line: Mapping[str, Any]) -> list[tuple[Split, list[float]]]:
    """The splits of a chunk with the metrics of each, which has none at epoch 0."""
    metrics = line["metrics"] or [[]] * len(line["splits"])
    splits = zip(line["splits"], metrics, strict=True)
    return [((repeat, fold), values) for (repeat, fold), values in splits]


# --- the mirror -------------------------------------------------------------------------------


@dataclass
class Follower:
    """Mirrors the journals of a workspace, and remembers what the store has of them."""

    root: Path
    environ: Mapping[str, str]
    _read: dict[Path, tuple[object, LiveRun]] = field(default_factory=dict)
    _mirrored: dict[str, tuple[int, str]] = field(default_factory=dict)

    @cached_property
    def uri(self) -> str:
        """The store."""
        return place.store_uri(self.environ, self.root)

    def read(self) -> list[LiveRun]:
        """The latest training of every variant; what is over and unchanged is not read again."""
        files = sorted((self.root / paths.LIVE).glob("*.jsonl"))
        latest = {path: self._latest(path) for path in files}
        self._read = {path: found for path, found in latest.items() if found is not None}
        return self._runs()

    def has_news(self) -> bool:
        """Whether the journals, as last read, say what the store does not have."""
        return any(self._mirrored.get(run.attempt) != run.state for run in self._runs())

    def mirror(self) -> None:
        """Bring the store up to what the journals say now.

        Raises:
            TrackingError: the store fails; the next call makes up for it.
        """
        before, self._mirrored = self._mirrored, {}
        with store.opened(self.uri, self.environ) as opened:
            live = mirror.live_runs(opened.client, self.root)
            runs = self.read()  # not earlier: a training that is over may be tracked by now
            for run in runs:
                if before.get(run.attempt) != run.state:
                    first, _ = before.get(run.attempt, (0, ""))
                    self._show(opened, run, mirror.begun(live, run.attempt), first)
            latest = {run.attempt for run in runs}
            for left in (each for each in live if each.data.tags[LIVE] not in latest):
                _end(opened.client, left, "KILLED", None)
        self._mirrored = {run.attempt: run.state for run in runs}

    def _runs(self) -> list[LiveRun]:
        return [run for _, run in self._read.values()]

    def _latest(self, path: Path) -> tuple[object, LiveRun] | None:
        known = self._read.get(path)
        try:
            stat = path.stat()
        except OSError:
            return None
        stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
        if known and known[0] == stamp and known[1].journal.status != journal.RUNNING:
            return known
        found = journal.read(path, known[1].journal if known else None)
        if found is None:
            return None
        if known and known[1].journal.facts == found.facts:
            context = known[1].context
        else:
            context = records.context(self.root, self.environ)
        name = found.manifest["variant"]["name"]
        return stamp, LiveRun(self.root, name, found.manifest, context, found)

    def _show(self, opened: Store, run: LiveRun, live: dict[str, Run], first: int) -> None:
        """Mirror one training; `live` are its runs by spec, the lines before `first` are there."""
        client, status = opened.client, run.journal.status
        if status == journal.RUNNING:
            self._create_missing(opened, run, live)
        points, ended = run.points(first), ENDED.get(status)
        children = [(i, run.child(i)) for i in run.started()]
        shown = [(i, record, live[record.spec]) for i, record in children if record.spec in live]
        opened.log_points({each.info.run_id: points[run.splits[i]] for i, _, each in shown})
        for i, record, each in shown:
            end = "FINISHED" if run.is_done(i) else ended
            if end:
                _end(client, each, end, record.finished)
        if run.spec in live:
            client.set_tag(live[run.spec].info.run_id, NOTE, run.parent.note)
            if ended:
                _end(client, live[run.spec], ended, run.parent.finished)

    def _create_missing(self, opened: Store, run: LiveRun, live: dict[str, Run]) -> None:
        """Add the parent and a child for every split that trains to `live`."""
        wanted: Iterable[Record] = (run.parent, *map(run.child, run.started()))
        missing = [record for record in wanted if record.spec not in live]
        if not missing:
            return
        experiment = mirror.experiment_of(opened, run.study, [run])
        for record in missing:
            parent = None if record.role == "variant" else live[run.spec].info.run_id
            tags = {LIVE: run.attempt}
            live[record.spec] = mirror.create(opened, experiment, record, tags, parent)
            opened.client.log_batch(
                live[record.spec].info.run_id,
                params=[Param(key, value) for key, value in record.params.items()],
            )


def _end(client: MlflowClient, run: Run, status: str, finished: int | None) -> None:
    """Give a run that is RUNNING its status and the time of its end (default: now)."""
    if run.info.status == mirror.RUNNING:
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

    def show(self, runs: Iterable[LiveRun]) -> None:
        """Show the trainings that go on, and the end of those that were shown before."""
        for run in runs:
            running = run.journal.status == journal.RUNNING
            text = run.progress if running else f"{run.journal.status}; {run.progress}"
            if self._said.get(run.attempt, None if running else text) != text:
                self._said[run.attempt] = text
                if sys.stdout.isatty():
                    self._draw(run)
                else:
                    self.say(f"{run.name}: {text}")

    def say(self, text: str) -> None:
        """Print a line, above the bars."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def _draw(self, run: LiveRun) -> None:
        if run.attempt not in self._bars:
            bar = tqdm(total=run.epochs, desc=run.name, unit="epoch", file=sys.stdout)
            bar.start_t = run.journal.facts["started"]
            self._bars[run.attempt] = bar
        bar = self._bars[run.attempt]
        bar.n = run.epoch
        accuracy = (
            "" if run.accuracy is None else f", {100 * run.accuracy:.1f} % validation accuracy"
        )
        bar.set_postfix_str(f"{run.journal.status}, {run.models} models{accuracy}")
        if run.journal.status != journal.RUNNING:
            bar.close()
