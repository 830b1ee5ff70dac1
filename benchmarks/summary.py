"""Medians, ratios and tables. Pure; imports nothing heavy."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

Results = Mapping[str, Any]  # as `harness.measure` returns it


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


def rounds(results: Results, contender: str) -> list[dict[str, float]]:
    """For each round of a contender, milliseconds per model or per step by variant."""
    found = [
        {s["workload"].split("/")[0]: 1000 * s["seconds"] / s["count"] for s in run["samples"]}
        for run in results["runs"].get(contender, [])
        if "skipped" not in run
    ]
    return [times for times in found if times]


def times(results: Results, contender: str, variant: str) -> Spread | None:
    """Milliseconds per model or per step of one variant."""
    return spread([r[variant] for r in rounds(results, contender) if variant in r])


def ratios(results: Results, slow: str, fast: str) -> list[float]:
    """How many times as long `slow` takes as `fast`, for each round that both have.

    Rounds are paired, because the machine's speed drifts; within a round the times of the
    variants that both trained are averaged first.
    """
    pairs = zip(rounds(results, slow), rounds(results, fast), strict=False)
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


def fastest(results: Results, contenders: Iterable[str]) -> str | None:
    """The contender whose median over rounds, averaged over variants, is smallest."""
    found = {}
    for name in contenders:
        measured = [fmean(r.values()) for r in rounds(results, name)]
        if measured:
            found[name] = median(measured)
    return min(found, key=lambda name: found[name]) if found else None


def fact(results: Results, contender: str, name: str) -> float | None:
    """Median over rounds of one of a contender's own facts or costs."""
    runs = results["runs"].get(contender, [])
    values = [{**run, **run.get("facts", {})}.get(name) for run in runs]
    known = [value for value in values if value is not None]
    return median(known) if known else None


def skipped(results: Results, contender: str) -> str | None:
    """Why a contender did not run."""
    reasons = [run["skipped"] for run in results["runs"].get(contender, []) if "skipped" in run]
    return reasons[0] if reasons else None


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown whose columns are padded, so that it reads in a terminal; numbers to the right.

    A header that starts with `>` is of a column of numbers.
    """
    right = [header.startswith(">") for header in headers]
    lines = [[header.removeprefix(">") for header in headers], *[list(row) for row in rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(headers))]
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    shown = [_line(line, widths, right) for line in lines]
    return "\n".join([shown[0], _line(rule, widths, right), *shown[1:]])


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if at_right else cell.ljust(width)
        for cell, width, at_right in zip(cells, widths, right, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
