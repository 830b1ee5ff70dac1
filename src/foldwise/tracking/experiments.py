"""The experiments and runs of a store: made, found, deleted. An experiment is a study."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, Run, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from foldwise.core.environment import Environment
from foldwise.tracking import place, server, store
from foldwise.tracking.records import CREATED, CURRENT, OUTPUTS, SPEC, Entry, FolderSource, Source
from foldwise.tracking.store import Store

STUDY = "foldwise.study"  # tag of an experiment that is one
KIND = "custom_model_development"  # the views that the MLflow UI gives it: runs, not traces
PAGE = 1000
RUNNING = "RUNNING"
PRESENT = f"tags.role = 'variant' AND tags.`{CURRENT}` = 'true'"


# --- experiments ------------------------------------------------------------------------------


def of_study(opened: Store, study: str, sources: Iterable[Source]) -> str:
    """The id of a study's experiment, made or restored where it has to be."""
    client, location = opened.client, place.artifacts(opened.uri)
    mine = [source for source in sources if source.study == study]
    editions = sorted({source.dataset.edition for source in mine})
    tags = {STUDY: study, "edition": ", ".join(editions), "mlflow.experimentKind": KIND}
    experiment = found(client, study)
    if experiment is None:
        with store.tolerating("RESOURCE_ALREADY_EXISTS"):
            client.create_experiment(study, f"{location}/{study}" if location else None, tags)
        experiment = found(client, study)
    if experiment is None:
        raise server.trouble(opened.uri, f"does not have the experiment that it made: {study}")
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        with store.tolerating("RESOURCE_DOES_NOT_EXIST"):
            client.restore_experiment(experiment.experiment_id)
    current = any(source.current for source in mine)
    for key, value in tags.items():
        if key not in experiment.tags or (current and experiment.tags[key] != value):
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return str(experiment.experiment_id)


def found(client: MlflowClient, study: str) -> Experiment | None:
    """A study's experiment: whatever it is called now, and deleted ones last."""
    named = client.get_experiment_by_name(study)
    tagged = client.search_experiments(ViewType.ALL, PAGE, f"tags.`{STUDY}` = '{study}'")
    there = [each for each in (named, *tagged) if each and each.experiment_id]

    def preference(experiment: Experiment) -> tuple[bool, bool, bool]:
        deleted = experiment.lifecycle_stage == LifecycleStage.DELETED
        return deleted, STUDY not in experiment.tags, experiment.name != study

    return min(there, key=preference, default=None)


def studies(client: MlflowClient) -> list[str]:
    """The ids of the experiments that are studies."""
    experiments = client.search_experiments(max_results=PAGE)
    return [str(e.experiment_id) for e in experiments if STUDY in e.tags]


# --- runs -------------------------------------------------------------------------------------


def create(
    client: MlflowClient, experiment: str, entry: Entry, tags: Mapping[str, str], parent: str | None
) -> Run:
    """A new run of an entry, RUNNING, with more tags; `parent` is the run of its variant."""
    wanted = identity(entry, parent) | {CREATED: str(time.time_ns()), **tags}
    return client.create_run(experiment, start_time=entry.started, tags=wanted, run_name=entry.name)


def identity(entry: Entry, parent: str | None) -> dict[str, str]:
    """The tags of a run that say what it is, which never change."""
    tags = {**entry.tags, SPEC: entry.spec, "role": entry.role}
    return tags | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})


def created(run: Run) -> int:
    """When a run was made, for putting duplicates in order; 0 where nothing says it."""
    said = run.data.tags.get(CREATED, "")
    return int(said) if said.isdecimal() else 0


def search(client: MlflowClient, experiments: Sequence[str], condition: str) -> list[Run]:
    """All runs that are not deleted and meet a condition."""
    if not experiments:
        return []
    return store.pages(
        lambda token: client.search_runs(
            [*experiments], condition, max_results=PAGE, page_token=token
        )
    )


def of_results(source: Source) -> str:
    """The condition that all runs and models of these results meet."""
    return f"tags.`{OUTPUTS}` = '{source.outputs}'"


def of_parent(parent: str) -> str:
    """The condition that the children of a run meet."""
    return f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"


def models(client: MlflowClient, experiment: str, source: Source) -> set[str]:
    """The ids of the models of these results."""
    found = store.pages(
        lambda token: client.search_logged_models(
            [experiment], of_results(source), page_token=token
        )
    )
    return {model.model_id for model in found}


def models_shown(runs: Iterable[Run]) -> set[str]:
    """The ids of the models that runs show."""
    return {output.model_id for run in runs if run.outputs for output in run.outputs.model_outputs}


def is_complete(client: MlflowClient, source: FolderSource) -> bool:
    """Whether a store has these results whole, each run once and none unfinished."""
    experiment = found(client, source.study)
    if experiment is None or experiment.lifecycle_stage == LifecycleStage.DELETED:
        return False
    identity = str(experiment.experiment_id)
    runs = search(client, [identity], of_results(source))
    specs = {run.data.tags.get(SPEC) for run in runs} - {None}
    whole = len(runs) == 1 + len(source.splits) == len(specs)
    finished = all(run.info.status != RUNNING for run in runs)
    return whole and finished and models_shown(runs) <= models(client, identity, source)


def retire(client: MlflowClient, run: Run) -> None:
    """Delete a run and its models, as MLflow's UI does."""
    models = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    for model in models:
        client.delete_logged_model(model.model_id)
    client.delete_run(run.info.run_id)


def supersede(
    client: MlflowClient,
    experiments: Sequence[str],
    valid: Collection[str],
    waiting: Collection[str],
) -> int:
    """Mark results that the project no longer has as history; how many runs that were.

    Those of `valid` outputs stay, and those of `waiting` variants, which have no results now.
    """
    superseded = 0
    for parent in search(client, experiments, PRESENT):
        tags = parent.data.tags
        if tags.get(OUTPUTS) in valid or tags.get("variant") in waiting:
            continue
        children = search(client, [parent.info.experiment_id], of_parent(parent.info.run_id))
        for run in (*children, parent):
            client.set_tag(run.info.run_id, CURRENT, "false")
            superseded += 1
    return superseded


def shown(uri: str, environment: Environment) -> dict[str, str]:
    """The ids of the runs that show the present results of variants, by variant.

    Raises:
        TrackingError: the store is not there, cannot be reached or read.
    """
    with store.opened(uri, environment, write=False) as opened:
        runs = search(opened.client, studies(opened.client), PRESENT)
    return {run.data.tags["variant"]: run.info.run_id for run in runs if "variant" in run.data.tags}
