"""Files as users have them → probabilities, by the network of a run folder."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import dataset, images, variant
from PIL import Image

from foldwise import prediction
from foldwise.commands.main import main
from foldwise.core import files, paths
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.core.errors import DataError, MissingError, ResultsError
from foldwise.datasets.prepared import Dataset
from foldwise.engine.cross_validation import cross_validate
from foldwise.results.runs import (
    MANIFEST,
    RunFolder,
    as_json,
    is_refit,
    probabilities,
    write_run,
)
from foldwise.splits import split_table
from foldwise.wording import predictions as wording
from foldwise.wording.predictions import Prediction

HERE = Environment(workers=1, device="cpu")

ROW = "1,2,3,4,5,6"
PARAMS = """
datasets: {toy: {editions: {synthetic: {rows: 40}}}}
studies:
  toy-study:
    dataset: toy
    cv: {folds: 4}
    training: {epochs: 4, batch_size: 8, shuffle: true, optimizer: {name: sgd, lr: 0.1}}
    comparison: {baseline: table}
variants: {table: {study: toy-study, hidden: [5]}, untrained: {study: toy-study, hidden: [5]}}
"""


def colour(data: Dataset) -> Dataset:
    """The same pictures with three channels."""
    three = [np.concatenate([X, X[:, :1]], axis=1) for X in (data.X, data.X_test) if X is not None]
    assert data.y_test is not None
    return Dataset(
        data.name, three[0], data.y, three[1], data.y_test, data.class_names, 255.0, "made-up"
    )


def train(root: Path, v: Variant, data: Dataset) -> None:
    run = cross_validate(v, data, split_table(data.y, v.cv), "digest", HERE)
    write_run(root / paths.run(v.name), run)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a trained variant on a table, and one on pictures."""
    folder = tmp_path_factory.mktemp("project")
    (folder / paths.PARAMS).write_text(PARAMS)
    training = {"preprocessing": "standardize"}
    train(folder, variant(name="table", training=training), dataset(test_rows=8))
    train(folder, variant(name="pictures"), colour(images()))
    return folder


def expected(root: Path, name: str) -> np.ndarray:
    """What the run says of its test rows, by the network trained on all others."""
    table = RunFolder(root / paths.run(name)).test_predictions
    refit = [is_refit(place) for place in zip(table["repeat"], table["fold"], strict=True)]
    return probabilities(table[refit].sort_values("row"))


def write_table(path: Path, X: np.ndarray, **options: object) -> Path:
    pd.DataFrame(X).to_csv(path, index=False, float_format="%.9g", **options)
    return path


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


def ask(root: Path, name: str, *files: Path) -> np.ndarray:
    model = prediction.predictor(name, root, HERE)
    answers = prediction.predict(model, [prediction.read(file, model.shape) for file in files])
    return np.array([list(answer.probabilities.values()) for answer in answers])


# --- the same as the run says -----------------------------------------------------------------


def test_a_table_gives_what_the_run_predicted(root: Path, tmp_path: Path) -> None:
    data = dataset(test_rows=8)
    assert data.X_test is not None
    for header in (True, False):
        path = write_table(tmp_path / "rows.csv", data.X_test, header=header)
        np.testing.assert_allclose(ask(root, "table", path), expected(root, "table"), atol=1e-5)


def test_pictures_give_what_the_run_predicted(root: Path, tmp_path: Path) -> None:
    data = colour(images())
    assert data.X_test is not None
    files = [write_picture(tmp_path / f"{i}.png", x) for i, x in enumerate(data.X_test)]
    np.testing.assert_allclose(ask(root, "pictures", *files), expected(root, "pictures"), atol=1e-5)


def test_as_a_command(root: Path, tmp_path: Path) -> None:
    X = dataset(test_rows=8).X_test
    assert X is not None
    path = write_table(tmp_path / "rows.csv", X)
    command = [sys.executable, "-m", "foldwise", "predict", "--model", "table", "--csv"]
    done = subprocess.run(
        [*command, str(path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "table (runs/table)\n")
    answers = pd.read_csv(io.StringIO(done.stdout))
    assert answers["row"].tolist() == list(range(1, 9))
    found = answers[["class0", "class1"]]
    np.testing.assert_allclose(found, expected(root, "table"), atol=1e-5)
    assert answers["class"].tolist() == found.idxmax(axis=1).tolist()


# --- what is shown ----------------------------------------------------------------------------


def test_a_terminal_gets_aligned_columns() -> None:
    answers = [
        Prediction("a.csv", 9, "rock", {"metal": 0.25, "rock": 0.75}),
        Prediction("a.csv", 10, "metal", {"metal": 0.9999, "rock": 0.0001}),
    ]
    assert wording.text(answers).splitlines() == [
        "file   row  class  metal   rock",
        "a.csv    9  rock   0.250  0.750",
        "a.csv   10  metal  1.000  0.000",
    ]
    assert wording.as_csv(answers).splitlines()[:2] == [
        "file,row,class,metal,rock",
        "a.csv,9,rock,0.25,0.75",
    ]
    assert json.loads(wording.as_json("a model", answers)) == {
        "model": "a model",
        "predictions": [
            {
                "file": p.file,
                "row": p.row,
                "class": p.label,
                "probabilities": p.probabilities,
            }
            for p in answers
        ],
    }


def test_an_error_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    for model, message in (
        ("tabel", "--model (a study or a variant): 'tabel' is not declared; did you mean 'table'?"),
        ("table", "there-is-none.csv: cannot be read (No such file or directory)"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["predict", "--model", model, "there-is-none.csv"])
        assert stopped.value.code == 1
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error


# --- models -----------------------------------------------------------------------------------


def test_a_variant_that_is_not_trained_yet(root: Path) -> None:
    with pytest.raises(MissingError, match="dvc repro train@untrained"):
        prediction.predictor("untrained", root, HERE)


def test_a_variant_that_failed(root: Path, tmp_path: Path) -> None:
    reason = {"status": "failed", "reason": "the loss is NaN in epoch 3"}
    manifest = RunFolder(root / paths.run("table")).manifest.model_copy(update=reason)
    files.write_json(tmp_path / paths.run("table") / MANIFEST, as_json(manifest))
    with pytest.raises(ResultsError, match="NaN in epoch 3; it has no network"):
        prediction.predictor("table", tmp_path, HERE)


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"{ROW}\n{ROW}\n",
        f"a,b,c,d,e,f\n{ROW}\n\n{ROW}",
        f"0,1,2,3,4,5\r\n{ROW}\r\n{ROW}\r\n",
        f"\ufeff{ROW}\n1, 2,\t3,4,5,6.0e0\n",
        f'a,b,c,d,e,f,label\n{ROW},R\n{ROW},"M, or so"\n',
    ],
    ids=["bare", "header", "pandas", "spreadsheet", "labelled"],
)
def test_tables_that_are_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    read = prediction.read(path, (6,))
    assert read.values.tolist() == [[1, 2, 3, 4, 5, 6]] * 2
    assert ("column 7 is not a number, so taken for a label" in read.note) == ("label" in text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows; the model takes lines of 6 numbers"),
        (b"a,b,c,d,e,f\n", "no rows"),
        (f"{ROW}\n1,2,3\n".encode(), "line 2: 3 columns, and the model takes 6"),
        (f"{ROW},7\n".encode(), "line 1: 7 columns, and the model takes 6"),
        (f"{ROW},7,R\n".encode(), "line 1: 8 columns"),
        (b"1,2,3,4,R\n", "line 1: 5 columns"),
        (b"a,b,c,d,e,f\n1,2,3,x,5,6\n", "line 2, column 4: 'x' is not a finite number"),
        (b"1,2,,4,5,6\n", "line 1, column 3: '' is not"),
        (b"1,2,nan,4,5,6\n", "line 1, column 3: 'nan' is not"),
        (b"1,2,1e39,4,5,6\n", "line 1, column 3: '1e39' is not"),
        (b"\x89PNG\r\n\x1a\n\xff", "not text; this model takes tables"),
    ],
)
def test_tables_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.csv") as caught:
        prediction.read(path, (6,))
    assert message in str(caught.value)


# --- pictures ---------------------------------------------------------------------------------

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)  # height 2, width 4


def test_a_picture_is_channels_height_width(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    read = prediction.read(tmp_path / "a.png", (3, 2, 4)).values
    assert (read == PIXELS.transpose(2, 0, 1)).all()
    image.convert("RGBA").save(tmp_path / "b.png")
    assert (prediction.read(tmp_path / "b.png", (3, 2, 4)).values == read).all()
    Image.fromarray(np.full((2, 4), 7, np.uint8)).save(tmp_path / "c.jpg", quality=100)
    assert (prediction.read(tmp_path / "c.jpg", (1, 2, 4)).values == 7).all()


def of_another_size(path: Path) -> None:
    Image.fromarray(PIXELS).resize((8, 8)).save(path)


def of_sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((2, 4), 300, np.uint16)).save(path)


def cut_off(path: Path) -> None:
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_another_size, "8 × 8 pixels, and the model takes 4 × 2; crop or resize it"),
        (of_sixteen_bits, "pixels of mode I;16; save it with 8 bits each"),
        (cut_off, "not a picture, or a damaged one; this model takes PNG or JPEG of 4 × 2"),
        (lambda path: path.write_text(ROW), "not a picture"),
    ],
)
def test_pictures_that_are_refused(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png") as caught:
        prediction.read(tmp_path / "a.png", (3, 2, 4))
    assert message in str(caught.value)


def test_rows_for_which_there_is_no_file_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROW)
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        prediction.read(tmp_path / "a.csv", (2, 3))
