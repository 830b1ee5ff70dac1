"""Multilayer perceptrons that train as one stack."""

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
from torch import nn

from foldwise.core.config import Network
from foldwise.numerics.networks import Classifier, from_weights


class Networks(Sequence[nn.Module]):
    """The networks of a stack as plain modules; see `learners.networks`."""

    def __init__(self, network: Network, weights: Mapping[str, np.ndarray]):
        self._stack = from_weights(network, weights)

    def __len__(self) -> int:
        return self._stack.models

    @overload
    def __getitem__(self, index: int) -> nn.Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[nn.Module]: ...
    def __getitem__(self, index: int | slice) -> nn.Module | Sequence[nn.Module]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return Classifier(self._stack.unstack(range(len(self))[index])).eval()
