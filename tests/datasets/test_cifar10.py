import hashlib
import io
import os
import pickle
import tarfile
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.linear_model import RidgeClassifier

from foldwise.core.errors import DataError, MissingError
from foldwise.datasets import cifar10
from foldwise.datasets.cifar10 import ARCHIVE, CLASS_NAMES, FOLDER, SCHEMA, TEST, TRAIN

# --- the official archive ---------------------------------------------------------------------


class PythonTwoPickler(pickle._Pickler):
    """Pickles as Python 2 and NumPy 1 did, which is how the official files are written."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)
    dispatch_table: ClassVar = {
        np.dtypes.UInt8DType: lambda _: (
            np.dtype,
            ("u1", 0, 1),
            (3, "|", None, None, None, -1, -1, 0),
        )
    }

    def save_text(self, text):
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(text)

    def save_name(self, thing):
        module = {"_reconstruct": "numpy.core.multiarray"}.get(thing.__name__, "numpy")
        self.write(pickle.GLOBAL + f"{module}\n{thing.__name__}\n".encode())
        self.memoize(thing)

    dispatch[bytes] = dispatch[str] = save_text
    dispatch[type] = save_name
    dispatch[type(np.array([]).__reduce__()[0])] = save_name


def dumped(tree: object) -> bytes:
    buffer = io.BytesIO()
    PythonTwoPickler(buffer, protocol=2).dump(tree)
    return buffer.getvalue()


def batch(seed: int, n: int = 4) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {
        "data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
        "labels": [int(label) for label in rng.integers(0, 10, n)],
        "batch_label": "a batch",
        "filenames": [f"{i}.png" for i in range(n)],
    }


@pytest.fixture
def members():
    files = {f"{FOLDER}/data_batch_{i}": dumped(batch(i)) for i in range(1, 6)}
    files[f"{FOLDER}/test_batch"] = dumped(batch(6))
    files[f"{FOLDER}/batches.meta"] = dumped({"label_names": list(CLASS_NAMES)})
    files[f"{FOLDER}/readme.html"] = b"<html>"
    return files


def packed(folder, members, *extra: tarfile.TarInfo) -> None:
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)


def refused(folder, members, *extra: tarfile.TarInfo) -> str:
    packed(folder, members, *extra)
    with pytest.raises(DataError) as caught:
        cifar10.read(folder, "official")
    assert str(folder / ARCHIVE) in str(caught.value)
    return str(caught.value)


def test_official_archive(tmp_path, members):
    packed(tmp_path, members)
    dataset = cifar10.read(tmp_path, "official")
    assert dataset.X.shape == (20, 3, 32, 32)
    assert np.array_equal(dataset.X[4:8].reshape(4, -1), batch(2)["data"])
    assert list(dataset.y[16:]) == batch(5)["labels"]
    assert np.array_equal(dataset.X_test.reshape(4, -1), batch(6)["data"])
    assert list(dataset.y_test) == batch(6)["labels"]
    assert (dataset.class_names, dataset.scale) == (CLASS_NAMES, 255.0)
    assert [p.name for p in tmp_path.iterdir()] == [ARCHIVE]  # nothing was unpacked


@pytest.mark.slow  # the import of torchvision
def test_official_archive_as_torchvision_reads_it(tmp_path, members):
    from torchvision.datasets import CIFAR10
    from torchvision.transforms import ToTensor

    packed(tmp_path / "raw", members)
    for name, content in members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)

    def md5(name: str) -> str:
        return hashlib.md5(members[f"{FOLDER}/{name}"]).hexdigest()

    class Tiny(CIFAR10):
        train_list: ClassVar = [[f"data_batch_{i}", md5(f"data_batch_{i}")] for i in range(1, 6)]
        test_list: ClassVar = [["test_batch", md5("test_batch")]]
        meta = CIFAR10.meta | {"md5": md5("batches.meta")}

    ours = cifar10.read(tmp_path / "raw", "official")
    for train, X, y in ((True, ours.X, ours.y), (False, ours.X_test, ours.y_test)):
        theirs = Tiny(str(tmp_path), train=train, transform=ToTensor())
        assert theirs.classes == list(ours.class_names)
        assert theirs.targets == list(y)
        flat = np.stack([image.flatten().numpy() for image, _ in theirs])
        assert np.array_equal(flat, X.reshape(len(X), -1) / np.float32(255))


def test_members_outside_and_links_are_passed_over(tmp_path, members):
    link = tarfile.TarInfo("elsewhere")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    extra = {"../evil": b"x", "/tmp/evil-foldwise": b"x", **members}
    packed(tmp_path / "raw", extra, link)
    assert len(cifar10.read(tmp_path / "raw", "official").X) == 20
    assert [p.name for p in tmp_path.rglob("*") if p.name != "raw"] == [ARCHIVE]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_expected_member_must_be_a_plain_file(tmp_path, members, kind):
    link = tarfile.TarInfo(f"{FOLDER}/test_batch")
    link.type, link.linkname = kind, f"{FOLDER}/data_batch_1"
    assert "test_batch is a link or a folder" in refused(tmp_path, members, link)


def test_bomb_is_stopped(tmp_path, members, monkeypatch):
    monkeypatch.setattr(cifar10, "LARGEST_ARCHIVE", 1_000_000)
    bomb = {"zeros": bytes(20_000_000), **members}
    assert "more than 1,000,000 bytes" in refused(tmp_path, bomb)


def test_member_that_is_too_large_is_not_read(tmp_path, members, monkeypatch):
    monkeypatch.setattr(cifar10, "LARGEST_MEMBER", 15_000)
    members[f"{FOLDER}/data_batch_3"] = bytes(15_001)
    assert "data_batch_3 has 15,001 bytes" in refused(tmp_path, members)


def test_pickle_that_calls_something_is_refused(tmp_path, members):
    marker = tmp_path / "called"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    members[f"{FOLDER}/data_batch_2"] = pickle.dumps({"data": Evil(), "labels": []}, protocol=2)
    message = refused(tmp_path / "raw", members)
    assert "data_batch_2" in message
    assert "mkdir, which no data needs" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1, 2]}, "one label per image"),
        ({"labels": [0, 1, 2, 10]}, "row 3: label 10"),
        ({"labels": [0, 1, -1, 1]}, "row 2: label -1"),
        ({"data": np.zeros((4, 3071), dtype=np.uint8)}, "3072 bytes"),
        ({"data": np.zeros(4, dtype=np.uint8)}, "no rows of bytes"),
        ({"data": "text"}, "no rows of bytes"),
    ],
)
def test_batch_with_other_content_is_named(tmp_path, members, change, message):
    members[f"{FOLDER}/data_batch_4"] = dumped(batch(4) | change)
    found = refused(tmp_path, members)
    assert "data_batch_4" in found
    assert message in found


def test_damaged_member_is_named(tmp_path, members):
    members[f"{FOLDER}/test_batch"] = members[f"{FOLDER}/test_batch"][:-500]
    assert "test_batch cannot be read" in refused(tmp_path, members)


def test_missing_member_is_named(tmp_path, members):
    del members[f"{FOLDER}/data_batch_5"]
    assert "no cifar-10-batches-py/data_batch_5" in refused(tmp_path, members)


def test_other_class_order_is_refused(tmp_path, members):
    names = {"label_names": list(CLASS_NAMES[::-1])}
    members[f"{FOLDER}/batches.meta"] = dumped(names)
    assert "names the classes ['truck'" in refused(tmp_path, members)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b\x08"])
def test_archive_that_is_none(tmp_path, content):
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match=rf"{ARCHIVE}: "):
        cifar10.read(tmp_path, "official")


def test_truncated_archive(tmp_path, members):
    packed(tmp_path, members)
    content = (tmp_path / ARCHIVE).read_bytes()
    (tmp_path / ARCHIVE).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=ARCHIVE):
        cifar10.read(tmp_path, "official")


@pytest.mark.parametrize(("edition", "file"), [("official", ARCHIVE), ("jpeg", TRAIN)])
def test_missing_file_is_named(tmp_path, edition, file):
    with pytest.raises(MissingError, match=f"{file}: not there"):
        cifar10.read(tmp_path, edition)


# --- parquet ----------------------------------------------------------------------------------


def encoded(
    pixels: np.ndarray, kind: str = "PNG", mode: str = "RGB", quality: int = 95, **how: bool
) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format=kind, quality=quality, **how)
    return buffer.getvalue()


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def table(path, cells, labels, schema=SCHEMA) -> None:
    images = [{"bytes": cell, "path": None} for cell in cells]
    pq.write_table(pa.table({"img": images, "label": labels}, schema=schema), path)


@pytest.fixture
def good(tmp_path):
    cells = [encoded(pixels) for pixels in pictures(5)]
    table(tmp_path / TRAIN, cells, [0, 9, 3, 3, 1])
    table(tmp_path / TEST, cells[:2], [4, 5])
    return cells


def test_parquet_edition(tmp_path, good):
    dataset = cifar10.read(tmp_path, "jpeg")
    assert dataset.X.dtype == np.uint8
    assert np.array_equal(dataset.X, pictures(5).transpose(0, 3, 1, 2))
    assert list(dataset.y) == [0, 9, 3, 3, 1]
    assert list(dataset.y_test) == [4, 5]
    assert np.array_equal(dataset.X_test, dataset.X[:2])


def test_jpeg_is_decoded(tmp_path, good):
    smooth = np.full((32, 32, 3), (200, 100, 50), dtype=np.uint8)
    table(tmp_path / TEST, [encoded(smooth, "JPEG")], [0])
    pixels = cifar10.read(tmp_path, "jpeg").X_test[0]
    assert abs(pixels.mean(axis=(1, 2)) - [200, 100, 50]).max() < 3


def test_jpegs_are_decoded_as_pil_does_it_one_by_one(tmp_path, good):
    """However they follow each other: with the header of the one before, or another."""
    kinds = [("JPEG", {}), ("JPEG", {"quality": 60}), ("JPEG", {"progressive": True})]
    kinds += [("JPEG", {"optimize": True}), ("PNG", {})]
    order = np.random.default_rng(2).integers(len(kinds), size=200)
    cells = [
        encoded(pixels, kinds[kind][0], **kinds[kind][1])
        for pixels, kind in zip(pictures(200), order, strict=True)
    ]
    table(tmp_path / TEST, cells, [0] * 200)
    expected = np.stack([np.asarray(Image.open(io.BytesIO(cell))) for cell in cells])
    found = cifar10.read(tmp_path, "jpeg").X_test
    assert np.array_equal(found, expected.transpose(0, 3, 1, 2))


JPEG = encoded(pictures(1)[0], "JPEG")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (JPEG[:-200], "damaged image"),
        (JPEG[:100], "damaged image"),
        (encoded(np.zeros((64, 64, 3), np.uint8), "JPEG"), "RGB 64×64"),
        (encoded(pictures(1)[0], "JPEG", mode="L"), "L 32×32"),
    ],
    ids=["truncated", "header cut", "large", "grey"],
)
def test_bad_jpeg_after_good_ones(tmp_path, good, cell, message):
    table(tmp_path / TRAIN, [JPEG, JPEG, cell, JPEG], [0, 1, 2, 3])
    with pytest.raises(DataError, match=f"row 2: .*{message}"):
        cifar10.read(tmp_path, "jpeg")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (b"not an image", "damaged image"),
        (b"", "damaged image"),
        (None, "no image"),
        (encoded(pictures(1)[0])[:200], "damaged image"),
        (encoded(pictures(1)[0][:31]), "RGB 32×31"),
        (encoded(pictures(1)[0], mode="L"), "L 32×32"),
        (encoded(pictures(1)[0], "GIF"), "damaged image"),
    ],
    ids=["text", "empty", "null", "truncated", "small", "grey", "gif"],
)
def test_bad_image_is_named_by_file_and_row(tmp_path, good, cell, message):
    table(tmp_path / TRAIN, [*good[:3], cell], [0, 1, 2, 3])
    with pytest.raises(DataError) as caught:
        cifar10.read(tmp_path, "jpeg")
    assert f"{tmp_path / TRAIN}, row 3: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("label", [10, -1, None])
def test_bad_label_is_named_by_file_and_row(tmp_path, good, label):
    table(tmp_path / TEST, good, [0, 1, label, 3, 4])
    with pytest.raises(DataError, match=rf"{TEST}, row 2: label {label}"):
        cifar10.read(tmp_path, "jpeg")


def test_table_of_another_schema_is_refused(tmp_path, good):
    schema = pa.schema([SCHEMA.field("img"), ("label", pa.string())])
    table(tmp_path / TRAIN, good, list("abcde"), schema)
    with pytest.raises(DataError, match="column 'label' is string, expected int64"):
        cifar10.read(tmp_path, "jpeg")
    pq.write_table(pa.table({"label": [1]}), tmp_path / TRAIN)
    with pytest.raises(DataError, match="column 'img' is missing"):
        cifar10.read(tmp_path, "jpeg")


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_truncated_table_is_named(tmp_path, good, keep):
    (tmp_path / TRAIN).write_bytes((tmp_path / TRAIN).read_bytes()[:keep])
    with pytest.raises(DataError, match=f"{TRAIN}: "):
        cifar10.read(tmp_path, "jpeg")


def test_empty_table_is_refused(tmp_path, good):
    table(tmp_path / TEST, [], [])
    with pytest.raises(DataError, match=f"{TEST}: no rows"):
        cifar10.read(tmp_path, "jpeg")


# --- synthetic --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    cifar10.synthesize(folder, 600)
    return folder


def test_synthetic_has_the_layout_of_the_parquet_edition(stand_in):
    dataset = cifar10.read(stand_in, "synthetic")
    assert (dataset.X.shape, dataset.X_test.shape) == ((600, 3, 32, 32), (150, 3, 32, 32))
    assert list(np.bincount(dataset.y)) == [60] * 10
    assert list(np.bincount(dataset.y_test)) == [15] * 10
    assert np.any(np.diff(dataset.y) < 0)  # not sorted by class
    assert dataset.synthetic


def test_synthetic_is_the_same_bytes_twice(stand_in, tmp_path):
    cifar10.synthesize(tmp_path, 600)
    for name in (TRAIN, TEST):
        assert (tmp_path / name).read_bytes() == (stand_in / name).read_bytes()


def test_synthetic_can_be_learnt_but_not_perfectly(stand_in):
    dataset = cifar10.read(stand_in, "synthetic")
    small, small_test = (  # means of 4×4 blocks, (n, 192)
        X.reshape(-1, 3, 8, 4, 8, 4).mean(axis=(3, 5)).reshape(len(X), -1) / 255
        for X in (dataset.X, dataset.X_test)
    )
    model = RidgeClassifier(alpha=1.0).fit(small, dataset.y)
    assert 0.2 < model.score(small_test, dataset.y_test) < 0.9
