"""Mirror run folders to MLflow: the files are the truth, the store can always be rebuilt.

The only package that imports mlflow, and only once something is asked of it: importing this
module stays quick and changes nothing.

- `place`: where the store is; no mlflow.
- `records`: run folders → what one MLflow run is to say; no mlflow.
- `store`: open a store safely; every failure becomes one clear `TrackingError`.
- `models`: the trained networks as MLflow models.
- `workshop`: a process that makes the files of models and pictures, ahead of the store.
- `served`: how such a model is loaded and asked; a copy travels inside each of them.
- `mirror`: create what is missing, mend what is incomplete, leave the rest alone.
- `live`: show trainings while they go on; `mirror` takes their runs over.
- `registry`: a registered model per study, a version per result, and who is champion.
- `loading`: the address of a model → the model.
- `history`: the same for the results of older commits.
- `health`: what is wrong with a store, and what mends it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from foldwise.core import files
from foldwise.core.config import Config
from foldwise.tracking.place import CHAMPION, TELEMETRY_OFF, is_built, shown, store_uri, ui_command

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = [
    "CHAMPION",
    "TELEMETRY_OFF",
    "History",
    "Predictor",
    "Summary",
    "Tracked",
    "backfill",
    "follow",
    "is_built",
    "load_model",
    "prepare",
    "promote",
    "runs_table",
    "store_uri",
    "track",
    "ui_command",
    "without_telemetry",
    "write_marker",
]

Charts = Callable[[str], Mapping[str, bytes]]
Drawing = Callable[[Config, Path], Charts]


@dataclass(frozen=True)
class Tracked:
    """What the store now holds of one variant; the same on every machine."""

    spec: str
    outputs: str
    status: str
    runs: int


@dataclass
class Summary:
    """What `track` did. Counts are of MLflow runs, parents included.

    Attributes:
        uri: the store.
        tracked: by variant.
        missing: declared variants that have no complete run folder.
        created: runs that were not there.
        adopted: runs that the live view had begun.
        repaired: runs that an earlier `track` left incomplete.
        updated: complete runs whose scores, verdict or currency changed.
        skipped: runs that were complete and right.
        superseded: runs of results that the project no longer has.
        retired: duplicates that were deleted, and what the live view left of killed trainings.
        retired: duplicates that were deleted.
        registered: versions of registered models that were added.
        notes: what happened to the champions, a line each.
    """

    uri: str
    tracked: dict[str, Tracked] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    created: int = 0
    adopted: int = 0
    repaired: int = 0
    updated: int = 0
    skipped: int = 0
    superseded: int = 0
    retired: int = 0
    registered: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{shown(self.uri)}: {self._counts() or 'nothing to track'}"]
        if self.missing:
            lines.append(f"not trained yet, so not tracked: {', '.join(self.missing)}")
        return "\n".join(lines + self.notes)

    def _counts(self) -> str:
        counts = {f.name: getattr(self, f.name) for f in fields(Summary)}
        return ", ".join(f"{n} {name}" for name, n in counts.items() if isinstance(n, int) and n)


@dataclass(frozen=True)
class Predictor:
    """A trained network with its preprocessing inside.

    Attributes:
        place: where it was found.
        variant: whose it is.
        synthetic: whether it was trained on the built-in stand-in.
        shape: of one raw row.
        class_names: K names.
        predict: raw rows (N, *shape) → probabilities (N, K).
    """

    place: str
    variant: str
    synthetic: bool
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    predict: "Callable[[np.ndarray], np.ndarray]"

    def __str__(self) -> str:
        warning = ", trained on SYNTHETIC data" if self.synthetic else ""
        return f"{self.variant} ({self.place}{warning})"


@dataclass
class History(Summary):
    """What `backfill` did.

    Attributes:
        commits: how many were asked for.
        results: how often one of them has a variant's results that the store now holds.
        lacking: (commit, reason) → the variants that cannot be read; none where it is all of it.
    """

    commits: int = 0
    results: int = 0
    lacking: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        commits = "1 commit" if self.commits == 1 else f"{self.commits} commits"
        done = self._counts() or ("nothing to add" if self.results else "no results")
        lines = [
            f"not tracked: {commit}: {', '.join(variants)}{': ' if variants else ''}{reason}"
            for (commit, reason), variants in self.lacking.items()
        ]
        return "\n".join([f"{commits}: {done}", *lines])

    @property
    def failed(self) -> bool:
        """Whether there was something to track, and none of it could be read."""
        return bool(self.lacking) and not self.results


def track(
    config: Config,
    root: Path,
    environ: Mapping[str, str] = os.environ,
    charts: Charts | None = None,
) -> Summary:
    """Mirror the runs of all declared variants to the MLflow store; twice adds nothing.

    Args:
        config: its variants are mirrored; runs of others become history.
        root: the project's root.
        environ: MLFLOW_TRACKING_URI, DVC_EXP_NAME and DVC_EXP_BASELINE_REV are read.
        charts: variant name → file name → PNG, shown with the variant's run. Another process
            calls it: a function of a module, or what else pickle can send.

    Raises:
        TrackingError: the store cannot be reached, read or written; what is on disk is safe,
            and the same command completes the mirror.
        ResultsError: a run folder is damaged.
    """
    without_telemetry()
    from foldwise.tracking import workshop

    with workshop.opened() as opened:
        opened.draw_with(charts)  # first of all, so that both import at the same time
        from foldwise.tracking import mirror

        return mirror.mirror(config, root.resolve(), environ, opened)


def follow(
    root: Path,
    environ: Mapping[str, str] = os.environ,
    interval: float = 10.0,
    going: Callable[[], bool] = lambda: True,
) -> None:
    """Show the trainings of a project in the MLflow store as they go on, until Ctrl-C.

    `track` takes over what this has begun, and deletes what it leaves of killed trainings. A
    store that fails is tried again, with everything that it missed.

    Args:
        root: the project's root.
        environ: as for `track`.
        interval: seconds between two looks at the journals.
        going: asked before every look whether to go on.

    Raises:
        TrackingError: the project's path cannot be part of a database's address.
    """
    without_telemetry()
    from foldwise import watching as live

    live.follow(root.resolve(), environ, interval, going)


def prepare(root: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Make the store where there is none yet.

    Raises:
        TrackingError: it cannot be made, reached or read.
    """
    without_telemetry()
    from foldwise.tracking import store

    with store.opened(store_uri(environ, root), environ):
        pass


def backfill(
    root: Path,
    revisions: Sequence[str],
    environ: Mapping[str, str] = os.environ,
    drawing: Drawing | None = None,
) -> History:
    """Mirror the results of older commits that the store lacks, tagged with their commit.

    They are history: not current, not dirty, `foldwise.backfilled`. `track` the workspace first,
    or its own results count as history, too, until it is tracked.

    Args:
        root: the project's root.
        revisions: commits, tags, branches, DVC experiments, or ranges like `v1..HEAD`.
        environ: MLFLOW_TRACKING_URI is read.
        drawing: settings and project folder → what `track` takes as `charts`.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
        TrackingError: as of `track`.
    """
    without_telemetry()
    from foldwise import backfill as history

    return history.backfill(root.resolve(), revisions, environ, drawing)


def runs_table(uri: str, study: str | None = None) -> "pd.DataFrame":
    """Every run of a store, or of one study: a line each, with its tags and latest metrics.

    Columns: run_id, study, variant, role, split, status, current, spec, outputs, metrics.*.
    """
    without_telemetry()
    from foldwise.tracking import mirror

    return mirror.runs_table(uri, study)


def promote(
    config: Config,
    root: Path,
    environ: Mapping[str, str],
    variant: str,
    study: str | None = None,
    why: str = "",
) -> str:
    """Make the present results of a variant its study's champion by hand; says so in one line.

    Args:
        config: knows the variant's study.
        root: the project's root.
        environ: MLFLOW_TRACKING_URI is read.
        variant: its name.
        study: where the variant is not declared any more.
        why: kept as a tag of the version.

    Raises:
        ConfigError: no such variant is declared.
        TrackingError: the store cannot be used, has no version of the variant's present
            results, or that version was tracked with uncommitted changes or by an experiment.
    """
    without_telemetry()
    from foldwise.tracking import champions as registry
    from foldwise.tracking import records, store

    study = study or config.variant(variant).study
    user = records.context(root, environ)["mlflow.user"]
    with store.opened(store_uri(environ, root), environ) as opened:
        return registry.promote(opened.client, study, variant, user, why)


def load_model(address: str, root: Path, environ: Mapping[str, str] = os.environ) -> Predictor:
    """A model that `track` has logged.

    Args:
        address: `models:/<study>@champion`, `runs:/<id>/model`, any other address that MLflow
            knows, or a model's folder.
        root: the project's root.
        environ: MLFLOW_TRACKING_URI is read.

    Raises:
        TrackingError: there is none, or not one of foldwise.
    """
    without_telemetry()
    from foldwise.tracking import loading

    return loading.load(address, store_uri(environ, root), environ)


def write_marker(path: Path, summary: Summary) -> None:
    """Write what is tracked, for DVC: no ids, times or addresses, so a rerun is byte-identical."""
    runs = {name: vars(tracked) for name, tracked in sorted(summary.tracked.items())}
    files.write_json(path, {"runs": runs, "missing": sorted(summary.missing)})


def without_telemetry() -> None:
    """Keep mlflow from reporting its use to anybody; call it before mlflow is imported."""
    os.environ.update(TELEMETRY_OFF)
