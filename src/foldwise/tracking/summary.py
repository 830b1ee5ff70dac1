"""What tracking a workspace did, for people and for DVC."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from foldwise.core import files
from foldwise.core.errors import masked


@dataclass(frozen=True)
class Tracked:
    """What the store now holds of one variant; the same on every machine."""

    spec: str
    outputs: str
    status: str
    runs: int


@dataclass
class Summary:
    """What was done to a store. Counts are of MLflow runs, parents included."""

    uri: str
    tracked: dict[str, Tracked] = field(default_factory=dict)  # by variant
    missing: list[str] = field(default_factory=list)  # variants without a complete run folder
    created: int = 0  # that were not there
    adopted: int = 0  # that the live view had begun
    repaired: int = 0  # that an earlier `track` left incomplete
    updated: int = 0  # complete ones whose scores, verdict or currency changed
    skipped: int = 0  # that were complete and right
    mended: int = 0  # whose tags somebody had deleted or edited
    superseded: int = 0  # of results that the project no longer has
    retired: int = 0  # deleted: duplicates, and what is left of killed trainings
    registered: int = 0  # versions of registered models
    notes: list[str] = field(default_factory=list)  # on champions, and what was mended; a line each

    def __str__(self) -> str:
        lines = [f"{masked(self.uri)}: {self.counts() or 'nothing to track'}"]
        if self.missing:
            lines.append(f"not trained yet, so not tracked: {', '.join(self.missing)}")
        return "\n".join(lines + self.notes)

    def counts(self) -> str:
        """The counts that are not 0: "6 created, 1 skipped"."""
        names = [name for name, kind in Summary.__annotations__.items() if kind is int]
        counts = {name: getattr(self, name) for name in names}
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    def write_marker(self, path: Path) -> None:
        """Write what is tracked, for DVC: no ids, times or addresses, so the same bytes again.

        Raises:
            WriteError: it cannot be written.
        """
        runs = {name: asdict(tracked) for name, tracked in sorted(self.tracked.items())}
        files.write_json(path, {"runs": runs, "missing": sorted(self.missing)})
