"""Nothing half-written, truncated or flipped is ever accepted."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricate import STARTED, TINY, run

from foldwise.core import files
from foldwise.core.errors import DamagedError, MissingError, ResultsError, WriteError
from foldwise.results import runs
from foldwise.results.runs import Facts, Run, RunFolder, check_complete, predicted, write_run

ROOT = Path(__file__).parents[2]
VARIANT = TINY.config.variant("tiny-plain")
MADE = run(VARIANT, TINY)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run folder."""
    folder = tmp_path_factory.mktemp("written")
    write_run(folder, MADE)
    return {name: (folder / name).read_bytes() for name in runs.FILES}


@pytest.fixture
def folder(tmp_path: Path, written: dict[str, bytes]) -> RunFolder:
    """A run folder that a test may damage."""
    path = tmp_path / "tiny-plain"
    path.mkdir()
    for name, content in written.items():
        (path / name).write_bytes(content)
    return RunFolder(path)


def test_what_was_written_is_read(folder: RunFolder) -> None:
    folder.check()
    assert folder.exists
    for part in ("history", "predictions", "test_predictions", "diagnostics", "timeline"):
        pd.testing.assert_frame_equal(getattr(folder, part), getattr(MADE, part))
    assert folder.weights.keys() == MADE.weights.keys()
    assert all(np.array_equal(folder.weights[name], MADE.weights[name]) for name in MADE.weights)
    assert folder.facts == MADE.facts
    digests = {name: files.sha256(folder.path / name) for name in runs.VERIFIED}
    assert folder.manifest == MADE.manifest.model_copy(update={"files": digests})


def test_writing_again_gives_the_same_bytes(
    folder: RunFolder, written: dict[str, bytes], tmp_path: Path
) -> None:
    read = Run(
        folder.manifest, folder.history, folder.predictions, folder.test_predictions,
        folder.diagnostics, folder.weights, folder.timeline, folder.facts,
    )  # fmt: skip
    manifest = write_run(tmp_path / "again", read)
    assert manifest == folder.manifest
    for name, content in written.items():
        assert (tmp_path / "again" / name).read_bytes() == content, name


@pytest.mark.parametrize("calls", range(17))
def test_a_write_that_is_cut_short_leaves_a_whole_run_or_none(
    calls: int, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any of its flushes and renames: 7 files, the folder, 7 renames, the folder."""
    before, other, count = folder.manifest, run(VARIANT, TINY, seed=1), iter(range(calls))

    def killing(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(count, None) is None:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    monkeypatch.setattr(os, "fsync", killing(os.fsync))
    monkeypatch.setattr(Path, "replace", killing(Path.replace))
    with contextlib.suppress(KeyboardInterrupt):
        write_run(folder.path, other)
    monkeypatch.undo()
    again, files_of_it = RunFolder(folder.path), len(runs.FILES)
    if calls < files_of_it:
        again.check()
        assert again.manifest == before
    elif calls <= 2 * files_of_it:
        with pytest.raises(MissingError, match="not complete"):
            again.check()
    assert list(folder.path.glob(".*")) == []
    after = write_run(folder.path, other)
    RunFolder(folder.path).check()
    assert RunFolder(folder.path).manifest == after != before


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(WriteError, match=r"runs/tiny-plain: cannot be written"):
        write_run(tmp_path / "runs" / "tiny-plain", MADE)


@pytest.mark.parametrize("name", runs.VERIFIED)
@pytest.mark.parametrize("fault", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named(folder: RunFolder, name: str, fault: str) -> None:
    path = folder.path / name
    content = bytearray(path.read_bytes())
    if fault == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif fault == "truncate":
        path.write_bytes(content[:-7])
    else:
        path.unlink()
    with pytest.raises((MissingError, DamagedError), match=f"{name}: (damaged|missing)") as caught:
        folder.check()
    assert "`dvc checkout --force train@tiny-plain` restores it" in str(caught.value)


@pytest.mark.parametrize("fault", ["cut", "other", "remove"])
def test_a_damaged_timeline_is_named(folder: RunFolder, fault: str) -> None:
    """It has no digest: it is no result."""
    path = folder.path / runs.TIMELINE
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif fault == "other":
        pd.DataFrame({"epoch": [1]}).to_parquet(path)
    else:
        path.unlink()
    for part in ("timeline", "facts"):
        with pytest.raises(
            (MissingError, DamagedError), match=r"timeline\.parquet: .*dvc checkout"
        ):
            getattr(RunFolder(folder.path), part)


def test_without_its_manifest_a_run_is_not_complete(folder: RunFolder) -> None:
    (folder.path / runs.MANIFEST).unlink()
    assert not folder.exists
    with pytest.raises(MissingError, match="not complete; `dvc pull` or `dvc repro train@tiny-"):
        folder.check()


@pytest.mark.parametrize("text", ["", "[]", "7", "null", '"run"', '{"schema": 1}', "{}", "\x00"])
def test_a_damaged_manifest_is_named(folder: RunFolder, text: str) -> None:
    (folder.path / runs.MANIFEST).write_text(text)
    with pytest.raises(DamagedError, match=r"run\.json: .*`dvc checkout --force"):
        folder.check()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 99}, "schema 99, this foldwise reads 1"),
        ({"status": "done"}, "status: Input should be 'complete' or 'failed'"),
        ({"parameters": "many"}, "parameters: Input should be a valid integer"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    folder: RunFolder, change: dict[str, object], reason: str
) -> None:
    path = folder.path / runs.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedError, match=rf"run\.json: .*{reason}"):
        folder.check()


def test_run_json_keeps_its_keys(written: dict[str, bytes]) -> None:
    """Without times, ids or paths, so that the same training gives the same bytes."""
    tree = json.loads(written[runs.MANIFEST])
    assert set(tree) == {
        "schema", "status", "reason", "variant", "dataset", "split_digest", "code_digest",
        "numerics", "versions", "device", "parameters", "splits", "files",
    }  # fmt: skip
    assert tree["splits"] == [[0, 0], [0, 1], [1, 0], [1, 1], [-1, -1]]
    assert set(tree["files"]) == set(runs.VERIFIED)


def test_a_failed_run_says_why() -> None:
    failed = run(VARIANT, TINY, failed={"tiny-plain": "the loss is not finite in r0-f01"})
    check_complete(MADE.manifest)
    with pytest.raises(ResultsError, match="tiny-plain failed: the loss is not finite in r0-f01"):
        check_complete(failed.manifest)


def test_facts_may_be_unknown_yet() -> None:
    assert Facts(started=STARTED).model_dump(exclude_none=True) == {
        "started": STARTED, "device": "cpu", "workers": 1, "threads": 1,
    }  # fmt: skip


def test_the_predicted_class_is_the_most_probable_one() -> None:
    table = pd.DataFrame({"p0": [0.5, 0.2, 0.2], "p1": [0.5, 0.7, 0.4], "p2": [0.0, 0.1, 0.4]})
    assert predicted(table.assign(probe=9)).tolist() == [0, 1, 1]  # of two that tie the lower
    assert predicted(table.head(0)).tolist() == []


@pytest.mark.slow
def test_dvc_does_not_see_what_is_half_written() -> None:
    """Nothing runs again because a process was killed."""
    names = ["runs/a/.a.abcd_123/run.json", "metrics/.a.json.abcd_123", "comparisons/.s.json.abc"]
    seen = ["runs/a/run.json", "metrics/a.json", "comparisons/s.json"]
    command = [sys.executable, "-m", "dvc", "check-ignore", *names, *seen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == names
