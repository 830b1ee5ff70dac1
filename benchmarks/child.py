"""One contender in a process of its own: `python -m benchmarks.child NAME SPAWNED [--quick]`.

Prints one line of JSON: what it measured, how long it took to start, and its peak memory.
"""

import resource
import sys

from benchmarks.contenders import by_name
from benchmarks.measuring import FULL, QUICK, Round, SkipError


def main(name: str, spawned: str, *flags: str) -> None:
    """Run one contender.

    Args:
        name: the contender.
        spawned: Unix time at which this process was asked for.
        flags: `--quick` or nothing.
    """
    print(measure(name, float(spawned), "--quick" in flags).model_dump_json())


def measure(name: str, spawned: float, quick: bool) -> Round:
    """One round of a contender, its start-up and the memory of its largest process."""
    try:
        outcome = by_name(name).work()(QUICK if quick else FULL)
    except (SkipError, ModuleNotFoundError) as reason:
        return Round(skipped=str(reason))
    return Round(
        samples=outcome.samples,
        compile_seconds=outcome.compile_seconds,
        facts=outcome.facts,
        peak_bytes=_peak_bytes(),
        startup_seconds=min((s.started - spawned for s in outcome.samples), default=None),
    )


def _peak_bytes() -> int:
    people = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(resource.getrusage(who).ru_maxrss for who in people) * unit


if __name__ == "__main__":
    main(*sys.argv[1:])
