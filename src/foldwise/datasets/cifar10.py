"""CIFAR-10: 50,000 + 10,000 colour images of 32×32 pixels in 10 classes (Krizhevsky 2009).

Edition `official` is the archive from the author's page. Every other edition is a pair of parquet
files as on public data set hubs, each row an encoded image (JPEG or PNG) and its label.
"""

import gzip
import io
import math
import pickle
import tarfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from foldwise.core import files
from foldwise.core.errors import DataError, MissingError
from foldwise.datasets.prepared import Dataset

ARCHIVE = "cifar-10-python.tar.gz"
TRAIN, TEST = "train.parquet", "test.parquet"
CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SHAPE = (3, 32, 32)  # channels first, so that a flattened row is in torchvision's order
SEED = 2009
PART = 1000  # images that a process decodes at a time; more outgrow the caches

# Member names inside the archive, and what bounds reading it (the real one has 186 MB unpacked).
FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"{FOLDER}/data_batch_{i}" for i in range(1, 6)), f"{FOLDER}/test_batch")
NAMES = f"{FOLDER}/batches.meta"
LARGEST_MEMBER = 40_000_000  # bytes
LARGEST_ARCHIVE = 250_000_000  # bytes, unpacked

SCHEMA = pa.schema(
    [
        ("img", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
    ]
)
Part = tuple[np.ndarray, np.ndarray]  # images (n, 3, 32, 32) uint8, labels (n,) int64


def read(folder: Path, edition: str) -> Dataset:
    """Read an edition: X (n, 3, 32, 32) uint8, y (n,) in 0 ... 9, and the test rows.

    Raises:
        MissingError: a file is not there.
        DataError: one is damaged; it names the file and the row or the member.
    """
    if edition == "official":
        (X, y), (X_test, y_test) = _archive(folder / ARCHIVE)
    else:
        (X, y), (X_test, y_test) = _table(folder / TRAIN), _table(folder / TEST)
    return Dataset(
        name="cifar10",
        X=X,
        y=y,
        X_test=X_test,
        y_test=y_test,
        class_names=CLASS_NAMES,
        scale=255.0,
        edition=edition,
    )


# --- the official archive ---------------------------------------------------------------------


def _archive(path: Path) -> tuple[Part, Part]:
    """Training and test rows of `cifar-10-python.tar.gz`, which is not unpacked to disk."""
    members = _members(path)
    names = _entry(path, NAMES, members).get("label_names")
    if names != list(CLASS_NAMES):
        raise DataError(f"{path}: {NAMES} names the classes {names}, not {list(CLASS_NAMES)}")
    *batches, test = [_batch(path, name, members) for name in BATCHES]
    images, labels = zip(*batches, strict=True)
    return (np.concatenate(images), np.concatenate(labels)), test


def _members(path: Path) -> dict[str, bytes]:
    """The contents of the expected members; others are passed over."""
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST_ARCHIVE + 1)
        if len(content) > LARGEST_ARCHIVE:
            raise ValueError(f"more than {LARGEST_ARCHIVE:,} bytes when unpacked")
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            expected = (member for member in archive if member.name in (*BATCHES, NAMES))
            return {member.name: _content(archive, member) for member in expected}
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; list it among the edition's files") from None
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{member.name} is a link or a folder, not a plain file")
    if member.size > LARGEST_MEMBER:
        raise ValueError(f"{member.name} has {member.size:,} bytes, over {LARGEST_MEMBER:,}")
    return file.read()


class _Unpickler(pickle.Unpickler):
    """Reads dicts, lists, numbers, text and numpy arrays; anything else is refused."""

    ALLOWED = {  # noqa: RUF012 - never changed
        ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data needs")
        return self.ALLOWED[module, name]


def _entry(path: Path, name: str, members: dict[str, bytes]) -> dict[str, Any]:
    """The dict that is pickled in one member, text read as Latin-1 (it comes from Python 2)."""
    if name not in members:
        raise DataError(f"{path}: no {name} in it")
    try:
        entry = _Unpickler(io.BytesIO(members[name]), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"{path}: {name} cannot be read: {error}") from error
    if not isinstance(entry, dict):
        raise DataError(f"{path}: {name} holds a {type(entry).__name__}, not a dict")
    return entry


def _batch(path: Path, name: str, members: dict[str, bytes]) -> Part:
    """The rows of one batch file."""
    entry = _entry(path, name, members)
    data, labels = entry.get("data"), entry.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2:
        raise DataError(f"{path}: {name} has no rows of bytes in 'data'")
    bytes_each = math.prod(SHAPE)
    if data.shape[1] != bytes_each or not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{path}: {name} must have {bytes_each} bytes and one label per image")
    return data.reshape(-1, *SHAPE), _labels(f"{path}: {name}", labels)


# --- editions as parquet ----------------------------------------------------------------------


def _table(path: Path) -> Part:
    """The rows of one parquet file, decoded."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; list it among the edition's files") from None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: {error}") from None
    for field in SCHEMA:
        there = field.name in table.column_names
        actual = table.schema.field(field.name).type if there else "missing"
        if actual != field.type:
            raise DataError(f"{path}: column '{field.name}' is {actual}, expected {field.type}")
    if table.num_rows == 0:
        raise DataError(f"{path}: no rows")
    labels = _labels(str(path), table["label"].to_pylist())
    return _images(path, table["img"].combine_chunks().field("bytes").to_pylist()), labels


def _images(path: Path, encoded: list[bytes | None]) -> np.ndarray:
    """Decoded images (n, 3, 32, 32), by as many processes as there are cores.

    Not by threads: PIL holds the interpreter's lock, and they made this slower.
    """
    starts = range(0, len(encoded), PART)
    parts = [encoded[start : start + PART] for start in starts]
    if len(parts) == 1:
        return _decode_part(path, 0, parts[0])
    images = np.empty((len(encoded), *SHAPE), dtype=np.uint8)
    with ProcessPoolExecutor() as pool:
        decoded = pool.map(_decode_part, repeat(path), starts, parts)
        for start, part in zip(starts, decoded, strict=True):
            images[start : start + PART] = part
    return images


def _decode_part(path: Path, start: int, encoded: list[bytes | None]) -> np.ndarray:
    """Images (m, 3, 32, 32) of consecutive rows, the first of which is row `start`."""
    pixels, header = [], b""
    for row, cell in enumerate(encoded, start):
        same = _decode_rest(header, cell)
        if same is None:
            same, header = _decode(path, row, cell)
        pixels.append(same)
    images = np.frombuffer(b"".join(pixels), dtype=np.uint8)
    return images.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def _decode(path: Path, row: int, encoded: bytes | None) -> tuple[bytes, bytes]:
    """The pixels of one encoded image, channels last, and the JPEG header that told its size.

    `row` counts from 0. There is no header of an image that is no JPEG.
    """
    if encoded is None:
        raise DataError(f"{path}, row {row}: no image")
    try:
        stream = io.BytesIO(encoded)
        with Image.open(stream, formats=("JPEG", "PNG")) as image:
            form = f"{image.mode} {image.width}×{image.height}"
            if form == "RGB 32×32":  # known from the header, before anything is decoded
                header = encoded[: stream.tell()] if image.format == "JPEG" else b""
                return image.tobytes(), header
    except Exception as error:  # a damaged image can raise nearly anything
        raise DataError(f"{path}, row {row}: damaged image ({error})") from error
    raise DataError(f"{path}, row {row}: the image is {form}, expected RGB 32×32")


def _decode_rest(header: bytes, encoded: bytes | None) -> bytes | None:
    """The pixels of a JPEG whose header is known to tell of RGB 32×32; None of any other image.

    `Image.open` reads each header in Python, which takes nearly as long as the decoding.
    """
    if not header or encoded is None or not encoded.startswith(header):
        return None
    try:
        return Image.frombytes("RGB", (32, 32), encoded, "jpeg", "RGB", "").tobytes()
    except ValueError:  # damaged; `_decode` says how
        return None


def _labels(place: str, labels: list[object]) -> np.ndarray:
    for row, label in enumerate(labels):
        if not isinstance(label, int) or not 0 <= label < len(CLASS_NAMES):
            last = len(CLASS_NAMES) - 1
            raise DataError(f"{place}, row {row}: label {label} is not in 0 ... {last}")
    return np.array(labels, dtype=np.int64)


# --- the synthetic stand-in -------------------------------------------------------------------


def synthesize(folder: Path, rows: int) -> None:
    """Write a made-up `train.parquet` of `rows` images and `test.parquet` of a quarter of that.

    Each class is a mixture of a few smooth colour patterns. An image is one of them, shifted and
    of varying strength, with smooth and rough noise over it.
    """
    rng = np.random.default_rng(SEED)
    patterns = _smooth(rng, (len(CLASS_NAMES), 3))  # (class, pattern, 3, 32, 32)
    for name, n in ((TRAIN, rows), (TEST, max(rows // 4, len(CLASS_NAMES)))):
        labels = rng.permutation(np.arange(n) % len(CLASS_NAMES))
        images = [_image(rng, patterns[label]) for label in labels]
        _write(folder / name, images, labels)


def _smooth(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Random smooth images (*size, 3, 32, 32) of zero mean and unit scale: 5×5 cosine waves."""
    waves = np.cos(np.pi * np.arange(5)[:, None] * (np.arange(32) + 0.5) / 32)  # (5, 32)
    weights = rng.standard_normal((*size, 3, 5, 5)) / (1 + np.add.outer(range(5), range(5)))
    weights[..., 0, 0] = 0
    images = np.einsum("...uv,ui,vj->...ij", weights, waves, waves)
    return np.asarray(images / images.std(axis=(-3, -2, -1), keepdims=True))


def _image(rng: np.random.Generator, patterns: np.ndarray) -> np.ndarray:
    """One made-up image (3, 32, 32) uint8 of the class with these patterns (k, 3, 32, 32)."""
    shift = rng.integers(-6, 7, size=2)
    pattern = np.roll(patterns[rng.integers(len(patterns))], shift, axis=(1, 2))
    strength = rng.uniform(12, 42)
    noise = 25 * _smooth(rng, ()) + 15 * rng.standard_normal(SHAPE)
    level = rng.uniform(90, 160)
    pixels: np.ndarray = np.clip(level + strength * pattern + noise, 0, 255)
    return pixels.astype(np.uint8)


def _write(path: Path, images: list[np.ndarray], labels: np.ndarray) -> None:
    """The edition's layout, each image (3, 32, 32) as lossless PNG."""
    cells = []
    for image in images:
        png = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(png, format="PNG")
        cells.append({"bytes": png.getvalue(), "path": None})
    table = pa.table({"img": cells, "label": labels.astype(np.int64)}, schema=SCHEMA)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    files.write_bytes(path, buffer.getvalue())
