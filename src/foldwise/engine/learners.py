"""What trains the splits of a variant. Nothing outside this room knows which learner it was.

To add one, add a kind of network to `config`, write a class with the methods of `Learner`, and
list it in `LEARNERS`. The code that decides its numbers belongs in `numerics`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from foldwise.core.config import Network, Variant
from foldwise.engine.mlp import Chunk, Mlp
from foldwise.numerics.inputs import Data
from foldwise.numerics.outcomes import Recorded, Trained
from foldwise.numerics.split import Split
from foldwise.results.runs import Manifest

if TYPE_CHECKING:
    from torch import nn  # takes a second, which a training that only looks things up can save

    from foldwise.numerics.checkpoints import Checkpoints


class Learner(Protocol):
    """Trains the splits of one variant. It can be pickled, to be sent to worker processes.

    On a CPU, a split's result must not depend on the other splits of its chunk.
    """

    @property
    def variant(self) -> Variant:
        """What it trains."""

    @property
    def code(self) -> str:
        """The module of `numerics` that trains; the code digest is taken over all it imports."""

    @property
    def path(self) -> Literal["compiled", "autograd"]:
        """How it trains on a CPU; `identity.numerics_of` says on what its bits depend then."""

    def parameters(self, data: Data) -> int:
        """Trained numbers in one network."""

    def memory(self, data: Data) -> int:
        """Bytes that training a chunk takes in a process, about."""

    def plan(self, splits: Sequence[Split], data: Data, device: str) -> list[Chunk]:
        """The splits in chunks, each of which trains in one go."""

    def prepare(self, device: str) -> None:
        """Compile or load what takes long, before workers are forked from this process."""

    def train(
        self,
        chunk: Chunk,
        data: Data,
        device: str,
        tell: Callable[[int | Recorded], object],
        checkpoints: "Checkpoints | None" = None,
    ) -> list[Trained]:
        """What each split of a chunk yields, as `numerics.training.train` does it.

        Raises:
            DivergedError: the loss of a model is no longer finite.
        """

    def network(self, weights: Mapping[str, np.ndarray]) -> "nn.Module":
        """See `network` below; `weights` are those of one network."""


LEARNERS: dict[type[Network], Callable[[Variant], Learner]] = {Network: Mlp}


def learner_of(variant: Variant) -> Learner:
    """The learner for a variant, by the kind of its network."""
    return LEARNERS[type(variant.network)](variant)


def network(manifest: Manifest, weights: Mapping[str, np.ndarray], split: int) -> "nn.Module":
    """A trained network of a run: a plain module in evaluation mode.

    It takes raw float32 rows (B, *shape) and gives class probabilities (B, K).

    Args:
        manifest: of a complete run.
        weights: as the run holds them, name → (S, ...).
        split: its place in `manifest.splits`.
    """
    of_one = {name: array[split] for name, array in weights.items()}
    return learner_of(manifest.variant).network(of_one)
