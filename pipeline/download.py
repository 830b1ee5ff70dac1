"""Stage download@dataset: the bytes of a data set, from a mirror or its official address.

Writes data/raw/<dataset>/ with the files and provenance.json. FOLDWISE_MIRROR says where to look
first.
"""

from foldwise.core import config, paths, processes
from foldwise.core.environment import Environment


def main(name: str) -> None:
    """Download one data set."""
    from foldwise.datasets.download import download

    settings, environment = config.load(), Environment.read()
    download(name, settings.dataset(name), settings.data, paths.raw(name), environment)


if __name__ == "__main__":
    processes.run_stage(main, "dataset", "sonar")
