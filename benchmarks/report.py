"""Results as text: the tables, the floor and the targets; and as a block of docs/performance.md."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import ALL, Contender, by_name
from benchmarks.floor import floors
from benchmarks.protocol import CIFAR, SONAR
from benchmarks.summary import (
    Results,
    fact,
    ratios,
    rounds,
    skipped,
    spread,
    table,
    times,
)
from benchmarks.targets import SONAR as REPEATED
from benchmarks.targets import targets

MIB = 2**20
BLOCK = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def text(results: Results) -> str:
    """Everything, in Markdown."""
    parts = [
        machine(results),
        "### Targets\n\n" + "\n".join(f"- {target.line()}" for target in targets(results)),
        "### Sonar: milliseconds per model of 300 epochs\n\n" + contest(results, "sonar", SONAR),
        "### CIFAR-10: milliseconds per step of one model, batches of 10\n\n"
        + contest(results, "cifar", CIFAR),
        "### Cost against repeats: 3 Sonar variants × (10 folds × repeats, and refit)\n\n"
        + cost(results),
        "### Floor\n\n" + floor(results),
    ]
    return "\n\n".join(parts)


def machine(results: Results) -> str:
    """What it was measured on, and how often."""
    facts, settings = results["machine"], results["settings"]
    installed = ", ".join(f"{k} {v}" for k, v in facts["versions"].items() if v)
    rounds_ = settings["rounds"]
    quick = " **Quick**: little work, scaled up; for a look, not for a table." * settings["quick"]
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}; "
        f"Python {facts['python']}, {installed}. {settings['date']}, {rounds_} "
        f"round{'s' * (rounds_ != 1)}, interleaved; medians, and smallest–largest in brackets."
        f"{quick}"
    )


def contest(results: Results, loop: str, variants: Iterable[str]) -> str:
    """One line per contender: time per variant, ratio to the notebook's loop, costs, notes."""
    variants = list(variants)
    names = [v.split("-", 1)[1] for v in variants]
    headers = ["", "on", ">splits", *[f">{name}" for name in names], ">× the notebook's loop",
               ">start-up s", ">compile s", ">peak MiB", "note"]  # fmt: skip
    entered = [c for c in ALL if loop in c.name and results["runs"].get(c.name)]
    return table(headers, [_entry(results, c, loop, variants) for c in entered])


def _entry(results: Results, c: Contender, loop: str, variants: Sequence[str]) -> list[str]:
    reason = skipped(results, c.name)
    if reason:
        return [c.label, c.cores, *["–"] * (len(variants) + 5), f"skipped: {reason}"]
    digits = 0 if loop == "sonar" else 3
    measured = [times(results, c.name, variant) for variant in variants]
    against = spread(ratios(results, f"notebook-{loop}", c.name))
    return [
        c.label,
        c.cores,
        _splits(results, c.name),
        *[found.show(digits) if found else "–" for found in measured],
        against.show() if against else "–",
        _number(fact(results, c.name, "startup_seconds"), 1),
        _number(fact(results, c.name, "compile_seconds") or None, 1),
        _number(fact(results, c.name, "peak_bytes"), 0, MIB),
        c.note,
    ]


def _splits(results: Results, name: str) -> str:
    """How many splits were trained, where the workload says it."""
    workload = results["runs"][name][0]["samples"][0]["workload"]
    return workload.partition("/")[2] or "–"


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def cost(results: Results) -> str:
    """Time and memory of the whole Sonar study for 1, 3, 10 and 30 repeats."""
    headers = [">repeats", ">models", ">seconds", ">ms per model", ">largest process, MiB"]
    return table(headers, [_cost_line(results, name) for name in REPEATED if rounds(results, name)])


def _cost_line(results: Results, name: str) -> list[str]:
    runs = results["runs"][name]
    repeats = by_name(name).options["repeats"]
    models = len(SONAR) * (10 * repeats + 1)
    each = spread([_milliseconds(run) for run in runs])
    assert each is not None
    memory = _number(fact(results, name, "peak_process_bytes"), 0, MIB)
    seconds = each.median * models / 1000
    return [str(repeats), str(models), f"{seconds:.1f}", each.show(), memory]


def _milliseconds(run: dict[str, Any]) -> float:
    samples: list[dict[str, float]] = run["samples"]
    return 1000 * sum(s["seconds"] for s in samples) / sum(s["count"] for s in samples)


def floor(results: Results) -> str:
    """The measured limits, the floor of each workload, and the distance from it."""
    lines = floors(results)
    if not lines:
        return "Not measured."
    headers = ["", ">MFLOP", ">MB moved", ">floor ms", ">foldwise ms", ">distance"]
    return f"{limits(results)}\n\n{table(headers, [_floor_line(line) for line in lines])}"


def _floor_line(line: Any) -> list[str]:
    found = "–" if line.found is None else f"{line.found:,.3g}"
    distance = "–" if line.found is None else f"{line.found / line.floor:.1f}×"
    work = [f"{line.flops / 1e6:,.3g}", f"{line.bytes / 1e6:,.3g}"]
    return [line.text, *work, f"{line.floor:,.3g}", found, distance]


def limits(results: Results) -> str:
    """Peak operations and bandwidths, as one sentence per share of the machine."""
    return "\n".join(
        f"- {share.replace('_', ' ')}: "
        f"{_number(fact(results, 'machine', f'{share}_flops'), 0, 1e9)} GFLOP/s in a large matrix "
        "product; copies move (read and written together) "
        + ", ".join(
            f"{_number(fact(results, 'machine', f'{share}_{name}'), 0, 1e9)} GB/s of {what}"
            for name, what in (("cache", "1 MiB"), ("state", "3 MiB"), ("memory", "512 MiB"))
        )
        for share in ("one_core", "all_cores")
    )


def fill(path: Path, block: str) -> None:
    """Replace what is between the marks in a Markdown file.

    Raises:
        ValueError: the file has no marks.
    """
    page = path.read_text(encoding="utf-8")
    if not BLOCK.search(page):
        raise ValueError(f"{path} has no <!-- bench:begin --> … <!-- bench:end -->")
    path.write_text(BLOCK.sub(lambda m: f"{m[1]}{block}\n{m[2]}", page), encoding="utf-8")
