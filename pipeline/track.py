"""Stage track: mirror the runs to MLflow; what is there already is left alone.

MLFLOW_TRACKING_URI says where; without it, mlflow.db and mlartifacts/ in the project.
"""

import os
from pathlib import Path

from foldwise import config, paths, stage, tracking


def main() -> None:
    """Mirror every run of the variants that params.yaml declares."""
    summary = tracking.track(config.load(), Path.cwd(), os.environ)
    tracking.write_marker(paths.TRACKED, summary)
    print(summary)


if __name__ == "__main__":
    stage.run_whole(main)
