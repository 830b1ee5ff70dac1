"""Run folders → MLflow runs: create what is missing, mend what is incomplete, add nothing twice.

A run is complete once it is not RUNNING any more: its status is the last thing written.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from tqdm import tqdm

from foldwise import results
from foldwise.config import Config
from foldwise.tracking import Charts, Summary, Tracked, place, records, store
from foldwise.tracking.models import Exporter
from foldwise.tracking.records import CREATED, CURRENT, OUTPUTS, REVISION, SPEC, SUMMARY, Record
from foldwise.tracking.store import Store

MODEL = "model"
STUDY = "foldwise.study"  # tag of an experiment that is one
DIGEST = 16  # of a data set: MLflow takes 36 characters and shows few
PAGE = 1000


def mirror(
    config: Config, root: Path, environ: Mapping[str, str], charts: Charts | None
) -> Summary:
    """See `foldwise.tracking.track`."""
    context = records.context(root, environ)
    found = {name: records.read(root, name, context) for name in config.variants}
    runs = [run for run in found.values() if run is not None]
    uri = place.store_uri(environ, root)
    summary = Summary(uri, missing=[name for name, run in found.items() if run is None])
    with store.opened(uri, environ) as opened:
        experiments = {study: _experiment(opened.client, study) for study in config.studies}
        current = not place.is_experiment(root)
        with _bar(sum(1 + len(run.splits) for run in runs)) as bar:
            for run in runs:
                experiment = experiments.get(run.study) or _experiment(opened.client, run.study)
                _patiently(Variant(opened, experiment, run, current, charts, summary, bar))
        if current:
            own = uri == place.store_uri({}, root)
            _supersede(opened.client, runs, None if own else experiments, summary)
    return summary


def runs_table(uri: str, study: str | None = None) -> pd.DataFrame:
    """See `foldwise.tracking.runs_table`."""
    with store.translated(uri):
        client = MlflowClient(uri)
        experiments = [e for e in client.search_experiments() if STUDY in e.tags]
        names = [e.experiment_id for e in experiments if study in (None, e.name)]
        return pd.DataFrame([_line(run) for run in _search(client, names, "")])


@dataclass
class Variant:
    """Mirrors one variant: the parent run and one child per split.

    Attributes:
        current: whether these are the project's own results, not a queued experiment's.
    """

    store: Store
    experiment: str
    run: records.VariantRun
    current: bool
    charts: Charts | None
    summary: Summary
    bar: "tqdm[Any]"

    def sync(self) -> None:
        """Make the store say what the run folder says."""
        found = self._found()
        with ExitStack() as self._stack:
            parent = self._claim(self.run.parent, found)
            children = [
                self._child(index, parent.info.run_id, found)
                for index in range(len(self.run.splits))
            ]
            self._parent(parent, children)
        if len(found) != 1 + len(children):
            self._settle()
        self.summary.tracked[self.run.name] = Tracked(
            self.run.spec, self.run.outputs, self.run.manifest["status"], 1 + len(children)
        )

    def _found(self) -> list[Run]:
        """All runs of this variant with these results."""
        condition = f"tags.variant = '{self.run.name}' AND tags.`{OUTPUTS}` = '{self.run.outputs}'"
        return _search(self.store.client, [self.experiment], condition)

    def _claim(self, record: Record, found: Sequence[Run], parent: str | None = None) -> Run:
        """The run of a record: the best one there is, otherwise a new one."""
        same = [run for run in found if run.data.tags[SPEC] == record.spec]
        if same:
            return min(same, key=_preference)
        tags = {
            **record.tags,
            "role": record.role,
            SPEC: record.spec,
            OUTPUTS: record.outputs,
            CURRENT: json.dumps(self.current),
            CREATED: str(time.time_ns()),
            **({MLFLOW_PARENT_RUN_ID: parent} if parent else {}),
        }
        client = self.store.client
        return client.create_run(
            self.experiment, start_time=record.started, tags=tags, run_name=record.name
        )

    def _child(self, index: int, parent: str, found: Sequence[Run]) -> Run:
        record = self.run.child(index)
        run = self._claim(record, found, parent)
        tags = {MLFLOW_PARENT_RUN_ID: parent}
        if run.info.status == "RUNNING":
            self.store.log_points(run.info.run_id, self.run.curves(index))
            self._finish(run, record, self._model(index, run), tags, run in found)
        else:
            self._revise(run, record, tags)
        self.bar.update()
        return run

    def _parent(self, run: Run, children: Sequence[Run]) -> None:
        record = self.run.parent
        if run.info.status == "RUNNING" or run.data.tags.get(SUMMARY) != record.summary:
            self._log_charts(run.info.run_id)
        if run.info.status == "RUNNING":
            self._adopt_refit(run, children)
            self._finish(run, record, None, {}, False)
        else:
            self._revise(run, record, {})
        self.bar.update()

    def _finish(self, run: Run, record: Record, model: str | None, tags: Mapping[str, str], old: bool) -> None:
        """Log what is not logged yet; the status, which makes the run complete, comes last."""
        client, run_id = self.store.client, run.info.run_id
        client.log_inputs(run_id, datasets=[self._dataset])
