"""What training gives: records of its progress, and a result for each split.

Shapes: F models that train together, E recorded epochs, K classes.
"""

from dataclasses import dataclass

import numpy as np

from foldwise.numerics.split import Split

DIAGNOSTICS = (
    "step", "layer", "p15", "p50", "p85", "saturated", "dead", "gradient_norm", "update_ratio",
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """The metrics of models that train together, after an epoch; epoch 0 is the start."""

    splits: list[tuple[int, int]]  # (repeat, fold) of each model (F,)
    epoch: int
    finished: float  # Unix time in seconds
    metrics: list[list[float]]  # (F, 4), columns as in `Trained.history`; empty at epoch 0


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training on one split. Times are Unix time in seconds."""

    split: Split
    started: float
    epochs: np.ndarray  # recorded epochs (E,), from 1
    history: np.ndarray  # (E, 4): train loss and accuracy, validation loss and accuracy
    finished: np.ndarray  # when each recorded epoch was (E,)
    held_out: np.ndarray  # class probabilities of the held-out rows (n_validation, K)
    test: np.ndarray  # of the test rows (n_test, K)
    weights: dict[str, np.ndarray]  # from which the network can be made again
    diagnostics: list[dict[str, float]]  # `DIAGNOSTICS` a measurement and layer, if it is probed


class DivergedError(Exception):
    """The loss of a model is no longer finite."""

    def __init__(self, repeat: int, fold: int, epoch: int, loss: float):
        super().__init__(repeat, fold, epoch, loss)  # all of them: it travels between processes
        self.repeat, self.fold, self.epoch, self.loss = repeat, fold, epoch, loss
