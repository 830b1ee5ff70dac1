"""A stack equals its models trained one by one in an ordinary PyTorch loop."""

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from builders import chunk, dataset, images, variant
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from torch import Tensor, nn

from foldwise.core.config import Variant
from foldwise.datasets.prepared import Dataset
from foldwise.numerics import batches, randomness, training
from foldwise.numerics.inputs import Network
from foldwise.numerics.outcomes import DivergedError
from foldwise.numerics.training import recorded_epochs, train


class GivenDropout(nn.Module):
    """Dropout whose factors are put in from outside, batch by batch."""

    factors: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.factors is None else x * self.factors


def ordinary_loop(v: Variant, data: Dataset, i: int) -> nn.Sequential:
    """Model i of a chunk trained alone: nn.Module, autograd, torch.optim, row by row batches."""
    settings, split = v.training, chunk(v, data).splits[i]
    stack, rows = training._prepare(chunk(v, data), data, "cpu")
    model = stack.unstack(i)
    drops = []
    for name, module in list(model.named_children()):
        if isinstance(module, nn.Dropout):
            drops.append(GivenDropout())
            setattr(model, name, drops[-1])
    X, targets = torch.from_numpy(data.X[split.train]), rows.targets[torch.from_numpy(split.train)]
    options = settings.optimizer.model_dump(exclude={"name"})
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = kinds[settings.optimizer.name](model.parameters(), **options)
    place = (settings.seed, v.study, split.repeat, split.fold)
    order_stream = randomness.generator(*place, "order")
    mask_stream = [randomness.generator(*place, "dropout")]
    model.train()
    for _ in range(settings.epochs):
        order = torch.arange(len(X))
        if settings.shuffle:
            order = torch.randperm(len(X), generator=order_stream)
        masks = drawn_masks(v.network, mask_stream, len(X), X[0].numel())
        for start in range(0, len(X), settings.batch_size):
            for drop, mask in zip(drops, masks, strict=True):
                drop.factors = mask[start : start + settings.batch_size]
            batch = order[start : start + settings.batch_size]
            logits = model(X[batch])
            loss = loss_of(settings.loss, logits, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for drop in drops:
        drop.factors = None
    return model.eval()


def drawn_masks(
    network: Network, stream: list[torch.Generator], rows: int, inputs: int
) -> list[Tensor]:
    """An epoch's factors for each dropout: the input's, then those of all hidden units."""
    masks = []
    if network.input_dropout:
        masks += randomness.dropout_mask(stream, network.input_dropout, rows, inputs)
    if network.hidden_dropout:
        width = sum(network.hidden)
        (drawn,) = randomness.dropout_mask(stream, network.hidden_dropout, rows, width)
        masks += torch.split(drawn, network.hidden, dim=1)
    return masks


def loss_of(name: str, logits: Tensor, targets: Tensor) -> Tensor:
    if name == "squared_error":
        p = torch.sigmoid(logits) if targets.shape[1] == 1 else torch.softmax(logits, dim=1)
        return nn.functional.mse_loss(p, targets)
    if targets.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits, targets)
    return nn.functional.cross_entropy(logits, targets)


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"batch_norm": True}, {}),
    (
        {"activation": "sigmoid", "batch_norm": True},
        {"optimizer": {"name": "adam", "lr": 0.01, "eps": 1.0e-3}},
    ),
    ({"input_dropout": 0.2}, {"shuffle": False, "same_init": True}),
    ({"hidden_dropout": 0.3}, {"preprocessing": "standardize"}),
    ({"input_dropout": 0.1, "hidden_dropout": 0.3, "batch_norm": True}, {"loss": "squared_error"}),
    ({"hidden": []}, {"batch_size": 1}),
    ({"activation": "gelu"}, {"init": {"uniform": 0.4}, "preprocessing": "minmax"}),
]


@pytest.mark.parametrize(("network", "settings"), CASES)
@pytest.mark.parametrize("data", [dataset(rows=42), images()], ids=["table", "images"])
def test_stack_equals_models_trained_one_by_one(
    network: dict[str, Any], settings: dict[str, Any], data: Dataset
) -> None:
    v = variant(network=network, training=settings, folds=3)
    trained = train(chunk(v, data), data)
    assert len(trained) > 1
    for i, each in enumerate(trained):
        model, held_out = ordinary_loop(v, data, i), each.split.held_out
        with torch.no_grad():
            p = training.networks.probabilities(model(torch.from_numpy(data.X[held_out])))
        np.testing.assert_allclose(each.held_out, p.numpy(), rtol=2e-4, atol=2e-5)
        accuracy = (p.argmax(1).numpy() == data.y[held_out]).mean()
        assert each.history[-1, 3] == pytest.approx(accuracy)


def test_several_blocks_per_epoch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(chunk(variant(), dataset()), dataset())
    monkeypatch.setattr(batches, "BLOCK_BYTES", 1)
    pieces = train(chunk(variant(), dataset()), dataset())
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_array_equal(one.held_out, other.held_out)


def test_training_leaves_subnormal_numbers_alone_afterwards() -> None:
    train(chunk(variant(), dataset()), dataset())
    assert float(torch.tensor(1e-40) * 1.0) > 0


def test_training_again_gives_the_same_bits() -> None:
    toy = chunk(variant(network={"hidden_dropout": 0.5, "batch_norm": True}), dataset())
    for one, other in zip(train(toy, dataset()), train(toy, dataset()), strict=True):
        for name, array in one.weights.items():
            assert np.array_equal(array, other.weights[name]), name
        assert np.array_equal(one.history, other.history)


def test_another_seed_gives_other_models() -> None:
    one, *_ = train(chunk(variant(training={"seed": 1}), dataset()), dataset())
    two, *_ = train(chunk(variant(training={"seed": 2}), dataset()), dataset())
    assert not np.array_equal(one.weights["output.weight"], two.weights["output.weight"])


def test_variants_share_order_and_initialisation_where_shapes_agree() -> None:
    data = dataset()
    plain = chunk(variant(name="a"), data)
    other = chunk(variant(name="b", network={"hidden_dropout": 0.5}), data)
    first, _ = training._prepare(plain, data, "cpu")
    second, _ = training._prepare(other, data, "cpu")
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name))


def test_same_init_gives_every_split_the_same_start() -> None:
    data = dataset()
    stack, _ = training._prepare(chunk(variant(training={"same_init": True}), data), data, "cpu")
    assert torch.equal(stack.output.weight[0], stack.output.weight[1])
    stack, _ = training._prepare(chunk(variant(), data), data, "cpu")
    assert not torch.equal(stack.output.weight[0], stack.output.weight[1])


def test_test_rows_are_predicted_by_every_model() -> None:
    data = dataset(rows=40, test_rows=8)
    trained = train(chunk(variant(), data), data)
    assert [each.test.shape for each in trained] == 4 * [(8, 2)]
    assert train(chunk(variant(), dataset()), dataset())[0].test.shape == (0, 2)


@pytest.mark.parametrize(
    ("kind", "scaler"), [("standardize", StandardScaler), ("minmax", MinMaxScaler)]
)
def test_preprocessing_equals_sklearn(kind: str, scaler: Any) -> None:
    X = torch.randn(20, 3) * torch.tensor([1.0, 5.0, 0.0]) + 2
    shift, scale = batches.preprocessing(kind, X, 1.0)
    expected = scaler().fit_transform(X.numpy())
    np.testing.assert_allclose(((X - shift) / scale).numpy(), expected, atol=1e-5)


def test_preprocessing_is_fitted_on_training_rows_only() -> None:
    data = dataset()
    toy = chunk(variant(training={"preprocessing": "standardize"}), data)
    stack, _ = training._prepare(toy, data, "cpu")
    for i, split in enumerate(toy.splits):
        np.testing.assert_allclose(stack.shift[i], data.X[split.train].mean(axis=0), rtol=1e-4)


def test_pixels_are_divided_by_255() -> None:
    data = images()
    _, rows = training._prepare(chunk(variant(folds=3), data), data, "cpu")
    found = rows.features(rows.train[:, :2])
    expected = torch.from_numpy(data.X).flatten(1)[rows.train[:, :2]] / 255
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [1]),
        (5, [1, 2, 3, 4, 5]),
        (300, list(range(3, 301, 3))),
        (101, [*range(2, 101, 2), 101]),
    ],
)
def test_learning_curves_have_at_most_a_hundred_points(epochs: int, expected: list[int]) -> None:
    assert recorded_epochs(epochs) == expected


def test_history_is_taken_in_evaluation_mode_after_the_epoch() -> None:
    data = dataset()
    toy = chunk(variant(network={"hidden_dropout": 0.5}, training={"epochs": 3}), data)
    trained, *_ = train(toy, data)
    weights = {name: array[None] for name, array in trained.weights.items()}
    model = training.networks.from_weights(toy.network, weights).unstack(0)
    rows = trained.split.train
    with torch.no_grad():
        logits = model(torch.from_numpy(data.X[rows])).squeeze(1)
    y = torch.from_numpy(data.y[rows])
    loss = nn.functional.binary_cross_entropy_with_logits(logits, y.float())
    assert trained.history[-1, 0] == pytest.approx(float(loss), rel=1e-4)
    assert trained.history[-1, 1] == pytest.approx(float(((logits > 0) == y).float().mean()))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_loss_that_is_not_finite_says_where_and_when(optimizer: str) -> None:
    wild = {"optimizer": {"name": optimizer, "lr": 1.0e38}, "epochs": 20}
    with pytest.raises(DivergedError) as raised:
        train(chunk(variant(training=wild), dataset()), dataset())
    error = pickle.loads(pickle.dumps(raised.value))  # as from another process
    assert (error.repeat, error.fold) == (0, 0)
    assert 1 <= error.epoch <= 20
    assert not math.isfinite(error.loss)
