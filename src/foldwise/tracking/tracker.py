"""Track a workspace: its results as runs, a version of each, and who is champion."""

from pathlib import Path

from foldwise.core import paths
from foldwise.core.config import Config
from foldwise.core.environment import Environment, without_telemetry
from foldwise.results.studies import stale_results
from foldwise.tracking import origin, place, records, workshop
from foldwise.tracking.summary import Summary
from foldwise.tracking.workshop import Charts, Workshop


def track(
    config: Config, root: Path, environment: Environment, charts: Charts | None = None
) -> Summary:
    """Mirror the runs of all declared variants to the MLflow store; twice adds nothing.

    Runs of other variants become history. `charts` draws what is shown with a variant's run, in
    another process: a function of a module, or what else pickle can send.

    Raises:
        TrackingError: the store cannot be reached, read or written; what is on disk is safe,
            and the same command completes the mirror.
        DamagedError: a run folder is damaged.
    """
    without_telemetry()
    # First: its process imports torch while this one imports mlflow.
    with workshop.opened(charts) as opened:
        return _track(config, root.resolve(), environment, opened)


def _track(config: Config, root: Path, environment: Environment, workshop: Workshop) -> Summary:
    from foldwise.tracking import champions, experiments, live, mirror, store

    start = origin.of_workspace(root, environment)
    read = {name: records.read(root, name, start) for name in config.variants}
    sources = [source for source in read.values() if source is not None]
    uri = place.store_uri(root, environment)
    missing = [name for name, source in read.items() if source is None]
    summary = Summary(uri, missing=missing, notes=stale_results(config, root))
    with store.opened(uri, environment) as opened:
        client = opened.client
        begun = live.runs_of(client, root)
        studies = mirror.add(opened, sources, workshop, summary, begun)
        if begun:
            live.clear(client, root, summary)
        for study, experiment in studies.items():
            mine = [source for source in sources if source.study == study]
            baseline = config.studies[study].comparison.baseline if study in config.studies else ""
            model = champions.Registered(client, experiment, mine, baseline, summary)
            mirror.patiently(uri, model.sync)
        if not paths.is_experiment(root):
            own = uri == place.store_uri(root)  # no other project writes to it
            ids = experiments.studies(client) if own else list(studies.values())
            names = champions.studies(client) if own else list(studies)
            valid = {source.outputs for source in sources}
            summary.superseded += experiments.supersede(client, ids, valid, summary.missing)
            champions.supersede(client, names, valid, summary.missing)
    return summary
