"""`foldwise report`: the report with what the stage leaves out, its commit and links to MLflow."""

import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
examples:
  foldwise report                                    write reports/with-links.html
  foldwise report report.html --ui http://host:5000  with links to another server
"""
FILE = Path("reports/with-links.html")
UI = "http://127.0.0.1:5000"


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The HTML file to write.")] = FILE,
    ui: Annotated[str, typer.Option(metavar="URL", help="Address of `foldwise ui`.")] = UI,
) -> None:
    """Write the report with its commit and links to the MLflow runs.

    The stage `report` leaves both out: its page depends on the results alone.
    """
    from foldwise import reporting
    from foldwise.core import config, git
    from foldwise.core.environment import Environment
    from foldwise.results.studies import read_studies
    from foldwise.tracking import experiments, place

    root, environment = Path.cwd(), Environment.read()
    runs = experiments.shown(place.store_uri(root, environment), environment)
    links = {variant: f"{ui.rstrip('/')}/#/runs/{run}" for variant, run in runs.items()}
    commit = git.ask(root, "describe", "--always", "--dirty") or None
    reporting.write_report(read_studies(config.load()), file, commit=commit, links=links)
    if not links:
        print("no current run to link to; `foldwise track` makes them", file=sys.stderr)
    print(file)
