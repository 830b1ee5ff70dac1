"""Variants to train: what the store has of their splits is taken, the rest is trained at once."""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from foldwise.core import config, files, paths
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError, FoldwiseError, MissingError, ReadError
from foldwise.datasets import prepared
from foldwise.datasets.prepared import Dataset, describe
from foldwise.engine import executors, identity, tables
from foldwise.engine.executors import Chunk, Done, Work
from foldwise.engine.identity import place_of
from foldwise.engine.learners import Learner, learner_of
from foldwise.engine.store import Entry, Store
from foldwise.journal import Recorder
from foldwise.numerics.outcomes import DivergedError, Recorded
from foldwise.numerics.split import Split
from foldwise.results.runs import Facts, Manifest, Place, RunFolder
from foldwise.splits import splits_of


@dataclass(frozen=True, eq=False)
class Task:
    """A variant on every split of its study, `refit` included.

    Attributes:
        learner: trains it.
        dataset: the study's data set.
        splits: in order of repeat and fold, `refit` last.
        split_digest: sha256 of the split table's file.
        device: "cpu" or "cuda".
    """

    learner: Learner
    dataset: Dataset
    splits: Sequence[Split]
    split_digest: str
    device: str

    @cached_property
    def chunks(self) -> list[Chunk]:
        """All splits as the learner plans them, whatever the store has."""
        return self.learner.plan(self.splits, self.dataset, self.device)

    @cached_property
    def keys(self) -> dict[Place, str]:
        """The key of every split in the store."""
        return identity.split_keys(self.learner, self.chunks, self.dataset.digest, self.device)

    def missing(self, known: Mapping[Place, Entry]) -> list[Chunk]:
        """What is to be trained where these results are known.

        On a GPU a chunk trains whole, as each of its splits depends on the others.
        """
        rest = [
            tuple(split for split in chunk if place_of(split) not in known) for chunk in self.chunks
        ]
        if self.device == "cuda":
            return [chunk for chunk, left in zip(self.chunks, rest, strict=True) if left]
        return [left for left in rest if left]

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
            splits=[place_of(split) for split in self.splits],
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
    if files.read_facts(path)["data_digest"] != dataset.digest:
        raise DataError(f"{path} was made from other data; run {remedy}")
    table = pd.read_parquet(path)
    if [table["repeat"].nunique(), table["fold"].nunique()] != [
        variant.cv.repeats,
        variant.cv.folds,
    ]:
        raise DataError(f"{path} was made with other cross-validation settings; run {remedy}")
    return task(variant, dataset, table, files.sha256(path), device)


def task(
    variant: Variant, dataset: Dataset, table: pd.DataFrame, split_digest: str, device: str
) -> Task:
    """The task of a variant; arguments as in `cross_validation.cross_validate`."""
    return Task(learner_of(variant), dataset, splits_of(table), split_digest, device)


@dataclass
class Outcome:
    """What is known of a task's splits.

    Attributes:
        facts: of this training.
        entries: the results that there are.
        trained: how many of them this training gave.
        failure: how the training diverged, None where it did not; then not all results are there.
    """

    facts: Facts
    entries: dict[Place, Entry] = field(default_factory=dict)
    trained: int = 0
    failure: DivergedError | None = None


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
        TrainingError: a worker died.
        WriteError: a result cannot be kept.
    """
    if not tasks:
        return []
    device = tasks[0].device
    facts = Facts(started=time.time(), device=device, workers=environment.workers)
    outcomes = [Outcome(facts, _stored(task, store)) for task in tasks]
    left = {i: task.missing(outcomes[i].entries) for i, task in enumerate(tasks)}
    at_work = [i for i, chunks in left.items() if chunks]
    for i in at_work:
        if journals:
            journals[i].begin(tasks[i].manifest(), facts)

    def done(work: int, chunk: Done) -> None:
        task, outcome = tasks[at_work[work]], outcomes[at_work[work]]
        outcome.trained += len(chunk.trained)
        kept = [task.keys[place_of(trained.split)] for trained in chunk.trained]
        known = facts.model_copy(update={"peak_memory_bytes": chunk.peak_memory})
        for trained in chunk.trained:
            place = place_of(trained.split)
            outcome.entries[place] = Entry(trained, known)
            if store is not None:
                store.put(task.keys[place], outcome.entries[place])
        if store is not None:
            store.checkpoint(kept).remove()

    def record(work: int, recorded: Recorded) -> None:
        if journals:
            journals[at_work[work]].record(recorded)

    if at_work:
        works = [_work(tasks[i], left[i], store) for i in at_work]
        failures = executors.run_chunks(works, device, environment.workers, done, record)
        for work, failure in failures.items():
            outcomes[at_work[work]].failure = failure
    return outcomes


def _work(task: Task, chunks: Sequence[Chunk], store: Store | None) -> Work:
    kept = [[task.keys[place_of(split)] for split in chunk] for chunk in chunks]
    checkpoints = [] if store is None else [store.checkpoint(keys) for keys in kept]
    return Work(task.learner, task.dataset, chunks, checkpoints)


def _stored(task: Task, store: Store | None) -> dict[Place, Entry]:
    if store is None:
        return {}
    found = {place_of(split): store.get(task.keys[place_of(split)], split) for split in task.splits}
    return {place: entry for place, entry in found.items() if entry is not None}


def adopt(tasks: Iterable[Task], store: Store, root: Path = Path()) -> list[Task]:
    """Put results into the store that are in run folders alone, as in a clone after `dvc pull`.

    Args:
        tasks: of variants whose run folders may be there.
        store: what it has stays.
        root: the project's root.

    Returns:
        The tasks without those whose run folder says that they fail.

    Raises:
        WriteError: a result cannot be kept.
    """
    left = []
    for task in tasks:
        folder = RunFolder(root / paths.run(task.learner.variant.name))
        with suppress(ReadError):
            if folder.exists and _says(folder.manifest) == _says(task.manifest()):
                if not folder.manifest.complete:
                    continue
                _adopt(task, folder, store)
        left.append(task)
    return left


def shrink(store: Store, device: str, root: Path = Path()) -> None:
    """Keep the store from growing without end; what params.yaml declares stays in it.

    Args:
        store: of the project.
        device: as for `load`.
        root: where params.yaml, data and split tables are.
    """
    store.shrink(lambda: _needed(device, root))


def _needed(device: str, root: Path) -> set[str]:
    """The keys of all variants, as far as their data and split tables are there."""
    keys = set[str]()
    for place in {root.resolve(), paths.home(root)}:  # a temporary experiment has its own
        with suppress(FoldwiseError):
            for variant in config.load(place / paths.PARAMS).resolved.values():
                with suppress(FoldwiseError):
                    keys.update(load([variant], device, place)[0].keys.values())
    return keys


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
            place = place_of(trained.split)
            if place in missing:
                store.put(task.keys[place], Entry(trained, folder.facts))
