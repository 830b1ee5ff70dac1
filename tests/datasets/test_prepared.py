import errno
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from foldwise.core.errors import DamagedError, DataError, MissingError, WriteError
from foldwise.datasets import prepared
from foldwise.datasets.prepared import ARRAYS, META, Dataset


@pytest.fixture
def dataset():
    rng = np.random.default_rng(0)
    return Dataset(
        name="tiny",
        X=rng.integers(0, 256, (6, 3, 2, 2), dtype=np.uint8),
        y=np.array([0, 1, 2, 0, 1, 2]),
        X_test=rng.integers(0, 256, (2, 3, 2, 2), dtype=np.uint8),
        y_test=np.array([2, 0]),
        class_names=("a", "b", "ç"),
        scale=255.0,
        edition="official",
    )


def same(a: Dataset, b: Dataset) -> bool:
    arrays = a.arrays.keys() == b.arrays.keys() and all(
        np.array_equal(a.arrays[k], b.arrays[k]) and a.arrays[k].dtype == b.arrays[k].dtype
        for k in a.arrays
    )
    facts = ("name", "class_names", "scale", "edition", "digest")
    return arrays and all(getattr(a, f) == getattr(b, f) for f in facts)


@pytest.mark.parametrize("test_rows", [True, False])
def test_round_trip(dataset, tmp_path, test_rows):
    if not test_rows:
        dataset = replace(dataset, X_test=None, y_test=None)
    prepared.save(dataset, tmp_path / "new" / "folder")
    assert same(prepared.load(tmp_path / "new" / "folder"), dataset)


def test_float_rows_that_are_views_round_trip(tmp_path):
    X = np.arange(24, dtype=np.float32).reshape(4, 6).T[::2]  # neither contiguous nor owned
    dataset = Dataset("tiny", X, np.array([0, 1, 1]), None, None, ("a", "b"), 1.0, "uci")
    prepared.save(dataset, tmp_path)
    assert same(prepared.load(tmp_path), dataset)


def test_loaded_arrays_can_be_written_to(dataset, tmp_path):
    prepared.save(dataset, tmp_path)
    assert prepared.load(tmp_path).X.flags.writeable  # torch.from_numpy warns otherwise


def test_same_dataset_gives_the_same_bytes(dataset, tmp_path):
    for folder in ("one", "two"):
        prepared.save(dataset, tmp_path / folder)
    for file in (ARRAYS, META):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 2  # no temporary file stays
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "one").iterdir()} == {0o644}


def test_meta_says_what_is_in_it(dataset, tmp_path):
    saved = prepared.save(dataset, tmp_path)
    tree = json.loads((tmp_path / META).read_text(encoding="utf-8"))
    assert tree == {
        "class_names": ["a", "b", "ç"],
        "digest": dataset.digest,
        "dtype": "uint8",
        "edition": "official",
        "feature_names": [],
        "name": "tiny",
        "rows": 6,
        "scale": 255.0,
        "shape": [3, 2, 2],
        "synthetic": False,
        "test_rows": 2,
    }
    assert list(tree) == sorted(tree)
    assert prepared.load_meta(tmp_path) == saved == prepared.describe(dataset)


def changed(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[-1] = 1 if array.flat[-1] == 0 else 0
    return array


def test_digest_changes_with_every_part(dataset):
    others = [
        *(replace(dataset, **{k: changed(v)}) for k, v in dataset.arrays.items()),
        replace(dataset, X=dataset.X.reshape(6, 12), X_test=dataset.X_test.reshape(2, 12)),
        replace(dataset, X=dataset.X.astype(np.float32), X_test=dataset.X_test.astype(np.float32)),
        replace(dataset, X_test=None, y_test=None),
        replace(dataset, name="other"),
        replace(dataset, edition="jpeg"),
        replace(dataset, scale=1.0),
        replace(dataset, class_names=("a", "b", "c")),
    ]
    assert len({dataset.digest, *(other.digest for other in others)}) == 12
    assert replace(dataset).digest == dataset.digest


def test_digest_is_pinned():
    """A change of the canonical form would retrain everything: make it on purpose."""
    X = np.array([[0.5], [1.5]], dtype=np.float32)
    dataset = Dataset("tiny", X, np.array([0, 1]), None, None, ("a", "b"), 1.0, "uci")
    big = replace(dataset, X=X.astype(">f4"))
    assert dataset.digest == big.digest
    assert dataset.digest == "e4cadcc6abd0bf97cb0e0b62f8d6296769c7891b8189a3cfc09673e04f90b2c8"


def test_names_of_features_are_kept_and_decide_nothing(tmp_path):
    X, names = np.array([[0.5, 2], [1.5, 3]], dtype=np.float32), ("wide", "narrow")
    dataset = Dataset("tiny", X, np.array([0, 1]), None, None, ("a", "b"), 1.0, "uci", names)
    prepared.save(dataset, tmp_path)
    assert prepared.load(tmp_path).feature_names == names
    assert replace(dataset, feature_names=()).digest == dataset.digest
    with pytest.raises(DataError, match="one name per column"):
        replace(dataset, feature_names=("wide", "wide"))


def test_synthetic_is_an_edition(dataset):
    assert not dataset.synthetic
    assert replace(dataset, edition="synthetic").synthetic


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(6, dtype=np.int64)}, "all 6 rows are of class 'a'"),
        ({"y": np.array([0, 1, 2, 0, 1])}, "one row per label"),
        ({"y": np.array([0, 1, 2, 0, 1, 3])}, r"not in 0 \.\.\. 2"),
        ({"y": np.array([0, 1, 2, 0, 1, -1])}, r"not in 0 \.\.\. 2"),
        ({"y": np.array([0, 1, 2, 0, 1, 2], dtype=np.int32)}, "int64"),
        ({"X": np.zeros((6, 3, 2, 2))}, "float64"),
        ({"X_test": None}, "together"),
        ({"X_test": np.zeros((2, 3, 2, 3), dtype=np.uint8)}, "test rows"),
        ({"y_test": np.array([0, 5])}, "test rows"),
        ({"feature_names": ("a", "b", "c")}, "one name per column"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(dataset, change, message):
    with pytest.raises(DataError, match=message):
        replace(dataset, **change)


@pytest.mark.parametrize("file", [ARRAYS, META])
def test_missing_file_is_named(dataset, tmp_path, file):
    prepared.save(dataset, tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(MissingError, match=f"{file}: not there"):
        prepared.load(tmp_path)


@pytest.mark.parametrize("file", [ARRAYS, META])
@pytest.mark.parametrize("keep", [0, 5, -1])
def test_truncated_file_is_named(dataset, tmp_path, file, keep):
    prepared.save(dataset, tmp_path)
    content = (tmp_path / file).read_bytes().rstrip(b"\n")
    (tmp_path / file).write_bytes(content[:keep])
    with pytest.raises(DamagedError, match=f"{file}: damaged"):
        prepared.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "x"}', "\xff"])
def test_meta_that_is_not_meta_is_named(dataset, tmp_path, text):
    prepared.save(dataset, tmp_path)
    (tmp_path / META).write_bytes(text.encode("latin1"))
    with pytest.raises(DamagedError, match=f"{META}: damaged"):
        prepared.load_meta(tmp_path)


def test_files_of_two_data_sets_do_not_mix(dataset, tmp_path):
    prepared.save(dataset, tmp_path / "a")
    prepared.save(replace(dataset, X=changed(dataset.X)), tmp_path / "b")
    (tmp_path / "b" / ARRAYS).replace(tmp_path / "a" / ARRAYS)
    with pytest.raises(DamagedError, match=r"digest .* but meta\.json says"):
        prepared.load(tmp_path / "a")


def test_full_disk_leaves_the_previous_files(dataset, tmp_path, monkeypatch):
    prepared.save(dataset, tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        prepared.save(replace(dataset, edition="jpeg"), tmp_path)
    assert same(prepared.load(tmp_path), dataset)
    assert len(list(tmp_path.iterdir())) == 2


def test_folder_that_cannot_be_written_is_named(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/x/arrays\.safetensors: cannot be written"):
        prepared.save(dataset, tmp_path / "file" / "x")


@pytest.mark.contract
def test_training_may_import_it_without_the_readers():
    heavy = ("torch", "requests", "PIL", "pandas", "pyarrow", "foldwise.datasets.readers")
    code = (
        f"import sys, foldwise.datasets.prepared; print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
