"""Stage report: the results of all studies as people read them.

Reads metrics/, comparisons/ and runs/ of what params.yaml declares, writes plots/*.csv for
`dvc plots` and reports/index.html.
"""

from foldwise import reporting
from foldwise.core import config, paths, processes


def main() -> None:
    """Write plots and report."""
    studies = reporting.load(config.load())
    reporting.write_plots(studies, paths.PLOTS)
    reporting.write_report(studies, paths.REPORT)
    print(reporting.text_table(studies))


if __name__ == "__main__":
    processes.run_whole(main)
