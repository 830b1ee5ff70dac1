"""Tables as people have them: raw data, prepared data, split tables, rows to predict."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import dataset, variant
from hypothesis import given
from hypothesis import strategies as st
from mutations import (
    accepted_or_refused,
    damaged,
    either,
    examples,
    holding,
    other_columns,
    unchanged,
)
from PIL import Image

from foldwise import prediction
from foldwise.core import files, paths
from foldwise.datasets import cifar10, prepared, provenance, sonar
from foldwise.engine import tasks
from foldwise.splits import split_table


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Small raw data, prepared data, and the split table of a study."""
    root = tmp_path_factory.mktemp("project")
    sonar.synthesize(root / "sonar", 6)
    cifar10.synthesize(root / "cifar10", 12)
    toy = dataset(test_rows=6)
    prepared.save(toy, root / paths.prepared("toy"))
    table = split_table(toy.y, variant().cv)
    files.write_table(root / paths.splits("toy-study"), table, {"data_digest": toy.digest})
    with unchanged(root):
        yield root


def read_with(path: Path, content: bytes, read: Callable[[], object], *places: object) -> None:
    with holding(path, content), unchanged(path.parent), accepted_or_refused(path, *places):
        read()


# --- raw data ---------------------------------------------------------------------------------


@examples(100)
@given(data=st.data())
def test_sonar(root: Path, data: st.DataObject) -> None:
    path = root / "sonar" / sonar.FILE
    content = data.draw(damaged(path.read_bytes()))
    read_with(path, content, lambda: sonar.read(path.parent, "uci"), "sonar, ", "sonar: ")


@examples(60)
@given(data=st.data())
def test_cifar10_as_parquet(root: Path, data: st.DataObject) -> None:
    path = root / "cifar10" / data.draw(st.sampled_from((cifar10.TRAIN, cifar10.TEST)))
    content = data.draw(st.one_of(damaged(path.read_bytes()), other_columns(path.read_bytes())))
    read_with(path, content, lambda: cifar10.read(path.parent, "jpeg"), "cifar10, ", "cifar10: ")


@examples(30)
@given(data=st.data())
def test_provenance(root: Path, data: st.DataObject) -> None:
    path = root / "sonar" / provenance.FILE
    facts = provenance.RawFile(url=None, sha256=files.sha256(root / "sonar" / sonar.FILE), size=1)
    written = provenance.Provenance(
        dataset="sonar", edition="uci", synthetic=False, files={sonar.FILE: facts}
    )
    content = data.draw(either(written.model_dump_json().encode()))
    read_with(path, content, lambda: provenance.verify(path.parent), path.parent)


# --- what foldwise has written ----------------------------------------------------------------


@examples(60)
@given(data=st.data())
def test_prepared_data(root: Path, data: st.DataObject) -> None:
    folder = root / paths.prepared("toy")
    path = folder / data.draw(st.sampled_from((prepared.META, prepared.ARRAYS)))
    change = either if path.suffix == ".json" else damaged
    content = data.draw(change(path.read_bytes()))
    read_with(path, content, lambda: prepared.load(folder), folder)


@examples(60)
@given(data=st.data())
def test_split_tables(root: Path, data: st.DataObject) -> None:
    path = root / paths.splits("toy-study")
    content = data.draw(st.one_of(damaged(path.read_bytes()), other_columns(path.read_bytes())))
    read_with(path, content, lambda: tasks.load([variant()], "cpu", root)[0].chunks)


# --- rows to predict --------------------------------------------------------------------------


@examples(100)
@given(data=st.data())
def test_rows_to_predict(root: Path, data: st.DataObject) -> None:
    rows = dataset().X[:4]
    names = [f"x{i}" for i in range(rows.shape[1])]
    lines = [",".join(f"{value:.3f}" for value in row) for row in rows]
    content = data.draw(damaged("\n".join([",".join(names), *lines]).encode()))
    known, path = data.draw(st.sampled_from((names, []))), root / "rows.csv"
    read_with(path, content, lambda: list(prediction.read(path, rows.shape[1:], known, print)))


@examples(60)
@given(data=st.data())
def test_pictures_to_predict(root: Path, data: st.DataObject) -> None:
    picture = (255 * np.random.default_rng(0).random((3, 32, 32))).astype(np.uint8)
    saved = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(saved, format="PNG")
    content = data.draw(damaged(saved.getvalue()))
    path = root / "picture.png"
    read_with(path, content, lambda: list(prediction.read(path, picture.shape, [], print)))
