"""A trained network that can be asked, wherever it comes from."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Predictor:
    """A trained network with its preprocessing inside.

    Attributes:
        place: where it comes from: an address, or a run folder.
        variant: whose it is.
        synthetic: whether it was trained on the built-in stand-in.
        shape: of one raw row.
        class_names: K names.
        feature_names: of the C features of a table; none where they are not known.
        predict: raw rows (N, *shape) → probabilities (N, K).
    """

    place: str
    variant: str
    synthetic: bool
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    predict: Callable[[np.ndarray], np.ndarray]

    def __str__(self) -> str:
        warning = ", trained on SYNTHETIC data" if self.synthetic else ""
        return f"{self.variant} ({self.place}{warning})"
