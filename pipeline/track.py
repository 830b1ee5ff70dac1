"""Stage track: mirror the runs to MLflow; what is there already is left alone.

MLFLOW_TRACKING_URI says where; without it, mlflow.db and mlartifacts/ in the project.
"""

from foldwise.core import processes


def main() -> None:
    """Mirror every run of the variants that params.yaml declares."""
    from pathlib import Path

    from foldwise import reporting
    from foldwise.core import config, paths
    from foldwise.core.environment import Environment
    from foldwise.results.studies import stand_ins
    from foldwise.tracking import tracker
    from foldwise.wording.sentences import stand_in

    settings, root = config.load(), Path.cwd()
    charts = reporting.PngCharts(settings, root)
    done = tracker.track(settings, root, Environment.read(), charts)
    done.write_marker(paths.TRACKED)
    print(done)
    if notice := stand_in(stand_ins(settings)):
        print(notice)


if __name__ == "__main__":
    processes.run_stage(main)
