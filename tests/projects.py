"""Projects to track, and what a store says about them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pytest
from builders import dataset
from fabricate import TINY, write_comparison, write_variant
from mlflow import MlflowClient

from foldwise import evaluation
from foldwise.core import files, paths
from foldwise.core.config import Config, Variant
from foldwise.core.environment import Environment
from foldwise.datasets.prepared import Dataset
from foldwise.engine.cross_validation import cross_validate
from foldwise.results.comparisons import Comparison
from foldwise.results.evaluations import write_evaluation
from foldwise.results.runs import write_run
from foldwise.splits import split_table
from foldwise.statistics import Verdict
from foldwise.tracking import origin, place, records, tracker, workshop
from foldwise.tracking.summary import Summary

EPOCHS = 5  # of TINY
VOLATILE = {"foldwise.created", "mlflow.parentRunId"}
OF_COMMITS = {"git_commit", "mlflow.source.git.commit", "mlflow.source.name", "dirty"}
OF_COMMITS |= {records.CURRENT, origin.BACKFILLED, "experiment", "baseline_rev"}


@dataclass
class Project:
    """A project's folder with results in it, and the environment that it is tracked in."""

    root: Path
    config: Config
    environment: Environment = field(default_factory=Environment)

    @property
    def uri(self) -> str:
        return place.store_uri(self.root, self.environment)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def track(self, **options: Any) -> Summary:
        return tracker.track(self.config, self.root, self.environment, **options)

    def only(self, *names: str) -> "Project":
        """The same folder with fewer variants declared."""
        variants = {name: self.config.variants[name] for name in names}
        fewer = self.config.model_copy(update={"variants": variants})
        fewer.__dict__.pop("resolved", None)
        return replace(self, config=fewer)

    def on(self, address: str, **variables: str) -> "Project":
        """The same folder, tracked to another store."""
        variables = {"MLFLOW_TRACKING_URI": address, **variables}
        return replace(self, environment=Environment.read(variables))

    def fabricate(self, name: str, **changes: Any) -> None:
        """Give a variant other results; `changes` of the plan, such as `seed=1`."""
        write_variant(self.root, self.config.variant(name), TINY, models=True, **changes)

    def fail(self, name: str, reason: str) -> None:
        """Make a variant's results those of a training that failed."""
        self.fabricate(name, failed={name: reason})

    def compare(self, **verdicts: Verdict) -> Comparison:
        """Compare study tiny, whose pair's verdict is given: `dropout="Helps"`."""
        wanted = {f"tiny-{name}": verdict for name, verdict in verdicts.items()}
        return write_comparison(self.root, TINY, "tiny", wanted)


def track_here(project: Project, **options: Any) -> Summary:
    """For a process of the test's own, which has imported everything already."""
    workshop.START = "fork"
    return project.track(**options)


def charts(name: str) -> dict[str, bytes]:
    """Pictures to track with."""
    return {"curves.png": name.encode()}


# --- trained runs -----------------------------------------------------------------------------


def train(root: Path, variant: Variant) -> Dataset:
    """A run folder whose predictions come from its weights; the data it was trained on."""
    data = pictures() if variant.dataset == "pictures" else rows()
    here = Environment(workers=1, device="cpu")
    run = cross_validate(variant, data, split_table(data.y, variant.cv), "5" * 64, here)
    run = replace(run, manifest=write_run(root / paths.run(variant.name), run))
    write_evaluation(root, evaluation.evaluate(run))
    return data


def rows() -> Dataset:
    """40 rows of 6 features, named, in 2 classes, and 8 to test."""
    return replace(dataset(test_rows=8), name="rows", feature_names=tuple("abcdef"))


def pictures() -> Dataset:
    """40 pictures (3, 4, 4) in 3 classes, and 6 to test."""
    random = np.random.default_rng(0)
    y = (np.arange(46) % 3).astype(np.int64)
    X = (random.integers(0, 120, (46, 3, 4, 4)) + 60 * y[:, None, None, None]).astype(np.uint8)
    names = ("dark", "middling", "bright")
    return Dataset("pictures", X[:40], y[:40], X[40:], y[40:], names, 255.0, "made-up")


# --- reading back -----------------------------------------------------------------------------


def dump(project: Project) -> dict[str, Any]:
    """Every row of every table and the bytes of every artifact."""
    with closing(sqlite3.connect(project.root / place.DATABASE)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        names = [name for (name,) in connection.execute(query)]
        tables = {n: sorted(map(repr, connection.execute(f"SELECT * FROM {n}"))) for n in names}
    folder = project.root / place.ARTIFACTS
    found = {str(path): files.sha256(path) for path in folder.rglob("*") if path.is_file()}
    return tables | {"artifacts": found}


def content(project: Project, **tags_of_all: str) -> dict[str, Any]:
    """What a person sees, without ids: (variant, split) → everything about the run."""
    client = project.client
    runs = [run for run in runs_of(project) if tags_of_all.items() <= run.data.tags.items()]
    by_id = {run.info.run_id: run for run in runs}
    seen = {}
    for run in runs:
        tags = {key: v for key, v in run.data.tags.items() if key not in VOLATILE}
        parent = by_id.get(run.data.tags.get("mlflow.parentRunId"))
        histories = {
            key: [
                (m.step, m.timestamp, m.value)
                for m in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
        }
        inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
        facts = (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name)
        models = len(run.outputs.model_outputs)
        name = (tags["variant"], tags.get("split"))
        assert name not in seen, f"{name} twice"
        parent_name = parent and parent.data.tags["variant"]
        seen[name] = (facts, tags, run.data.params, histories, inputs, models, parent_name)
    return seen


def by_outputs(project: Project) -> dict[str, Any]:
    """`content` of every result, but for what tells who tracked it from where."""
    digests = {run.data.tags[records.OUTPUTS] for run in runs_of(project)}
    return {
        digest: {
            name: (facts, {k: v for k, v in tags.items() if k not in OF_COMMITS}, *rest)
            for name, (facts, tags, *rest) in content(project, **{records.OUTPUTS: digest}).items()
        }
        for digest in digests
    }


def runs_of(project: Project) -> list[mlflow.entities.Run]:
    client = project.client
    ids = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(ids))


def run_of(project: Project, variant: str, split: str | None = None) -> mlflow.entities.Run:
    found = [
        run
        for run in runs_of(project)
        if run.data.tags["variant"] == variant and run.data.tags.get("split") == split
    ]
    assert len(found) == 1
    return project.client.get_run(found[0].info.run_id)


def models_of(project: Project) -> list[Any]:
    ids = [e.experiment_id for e in project.client.search_experiments()]
    return list(project.client.search_logged_models(ids))


def assert_whole(project: Project) -> None:
    """Six finished runs and five models, each once."""
    seen = content(project)
    assert len(seen) == 6, sorted(map(str, seen))
    assert {facts[0][0] for facts in seen.values()} == {"FINISHED"}
    assert {facts[5] for facts in seen.values()} == {1}
    models = models_of(project)
    assert len(models) == 5
    assert {model.status for model in models} == {"READY"}


# --- interruptions ----------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def interrupt(patch: pytest.MonkeyPatch, writes: Sequence[str], calls: int, die: Any) -> None:
    """Let the client die right after its n-th write."""
    count = iter(range(1, 10_000))

    def dying(write: Any) -> Any:
        def method(*arguments: Any, **options: Any) -> Any:
            answer = write(*arguments, **options)
            if next(count) == calls:
                die()
            return answer

        return method

    for name in writes:
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))


def raise_killed() -> None:
    raise Killed
