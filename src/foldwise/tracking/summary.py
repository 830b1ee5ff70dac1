"""What tracking a workspace did, for people and for DVC."""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from foldwise.core import files
from foldwise.tracking.place import shown


@dataclass(frozen=True)
class Tracked:
    """What the store now holds of one variant; the same on every machine."""

    spec: str
    outputs: str
    status: str
    runs: int


@dataclass
class Summary:
    """What was done to a store. Counts are of MLflow runs, parents included.

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
        retired: runs that were deleted: duplicates, and what is left of killed trainings.
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
        lines = [f"{shown(self.uri)}: {self.counts() or 'nothing to track'}"]
        if self.missing:
            lines.append(f"not trained yet, so not tracked: {', '.join(self.missing)}")
        return "\n".join(lines + self.notes)

    def counts(self) -> str:
        """The counts that are not 0: "6 created, 1 skipped"."""
        counts = {f.name: getattr(self, f.name) for f in fields(Summary)}
        return ", ".join(f"{n} {name}" for name, n in counts.items() if isinstance(n, int) and n)


def write_marker(path: Path, summary: Summary) -> None:
    """Write what is tracked, for DVC: no ids, times or addresses, so a rerun is byte-identical.

    Raises:
        WriteError: it cannot be written.
    """
    runs = {name: asdict(tracked) for name, tracked in sorted(summary.tracked.items())}
    files.write_json(path, {"runs": runs, "missing": sorted(summary.missing)})
