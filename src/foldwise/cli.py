"""The `foldwise` command."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from foldwise import config, demo, paths, reporting, stage, tracking

README = Path("README.md")
PICTURE = Path("docs/images/summary.svg")

EPILOG = """examples:
  dvc repro                     run the whole pipeline
  foldwise results              the results as a table
  foldwise track                mirror the results to MLflow again
  foldwise ui --port 5001       browse the runs
  foldwise demo                 the whole pipeline on synthetic data, in .demo
  foldwise check                is params.yaml valid, and what does it ask for?
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 0, or 1 after an error that the user can mend."""
    os.environ.update(tracking.TELEMETRY_OFF)
    parsed = _parser().parse_args(arguments)
    work: Callable[[argparse.Namespace], None] = parsed.work
    stage.exit_with(lambda: work(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="foldwise",
        description="Does it help? Cross-validated comparisons of small networks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, work: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        about = (work.__doc__ or "").strip()
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(work=work)
        return command

    add("check", _check)
    add("results", _results)
    add("track", _track)
    ui = add("ui", _ui)
    ui.add_argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: 5000)")
    add("readme", _readme)
    run_demo = add("demo", _demo)
    run_demo.add_argument("folder", nargs="?", type=Path, default=Path(".demo"), help="(.demo)")
    return parser


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


def _track(arguments: argparse.Namespace) -> None:
    """Mirror the runs to MLflow; what is there already is left alone."""
    summary = tracking.track(config.load(), Path.cwd(), os.environ)
    tracking.write_marker(paths.TRACKED, summary)
    print(summary)


def _ui(arguments: argparse.Namespace) -> None:
    """Serve the MLflow UI on the project's store until Ctrl-C."""
    command = tracking.ui_command(Path.cwd(), os.environ, arguments.port)
    print(f"http://127.0.0.1:{arguments.port}", file=sys.stderr)
    sys.exit(subprocess.run(command, check=False).returncode)


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
