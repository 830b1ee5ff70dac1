"""One (repeat, fold) of a cross-validation: rows to train on, rows held out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

REFIT = -1  # repeat and fold of the split that trains on all rows


@dataclass(frozen=True)
class Split:
    """One (repeat, fold), both from 0; `refit`, which trains on all rows, has `REFIT` for both."""

    repeat: int
    fold: int
    train: np.ndarray  # row numbers (n_train,), ascending
    held_out: np.ndarray  # likewise (n_validation,)

    @property
    def place(self) -> tuple[int, int]:
        """(repeat, fold)."""
        return self.repeat, self.fold


def split_name(repeat: int, fold: int) -> str:
    """The name of a split wherever one is shown: `r0-f03`, or `refit`."""
    return "refit" if fold == REFIT else f"r{repeat}-f{fold:02d}"


def splits(fold_of: Sequence[np.ndarray]) -> list[Split]:
    """The splits in order of repeat and fold, `refit` last.

    `fold_of` says for every repeat in which fold each row is held out (n,).
    """
    folds_only = [
        Split(repeat, fold, np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
        for repeat, folds in enumerate(fold_of)
        for fold in range(int(folds.max()) + 1)
    ]
    everything = np.arange(len(fold_of[0]))
    return [*folds_only, Split(REFIT, REFIT, everything, everything[:0])]
