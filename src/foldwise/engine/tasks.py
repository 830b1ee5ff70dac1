"""Variants to train: what the store has of their splits is taken, the rest is trained at once."""

import platform
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from foldwise.core import config, files, paths
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.core.errors import DamagedError, DataError, FoldwiseError, MissingError, ReadError
from foldwise.datasets import prepared
from foldwise.datasets.prepared import Dataset, describe
from foldwise.engine import executors, identity, tables
from foldwise.engine.executors import Done, Work
from foldwise.engine.learners import Learner, learner_of
from foldwise.engine.mlp import Chunk
from foldwise.engine.store import Entry, Store
from foldwise.journal import Recorder
from foldwise.numerics.outcomes import DivergedError, Recorded
from foldwise.numerics.split import Split, split_name
from foldwise.results.runs import Facts, Manifest, Place, RunFolder
from foldwise.splits import splits_of

SMALL = 2**14  # bytes of a split's curves, times and names, about


@dataclass(frozen=True, eq=False)
class Task:
    """A variant on every split of its study, `refit` last, on a device ("cpu" or "cuda").

    `split_digest` is the sha256 of the split table's file.
    """

    learner: Learner
    dataset: Dataset
    splits: Sequence[Split]
    split_digest: str
    device: str

    @property
    def name(self) -> str:
        """The variant."""
        return self.learner.variant.name

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All splits as the learner plans them, whatever the store has."""
        return self.learner.plan(self.splits, self.dataset, self.device)

    @cached_property
    def keys(self) -> dict[Place, str]:
        """The key of every split in the store."""
        return identity.split_keys(self.learner, self.chunks, self.dataset.digest, self.device)

    def missing(self, known: Collection[Place]) -> list[Chunk]:
        """What is to be trained where the results of these splits are known.

        On a GPU a chunk trains whole, as each of its splits depends on the others.
        """
        left = []
        for chunk in self.chunks:
            rest = tuple(split for split in chunk if split.place not in known)
            if rest:
                left.append(chunk if self.device == "cuda" else rest)
        return left

    def manifest(self) -> Manifest:
        """Of a complete run."""
        libraries = {name: version(name) for name in ("foldwise", "numpy", "torch")}
        return Manifest(
            status="complete",
            variant=self.learner.variant,
            dataset=describe(self.dataset),
            split_digest=self.split_digest,
            code_digest=identity.code_of(self.learner.code),
            numerics=identity.numerics_of(self.learner, self.device),
            versions={**libraries, "python": platform.python_version()},
            device=self.device,
            parameters=self.learner.parameters(self.dataset),
            splits=[split.place for split in self.splits],
        )


def load(variants: Iterable[Variant], device: str, root: Path = Path()) -> list[Task]:
    """The tasks of variants, from the prepared data and split tables; each is read once.

    Raises:
        MissingError: a file is not there; the message has the stage that makes it.
        DamagedError: a file is not what was written.
        DataError: the split table is not of these data, or of other cross-validation settings.
    """
    read = cache(lambda name: prepared.load(root / paths.prepared(name)))
    return [_load(variant, read(variant.dataset), device, root) for variant in variants]


def _load(variant: Variant, dataset: Dataset, device: str, root: Path) -> Task:
    path, remedy = root / paths.splits(variant.study), f"`dvc repro split@{variant.study}`"
    if not path.is_file():
        raise MissingError(f"{path}: not there; {remedy} makes it")
    try:
        table = files.read_table(path, ["row", "repeat", "fold"], [])
        made_of = files.read_facts(path)["data_digest"]
        found = table["repeat"].nunique(), table["fold"].nunique()
    except (OSError, ValueError, KeyError) as error:
        raise DamagedError(
            f"{path}: damaged ({error}); `dvc repro --force` of it, {remedy}"
        ) from None
    if made_of != dataset.digest:
        raise DataError(f"{path} was made from other data; run {remedy}")
    if found != (variant.cv.repeats, variant.cv.folds):
        raise DataError(f"{path} was made with other cross-validation settings; run {remedy}")
    return task(variant, dataset, table, files.sha256(path), device)


def task(
    variant: Variant, dataset: Dataset, table: pd.DataFrame, split_digest: str, device: str
) -> Task:
    """The task of a variant; arguments as in `cross_validation.cross_validate`."""
    return Task(learner_of(variant), dataset, splits_of(table), split_digest, device)


@dataclass
class Outcome:
    """What is known of a task's splits: the results, and how many of them this training gave.

    Where the training diverged, not all results are there.
    """

    task: Task
    facts: Facts
    entries: dict[Place, Entry]
    trained: int = 0
    failure: DivergedError | None = None

    @property
    def reason(self) -> str | None:
        """Why the training failed, for people; None where it did not."""
        if self.failure is None:
            return None
        error, optimizer = self.failure, self.task.learner.variant.training.optimizer
        return (
            f"{self.task.name}, {split_name(error.repeat, error.fold)}, epoch {error.epoch}: the "
            f"training loss is {error.loss} with {optimizer.name}, lr {optimizer.lr}; "
            "try a smaller lr"
        )


def train(
    tasks: Sequence[Task],
    environment: Environment,
    store: Store | None = None,
    journals: Sequence[Recorder] = (),
) -> list[Outcome]:
    """Train what the store does not have, all tasks together; each result goes into the store.

    A training that diverges leaves no entry: it does so soon, and again when it is asked again.

    Args:
        tasks: on the same device.
        environment: workers and device.
        store: None trains everything and keeps nothing.
        journals: one for each task, or none; what trains nothing begins no journal.

    Raises:
        TrainingError: a worker died, or memory is short.
        WriteError: a result cannot be kept.
    """
    if not tasks:
        return []
    device = tasks[0].device
    facts = Facts(started=time.time(), device=device, workers=environment.workers)
    outcomes = [Outcome(task, facts, _stored(task, store)) for task in tasks]
    recorders = journals or [Recorder(None)] * len(tasks)
    at_work, works = list[tuple[Outcome, Recorder]](), list[Work]()
    for outcome, recorder in zip(outcomes, recorders, strict=True):
        if chunks := outcome.task.missing(outcome.entries):
            recorder.begin(outcome.task.manifest(), facts)
            at_work.append((outcome, recorder))
            works.append(_work(outcome.task, chunks, store))

    def done(work: int, chunk: Done) -> None:
        outcome = at_work[work][0]
        outcome.trained += len(chunk.trained)
        known = facts.model_copy(update={"peak_memory_bytes": chunk.peak_memory})
        entries = {each.split.place: Entry(each, known) for each in chunk.trained}
        outcome.entries.update(entries)
        if store is not None:
            keys = [outcome.task.keys[place] for place in entries]
            for key, entry in zip(keys, entries.values(), strict=True):
                store.put(key, entry)
            store.checkpoint(keys).remove()

    def record(work: int, recorded: Recorded) -> None:
        at_work[work][1].record(recorded)

    if works:
        failures = executors.run_chunks(works, device, environment.workers, done, record)
        for work, failure in failures.items():
            at_work[work][0].failure = failure
    return outcomes


def _stored(task: Task, store: Store | None) -> dict[Place, Entry]:
    if store is None:
        return {}
    found = {split.place: store.get(task.keys[split.place], split) for split in task.splits}
    return {place: entry for place, entry in found.items() if entry is not None}


def _work(task: Task, chunks: Sequence[Chunk], store: Store | None) -> Work:
    kept = [[task.keys[split.place] for split in chunk] for chunk in chunks]
    checkpoints = [] if store is None else [store.checkpoint(keys) for keys in kept]
    return Work(task.learner, task.dataset, chunks, checkpoints)


def adopt(tasks: Iterable[Task], store: Store, root: Path = Path()) -> list[Task]:
    """Put results into the store that are in run folders alone, as in a clone after `dvc pull`.

    Returns:
        The tasks without those whose run folder says that they fail.

    Raises:
        WriteError: a result cannot be kept.
    """
    left = []
    for task in tasks:
        folder = RunFolder(root / paths.run(task.name))
        with suppress(ReadError):
            if folder.exists and _says(folder.manifest) == _says(task.manifest()):
                if not folder.manifest.complete:
                    continue
                _adopt(task, folder, store)
        left.append(task)
    return left


def check_room(tasks: Iterable[Task], store: Store, folder: Path | None = None) -> None:
    """That the results can be kept: in the store, and of one task in its run folder.

    Raises:
        WriteError: a folder cannot be written, or its disk has too little room for them.
    """
    in_store = in_folder = 0
    for task in tasks:
        data = task.dataset
        rows = len(data.y) + (0 if data.y_test is None else len(data.y_test))
        size = 4 * (task.learner.parameters(data) + rows * len(data.class_names)) + SMALL
        in_store += size * sum(not store.has(key) for key in task.keys.values())
        in_folder += size * len(task.splits)
    files.check_room(store.folder, in_store)
    if folder is not None:
        files.check_room(folder, in_folder)
        if folder.stat().st_dev == store.folder.stat().st_dev:
            files.check_room(folder, in_folder + in_store)


def _says(manifest: Manifest) -> Manifest:
    """What decides the results alone."""
    return manifest.model_copy(
        update={"status": "complete", "reason": None, "files": {}, "versions": {}}
    )


def _adopt(task: Task, folder: RunFolder, store: Store) -> None:
    missing = [place for place, key in task.keys.items() if not store.has(key)]
    if missing:
        folder.check()
        for trained in tables.taken_apart(folder):
            if trained.split.place in missing:
                store.put(task.keys[trained.split.place], Entry(trained, folder.facts))


def shrink(store: Store, device: str, root: Path = Path()) -> None:
    """Keep the project's store from growing without end.

    What params.yaml declares stays in it, as far as its data and split tables are there.
    """
    store.shrink(partial(_needed, device, root))


def _needed(device: str, root: Path) -> set[str]:
    keys = set[str]()
    for place in {root.resolve(), paths.home(root)}:  # a temporary experiment has its own
        with suppress(FoldwiseError):
            for variant in config.load(place / paths.PARAMS).resolved.values():
                with suppress(FoldwiseError):
                    keys.update(load([variant], device, place)[0].keys.values())
    return keys
