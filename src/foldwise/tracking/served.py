"""How a model of foldwise is loaded and asked: raw rows in, a probability per class name out.

Every model folder carries a copy of this file as its code, so that a server needs mlflow, torch,
numpy and pandas, but not foldwise. It imports nothing of foldwise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow.pytorch
import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model

LARGEST_PIXEL = 255


class Classifier:
    """A trained network with the names of its classes.

    Args:
        network: raw float32 rows (B, *shape) to probabilities (B, K).
        class_names: K names.
        pixels: whether raw values are whole numbers from 0 to 255.
    """

    def __init__(self, network: torch.nn.Module, class_names: Sequence[str], pixels: bool):
        self._network = network
        self._class_names = list(class_names)
        self._pixels = pixels

    def predict(self, data: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """A column per class, a line per row.

        Args:
            data: raw rows (B, *shape), float32, by the name of the signature's one input; MLflow
                has held them to the signature.

        Raises:
            MlflowException: a value is not finite, or no pixel; a server answers 400.
        """
        ((name, rows),) = data.items()
        self._check(name, rows)
        with torch.no_grad():
            probabilities = self._network(torch.from_numpy(rows.copy()))
        return pd.DataFrame(probabilities.numpy(), columns=self._class_names)

    def _check(self, name: str, rows: np.ndarray) -> None:
        _refuse(name, rows, ~np.isfinite(rows), "finite numbers")
        if self._pixels:
            outside = (rows < 0) | (rows > LARGEST_PIXEL) | (rows != np.round(rows))
            kind = f"pixels as whole numbers from 0 to {LARGEST_PIXEL}, not rescaled"
            _refuse(name, rows, outside, kind)


def _refuse(name: str, rows: np.ndarray, bad: np.ndarray, expected: str) -> None:
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise MlflowException.invalid_parameter_value(
            f"'{name}' takes {expected}, but row {place[0]} has {rows[place]:g} at position "
            f"{list(place[1:])}; both count from 0"
        )


def _load_pyfunc(path: str) -> Classifier:
    """What `mlflow.pyfunc.load_model` calls with the model's folder."""
    facts = Model.load(Path(path)).metadata or {}
    network = mlflow.pytorch.load_model(path)
    return Classifier(network, facts["class_names"], facts["dtype"] == "uint8")
