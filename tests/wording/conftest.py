from collections.abc import Callable

import pytest
from fabricate import Cache, lessons

from foldwise.results.studies import StudyResults, read_studies

FAILED = {"pictures-sigmoid": "the loss is not finite in r0-f02 at epoch 2"}


@pytest.fixture(scope="session")
def studies(fabricated: Cache) -> list[StudyResults]:
    made = fabricated.shared(lessons())
    return read_studies(made.config, made.root)


@pytest.fixture(scope="session")
def troubled(fabricated: Cache) -> list[StudyResults]:
    """Synthetic pictures, one variant of which failed."""
    made = fabricated.shared(lessons(), synthetic=True, failed=FAILED)
    return read_studies(made.config, made.root)


@pytest.fixture(scope="session")
def by_metric(fabricated: Cache) -> Callable[[str], StudyResults]:
    """A study by its primary metric."""

    def study(metric: str) -> StudyResults:
        made = fabricated.shared(lessons(pictures=100, repeats=1, epochs=3, metric=metric))
        return read_studies(made.config, made.root)[1]

    return study
