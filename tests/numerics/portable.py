"""Small trainings whose digests must be the same everywhere: `python tests/numerics/portable.py`.

Prints them as JSON. After a change that is meant to change numbers, with `--write`, they become
the ones that `test_portable.py` expects.
"""

import hashlib
import json
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from foldwise.core import environment
from foldwise.core.config import Network, Training

if __name__ == "__main__":
    environment.choose_target()

from foldwise.numerics.kernels import ACTIVATIONS
from foldwise.numerics.outcomes import Trained
from foldwise.numerics.split import Split
from foldwise.numerics.training import Chunk, train

EXPECTED = Path(__file__).with_name("portable.json")
SGD, ADAM = {"name": "sgd", "lr": 0.1, "momentum": 0.8}, {"name": "adam", "lr": 0.01}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {**SGD, "momentum": 0.0},
    "nesterov": {**SGD, "nesterov": True, "weight_decay": 0.01},
    "adam": {**ADAM, "weight_decay": 0.01},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "rmsprop": {"name": "rmsprop", "lr": 0.01, "momentum": 0.5, "weight_decay": 0.01},
}


class Data:
    """Rows without anything that the C library computes; the class moves the features."""

    def __init__(self, features: int, classes: int, whole: bool):
        random = np.random.default_rng(0)
        y = np.arange(60) % classes
        X = random.integers(0, 200, (60, features)) + 20 * y[:, None] * (np.arange(features) % 3)
        X = X.astype(np.uint8) if whole else (X / 256).astype(np.float32)
        self.X, self.y, self.X_test = X[:50], y[:50], X[50:]
        self.class_names = tuple(str(k) for k in range(classes))
        self.scale = 255.0 if whole else 1.0


def trained(data: Data, network: dict[str, Any], training: dict[str, Any]) -> list[Trained]:
    """Two splits."""
    every = np.arange(len(data.y))
    splits = [Split(0, 0, every[:41], every[41:]), Split(0, 1, every[9:], every[:9])]
    settings = {"epochs": 3, "batch_size": 8, "shuffle": True, "optimizer": SGD, **training}
    layers = {"hidden": [20, 7], **network}
    return train(
        Chunk(Network.model_validate(layers), Training.model_validate(settings), "s", splits), data
    )


def digest(found: list[Trained]) -> str:
    """Of weights, learning curves, predictions and diagnostics."""
    sha = hashlib.sha256()
    for one in found:
        for name, array in sorted(one.weights.items()):
            sha.update(name.encode() + np.ascontiguousarray(array).tobytes())
        for array in (one.history, one.held_out, one.test):
            assert np.isfinite(array).all()
            sha.update(np.ascontiguousarray(array).tobytes())
        values = [list(record.values()) for record in one.diagnostics]
        sha.update(np.nan_to_num(np.array(values, np.float64)).tobytes())
    return sha.hexdigest()[:16]


def digests() -> dict[str, str]:
    """Every activation, optimizer and loss, with and without what else there is."""
    few, many, pictures = Data(11, 2, False), Data(11, 5, False), Data(130, 3, True)
    full = {"batch_norm": True, "input_dropout": 0.2, "hidden_dropout": 0.3}
    squared = {"loss": "squared_error"}
    cases = chain(
        ((f"{a}", few, {"activation": a}, {}) for a in ACTIVATIONS),
        ((f"{a}-full", many, {"activation": a, **full}, squared) for a in ACTIVATIONS),
        ((name, many, {}, {"optimizer": o}) for name, o in OPTIMIZERS.items()),
        [
            ("squared-error", few, {}, squared),
            ("standardize", few, {}, {"preprocessing": "standardize", "optimizer": ADAM}),
            ("minmax", pictures, full, {"preprocessing": "minmax"}),
            ("pictures", pictures, {"hidden": [100, 40]}, {"optimizer": ADAM, "batch_size": 10}),
            ("no-hidden-layer", pictures, {"hidden": []}, {"batch_size": 13}),
            ("wide", few, {"hidden": [1024, 33]}, {"optimizer": ADAM, "batch_size": 16}),
        ],
    )
    return {name: digest(trained(*arguments)) for name, *arguments in cases}


if __name__ == "__main__":
    text = json.dumps(digests(), indent=1) + "\n"
    assert "scipy.linalg" not in sys.modules  # no BLAS but NumPy's and torch's
    print(text)
    if "--write" in sys.argv:
        EXPECTED.write_text(text)
