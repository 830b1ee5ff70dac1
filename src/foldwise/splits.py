"""Labels, cross-validation settings and a seed → the split table of a study. Pure."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from foldwise.core.config import CrossValidation
from foldwise.core.errors import DataError
from foldwise.results import REFIT


@dataclass(frozen=True)
class Split:
    """One (repeat, fold): rows to train on, rows held out. `refit` holds none out.

    Attributes:
        repeat: from 0; `REFIT` for the split that trains on all rows.
        fold: from 0; `REFIT` likewise.
        train: row numbers (n_train,), ascending.
        held_out: row numbers (n_validation,), ascending.
    """

    repeat: int
    fold: int
    train: np.ndarray
    held_out: np.ndarray


def split_table(y: np.ndarray, cv: CrossValidation) -> pd.DataFrame:
    """In which fold each row is held out: row, repeat, fold; rows * repeats lines.

    Args:
        y: class numbers (n,).
        cv: folds, repeats and seed; more repeats keep the earlier ones as they are.

    Raises:
        DataError: a single class, or a class with fewer rows than folds.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold  # a second that training can save

    counts = np.bincount(y)
    counts = counts[counts > 0]
    if len(counts) < 2:
        raise DataError("the labels have a single class; classification needs two or more")
    if counts.min() < cv.folds:
        raise DataError(
            f"the smallest class has {counts.min()} rows, fewer than {cv.folds} folds; "
            f"set cv.folds to at most {counts.min()}"
        )
    splitter = RepeatedStratifiedKFold(
        n_splits=cv.folds, n_repeats=cv.repeats, random_state=cv.seed
    )
    table = np.empty((cv.repeats, len(y)), dtype=np.int16)
    for i, (_, held_out) in enumerate(splitter.split(np.zeros(len(y)), y)):
        table[i // cv.folds, held_out] = i % cv.folds
    repeats, rows = np.indices(table.shape)
    columns = {"row": rows.ravel(), "repeat": repeats.ravel(), "fold": table.ravel()}
    return pd.DataFrame(columns).astype({"row": "int32", "repeat": "int16", "fold": "int16"})


def splits(table: pd.DataFrame) -> list[Split]:
    """The splits of a table in order of repeat and fold, and `refit` last."""
    found = []
    for repeat, rows in table.groupby("repeat"):
        fold_of = rows.sort_values("row")["fold"].to_numpy()
        found += [
            Split(
                int(str(repeat)),
                fold,
                np.flatnonzero(fold_of != fold),
                np.flatnonzero(fold_of == fold),
            )
            for fold in range(fold_of.max() + 1)
        ]
    everything = np.arange(len(fold_of))
    return [*found, Split(REFIT, REFIT, everything, everything[:0])]
