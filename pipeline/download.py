"""Stage download@dataset: the bytes of a data set, from DVC's cache, a mirror or their address.

Writes data/raw/<dataset>/ with the files and provenance.json. FOLDWISE_MIRROR says where to look
first.
"""

from foldwise.core import config, paths, processes
from foldwise.core.environment import Environment


def main(name: str) -> None:
    """Download one data set."""
    from foldwise.datasets import kept
    from foldwise.datasets.download import download

    settings, environment = config.load(), Environment.read()
    dataset, folder = settings.dataset(name), paths.raw(name)
    download(name, dataset, settings.data, folder, environment, kept=kept.content)


if __name__ == "__main__":
    processes.run_stage(main, "dataset", "sonar")
