"""Results → MLflow runs: create what is missing, complete what is not whole, add nothing twice.

A run is complete once it is not RUNNING any more: its status is the last thing written. Several
trackers may be at work on a server at once; what they double, each of them settles.
"""

import gc
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

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
from foldwise.core.errors import masked
from foldwise.numerics.split import REFIT, split_name
from foldwise.tracking import experiments, live, place, records, store
from foldwise.tracking.experiments import RUNNING
from foldwise.tracking.live import LIVE
from foldwise.tracking.records import CURRENT, NOTE, OUTPUTS, SPEC, SUMMARY, Entry, FolderSource
from foldwise.tracking.store import PassingError, Store
from foldwise.tracking.summary import Summary, Tracked
from foldwise.tracking.workshop import Models, Workshop

REFIT_NAME = split_name(REFIT, REFIT)
CHARTS = "charts"  # folder of a variant's pictures
MODEL = "model"  # name of a run's model: runs:/<id>/model
DIGEST = 16  # of a data set: MLflow takes 36 characters; the whole one is a tag
OF_MACHINE = {"device", "workers", "threads"}  # tags that differ where results were made again
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

    Runs that the live view has `begun` of the same training are taken over.

    Raises:
        TrackingError: the store fails.
    """
    names = dict.fromkeys(source.study for source in sources)
    studies = {study: experiments.of_study(opened, study, sources) for study in names}
    total = sum(1 + len(source.splits) for source in sources)
    with (
        tqdm(total=total, desc="track", unit="run", file=sys.stderr, disable=None) as bar,
        ExitStack() as stack,
    ):
        gc.freeze()  # the collector would go through what is imported, an eighth of the time
        stack.callback(gc.unfreeze)
        mirrors = []
        for source in sorted(sources, key=lambda source: len(source.splits), reverse=True):
            shown = live.showing(begun, live.attempt(source.root, source.facts.started))
            experiment = studies[source.study]
            mirror = VariantMirror(opened, experiment, source, shown, workshop, summary, bar)
            mirrors.append(mirror)
            patiently(opened.uri, mirror.begin)
        for study in studies if workshop.charts else ():
            drawn = [each for each in mirrors if each.source.study == study and each.needs_pictures]
            pictures = workshop.pictures([each.source.name for each in drawn])
            for mirror in drawn:
                mirror.pictures = pictures
        for mirror in mirrors:
            patiently(opened.uri, mirror.complete, mirror.sync)
        if place.database(opened.uri) is None:  # another tracker may have deleted some of it
            for mirror in mirrors:
                if not experiments.is_complete(opened.client, mirror.source):
                    patiently(opened.uri, mirror.sync)
    return studies


@dataclass
class VariantMirror:
    """Mirrors one variant: the parent run and one child per split."""

    store: Store
    experiment: str
    source: FolderSource
    live: Mapping[str, Run]  # what the live view has of the same training, by spec
    workshop: Workshop
    summary: Summary
    bar: "tqdm[Any]"
    pictures: Future[dict[str, Path | None]] | None = None
    models: Future[Models] | None = None
    _whole: bool = field(init=False)  # whether all of it was in the store already
    _found: dict[str, Run] = field(init=False)  # the runs that were, by spec
    _runs: dict[str, Run] = field(init=False)  # those that are now

    def sync(self) -> None:
        """Make the store say what the run folder says."""
        self.begin()
        self.complete()

    def begin(self) -> None:
        """Have a run of the variant and of each split, with its points; order what is missing."""
        found = self._search()
        self._whole = self._is_whole(found)
        self._whole &= experiments.models_shown(found) <= self._models_there()
        if not self._whole:
            if self.source.splits and self.models is None:  # there are none of one that failed
                self.models = self.workshop.models(self.source.folder.path)
            found = self._settle(found)
        self._found, self._runs = self._by_spec(found), {}
        parent = None
        for entry in self._entries:
            run = self._runs[entry.spec] = self._claim(entry, parent)
            self._mend(run, entry)
            parent = parent or run.info.run_id
        for entry, split in zip(self._entries[1:], self.source.splits, strict=True):
            run = self._runs[entry.spec]
            if run.info.status == RUNNING:
                points = records.points(self.source.by_split[split])
                self.store.log_points(run.info.run_id, points)

    def complete(self) -> None:
        """Give the runs what they lack, models and pictures among it, and finish them."""
        for index, entry in enumerate(self._entries[1:]):
            run = self._runs[entry.spec]
            if run.info.status == RUNNING:
                self._finish(run, entry, self._model(index, run))
            else:
                parent = self._runs[self.source.spec].info.run_id
                self._revise(run, entry, {MLFLOW_PARENT_RUN_ID: parent})
            self.bar.update()
        if not self._whole:
            self._gather()
        self._parent()
        self.bar.update()
        if self.models is not None:
            shutil.rmtree(self.models.result().folders[0].parent)
            self.models = None
        self.summary.tracked[self.source.name] = Tracked(
            self.source.spec, self.source.outputs, self.source.manifest.status, len(self._entries)
        )

    @property
    def needs_pictures(self) -> bool:
        """Whether the parent run is not complete, or is to say other things."""
        run = self._runs[self.source.spec]
        revised = run.data.tags.get(SUMMARY) != self.source.parent.summary
        return revised and (run.info.status == RUNNING or self.source.current)

    @cached_property
    def _entries(self) -> list[Entry]:
        """The parent, and the children in the order of the splits."""
        return [self.source.parent, *map(self.source.child, range(len(self.source.splits)))]

    def _search(self) -> list[Run]:
        """All runs of this variant with these results, also those whose tags somebody deleted."""
        client, parents = self.store.client, set()
        runs = experiments.search(client, [self.experiment], experiments.of_results(self.source))
        if not self._is_whole(runs):
            parents = {run.info.run_id for run in runs if self._spec(run) == self.source.spec}
            parents |= {run.data.tags.get(MLFLOW_PARENT_RUN_ID, "") for run in runs}
        family = [
            run
            for parent in parents - {""}
            for condition in (experiments.of_parent(parent), f"attributes.run_id = '{parent}'")
            for run in experiments.search(client, [self.experiment], condition)
            if LIVE not in run.data.tags
            and self._spec(run) == run.data.tags.get(SPEC, self._spec(run)) != ""
        ]
        return list({run.info.run_id: run for run in (*runs, *family)}.values())

    def _is_whole(self, runs: Sequence[Run]) -> bool:
        """Whether there is one complete run of each entry, and nothing else."""
        complete = [run for run in runs if run.info.status != RUNNING and len(_shown(run)) <= 1]
        return len(complete) == len(runs) == len(self._entries) and self._has_all(complete)

    def _has_all(self, runs: Iterable[Run]) -> bool:
        return self._by_spec(runs).keys() == {entry.spec for entry in self._entries}

    def _by_spec(self, runs: Iterable[Run]) -> dict[str, Run]:
        return {self._spec(run): run for run in runs}

    def _spec(self, run: Run) -> str:
        """Which entry a run is of, also where somebody has deleted its tags; "" where of none."""
        tags = run.data.tags
        if tags.get(SPEC) in self._specs.values():
            return tags[SPEC]
        is_parent = tags.get("role") == "variant"
        name = self.source.name if is_parent else tags.get("split", run.info.run_name)
        return self._specs.get(name, "")

    @cached_property
    def _specs(self) -> dict[str, str]:
        return {entry.name: entry.spec for entry in self._entries}

    def _mend(self, run: Run, entry: Entry) -> None:
        """Give a run the tags again that somebody has deleted or edited."""
        tags, wanted = run.data.tags, {**experiments.identity(entry, None), OUTPUTS: entry.outputs}
        wrong = {key for key, value in wanted.items() if tags.get(key) != value}
        if lost := wrong - (tags.keys() & OF_MACHINE):
            changes = [RunTag(key, wanted[key]) for key in sorted(lost)]
            self.store.client.log_batch(run.info.run_id, tags=changes)
            self.summary.mended += 1

    def _claim(self, entry: Entry, parent: str | None) -> Run:
        """The run of an entry: the one that there is, else the live view's, else a new one."""
        if entry.spec in self._found:
            return self._found[entry.spec]
        client, tags = self.store.client, {CURRENT: records.text(self.source.current)}
        tags |= {OUTPUTS: entry.outputs, **self.source.origin.tags}
        if entry.spec not in self.live:
            run = experiments.create(client, self.experiment, entry, tags, parent)
            self.summary.created += 1
            return run
        run_id = self.live[entry.spec].info.run_id
        client.update_run(run_id, RUNNING)
        wanted = experiments.identity(entry, parent) | tags
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in wanted.items()])
        self.summary.adopted += 1
        return client.get_run(run_id)

    # --- children and parent ------------------------------------------------------------------

    def _parent(self) -> None:
        """Mirror the variant itself; it shows the model trained on all rows, too."""
        run, entry = self._runs[self.source.spec], self._entries[0]
        if self.workshop.charts and self.needs_pictures:
            pictures = self.pictures or self.workshop.pictures([self.source.name])
            if folder := pictures.result()[self.source.name]:
                self.store.client.log_artifacts(run.info.run_id, str(folder), CHARTS)
        if run.info.status != RUNNING:
            self._revise(run, entry, {})
            return
        refits = [self._runs[each.spec] for each in self._entries[1:] if each.name == REFIT_NAME]
        for model in experiments.models_shown(refits) - set(_shown(run)):
            self._show(run.info.run_id, model)
        self._finish(run, entry)

    def _finish(self, run: Run, entry: Entry, model: str | None = None) -> None:
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
        self.summary.repaired += entry.spec in self._found

    def _revise(self, run: Run, entry: Entry, wanted: dict[str, str]) -> None:
        """Bring what may change in a complete run up to date; of own results alone."""
        tags, current = run.data.tags, self.source.current
        wanted = {**wanted, CURRENT: "true"} if current else wanted
        changes = [RunTag(key, value) for key, value in wanted.items() if tags.get(key) != value]
        metrics: list[Metric] = []
        if current and tags.get(SUMMARY) != entry.summary:
            metrics = self._finals(run, entry, None)
            changes += _revised_tags(entry)
        if changes:
            self.store.client.log_batch(run.info.run_id, metrics=metrics, tags=changes)
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
        if shown := _shown(run):
            return shown[0]
        client, run_id = self.store.client, run.info.run_id
        split = split_name(*self.source.splits[index])
        tags = {"study": self.source.study, "variant": self.source.name, "split": split}
        tags |= {OUTPUTS: self.source.outputs}
        assert self.models is not None  # ordered as soon as a run lacked anything
        made = self.models.result()  # perhaps after a wait, in which runs may be retired
        model = client.create_logged_model(self.experiment, MODEL, run_id, tags)
        identity = {"run_id": run_id, "model_id": model.model_id, "model_uuid": model.model_id}
        identity |= {"artifact_path": model.artifact_location}
        folder = made.folders[index]
        Model.from_dict({**made.description, **identity}).save(folder / MLMODEL_FILE_NAME)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        try:
            self._show(run_id, model.model_id)
        except MlflowException:  # the run was retired meanwhile: nobody would find its model
            with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
                client.delete_logged_model(model.model_id)
            raise
        return str(model.model_id)

    def _show(self, run_id: str, model_id: str) -> None:
        """Show a model with a run; sent twice, the request fails although it is done."""
        try:
            self.store.client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        except MlflowException:
            if model_id not in _shown(self.store.client.get_run(run_id)):
                raise

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
        """The runs that stay, one of each spec; the others go, and models that no run shows."""
        models = self._models_there() if runs else set()
        kept: dict[str, Run] = {}
        for run in sorted(runs, key=self._preference):  # children before the parent
            spec, shown = self._spec(run), set(_shown(run))
            # The parent shows one of theirs.
            known = experiments.models_shown(kept.values()) if self._is_parent(run) else models
            if spec and spec not in kept and len(shown) <= 1 and shown <= known:
                kept[spec] = run
                continue
            self.store.client.delete_run(run.info.run_id)
            self.summary.retired += 1
        for model in models - experiments.models_shown(kept.values()):
            with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
                self.store.client.delete_logged_model(model)
        return list(kept.values())

    def _gather(self) -> None:
        """Look at what there is now, settled and under one parent.

        Raises:
            PassingError: some of it was deleted meanwhile.
        """
        runs = self._settle(self._search())
        if not self._has_all(runs):
            raise PassingError(
                f"{masked(self.store.uri)}: runs of '{self.source.name}' went away meanwhile, "
                f"as another `track` or a person deleted them; {place.SAFE}"
            )
        self._runs = self._by_spec(runs)
        parent = self._runs[self.source.spec].info.run_id
        for run in runs:
            if not self._is_parent(run) and run.data.tags.get(MLFLOW_PARENT_RUN_ID) != parent:
                self.store.client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, parent)

    def _is_parent(self, run: Run) -> bool:
        return self._spec(run) == self.source.spec

    def _preference(self, run: Run) -> tuple[bool, bool, int, str]:
        """Children first, of each complete runs first, then the oldest."""
        running = run.info.status == RUNNING
        return self._is_parent(run), running, experiments.created(run), run.info.run_id

    def _models_there(self) -> set[str]:
        return experiments.models(self.store.client, self.experiment, self.source)


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


def _shown(run: Run) -> list[str]:
    """The ids of the models that a run shows."""
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


def _step(latest: Metric | None, value: float) -> int:
    """The step of a final metric: of what is there where it is the same, else the next."""
    return 0 if latest is None else latest.step + (latest.value != value)


def _revised_tags(entry: Entry) -> list[RunTag]:
    tags = {SUMMARY: entry.summary} | ({NOTE: entry.note} if entry.note else {})
    return [RunTag(key, value) for key, value in tags.items()]
