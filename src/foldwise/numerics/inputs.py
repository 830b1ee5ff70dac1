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


class Sgd(Protocol):
    """Stochastic gradient descent as in `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float


class Adam(Protocol):
    """Adam (Kingma & Ba 2015), or with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adam", "adamw"]
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float


class RmsProp(Protocol):
    """RMSprop as in `torch.optim.RMSprop`."""

    name: Literal["rmsprop"]
    lr: float
    alpha: float
    eps: float
    momentum: float
    weight_decay: float


Optimizer = Sgd | Adam | RmsProp


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
    """Raw rows and their labels; (N, *shape) and (N,), test rows (M, *shape) or None."""

    @property
    def X(self) -> np.ndarray:  # noqa: N802
        """(N, *shape), uint8 or float32."""

    @property
    def y(self) -> np.ndarray:
        """(N,), int64, from 0 to K - 1."""

    @property
    def X_test(self) -> np.ndarray | None:  # noqa: N802
        """(M, *shape), or None."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names."""

    @property
    def scale(self) -> float:
        """Raw values divided by it are in the unit that networks see."""


def logits_for(classes: int) -> int:
    """Logits per row: one for two classes (of class 1), otherwise one per class."""
    return 1 if classes == 2 else classes
