"""Labels, cross-validation settings and a seed → the split table of a study. Pure."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from foldwise.core.config import CrossValidation
from foldwise.core.errors import DataError
from foldwise.numerics.split import Split, split_name, splits


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
    if (rows := counts.min()) < cv.folds:
        if rows == 1:
            remedy = "add rows of it" + (" or leave it out" if len(counts) > 2 else "")
            raise DataError(f"a class has a single row, and no split can do with that; {remedy}")
        raise DataError(
            f"the smallest class has {rows} rows, fewer than {cv.folds} folds; "
            f"set cv.folds to at most {rows}"
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


def splits_of(table: pd.DataFrame) -> list[Split]:
    """The splits of a table in order of repeat and fold, and `refit` last."""
    ordered = table.sort_values(["repeat", "row"], kind="stable")
    return splits([rows["fold"].to_numpy() for _, rows in ordered.groupby("repeat")])


def check_metric(
    problem: Callable[[np.ndarray, int], str], y: np.ndarray, classes: int, table: pd.DataFrame
) -> None:
    """That a metric can be computed on every split of labels y (n,); `problem` is the metric's own.

    Raises:
        DataError: it cannot; the message names the first such split.
    """
    for split in splits_of(table)[:-1]:
        if reason := problem(y[split.held_out], classes):
            place = split_name(split.repeat, split.fold)
            raise DataError(f"split {place}: {reason}; set comparison.metric to another one")
