"""What one measurement is. Imports nothing heavy: the harness itself must stay small."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from benchmarks.machine import Machine
from benchmarks.protocol import EPOCHS
from foldwise.core.files import Record


@dataclass(frozen=True)
class Size:
    """How much work a contender does in one round.

    Attributes:
        epochs: of a Sonar model. Fewer than `EPOCHS` are scaled up to whole models.
        folds: Sonar folds that the slow, one-by-one loops train.
        steps: CIFAR-10 steps that they take, after `warm_up` more.
        warm_up: steps before the clock starts.
        rows: CIFAR-10 rows that the fast contenders use, a multiple of 10; all of them if None.
        scikit_rows: rows that scikit-learn and skorch take one epoch on.
    """

    epochs: int = EPOCHS
    folds: int = 2
    steps: int = 300
    warm_up: int = 50
    rows: int | None = None
    scikit_rows: int = 5_000


FULL = Size()
QUICK = Size(epochs=30, folds=1, steps=60, warm_up=10, rows=2_000, scikit_rows=600)


@dataclass(frozen=True)
class Sample:
    """One timed piece of work.

    Attributes:
        workload: what was trained, such as `sonar-baseline/100`: a variant and how many splits.
        seconds: wall-clock time.
        count: what was done in it: models of 300 epochs, or steps of one model.
        started: Unix time at which the clock started.
        accuracies: on held-out rows, where the contender takes them; to see that it learns.
    """

    workload: str
    seconds: float
    count: float
    started: float
    accuracies: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Per model or per step."""
        return 1000 * self.seconds / self.count


@dataclass(frozen=True)
class Outcome:
    """What a contender gives back: its samples, compilation apart, and facts of its own."""

    samples: list[Sample] = field(default_factory=list)
    compile_seconds: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)


class Round(Record):
    """One round of one contender, in a process of its own.

    Attributes:
        skipped: why it did not run; then there is nothing else.
        samples: see `Outcome`, like `compile_seconds` and `facts`.
        peak_bytes: memory of the largest process.
        startup_seconds: imports and data, without compilation.
    """

    skipped: str | None = None
    samples: list[Sample] = Field(default_factory=list)
    compile_seconds: float = 0.0
    facts: dict[str, float] = Field(default_factory=dict)
    peak_bytes: int | None = None
    startup_seconds: float | None = None


Runs = Mapping[str, Sequence[Round]]  # contender → its rounds


class Settings(Record):
    """How it was measured."""

    rounds: int
    quick: bool
    date: str


class Results(Record):
    """benchmarks/results.json."""

    machine: Machine
    settings: Settings
    runs: dict[str, list[Round]]


class SkipError(Exception):
    """A contender cannot run here; the message says why."""


def timed(workload: str, count: float, work: Callable[[], Any]) -> Sample:
    """Run `work` on the clock; a list that it returns counts as accuracies."""
    started, clock = time.time(), time.perf_counter()
    found = work()
    seconds = time.perf_counter() - clock
    accuracies = [float(a) for a in found] if isinstance(found, list) else []
    return Sample(workload, seconds, count, started, accuracies)
