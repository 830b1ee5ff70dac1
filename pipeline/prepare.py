"""Stage prepare@dataset: raw bytes to arrays.

Reads data/raw/<dataset>/, writes data/prepared/<dataset>/.
"""

from foldwise import config, paths, stage
from foldwise.datasets import prepared
from foldwise.datasets.registry import read


def main(name: str) -> None:
    """Read one data set's raw files and write its arrays."""
    config.load().dataset(name)
    meta = prepared.save(read(name, paths.raw(name)), paths.prepared(name))
    print(f"{name}: {meta.rows} + {meta.test_rows} rows, edition {meta.edition}")


if __name__ == "__main__":
    stage.run(main, "dataset", "sonar")
