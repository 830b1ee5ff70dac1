import dataclasses
from pathlib import Path

import pytest
from fabricated import Project, project

from foldwise import reporting
from foldwise.reporting import StudyResults

FAILED = {"pictures-sigmoid": "the loss is not finite in r0-f02 at epoch 2"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def studies(made: Project) -> list[StudyResults]:
    return reporting.load(made.config, made.root)


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> list[StudyResults]:
    """Synthetic pictures, one variant of which failed."""
    made = project(tmp_path_factory.mktemp("troubled"), synthetic=True, failed=FAILED)
    return reporting.load(made.config, made.root)


@pytest.fixture(scope="session")
def pictures(studies: list[StudyResults]) -> StudyResults:
    return studies[0]


@pytest.fixture(scope="session")
def echoes(studies: list[StudyResults]) -> StudyResults:
    return studies[1]


@pytest.fixture
def identical(echoes: StudyResults) -> StudyResults:
    """A study in which the first pair has no spread at all."""
    pair = dict(echoes.pairs[0])
    pair |= {"mean": 0.0, "sd": 0.0, "se": 0.0, "t": 0.0, "p": 1.0, "naive_p": 1.0, "mde": 0.0}
    pair |= {"ci95": [0.0, 0.0], "verdict": "Practically the same"}
    pair["differences"] = [{**row, "difference": 0.0} for row in pair["differences"]]
    return dataclasses.replace(echoes, comparison={**echoes.comparison, "pairs": [pair]})


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
