"""Train one variant on all splits of its study, and put the run together."""

import time
from collections.abc import Sequence

import pandas as pd

from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.datasets.prepared import Dataset
from foldwise.engine import executors, tables, tasks
from foldwise.engine.store import Entry, Store
from foldwise.engine.tasks import Outcome, Task
from foldwise.journal import Recorder
from foldwise.results.runs import Run


def cross_validate(
    variant: Variant,
    dataset: Dataset,
    table: pd.DataFrame,
    split_digest: str,
    environment: Environment,
    journal: Recorder | None = None,
    store: Store | None = None,
) -> Run:
    """Train a variant on every split of its study, `refit` included.

    Args:
        variant: resolved settings.
        dataset: the study's data set.
        table: the study's split table.
        split_digest: sha256 of that table's file.
        environment: workers and device.
        journal: gets the start and the recorded epochs, if anything trains; the caller writes the
            end.
        store: what it has is not trained again; None trains everything.

    Returns:
        The run. One whose loss stopped being finite has status "failed" and the reason.

    Raises:
        TrainingError: a worker died, the device is not there, or memory is short.
        WriteError: a result cannot be kept in the store.
    """
    task = tasks.task(variant, dataset, table, split_digest, executors.choose_device(environment))
    return run_of(task, environment, journal, store)


def run_of(
    task: Task,
    environment: Environment,
    journal: Recorder | None = None,
    store: Store | None = None,
) -> Run:
    """The run of a task; see `cross_validate`."""
    (outcome,) = tasks.train([task], environment, store, [journal or Recorder(None)])
    if outcome.failure is not None:
        return _failed(task, outcome)
    return _complete(task, [outcome.entries[split.place] for split in task.splits])


def _complete(task: Task, entries: Sequence[Entry]) -> Run:
    """The run of results in the order of the splits; facts are of the latest training."""
    trained = [entry.trained for entry in entries]
    facts = max((entry.facts for entry in entries), key=lambda facts: facts.started)
    known = {
        "finished": max(float(each.finished[-1]) for each in trained),
        "peak_memory_bytes": max(entry.facts.peak_memory_bytes or 0 for entry in entries),
    }
    return Run(
        manifest=task.manifest(),
        history=tables.history(trained),
        predictions=tables.predictions(trained, task.dataset.y),
        test_predictions=tables.test_predictions(trained, task.dataset.y_test),
        diagnostics=tables.diagnostics(trained),
        weights=tables.weights(trained),
        timeline=tables.timeline(trained),
        facts=facts.model_copy(update=known),
    )


def _failed(task: Task, outcome: Outcome) -> Run:
    """A run without results: its tables have their columns and no rows."""
    names = [f"p{k}" for k in range(len(task.dataset.class_names))]
    predictions = pd.DataFrame(columns=["row", "repeat", "fold", "label", *names], dtype=float)
    failed = {"status": "failed", "reason": outcome.reason}
    return Run(
        manifest=task.manifest().model_copy(update=failed),
        history=pd.DataFrame(columns=tables.HISTORY, dtype=float),
        predictions=predictions,
        test_predictions=predictions,
        diagnostics=tables.diagnostics([]),
        weights={},
        timeline=pd.DataFrame(columns=tables.TIMELINE, dtype=float),
        facts=outcome.facts.model_copy(update={"finished": time.time()}),
    )
