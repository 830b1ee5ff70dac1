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
    """A data set as the models of a stack see it.

    Attributes:
        X: raw features (N, C), uint8 or float32.
        targets: (N, outputs) float32: one-hot, or the class as 0 or 1 where outputs is 1.
        labels: (N,) int64.
        shift: (F, C), subtracted from the raw features.
        scale: (F, C), divides them.
        train: training rows of each model (F, n).
    """

    X: Tensor
    targets: Tensor
    labels: Tensor
    shift: Tensor
    scale: Tensor
    train: Tensor

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
        return self.targets.index_select(0, rows.reshape(-1)).view(
            *rows.shape, self.targets.shape[1]
        )


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
        low, high = (values.astype(np.float64) for values in (X.numpy().min(0), X.numpy().max(0)))
        shift, wide = low, high - low
    found = shift, np.where(wide > 0, wide, 1.0)
    return torch.from_numpy(found[0]).float(), torch.from_numpy(found[1]).float()


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
    """Rows that a stack sees at once, as tensors.

    Attributes:
        x: rescaled features with input dropout applied (F, B, C).
        targets: (F, B, outputs).
        mask: dropout factors of all hidden units (F, B, H), or None.
    """

    x: Tensor
    targets: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class Block:
    """Rows that are handed over together; the last batch may be smaller than the others.

    Attributes:
        rows: the data.
        chosen: which of its rows, in order (F, m).
        input_mask: dropout factors of the features (F, m, C), or None.
        mask: dropout factors of all hidden units (F, m, H), or None.
    """

    rows: Rows
    chosen: Tensor
    input_mask: Tensor | None = None
    mask: Tensor | None = None

    @property
    def size(self) -> int:
        """m, the rows of a model."""
        return self.chosen.shape[1]

    def part(self, start: int, stop: int) -> "Block":
        """Some of its rows."""

        def cut(values: Tensor) -> Tensor:
            return values[:, start:stop].contiguous()

        masks = [None if mask is None else cut(mask) for mask in (self.input_mask, self.mask)]
        return Block(self.rows, cut(self.chosen), *masks)

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

    Args:
        stack: says which dropouts there are.
        rows: the data.
        order: training rows in this epoch's order (F, n).
        batch_size: rows of a batch.
        dropout: one stream per model.
        first: the number of the block to begin with, from 0.
    """
    network = stack.network
    widths = (network.input_dropout, stack.shift.shape[1]), (network.hidden_dropout, stack.units)
    for chosen in torch.split(order, block_rows(stack, batch_size), dim=1)[first:]:
        masks = [
            randomness.dropout_mask(dropout, p, chosen.shape[1], width).to(chosen.device)
            if p
            else None
            for p, width in widths
        ]
        yield Block(rows, chosen.contiguous(), *masks)


def block_rows(stack: StackedNetwork, batch_size: int) -> int:
    """Rows per block: whole batches, about `BLOCK_BYTES` of a model's features, at least one."""
    batch_bytes = batch_size * stack.shift.shape[1] * 4
    return batch_size * max(1, BLOCK_BYTES // batch_bytes)
