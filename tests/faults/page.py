"""docs/reliability.md: what was expected, what was seen. Its tables are written from results."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks import machine, pages
from catalogue import CATALOGUE, Fault

from foldwise.core import git
from foldwise.wording import tables

TESTS, KILLS, SHORT, LONG = "tests.xml", "kills.jsonl", "short.jsonl", "long.jsonl"
Record = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What `make faults` saw.

    Attributes:
        tests: `file::test` → outcomes of its cases: "passed", "failed", or why it was skipped.
        kills: of stages and commands; see `killing.Outcome`.
        short, long: of `foldwise train`; see `again.Kill`.
    """

    tests: dict[str, list[str]]
    kills: list[Record]
    short: list[Record]
    long: list[Record]

    @classmethod
    def read(cls, folder: Path) -> "Seen":
        """What was kept."""
        kills, short, long = (records(folder / name) for name in (KILLS, SHORT, LONG))
        return cls(_outcomes(folder / TESTS), kills, short, long)

    @property
    def problems(self) -> list[str]:
        """A line for all that is not as expected."""
        rows = [row for rows in CATALOGUE.values() for row in rows]
        lines = [f"{row.fault}: {self.of(row)}" for row in rows if self.failed(row)]
        for record in [*self.kills, *self.short, *self.long]:
            what = record.get("command", "foldwise train")
            numbers = f"--seed {record['seed']} --only {record['number']}"
            lines += [f"{what} ({numbers}): {problem}" for problem in record["problems"]]
        return lines

    def failed(self, row: Fault) -> bool:
        """Whether one of its tests failed or did not run."""
        return any("failed" in self.tests.get(test, ["failed"]) for test in row.tests)

    def of(self, row: Fault) -> str:
        """What its tests saw, in short."""
        cases = [case for test in row.tests for case in self.tests.get(test, ["not run"])]
        counts = Counter(
            case if case in ("passed", "failed", "not run") else "skipped" for case in cases
        )
        bad = [
            f"{counts[kind]} {kind}" for kind in ("failed", "not run", "skipped") if counts[kind]
        ]
        text = "as expected" if not bad else ", ".join(bad)
        reasons = {case for case in cases if case not in ("passed", "failed", "not run")}
        return f"{text} ({counts['passed']} passed{''.join(f'; {r}' for r in sorted(reasons))})"


def records(path: Path) -> list[Record]:
    """Of a file that has one on each line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _outcomes(path: Path) -> dict[str, list[str]]:
    """Of a JUnit report."""
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(path).iter("testcase") if path.exists() else ():
        file = case.attrib["file"].removeprefix("tests/")
        name = f"{file}::{case.attrib['name'].partition('[')[0]}"
        skipped = case.find("skipped")
        outcome = "passed" if skipped is None else skipped.attrib.get("message", "skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        found.setdefault(name, []).append(outcome)
    return found


# --- the page ---------------------------------------------------------------------------------


def write(path: Path, seen: Seen) -> None:
    """Fill the page's tables."""
    pages.fill(path, "run", _run(seen))
    pages.fill(path, "faults", _faults(seen))
    pages.fill(path, "kills", _kills(seen.kills))
    pages.fill(path, "again", _again(seen))


def _run(seen: Seen) -> str:
    here = machine.describe()
    commit = git.ask(Path(), "rev-parse", "--short", "HEAD").strip()
    seeds = sorted({record["seed"] for record in [*seen.kills, *seen.short, *seen.long]})
    return (
        f"Commit {commit} and what was changed since; {here.cores} cores ({here.cpu}), "
        f"Python {here.python}, dvc {here.versions['dvc']}, mlflow {here.versions['mlflow']}; "
        f"seeds of the kills: {', '.join(map(str, seeds)) or 'none'}."
    )


def _faults(seen: Seen) -> str:
    lines = []
    number = 0
    for title, rows in CATALOGUE.items():
        table = []
        for row in rows:
            number += 1
            tests = ", ".join(f"`{test}`" for test in row.tests)
            table.append([str(number), row.fault, row.expected, seen.of(row), tests])
        heading = ["#", "fault", "expected", "seen", "tests (below `tests/`)"]
        lines += [f"### {title}", tables.markdown(heading, table, left=5), ""]
    return "\n".join(lines)


def _kills(kills: Sequence[Record]) -> str:
    heading = [
        "killed", "kills", "group", "parent", "worker", "at a call that writes",
        "rerun waited for orphans", "`doctor --fix` first", "not as expected",
    ]  # fmt: skip
    names = list(dict.fromkeys(record["command"] for record in kills))
    rows = [_kill_row(name, [k for k in kills if k["command"] == name]) for name in names]
    if len(rows) > 1:
        rows.append(_kill_row("all", kills))
    return tables.markdown(heading, rows)


def _kill_row(name: str, kills: Sequence[Record]) -> list[str]:
    counts = [
        len(kills),
        *(sum(k["victim"] == victim for k in kills) for victim in ("group", "parent", "worker")),
        sum(k["moment"].startswith("write") for k in kills),
        sum(k["waited"] > 0 for k in kills),
        sum(k["mended"] for k in kills),
        sum(bool(k["problems"]) for k in kills),
    ]
    return [name if name == "all" else f"`{name}`", *map(str, counts)]


def _again(seen: Seen) -> str:
    heading = [
        "kill",
        "victim",
        "at",
        "splits done",
        "in hand: trained again",
        "of",
        "share",
        "same bits",
    ]
    short = [
        [
            str(k["number"]), k["victim"], f"{k['seconds']} s", str(k["kept"]), str(k["begun"]),
            str(k["total"]), _share(k["begun"], k["total"]), "no" if k["problems"] else "yes",
        ]
        for k in seen.short
    ]  # fmt: skip
    longer = ["kill", "victim", "at", "seconds trained again", "went on from its checkpoints"]
    long = [
        [
            str(k["number"]),
            k["victim"],
            f"{k['seconds']} s",
            f"{k['lost']}",
            "no" if k["problems"] else "yes",
        ]
        for k in seen.long
    ]
    total = sum(k["total"] for k in seen.short)
    mean = _share(sum(k["begun"] for k in seen.short), total) if total else "–"
    return "\n\n".join(
        [
            f"Many short splits, two workers; on average {mean} of the work was done again:",
            tables.markdown(heading, short, left=2),
            "Splits that take hours, killed again and again; a checkpoint a minute:",
            tables.markdown(longer, long, left=2),
        ]
    )


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"
