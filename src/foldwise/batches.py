"""The rows of a data set as the models of a stack see them, a batch at a time.

Shapes: F models, N rows of data, n training rows each, B rows per batch, C features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foldwise import randomness
from foldwise.networks import StackedNetwork

BLOCK_BYTES = 2**20  # features that are gathered, rescaled and dropped out at once


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
        """Rescaled features of rows (F, m): (F, m, C) float32."""
        x = self.X.index_select(0, rows.reshape(-1)).view(*rows.shape, self.X.shape[1])
        return rescale(x, self.shift, self.scale)

    def targets_of(self, rows: Tensor) -> Tensor:
        """Targets of rows (F, m): (F, m, outputs)."""
        return self.targets.index_select(0, rows.reshape(-1)).view(
            *rows.shape, self.targets.shape[1]
        )


def rescale(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(x - shift) / scale as float32, for x (F, m, C) and shift, scale (F, C)."""
    if x.dtype == torch.uint8 and not shift.any():
        return x / scale.unsqueeze(1)
    x = x.to(torch.float32)
    return x.sub_(shift.unsqueeze(1)).div_(scale.unsqueeze(1))


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


def batches(
    stack: StackedNetwork,
    rows: Rows,
    order: Tensor,
    batch_size: int,
    dropout: Sequence[torch.Generator],
) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """The batches of one epoch: features (F, B, C), targets (F, B, outputs), hidden masks.

    Gathered, rescaled and dropped out a block at a time.

    Args:
        stack: says which dropouts there are.
        rows: the data.
        order: training rows in this epoch's order (F, n).
        batch_size: B; the last batch may be smaller.
        dropout: one stream per model.
    """
    for block in torch.split(order, block_rows(stack, batch_size), dim=1):
        x, targets = rows.features(block), rows.targets_of(block)
        masks = dropout_masks(stack, dropout, block.shape[1])
        if stack.network.input_dropout:
            x.mul_(masks.pop(0))
        yield from zip(
            torch.split(x, batch_size, dim=1),
            torch.split(targets, batch_size, dim=1),
            _split_masks(masks, block.shape[1], batch_size),
            strict=True,
        )


def block_rows(stack: StackedNetwork, batch_size: int) -> int:
    """Rows per block: whole batches, about `BLOCK_BYTES` of features, at least one batch."""
    batch_bytes = stack.models * batch_size * stack.shift.shape[1] * 4
    return batch_size * max(1, BLOCK_BYTES // batch_bytes)


def dropout_masks(
    stack: StackedNetwork, generators: Sequence[torch.Generator], rows: int
) -> list[Tensor]:
    """The masks of a block, (F, rows, width) for each dropout, the input's first."""
    return [
        randomness.dropout_mask(generators, p, rows, width).to(stack.shift.device)
        for p, width in stack.dropout_widths
    ]


def _split_masks(masks: list[Tensor], rows: int, batch_size: int) -> list[list[Tensor]]:
    if not masks:
        return [[] for _ in range(0, rows, batch_size)]
    parts = [torch.split(mask, batch_size, dim=1) for mask in masks]
    return [list(batch) for batch in zip(*parts, strict=True)]
