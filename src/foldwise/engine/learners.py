"""What trains the splits of a variant. Nothing outside this room knows which learner it was.

To add one, add a kind of network to `config`, write a class with the methods of `Learner`, and
list it in `LEARNERS`. The code that decides its numbers belongs in `numerics`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from foldwise.core.config import Network, Variant
from foldwise.engine.mlp import Mlp
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

    def plan(self, splits: Sequence[Split], data: Data, device: str) -> list[tuple[Split, ...]]:
        """The splits in chunks, each of which trains in one go."""

    def prepare(self, data: Data, device: str) -> None:
        """Compile or load what takes long, before workers are forked from this process."""

    def train(
        self,
        chunk: Sequence[Split],
        data: Data,
        device: str,
        progress: Callable[[int], object],
        record: Callable[[Recorded], object],
        checkpoints: "Checkpoints | None" = None,
    ) -> list[Trained]:
        """What each split of a chunk yields; same input, same bits.

        Args:
            chunk: of `plan`.
            data: raw arrays.
            device: "cpu" or "cuda".
            progress: called now and then with the number of epochs that models took since.
            record: called at the start, after recorded epochs and at the end.
            checkpoints: has the state to go on from, if there is one; is offered new ones.

        Raises:
            DivergedError: the loss of a model is no longer finite.
        """

    def networks(self, weights: Mapping[str, np.ndarray]) -> "Sequence[nn.Module]":
        """See `networks` below."""


LEARNERS: dict[type[Network], Callable[[Variant], Learner]] = {Network: Mlp}


def learner_of(variant: Variant) -> Learner:
    """The learner for a variant, by the kind of its network."""
    return LEARNERS[type(variant.network)](variant)


def networks(manifest: Manifest, weights: Mapping[str, np.ndarray]) -> "Sequence[nn.Module]":
    """The trained networks of a run, in the order of `manifest.splits`, in evaluation mode.

    Each is a plain module from raw float32 rows (B, *shape) to class probabilities (B, K), and is
    made when it is accessed.

    Args:
        manifest: of a complete run.
        weights: as the run holds them, name → (S, ...).
    """
    return learner_of(manifest.variant).networks(weights)
