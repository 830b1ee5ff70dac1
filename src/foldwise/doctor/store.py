"""What is wrong with the MLflow store, compared with the run folders, and what fixes it.

The store is a mirror. Runs that nobody will finish are deleted, as MLflow's UI does it; whatever
is missing, `track` makes.
"""

import functools
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from foldwise import journal
from foldwise.core import paths
from foldwise.core.config import Config
from foldwise.core.environment import Environment
from foldwise.core.errors import ReadError, TrackingError
from foldwise.doctor import Finding, Fix
from foldwise.tracking import experiments, live, origin, place, records, store
from foldwise.tracking.experiments import RUNNING, STUDY
from foldwise.tracking.live import LIVE
from foldwise.tracking.origin import BACKFILLED, Origin
from foldwise.tracking.records import CURRENT, OUTPUTS, FolderSource

DAY = 86_400  # seconds after which nobody writes a run any more, wherever it is


def examine(settings: Config, root: Path, environment: Environment, track: Fix) -> list[Finding]:
    """What is wrong with the store; changes nothing. `track` mirrors the workspace."""
    try:
        uri = place.store_uri(root, environment)
        path = place.database(uri)
        sources = _sources(settings, root)
        if path is not None and not path.exists():
            return [_missing(source.name, track) for source in sources] + _orphans(path, set())
        if path is not None and _is_held(path):
            return [Finding(f"{uri}: a `track` is at work, so the store was not looked at; wait")]
        with store.opened(uri, environment) as opened:
            runs = experiments.search(opened.client, experiments.studies(opened.client), "")
            state = State(settings, root, environment, uri, opened.client, sources, runs, track)
            findings = [*state.unfinished(), *state.not_mirrored(), *state.without_results()]
        return findings + (_files(path) if path is not None else [])
    except TrackingError as error:
        return [Finding(str(error))]


@dataclass
class State:
    """An open store and the run folders beside it."""

    settings: Config
    root: Path
    environment: Environment
    uri: str
    client: MlflowClient
    sources: list[FolderSource]
    runs: list[Run]
    track: Fix

    def unfinished(self) -> Iterator[Finding]:
        """Runs that are RUNNING though nothing is at work on them, and no `track` will finish."""
        ours = {source.outputs for source in self.sources}
        runs = {run.info.run_id: run for run in self.runs if run.info.status == RUNNING}
        for identity, run in runs.items():
            tags = run.data.tags
            if not {LIVE, OUTPUTS} & tags.keys() or tags.get(OUTPUTS) in ours:
                continue  # somebody's own, or `track` completes it
            if tags.get(MLFLOW_PARENT_RUN_ID) in runs or self._is_at_work(run):
                continue  # goes with its parent, if that goes
            text = (
                f"{self.uri}: run {identity} of {tags.get('variant', run.info.run_name)} is "
                "RUNNING, and nothing is at work on it; delete it with its children"
            )
            if BACKFILLED in tags and "git_commit" in tags:
                text += f" (or `foldwise track --rev {tags['git_commit'][:7]}` completes it)"
            yield Finding(text, functools.partial(_retire, self.uri, self.environment, identity))

    def not_mirrored(self) -> Iterator[Finding]:
        """Results that are not in the store, or not whole, or only as history."""
        shown = {run.data.tags.get(OUTPUTS) for run in self._current()}
        for source in self.sources:
            whole = experiments.is_complete(self.client, source)
            if not whole or source.outputs not in shown:
                yield _missing(source.name, self.track)

    def without_results(self) -> Iterator[Finding]:
        """Variants that the store shows as current, and whose results are not there."""
        there = {source.outputs for source in self.sources}
        names = {source.name for source in self.sources}
        studies = {source.study for source in self.sources}
        for run in self._current():
            name = run.data.tags.get("variant", str(run.info.run_name))
            study = run.data.tags.get("study")
            if run.data.tags.get(OUTPUTS) in there:
                continue
            text = f"{self.uri}: shows results of {name} as current that"
            if name in self.settings.variants and name not in names:
                yield Finding(
                    f"{text} are not in {paths.run(name)}/; `dvc pull train@{name}` brings them "
                    f"back, `dvc repro train@{name}` makes them again"
                )
            elif self.uri == place.store_uri(self.root) or study in studies:  # its own, or shared
                yield Finding(f"{text} the project no longer has; `foldwise track`", self.track)

    def _current(self) -> list[Run]:
        """The variants' complete runs that the store shows as the project's own."""
        shown = {"role": "variant", CURRENT: "true"}.items()
        runs = [run for run in self.runs if run.info.status != RUNNING]
        return [run for run in runs if shown <= run.data.tags.items()]

    def _is_at_work(self, run: Run) -> bool:
        """Whether something may still be writing a run; where that cannot be known, for a day.

        No other `track` is writing to a database while this process has it open. A training that
        is shown while it goes on holds the lock of its journal; a queued experiment's journal is
        elsewhere.
        """
        tags = run.data.tags
        if time.time() - experiments.created(run) / 1e9 > DAY:
            return False
        if LIVE not in tags:
            return place.database(self.uri) is None
        if not live.is_of(tags[LIVE], self.root):
            return True
        written = journal.read(self.root / paths.journal(tags.get("variant", "")))
        if written is None or written.status != journal.RUNNING:
            return False
        return tags[LIVE] == live.attempt(self.root, written.facts.started)


# --- files of a database's store --------------------------------------------------------------


def _files(path: Path) -> list[Finding]:
    """What is wrong with the artifacts of a database."""
    here = path.parent / place.ARTIFACTS
    address = f"{path.as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=store.BUSY_SECONDS)) as connection:

        def column(query: str) -> set[str]:
            return {str(value) for (value,) in connection.execute(query)}

        active = "FROM logged_models WHERE lifecycle_stage = 'active'"
        known = column("SELECT run_uuid FROM runs") | column(f"SELECT model_id {active}")
        ready = f"SELECT artifact_location {active} AND status = {LoggedModelStatus.READY.to_int()}"
        studies = f"experiment_tags USING (experiment_id) WHERE key = '{STUDY}'"
        homes = map(_local, column(f"SELECT artifact_location FROM experiments JOIN {studies}"))
        away = sorted({str(home.parent) for home in homes if home and home.parent != here})
        lost = {home for home in map(_local, column(ready)) if home and not home.exists()}
    anew = "move it away, and `foldwise track` (with --rev for older commits) builds a new one"
    findings = []
    if away:
        findings.append(Finding(f"{path}: was made for another folder, {', '.join(away)}; {anew}"))
    elif lost:
        findings.append(Finding(f"{path}: the files of {len(lost)} models are gone; {anew}"))
    return findings + _orphans(path, known)


def _orphans(path: Path, known: Collection[str]) -> list[Finding]:
    """Artifacts of runs and models that a database does not know."""
    here = path.parent / place.ARTIFACTS
    folders = [*here.glob("*/models/m-*"), *(f.parent for f in here.glob("*/*/artifacts"))]
    orphans = [folder for folder in folders if folder.name not in known]
    if not orphans:
        return []
    size = sum(file.stat().st_size for f in orphans for file in f.rglob("*") if file.is_file())
    return [
        Finding(
            f"{here}: {len(orphans)} folders ({size / 2**20:.1f} MiB) of runs and models that are "
            f"not in {path.name}; delete them (if you keep an older {path.name} elsewhere, it "
            "loses them)",
            lambda: list(map(shutil.rmtree, orphans)),
        )
    ]


# --- helpers ----------------------------------------------------------------------------------


def _sources(settings: Config, root: Path) -> list[FolderSource]:
    """The run folders that are there and whose manifest can be read."""
    sources = []
    for name in settings.variants:
        with suppress(ReadError):  # said by the look at the files
            sources.append(records.read(root, name, Origin(origin.user(), "foldwise doctor")))
    return [source for source in sources if source is not None]


def _missing(name: str, track: Fix) -> Finding:
    text = f"{paths.run(name)}: these results are not in MLflow, or not whole; `foldwise track`"
    return Finding(text, track)


def _retire(uri: str, environment: Environment, identity: str) -> None:
    with store.opened(uri, environment) as opened:
        run = opened.client.get_run(identity)
        children = experiments.search(
            opened.client, [run.info.experiment_id], experiments.of_parent(identity)
        )
        for each in (*children, run):
            experiments.retire(opened.client, each)


def _is_held(path: Path) -> bool:
    """Whether a process has a database's lock file."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _local(uri: str) -> Path | None:
    """The folder of a file address; None for any other."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
