"""Cause every fault of the catalogue, kill at random, and write docs/reliability.md.

`make faults`, or a part: `python tests/faults --parts kills --kills 150 --seed 1`. What a part saw
is kept in .faults/, and the page is written from all that is there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import again  # noqa: E402
import killing  # noqa: E402
import page  # noqa: E402
from catalogue import CATALOGUE  # noqa: E402

SEEN = ROOT / ".faults"
PARTS = ("tests", "kills", "again")


def main() -> int:
    """All that was asked for, then the page; 1 where something is not as it should be."""
    asked = _arguments()
    SEEN.mkdir(exist_ok=True)
    print(f"seed {asked.seed}", flush=True)
    works: dict[str, Callable[[argparse.Namespace], None]] = {
        "tests": _tests,
        "kills": _kills,
        "again": _again,
    }
    for part in asked.parts:
        works[part](asked)
    seen = page.Seen.read(SEEN)
    page.write(ROOT / "docs/reliability.md", seen)
    for problem in seen.problems:
        print(problem)
    return 1 if seen.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=156, help="of all stages and commands")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of kills, as after a failure")
    parser.add_argument("--jobs", type=int, default=2, help="kills at a time")
    parser.add_argument("--again", type=int, nargs=2, default=(10, 4), help="short, long")
    return parser.parse_args()


def _tests(asked: argparse.Namespace) -> None:
    names = {test for rows in CATALOGUE.values() for row in rows for test in row.tests}
    nodes = sorted(f"tests/{name}" for name in names)
    options = ["-q", "--numprocesses", str(asked.jobs), "--dist", "loadfile"]
    report = f"--junitxml={SEEN / page.TESTS}"
    command = [sys.executable, "-m", "pytest", *options, report, "-o", "junit_family=xunit1"]
    many = {"FUZZ": "10", **os.environ}  # times as many mutated files as in `make test`
    subprocess.run([*command, *nodes], cwd=ROOT, check=False, env=many)


def _kills(asked: argparse.Namespace) -> None:
    numbers = asked.only or list(range(asked.kills))
    lines = _Lines(page.KILLS, numbers if asked.only else None, asked.seed)
    with tempfile.TemporaryDirectory(prefix="foldwise-faults-") as folder:

        def work(job: int) -> None:
            site = killing.Site(Path(folder) / str(job))
            killing.campaign(site, numbers[job :: asked.jobs], asked.seed, lines.add)

        with ThreadPoolExecutor(asked.jobs) as pool:
            list(pool.map(work, range(asked.jobs)))


def _again(asked: argparse.Namespace) -> None:
    short, long = asked.again
    with tempfile.TemporaryDirectory(prefix="foldwise-faults-") as folder:
        for name, work, kills in (
            (page.SHORT, again.short_splits, short),
            (page.LONG, again.long_splits, long),
        ):
            lines = _Lines(name)
            work(Path(folder) / name, asked.seed, kills, lines.add)


class _Lines:
    """A file of records, a line each, and what is printed of them.

    It begins anew, unless only some numbers of a seed are asked for: so a campaign can be run in
    pieces.
    """

    def __init__(self, name: str, numbers: Collection[int] | None = None, seed: int = 0):
        self.path, self.started = SEEN / name, time.monotonic()
        kept = [
            f"{json.dumps(record)}\n"
            for record in page.records(self.path)
            if numbers is not None and not (record["seed"] == seed and record["number"] in numbers)
        ]
        self.path.write_text("".join(kept))

    def add(self, record: Any) -> None:
        with self.path.open("a") as file:
            file.write(f"{record.as_json}\n")
        said = json.loads(record.as_json)
        state = "; ".join(said["problems"]) or "as expected"
        what = said.get("command", "foldwise train")
        when = said.get("moment") or f"{said['seconds']} s"
        minutes = (time.monotonic() - self.started) / 60
        print(
            f"{minutes:5.1f} min  {said['number']:3} {what:20} {said['victim']:6} at {when:12} "
            f"{state}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
