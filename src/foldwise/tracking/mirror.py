"""Results → MLflow runs: create what is missing, complete what is not whole, add nothing twice.

A run is complete once it is not RUNNING any more: its status is the last thing written. Several
trackers may be at work on a server at once; what they double, each of them settles.
"""

import functools
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
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

from foldwise.core import paths
from foldwise.numerics.split import REFIT, split_name
from foldwise.tracking import experiments, live, place, store
from foldwise.tracking.experiments import RUNNING
from foldwise.tracking.live import LIVE
from foldwise.tracking.records import (
    CREATED,
    CURRENT,
    NOTE,
    OUTPUTS,
    SPEC,
    SUMMARY,
    Entry,
    FolderSource,
    text,
)
from foldwise.tracking.store import PassingError, Store
from foldwise.tracking.summary import Summary, Tracked
from foldwise.tracking.workshop import Models, Workshop

REFIT_NAME = split_name(REFIT, REFIT)
CHARTS = "charts"  # folder of a variant's pictures
MODEL = "model"  # name of a run's model: runs:/<id>/model
DIGEST = 16  # of a data set: MLflow takes 36 characters; the whole one is a tag
ATTEMPTS = 3  # at one variant, where another process is in the way
Done = TypeVar("Done")


def add(
    opened: Store,
    sources: Sequence[FolderSource],
    workshop: Workshop,
    summary: Summary,
    begun: Sequence[Run] = (),
) -> dict[str, str]:
    """Mirror variants into an open store, counting in `summary`; study → id of its experiment.

    Args:
        opened: the store.
        sources: the variants' results.
        workshop: makes their models and pictures.
        summary: gains what is done.
        begun: runs of the live view; those that show the same training are taken over.

    Raises:
        TrackingError: the store fails.
    """
    names = dict.fromkeys(source.study for source in sources)
    studies = {study: experiments.of_study(opened, study, sources) for study in names}
    longest = sorted(sources, key=lambda source: len(source.splits), reverse=True)
    with _bar(sources) as bar, _imports_set_aside():
        mirrors = []
        for source in longest:
            shown = live.showing(begun, live.attempt(source.root, source.facts.started))
            mirror = VariantMirror(
                opened, studies[source.study], source, shown, workshop, summary, bar
            )
            mirrors.append((mirror, patiently(opened.uri, mirror.begin)))
        for mirror, start in mirrors:
            patiently(opened.uri, functools.partial(mirror.complete, start), mirror.sync)
        if place.database(opened.uri) is None:  # another tracker may have deleted some of it
            for mirror, _ in mirrors:
                if not experiments.is_complete(opened.client, mirror.source):
                    patiently(opened.uri, replace(mirror).sync)  # its models are made anew
    return studies


class Beginning(NamedTuple):
    """What there is of a variant before its runs are completed.

    Attributes:
        whole: whether all of it was in the store already.
        there: the runs that were, by spec.
        parent: the variant's run.
        children: each split's entry, and its run.
    """

    whole: bool
    there: Mapping[str, Run]
    parent: Run
    children: list[tuple[Entry, Run]]


@dataclass
class VariantMirror:
    """Mirrors one variant: the parent run and one child per split.

    `live` are the runs that the live view has of the same training, by their spec.
    """

    store: Store
    experiment: str
    source: FolderSource
    live: Mapping[str, Run]
    workshop: Workshop
    summary: Summary
    bar: "tqdm[Any]"

    def sync(self) -> None:
        """Make the store say what the run folder says."""
        self.complete(self.begin())

    def begin(self) -> Beginning:
        """Have a run of the variant and of each split, with its points; order what is missing."""
        children = [self.source.child(index) for index in range(len(self.source.splits))]
        there = self._runs()
        whole = _is_whole(there, [self.source.spec, *(entry.spec for entry in children)])
        if not whole:
            self.workshop.order(self.source)
            there = self._settle(there)
        by_spec = _by_spec(there)
        parent = self._claim(self.source.parent, by_spec)
        runs = [self._claim(entry, by_spec, parent.info.run_id) for entry in children]
        for index, run in enumerate(runs):
            if run.info.status == RUNNING:
                self.store.log_points(run.info.run_id, self.source.curves(index))
        return Beginning(whole, by_spec, parent, list(zip(children, runs, strict=True)))

    def complete(self, start: Beginning) -> None:
        """Give the runs what they lack, models and pictures among it, and finish them."""
        for index, (entry, run) in enumerate(start.children):
            self._child(index, entry, run, start)
        specs = [self.source.spec, *(entry.spec for entry, _ in start.children)]
        made = start.there if start.whole else self._gather(specs)
        refits = [made[entry.spec] for entry, _ in start.children if entry.name == REFIT_NAME]
        self._parent(made[self.source.spec], refits, start.there)
        self.workshop.discard(self.source)
        self.summary.tracked[self.source.name] = Tracked(
            self.source.spec, self.source.outputs, self.source.manifest.status, len(specs)
        )

    def _runs(self) -> list[Run]:
        """All runs of this variant with these results."""
        condition = experiments.of_results(self.source)
        return experiments.search(self.store.client, [self.experiment], condition)

    def _claim(self, entry: Entry, there: Mapping[str, Run], parent: str | None = None) -> Run:
        """The run of an entry: the one that there is, else the live view's, else a new one."""
        if entry.spec in there:
            return there[entry.spec]
        tags = {OUTPUTS: entry.outputs, CURRENT: text(self.source.current)}
        if entry.spec in self.live:
            return self._take_over(self.live[entry.spec], entry, tags, parent)
        run = experiments.create(self.store.client, self.experiment, entry, tags, parent)
        self.summary.created += 1
        return run

    def _take_over(self, run: Run, entry: Entry, tags: dict[str, str], parent: str | None) -> Run:
        """Make a run of the live view one of these results, and as yet an incomplete one."""
        client, run_id = self.store.client, run.info.run_id
        client.update_run(run_id, RUNNING)
        wanted = experiments.identity(entry, parent) | tags
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in wanted.items()])
        self.summary.adopted += 1
        return client.get_run(run_id)

    # --- children and parent ------------------------------------------------------------------

    def _child(self, index: int, entry: Entry, run: Run, start: Beginning) -> None:
        """Mirror one split, but for its points."""
        if run.info.status == RUNNING:
            self._finish(run, entry, self._model(index, run), entry.spec in start.there)
        else:
            self._revise(run, entry, {MLFLOW_PARENT_RUN_ID: start.parent.info.run_id})
        self.bar.update()

    def _parent(self, run: Run, refits: Sequence[Run], there: Mapping[str, Run]) -> None:
        """Mirror the variant itself; it shows the model trained on all rows, too."""
        entry = self.source.parent
        incomplete = run.info.status == RUNNING
        revised = run.data.tags.get(SUMMARY) != entry.summary
        if revised and (incomplete or self.source.current):
            folder = self.workshop.pictures(self.source)
            if folder is not None:
                self.store.client.log_artifacts(run.info.run_id, str(folder), CHARTS)
        if incomplete:
            for model in _all_shown(refits) - set(_shown(run)):
                self._show(run.info.run_id, model)
            self._finish(run, entry, None, entry.spec in there)
        else:
            self._revise(run, entry, {})
        self.bar.update()

    def _finish(self, run: Run, entry: Entry, model: str | None, repair: bool) -> None:
        """Log what is not logged yet; the status, which makes the run complete, comes last."""
        client, run_id = self.store.client, run.info.run_id
        client.log_inputs(run_id, datasets=[self._input])
        facts = [Metric(k, v, entry.finished, 0) for k, v in entry.facts.items()]
        client.log_batch(
            run_id,
            metrics=facts + self._finals(run, entry, model),
            params=[Param(key, value) for key, value in entry.params.items()],
            tags=_revised_tags(entry),
        )
        if LIVE in run.data.tags:
            client.delete_tag(run_id, LIVE)
        client.set_terminated(run_id, entry.status, end_time=entry.finished)
        self.summary.repaired += repair

    def _revise(self, run: Run, entry: Entry, wanted: dict[str, str]) -> None:
        """Bring what may change in a complete run up to date; of own results alone."""
        client, run_id, tags = self.store.client, run.info.run_id, run.data.tags
        wanted = {**wanted, CURRENT: "true"} if self.source.current else wanted
        changes = [RunTag(key, value) for key, value in wanted.items() if tags.get(key) != value]
        metrics: list[Metric] = []
        if self.source.current and tags.get(SUMMARY) != entry.summary:
            metrics = self._finals(run, entry, None)
            changes += _revised_tags(entry)
        if changes:
            client.log_batch(run_id, metrics=metrics, tags=changes)
            self.summary.updated += 1
        else:
            self.summary.skipped += 1

    def _finals(self, run: Run, entry: Entry, model: str | None) -> list[Metric]:
        """Final metrics; a changed one has a later step, so that MLflow shows it."""
        latest = {metric.key: metric for metric in run.data._metric_objs}
        data = self._input.dataset
        of_model = (model, data.name, data.digest) if model else ()
        return [
            Metric(key, value, entry.finished, _step(latest.get(key), value), *of_model)
            for key, value in entry.finals.items()
        ]

    # --- models and data ----------------------------------------------------------------------

    def _model(self, index: int, run: Run) -> str:
        """The id of a run's model; shown with the run only once its files are all there."""
        shown = _shown(run)
        return shown[0] if shown else self._new_model(index, run.info.run_id)

    def _new_model(self, index: int, run_id: str) -> str:
        client, split = self.store.client, split_name(*self.source.splits[index])
        tags = {"study": self.source.study, "variant": self.source.name, "split": split}
        tags |= {OUTPUTS: self.source.outputs}
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
        return self.workshop.models(self.source)

    @cached_property
    def _input(self) -> DatasetInput:
        """The data set, which MLflow finds by the first characters of its digest."""
        meta = self.source.dataset
        rows = TensorSpec(np.dtype(meta.dtype), (-1, *meta.shape))
        labels = TensorSpec(np.dtype(np.int64), (-1,))
        schema = TensorDatasetSchema(Schema([rows]), Schema([labels]))
        profile = {"edition": meta.edition, "rows": meta.rows, "test_rows": meta.test_rows}
        dataset = Dataset(
            name=meta.name,
            digest=meta.digest[:DIGEST],
            source_type="local",
            source=json.dumps({"uri": paths.prepared(meta.name).as_posix()}),
            schema=json.dumps(schema.to_dict()),
            profile=json.dumps(profile),
        )
        return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])

    # --- duplicates ---------------------------------------------------------------------------

    def _settle(self, runs: Sequence[Run]) -> list[Run]:
        """The runs that stay, one of each spec; the others go, and models that no run shows.

        What is doubled or half made comes of a request that was sent twice, of another `track`
        at the same time, or of one that was killed.
        """
        models = set(self._logged()) if runs else set()
        kept: list[Run] = []
        for run in sorted(runs, key=_preference):  # children before the parent, which shows
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
        """What there is now, by spec, settled and under one parent.

        Raises:
            PassingError: some of it was deleted meanwhile.
        """
        runs = _by_spec(self._settle(self._runs()))
        if set(runs) != set(specs):
            raise PassingError(
                f"{place.shown(self.store.uri)}: runs of '{self.source.name}' went away meanwhile, "
                f"as another `track` or a person deleted them; {place.SAFE}"
            )
        parent = runs[self.source.spec].info.run_id
        for run in runs.values():
            stray = run.data.tags.get(MLFLOW_PARENT_RUN_ID, parent) != parent
            if stray and run.data.tags["role"] == "split":
                self.store.client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)
        return runs

    def _logged(self) -> list[str]:
        """The ids of this variant's models with these results."""
        condition = experiments.of_results(self.source)
        models = store.pages(
            lambda token: self.store.client.search_logged_models(
                [self.experiment], condition, page_token=token
            )
        )
        return [model.model_id for model in models]


# --- helpers ----------------------------------------------------------------------------------


def patiently(uri: str, work: Callable[[], Done], again: Callable[[], Done] | None = None) -> Done:
    """Try again where another process was in the way; `again` is done then, by default `work`.

    Raises:
        TrackingError: it was too often, or something else is wrong.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            with store.translated(uri):
                return work()
        except PassingError:
            work = again or work
    with store.translated(uri):
        return work()


@contextmanager
def _imports_set_aside() -> Iterator[None]:
    """Keep the garbage collector from going through what is imported, an eighth of the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _shown(run: Run) -> list[str]:
    """The ids of the models that a run shows."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def _all_shown(runs: Iterable[Run]) -> set[str]:
    return {model for run in runs for model in _shown(run)}


def _by_spec(runs: Iterable[Run]) -> dict[str, Run]:
    return {run.data.tags[SPEC]: run for run in runs}


def _is_whole(runs: Sequence[Run], specs: Sequence[str]) -> bool:
    """Whether there is one complete run of each spec, and nothing else."""
    complete = [run for run in runs if run.info.status != RUNNING and len(_shown(run)) <= 1]
    return len(complete) == len(runs) == len(specs) and set(_by_spec(complete)) == set(specs)


def _preference(run: Run) -> tuple[bool, bool, int, str]:
    """Children first, of each complete runs first, then the oldest."""
    tags = run.data.tags
    running = run.info.status == RUNNING
    return tags["role"] == "variant", running, int(tags.get(CREATED, 0)), run.info.run_id


def _step(latest: Metric | None, value: float) -> int:
    """The step of a final metric: of what is there where it is the same, else the next."""
    return 0 if latest is None else latest.step + (latest.value != value)


def _revised_tags(entry: Entry) -> list[RunTag]:
    tags = {SUMMARY: entry.summary} | ({NOTE: entry.note} if entry.note else {})
    return [RunTag(key, value) for key, value in tags.items()]


def _bar(sources: Iterable[FolderSource]) -> "tqdm[Any]":
    total = sum(1 + len(source.splits) for source in sources)
    return tqdm(total=total, desc="track", unit="run", file=sys.stderr, disable=None)
