"""The rows of a data set as the models of a stack see them, a block of batches at a time.

Shapes: F models, N rows of data, n training rows each, B rows per batch, C features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from foldwise.numerics import randomness
from foldwise.numerics.networks import StackedNetwork

BLOCK_BYTES = 2**20  # of a model's features, as float32: so many rows are handed over at once


@dataclass(frozen=True)
class Rows:
    """A data set as the models of a stack see it."""

    X: Tensor  # raw features (N, C), uint8 or float32
    targets: Tensor  # (N, outputs) float32: one-hot, or the class as 0 or 1 where outputs is 1
    labels: Tensor  # (N,) int64
    shift: Tensor  # (F, C), subtracted from the raw features
    scale: Tensor  # (F, C), divides them
    train: Tensor  # training rows of each model (F, n)

    def features(self, rows: Tensor) -> Tensor:
        """(raw features - shift) / scale of rows (F, m): (F, m, C) float32."""
        x = self.X.index_select(0, rows.reshape(-1)).view(*rows.shape, self.X.shape[1])
        return (x - self.shift.unsqueeze(1)).mul_(self.factor.unsqueeze(1))

    @cached_property
    def factor(self) -> Tensor:
        """1 / scale (F, C)."""
        return self.scale.reciprocal()

    def targets_of(self, rows: Tensor) -> Tensor:
        """Targets of rows (F, m): (F, m, outputs)."""
        outputs = self.targets.shape[1]
        return self.targets.index_select(0, rows.reshape(-1)).view(*rows.shape, outputs)


def preprocessing(kind: str, X: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Shift and scale (C,) fitted on training rows X (n, C), raw.

    "none" only divides by the data set's own `scale`; "standardize" gives mean 0 and
    (biased) variance 1 as `sklearn.preprocessing.StandardScaler`; "minmax" gives [0, 1].
    A feature that never varies is only shifted.
    """
    if kind == "none":
        return torch.zeros(X.shape[1]), torch.full((X.shape[1],), scale)
    if kind == "standardize":
        shift, wide = _mean_and_deviation(X.numpy())
    else:
        shift = X.numpy().min(0).astype(np.float64)
        wide = X.numpy().max(0).astype(np.float64) - shift
    return torch.from_numpy(shift).float(), torch.from_numpy(np.where(wide > 0, wide, 1.0)).float()


def _mean_and_deviation(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the columns (C,), in float64; row by row, so that each sum has one order of its terms."""
    total = np.zeros((2, X.shape[1]))
    for row in X:
        total[0] += row
    mean = total[0] / len(X)
    for row in X:
        total[1] += np.square(row - mean)
    return mean, np.sqrt(total[1] / len(X))


def targets_for(labels: Tensor, classes: int) -> Tensor:
    """Labels (N,) to (N, classes) one-hot, or (N, 1) for two classes; float32."""
    if classes == 2:
        return labels.float().unsqueeze(1)
    return torch.nn.functional.one_hot(labels, classes).float()


@dataclass(frozen=True)
class Batch:
    """Rows that a stack sees at once, as tensors."""

    x: Tensor  # rescaled features with input dropout applied (F, B, C)
    targets: Tensor  # (F, B, outputs)
    mask: Tensor | None  # dropout factors of all hidden units (F, B, H)


@dataclass(frozen=True)
class Block:
    """Rows that are handed over together; the last batch may be smaller than the others."""

    rows: Rows
    chosen: Tensor  # which of the rows, in order (F, m)
    input_mask: Tensor | None = None  # dropout factors of the features (F, m, C)
    mask: Tensor | None = None  # of all hidden units (F, m, H)

    @property
    def size(self) -> int:
        """m, the rows of a model."""
        return self.chosen.shape[1]

    def part(self, start: int, stop: int) -> "Block":
        """Some of its rows."""
        every = self.chosen, self.input_mask, self.mask
        chosen, *masks = (None if t is None else t[:, start:stop].contiguous() for t in every)
        assert chosen is not None
        return Block(self.rows, chosen, *masks)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Its batches, one by one; the features are gathered for all of them at once."""
        x, targets = self.rows.features(self.chosen), self.rows.targets_of(self.chosen)
        if self.input_mask is not None:
            x.mul_(self.input_mask)
        for start in range(0, self.size, batch_size):
            stop = start + batch_size
            mask = None if self.mask is None else self.mask[:, start:stop].contiguous()
            yield Batch(x[:, start:stop].contiguous(), targets[:, start:stop].contiguous(), mask)


def blocks(
    stack: StackedNetwork,
    rows: Rows,
    order: Tensor,
    batch_size: int,
    dropout: Sequence[torch.Generator],
    first: int = 0,
) -> Iterator[Block]:
    """One epoch, a block of whole batches at a time, with its dropout masks.

    A block has about `BLOCK_BYTES` of a model's features, and at least one batch.

    Args:
        stack: says which dropouts there are.
        rows: the data.
        order: training rows in this epoch's order (F, n).
        batch_size: rows of a batch.
        dropout: one stream per model.
        first: the number of the block to begin with, from 0.
    """

    def mask(p: float, chosen: Tensor, width: int) -> Tensor | None:
        if not p:
            return None
        return randomness.dropout_mask(dropout, p, chosen.shape[1], width).to(chosen.device)

    network, features = stack.network, stack.shift.shape[1]
    most = batch_size * max(1, BLOCK_BYTES // (4 * batch_size * features))
    for chosen in torch.split(order, most, dim=1)[first:]:
        by_feature = mask(network.input_dropout, chosen, features)
        by_unit = mask(network.hidden_dropout, chosen, stack.units)
        yield Block(rows, chosen.contiguous(), by_feature, by_unit)
