import subprocess
import sys
from pathlib import Path

import pytest
from fabricated import Project, project

from foldwise import reporting
from foldwise.core import paths
from foldwise.core.errors import ResultsError


def test_only_declared_variants_are_read_in_their_order(made: Project) -> None:
    studies = reporting.load(made.config, made.root)
    found = {study.name: [v.name for v in study.variants] for study in studies}
    assert found == {
        name: [v.name for v in made.config.variants_of(name)] for name in made.config.studies
    }


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        (paths.metrics("echoes-baseline"), "evaluate@echoes-baseline"),
        (paths.scores("echoes-baseline"), "evaluate@echoes-baseline"),
        (paths.comparison("echoes"), "compare@echoes"),
    ],
)
def test_a_missing_file_names_the_stage_that_makes_it(
    tmp_path: Path, path: Path, stage: str
) -> None:
    made = project(tmp_path, pictures=100, repeats=1, epochs=3)
    (tmp_path / path).unlink()
    with pytest.raises(ResultsError, match=f"{path.name}: not there; `dvc repro {stage}`"):
        reporting.load(made.config, made.root)


def test_damaged_json_is_refused(tmp_path: Path) -> None:
    made = project(tmp_path, pictures=100, repeats=1, epochs=3)
    (tmp_path / paths.comparison("echoes")).write_text("{", encoding="utf-8")
    with pytest.raises(ResultsError, match="damaged"):
        reporting.load(made.config, made.root)


def test_importing_draws_nothing() -> None:
    code = "import sys, foldwise.reporting; print({'altair', 'torch', 'mlflow'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "set()"
