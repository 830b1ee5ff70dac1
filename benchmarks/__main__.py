"""`python -m benchmarks`: time everything side by side and print the table."""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import pipeline, report
from benchmarks.contenders import ALL, chosen
from benchmarks.harness import ROOT, measure
from benchmarks.measuring import Results
from benchmarks.pages import fill
from foldwise.core import files
from foldwise.core.processes import exit_after

RESULTS = ROOT / "benchmarks/results.json"
PAGE = ROOT / "docs/performance.md"
EXAMPLES = """examples:
  python -m benchmarks                          everything, 3 rounds (about half an hour on 2 cores)
  python -m benchmarks --quick                  a look: one round of little work, a few minutes
  python -m benchmarks --only '*-cifar*'        some contenders; printed, kept only with --output
  python -m benchmarks --list                   their names
  python -m benchmarks --show                   every table of the results that there are
  python -m benchmarks --write-docs             docs/performance.md from them
  python -m benchmarks.pipeline                 the whole pipeline, stage by stage
"""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and do it."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{c.name:24} {c.label}, {c.cores}" for c in ALL))
    elif options.show:
        show(options.output or RESULTS)
    elif options.write_docs:
        write_docs(options.output or RESULTS)
    else:
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    try:
        contenders = chosen(options.only)
    except ValueError as error:
        sys.exit(f"--only: {error}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: keep what there is
    rounds = options.rounds or (1 if options.quick else 3)
    results = measure(contenders, rounds, options.quick)
    print(report.text(results))
    whole = not options.quick and not options.only and results.settings.rounds == rounds
    output = options.output or (RESULTS if whole else None)
    if output:
        files.write_record(output, results)
        print(f"\nwritten: {output}", file=sys.stderr)


def show(results: Path, whole: Path = pipeline.OUTPUT) -> None:
    """Print every table."""
    print(report.text(_read(results)))
    if whole.is_file():
        print(f"\n{pipeline.text(pipeline.read(whole))}")


def write_docs(results: Path, page: Path = PAGE, whole: Path = pipeline.OUTPUT) -> None:
    """Fill the marked part of docs/performance.md."""
    more = pipeline.targets(pipeline.read(whole)) if whole.is_file() else []
    fill(page, "bench", report.page(_read(results), more))


def _read(results: Path) -> Results:
    return files.read_record(results, Results, "`make bench` makes it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time the notebook's loops, foldwise and its peers side by side.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, help="rounds (default: 3, or 1 with --quick)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="some; * allowed")
    parser.add_argument("--quick", action="store_true", help="little work, scaled up")
    parser.add_argument("--output", type=Path, help="JSON (default: benchmarks/results.json)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    parser.add_argument("--show", action="store_true", help="print the results that there are")
    parser.add_argument("--write-docs", action="store_true", help="fill docs/performance.md")
    return parser


if __name__ == "__main__":
    exit_after(main)
