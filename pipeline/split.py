"""Stage split@study: in which fold each row is held out, the same for every variant.

Reads data/prepared/<dataset>/, writes data/splits/<study>.parquet, which also carries the
digest of the data it belongs to.
"""

from foldwise.core import config, paths, processes


def main(name: str) -> None:
    """Make one study's split table."""
    from foldwise.core import files
    from foldwise.datasets import prepared
    from foldwise.metrics import METRICS
    from foldwise.splits import check_metric, split_table

    study = config.load().study(name)
    dataset = prepared.load(paths.prepared(study.dataset))
    table = split_table(dataset.y, study.cv)
    metric = METRICS[study.comparison.metric]
    check_metric(metric.problem, dataset.y, len(dataset.class_names), table)
    files.write_table(paths.splits(name), table, {"data_digest": dataset.digest})
    print(f"{name}: {study.cv.folds} folds x {study.cv.repeats} repeats of {len(dataset.y)} rows")


if __name__ == "__main__":
    processes.run_stage(main, "study", "sonar")
