"""The learner of multilayer perceptrons, which trains a chunk's networks as one stack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, overload

import numpy as np

from foldwise.core.config import Network, Sgd, Training, Variant
from foldwise.numerics.inputs import Data, logits_for
from foldwise.numerics.outcomes import Recorded, Trained
from foldwise.numerics.split import Split

if TYPE_CHECKING:
    from torch import nn

    from foldwise.numerics.checkpoints import Checkpoints

MODELS = 5  # per stack at most; enough to share the overhead of a step
STACK_BYTES = 2**21  # at most, for the state of a stack: four numbers per parameter


@dataclass(frozen=True)
class Mlp:
    """A `learners.Learner`. The compiled step trains all that it can be asked for on a CPU.

    torch and Numba are imported where they are used, as nobody should wait for them in vain.
    """

    variant: Variant
    code: ClassVar[str] = "training"
    path: ClassVar[Literal["compiled"]] = "compiled"

    def parameters(self, data: Data) -> int:
        """Trained numbers in one network."""
        network = self.variant.network
        inputs, outputs = int(np.prod(data.X.shape[1:])), logits_for(len(data.class_names))
        linear = sum((a + 1) * b for a, b in pairwise([inputs, *network.hidden, outputs]))
        return linear + 2 * sum(network.hidden) * network.batch_norm

    def plan(
        self, splits: Sequence[Split], data: Data, device: str = "cpu"
    ) -> list[tuple[Split, ...]]:
        """Splits that train as one stack: equally many training rows, and on a CPU few enough.

        A GPU takes as many at once as there are. On a CPU it is a fixed function of the study and
        the network, never of the machine, so that results do not depend on it.
        """
        most = len(splits) if device == "cuda" else self.stack_size(data)
        chunks = []
        by_size = sorted(splits, key=_size)
        for _, group in groupby(by_size, key=_size):
            members = list(group)
            parts = -(-len(members) // most)
            bounds = np.linspace(0, len(members), parts + 1).round().astype(int)
            chunks += [tuple(members[a:b]) for a, b in pairwise(bounds)]
        return chunks

    def stack_size(self, data: Data) -> int:
        """How many networks train together: at least one, few enough to share among cores."""
        return min(MODELS, max(1, STACK_BYTES // (16 * self.parameters(data))))

    def prepare(self, data: Data, device: str) -> None:
        """Load the compiled step, or compile it."""
        if device == "cpu":
            from foldwise.numerics import kernels

            kernels.prepare(self.variant.network, self.variant.training)

    def train(
        self,
        chunk: Sequence[Split],
        data: Data,
        device: str,
        progress: Callable[[int], object],
        record: Callable[[Recorded], object],
        checkpoints: "Checkpoints | None" = None,
    ) -> list[Trained]:
        """See `numerics.training.train`."""
        from foldwise.numerics import training

        settings = self.variant.network, self.variant.training, self.variant.study
        whole = training.Chunk(*settings, chunk)
        return training.train(whole, data, device, progress, record, checkpoints)

    def networks(self, weights: Mapping[str, np.ndarray]) -> "Sequence[nn.Module]":
        """The networks of a stack as plain modules."""
        return _Networks(self.variant.network, weights)


class _Networks(Sequence["nn.Module"]):
    def __init__(self, network: Network, weights: Mapping[str, np.ndarray]):
        from foldwise.numerics.networks import from_weights

        self._stack = from_weights(network, weights)

    def __len__(self) -> int:
        return self._stack.models

    @overload
    def __getitem__(self, index: int) -> "nn.Module": ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[nn.Module]": ...
    def __getitem__(self, index: int | slice) -> "nn.Module | Sequence[nn.Module]":
        from foldwise.numerics.networks import Classifier

        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return Classifier(self._stack.unstack(range(len(self))[index])).eval()


def compile_ahead() -> None:
    """Compile the step for all settings: some ten seconds, once per machine."""
    from foldwise.numerics import kernels

    optimizer = Sgd(name="sgd", lr=1.0)
    settings = Training(epochs=1, batch_size=1, shuffle=False, optimizer=optimizer)
    kernels.prepare(Network(hidden=[]), settings)


def _size(split: Split) -> int:
    return len(split.train)
