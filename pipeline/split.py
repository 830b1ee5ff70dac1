"""Stage split@study: in which fold each row is held out, the same for every variant.

Reads data/prepared/<dataset>/, writes data/splits/<study>.parquet, which also carries the
digest of the data it belongs to.
"""

from foldwise.core import config, files, paths, processes
from foldwise.datasets import prepared
from foldwise.splits import split_table


def main(name: str) -> None:
    """Make one study's split table."""
    study = config.load().study(name)
    dataset = prepared.load(paths.prepared(study.dataset))
    table = split_table(dataset.y, study.cv)
    files.write_table(paths.splits(name), table, {"data_digest": dataset.digest})
    print(f"{name}: {study.cv.folds} folds x {study.cv.repeats} repeats of {len(dataset.y)} rows")


if __name__ == "__main__":
    processes.run(main, "study", "sonar")
