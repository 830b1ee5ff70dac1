"""Run contenders in turn (A B C A B C …), each in a fresh process, and collect what they say."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.machine import describe
from benchmarks.measuring import Results, Round, Settings

ROOT = Path(__file__).parent.parent


def measure(contenders: Iterable[Contender], rounds: int, quick: bool) -> Results:
    """All rounds. A contender that cannot run is asked once."""
    contenders = list(contenders)
    runs: dict[str, list[Round]] = {c.name: [] for c in contenders}
    done = 0
    try:
        for done in range(rounds):
            _round(contenders, runs, f"round {done + 1}/{rounds}", quick)
        done = rounds
    except KeyboardInterrupt:
        _say("stopped: what was measured so far counts\n")
    settings = Settings(rounds=done, quick=quick, date=time.strftime("%Y-%m-%d"))
    return Results(machine=describe(), settings=settings, runs=runs)


def _round(
    contenders: list[Contender], runs: dict[str, list[Round]], title: str, quick: bool
) -> None:
    """Every contender once; adds to `runs`."""
    for place, contender in enumerate(contenders, start=1):
        if any(run.skipped for run in runs[contender.name]):
            continue
        _say(f"{title}, {place}/{len(contenders)}: {contender.name} … ")
        begun = time.perf_counter()
        runs[contender.name].append(_run(contender, quick))
        _say(f"{time.perf_counter() - begun:.1f} s\n")


def _run(contender: Contender, quick: bool) -> Round:
    """One round of one contender. One that fails says so in the table; the others go on."""
    command = [sys.executable, "-m", "benchmarks.child", contender.name, str(time.time())]
    done = subprocess.run(
        command + ["--quick"] * quick,
        env={"FOLDWISE_DEVICE": "cpu", **os.environ, **contender.environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        _say(f"failed:\n{done.stderr}\n")
        return Round(skipped=f"failed: {done.stderr.strip().splitlines()[-1:]}")
    return Round.model_validate_json(done.stdout.splitlines()[-1])


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
