"""The learner of multilayer perceptrons, which trains a chunk's networks as one stack."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from foldwise.core.config import Variant
from foldwise.engine import limits
from foldwise.numerics.inputs import Data, logits_for
from foldwise.numerics.outcomes import Recorded, Trained
from foldwise.numerics.split import Split

if TYPE_CHECKING:
    from torch import nn

    from foldwise.numerics.checkpoints import Checkpoints

MODELS = 5  # per stack at most; enough to share the overhead of a step
STACK_BYTES = 2**21  # at most, for the state of a stack: four numbers per parameter
Chunk = tuple[Split, ...]


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
        return limits.parameters(self.variant.network, *_ends(data))

    def memory(self, data: Data) -> int:
        """Bytes that training a chunk takes in a process, about."""
        return limits.memory(self.variant, *_ends(data), len(data.X), self.stack_size(data))

    def plan(self, splits: Sequence[Split], data: Data, device: str = "cpu") -> list[Chunk]:
        """Splits that train as one stack: equally many training rows, and on a CPU few enough.

        A GPU takes as many at once as there are. On a CPU it is a fixed function of the study and
        the network, never of the machine, so that results do not depend on it.
        """
        most = len(splits) if device == "cuda" else self.stack_size(data)
        chunks = []
        for _, group in groupby(sorted(splits, key=_size), key=_size):
            members = list(group)
            parts = -(-len(members) // most)
            bounds = np.linspace(0, len(members), parts + 1).round().astype(int)
            chunks += [tuple(members[a:b]) for a, b in pairwise(bounds)]
        return chunks

    def stack_size(self, data: Data) -> int:
        """How many networks train together: at least one, few enough to share among cores."""
        return min(MODELS, max(1, STACK_BYTES // (16 * self.parameters(data))))

    def prepare(self, device: str) -> None:
        """Load the compiled step, or compile it."""
        if device == "cpu":
            compile_ahead()

    def train(
        self,
        chunk: Chunk,
        data: Data,
        device: str,
        tell: Callable[[int | Recorded], object],
        checkpoints: "Checkpoints | None" = None,
    ) -> list[Trained]:
        """See `numerics.training.train`."""
        from foldwise.numerics import training

        settings = self.variant.network, self.variant.training, self.variant.study
        return training.train(training.Chunk(*settings, chunk), data, device, tell, checkpoints)

    def network(self, weights: Mapping[str, np.ndarray]) -> "nn.Module":
        """A network of a stack as a plain module."""
        from foldwise.numerics.networks import Classifier, from_weights

        stack = from_weights(self.variant.network, {k: v[np.newaxis] for k, v in weights.items()})
        return Classifier(stack.unstack(0)).eval()


def compile_ahead() -> None:
    """Compile the step, once per machine, in some ten seconds."""
    from foldwise.numerics import kernels

    kernels.prepare()


def _ends(data: Data) -> tuple[int, int]:
    """Features and logits of a row."""
    return math.prod(data.X.shape[1:]), logits_for(len(data.class_names))


def _size(split: Split) -> int:
    return len(split.train)
