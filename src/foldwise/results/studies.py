"""All of a study's results together, as reports and trackers take them."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from foldwise.core import files, paths
from foldwise.core.config import SYNTHETIC, Config, Study
from foldwise.core.errors import ReadError
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import Metrics, Result, read_result
from foldwise.results.runs import MANIFEST


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
    """
    return [read_study(config, name, root) for name in config.studies]


def read_study(config: Config, name: str, root: Path = Path()) -> StudyResults:
    """The results of one study; see `read_studies`."""
    results = tuple(read_result(root, variant.name) for variant in config.variants_of(name))
    return StudyResults(config.study(name), read_comparison(root, name), results)


def is_whole(config: Config, name: str, root: Path = Path()) -> bool:
    """Whether a study has been trained, evaluated and compared as a whole."""
    needed = [paths.comparison(name)]
    for variant in config.variants_of(name):
        needed += [paths.metrics(variant.name), paths.scores(variant.name)]
        needed += [paths.run(variant.name) / MANIFEST]
    return all((root / path).is_file() for path in needed)


def stand_ins(config: Config, root: Path = Path()) -> list[str]:
    """Data sets of which real editions are declared, and some results are of the stand-in."""
    found = []
    for variant in config.resolved.values():
        with suppress(ReadError):
            metrics = files.read_record(root / paths.metrics(variant.name), Metrics, "")
            if metrics.synthetic and set(config.datasets[variant.dataset].editions) != {SYNTHETIC}:
                found.append(variant.dataset)
    return list(dict.fromkeys(found))
