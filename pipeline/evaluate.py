"""Stage evaluate@variant: out-of-fold predictions to metrics.

Reads runs/<variant>/, writes metrics/<variant>.json (numbers for `dvc metrics`) and
metrics/<variant>.csv (scores per split).
"""

from pathlib import Path

from foldwise.core import config, paths, processes


def main(name: str) -> None:
    """Evaluate one variant."""
    from foldwise.evaluation import evaluate
    from foldwise.results.evaluations import write_evaluation
    from foldwise.results.runs import RunFolder

    settings = config.load()
    study = settings.study(settings.variant(name).study)
    evaluation = evaluate(RunFolder(paths.run(name)), study.comparison.metric)
    write_evaluation(Path(), evaluation)


if __name__ == "__main__":
    processes.run_stage(main, "variant", "sonar-baseline")
