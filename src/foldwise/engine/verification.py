"""Train splits of a run again, past the store, and compare what comes out to the byte."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foldwise.core import paths
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError
from foldwise.datasets import prepared
from foldwise.engine import executors, tables, tasks
from foldwise.engine.tasks import Outcome, Task
from foldwise.numerics.outcomes import Trained
from foldwise.results.runs import CURVES, Manifest, Place, RunFolder


@dataclass(frozen=True)
class Difference:
    """A split that came out otherwise than it is in the run.

    The parts that differ are "history", "held_out", "test", "weights", "diagnostics"; or it is
    "diverged", then there are no scores.
    """

    place: Place
    parts: list[str]
    scores: dict[str, tuple[float, float]]  # of the last epoch: in the run, now
    probabilities: float  # the largest difference of a held-out class probability


@dataclass(frozen=True)
class Verification:
    """What training splits of a run again gave; nothing of a run that failed."""

    variant: str
    places: list[Place]  # the splits that were trained again
    differences: list[Difference]  # those of them that differ
    changed: dict[str, tuple[str, str]]  # what decides the bits: in run.json, here


def verify(
    variants: Sequence[str], environment: Environment, every: bool = False, root: Path = Path()
) -> list[Verification]:
    """Train one split of each run again, the probed one, or every split.

    Settings and rows are those that the run folder has; params.yaml and the split table may have
    changed since.

    Raises:
        ReadError: a run folder, or the data, is not there or damaged.
        DataError: the prepared data are not those of the run.
        TrainingError: a worker died, the device is not there, or memory is short.
    """
    device = executors.choose_device(environment)
    runs = [RunFolder(root / paths.run(name)) for name in variants]
    failed = [Verification(run.path.name, [], [], {}) for run in runs if not run.manifest.complete]
    folders = [run for run in runs if run.manifest.complete]
    asked = [_task(folder, device, root) for folder in folders]
    if not every:
        asked = [_probed(task) for task in asked]
    outcomes = tasks.train(asked, environment)
    return failed + [
        Verification(
            variant=outcome.task.name,
            places=[split.place for split in outcome.task.splits],
            differences=list(_differences(folder, outcome)),
            changed=_changed(folder.manifest, outcome.task.manifest()),
        )
        for folder, outcome in zip(folders, outcomes, strict=True)
    ]


def _task(folder: RunFolder, device: str, root: Path) -> Task:
    manifest = folder.manifest
    path = root / paths.prepared(manifest.dataset.name)
    dataset = prepared.load(path)
    if dataset.digest != manifest.dataset.digest:
        raise DataError(
            f"{path}: not the data of {folder.path}; `dvc checkout` brings what dvc.lock names, "
            f"`dvc repro` trains with these"
        )
    return tasks.task(manifest.variant, dataset, folder.predictions, manifest.split_digest, device)


def _probed(task: Task) -> Task:
    """The split whose inside is recorded; on a GPU with all those that train beside it."""
    repeat, fold = task.learner.variant.training.probe
    (chunk,) = (chunk for chunk in task.chunks if any(s.place == (repeat, fold) for s in chunk))
    probed = [split for split in chunk if split.place == (repeat, fold)]
    return replace(task, splits=chunk if task.device == "cuda" else probed)


def _changed(there: Manifest, here: Manifest) -> dict[str, tuple[str, str]]:
    a, b = (
        {"code": each.code_digest, **(each.numerics.named if each.numerics else {})}
        for each in (there, here)
    )
    pairs = {name: (a.get(name, ""), b.get(name, "")) for name in {**a, **b}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _differences(folder: RunFolder, outcome: Outcome) -> Iterator[Difference]:
    wanted = {split.place for split in outcome.task.splits}
    for before in tables.taken_apart(folder):
        place = before.split.place
        if place not in wanted:
            continue
        if place not in outcome.entries:
            yield Difference(place, ["diverged"], {}, float("nan"))
            continue
        after = outcome.entries[place].trained
        if parts := _parts(before, after):
            scores = zip(before.history[-1].tolist(), after.history[-1].tolist(), strict=True)
            gap = np.abs(before.held_out - after.held_out).max(initial=0.0)
            yield Difference(place, parts, dict(zip(CURVES, scores, strict=True)), float(gap))


def _parts(before: Trained, after: Trained) -> list[str]:
    """The names of what differs in any bit."""
    names = ["history", "held_out", "test"]
    parts = [n for n in names if not _same(getattr(before, n), getattr(after, n))]
    if before.weights.keys() != after.weights.keys() or not all(
        _same(before.weights[name], after.weights[name]) for name in before.weights
    ):
        parts.append("weights")
    inside = [tables.diagnostics([trained]).to_numpy() for trained in (before, after)]
    return parts if _same(*inside) else [*parts, "diagnostics"]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit by bit, but for what NaN consists of, which tables do not keep."""
    alike = a.dtype == b.dtype and a.shape == b.shape
    one, other = (np.where(np.isnan(array), np.nan, array).tobytes() for array in (a, b))
    return alike and one == other
