"""Backfill: commits of the past → MLflow runs, from what git and DVC keep of them.

The workspace stays as it is. A commit's params.yaml, metrics/ and comparisons/ come from git, its
run folders from DVC's cache or, where they are not in it, from its remote. Together they make a
small project in a temporary folder, which is mirrored like any other. Only what the store lacks is
made: what it has, it has from a `track` that knew more.
"""

import functools
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from tqdm import tqdm

from foldwise import commits, results
from foldwise.commits import Side
from foldwise.core import files, paths
from foldwise.core.errors import ConfigError, ResultsError
from foldwise.tracking import Charts, Drawing, History, mirror, place, records, store, workshop
from foldwise.tracking.records import VariantRun
from foldwise.tracking.workshop import Workshop

SHORT = 7  # characters of a commit's hash


def backfill(
    root: Path, revisions: Sequence[str], environ: Mapping[str, str], drawing: Drawing | None
) -> History:
    """See `foldwise.tracking.backfill`."""
    asked = commits.resolve(revisions, root)
    first: dict[str, str] = {}  # dvc.lock → the oldest commit that has it
    for commit, lock in zip(asked, commits.locks(asked, root), strict=True):
        first.setdefault(lock, commit)
    first.pop("", None)
    history = History(place.store_uri(environ, root), commits=len(asked))
    with workshop.opened() as making:
        past = Past(root, environ, drawing, making, history)
        for commit in tqdm(
            first.values(), "backfill", unit="commit", file=sys.stderr, disable=None
        ):
            past.add(commit)
    return history


@dataclass
class Past:
    """Adds commits to a store, one after the other."""

    root: Path
    environ: Mapping[str, str]
    drawing: Drawing | None
    making: Workshop
    history: History
    known: set[str] = field(default_factory=set)  # outputs that the store has whole

    def add(self, commit: str) -> None:
        """Mirror the results of one commit that the store lacks; skip, with a word, the others."""
        try:
            side = commits.open_side(commit, self.root)
        except ConfigError as error:
            self.history.lacking[commit[:SHORT], str(error)] = []
            return
        with tempfile.TemporaryDirectory(prefix="foldwise-") as folder, side.files.repo:
            scratch, context = Path(folder), records.past(self.root, commit)
            runs = []
            for name in side.settings.variants:
                run = self._run(side, name, scratch, context)
                runs += [run] if run else []
            self._sync(side, scratch, runs)
            self.history.results += sum(run.outputs in self.known for run in runs)

    def _run(
        self, side: Side, name: str, scratch: Path, context: Mapping[str, str]
    ) -> VariantRun | None:
        """A variant's run as far as its manifest tells; None where it has none."""
        manifest = (paths.run(name) / results.MANIFEST).as_posix()
        if not side.files.exists(manifest):
            return None
        try:
            _get(side, [manifest], scratch)
            return records.read(scratch, name, context)
        except ResultsError as error:
            self._leave_out(side, name, error)
            return None

    def _sync(self, side: Side, scratch: Path, runs: Sequence[VariantRun]) -> None:
        lacking = self._lacking(runs)
        studies = {run.study for run in lacking}
        whole = [run for run in runs if run.study in studies and self._fetch(side, run, scratch)]
        lacking = [run for run in lacking if run in whole]
        if not lacking:
            return
        for folder in (paths.METRICS, paths.COMPARISONS):
            _get(side, side.files.find(folder.as_posix()), scratch)
        draw = self.drawing(side.settings, scratch) if self.drawing else None
        self.making.draw_with(functools.partial(_charts, draw) if draw else None)
        with store.opened(self.history.uri, self.environ) as opened:
            mirror.add(opened, lacking, self.making, self.history)
        self.known |= {run.outputs for run in lacking}

    def _lacking(self, runs: Iterable[VariantRun]) -> list[VariantRun]:
        """Those that the store does not have whole."""
        unknown = [run for run in runs if run.outputs not in self.known]
        if not unknown:
            return []
        with store.opened(self.history.uri, self.environ) as opened:
            lacking = [run for run in unknown if not mirror.is_complete(opened.client, run)]
        self.known |= {run.outputs for run in unknown if run not in lacking}
        return lacking

    def _fetch(self, side: Side, run: VariantRun, scratch: Path) -> bool:
        """Fetch a run folder whole; one that cannot be had is as if it were not there."""
        folder = paths.run(run.name)
        try:
            _get(side, side.files.find(folder.as_posix()), scratch)
            _verify(scratch, folder, run.manifest["files"])
        except ResultsError as error:
            self._leave_out(side, run.name, error)
            (scratch / folder / results.MANIFEST).unlink()
            return False
        return True

    def _leave_out(self, side: Side, name: str, reason: ResultsError) -> None:
        self.history.lacking.setdefault((side.name[:SHORT], str(reason)), []).append(name)


def _charts(draw: Charts, name: str) -> Mapping[str, bytes]:
    """Pictures of a commit's results, none where they are too old for what is drawn today."""
    try:
        return draw(name)
    except Exception:  # results of any age: rather without pictures than not at all
        return {}


def _verify(scratch: Path, folder: Path, digests: Mapping[str, str]) -> None:
    """That a run folder has the files that its manifest names, and the timeline.

    Older ones have other files than today's: `results.read` would refuse them.
    """
    for name, digest in {**digests, results.TIMELINE: None}.items():
        path = scratch / folder / name
        if not path.is_file() or digest not in (None, files.sha256(path)):
            raise ResultsError("their files are not whole, as DVC's cache has them")


def _get(side: Side, names: Iterable[Any], scratch: Path) -> None:
    """Copy files of a commit into a folder, under the same paths.

    Raises:
        ResultsError: one cannot be had.
    """
    for name in names:
        target = scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            side.files.get_file(name, str(target))
        except (OSError, DvcException) as error:
            raise ResultsError(
                f"in neither DVC's cache nor its remote ({type(error).__name__}); `dvc push "
                "--all-commits`, where they were made, brings them to the remote"
            ) from None
