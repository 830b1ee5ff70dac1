"""Medians and ratios of rounds. Pure; imports nothing heavy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from benchmarks.measuring import Runs

Cost = Literal["peak_bytes", "startup_seconds", "compile_seconds"]


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float

    def show(self, digits: int = 1, unit: str = "") -> str:
        """Such as `17.3× (16.0–18.1)`; a single round has no range."""
        middle = f"{self.median:,.{digits}f}{unit}"
        if self.low == self.high:
            return middle
        return f"{middle} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """None where there is no value."""
    return Spread(median(values), min(values), max(values)) if values else None


def rounds(runs: Runs, contender: str) -> list[dict[str, float]]:
    """For each round of a contender, milliseconds per model or per step by variant."""
    found = [
        {sample.workload.split("/")[0]: sample.milliseconds for sample in one.samples}
        for one in runs.get(contender, [])
    ]
    return [times for times in found if times]


def times(runs: Runs, contender: str, variant: str) -> Spread | None:
    """Milliseconds per model or per step of one variant."""
    return spread([r[variant] for r in rounds(runs, contender) if variant in r])


def ratios(runs: Runs, slow: str, fast: str) -> list[float]:
    """How many times as long `slow` takes as `fast`, for each round that both have.

    Rounds are paired, because the machine's speed drifts; within a round the times of the
    variants that both trained are averaged first.
    """
    pairs = zip(rounds(runs, slow), rounds(runs, fast), strict=False)
    return [_ratio(a, b) for a, b in pairs if a.keys() & b.keys()]


def _ratio(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    common = sorted(a.keys() & b.keys())
    return fmean(a[v] for v in common) / fmean(b[v] for v in common)


def ratio_of_medians(above: Sequence[float], below: Sequence[float]) -> Spread | None:
    """Median over median; the range is that of the pairs."""
    if not above or not below:
        return None
    pairs = [a / b for a, b in zip(above, below, strict=True)]
    return Spread(median(above) / median(below), min(pairs), max(pairs))


def fastest(runs: Runs, contenders: Iterable[str]) -> str | None:
    """The contender whose median over rounds, averaged over variants, is smallest."""
    found = {}
    for name in contenders:
        measured = [fmean(r.values()) for r in rounds(runs, name)]
        if measured:
            found[name] = median(measured)
    return min(found, key=lambda name: found[name]) if found else None


def fact(runs: Runs, contender: str, name: str) -> float | None:
    """Median over rounds of one of a contender's own facts."""
    values = [one.facts[name] for one in runs.get(contender, []) if name in one.facts]
    return median(values) if values else None


def cost(runs: Runs, contender: str, name: Cost) -> float | None:
    """Median over rounds of what a contender took besides time."""
    values = [getattr(one, name) for one in runs.get(contender, [])]
    known = [value for value in values if value]
    return median(known) if known else None


def skipped(runs: Runs, contender: str) -> str | None:
    """Why a contender did not run."""
    return next((one.skipped for one in runs.get(contender, []) if one.skipped), None)
