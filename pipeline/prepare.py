"""Stage prepare@dataset: raw bytes to arrays.

Reads data/raw/<dataset>/, writes data/prepared/<dataset>/.
"""

from foldwise.core import config, paths, processes


def main(name: str) -> None:
    """Read one data set's raw files and write its arrays."""
    from foldwise.datasets import prepared, provenance, readers

    config.load().dataset(name)
    raw = paths.raw(name)
    edition = provenance.verify(raw).edition
    dataset = readers.module(name).read(raw, edition)
    meta = prepared.save(dataset, paths.prepared(name))
    print(f"{name}: {meta.rows} + {meta.test_rows} rows, edition {meta.edition}")


if __name__ == "__main__":
    processes.run_stage(main, "dataset", "sonar")
