"""Stage train@variant: one network on every split of its study, and on all rows (refit).

Reads data/prepared/<dataset>/ and data/splits/<study>.parquet, writes runs/<variant>/, and
meanwhile .foldwise/live/<variant>.jsonl, which `foldwise track --follow` watches.
FOLDWISE_WORKERS and FOLDWISE_DEVICE say on what it runs.
"""

import sys

from foldwise.core import config, paths, processes
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError


def main(name: str) -> None:
    """Train one variant."""
    import pandas as pd

    from foldwise.core import files
    from foldwise.datasets import prepared
    from foldwise.engine.cross_validation import cross_validate
    from foldwise.journal import Recorder
    from foldwise.results.runs import write_run

    variant, environment = config.load().variant(name), Environment.read()
    table = paths.splits(variant.study)
    dataset = prepared.load(paths.prepared(variant.dataset))
    if files.read_facts(table)["data_digest"] != dataset.digest:
        raise DataError(f"{table} was made from other data; run `dvc repro split@{variant.study}`")
    plan, digest = pd.read_parquet(table), files.sha256(table)
    with Recorder(paths.journal(name)) as journal:
        run = cross_validate(variant, dataset, plan, digest, environment, journal)
        manifest = write_run(paths.run(name), run)
        journal.end(manifest.status)
    if not manifest.complete:
        print(f"{name} failed: {manifest.reason}", file=sys.stderr)


if __name__ == "__main__":
    processes.run_stage(main, "variant", "sonar-baseline")
