"""`python -m benchmarks.readme`: the results in README.md, and docs/images/summary.svg."""

from pathlib import Path

from benchmarks.pages import fill
from foldwise import reporting
from foldwise.core import config
from foldwise.core.processes import exit_after
from foldwise.results.studies import read_studies
from foldwise.wording.results import readme_table

README = Path("README.md")
PICTURE = Path("docs/images/summary.svg")


def main() -> None:
    """Write both, from metrics/, comparisons/ and runs/ of the working directory."""
    studies = read_studies(config.load())
    fill(README, "results", readme_table(studies))
    reporting.summary_picture(studies, PICTURE)


if __name__ == "__main__":
    exit_after(main)
