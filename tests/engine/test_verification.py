"""A run is trained again and compared to the byte; what differs is named, and what explains it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from test_tasks import DEEP, HERE, PLAIN, TOY, WILD, write_inputs

from foldwise.core import files, paths
from foldwise.core.errors import DataError, MissingError
from foldwise.datasets import prepared
from foldwise.engine import tasks
from foldwise.engine.cross_validation import run_of
from foldwise.engine.verification import Verification, verify
from foldwise.results.runs import Run, RunFolder, write_run
from foldwise.wording.verification import text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """What PLAIN, DEEP and WILD give."""
    root = tmp_path_factory.mktemp("inputs")
    write_inputs(root, PLAIN)
    all_of_them = tasks.load([PLAIN, DEEP, WILD], "cpu", root)
    return {task.learner.variant.name: run_of(task, HERE) for task in all_of_them}


@pytest.fixture
def root(runs: dict[str, Run], tmp_path: Path) -> Path:
    """Data and run folders; no split tables, which are not needed."""
    prepared.save(TOY, tmp_path / paths.prepared("toy"))
    for name, run in runs.items():
        write_run(tmp_path / paths.run(name), run)
    return tmp_path


def verified(root: Path, every: bool = False) -> Verification:
    (one,) = verify([PLAIN.name], HERE, every, root)
    return one


def test_a_run_comes_out_again(root: Path) -> None:
    for verification in verify([PLAIN.name, DEEP.name], HERE, root=root):
        assert verification.places == [(0, 0)]
        assert (verification.differences, verification.changed) == ([], {})
        assert text(verification).endswith("r0-f00 trained again: the same to the byte")
    for verification in verify([PLAIN.name, DEEP.name], HERE, every=True, root=root):
        assert len(verification.places) == 9
        assert verification.differences == []
    assert not (root / paths.STORE).exists()


def test_a_failed_run_has_nothing_to_compare(root: Path) -> None:
    (one,) = verify(["wild"], HERE, root=root)
    assert text(one) == "wild: its training failed, so there is nothing to compare"
    assert one.differences == []


def test_one_bit_of_a_weight_is_a_difference(root: Path, runs: dict[str, Run]) -> None:
    run = runs[PLAIN.name]
    changed = {name: array.copy() for name, array in run.weights.items()}
    bits = changed["output.bias"].view(np.uint32)
    bits[3] ^= 1
    folder = root / paths.run(PLAIN.name)
    files.write_bytes(folder / "models.safetensors", safetensors.numpy.save(changed))
    manifest = RunFolder(folder).manifest
    tree = files.read_json(folder / "run.json", "")
    tree["files"]["models.safetensors"] = files.sha256(folder / "models.safetensors")
    files.write_json(folder / "run.json", tree)
    assert verified(root).differences == []  # of another split
    one = verified(root, every=True)
    (difference,) = one.differences
    assert (difference.place, difference.parts) == (manifest.splits[3], ["weights"])
    assert "9 splits trained again: 1 of 9 differ" in text(one)
    assert "nothing that run.json records is different here" in text(one)


def test_what_differs_is_named_with_scores_and_versions(root: Path, runs: dict[str, Run]) -> None:
    """A run of other numerics: its curves, predictions and record are not what comes out here."""
    run = runs[PLAIN.name]
    assert run.manifest.numerics is not None
    versions = {**run.manifest.numerics.versions, "numba": "0.1"}
    numerics = run.manifest.numerics.model_copy(update={"versions": versions})
    manifest = run.manifest.model_copy(update={"numerics": numerics, "code_digest": "c" * 64})
    history = run.history.assign(validation_accuracy=run.history["validation_accuracy"] / 2)
    predictions = run.predictions.assign(p0=run.predictions["p0"] / 2)
    changed = Run(
        **{**vars(run), "manifest": manifest, "history": history, "predictions": predictions}
    )
    write_run(root / paths.run(PLAIN.name), changed)
    one = verified(root)
    (difference,) = one.differences
    assert difference.parts == ["history", "held_out"]
    before, after = difference.scores["validation_accuracy"]
    assert after == pytest.approx(2 * before)
    assert difference.probabilities > 0
    assert one.changed.keys() == {"code", "numba"}
    said = text(one)
    assert f"validation accuracy {100 * before:.2f} % → {100 * after:.2f} %" in said
    assert "  numba: 0.1 in run.json, " in said
    assert f"  code: {16 * 'c'} in run.json, " in said


def test_a_run_of_an_older_foldwise_says_that_nothing_was_recorded(
    root: Path, runs: dict[str, Run]
) -> None:
    run = runs[PLAIN.name]
    older = run.manifest.model_copy(update={"numerics": None})
    half = run.predictions.assign(p0=run.predictions["p0"] / 2)
    write_run(
        root / paths.run(PLAIN.name), Run(**{**vars(run), "manifest": older, "predictions": half})
    )
    assert "  path: not recorded in run.json, compiled here" in text(verified(root))


def test_other_data_and_missing_runs_are_errors(root: Path) -> None:
    with pytest.raises(MissingError, match=r"run\.json: not there"):
        verify(["other"], HERE, root=root)
    prepared.save(replace(TOY, edition="x"), root / paths.prepared("toy"))
    with pytest.raises(DataError, match="not the data of"):
        verified(root)
