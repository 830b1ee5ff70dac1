"""Run folders → MLflow runs: create what is missing, mend what is incomplete, add nothing twice.

A run is complete once it is not RUNNING any more: its status is the last thing written.
"""

import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from tqdm import tqdm

from foldwise import journal, paths, results
from foldwise.config import Config
from foldwise.tracking import Charts, Summary, Tracked, place, records, store
from foldwise.tracking.records import (
    CREATED,
    CURRENT,
    LIVE,
    NOTE,
    OUTPUTS,
    REVISION,
    SPEC,
    SUMMARY,
    Record,
    VariantRun,
)
from foldwise.tracking.store import LockedError, Store

if TYPE_CHECKING:
    from foldwise.tracking.models import Exporter

MODEL = "model"  # name of a run's model: runs:/<id>/model
STUDY = "foldwise.study"  # tag of an experiment that is one
DIGEST = 16  # of a data set: MLflow takes 36 characters; the whole one is a tag
PAGE = 1000
RUNNING = "RUNNING"


def mirror(
    config: Config, root: Path, environ: Mapping[str, str], charts: Charts | None
) -> Summary:
    """See `foldwise.tracking.track`."""
    context = records.context(root, environ)
    found = {name: records.read(root, name, context) for name in config.variants}
    runs = [run for run in found.values() if run is not None]
    uri = place.store_uri(environ, root)
    summary = Summary(uri, missing=[name for name, run in found.items() if run is None])
    with store.opened(uri, environ) as opened, _bar(runs) as bar:
        studies = dict.fromkeys(run.study for run in runs)
        experiments = {study: experiment_of(opened, study, runs) for study in studies}
        watched = live_runs(opened.client, root)
        for run in runs:
            live = begun(watched, run.attempt) if watched else {}
            variant = Variant(opened, experiments[run.study], run, live, charts, summary, bar)
            _patiently(variant)
        if watched:
            _clear(opened.client, root, summary)
        if not place.is_experiment(root):
            own = uri == place.store_uri({}, root)
            ids = _studies(opened.client) if own else list(experiments.values())
            _supersede(opened.client, ids, runs, summary)
    return summary


def runs_table(uri: str, study: str | None = None) -> pd.DataFrame:
    """See `foldwise.tracking.runs_table`."""
    with store.translated(uri):
        client = MlflowClient(uri)
        return pd.DataFrame([_line(run) for run in _search(client, _studies(client, study), "")])


@dataclass
class Variant:
    """Mirrors one variant: the parent run and one child per split.

    `live` are the runs that the live view has of the same training, by their spec.
    """

    store: Store
    experiment: str
    run: VariantRun
    live: Mapping[str, Run]
    charts: Charts | None
    summary: Summary
    bar: "tqdm[Any]"

    def sync(self) -> None:
        """Make the store say what the run folder says."""
        found = self._found()
        with tempfile.TemporaryDirectory(prefix="foldwise-") as scratch:
            self._scratch = Path(scratch)
            parent = self._claim(self.run.parent, found)
            splits = enumerate(self.run.splits)
            children = {s: self._child(i, parent.info.run_id, found) for i, s in splits}
            self._parent(parent, children.get((results.REFIT, results.REFIT)), found)
        expected = 1 + len(children)
        if len(found) != expected:
            self._settle()
        self.summary.tracked[self.run.name] = Tracked(
            self.run.spec, self.run.outputs, self.run.manifest["status"], expected
        )

    def _found(self) -> list[Run]:
        """All runs of this variant with these results."""
        condition = f"tags.variant = '{self.run.name}' AND tags.`{OUTPUTS}` = '{self.run.outputs}'"
        return _search(self.store.client, [self.experiment], condition)

    def _claim(self, record: Record, found: Iterable[Run], parent: str | None = None) -> Run:
        """The run of a record: the best that there is, else the live view's, else a new one."""
        same = [run for run in found if run.data.tags[SPEC] == record.spec]
        if same:
            return min(same, key=_preference)
        tags = {OUTPUTS: record.outputs, CURRENT: self.run.current}
        if record.spec in self.live:
            return self._take_over(self.live[record.spec], record, tags, parent)
        run = create(self.store, self.experiment, record, tags, parent)
        self.summary.created += 1
        return run

    def _take_over(self, run: Run, record: Record, tags: dict[str, str], parent: str | None) -> Run:
        """Make a run of the live view one of these results, and as yet an incomplete one."""
        client, run_id = self.store.client, run.info.run_id
        client.update_run(run_id, RUNNING)
        wanted = _identity(record, parent) | tags
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in wanted.items()])
        self.summary.adopted += 1
        return client.get_run(run_id)

    # --- children and parent ------------------------------------------------------------------

    def _child(self, index: int, parent: str, found: Sequence[Run]) -> str:
        """Mirror one split; the id of its run."""
        record = self.run.child(index)
        run = self._claim(record, found, parent)
        if run.info.status == RUNNING:
            repair = run in found
            self.store.log_points({run.info.run_id: self.run.curves(index)})
            self._finish(run, record, self._model(index, run, repair), repair)
        else:
            self._revise(run, record, {MLFLOW_PARENT_RUN_ID: parent})
        self.bar.update()
        return str(run.info.run_id)

    def _parent(self, run: Run, refit: str | None, found: Sequence[Run]) -> None:
        """Mirror the variant itself; `refit` is the run of the model trained on all rows."""
        record = self.run.parent
        if run.data.tags.get(SUMMARY) != record.summary:
            self._log_charts(run.info.run_id)
        if run.info.status == RUNNING:
            self._adopt(run.info.run_id, refit)
            self._finish(run, record, None, run in found)
        else:
            self._revise(run, record, {})
        self.bar.update()

    def _finish(self, run: Run, record: Record, model: str | None, repair: bool) -> None:
        """Log what is not logged yet; the status, which makes the run complete, comes last."""
        client, run_id = self.store.client, run.info.run_id
        client.log_inputs(run_id, datasets=[self._input])
        facts = [Metric(k, v, record.finished, 0) for k, v in record.facts.items()]
        client.log_batch(
            run_id,
            metrics=facts + self._finals(run, record, model),
            params=[Param(key, value) for key, value in record.params.items()],
            tags=_revised_tags(run, record),
        )
        if LIVE in run.data.tags:
            client.delete_tag(run_id, LIVE)
        client.set_terminated(run_id, record.status, end_time=record.finished)
        self.summary.repaired += repair

    def _revise(self, run: Run, record: Record, wanted: dict[str, str]) -> None:
        """Bring what may change in a complete run up to date."""
        client, run_id, tags = self.store.client, run.info.run_id, run.data.tags
        if self.run.current == "true":
            wanted = {**wanted, CURRENT: "true"}
        changes = [RunTag(key, value) for key, value in wanted.items() if tags.get(key) != value]
        metrics: list[Metric] = []
        if tags.get(SUMMARY) != record.summary:
            metrics = self._finals(run, record, None)
            changes += _revised_tags(run, record)
        if changes:
            client.log_batch(run_id, metrics=metrics, tags=changes)
            self.summary.updated += 1
        else:
            self.summary.skipped += 1

    def _finals(self, run: Run, record: Record, model: str | None) -> list[Metric]:
        """Final metrics; a later revision is a later step, so that MLflow shows it."""
        step, data = _revision(run, record), self._input.dataset
        return [
            Metric(key, value, record.finished, step, model, data.name, data.digest)
            if model
            else Metric(key, value, record.finished, step)
            for key, value in record.finals.items()
        ]

    def _log_charts(self, run_id: str) -> None:
        pictures = self.charts(self.run.name) if self.charts else {}
        folder = self._scratch / "charts"
        for name, content in pictures.items():
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        if pictures:
            self.store.client.log_artifacts(run_id, str(folder), "charts")

    def _adopt(self, parent: str, child: str | None) -> None:
        """Show the model of one child with the parent, too."""
        known = {output.model_id for output in self._outputs(parent)}
        models = self._outputs(child) if child else []
        missing = [model for model in models if model.model_id not in known]
        if missing:
            self.store.client.log_outputs(parent, missing)

    # --- models and data ----------------------------------------------------------------------

    def _model(self, index: int, run: Run, repair: bool) -> str:
        """The id of a run's model; shown with the run only once its files are all there."""
        client, run_id = self.store.client, run.info.run_id
        ready = self._ready_model(run_id) if repair else None
        model_id = ready or self._new_model(index, run_id)
        known = {output.model_id for output in self._outputs(run_id)} if repair else set()
        if model_id not in known:
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        return model_id

    def _new_model(self, index: int, run_id: str) -> str:
        client, split = self.store.client, results.split_name(*self.run.splits[index])
        tags = {"study": self.run.study, "variant": self.run.name, "split": split}
        model = client.create_logged_model(self.experiment, MODEL, run_id, tags)
        folder = self._exporter.save(index, model, run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        return model.model_id

    def _ready_model(self, run_id: str) -> str | None:
        """The finished model of a run that an earlier `track` began; unfinished ones go."""
        models = _models(self.store.client, self.experiment, run_id)
        ready = [model.model_id for model in models if model.status == LoggedModelStatus.READY]
        for model in models:
            if model.model_id not in ready[:1]:
                self.store.client.delete_logged_model(model.model_id)
        return ready[0] if ready else None

    def _outputs(self, run_id: str) -> list[LoggedModelOutput]:
        outputs = self.store.client.get_run(run_id).outputs
        return list(outputs.model_outputs) if outputs else []

    @cached_property
    def _exporter(self) -> "Exporter":
        from foldwise.tracking.models import Exporter  # torch.export takes seconds to import

        return Exporter(self.run.manifest, self.run.weights(), self._scratch)

    @cached_property
    def _input(self) -> DatasetInput:
        """The data set, found in MLflow by the first characters of its digest."""
        meta = self.run.dataset
        rows = TensorSpec(np.dtype(meta["dtype"]), (-1, *meta["shape"]))
        labels = TensorSpec(np.dtype(np.int64), (-1,))
        schema = TensorDatasetSchema(Schema([rows]), Schema([labels]))
        dataset = Dataset(
            name=meta["name"],
            digest=meta["digest"][:DIGEST],
            source_type="local",
            source=json.dumps({"uri": paths.prepared(meta["name"]).as_posix()}),
            schema=json.dumps(schema.to_dict()),
            profile=json.dumps({key: meta[key] for key in ("edition", "rows", "test_rows")}),
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])

    # --- duplicates ---------------------------------------------------------------------------

    def _settle(self) -> None:
        """Look again, and retire what another `track`, or a request sent twice, doubled."""
        groups: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(self._found(), key=_preference):
            groups[run.data.tags[SPEC]].append(run)
        for run in (run for group in groups.values() for run in group[1:]):
            _retire(self.store.client, run, self.summary)
        parent = groups.pop(self.run.spec)[0].info.run_id
        for run in (group[0] for group in groups.values()):
            if run.data.tags.get(MLFLOW_PARENT_RUN_ID) != parent:
                self.store.client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)


# --- the live view ----------------------------------------------------------------------------


def create(
    opened: Store, experiment: str, record: Record, tags: Mapping[str, str], parent: str | None
) -> Run:
    """A new run of a record, RUNNING, with more tags; `parent` is the run of its variant."""
    wanted = _identity(record, parent) | {CREATED: str(time.time_ns()), **tags}
    return opened.client.create_run(
        experiment, start_time=record.started, tags=wanted, run_name=record.name
    )


def live_runs(client: MlflowClient, root: Path) -> list[Run]:
    """What the live view of this workspace has begun and nobody has taken over; oldest first."""
    found = _search(client, _studies(client), f"tags.`{LIVE}` LIKE '%'")
    ours = [run for run in found if records.is_of(run.data.tags[LIVE], root)]
    left = [run for run in ours if OUTPUTS not in run.data.tags]
    return sorted(left, key=lambda run: int(run.data.tags[CREATED]))


def begun(runs: Iterable[Run], attempt: str) -> dict[str, Run]:
    """The runs among these that show a training, by their spec; of several the oldest."""
    shown: dict[str, Run] = {}
    for run in runs:
        if run.data.tags[LIVE] == attempt:
            shown.setdefault(run.data.tags[SPEC], run)
    return shown


def _clear(client: MlflowClient, root: Path, summary: Summary) -> None:
    """Delete what the live view has of trainings that are over; those that go on stay."""
    left = live_runs(client, root)
    names = {run.data.tags["variant"] for run in left}
    journals = [journal.read(root / paths.journal(name)) for name in names]
    running = [found for found in journals if found and found.status == journal.RUNNING]
    alive = {records.attempt(root, found.facts["started"]) for found in running}
    for run in left:
        if run.data.tags[LIVE] not in alive:
            _retire(client, run, summary)


# --- helpers ----------------------------------------------------------------------------------


def _identity(record: Record, parent: str | None) -> dict[str, str]:
    """The tags of a run that say what it is."""
    tags = {**record.tags, SPEC: record.spec, "role": record.role}
    return tags | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})


def _retire(client: MlflowClient, run: Run, summary: Summary) -> None:
    """Delete a run and its models."""
    for model in _models(client, run.info.experiment_id, run.info.run_id):
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)
    summary.retired += 1


def _patiently(variant: Variant) -> None:
    """Try once more where another process held the database for longer than MLflow waits."""
    try:
        with store.translated(variant.store.uri):
            variant.sync()
    except LockedError:
        variant.sync()


def _supersede(
    client: MlflowClient, experiments: list[str], runs: Iterable[VariantRun], summary: Summary
) -> None:
    """Mark what the project no longer has as history; variants without results stay as they are."""
    valid = {run.outputs for run in runs}
    parents = _search(client, experiments, f"tags.role = 'variant' AND tags.`{CURRENT}` = 'true'")
    for parent in parents:
        tags = parent.data.tags
        if tags[OUTPUTS] in valid or tags["variant"] in summary.missing:
            continue
        of_parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'"
        children = _search(client, [parent.info.experiment_id], of_parent)
        for run in (*children, parent):
            client.set_tag(run.info.run_id, CURRENT, "false")
            summary.superseded += 1


def experiment_of(opened: Store, study: str, runs: Iterable[VariantRun]) -> str:
    """The id of a study's experiment, made or restored where it has to be."""
    client, location = opened.client, place.artifacts(opened.uri)
    found = client.get_experiment_by_name(study)
    if found is None:
        _create_experiment(client, study, f"{location}/{study}" if location else None)
        found = client.get_experiment_by_name(study)
    assert found is not None  # made above
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    editions = sorted({run.dataset["edition"] for run in runs if run.study == study})
    for key, value in ((STUDY, study), ("edition", ", ".join(editions))):
        if found.tags.get(key) != value:
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _create_experiment(client: MlflowClient, study: str, location: str | None) -> None:
    try:
        client.create_experiment(study, location)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another `track` was faster
            raise


def _studies(client: MlflowClient, study: str | None = None) -> list[str]:
    """The ids of the experiments that are studies, or of one study's."""
    experiments = [e for e in client.search_experiments(max_results=PAGE) if STUDY in e.tags]
    return [str(e.experiment_id) for e in experiments if study in (None, e.name)]


def _search(client: MlflowClient, experiments: list[str], condition: str) -> list[Run]:
    """All runs that are not deleted and meet a condition."""
    runs: list[Run] = []
    token: str | None = None
    while experiments:
        page = client.search_runs(experiments, condition, max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def _models(client: MlflowClient, experiment: str, run_id: str) -> list[LoggedModel]:
    return list(client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))


def _preference(run: Run) -> tuple[bool, int, str]:
    """Complete runs first, then the oldest."""
    tags = run.data.tags
    return run.info.status == RUNNING, int(tags.get(CREATED, 0)), run.info.run_id


def _revision(run: Run, record: Record) -> int:
    """How often final metrics have changed since the run was created."""
    stored = run.data.metrics
    changed = any(stored.get(key, value) != value for key, value in record.finals.items())
    return int(run.data.tags.get(REVISION, 0)) + changed


def _revised_tags(run: Run, record: Record) -> list[RunTag]:
    tags = {SUMMARY: record.summary, REVISION: str(_revision(run, record))}
    tags |= {NOTE: record.note} if record.note else {}
    return [RunTag(key, value) for key, value in tags.items()]


def _line(run: Run) -> dict[str, Any]:
    tags = run.data.tags
    names = ("study", "variant", "role", "split")
    return {
        "run_id": run.info.run_id,
        **{name: tags.get(name) for name in names},
        "status": run.info.status,
        "current": tags.get(CURRENT),
        "spec": tags.get(SPEC),
        "outputs": tags.get(OUTPUTS),
        **{f"metrics.{key}": value for key, value in sorted(run.data.metrics.items())},
    }


def _bar(runs: Iterable[VariantRun]) -> "tqdm[Any]":
    total = sum(1 + len(run.splits) for run in runs)
    return tqdm(total=total, desc="track", unit="run", file=sys.stderr, disable=None)
