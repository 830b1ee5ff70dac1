"""One contender in a process of its own: `python -m benchmarks.child NAME SPAWNED [--quick]`.

Prints one line of JSON: what it measured, how long it took to start, and its peak memory.
"""

import json
import resource
import sys
from typing import Any

from benchmarks.contenders import by_name
from benchmarks.measuring import FULL, QUICK, Outcome, SkipError


def main(name: str, spawned: str, *flags: str) -> None:
    """Run one contender.

    Args:
        name: the contender.
        spawned: Unix time at which this process was asked for.
        flags: `--quick` or nothing.
    """
    size = QUICK if "--quick" in flags else FULL
    try:
        outcome = by_name(name).work()(size)
    except (SkipError, ModuleNotFoundError) as reason:
        print(json.dumps({"skipped": str(reason)}))
        return
    print(json.dumps(outcome.as_dict() | _costs(outcome, float(spawned))))


def _costs(outcome: Outcome, spawned: float) -> dict[str, Any]:
    """Start-up (imports and data; without compilation) and the memory of the largest process."""
    people = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in people) * unit
    costs: dict[str, Any] = {"peak_bytes": peak}
    if outcome.samples:
        costs["startup_seconds"] = min(s.started for s in outcome.samples) - spawned
    return costs


if __name__ == "__main__":
    main(*sys.argv[1:])
