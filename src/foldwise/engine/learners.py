"""What trains the splits of a variant. Nothing outside of this room knows which learner it was."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from foldwise.engine import mlp
from foldwise.results.runs import Manifest


def networks(manifest: Manifest, weights: Mapping[str, np.ndarray]) -> Sequence[nn.Module]:
    """The trained networks of a run, in the order of `manifest.splits`, in evaluation mode.

    Each is a plain module: raw float32 rows (B, *shape) to class probabilities (B, K). It is made
    when it is asked for.

    Args:
        manifest: of a complete run.
        weights: as the run holds them, name → (S, ...).
    """
    return mlp.Networks(manifest.variant.network, weights)
