"""The data, variants and splits that every contender trains on: those of the notebook."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.protocol import (
    CIFAR,
    CIFAR_BATCH,
    CIFAR_RATE,
    SEED,
    SONAR,
    SONAR_BATCH,
    SONAR_MOMENTUM,
    SONAR_RATE,
)
from foldwise.core import paths
from foldwise.core.config import CrossValidation, Network, Training, Variant
from foldwise.datasets import prepared
from foldwise.datasets.prepared import META, Dataset
from foldwise.numerics.split import Split
from foldwise.splits import split_table, splits_of


def sonar_variant(name: str, epochs: int, repeats: int = 1) -> Variant:
    """A Sonar variant under the notebook's protocol."""
    optimizer = {"name": "sgd", "lr": SONAR_RATE, "momentum": SONAR_MOMENTUM}
    training = _training(epochs, SONAR_BATCH, optimizer, shuffle=False, same_init=True)
    return _variant(name, "sonar", [60, 30], SONAR[name], training, folds=10, repeats=repeats)


def cifar_variant(name: str, epochs: int = 1) -> Variant:
    """A CIFAR-10 variant: reshuffled every epoch, Adam, batches of 10."""
    optimizer = {"name": "adam", "lr": CIFAR_RATE}
    training = _training(epochs, CIFAR_BATCH, optimizer, shuffle=True, same_init=False)
    return _variant(name, "cifar10", [64, 32], CIFAR[name], training, folds=5, repeats=1)


def _training(epochs: int, batch_size: int, optimizer: dict[str, Any], **more: bool) -> Training:
    return Training.model_validate(
        {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "seed": SEED, **more}
    )


def _variant(
    name: str,
    study: str,
    hidden: list[int],
    network: dict[str, Any],
    training: Training,
    folds: int,
    repeats: int,
) -> Variant:
    return Variant(
        name=name,
        study=study,
        dataset=study,
        cv=CrossValidation(folds=folds, repeats=repeats, seed=0),
        network=Network.model_validate({"hidden": hidden, **network}),
        training=training,
    )


def sonar() -> Dataset:
    """The prepared Sonar data, or made-up rows of its shape: times are the same."""
    folder = paths.prepared("sonar")
    return prepared.load(folder) if _has(folder) else _made_up("sonar", (208, 60), 2, 0)


def cifar(rows: int | None = None) -> Dataset:
    """The prepared CIFAR-10 data or made-up pictures of its shape; the first `rows` of them."""
    folder = paths.prepared("cifar10")
    shape = (50_000, 3, 32, 32)
    data = prepared.load(folder) if _has(folder) else _made_up("cifar10", shape, 10, 10_000)
    return data if rows is None else _first(data, rows)


def _has(folder: Path) -> bool:
    return (folder / META).is_file()


def _first(data: Dataset, rows: int) -> Dataset:
    return replace(
        data,
        X=data.X[:rows],
        y=data.y[:rows],
        X_test=None if data.X_test is None else data.X_test[: rows // 5],
        y_test=None if data.y_test is None else data.y_test[: rows // 5],
    )


def _made_up(name: str, shape: tuple[int, ...], classes: int, test_rows: int) -> Dataset:
    """Random rows; the class shifts them a little, so that there is something to learn."""
    random = np.random.default_rng(SEED)
    y = np.arange(shape[0]) % classes
    if len(shape) == 2:
        y.sort()  # the rows of the Sonar file are in the order of their classes
    X = random.random(shape, dtype=np.float32)
    X[:, ..., :8] += (y / classes).reshape(-1, *[1] * (len(shape) - 1))
    if len(shape) > 2:
        X = (X * 127).astype(np.uint8)
    scale = 255.0 if len(shape) > 2 else 1.0
    X_test, y_test = (X[:test_rows], y[:test_rows]) if test_rows else (None, None)
    names = tuple(f"class{k}" for k in range(classes))
    return Dataset(name, X, y, X_test, y_test, names, scale, "made-up")


def plan(variant: Variant, data: Dataset) -> list[Split]:
    """The variant's splits without `refit`."""
    return [s for s in splits_of(table(variant, data)) if len(s.held_out)]


def table(variant: Variant, data: Dataset) -> pd.DataFrame:
    """The variant's split table."""
    return split_table(data.y, variant.cv)
