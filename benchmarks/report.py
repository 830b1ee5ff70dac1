"""Results as text: every table for a terminal, and the targets as a table of a Markdown page."""

from collections.abc import Container, Iterable, Sequence

from benchmarks.contenders import ALL, Contender, by_name
from benchmarks.floor import Floor, floors
from benchmarks.measuring import Results, Round, Runs
from benchmarks.protocol import CIFAR, SONAR
from benchmarks.summary import cost, fact, ratios, rounds, skipped, spread, times
from benchmarks.targets import SONAR as REPEATED
from benchmarks.targets import Target, targets
from foldwise.wording.numbers import NONE
from foldwise.wording.tables import Row, aligned, markdown

GOALS = ("what", "measured", "goal", "")
COSTS = ("repeats", "models", "seconds", "ms per model", "largest process, MiB")
FLOORS = ("", "MFLOP", "MB moved", "floor ms", "foldwise ms", "distance")
MIB = 2**20


def text(results: Results) -> str:
    """All that was measured, for a terminal."""
    runs = results.runs
    parts = [
        ("Targets", goals(targets(runs))),
        ("Sonar: milliseconds per model of 300 epochs", contest(runs, "sonar", SONAR)),
        (
            "CIFAR-10: milliseconds per step of one model, batches of 10",
            contest(runs, "cifar", CIFAR),
        ),
        (
            "Cost against repeats: 3 Sonar variants × (10 folds × repeats, and refit)",
            _table(COSTS, [_cost(runs, name) for name in REPEATED if rounds(runs, name)], ()),
        ),
        ("Floor", floor(runs)),
    ]
    shown = ["\n".join([title, *lines]) for title, lines in parts if lines]
    return "\n\n".join([machine(results), *shown])


def page(results: Results, more: Iterable[Target] = ()) -> str:
    """The machine and the targets, in Markdown; `more` of them after those of the results."""
    rows = [target.row for target in (*targets(results.runs), *more)]
    return f"{machine(results)}\n\n{markdown(GOALS, rows)}"


def goals(reached: Iterable[Target]) -> list[str]:
    """Targets, for a terminal."""
    return aligned([GOALS, *(target.row for target in reached)], left={0, 3})


def machine(results: Results) -> str:
    """What it was measured on, and how often."""
    facts, settings = results.machine, results.settings
    installed = ", ".join(f"{k} {v}" for k, v in facts.versions.items() if v)
    quick = " **Quick**: little work, scaled up; for a look, not for a table." * settings.quick
    return (
        f"{facts.cpu}, {facts.cores} cores, {facts.memory_gib} GiB, {facts.system}; "
        f"Python {facts.python}, {installed}. {settings.date}, {settings.rounds} "
        f"round{'s' * (settings.rounds != 1)}, interleaved; medians, and smallest–largest in "
        f"brackets.{quick}"
    )


def contest(runs: Runs, loop: str, variants: Iterable[str]) -> list[str]:
    """A line per contender: time per variant, ratio to the notebook's loop, costs, notes."""
    variants = list(variants)
    names = [v.split("-", 1)[1] for v in variants]
    header = ["", "on", "splits", *names, "× the notebook's loop", "start-up s", "compile s"]
    header += ["peak MiB", "note"]
    rows = [_entry(runs, c, loop, variants) for c in ALL if loop in c.name and runs.get(c.name)]
    return _table(header, rows, left={0, 1, len(header) - 1})


def _entry(runs: Runs, c: Contender, loop: str, variants: Sequence[str]) -> list[str]:
    if reason := skipped(runs, c.name):
        return [c.label, f"skipped: {reason}"]
    digits = 0 if loop == "sonar" else 3
    measured = [times(runs, c.name, variant) for variant in variants]
    against = spread(ratios(runs, f"notebook-{loop}", c.name))
    return [
        c.label,
        c.cores,
        _splits(runs[c.name][0]),
        *[found.show(digits) if found else NONE for found in measured],
        against.show() if against else NONE,
        _number(cost(runs, c.name, "startup_seconds"), 1),
        _number(cost(runs, c.name, "compile_seconds"), 1),
        _number(cost(runs, c.name, "peak_bytes"), 0, MIB),
        c.note,
    ]


def _splits(one: Round) -> str:
    """How many splits were trained, where the workload says it."""
    return one.samples[0].workload.partition("/")[2] or NONE


def _number(value: float | None, digits: int, unit: float = 1.0) -> str:
    return NONE if value is None else f"{value / unit:,.{digits}f}"


def _cost(runs: Runs, name: str) -> list[str]:
    """Time and memory of the whole Sonar study with so many repeats."""
    repeats = by_name(name).options["repeats"]
    models = len(SONAR) * (10 * repeats + 1)
    each = spread([_milliseconds(one) for one in runs[name]])
    assert each is not None
    memory = _number(fact(runs, name, "peak_process_bytes"), 0, MIB)
    return [str(repeats), str(models), f"{each.median * models / 1000:.1f}", each.show(), memory]


def _milliseconds(one: Round) -> float:
    return 1000 * sum(s.seconds for s in one.samples) / sum(s.count for s in one.samples)


def floor(runs: Runs) -> list[str]:
    """The measured limits, the floor of each workload, and the distance from it."""
    lines = floors(runs)
    return [*limits(runs), "", *_table(FLOORS, map(_floor, lines), left={0})] if lines else []


def _table(header: Row, rows: Iterable[Row], left: Container[int]) -> list[str]:
    """An aligned table; nothing where it has no rows."""
    lines = list(rows)
    return aligned([header, *lines], left) if lines else []


def _floor(line: Floor) -> list[str]:
    found = NONE if line.found is None else f"{line.found:,.3g}"
    distance = NONE if line.found is None else f"{line.found / line.floor:.1f}×"
    work = [f"{line.flops / 1e6:,.3g}", f"{line.bytes / 1e6:,.3g}"]
    return [line.text, *work, f"{line.floor:,.3g}", found, distance]


def limits(runs: Runs) -> list[str]:
    """Peak operations and bandwidths, a sentence per share of the machine."""
    return [
        f"{share.replace('_', ' ')}: {_giga(runs, f'{share}_flops')} GFLOP/s in a large matrix "
        "product; copies move (read and written together) "
        + ", ".join(
            f"{_giga(runs, f'{share}_{name}')} GB/s of {what}"
            for name, what in (("cache", "1 MiB"), ("state", "3 MiB"), ("memory", "512 MiB"))
        )
        for share in ("one_core", "all_cores")
    ]


def _giga(runs: Runs, name: str) -> str:
    return _number(fact(runs, "machine", name), 0, 1e9)
