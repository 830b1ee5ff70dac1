"""Mirror run folders to MLflow: the files are the truth, the store can always be rebuilt.

The only package that imports mlflow, and only once something is asked of it: importing this
module stays quick and changes nothing.

- `place`: where the store is; no mlflow.
- `records`: run folders → what one MLflow run is to say; no mlflow.
- `store`: open a store safely; every failure becomes one clear `TrackingError`.
- `models`: the trained networks as MLflow models.
- `mirror`: create what is missing, mend what is incomplete, leave the rest alone.
- `live`: show trainings while they go on; `mirror` takes their runs over.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from foldwise import files
from foldwise.config import Config
from foldwise.tracking.place import TELEMETRY_OFF, store_uri, ui_command

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "TELEMETRY_OFF",
    "Summary",
    "Tracked",
    "follow",
    "prepare",
    "runs_table",
    "store_uri",
    "track",
    "ui_command",
    "without_telemetry",
    "write_marker",
]

Charts = Callable[[str], Mapping[str, bytes]]


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

    def __str__(self) -> str:
        names = ("created", "adopted", "repaired", "updated", "skipped", "superseded", "retired")
        counts = [f"{getattr(self, name)} {name}" for name in names if getattr(self, name)]
        lines = [f"{self.uri}: {', '.join(counts) or 'nothing to track'}"]
        if self.missing:
            lines.append(f"not trained yet, so not tracked: {', '.join(self.missing)}")
        return "\n".join(lines)


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
        charts: variant name → file name → PNG, shown with the variant's run.

    Raises:
        TrackingError: the store cannot be reached, read or written; what is on disk is safe,
            and the same command completes the mirror.
        ResultsError: a run folder is damaged.
    """
    without_telemetry()
    from foldwise.tracking import mirror

    return mirror.mirror(config, root.resolve(), environ, charts)


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
    from foldwise.tracking import live

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


def runs_table(uri: str, study: str | None = None) -> "pd.DataFrame":
    """Every run of a store, or of one study: a line each, with its tags and latest metrics.

    Columns: run_id, study, variant, role, split, status, current, spec, outputs, metrics.*.
    """
    without_telemetry()
    from foldwise.tracking import mirror

    return mirror.runs_table(uri, study)


def write_marker(path: Path, summary: Summary) -> None:
    """Write what is tracked, for DVC: no ids, times or addresses, so a rerun is byte-identical."""
    runs = {name: vars(tracked) for name, tracked in sorted(summary.tracked.items())}
    files.write_json(path, {"runs": runs, "missing": sorted(summary.missing)})


def without_telemetry() -> None:
    """Keep mlflow from reporting its use to anybody; call it before mlflow is imported."""
    os.environ.update(TELEMETRY_OFF)
