"""What the engine is to reach, and whether it did."""

from dataclasses import dataclass

from benchmarks.floor import floors
from benchmarks.measuring import Runs
from benchmarks.summary import Spread, fact, fastest, ratios, rounds, spread, times
from foldwise.wording.numbers import NONE

SONAR = ("foldwise-sonar-1", "foldwise-sonar-3", "foldwise-sonar-10", "foldwise-sonar-30")
DROPOUTS = ("sonar-input-dropout", "sonar-hidden-dropout")
GIB = 2**30


@dataclass(frozen=True)
class Target:
    """Attributes: what it is, the figure, its limit, whether more is better, unit and digits."""

    text: str
    found: Spread | None
    limit: float
    at_least: bool
    unit: str = "×"
    digits: int = 1

    @property
    def reached(self) -> bool | None:
        """Whether the median is on the right side of the limit; None if nothing was measured."""
        if self.found is None:
            return None
        value = self.found.median
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def row(self) -> list[str]:
        """Such as `Sonar: times as fast as …`, `17.3× (16.0–18.1)`, `≥ 15×`, `reached`."""
        word = {True: "reached", False: "missed", None: "not measured"}[self.reached]
        found = self.found.show(self.digits, self.unit) if self.found else NONE
        goal = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        return [self.text, found, goal, word]


def targets(runs: Runs) -> list[Target]:
    """All of them, in the order of importance."""
    return [
        _speed(runs, "3 Sonar variants × 10 folds", "sonar", SONAR[0], 33),
        _speed(runs, "3 Sonar variants × 10 folds × 10 repeats", "sonar", SONAR[2], 45),
        Target("slowest dropout variant: time relative to the baseline", _dropout(runs), 1.5,
               False),
        _speed(runs, "CIFAR-10", "cifar", "foldwise-cifar", 28),
        *_cifar_steps(runs),
        *_against_jax(runs),
        Target("Sonar × 10 repeats and CIFAR-10: memory of the largest process", _memory(runs),
               2.0, False, " GiB", 2),
        Target("Sonar baseline, one core: time relative to the floor", _floor(runs), 2.5, False),
        Target("Sonar, 5 repeats more (5 → 10): CPU seconds relative to all 10 from nothing",
               _more(runs), 0.55, False, digits=2),
        *_gpu(runs),
    ]  # fmt: skip


def _speed(runs: Runs, text: str, loop: str, contender: str, limit: float) -> Target:
    found = spread(ratios(runs, f"notebook-{loop}", contender))
    return Target(f"{text}: times as fast as the notebook's loop", found, limit, True)


def _dropout(runs: Runs) -> Spread | None:
    found = rounds(runs, SONAR[2])
    return spread([max(r[name] for name in DROPOUTS) / r["sonar-baseline"] for r in found])


def _cifar_steps(runs: Runs) -> list[Target]:
    return [
        Target(f"{variant}: a step of one model",
               times(runs, "foldwise-cifar", variant), 0.25, False, " ms", 3)
        for variant in ("cifar10-plain", "cifar10-batchnorm")
    ]  # fmt: skip


def _against_jax(runs: Runs) -> list[Target]:
    """Time over the time of whichever of JAX's two ways to use the cores is faster."""
    return [
        _jax(runs, "Sonar × 10 folds", SONAR[0], ("jax-sonar-1", "jax-sonar-1-processes"), 1.0),
        _jax(runs, "Sonar × 100", SONAR[2], ("jax-sonar-10", "jax-sonar-10-processes"), 1.0),
        _jax(runs, "CIFAR-10", "foldwise-cifar", ("jax-cifar-1", "jax-cifar-2"), 0.55),
    ]


def _jax(runs: Runs, text: str, ours: str, theirs: tuple[str, str], limit: float) -> Target:
    best = fastest(runs, theirs)
    found = spread(ratios(runs, ours, best)) if best else None
    who = f" ({best})" if best else ""
    label = f"{text}: time relative to JAX's scan{who}, without its compilation"
    return Target(label, found, limit, False, digits=2)


def _memory(runs: Runs) -> Spread | None:
    found = [fact(runs, name, "peak_process_bytes") for name in (SONAR[2], "foldwise-cifar")]
    known = [value / GIB for value in found if value is not None]
    return spread([max(known)]) if known else None


def _floor(runs: Runs) -> Spread | None:
    """Distance of the rounds from the floor that the machine's medians give."""
    line = next((line for line in floors(runs) if line.found is not None), None)
    found = rounds(runs, "foldwise-sonar-one-core")
    return spread([each["sonar-baseline"] / line.floor for each in found]) if line else None


def _more(runs: Runs) -> Spread | None:
    facts = [one.facts for one in runs.get("foldwise-more-repeats", []) if one.facts]
    return spread([each["five_more_cpu"] / each["all_ten_cpu"] for each in facts])


def _gpu(runs: Runs) -> list[Target]:
    """Only where there is a GPU."""
    found = rounds(runs, "foldwise-gpu")
    limits = {"cifar10": 15.0, "sonar": 6.0}
    return [
        Target(f"GPU: all {study} variants of params.yaml", _seconds(found, study), limit, False,
               " s")
        for study, limit in limits.items()
        if found
    ]  # fmt: skip


def _seconds(found: list[dict[str, float]], study: str) -> Spread | None:
    """Seconds of all variants whose name starts with the study's."""
    return spread([sum(ms for v, ms in r.items() if v.startswith(study)) / 1000 for r in found])
