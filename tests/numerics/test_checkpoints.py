"""A training that goes on from a checkpoint gives the bits of one that was never stopped."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import chunk, dataset, variant

from foldwise.core.config import Variant
from foldwise.numerics import batches, steps, training
from foldwise.numerics.checkpoints import State
from foldwise.numerics.outcomes import Trained

DATA = dataset(rows=41, test_rows=5)
VARIANTS = {
    "momentum": variant(),
    "dropout": variant(network={"input_dropout": 0.2, "hidden_dropout": 0.5}),
    "batch norm and adam": variant(
        network={"batch_norm": True}, training={"optimizer": {"name": "adam", "lr": 0.01}}
    ),
    "rmsprop in file order": variant(
        training={"shuffle": False, "optimizer": {"name": "rmsprop", "lr": 0.01, "momentum": 0.5}}
    ),
}


class StoppedError(Exception):
    """The process is gone."""


class Memory:
    """Keeps the state after `stop` blocks, then stops the training."""

    def __init__(self, stop: int = -1):
        self.stop, self.offered = stop, 0
        self.kept: State | None = None

    def load(self) -> State | None:
        return self.kept

    def offer(self, state: Any) -> None:
        self.offered += 1
        if self.offered == self.stop:
            self.kept = state()
            raise StoppedError


def train(v: Variant, memory: Memory | None = None) -> list[Trained]:
    return training.train(chunk(v, DATA), DATA, checkpoints=memory)


def assert_same(a: list[Trained], b: list[Trained]) -> None:
    for one, other in zip(a, b, strict=True):
        for name in ("epochs", "history", "held_out", "test"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name, array in one.weights.items():
            assert array.tobytes() == other.weights[name].tobytes()
        inside = [[list(line.values()) for line in each.diagnostics] for each in (one, other)]
        np.testing.assert_array_equal(*inside)
        assert (np.diff([one.started, *one.finished]) >= 0).all()


@pytest.mark.parametrize("path", ["compiled", "autograd"])
@pytest.mark.parametrize("name", VARIANTS)
def test_it_goes_on_to_the_same_bits(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the middle of an epoch, and from its end, before it is evaluated."""
    if path == "autograd":
        monkeypatch.setattr(steps, "is_compiled", lambda stack: False)
    monkeypatch.setattr(batches, "BLOCK_BYTES", 8 * 6 * 4)  # a batch a block: 4 of an epoch
    v = VARIANTS[name]
    whole = train(v)
    for stop in (1, 6, 8, 15):
        memory = Memory(stop)
        with pytest.raises(StoppedError):
            train(v, memory)
        assert memory.kept is not None
        assert_same(train(v, memory), whole)
        assert memory.offered == 16


def test_a_second_checkpoint_follows_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BLOCK_BYTES", 8 * 6 * 4)
    v, memory = VARIANTS["dropout"], Memory(5)
    with pytest.raises(StoppedError):
        train(v, memory)
    memory.stop = 11
    with pytest.raises(StoppedError):
        train(v, memory)
    assert_same(train(v, memory), train(v))


def test_progress_counts_what_was_taken_before() -> None:
    v, memory, taken = variant(), Memory(2), list[Any]()
    with pytest.raises(StoppedError):
        train(v, memory)
    training.train(chunk(v, DATA), DATA, tell=taken.append, checkpoints=memory)
    models = len(chunk(v, DATA).splits)
    assert sum(said for said in taken if isinstance(said, int)) == v.training.epochs * models


def test_a_state_is_a_copy() -> None:
    memory = Memory(1)
    with pytest.raises(StoppedError):
        train(variant(), memory)
    assert memory.kept is not None
    before = {name: array.copy() for name, array in memory.kept.items()}
    torch.manual_seed(0)
    train(variant(), memory)
    for name, array in before.items():
        np.testing.assert_array_equal(memory.kept[name], array)
