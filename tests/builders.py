"""Small data sets and variants for tests."""

from typing import TYPE_CHECKING, Any

import numpy as np

from foldwise.core.config import CrossValidation, Network, Training, Variant
from foldwise.datasets.prepared import Dataset
from foldwise.splits import split_table, splits_of

if TYPE_CHECKING:
    from foldwise.numerics.training import Chunk


def dataset(rows: int = 40, features: int = 6, classes: int = 2, test_rows: int = 0) -> Dataset:
    """Gaussian classes that overlap, in file order sorted by class."""
    random = np.random.default_rng(0)
    y = np.sort(np.arange(rows + test_rows) % classes).astype(np.int64)
    centres = random.normal(size=(classes, features))
    X = (centres[y] + random.normal(size=(len(y), features))).astype(np.float32)
    held = np.arange(len(y)) % max(2, len(y) // max(1, test_rows)) == 0
    held = held & (np.cumsum(held) <= test_rows)
    return Dataset(
        name="toy",
        X=X[~held],
        y=y[~held],
        X_test=X[held] if test_rows else None,
        y_test=y[held] if test_rows else None,
        class_names=tuple(f"class{k}" for k in range(classes)),
        scale=1.0,
        edition="made-up",
    )


def images(rows: int = 30, classes: int = 3) -> Dataset:
    """Tiny uint8 pictures (rows, 2, 3, 3) whose brightness depends on the class."""
    random = np.random.default_rng(0)
    y = (np.arange(rows) % classes).astype(np.int64)
    noise = random.integers(0, 120, size=(rows, 2, 3, 3))
    X = (noise + 40 * y[:, None, None, None]).astype(np.uint8)
    names = tuple(f"class{k}" for k in range(classes))
    return Dataset("pictures", X, y, X[:6], y[:6], names, 255.0, "made-up")


def variant(
    *,
    network: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    folds: int = 4,
    repeats: int = 1,
    name: str = "toy-variant",
) -> Variant:
    """A variant with two small hidden layers; anything can be overridden."""
    base = {
        "epochs": 4,
        "batch_size": 8,
        "shuffle": True,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.8},
        "seed": 1,
    }
    return Variant(
        name=name,
        study="toy-study",
        dataset="toy",
        cv=CrossValidation(folds=folds, repeats=repeats, seed=0),
        network=Network.model_validate({"hidden": [5, 3], **(network or {})}),
        training=Training.model_validate({**base, **(training or {})}),
    )


def chunk(v: Variant, data: Dataset) -> "Chunk":
    """The splits with as many training rows as the first one has, for `training.train`."""
    from foldwise.numerics.training import Chunk  # imports Numba, for tests that train alone

    plan = splits_of(split_table(data.y, v.cv))
    same = [split for split in plan if len(split.train) == len(plan[0].train)]
    return Chunk(v.network, v.training, v.study, same)
