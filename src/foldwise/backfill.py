"""Backfill: commits of the past → MLflow runs, from what git and DVC keep of them.

The workspace stays as it is. A commit's params.yaml, metrics/ and comparisons/ come from git, its
run folders from DVC's cache or, where they are not in it, from its remote. Together they make a
small project in a temporary folder, which is mirrored like any other. Only what the store lacks is
made: what it has, it has from a `track` that knew more.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from foldwise import commits
from foldwise.commits import Snapshot
from foldwise.core import files, paths
from foldwise.core.config import Config
from foldwise.core.environment import Environment
from foldwise.core.errors import ConfigError, DamagedError, ReadError
from foldwise.results.runs import MANIFEST, TIMELINE
from foldwise.tracking import experiments, mirror, origin, place, records, store, workshop
from foldwise.tracking.records import FolderSource
from foldwise.tracking.summary import Summary
from foldwise.tracking.workshop import Charts, Workshop

SHORT = 7  # characters of a commit's hash
Drawing = Callable[[Config, Path], Charts]


@dataclass
class History(Summary):
    """What a backfill did.

    `lacking` has by commit and reason the variants that cannot be read; none where it is all of it.
    """

    commits: int = 0  # that were asked for
    results: int = 0  # of variants in them that the store now holds
    lacking: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        commits = "1 commit" if self.commits == 1 else f"{self.commits} commits"
        done = self.counts() or ("nothing to add" if self.results else "no results")
        lines = [
            f"not tracked: {commit}: {', '.join(variants)}{': ' if variants else ''}{reason}"
            for (commit, reason), variants in self.lacking.items()
        ]
        return "\n".join([f"{commits}: {done}", *lines])

    @property
    def failed(self) -> bool:
        """Whether there was something to track, and none of it could be read."""
        return bool(self.lacking) and not self.results


def backfill(
    root: Path, revisions: Sequence[str], environment: Environment, drawing: Drawing | None = None
) -> History:
    """Mirror the results of older commits that the store lacks, tagged with their commit.

    They are history: not current, not dirty, `foldwise.backfilled`. `track` the workspace first,
    or its own results count as history, too, until it is tracked.

    Args:
        root: the project's root.
        revisions: commits, tags, branches, DVC experiments, or ranges like `v1..HEAD`.
        environment: says where the store is.
        drawing: settings and project folder → what `track` takes as `charts`.

    Raises:
        ComparisonError: no such revision, or the project is in no git repository.
        TrackingError: as of `track`.
    """
    root = root.resolve()
    asked = commits.resolve(revisions, root)
    first: dict[str, str] = {}  # dvc.lock → the oldest commit that has it
    for commit in asked:
        first.setdefault(commits.lock(commit, root), commit)
    first.pop("", None)
    history = History(place.store_uri(root, environment), commits=len(asked))
    with workshop.opened(None) as making:
        past = Past(root, environment, drawing, making, history)
        for commit in tqdm(first.values(), "backfill", unit="commit", disable=None):
            past.add(commit)
    return history


@dataclass
class Past:
    """Adds commits to a store, one after the other."""

    root: Path
    environment: Environment
    drawing: Drawing | None
    making: Workshop
    history: History
    whole: set[str] = field(default_factory=set)  # outputs that the store has whole

    def add(self, commit: str) -> None:
        """Mirror the results of one commit that the store lacks; name those that cannot be read."""
        with (
            commits.opened(commit, self.root) as snapshot,
            tempfile.TemporaryDirectory(prefix="foldwise-") as folder,
        ):
            try:
                variants = [*snapshot.settings.variants]
            except ConfigError as error:
                self.history.lacking[commit[:SHORT], str(error)] = []
                return
            scratch = Path(folder)
            sources = self._read(snapshot, variants, scratch)
            self._sync(snapshot, scratch, sources)
            self.history.results += sum(source.outputs in self.whole for source in sources)

    def _read(
        self, snapshot: Snapshot, variants: Sequence[str], scratch: Path
    ) -> list[FolderSource]:
        """The results that variants have, as far as their manifests tell."""
        start, sources = origin.of_commit(self.root, snapshot.name), []
        for name in variants:
            manifest = paths.run(name) / MANIFEST
            try:
                if snapshot.has(manifest):
                    snapshot.copy(manifest, scratch)
                    sources.append(records.read(scratch, name, start))
            except ReadError as error:
                self._leave_out(snapshot, name, error)
        return [source for source in sources if source is not None]

    def _sync(self, snapshot: Snapshot, scratch: Path, sources: Sequence[FolderSource]) -> None:
        lacking = self._lacking(sources)
        studies = {source.study for source in lacking}
        whole = [  # those that are there already, too: the pictures of a study show all of it
            source
            for source in sources
            if source.study in studies and self._fetch(snapshot, source, scratch)
        ]
        lacking = [source for source in lacking if source in whole]
        if not lacking:
            return
        for folder in (paths.METRICS, paths.COMPARISONS):
            snapshot.copy(folder, scratch)
        draw = self.drawing(snapshot.settings, scratch) if self.drawing else None
        making = self.making._replace(charts=functools.partial(_charts, draw) if draw else None)
        with store.opened(self.history.uri, self.environment) as opened:
            mirror.add(opened, lacking, making, self.history)
        self.whole |= {source.outputs for source in lacking}

    def _lacking(self, sources: Sequence[FolderSource]) -> list[FolderSource]:
        """Those that the store does not have whole."""
        unknown = [source for source in sources if source.outputs not in self.whole]
        if not unknown:
            return []
        with store.opened(self.history.uri, self.environment) as opened:
            lacking = [x for x in unknown if not experiments.is_complete(opened.client, x)]
        self.whole |= {source.outputs for source in unknown if source not in lacking}
        return lacking

    def _fetch(self, snapshot: Snapshot, source: FolderSource, scratch: Path) -> bool:
        """Fetch a run folder whole; one that cannot be had is as if it were not there."""
        folder = paths.run(source.name)
        try:
            snapshot.copy(folder, scratch)
            _verify(scratch / folder, source.manifest.files)
        except ReadError as error:
            self._leave_out(snapshot, source.name, error)
            (scratch / folder / MANIFEST).unlink()
            return False
        return True

    def _leave_out(self, snapshot: Snapshot, name: str, reason: ReadError) -> None:
        key = snapshot.name[:SHORT], str(reason)
        self.history.lacking.setdefault(key, []).append(name)


def _charts(draw: Charts, name: str) -> Mapping[str, bytes]:
    """Pictures of a commit's results, none where they are too old for what is drawn today."""
    try:
        return draw(name)
    except Exception:  # results of any age: rather without pictures than not at all
        return {}


def _verify(folder: Path, digests: Mapping[str, str]) -> None:
    """That a run folder has the files that its manifest names, and the timeline.

    Older ones have other files than today's: `RunFolder.check` would refuse them.
    """
    for name, digest in {**digests, TIMELINE: None}.items():
        path = folder / name
        if not path.is_file() or digest not in (None, files.sha256(path)):
            raise DamagedError("their files are not whole, as DVC's cache has them")
