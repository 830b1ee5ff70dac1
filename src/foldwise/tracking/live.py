"""Runs of trainings that still go on: the live view begins them, the mirror takes them over.

Such a run has the tag `foldwise.live`, which says what training it shows, and no outputs yet.
"""

import socket
from collections.abc import Iterable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from foldwise import journal
from foldwise.core import paths
from foldwise.tracking import experiments
from foldwise.tracking.records import OUTPUTS, SPEC
from foldwise.tracking.summary import Summary

LIVE = "foldwise.live"  # which training a run shows that has no outputs yet


def attempt(root: Path, started: float) -> str:
    """Which training it is that started in a folder of this machine at a time."""
    return f"{started} {_place(root)}"


def is_of(attempt: str, root: Path) -> bool:
    """Whether a training is one of a folder of this machine."""
    return attempt.endswith(f" {_place(root)}")


def runs_of(client: MlflowClient, root: Path) -> list[Run]:
    """What the live view of this workspace has begun and nobody has taken over; oldest first."""
    begun = experiments.search(client, experiments.studies(client), f"tags.`{LIVE}` LIKE '%'")
    ours = [run for run in begun if is_of(run.data.tags[LIVE], root)]
    return sorted((run for run in ours if OUTPUTS not in run.data.tags), key=experiments.created)


def showing(runs: Iterable[Run], attempt: str) -> dict[str, Run]:
    """The runs among these that show a training, by their spec; of several the oldest."""
    shown: dict[str, Run] = {}
    for run in runs:
        if run.data.tags[LIVE] == attempt:
            shown.setdefault(run.data.tags.get(SPEC, ""), run)
    return shown


def clear(client: MlflowClient, root: Path, summary: Summary) -> None:
    """Delete what the live view has of trainings that are over; those that go on stay."""
    journals = [journal.read(path) for path in (root / paths.LIVE).glob("*.jsonl")]
    running = [found for found in journals if found and found.status == journal.RUNNING]
    alive = {attempt(root, found.facts.started) for found in running}
    for run in runs_of(client, root):
        if run.data.tags[LIVE] not in alive:
            experiments.retire(client, run)
            summary.retired += 1


def _place(root: Path) -> str:
    return f"{socket.gethostname()}:{root.resolve()}"
