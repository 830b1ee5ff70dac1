"""What the engine is to reach, and whether it did."""

from dataclasses import dataclass

from benchmarks.summary import Results, Spread, fact, fastest, ratios, rounds, spread, times

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

    def line(self) -> str:
        """Such as `reached  Sonar, …: 17.3× (16.0–18.1); goal ≥ 15×`."""
        word = {True: "reached", False: "missed", None: "not measured"}[self.reached]
        goal = f"goal {'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        found = f": {self.found.show(self.digits, self.unit)}" if self.found else ""
        return f"**{word}**  {self.text}{found}; {goal}"


def targets(results: Results) -> list[Target]:
    """All of them, in the order of importance."""
    return [
        _speed(results, "3 Sonar variants × 10 folds, per model", "sonar", SONAR[0], 15),
        _speed(results, "3 Sonar variants × 10 folds × 10 repeats", "sonar", SONAR[2], 35),
        Target("slowest dropout variant against the baseline", _dropout(results), 1.5, False),
        _speed(results, "CIFAR-10, throughput of all cores", "cifar", "foldwise-cifar", 20),
        *_cifar_steps(results),
        *_against_jax(results),
        Target("largest process, Sonar × 10 repeats and CIFAR-10", _memory(results), 2.0, False,
               " GiB", 2),
        *_gpu(results),
    ]  # fmt: skip


def _speed(results: Results, text: str, loop: str, contender: str, limit: float) -> Target:
    found = spread(ratios(results, f"notebook-{loop}", contender))
    return Target(f"{text}, against the notebook's loop", found, limit, True)


def _dropout(results: Results) -> Spread | None:
    found = rounds(results, SONAR[2])
    return spread([max(r[name] for name in DROPOUTS) / r["sonar-baseline"] for r in found])


def _cifar_steps(results: Results) -> list[Target]:
    return [
        Target(f"{variant}, per step of one model",
               times(results, "foldwise-cifar", variant), 0.25, False, " ms", 3)
        for variant in ("cifar10-plain", "cifar10-batchnorm")
    ]  # fmt: skip


def _against_jax(results: Results) -> list[Target]:
    """Time over the time of whichever of JAX's two ways to use the cores is faster."""
    return [
        _jax(results, "Sonar × 10 folds", SONAR[0], ("jax-sonar-1", "jax-sonar-1-processes")),
        _jax(results, "Sonar × 100", SONAR[2], ("jax-sonar-10", "jax-sonar-10-processes")),
        _jax(results, "CIFAR-10", "foldwise-cifar", ("jax-cifar-1", "jax-cifar-2")),
    ]


def _jax(results: Results, text: str, ours: str, theirs: tuple[str, str]) -> Target:
    best = fastest(results, theirs)
    found = spread(ratios(results, ours, best)) if best else None
    who = f" ({best})" if best else ""
    label = f"{text}: time over that of JAX's scan{who}, without its compilation"
    return Target(label, found, 1.0, False, digits=2)


def _memory(results: Results) -> Spread | None:
    found = [fact(results, name, "peak_process_bytes") for name in (SONAR[2], "foldwise-cifar")]
    known = [value / GIB for value in found if value is not None]
    return spread([max(known)]) if known else None


def _gpu(results: Results) -> list[Target]:
    """Only where there is a GPU."""
    found = rounds(results, "foldwise-gpu")
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
