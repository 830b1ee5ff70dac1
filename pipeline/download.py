"""Stage download@dataset: the bytes of a data set, from a mirror or its official address.

Writes data/raw/<dataset>/ with the files and provenance.json.
"""

import os

from foldwise.core import config, paths, processes
from foldwise.datasets.download import fetch


def main(name: str) -> None:
    """Fetch one data set."""
    settings = config.load()
    fetch(name, settings.dataset(name), settings.data, paths.raw(name), environ=os.environ)


if __name__ == "__main__":
    processes.run(main, "dataset", "sonar")
