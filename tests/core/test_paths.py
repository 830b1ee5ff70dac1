"""Where things lie, and whose project a folder belongs to."""

from pathlib import Path

import pytest

from foldwise.core import paths


def test_every_kind_of_file_has_its_place() -> None:
    assert [str(place("x")) for place in (
        paths.raw, paths.prepared, paths.splits, paths.run, paths.metrics, paths.scores,
        paths.journal, paths.comparison,
    )] == [
        "data/raw/x", "data/prepared/x", "data/splits/x.parquet", "runs/x", "metrics/x.json",
        "metrics/x.csv", ".foldwise/live/x.jsonl", "comparisons/x.json",
    ]  # fmt: skip


@pytest.mark.parametrize("inside", [".dvc/tmp/exps/standalone/tmpabc", ".dvc/tmp/exps/tmpabc"])
def test_a_folder_of_a_queued_experiment_belongs_to_the_outer_project(
    tmp_path: Path, inside: str
) -> None:
    folder = tmp_path / "project" / inside
    folder.mkdir(parents=True)
    assert paths.home(folder) == (tmp_path / "project").resolve()
    assert paths.is_experiment(folder)


@pytest.mark.parametrize("inside", ["", "work", ".dvc/tmp", ".dvc/cache/tmp/exps/x"])
def test_any_other_folder_is_its_own_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    folder = tmp_path / "project" / inside
    folder.mkdir(parents=True)
    assert paths.home(folder) == folder.resolve()
    assert not paths.is_experiment(folder)
    monkeypatch.chdir(folder)
    assert paths.home(Path()) == folder.resolve()
