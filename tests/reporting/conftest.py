import dataclasses
from pathlib import Path

import pytest
from fabricate import Cache, Project, lessons

from foldwise import reporting
from foldwise.results.studies import StudyResults, read_studies

FAILED = {"pictures-sigmoid": "the loss is not finite in r0-f02 at epoch 2"}


@pytest.fixture(scope="session")
def made(fabricated: Cache) -> Project:
    return fabricated.shared(lessons())


@pytest.fixture(scope="session")
def studies(made: Project) -> list[StudyResults]:
    return read_studies(made.config, made.root)


@pytest.fixture(scope="session")
def troubled(fabricated: Cache) -> list[StudyResults]:
    """Synthetic pictures, one variant of which failed."""
    made = fabricated.shared(lessons(), synthetic=True, failed=FAILED)
    return read_studies(made.config, made.root)


@pytest.fixture(scope="session")
def losses(fabricated: Cache) -> StudyResults:
    """A study of which log-loss is the primary metric: lower is better."""
    made = fabricated.shared(lessons(pictures=100, repeats=1, epochs=3, metric="log_loss"))
    return read_studies(made.config, made.root)[1]


@pytest.fixture(scope="session")
def pictures(studies: list[StudyResults]) -> StudyResults:
    return studies[0]


@pytest.fixture(scope="session")
def echoes(studies: list[StudyResults]) -> StudyResults:
    return studies[1]


@pytest.fixture
def identical(echoes: StudyResults) -> StudyResults:
    """A study in which the first pair has no spread at all."""
    pair, zero = echoes.comparison.made[0], ("mean", "sd", "se", "t", "mde")
    equal = [line.model_copy(update={"difference": 0.0}) for line in pair.differences]
    changes = dict.fromkeys(zero, 0.0) | {"p": 1.0, "naive_p": 1.0, "ci95": (0.0, 0.0)}
    changes |= {"verdict": "Practically the same", "differences": equal}
    pairs = [pair.model_copy(update=changes)]
    comparison = echoes.comparison.model_copy(update={"pairs": pairs})
    return dataclasses.replace(echoes, comparison=comparison)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, studies: list[StudyResults]) -> bytes:
    path = tmp_path_factory.mktemp("report") / "index.html"
    reporting.write_report(studies, path)
    return path.read_bytes()


@pytest.fixture
def page(tmp_path: Path, report: bytes) -> Path:
    path = tmp_path / "index.html"
    path.write_bytes(report)
    return path
