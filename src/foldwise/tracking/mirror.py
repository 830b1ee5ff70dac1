"""Run folders → MLflow runs: create what is missing, mend what is incomplete, add nothing twice.

A run is complete once it is not RUNNING any more: its status is the last thing written.
"""

import functools
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID
from tqdm import tqdm

from foldwise import journal, results
from foldwise.core import paths
from foldwise.core.config import Config
from foldwise.core.errors import TrackingError
from foldwise.tracking import Summary, Tracked, lease, place, records, store
from foldwise.tracking import champions as registry
from foldwise.tracking.records import (
    CREATED,
    CURRENT,
    LIVE,
    NOTE,
    OUTPUTS,
    SPEC,
    SUMMARY,
    Record,
    VariantRun,
)
from foldwise.tracking.store import LockedError, Store
from foldwise.tracking.workshop import Models, Workshop

REFIT = results.split_name(results.REFIT, results.REFIT)
CHARTS = "charts"  # folder of a variant's pictures
MODEL = "model"  # name of a run's model: runs:/<id>/model
STUDY = "foldwise.study"  # tag of an experiment that is one
KIND = "custom_model_development"  # the views that the MLflow UI gives it: runs, not traces
DIGEST = 16  # of a data set: MLflow takes 36 characters; the whole one is a tag
PAGE = 1000
RUNNING = "RUNNING"
Done = TypeVar("Done")


def mirror(config: Config, root: Path, environ: Mapping[str, str], workshop: Workshop) -> Summary:
    """See `foldwise.tracking.track`."""
    context = records.context(root, environ)
    found = {name: records.read(root, name, context) for name in config.variants}
    runs = [run for run in found.values() if run is not None]
    uri = place.store_uri(environ, root)
    summary = Summary(uri, missing=[name for name, run in found.items() if run is None])
    with store.opened(uri, environ) as opened, _held(opened, runs) as (experiments, renew):
        watched = live_runs(opened.client, root)
        _sync(opened, experiments, runs, workshop, summary, renew, watched)
        if watched:
            _clear(opened.client, root, summary)
        for study, experiment in experiments.items():
            mine = [run for run in runs if run.study == study]
            baseline = config.studies[study].comparison.baseline if study in config.studies else ""
            model = registry.Registered(opened.client, experiment, mine, baseline, summary)
            _patiently(uri, model.sync)
            renew()
        if not place.is_experiment(root):
            own = uri == place.store_uri({}, root)
            ids = _studies(opened.client) if own else list(experiments.values())
            _supersede(opened.client, ids, runs, summary)
            names = registry.studies(opened.client) if own else list(experiments)
            registry.supersede(opened.client, names, [run.outputs for run in runs], summary.missing)
    return summary


def add(opened: Store, runs: Sequence[VariantRun], workshop: Workshop, summary: Summary) -> None:
    """Mirror variants into an open store and nothing else, counting in `summary`."""
    with _held(opened, runs) as (experiments, renew):
        _sync(opened, experiments, runs, workshop, summary, renew)


@contextmanager
def _held(
    opened: Store, runs: Sequence[VariantRun]
) -> Iterator[tuple[dict[str, str], Callable[[], None]]]:
    """The experiments of the runs' studies, study → id, leased; and how to renew the lease."""
    names = dict.fromkeys(run.study for run in runs)
    experiments = {study: experiment_of(opened, study, runs) for study in names}
    with lease.held(opened, experiments.values()) as renew:
        yield experiments, renew


def _sync(
    opened: Store,
    experiments: Mapping[str, str],
    runs: Sequence[VariantRun],
    workshop: Workshop,
    summary: Summary,
    renew: Callable[[], None],
    watched: Sequence[Run] = (),
) -> None:
    """Mirror variants; runs of the live view that show the same training are taken over."""
    longest = sorted(runs, key=lambda run: len(run.splits), reverse=True)
    with _bar(runs) as bar, _imports_set_aside():
        variants = []
        for run in longest:
            live = begun(watched, run.attempt) if watched else {}
            experiment = experiments[run.study]
            variant = Variant(opened, experiment, run, live, workshop, summary, bar, renew)
            variants.append((variant, _patiently(opened.uri, variant.begin)))
        for variant, start in variants:
            _patiently(opened.uri, functools.partial(variant.complete, start), variant.sync)


def is_complete(client: MlflowClient, run: VariantRun) -> bool:
    """Whether a store has these results whole, each run once and none unfinished."""
    found = _search(client, _studies(client, run.study), _condition(run))
    return len(found) == 1 + len(run.splits) and not any(r.info.status == RUNNING for r in found)


def retire(client: MlflowClient, run: Run) -> None:
    """Delete a run and its models, as MLflow's UI does."""
    models = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    for model in models:
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)


def runs_table(uri: str, study: str | None = None) -> pd.DataFrame:
    """See `foldwise.tracking.runs_table`."""
    with store.reading(uri, os.environ):
        client = MlflowClient(uri)
        return pd.DataFrame([_line(run) for run in _search(client, _studies(client, study), "")])


class Beginning(NamedTuple):
    """What there is of a variant before its runs are completed.

    Attributes:
        whole: whether all of it was in the store already.
        there: the runs that were, by spec.
        parent: the variant's run.
        children: each split's record, and its run.
    """

    whole: bool
    there: Mapping[str, Run]
    parent: Run
    children: list[tuple[Record, Run]]


@dataclass
class Variant:
    """Mirrors one variant: the parent run and one child per split.

    `live` are the runs that the live view has of the same training, by their spec.
    """

    store: Store
    experiment: str
    run: VariantRun
    live: Mapping[str, Run]
    workshop: Workshop
    summary: Summary
    bar: "tqdm[Any]"
    renew: Callable[[], None]

    def sync(self) -> None:
        """Make the store say what the run folder says."""
        self.complete(self.begin())

    def begin(self) -> Beginning:
        """Have a run of the variant and of each split, with its points; order what is missing."""
        children = [self.run.child(index) for index in range(len(self.run.splits))]
        found = self._found()
        whole = _is_whole(found, [self.run.spec, *(record.spec for record in children)])
        if not whole:
            self.workshop.order(self.run)
            found = self._settle(found)
        there = _by_spec(found)
        parent = self._claim(self.run.parent, there)
        runs = [self._claim(record, there, parent.info.run_id) for record in children]
        incomplete = [index for index, run in enumerate(runs) if run.info.status == RUNNING]
        points = {runs[index].info.run_id: self.run.curves(index) for index in incomplete}
        self.store.log_points(points, self.renew)
        return Beginning(whole, there, parent, list(zip(children, runs, strict=True)))

    def complete(self, start: Beginning) -> None:
        """Give the runs what they lack, models and pictures among it, and finish them."""
        for index, (record, run) in enumerate(start.children):
            self._child(index, record, run, start)
        specs = [self.run.spec, *(record.spec for record, _ in start.children)]
        made = start.there if start.whole else self._gather(specs)
        refits = [made[record.spec] for record, _ in start.children if record.name == REFIT]
        self._parent(made[self.run.spec], refits, start.there)
        self.workshop.discard(self.run)
        self.summary.tracked[self.run.name] = Tracked(
            self.run.spec, self.run.outputs, self.run.manifest["status"], len(specs)
        )

    def _found(self) -> list[Run]:
        """All runs of this variant with these results."""
        return _search(self.store.client, [self.experiment], _condition(self.run))

    def _claim(self, record: Record, found: Mapping[str, Run], parent: str | None = None) -> Run:
        """The run of a record: the one that there is, else the live view's, else a new one."""
        self.renew()
        if record.spec in found:
            return found[record.spec]
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

    def _child(self, index: int, record: Record, run: Run, start: Beginning) -> None:
        """Mirror one split, but for its points."""
        if run.info.status == RUNNING:
            self._finish(run, record, self._model(index, run), record.spec in start.there)
        else:
            self._revise(run, record, {MLFLOW_PARENT_RUN_ID: start.parent.info.run_id})
        self._advance()

    def _parent(self, run: Run, refits: Sequence[Run], found: Mapping[str, Run]) -> None:
        """Mirror the variant itself; it shows the model trained on all rows, too."""
        record = self.run.parent
        incomplete = run.info.status == RUNNING
        revised = run.data.tags.get(SUMMARY) != record.summary
        if revised and (incomplete or self.run.current == "true"):
            folder = self.workshop.pictures(self.run)
            if folder is not None:
                self.store.client.log_artifacts(run.info.run_id, str(folder), CHARTS)
        if incomplete:
            models = {model for refit in refits for model in _shown(refit)}
            for model in models - set(_shown(run)):
                self._show(run.info.run_id, model)
            self._finish(run, record, None, record.spec in found)
        else:
            self._revise(run, record, {})
        self._advance()

    def _advance(self) -> None:
        self.bar.update()
        self.renew()

    def _finish(self, run: Run, record: Record, model: str | None, repair: bool) -> None:
        """Log what is not logged yet; the status, which makes the run complete, comes last."""
        client, run_id = self.store.client, run.info.run_id
        client.log_inputs(run_id, datasets=[self._input])
        facts = [Metric(k, v, record.finished, 0) for k, v in record.facts.items()]
        client.log_batch(
            run_id,
            metrics=facts + self._finals(run, record, model),
            params=[Param(key, value) for key, value in record.params.items()],
            tags=_revised_tags(record),
        )
        if LIVE in run.data.tags:
            client.delete_tag(run_id, LIVE)
        client.set_terminated(run_id, record.status, end_time=record.finished)
        self.summary.repaired += repair

    def _revise(self, run: Run, record: Record, wanted: dict[str, str]) -> None:
        """Bring what may change in a complete run up to date; of own results alone."""
        client, run_id, tags = self.store.client, run.info.run_id, run.data.tags
        current = self.run.current == "true"
        wanted = {**wanted, CURRENT: "true"} if current else wanted
        changes = [RunTag(key, value) for key, value in wanted.items() if tags.get(key) != value]
        metrics: list[Metric] = []
        if current and tags.get(SUMMARY) != record.summary:
            metrics = self._finals(run, record, None)
            changes += _revised_tags(record)
        if changes:
            client.log_batch(run_id, metrics=metrics, tags=changes)
            self.summary.updated += 1
        else:
            self.summary.skipped += 1

    def _finals(self, run: Run, record: Record, model: str | None) -> list[Metric]:
        """Final metrics; a changed one has a later step, so that MLflow shows it."""
        latest = {metric.key: metric for metric in run.data._metric_objs}
        data = self._input.dataset
        of_model = (model, data.name, data.digest) if model else ()
        return [
            Metric(key, value, record.finished, _step(latest.get(key), value), *of_model)
            for key, value in record.finals.items()
        ]

    # --- models and data ----------------------------------------------------------------------

    def _model(self, index: int, run: Run) -> str:
        """The id of a run's model; shown with the run only once its files are all there."""
        shown = _shown(run)
        return shown[0] if shown else self._new_model(index, run.info.run_id)

    def _new_model(self, index: int, run_id: str) -> str:
        client, split = self.store.client, results.split_name(*self.run.splits[index])
        tags = {"study": self.run.study, "variant": self.run.name, "split": split}
        tags |= {OUTPUTS: self.run.outputs}
        folder = self._models.folders[index]  # perhaps after a wait, in which runs may be retired
        model = client.create_logged_model(self.experiment, MODEL, run_id, tags)
        identity = {"run_id": run_id, "model_id": model.model_id, "model_uuid": model.model_id}
        identity |= {"artifact_path": model.artifact_location}
        Model.from_dict({**self._models.description, **identity}).save(folder / MLMODEL_FILE_NAME)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        try:
            self._show(run_id, model.model_id)
        except MlflowException:  # the run was retired meanwhile: nobody would find its model
            with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
                client.delete_logged_model(model.model_id)
            raise
        return model.model_id

    def _show(self, run_id: str, model_id: str) -> None:
        """Show a model with a run; sent twice, the request fails although it is done."""
        try:
            self.store.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        except MlflowException:
            if model_id not in _shown(self.store.client.get_run(run_id)):
                raise

    @cached_property
    def _models(self) -> Models:
        return self.workshop.models(self.run)

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

    def _settle(self, found: Sequence[Run]) -> list[Run]:
        """The runs that stay, one of each spec; the others go, and models that no run shows.

        What is doubled or half made comes of a request that was sent twice, of another `track`
        at the same time, or of one that was killed.
        """
        models = set(self._logged()) if found else set()
        kept: list[Run] = []
        for run in sorted(found, key=_preference):  # children before the parent, which shows
            known = models if run.data.tags["role"] == "split" else _all_shown(kept)  # one of them
            doubled = run.data.tags[SPEC] in _by_spec(kept) or len(_shown(run)) > 1
            if not doubled and set(_shown(run)) <= known:
                kept.append(run)
                continue
            self.store.client.delete_run(run.info.run_id)
            self.summary.retired += 1
        for model in models - _all_shown(kept):
            with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
                self.store.client.delete_logged_model(model)
        return kept

    def _gather(self, specs: Iterable[str]) -> dict[str, Run]:
        """What there is now, by spec, settled and under one parent."""
        runs = _by_spec(self._settle(self._found()))
        if set(runs) != set(specs):
            raise TrackingError(
                f"{place.shown(self.store.uri)}: runs of '{self.run.name}' went away meanwhile, as "
                f"another `track` or a person deleted them; {place.SAFE}"
            )
        parent = runs[self.run.spec].info.run_id
        for run in runs.values():
            stray = run.data.tags.get(MLFLOW_PARENT_RUN_ID, parent) != parent
            if stray and run.data.tags["role"] == "split":
                self.store.client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)
        return runs

    def _logged(self) -> list[str]:
        """The ids of this variant's models with these results."""
        found: list[str] = []
        token = None
        while True:
            page = self.store.client.search_logged_models(
                [self.experiment], _condition(self.run), page_token=token
            )
            found += [model.model_id for model in page]
            token = page.token
            if not token:
                return found


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
            retire(client, run)
            summary.retired += 1


# --- helpers ----------------------------------------------------------------------------------


def _identity(record: Record, parent: str | None) -> dict[str, str]:
    """The tags of a run that say what it is."""
    tags = {**record.tags, SPEC: record.spec, "role": record.role}
    return tags | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})


def _patiently(uri: str, work: Callable[[], Done], again: Callable[[], Done] | None = None) -> Done:
    """Try once more where another process held the database for longer than MLflow waits."""
    try:
        with store.translated(uri):
            return work()
    except LockedError:
        return (again or work)()


@contextmanager
def _imports_set_aside() -> Iterator[None]:
    """Keep the garbage collector from going through what is imported, an eighth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _supersede(
    client: MlflowClient, experiments: list[str], runs: Iterable[VariantRun], summary: Summary
) -> None:
    """Mark what the project no longer has as history; variants without results stay as they are."""
    valid = {run.outputs for run in runs}
    parents = _search(client, experiments, f"tags.role = 'variant' AND tags.`{CURRENT}` = 'true'")
    for parent in parents:
        tags = parent.data.tags
        if tags.get(OUTPUTS) in valid or tags["variant"] in summary.missing:
            continue
        of_parent = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'"
        children = _search(client, [parent.info.experiment_id], of_parent)
        for run in (*children, parent):
            client.set_tag(run.info.run_id, CURRENT, "false")
            summary.superseded += 1


def experiment_of(opened: Store, study: str, runs: Iterable[VariantRun]) -> str:
    """The id of a study's experiment, made or restored where it has to be."""
    client, location = opened.client, place.artifacts(opened.uri)
    mine = [run for run in runs if run.study == study]
    current = any(run.current == "true" for run in mine)
    editions = sorted({run.dataset["edition"] for run in mine})
    tags = {STUDY: study, "edition": ", ".join(editions), "mlflow.experimentKind": KIND}
    found = client.get_experiment_by_name(study)
    if found is None:
        with store.tolerating("RESOURCE_ALREADY_EXISTS"):
            client.create_experiment(study, f"{location}/{study}" if location else None, tags)
        found = client.get_experiment_by_name(study)
    assert found is not None  # made above
    if found.lifecycle_stage == "deleted":
        with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
            client.restore_experiment(found.experiment_id)
    for key, value in tags.items():
        if key not in found.tags or (current and found.tags[key] != value):
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


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


def _condition(run: VariantRun) -> str:
    """What all runs of these results meet."""
    return f"tags.variant = '{run.name}' AND tags.`{OUTPUTS}` = '{run.outputs}'"


def _shown(run: Run) -> list[str]:
    """The ids of the models that a run shows."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def _all_shown(runs: Iterable[Run]) -> set[str]:
    return {model for run in runs for model in _shown(run)}


def _by_spec(runs: Iterable[Run]) -> dict[str, Run]:
    return {run.data.tags[SPEC]: run for run in runs}


def _is_whole(found: Sequence[Run], specs: Sequence[str]) -> bool:
    """Whether there is one complete run of each spec, and nothing else."""
    complete = [run for run in found if run.info.status != RUNNING and len(_shown(run)) <= 1]
    return len(complete) == len(found) == len(specs) and set(_by_spec(complete)) == set(specs)


def _preference(run: Run) -> tuple[bool, bool, int, str]:
    """Children first, of each complete runs first, then the oldest."""
    tags = run.data.tags
    running = run.info.status == RUNNING
    return tags["role"] == "variant", running, int(tags.get(CREATED, 0)), run.info.run_id


def _step(latest: Metric | None, value: float) -> int:
    """The step of a final metric: of what is there where it is the same, else the next."""
    return 0 if latest is None else latest.step + (latest.value != value)


def _revised_tags(record: Record) -> list[RunTag]:
    tags = {SUMMARY: record.summary} | ({NOTE: record.note} if record.note else {})
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
