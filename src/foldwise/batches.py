"""The rows of a data set as the models of a stack see them, a block of batches at a time.

Shapes: F models, N rows of data, n training rows each, B rows per batch, C features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from foldwise import randomness
from foldwise.networks import StackedNetwork

BLOCK_BYTES = 2**19  # of a model's features that are gathered, rescaled and dropped out at once


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
        x = x.to(torch.float32)
        if self._shifted:
            x.sub_(self.shift.unsqueeze(1))
        return x.mul_(self._factor)

    @cached_property
    def _shifted(self) -> bool:
        return bool(self.shift.any())

    @cached_property
    def _factor(self) -> Tensor:
        return self.scale.reciprocal().unsqueeze(1)

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
        wide, shift = torch.std_mean(X.double(), dim=0, correction=0)
    else:
        low, high = torch.aminmax(X.double(), dim=0)
        shift, wide = low, high - low
    return shift.float(), torch.where(wide > 0, wide, 1.0).float()


def targets_for(labels: Tensor, classes: int) -> Tensor:
    """Labels (N,) to (N, classes) one-hot, or (N, 1) for two classes; float32."""
    if classes == 2:
        return labels.float().unsqueeze(1)
    return torch.nn.functional.one_hot(labels, classes).float()


@dataclass(frozen=True)
class Block:
    """Rows that go through training together; the last batch may be smaller than the others.

    Attributes:
        x: rescaled features with input dropout applied (F, m, C).
        targets: (F, m, outputs).
        mask: dropout factors of all hidden units (F, m, H), or None.
    """

    x: Tensor
    targets: Tensor
    mask: Tensor | None

    def rows(self, start: int, stop: int) -> "Block":
        """A part of it."""
        mask = None if self.mask is None else self.mask[:, start:stop].contiguous()
        x, targets = self.x[:, start:stop], self.targets[:, start:stop]
        return Block(x.contiguous(), targets.contiguous(), mask)

    def batches(self, batch_size: int) -> "Iterator[Block]":
        """Its batches, one by one."""
        for start in range(0, self.x.shape[1], batch_size):
            yield self.rows(start, start + batch_size)


def blocks(
    stack: StackedNetwork,
    rows: Rows,
    order: Tensor,
    batch_size: int,
    dropout: Sequence[torch.Generator],
) -> Iterator[Block]:
    """One epoch, gathered, rescaled and dropped out a block of whole batches at a time.

    Args:
        stack: says which dropouts there are.
        rows: the data.
        order: training rows in this epoch's order (F, n).
        batch_size: rows of a batch.
        dropout: one stream per model.
    """
    network, inputs = stack.network, stack.shift.shape[1]
    for chosen in torch.split(order, block_rows(stack, batch_size), dim=1):
        x, targets, mask = rows.features(chosen), rows.targets_of(chosen), None
        size = chosen.shape[1]
        if network.input_dropout:
            x.mul_(
                randomness.dropout_mask(dropout, network.input_dropout, size, inputs).to(x.device)
            )
        if network.hidden_dropout:
            width = sum(network.hidden)
            mask = randomness.dropout_mask(dropout, network.hidden_dropout, size, width).to(
                x.device
            )
        yield Block(x, targets, mask)


def block_rows(stack: StackedNetwork, batch_size: int) -> int:
    """Rows per block: whole batches, about `BLOCK_BYTES` of a model's features, at least one."""
    batch_bytes = batch_size * stack.shift.shape[1] * 4
    return batch_size * max(1, BLOCK_BYTES // batch_bytes)
