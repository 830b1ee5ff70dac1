"""All of a study's results together, as reports and trackers take them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from foldwise.core import paths
from foldwise.core.config import Config, Study
from foldwise.core.errors import MissingError, ResultsError
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import Result, read_result


@dataclass(frozen=True, eq=False)
class StudyResults:
    """One study's results: its comparison, and its variants in the order of params.yaml."""

    study: Study
    comparison: Comparison
    results: tuple[Result, ...]

    @property
    def name(self) -> str:
        """The study."""
        return self.study.name

    @property
    def complete(self) -> list[Result]:
        """The variants that have scores."""
        return [result for result in self.results if result.metrics.complete]

    @property
    def failed(self) -> list[Result]:
        """The variants whose training failed."""
        return [result for result in self.results if not result.metrics.complete]


def read_studies(config: Config, root: Path = Path()) -> list[StudyResults]:
    """The results of every study that params.yaml declares.

    Only what is declared is read, never what happens to lie in a folder.

    Raises:
        MissingError: a file is not there.
        DamagedError: a file is not what was written.
        ResultsError: they do not belong together (see `stale`).
    """
    return [read_study(config, name, root) for name in config.studies]


def read_study(config: Config, name: str, root: Path = Path()) -> StudyResults:
    """The results of one study; see `read_studies`."""
    results = tuple(read_result(root, variant.name) for variant in config.variants_of(name))
    comparison = read_comparison(root, name)
    if lines := stale(results, comparison):
        raise ResultsError("\n".join(lines))
    return StudyResults(config.study(name), comparison, results)


def stale(results: Iterable[Result], comparison: Comparison | None = None) -> list[str]:
    """What does not belong together, a line for each: place, reason and remedy.

    Scores belong to the run that they were made from, and a comparison to the scores that it was
    made from. What an older foldwise wrote does not say, nor does a run folder that is not there.

    Raises:
        DamagedError: a run's manifest is not what was written.
    """
    lines = [result.stale for result in results if result.stale]
    if comparison is not None:
        now = {result.name: result.evaluation.digest for result in results}
        then = comparison.metrics
        changed = [name for name in then if now.get(name, then[name]) != then[name]]
        if changed:
            study = comparison.study
            lines.append(
                f"{paths.comparison(study)}: made from other metrics of {', '.join(changed)} than "
                f"{paths.METRICS}/ holds; `dvc repro compare@{study}` compares again"
            )
    return lines


def is_whole(config: Config, name: str, root: Path = Path()) -> bool:
    """Whether a study has been trained, evaluated and compared as a whole."""
    try:
        study = read_study(config, name, root)
    except (MissingError, ResultsError):
        return False
    return all(result.run is not None and result.run.exists for result in study.results)
