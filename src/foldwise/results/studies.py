"""All of a study's results together, as reports and trackers take them."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foldwise.core import files, paths
from foldwise.core.config import SYNTHETIC, Config, Study
from foldwise.core.errors import MissingError, ReadError, ResultsError
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import Metrics, Result, read_result


@dataclass(frozen=True, eq=False)
class StudyResults:
    """One study's results: its comparison, and its variants in the order of params.yaml."""

    study: Study
    comparison: Comparison
    results: tuple[Result, ...]
    stand_in: bool = False  # whether they are of the stand-in for declared real data

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
        ResultsError: they do not belong together (see `stale_results`).
    """
    return [read_study(config, name, root) for name in config.studies]


def read_study(config: Config, name: str, root: Path = Path()) -> StudyResults:
    """The results of one study; see `read_studies`."""
    results = tuple(read_result(root, variant.name) for variant in config.variants_of(name))
    comparison = read_comparison(root, name)
    if lines := [*_of_other_runs(results), *_of_other_scores(comparison, results)]:
        raise ResultsError("\n".join(lines))
    study = config.study(name)
    stand_in = comparison.synthetic and _has_real(config, study.dataset)
    return StudyResults(study, comparison, results, stand_in)


def stale_results(config: Config, root: Path = Path()) -> list[str]:
    """What does not belong together, of all studies: a line for each, with place and remedy.

    Scores belong to the run that they were made from, and a comparison to the scores that it was
    made from. What an older foldwise wrote does not say, and what is not there or damaged is left
    out.
    """
    lines = []
    for name in config.studies:
        results = list[Result]()
        for variant in config.variants_of(name):
            with suppress(ReadError):
                results.append(read_result(root, variant.name))
        for result in results:
            with suppress(ReadError):
                lines += _of_other_runs([result])
        with suppress(ReadError):
            lines += _of_other_scores(read_comparison(root, name), results)
    return lines


def belongs(comparison: Comparison, root: Path) -> bool:
    """Whether a comparison was made from the scores that are there, and these from their runs.

    Raises:
        DamagedError: a file is not what was written.
    """
    results = []
    for name in comparison.metrics:
        with suppress(MissingError):
            results.append(read_result(root, name))
    return not (_of_other_runs(results) or _of_other_scores(comparison, results))


def _of_other_runs(results: Iterable[Result]) -> list[str]:
    return [result.stale for result in results if result.stale]


def _of_other_scores(comparison: Comparison, results: Iterable[Result]) -> list[str]:
    now, then = {r.name: r.evaluation.digest for r in results}, comparison.metrics
    changed = [name for name in then if now.get(name, then[name]) != then[name]]
    if not changed:
        return []
    path = paths.comparison(comparison.study)
    return [
        f"{path}: made from other metrics of {', '.join(changed)} than {paths.METRICS}/ holds; "
        f"`dvc repro compare@{comparison.study}` compares again"
    ]


def is_whole(config: Config, name: str, root: Path = Path()) -> bool:
    """Whether a study has been trained, evaluated and compared as a whole."""
    try:
        study = read_study(config, name, root)
    except (MissingError, ResultsError):
        return False
    return all(result.run is not None and result.run.exists for result in study.results)


def stand_ins(config: Config, root: Path = Path()) -> list[str]:
    """Data sets of which real editions are declared, and some results are of the stand-in."""
    found = []
    for variant in config.resolved.values():
        with suppress(ReadError):
            metrics = files.read_record(root / paths.metrics(variant.name), Metrics, "")
            if metrics.synthetic and _has_real(config, variant.dataset):
                found.append(variant.dataset)
    return list(dict.fromkeys(found))


def _has_real(config: Config, dataset: str) -> bool:
    return set(config.datasets[dataset].editions) != {SYNTHETIC}
