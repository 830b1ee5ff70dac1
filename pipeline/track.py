"""Stage track: mirror the runs to MLflow; what is there already is left alone.

MLFLOW_TRACKING_URI says where; without it, mlflow.db and mlartifacts/ in the project.
"""

import os
from pathlib import Path

from foldwise import reporting, tracking
from foldwise.core import config, paths, processes


def main() -> None:
    """Mirror every run of the variants that params.yaml declares."""
    settings, root = config.load(), Path.cwd()
    summary = tracking.track(settings, root, os.environ, reporting.PngCharts(settings, root))
    tracking.write_marker(paths.TRACKED, summary)
    print(summary)


if __name__ == "__main__":
    processes.run_whole(main)
