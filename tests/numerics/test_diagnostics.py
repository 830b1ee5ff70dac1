"""Diagnostics measure what they say, and change nothing that they measure."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import chunk, dataset, variant
from torch import nn

from foldwise.numerics import diagnostics
from foldwise.numerics.diagnostics import measure
from foldwise.numerics.training import Chunk, train


def model_of(activation: nn.Module, weight: float) -> nn.Sequential:
    """Two inputs, two hidden units with weights (w, 0) and (-w, 0), one output of weights 1."""
    model = nn.Sequential(nn.Linear(2, 2), activation, nn.Linear(2, 1))
    first, last = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[weight, 0.0], [-weight, 0.0]]))
        first.bias.zero_()
        last.weight.fill_(1.0)
        last.bias.zero_()
    return model


X = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
Y = torch.tensor([[1.0], [0.0], [1.0]])


def test_pre_activations_are_what_the_nonlinearity_gets() -> None:
    found = measure(model_of(nn.ReLU(), 1.0), X, Y, "cross_entropy")
    expected = np.percentile([1, 2, 3, -1, -2, -3], [15, 50, 85])
    assert [found[0][name] for name in ("p15", "p50", "p85")] == pytest.approx(expected)
    assert found[1]["p50"] == pytest.approx(2)  # the logits 1, 2, 3


def test_a_relu_that_is_zero_on_every_row_is_dead() -> None:
    found = measure(model_of(nn.ReLU(), 1.0), X, Y, "cross_entropy")
    assert found[0]["dead"] == 0.5
    assert math.isnan(found[0]["saturated"])
    assert math.isnan(found[1]["dead"])


@pytest.mark.parametrize(
    ("activation", "narrow", "wide"), [(nn.Sigmoid(), 1.0, 9.0), (nn.Tanh(), 0.5, 9.0)]
)
def test_saturation_is_the_share_near_the_ends(
    activation: nn.Module, narrow: float, wide: float
) -> None:
    assert measure(model_of(activation, narrow), X, Y, "cross_entropy")[0]["saturated"] == 0
    assert measure(model_of(activation, wide), X, Y, "cross_entropy")[0]["saturated"] == 1


def test_gradient_norm_is_that_of_the_mean_loss() -> None:
    model = model_of(nn.Sigmoid(), 0.7)
    found = measure(model, X, Y, "cross_entropy")
    nn.functional.binary_cross_entropy_with_logits(model(X), Y).backward()
    for line, layer in zip(found, (model[0], model[2]), strict=True):
        assert line["gradient_norm"] == pytest.approx(float(layer.weight.grad.norm()))


def probed(network: dict[str, object], **training: object) -> Chunk:
    """Its first split is the one that is measured."""
    return chunk(variant(network=network, training=training), dataset())


def records_of(chunk: Chunk) -> list[dict[str, float]]:
    first, *others = train(chunk, dataset())
    assert not any(each.diagnostics for each in others)
    return first.diagnostics


@pytest.mark.parametrize(
    "network", [{}, {"batch_norm": True, "hidden_dropout": 0.3, "input_dropout": 0.2}]
)
def test_measuring_changes_no_bit_of_the_training(
    network: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_probe = train(probed(network), dataset())
    monkeypatch.setattr(diagnostics.Probe, "around", lambda self, step: step)
    for measured, other in zip(with_probe, train(probed(network), dataset()), strict=True):
        assert not other.diagnostics
        for name, array in other.weights.items():
            assert np.array_equal(array, measured.weights[name])
    assert with_probe[0].diagnostics


def test_about_forty_measurements_of_the_probed_split_alone() -> None:
    records = records_of(probed({}, epochs=50))  # 30 rows, batches of 8: 200 steps
    steps = sorted({record["step"] for record in records})
    assert steps == list(range(0, 200, 5))
    assert {record["layer"] for record in records} == {1, 2, 3}
    assert all(record["update_ratio"] > 0 for record in records)
    elsewhere = replace(probed({}, probe=[0, 3]), splits=probed({}).splits[:2])
    assert not records_of(elsewhere)


def test_batch_norm_centres_what_the_nonlinearity_gets() -> None:
    plain = records_of(probed({"activation": "sigmoid"}))
    normed = records_of(probed({"activation": "sigmoid", "batch_norm": True}))

    def off_centre(records: list[dict[str, float]]) -> float:
        return float(np.mean([abs(r["p50"]) for r in records if r["layer"] == 2]))

    assert off_centre(normed) < 0.3
    assert off_centre(normed) < off_centre(plain)
