"""Random streams keyed by what they are for, so that no draw depends on any other."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(seed: int, study: str, repeat: int, fold: int, purpose: str) -> torch.Generator:
    """The stream of one split for one purpose: `init/<layer>`, `order` or `dropout`.

    The variant is not part of the key: variants of a study share order and, where shapes
    allow, initialisation; a variant that is added or removed changes no other.
    """
    key = f"{seed}/{study}/{repeat}/{fold}/{purpose}"
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    return torch.Generator().manual_seed(number)


def orders(generators: Sequence[torch.Generator], rows: int) -> Tensor:
    """A new order of `rows` rows for each of F models: (F, rows)."""
    return torch.stack([torch.randperm(rows, generator=g) for g in generators])


def dropout_mask(generators: Sequence[torch.Generator], p: float, rows: int, width: int) -> Tensor:
    """Inverted-dropout factors (F, rows, width): 0 with probability p, else 1 / (1 - p).

    Sixteen random bits decide each factor, so p is taken to the nearest multiple of 2**-16;
    four factors come from one 64-bit draw, which is several times quicker than a float each.
    That is too coarse near 0 and 1, where a factor takes all 64 bits.
    """
    size = 16 if 0.01 <= p <= 0.99 else 64
    count = rows * width
    bits = torch.empty(len(generators), -(-count * size // 64), dtype=torch.int64)
    for i, random in enumerate(generators):
        bits[i].random_(-(2**63), None, generator=random)
    lanes = bits.view(torch.int16 if size == 16 else torch.int64)[:, :count]
    threshold = round(p * 2**size) - 2 ** (size - 1)  # lanes: -2**(size - 1) ... 2**(size - 1) - 1
    mask = torch.empty(len(generators), count)
    torch.ge(lanes, threshold, out=mask)  # straight to float: seven times quicker than by bool
    return mask.mul_(1 / (1 - p)).view(len(generators), rows, width)
