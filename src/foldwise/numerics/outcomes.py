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
    """The metrics of models that train together, after an epoch; epoch 0 is the start.

    Attributes:
        splits: (repeat, fold) of the models (F,).
        epoch: 0, or a recorded epoch.
        finished: Unix time in seconds.
        metrics: (F, 4), columns as in `Trained.history`; empty at epoch 0.
    """

    splits: list[tuple[int, int]]
    epoch: int
    finished: float
    metrics: list[list[float]]


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training on one split.

    Attributes:
        split: which one.
        started: Unix time in seconds.
        epochs: recorded epochs (E,), from 1.
        history: (E, 4): train loss and accuracy, validation loss and accuracy.
        finished: Unix time in seconds of each recorded epoch (E,).
        held_out: class probabilities of the held-out rows (n_validation, K).
        test: class probabilities of the test rows (n_test, K).
        weights: name → array, from which the network can be made again.
        diagnostics: `DIAGNOSTICS` per measurement and layer (see `numerics.diagnostics`); none if
            the split is not probed.
    """

    split: Split
    started: float
    epochs: np.ndarray
    history: np.ndarray
    finished: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    weights: dict[str, np.ndarray]
    diagnostics: list[dict[str, float]]


class DivergedError(Exception):
    """The loss of a model is no longer finite."""

    def __init__(self, repeat: int, fold: int, epoch: int, loss: float):
        super().__init__(repeat, fold, epoch, loss)  # all of them: it travels between processes
        self.repeat, self.fold, self.epoch, self.loss = repeat, fold, epoch, loss
