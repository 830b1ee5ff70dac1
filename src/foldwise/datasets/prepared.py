"""A data set as arrays, and the folder that keeps it: `arrays.safetensors` and `meta.json`.

Training imports this module, so it imports nothing that reads raw data or the network: a change
to a reader or a mirror then retrains nothing, unless it changes the arrays.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from foldwise.core import files
from foldwise.core.config import SYNTHETIC
from foldwise.core.errors import DamagedError, DataError, MissingError
from foldwise.core.files import Record

ARRAYS = "arrays.safetensors"
META = "meta.json"
DTYPES = ("uint8", "float32")


@dataclass(frozen=True, eq=False)
class Dataset:
    """The rows of a data set, raw as users have them, and the edition they came from.

    Raises:
        DataError: the parts do not fit each other, or there are fewer than two classes in `y`.
    """

    name: str  # its key in params.yaml
    X: np.ndarray  # (n, *shape), uint8 or float32
    y: np.ndarray  # (n,), int64, an index into class_names
    X_test: np.ndarray | None  # (m, *shape) rows that no split may touch
    y_test: np.ndarray | None  # (m,)
    class_names: tuple[str, ...]
    scale: float  # raw values divided by it are in the unit that networks see
    edition: str  # results of two editions are never compared
    # Of the columns of a table; they decide no number, so they are not in the digest.
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.X_test is None) != (self.y_test is None):
            raise DataError(f"{self.name}: X_test and y_test come together or not at all")
        self._check_rows("training", self.X, self.y)
        if self.X_test is not None and self.y_test is not None:
            self._check_rows("test", self.X_test, self.y_test)
        names = self.feature_names
        if names and not (self.X.shape[1:] == (len(names),) == (len(set(names)),)):
            raise DataError(f"{self.name}: one name per column of X, each another, or none at all")
        if self.y.min() == self.y.max():
            raise DataError(
                f"{self.name}: all {len(self.y)} rows are of class "
                f"'{self.class_names[int(self.y[0])]}'; a classifier needs two classes"
            )

    @property
    def synthetic(self) -> bool:
        """Whether this is the built-in stand-in, about which no result says anything real."""
        return self.edition == SYNTHETIC

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that there are, by name."""
        named = {"X": self.X, "y": self.y, "X_test": self.X_test, "y_test": self.y_test}
        return {name: array for name, array in named.items() if array is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything in it: names, scale, edition, and each array's bytes."""
        facts = [self.name, self.edition, list(self.class_names), self.scale]
        total = hashlib.sha256(json.dumps(facts).encode())
        for name, array in sorted(self.arrays.items()):
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            total.update(json.dumps([name, little.dtype.str, little.shape]).encode())
            total.update(little.data)
        return total.hexdigest()

    def _check_rows(self, part: str, X: np.ndarray, y: np.ndarray) -> None:
        place = f"{self.name}, {part} rows"
        if len(X) == 0 or len(X) != len(y) or X.shape[1:] != self.X.shape[1:]:
            raise DataError(f"{place}: X is {X.shape} and y is {y.shape}; one row per label")
        if X.dtype != self.X.dtype or X.dtype.name not in DTYPES or y.dtype != np.int64:
            raise DataError(f"{place}: X is {X.dtype}, y {y.dtype}; use {DTYPES} and int64")
        if y.ndim != 1 or y.min() < 0 or y.max() >= len(self.class_names):
            raise DataError(f"{place}: a label is not in 0 ... {len(self.class_names) - 1}")


class Meta(Record):
    """What meta.json says of the arrays beside it. `shape` is that of one row."""

    name: str
    edition: str
    synthetic: bool
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] = ()
    scale: float
    rows: int
    test_rows: int
    shape: tuple[int, ...]
    dtype: str
    digest: str


def describe(dataset: Dataset) -> Meta:
    """The facts about a data set that meta.json keeps."""
    return Meta(
        name=dataset.name,
        edition=dataset.edition,
        synthetic=dataset.synthetic,
        class_names=dataset.class_names,
        feature_names=dataset.feature_names,
        scale=dataset.scale,
        rows=len(dataset.X),
        test_rows=0 if dataset.X_test is None else len(dataset.X_test),
        shape=dataset.X.shape[1:],
        dtype=dataset.X.dtype.name,
        digest=dataset.digest,
    )


def save(dataset: Dataset, folder: Path) -> Meta:
    """Write the arrays and then meta.json; the same data set gives the same bytes."""
    meta = describe(dataset)
    arrays = {name: np.ascontiguousarray(array) for name, array in dataset.arrays.items()}
    content = safetensors.numpy.save(arrays, metadata={"digest": meta.digest})
    files.write_bytes(folder / ARRAYS, content)
    files.write_record(folder / META, meta)
    return meta


def load(folder: Path) -> Dataset:
    """The data set that `save` left in `folder`.

    The two files must have the same digest; the bytes are not hashed again.

    Raises:
        MissingError: a file is not there.
        DamagedError: a file is not what was written, or the two do not belong together.
    """
    meta, path = load_meta(folder), folder / ARRAYS
    try:
        with safe_open(path, framework="np") as file:
            digest = (file.metadata() or {}).get("digest")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; {_remedy(folder)}") from None
    except (OSError, SafetensorError) as error:
        raise DamagedError(f"{path}: damaged ({error}); {_remedy(folder)}") from None
    if digest != meta.digest:
        reason = f"digest {digest}, but {META} says {meta.digest}"
        raise DamagedError(f"{path}: damaged ({reason}); {_remedy(folder)}")
    return Dataset(
        name=meta.name,
        X=arrays["X"],
        y=arrays["y"],
        X_test=arrays.get("X_test"),
        y_test=arrays.get("y_test"),
        class_names=meta.class_names,
        feature_names=meta.feature_names,
        scale=meta.scale,
        edition=meta.edition,
    )


def load_meta(folder: Path) -> Meta:
    """The facts in meta.json, without the arrays; raises as `load`."""
    return files.read_record(folder / META, Meta, _remedy(folder))


def _remedy(folder: Path) -> str:
    return f"`dvc repro prepare@{folder.name}` makes it"
