"""Stage report: the results of all studies as people read them.

Reads metrics/, comparisons/ and runs/ of what params.yaml declares, writes plots/*.csv for
`dvc plots` and reports/index.html.
"""

from foldwise.core import config, paths, processes


def main() -> None:
    """Write plots and report."""
    from foldwise import reporting
    from foldwise.results.studies import read_studies
    from foldwise.wording.results import text_table

    studies = read_studies(config.load())
    reporting.write_plots(studies, paths.PLOTS)
    reporting.write_report(studies, paths.REPORT)
    print(text_table(studies))


if __name__ == "__main__":
    processes.run_stage(main)
