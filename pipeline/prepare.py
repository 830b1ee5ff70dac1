"""Stage prepare@dataset: raw bytes to arrays.

Reads data/raw/<dataset>/, writes data/prepared/<dataset>/.
"""

from foldwise.core import config, paths, processes
from foldwise.core.errors import DataError


def main(name: str) -> None:
    """Read one data set's raw files and write its arrays."""
    from foldwise.datasets import prepared, provenance, readers

    config.load().dataset(name)
    raw = paths.raw(name)
    edition = provenance.verify(raw).edition
    try:
        dataset = readers.module(name).read(raw, edition)
    except DataError as error:
        remedy = "so it was downloaded: correct it there, and size and sha256 in params.yaml"
        raise DataError(f"{error} ({remedy})") from error
    meta = prepared.save(dataset, paths.prepared(name))
    print(f"{name}: {meta.rows} + {meta.test_rows} rows, edition {meta.edition}")


if __name__ == "__main__":
    processes.run_stage(main, "dataset", "sonar")
