"""The settings and data that training takes, as protocols: any class with these attributes fits."""

from typing import Literal, Protocol

import numpy as np


class Network(Protocol):
    """Linear, [BatchNorm], activation, [Dropout] per hidden layer."""

    hidden: list[int]
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "silu", "elu", "leaky_relu"]
    batch_norm: bool
    input_dropout: float
    hidden_dropout: float


class Optimizer(Protocol):
    """As in `torch.optim`; its other attributes are the arguments there, by their names."""

    @property
    def name(self) -> Literal["sgd", "rmsprop", "adam", "adamw"]:
        """Which one."""

    lr: float
    weight_decay: float


class Init(Protocol):
    """Initial weights: U(-uniform, uniform), or the library's default where `uniform` is None."""

    uniform: float | None


class Training(Protocol):
    """How a network is trained. `probe` is (repeat, fold) of the split that is measured inside."""

    epochs: int
    batch_size: int
    shuffle: bool
    loss: Literal["cross_entropy", "squared_error"]
    same_init: bool
    preprocessing: Literal["none", "standardize", "minmax"]
    seed: int
    probe: list[int]

    @property
    def optimizer(self) -> Optimizer:
        """What turns gradients into steps."""

    @property
    def init(self) -> Init:
        """Where the weights start."""


class Data(Protocol):
    """Raw rows X (N, *shape), uint8 or float32, and labels y (N,), int64, from 0 to K - 1.

    Test rows X_test are (M, *shape), or None. Raw values divided by `scale` are in the unit that
    networks see.
    """

    @property
    def X(self) -> np.ndarray: ...  # noqa: D102, N802
    @property
    def y(self) -> np.ndarray: ...  # noqa: D102
    @property
    def X_test(self) -> np.ndarray | None: ...  # noqa: D102, N802
    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def scale(self) -> float: ...  # noqa: D102


def logits_for(classes: int) -> int:
    """Logits per row: one for two classes (of class 1), otherwise one per class."""
    return 1 if classes == 2 else classes
