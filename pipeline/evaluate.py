"""Stage evaluate@variant: out-of-fold predictions to metrics.

Reads runs/<variant>/, writes metrics/<variant>.json (numbers for `dvc metrics`) and
metrics/<variant>.csv (scores per split).
"""

from foldwise import results
from foldwise.core import config, files, paths, processes
from foldwise.evaluation import evaluate


def main(name: str) -> None:
    """Evaluate one variant."""
    config.load().variant(name)
    folder = paths.run(name)
    evaluation = evaluate(
        results.read_manifest(folder),
        results.read_table(folder, results.HISTORY),
        results.read_table(folder, results.PREDICTIONS),
        results.read_table(folder, results.TEST_PREDICTIONS),
    )
    files.write_json(paths.metrics(name), evaluation.metrics)
    files.write_text(paths.scores(name), evaluation.scores.to_csv(index=False))


if __name__ == "__main__":
    processes.run(main, "variant", "sonar-baseline")
