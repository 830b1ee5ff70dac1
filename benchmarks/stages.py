"""Reading what `dvc repro` prints: which stage ran when. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

RUNNING = re.compile(r"Running stage '([^']+)'")


@dataclass(frozen=True)
class Stage:
    """Attributes: name, and seconds until the next stage or the end, DVC's own work included."""

    name: str
    seconds: float

    @property
    def kind(self) -> str:
        """`train` of `train@sonar-baseline`."""
        return self.name.partition("@")[0]


def stages(lines: Iterable[tuple[float, str]], end: float) -> tuple[float, list[Stage]]:
    """Stage times from lines of output and when each was printed.

    Args:
        lines: (seconds since the start, line).
        end: seconds since the start at which the command ended.

    Returns:
        Seconds until the first stage, and the stages in order.
    """
    starts = [(at, found[1]) for at, line in lines if (found := RUNNING.search(line))]
    if not starts:
        return end, []
    ends = [*[at for at, _ in starts[1:]], end]
    return starts[0][0], [Stage(name, b - a) for (a, name), b in zip(starts, ends, strict=True)]


def by_kind(found: Iterable[Stage]) -> dict[str, list[float]]:
    """Seconds of every stage, by what comes before the @."""
    kinds: dict[str, list[float]] = {}
    for stage in found:
        kinds.setdefault(stage.kind, []).append(stage.seconds)
    return kinds
