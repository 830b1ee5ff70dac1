"""The tables of a run, made of the results of its splits in their order; see `results.runs.Run`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from foldwise.numerics.outcomes import DIAGNOSTICS, Trained

CURVES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def history(trained: Sequence[Trained]) -> pd.DataFrame:
    """A line per split and recorded epoch."""
    frames = []
    for each in trained:
        metrics = zip(CURVES, each.history.T.astype(np.float64), strict=True)
        frames.append(pd.DataFrame({**_place(each), "epoch": each.epochs, **dict(metrics)}))
    return pd.concat(frames, ignore_index=True)


def timeline(trained: Sequence[Trained]) -> pd.DataFrame:
    """When each recorded epoch was finished; epoch 0 is the start."""
    frames = []
    for each in trained:
        epochs, finished = np.append(0, each.epochs), np.append(each.started, each.finished)
        frames.append(pd.DataFrame({**_place(each), "epoch": epochs, "finished": finished}))
    return pd.concat(frames, ignore_index=True)


def predictions(trained: Sequence[Trained], y: np.ndarray) -> pd.DataFrame:
    """Class probabilities of the held-out rows; `y` has the labels of all rows."""
    frames = [_probability_table(each.held_out, each.split.held_out, each, y) for each in trained]
    table = pd.concat(frames)
    columns = ["row", "repeat", "fold", *table.columns.drop(["row", "repeat", "fold"])]
    return table[columns].sort_values(["repeat", "row"], kind="stable", ignore_index=True)


def test_predictions(trained: Sequence[Trained], y: np.ndarray | None) -> pd.DataFrame:
    """Class probabilities of the test rows, whose labels are `y`."""
    labels = np.empty(0, dtype=np.int64) if y is None else y
    rows = np.arange(len(labels))
    frames = [_probability_table(each.test, rows, each, labels) for each in trained]
    return pd.concat(frames, ignore_index=True)


def diagnostics(trained: Sequence[Trained]) -> pd.DataFrame:
    """A line per measurement and layer of the probed split."""
    records = [line for each in trained for line in each.diagnostics]
    kinds = dict.fromkeys(DIAGNOSTICS, "float64") | {"step": "int64", "layer": "int64"}
    return pd.DataFrame(records, columns=list(DIAGNOSTICS)).astype(kinds)


def weights(trained: Sequence[Trained]) -> dict[str, np.ndarray]:
    """All weights by name; axis 0 is the split."""
    names = trained[0].weights
    return {name: np.stack([each.weights[name] for each in trained]) for name in names}


def _place(trained: Trained) -> dict[str, int]:
    return {"repeat": trained.split.repeat, "fold": trained.split.fold}


def _probability_table(
    p: np.ndarray, rows: np.ndarray, trained: Trained, y: np.ndarray
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "repeat": np.full(len(rows), trained.split.repeat, dtype=np.int16),
        "fold": np.full(len(rows), trained.split.fold, dtype=np.int16),
        "row": rows.astype(np.int32),
        "label": y[rows].astype(np.int16),
    }
    return pd.DataFrame(columns | {f"p{k}": p[:, k] for k in range(p.shape[1])})
