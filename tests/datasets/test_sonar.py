from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, StandardScaler

from foldwise.core.errors import DataError, MissingError
from foldwise.datasets import sonar
from foldwise.datasets.sonar import FILE

ROCK = ",".join(f"0.{i:02d}" for i in range(1, 61)) + ",R"
METAL = ",".join(f"1.{i:02d}" for i in range(1, 61)) + ",M"


def written(folder: Path, *lines: str, end: str = "\n") -> Path:
    (folder / FILE).write_bytes((end.join(lines) + end).encode())
    return folder


def cell(line: str, column: int, value: str) -> str:
    cells = line.split(",")
    cells[column - 1] = value
    return ",".join(cells)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", [(), ("",), ("", "  ")], ids=["0", "1", "2"])
def test_reads_numbers_and_labels(tmp_path, end, blank):
    dataset = sonar.read(written(tmp_path, ROCK, METAL, *blank, end=end), "uci")
    assert dataset.X.shape == (2, 60)
    assert dataset.X.dtype == np.float32
    assert np.array_equal(dataset.X[0], np.float32([i / 100 for i in range(1, 61)]))
    assert dataset.X[1, 59] == np.float32(1.60)
    assert [dataset.class_names[label] for label in dataset.y] == ["rock", "metal"]
    assert (dataset.scale, dataset.edition, dataset.X_test) == (1.0, "uci", None)
    assert dataset.feature_names[0::59] == ("attribute_1", "attribute_60")


def test_a_byte_order_mark_is_no_data(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xef\xbb\xbf" + f"{ROCK}\n{METAL}\n".encode())
    assert sonar.read(tmp_path, "uci").X[0, 0] == np.float32(0.01)


def test_labels_are_encoded_as_scikit_learn_does(tmp_path):
    dataset = sonar.read(written(tmp_path, ROCK, METAL, ROCK), "uci")
    assert np.array_equal(dataset.y, LabelEncoder().fit_transform(["R", "M", "R"]))


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        (cell(METAL, 7, "abc"), "line 2, column 7", "'abc' is not a finite number"),
        (cell(METAL, 60, "nan"), "line 2, column 60", "'nan' is not a finite number"),
        (cell(METAL, 1, "inf"), "line 2, column 1", "'inf' is not a finite number"),
        (cell(METAL, 1, "-Infinity"), "line 2, column 1", "'-Infinity' is not a finite"),
        (cell(METAL, 3, "1e39"), "line 2, column 3", "'1e39' is not a finite number"),
        (cell(METAL, 3, "1_0"), "line 2, column 3", "'1_0' is not a finite number"),
        (cell(METAL, 3, "٣"), "line 2, column 3", "'٣' is not a finite number"),
        (cell(METAL, 3, ""), "line 2, column 3", "empty"),
        (cell(METAL, 61, ""), "line 2, column 61", "label is missing"),
        (cell(METAL, 61, "X"), "line 2, column 61", "unknown label 'X'"),
        (cell(METAL, 61, "m"), "line 2, column 61", "unknown label 'm'"),
        (METAL.rsplit(",", 1)[0], "line 2, column 61", "missing"),
        (METAL + ",9", "line 2, column 62", "extra value '9'"),
        (METAL.split(",", 1)[1], "line 2, column 60", "label 'M' where a number must be"),
        ("0.1,0.2", "line 2, column 3", "missing"),
        ("", "line 2", "blank line"),
        (METAL.replace(",", ";"), "line 2, column 1", "is not a finite number"),
    ],
)
def test_malformed_line_is_named(tmp_path, line, place, value):
    with pytest.raises(DataError) as caught:
        sonar.read(written(tmp_path, ROCK, line, METAL), "uci")
    message = str(caught.value)
    assert f"{tmp_path / FILE}, {place}: " in message
    assert value in message


def test_header_row_is_named(tmp_path):
    header = ",".join(f"attribute_{i}" for i in range(1, 61)) + ",class"
    with pytest.raises(DataError, match=r"line 1, column 1: 'attribute_1'.* header, remove it"):
        sonar.read(written(tmp_path, header, ROCK, METAL), "uci")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_empty_file(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(DataError, match=f"{FILE}: empty"):
        sonar.read(tmp_path, "uci")


def test_file_that_is_not_text(tmp_path):
    (tmp_path / FILE).write_bytes(ROCK.encode() + b"\n\xff\xfe\n")
    with pytest.raises(DataError, match=f"{FILE}, line 2: not UTF-8 text"):
        sonar.read(tmp_path, "uci")


def test_missing_file(tmp_path):
    with pytest.raises(MissingError, match=f"{FILE}: not there"):
        sonar.read(tmp_path, "uci")


def test_single_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="all 2 rows are of class 'rock'"):
        sonar.read(written(tmp_path, ROCK, ROCK), "uci")


# --- synthetic --------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "rocks"), [(208, 97), (4, 2), (20, 9)])
def test_synthetic_is_sorted_by_class_like_the_real_one(tmp_path, rows, rocks):
    sonar.synthesize(tmp_path, rows)
    dataset = sonar.read(tmp_path, "synthetic")
    assert dataset.X.shape == (rows, 60)
    assert dataset.X.min() >= 0
    assert dataset.X.max() <= 1
    assert np.array_equal(dataset.y, [1] * rocks + [0] * (rows - rocks))
    assert dataset.synthetic


def test_synthetic_is_the_same_bytes_twice(tmp_path):
    for folder in ("one", "two"):
        sonar.synthesize(tmp_path / folder, 208)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()


def test_synthetic_can_be_learnt_but_not_perfectly(tmp_path):
    sonar.synthesize(tmp_path, 208)
    dataset = sonar.read(tmp_path, "synthetic")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    accuracy = cross_val_score(model, dataset.X, dataset.y, cv=5).mean()
    assert 0.65 < accuracy < 0.95
