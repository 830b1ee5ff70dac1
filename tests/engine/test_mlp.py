"""How splits become chunks, and weights networks."""

import numpy as np
import torch
from builders import dataset, variant
from torch import nn

from foldwise.engine import learners, mlp
from foldwise.engine.mlp import Mlp
from foldwise.splits import split_table, splits_of


def test_a_gpu_takes_all_splits_of_a_size_at_once() -> None:
    v, data = variant(folds=4, repeats=5), dataset(rows=42)
    plan = splits_of(split_table(data.y, v.cv))
    assert [len(chunk) for chunk in Mlp(v).plan(plan, data, "cuda")] == [10, 10, 1]
    assert max(len(chunk) for chunk in Mlp(v).plan(plan, data)) <= mlp.MODELS


def test_a_chunk_trains_equally_many_rows_and_stays_in_cache() -> None:
    v, data = variant(repeats=3), dataset(rows=41)
    chunks = Mlp(v).plan(splits_of(split_table(data.y, v.cv)), data)
    for chunk in chunks:
        assert len({len(split.train) for split in chunk}) == 1
    assert sum(map(len, chunks)) == 3 * 4 + 1
    wide = dataset(rows=41, features=3072, classes=10)
    assert Mlp(v).stack_size(wide) * 16 * Mlp(v).parameters(wide) < mlp.STACK_BYTES
    assert Mlp(variant(network={"hidden": [64, 32]})).stack_size(wide) == 1


def test_parameters_of_one_network() -> None:
    with_norm = variant(network={"batch_norm": True})
    assert Mlp(variant()).parameters(dataset()) == (6 + 1) * 5 + (5 + 1) * 3 + (3 + 1) * 1
    assert Mlp(with_norm).parameters(dataset(classes=3)) == 7 * 5 + 6 * 3 + 4 * 3 + 2 * (5 + 3)


def test_a_network_is_a_plain_module_in_evaluation_mode() -> None:
    v, data = variant(network={"hidden_dropout": 0.5}), dataset(classes=3)
    learner = learners.learner_of(v)
    (chunk, *_) = learner.plan(splits_of(split_table(data.y, v.cv)), data, "cpu")
    trained = learner.train(chunk, data, "cpu", lambda said: None)
    for each in trained:
        network = learner.network(each.weights)
        assert isinstance(network, nn.Module)
        with torch.no_grad():
            p = network(torch.from_numpy(data.X[each.split.held_out]))
        np.testing.assert_allclose(p.numpy(), each.held_out, rtol=1e-4, atol=1e-6)
