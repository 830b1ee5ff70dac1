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
    """Inverted-dropout factors (F, rows, width): 0 with probability p, else 1 / (1 - p)."""
    mask = torch.empty(len(generators), rows, width)
    for i, random in enumerate(generators):
        mask[i].uniform_(generator=random)
    return mask.ge_(p).mul_(1 / (1 - p))
