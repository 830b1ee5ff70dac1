"""Stage train@variant: one network on every split of its study, and on all rows (refit).

Reads data/prepared/<dataset>/ and data/splits/<study>.parquet, writes runs/<variant>/. What the
store of trained splits (.foldwise/splits/) has is not trained again. `foldwise track --follow`
watches .foldwise/live/<variant>.jsonl.
FOLDWISE_WORKERS and FOLDWISE_DEVICE say on what it runs.
"""

import sys
from pathlib import Path

from foldwise.core import config, paths, processes
from foldwise.core.environment import Environment


def main(name: str) -> None:
    """Train one variant."""
    from foldwise.engine import executors, tasks
    from foldwise.engine.cross_validation import run_of
    from foldwise.engine.store import Store
    from foldwise.journal import Recorder
    from foldwise.results.runs import write_run

    variant, environment = config.load().variant(name), Environment.read()
    (task,), store = tasks.load([variant], executors.choose_device(environment)), Store(Path())
    tasks.check_room([task], store, paths.run(name))
    with Recorder(paths.journal(name)) as journal:
        run = run_of(task, environment, journal, store)
        manifest = write_run(paths.run(name), run)
        journal.end(manifest.status)
    tasks.shrink(store, task.device)
    if not manifest.complete:
        print(f"{name} failed: {manifest.reason}", file=sys.stderr)


if __name__ == "__main__":
    processes.run_stage(main, "variant", "sonar-baseline")
