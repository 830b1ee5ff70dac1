"""Results of splits → the tables of a run (see `results.runs.Run`), and back."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from foldwise.numerics.outcomes import DIAGNOSTICS, Trained
from foldwise.results.runs import CURVES, Run, RunFolder
from foldwise.splits import splits_of

HISTORY = ["repeat", "fold", "epoch", *CURVES]
TIMELINE = ["repeat", "fold", "epoch", "finished"]


def history(trained: Sequence[Trained]) -> pd.DataFrame:
    """A line per split and recorded epoch."""
    frames = []
    for each in trained:
        curves = each.history.T.astype(np.float64)
        columns = (*each.split.place, each.epochs, *curves)
        frames.append(pd.DataFrame(dict(zip(HISTORY, columns, strict=True))))
    return pd.concat(frames, ignore_index=True)


def timeline(trained: Sequence[Trained]) -> pd.DataFrame:
    """When each recorded epoch was finished; epoch 0 is the start."""
    frames = []
    for each in trained:
        times = np.append(0, each.epochs), np.append(each.started, each.finished)
        frames.append(pd.DataFrame(dict(zip(TIMELINE, (*each.split.place, *times), strict=True))))
    return pd.concat(frames, ignore_index=True)


def predictions(trained: Sequence[Trained], y: np.ndarray) -> pd.DataFrame:
    """Class probabilities of the held-out rows; `y` has the labels of all rows."""
    table = pd.concat(_predicted(each, each.held_out, each.split.held_out, y) for each in trained)
    columns = ["row", "repeat", "fold", *table.columns.drop(["row", "repeat", "fold"])]
    return table[columns].sort_values(["repeat", "row"], kind="stable", ignore_index=True)


def test_predictions(trained: Sequence[Trained], y: np.ndarray | None) -> pd.DataFrame:
    """Class probabilities of the test rows, whose labels are `y`."""
    labels = np.empty(0, dtype=np.int64) if y is None else y
    rows = np.arange(len(labels))
    frames = [_predicted(each, each.test, rows, labels) for each in trained]
    return pd.concat(frames, ignore_index=True)


def _predicted(trained: Trained, p: np.ndarray, rows: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    columns = {
        "repeat": np.full(len(rows), trained.split.repeat, dtype=np.int16),
        "fold": np.full(len(rows), trained.split.fold, dtype=np.int16),
        "row": rows.astype(np.int32),
        "label": y[rows].astype(np.int16),
    }
    return pd.DataFrame(columns | {f"p{k}": p[:, k] for k in range(p.shape[1])})


def diagnostics(trained: Sequence[Trained]) -> pd.DataFrame:
    """A line per measurement and layer of the probed split."""
    records = [line for each in trained for line in each.diagnostics]
    kinds = dict.fromkeys(DIAGNOSTICS, "float64") | {"step": "int64", "layer": "int64"}
    return pd.DataFrame(records, columns=list(DIAGNOSTICS)).astype(kinds)


def weights(trained: Sequence[Trained]) -> dict[str, np.ndarray]:
    """All weights by name; axis 0 is the split."""
    names = trained[0].weights
    return {name: np.stack([each.weights[name] for each in trained]) for name in names}


def taken_apart(run: Run | RunFolder) -> Iterator[Trained]:
    """The results of the splits of a complete run, bit by bit as they were, `refit` last."""
    weights, names = run.weights, [f"p{k}" for k in range(len(run.manifest.dataset.class_names))]
    inside: Any = run.diagnostics[list(DIAGNOSTICS)].to_dict("records")
    curves, times, held_out, test = (
        dict(iter(table.groupby(["repeat", "fold"])))
        for table in (run.history, run.timeline, run.predictions, run.test_predictions)
    )
    for i, split in enumerate(splits_of(run.predictions)):
        place = split.place
        probed = list(place) == run.manifest.variant.training.probe
        yield Trained(
            split=split,
            started=float(times[place]["finished"].iloc[0]),
            epochs=curves[place]["epoch"].to_numpy(),
            history=curves[place][list(CURVES)].to_numpy(dtype=np.float32),
            finished=times[place]["finished"].to_numpy()[1:],
            held_out=held_out.get(place, run.predictions[:0])[names].to_numpy(dtype=np.float32),
            test=test.get(place, run.test_predictions[:0])[names].to_numpy(dtype=np.float32),
            weights={name: array[i] for name, array in weights.items()},
            diagnostics=inside if probed else [],
        )
