"""Nothing half-written, truncated or flipped is ever accepted."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldwise import results
from foldwise.core import files
from foldwise.core.errors import ResultsError
from foldwise.results import RunFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = pd.DataFrame({"row": range(100), "repeat": 0, "fold": 0, "p0": np.linspace(0, 1, 100)})
    run = RunFiles(
        manifest={"schema": results.SCHEMA, "status": "complete"},
        history=table,
        predictions=table,
        test_predictions=table[:0],
        diagnostics=table[["row"]],
        weights={"w": np.arange(6.0).reshape(2, 3)},
        timeline=table[["row"]],
        facts={"started": 1.5},
    )
    results.write(tmp_path / "some-variant", run)
    return tmp_path / "some-variant"


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    results.write(tmp_path / "again", results.read(folder))
    for name in results.FILES:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize("name", [results.HISTORY, results.PREDICTIONS, results.MODELS])
@pytest.mark.parametrize("fault", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named(folder: Path, name: str, fault: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    if fault == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif fault == "truncate":
        path.write_bytes(content[:-7])
    else:
        path.unlink()
    with pytest.raises(ResultsError, match=f"{name}: (damaged|missing).*dvc") as caught:
        results.read(folder)
    assert "some-variant" in str(caught.value)


def test_without_its_manifest_a_run_is_not_complete(folder: Path) -> None:
    (folder / results.MANIFEST).unlink()
    with pytest.raises(ResultsError, match="not complete; `dvc pull`"):
        results.read(folder)


def test_a_damaged_manifest_is_named(folder: Path) -> None:
    path = folder / results.MANIFEST
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ResultsError, match=r"run\.json: damaged"):
        results.read(folder)


def test_another_schema_is_refused(folder: Path) -> None:
    path = folder / results.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ResultsError, match="schema 99"):
        results.read(folder)


def test_a_failed_write_leaves_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_text(path, "whole")

    def full_disk(part: Path) -> None:
        part.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(ResultsError, match=r"file\.txt: cannot be written \(No space left"):
        files.atomically(path, full_disk)
    assert path.read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_json_is_canonical_and_has_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "ü"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "ü",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"b": float("nan")})
    assert files.digest({"b": 1, "a": 2}) == files.digest({"a": 2, "b": 1})


def test_split_names() -> None:
    assert results.split_name(0, 3) == "r0-f03"
    assert results.split_name(results.REFIT, results.REFIT) == "refit"
