"""Files as users have them → probabilities, by the network of a run folder."""

import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import pytest
from builders import dataset, images, variant
from hypothesis import given
from hypothesis import strategies as st
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
    is_refit,
    probabilities,
    write_run,
)
from foldwise.splits import split_table
from foldwise.wording import predictions as wording
from foldwise.wording.predictions import Prediction

HERE = Environment(workers=1, device="cpu")

ROW = "1,2,3,5,8,13"
NUMBERS = [1, 2, 3, 5, 8, 13]
NAMES = ("a", "b", "c", "d", "e", "f")
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
    data = replace(dataset(test_rows=8), feature_names=NAMES)
    train(folder, variant(name="table", training=training), data)
    train(folder, variant(name="pictures"), colour(images()))
    return folder


def expected(root: Path, name: str) -> np.ndarray:
    """What the run says of its test rows, by the network trained on all others."""
    table = RunFolder(root / paths.run(name)).test_predictions
    refit = [is_refit(place) for place in zip(table["repeat"], table["fold"], strict=True)]
    return probabilities(table[refit].sort_values("row"))


def write_table(path: Path, X: np.ndarray, **options: object) -> Path:
    pd.DataFrame(X, columns=list(NAMES)).to_csv(path, index=False, float_format="%.9g", **options)
    return path


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


def ask(root: Path, name: str, *files: Path) -> np.ndarray:
    model = prediction.predictor(name, root, HERE)
    answers = prediction.predict(model, files, print)
    return np.array([list(answer.probabilities.values()) for answer in answers])


def read(path: Path, *shape: int, names: Sequence[str] = ()) -> tuple[np.ndarray, str]:
    """All rows of a file, and what is noted."""
    notes: list[str] = []
    blocks = list(prediction.read(path, shape, names, notes.append))
    return np.concatenate(blocks), "; ".join(notes)


def read_or_refused(path: Path, *shape: int) -> tuple[np.ndarray, str]:
    """All rows of a file, or why it is refused."""
    try:
        return read(path, *shape, names=("a", "b"))[0], ""
    except DataError as error:
        return np.empty(0), str(error)


# --- the same as the run says -----------------------------------------------------------------


def test_a_table_gives_what_the_run_predicted(root: Path, tmp_path: Path) -> None:
    data = dataset(test_rows=8)
    assert data.X_test is not None
    for header, columns in ((True, NAMES), (False, NAMES), (True, NAMES[::-1])):
        path = write_table(tmp_path / "rows.csv", data.X_test, header=header, columns=columns)
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


def written(show: Callable[[Iterable[Prediction], TextIO], None], rows: int = 2) -> str:
    answers = [
        Prediction("a.csv", 9, "rock", {"metal": 0.25, "rock": 0.75}),
        Prediction("a.csv", 10, "metal", {"metal": 0.9999, "rock": 0.0001}),
    ]
    out = io.StringIO()
    show(islice(cycle(answers), rows), out)
    return out.getvalue()


def test_a_terminal_gets_aligned_columns() -> None:
    assert written(wording.text).splitlines() == [
        "file   row  class  metal   rock",
        "a.csv    9  rock   0.250  0.750",
        "a.csv   10  metal  1.000  0.000",
    ]
    many = written(wording.text, 3 * wording.BLOCK).splitlines()
    assert len(many) == 1 + 3 * wording.BLOCK
    assert many[1::2] == [many[1]] * (3 * wording.BLOCK // 2)


def test_programs_get_csv_or_json() -> None:
    lines = ["file,row,class,metal,rock", "a.csv,9,rock,0.25,0.75", "a.csv,10,metal,0.9999,0.0001"]
    assert written(wording.as_csv).splitlines() == lines
    assert json.loads(written(partial(wording.as_json, "a model"))) == {
        "model": "a model",
        "predictions": [
            {
                "file": "a.csv",
                "row": 9,
                "class": "rock",
                "probabilities": {"metal": 0.25, "rock": 0.75},
            },
            {
                "file": "a.csv",
                "row": 10,
                "class": "metal",
                "probabilities": {"metal": 0.9999, "rock": 0.0001},
            },
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
    files.write_record(tmp_path / paths.run("table") / MANIFEST, manifest)
    with pytest.raises(ResultsError, match="NaN in epoch 3; it has no network"):
        prediction.predictor("table", tmp_path, HERE)


# --- tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f"{ROW}\n{ROW}\n", "no header, so they are taken for a, …, f, in this order"),
        (f"a,b,c,d,e,f\n{ROW}\n\n{ROW}", ""),
        (f"\ufeffa,b, c,d,e,f\r\n{ROW}\r\n{ROW}\r\n", ""),
        (f"{ROW}\r1, 2,\t3,5,8,13.0e0\r", "no header"),
        (f'a,b,c,d,e,f,label\n{ROW},R\n{ROW},"M, or so"\n', "column 7 is no feature"),
        ("f,b,c,d,e,a\n13,2,3,5,8,1\n13,2,3,5,8,1\n", "in another order"),
        ("label,b,c,d,e,f,a\nR,2,3,5,8,13,1\nM,2,3,5,8,13,1", "column 1 is no feature"),
    ],
)
def test_tables_that_are_read(text: str, note: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    values, noted = read(path, 6, names=NAMES)
    assert values.tolist() == [NUMBERS] * 2
    assert note in noted
    assert bool(note) == bool(noted)


def test_names_that_the_model_does_not_know_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"some,names,of,their,own,here\n{ROW}\n")
    values, noted = read(path, 6)
    assert values.tolist() == [NUMBERS]
    assert "does not know its features' names; columns are taken in order" in noted
    path.write_text(ROW)
    assert read(path, 6)[1] == ""


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("end", ["", ",label"])
def test_a_header_that_counts_is_no_row(first: int, end: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    header = ",".join(map(str, range(first, first + 60)))
    row = ",".join(["0.5"] * 60)
    path.write_text(f"{header}{end}\n{row}{',R' if end else ''}\n")
    values, noted = read(path, 60, names=[f"x{i}" for i in range(60)])
    assert values.tolist() == [[0.5] * 60]
    assert "the header counts the columns, so they are taken for x0, …, x59" in noted


@pytest.mark.parametrize("header", ["0,1,2,3,4,5", "1,2,3,4,5,6", "10,20,30,40,50,60,70,80"])
def test_numbers_that_may_be_a_header_are_refused(header: str, tmp_path: Path) -> None:
    """And the advice helps: with names above it, it is a row."""
    path = tmp_path / "rows.csv"
    width = header.count(",") + 1
    row = ",".join(["7"] * width)
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match=r"line 1: \d+, \d+, \d+, … may be a header or a row"):
        read(path, width)
    path.write_text(f"{','.join('abcdefgh'[:width])}\n{header}\n{row}\n")
    assert len(read(path, width)[0]) == 2
    path.write_text(f"{row}\n{header}\n")
    assert len(read(path, width)[0]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no rows; the model takes lines of 6 numbers"),
        (b"a,b,c,d,e,f\n", "no rows"),
        (f"{ROW}\n1,2,3\n".encode(), "line 2: 3 columns, and the model takes 6"),
        (f"{ROW},7\n".encode(), "line 1, column 7: 7 is a number, but of no feature"),
        (f"{ROW},7,R\n".encode(), "line 1: 8 columns"),
        (b"1,2,3,4,R\n", "line 1: 5 columns"),
        (f"{ROW},R\n{ROW}\n".encode(), "line 2: 6 columns, and the lines above 7"),
        (b"a,b,c,d,e,f\n1,2,3,x,5,6\n", "line 2, column 4: 'x' is not a finite number"),
        (b"f,b,c,d,e,a\n1,2,3,4,5,x\n", "line 2, column 6: 'x' is not a finite number"),
        (b"1,2,,4,5,6\n", "line 1, column 3: '' is not"),
        (b"1,2,nan,4,5,6\n", "line 1, column 3: 'nan' is not"),
        (b"1,2,1e39,4,5,6\n", "line 1, column 3: '1e39' is not"),
        (b"\x89PNG\r\n\x1a\n\xff", "not text; this model takes tables"),
        (b"A,b,c,d,e,f\n1,2,3,5,8,13\n", "line 1: no column 'a', which is a feature"),
        (b"a,b,c,d,e,e\n1,2,3,5,8,13\n", "line 1: two columns 'e', which is a feature"),
        (b"a,b,c,d,e,f,g\n1,2,3,5,8,13,21\n", "line 2, column 7: 21 is a number, but of no"),
        (b",a,b,c,d,e,f\n0,1,2,3,5,8,13\n", "line 2, column 1: 0 is a number, but of no"),
        (b'"' + 20_000 * f"{ROW}\n".encode(), "field larger than field limit"),
    ],
)
def test_tables_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.csv") as caught:
        read(path, 6, names=NAMES)
    assert message in str(caught.value)


def test_a_line_without_an_end_is_refused_soon() -> None:
    with pytest.raises(DataError, match="/dev/zero, line 1: too long; this model takes tables"):
        read(Path("/dev/zero"), 6)
    with pytest.raises(DataError, match=r"/dev/zero: more than 33,554,432 bytes; .*4 × 2 pixels"):
        read(Path("/dev/zero"), 3, 2, 4)


def test_a_pipe_is_answered_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    os.mkfifo(path)
    done = threading.Event()

    def write() -> None:
        with path.open("w") as file:
            file.writelines([f"{ROW}\n"] * (3 * prediction.BLOCK))
            file.flush()
            done.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    blocks = prediction.read(path, (6,), (), print)
    assert [len(next(blocks)) for _ in range(2)] == [prediction.BLOCK] * 2
    done.set()
    assert [len(block) for block in blocks] == [prediction.BLOCK]
    writer.join()


PIECES = [b"1", b"-2.5e3", b",", b"\n", b"\r", b'"', b"a", b"b", b"nan", b"\x00", b"\xff", b"1e400"]
PIECES += [b" ", b"\xef\xbb\xbf", b"1,2\n", b"a,b\n", b"3,4,R\n", b"\xc2\xb2"]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_bytes_are_rows_or_refused_with_the_place(pieces: list[bytes]) -> None:
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        Path(file.name).write_bytes(b"".join(pieces))
        values, refused = read_or_refused(Path(file.name), 2)
    assert np.isfinite(values).all()
    assert bool(refused) != bool(values.size)
    assert refused.startswith(file.name if refused else "")


# --- pictures ---------------------------------------------------------------------------------

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)  # height 2, width 4


def test_a_picture_is_channels_height_width(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png", 3, 2, 4)[0]
    assert (pixels == PIXELS.transpose(2, 0, 1)).all()
    image.convert("RGBA").save(tmp_path / "b.png")
    assert (read(tmp_path / "b.png", 3, 2, 4)[0] == pixels).all()
    Image.fromarray(np.full((2, 4), 7, np.uint8)).save(tmp_path / "c.jpg", quality=100)
    assert (read(tmp_path / "c.jpg", 1, 2, 4)[0] == 7).all()


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_taken_as_it_is_shown(orientation: int, kind: str, tmp_path: Path) -> None:
    """By the EXIF orientation, as a camera leaves it."""
    shown = np.zeros((8, 16, 3), np.uint8)
    shown[:4, :4] = 255  # at its upper left
    turns = [lambda x: x, np.fliplr, lambda x: np.rot90(x, 2), np.flipud]
    turns += [lambda x: x.transpose(1, 0, 2), np.rot90]
    turns += [lambda x: np.rot90(x, 2).transpose(1, 0, 2), lambda x: np.rot90(x, 3)]
    image = Image.fromarray(np.ascontiguousarray(turns[orientation - 1](shown)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    image.save(path, exif=exif, quality=100)
    pixels = read(path, 3, 8, 16)[0][0].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels, shown, atol=10)


def of_another_size(path: Path) -> None:
    Image.fromarray(PIXELS).resize((8, 8)).save(path)


def of_sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((2, 4), 300, np.uint16)).save(path)


def transparent(path: Path) -> None:
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putpixel((1, 1), (1, 2, 3, 254))
    image.save(path)


def transparent_by_palette(path: Path) -> None:
    Image.fromarray(PIXELS).quantize().save(path, transparency=0)


def animated(path: Path) -> None:
    Image.fromarray(PIXELS).save(path, format="GIF")


def cut_off(path: Path) -> None:
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_another_size, "8 × 8 pixels, and the model takes 4 × 2; crop or resize it"),
        (of_sixteen_bits, "pixels of mode I;16; save it with 8 bits each"),
        (transparent, "has transparent pixels; put it on a background first"),
        (transparent_by_palette, "has transparent pixels"),
        (animated, "not a picture, or a damaged one; this model takes PNG or JPEG"),
        (cut_off, "not a picture, or a damaged one; this model takes PNG or JPEG of 4 × 2"),
        (lambda path: path.write_text(ROW), "not a picture"),
    ],
)
def test_pictures_that_are_refused(
    make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png") as caught:
        read(tmp_path / "a.png", 3, 2, 4)
    assert message in str(caught.value)


def test_rows_for_which_there_is_no_file_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ROW)
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        read(tmp_path / "a.csv", 2, 3)


def whole_pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 3
    contents = []
    for kind in ("PNG", "JPEG"):
        out = io.BytesIO()
        Image.fromarray(PIXELS).save(out, kind, exif=exif)
        contents.append(out.getvalue())
    return contents


@given(
    st.sampled_from(whole_pictures()),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    st.integers(0, 800),
)
def test_changed_pictures_are_pixels_or_refused(
    content: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    changed = bytearray(content)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        Path(file.name).write_bytes(changed[:end])
        values, refused = read_or_refused(Path(file.name), 3, 2, 4)
    assert refused.startswith(file.name) if refused else values.shape == (1, 3, 2, 4)
