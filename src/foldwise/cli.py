"""The `foldwise` command."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from foldwise import cli_tracking, demo, reporting, revisions, tracking
from foldwise.core import config, paths, processes
from foldwise.core.errors import FoldwiseError

README = Path("README.md")
LINKED_REPORT = Path("reports/with-links.html")
PICTURE = Path("docs/images/summary.svg")

COMPARE = """What is compared: side A is the first --rev, side B the second; a side without --rev is
the workspace. Without names: every variant that both sides have.

examples:
  foldwise compare sonar-baseline sonar-hidden-dropout      B against A, in the workspace
  foldwise compare sonar-hidden-dropout --rev main          the same variant: main, workspace
  foldwise compare --rev main --markdown --fail-if worse    all of them, as a gate for CI
  foldwise compare --rev v1 --rev v2 --study sonar          a study between two tags
  foldwise compare A B --rev v1 --rev v2                    A at v1, B at v2
  foldwise compare A --rev brave-otter                      a DVC experiment

exit status:
  0  compared; with --fail-if worse: and no pair is an established loss ("Hurts")
  1  with --fail-if worse: a pair is an established loss
  2  nothing could be compared; with --fail-if worse: a pair could not
"""

SIMULATE = """Trains the study's baseline on many splits, twice with other seeds, and compares
the two in comparisons of one, three and five repeats. Then it mends or breaks predictions of B at
random, row by row, with a known expected change of accuracy, and counts how often that is found.

examples:
  foldwise simulate                          sonar-sound, 200 cross-validations for each side
  foldwise simulate --runs 20 --effect 5     quick, and one effect alone
  foldwise simulate --study sonar --json     another study, for a program
"""

EPILOG = """examples:
  dvc repro                     run the whole pipeline
  foldwise results              the results as a table
  foldwise compare A B          does B do better than A? (compare --help: across commits)
  foldwise track                mirror the results to MLflow again (track --help: older commits)
  foldwise track --follow       show trainings there while they go on
  foldwise doctor               what is wrong, and what mends it
  foldwise ui --port 5001       browse the runs
  foldwise predict --model sonar echoes.csv    class probabilities for your own rows
  foldwise report               the report with its commit and links to the runs
  foldwise demo                 the whole pipeline on synthetic data, in .demo
  foldwise check                is params.yaml valid, and what does it ask for?
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 0, or 1 after an error that the user can mend."""
    os.environ.update(tracking.TELEMETRY_OFF)
    parsed = _parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], None] = parsed.work
    processes.exit_with(lambda: work(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foldwise",
        description="Does it help? Cross-validated comparisons of small networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(
        name: str, work: Callable[[argparse.Namespace], None], epilog: str | None = None
    ) -> argparse.ArgumentParser:
        about = (work.__doc__ or "").strip()
        raw = argparse.RawDescriptionHelpFormatter
        command = commands.add_parser(
            name, help=about, description=about, epilog=epilog, formatter_class=raw
        )
        command.set_defaults(work=work)
        return command

    add("check", _check)
    add("results", _results)
    _compare_options(add("compare", _compare, COMPARE))
    _simulate_options(add("simulate", _simulate, SIMULATE))
    cli_tracking.register(add)
    add("readme", _readme)
    page = add("report", _report)
    page.add_argument(
        "file", nargs="?", type=Path, default=LINKED_REPORT, help=f"({LINKED_REPORT})"
    )
    page.add_argument("--ui", default="http://127.0.0.1:5000", help="address of `foldwise ui`")
    run_demo = add("demo", _demo)
    run_demo.add_argument("folder", nargs="?", type=Path, default=Path(".demo"), help="(.demo)")
    return parser


def _compare_options(compare: argparse.ArgumentParser) -> None:
    compare.add_argument("names", nargs="*", metavar="A [B]", help="variants of params.yaml")
    compare.add_argument(
        "--rev",
        action="append",
        default=[],
        help="commit, tag, branch or DVC experiment of side A, and again of side B",
    )
    compare.add_argument("--study", help="only variants of this study")
    form = compare.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="for a pull request")
    form.add_argument("--json", action="store_true", help="everything, for a program")
    compare.add_argument("--fail-if", choices=["worse"], help="see the exit status below")


def _simulate_options(simulate: argparse.ArgumentParser) -> None:
    simulate.add_argument("--study", default="sonar-sound", help="(sonar-sound)")
    simulate.add_argument(
        "--runs", type=int, default=200, help="cross-validations for each of two seeds (200)"
    )
    simulate.add_argument(
        "--effect",
        type=float,
        action="append",
        metavar="PP",
        help="planted, in percentage points; again for more (2, 5 and 10)",
    )
    simulate.add_argument("--json", action="store_true", help="for a program")


def _check(arguments: argparse.Namespace) -> None:
    """Check params.yaml and say what it asks for."""
    settings = config.load()
    for name, study in settings.studies.items():
        members = settings.variants_of(name)
        models = (study.cv.folds * study.cv.repeats + 1) * len(members)
        print(
            f"{name}: {len(members)} variants x ({study.cv.folds} folds x {study.cv.repeats} "
            f"repeats + refit) = {models} models of {study.training.epochs} epochs on "
            f"'{study.dataset}'"
        )


def _results(arguments: argparse.Namespace) -> None:
    """Print the results of every study."""
    print(reporting.text_table(reporting.load(config.load())))


def _compare(arguments: argparse.Namespace) -> None:
    """Compare B with A on the same splits: two variants, or one across commits."""
    try:
        content = revisions.compare(arguments.names, arguments.rev, arguments.study)
    except FoldwiseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    show = revisions.markdown if arguments.markdown else revisions.text
    print(_json(content) if arguments.json else show(content))
    sys.exit(revisions.exit_status(content, arguments.fail_if == "worse"))


def _simulate(arguments: argparse.Namespace) -> None:
    """Measure how often the verdict is wrong (A against A), and how often it finds an effect."""
    from foldwise import simulation  # imports torch, which the other commands can do without

    effects = [points / 100 for points in arguments.effect or (2.0, 5.0, 10.0)]
    content = simulation.run(config.load(), arguments.study, arguments.runs, effects)
    print(_json(content) if arguments.json else simulation.text(content))


def _json(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _report(arguments: argparse.Namespace) -> None:
    """Write the report with its commit and links to the MLflow runs.

    The stage `report` leaves both out: its page depends on the results alone.
    """
    root, page = Path.cwd(), arguments.file
    runs = tracking.runs_table(tracking.store_uri(os.environ, root))
    parents = runs[(runs["role"] == "variant") & (runs["current"] == "true")]
    addresses = f"{arguments.ui.rstrip('/')}/#/runs/" + parents["run_id"]
    links = dict(zip(parents["variant"], addresses, strict=True))
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    studies = reporting.load(config.load())
    reporting.write_report(studies, page, commit=described.stdout.strip() or None, links=links)
    print(page)


def _readme(arguments: argparse.Namespace) -> None:
    """Write the results into README.md and draw docs/images/summary.svg."""
    studies = reporting.load(config.load())
    reporting.update_readme(README, reporting.readme_table(studies))
    reporting.summary_picture(studies, PICTURE)


def _demo(arguments: argparse.Namespace) -> None:
    """Run the whole pipeline on synthetic data, in a folder of its own."""
    folder: Path = arguments.folder
    demo.make_workspace(Path.cwd(), folder)
    try:
        demo.dvc(folder, "repro")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    print(f"\nSYNTHETIC results, which say nothing about real data:\n  {folder / paths.REPORT}")
    print(f"  cd {folder} && foldwise ui")


if __name__ == "__main__":
    main()
