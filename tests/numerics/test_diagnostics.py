"""Diagnostics measure what they say, and change nothing that they measure."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import chunk, dataset, variant
from torch import Tensor

from foldwise.core.config import Init
from foldwise.numerics import diagnostics
from foldwise.numerics.diagnostics import measure
from foldwise.numerics.kernels import inspection
from foldwise.numerics.networks import StackedNetwork, initialise
from foldwise.numerics.steps import losses
from foldwise.numerics.training import Chunk, train

X = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
Y = torch.tensor([[1.0], [0.0], [1.0]])


def stack_of(activation: str, weight: float) -> StackedNetwork:
    """Two inputs, two hidden units with weights (w, 0) and (-w, 0), one output of weights 1."""
    network = variant(network={"hidden": [2], "activation": activation}).network
    stack = StackedNetwork(network, 2, 1, 1)
    with torch.no_grad():
        stack.hidden_layers()[0].linear.weight.copy_(torch.tensor([[weight, -weight], [0.0, 0.0]]))
        stack.output.weight.fill_(1.0)
    return stack


def measured(activation: str, weight: float) -> list[dict[str, float]]:
    inspect = inspection(stack_of(activation, weight), variant().training)
    return measure(inspect(X, Y), activation)


def test_pre_activations_are_what_the_nonlinearity_gets() -> None:
    found = measured("relu", 1.0)
    expected = np.percentile([1, 2, 3, -1, -2, -3], [15, 50, 85])
    assert [found[0][name] for name in ("p15", "p50", "p85")] == pytest.approx(expected)
    assert found[1]["p50"] == pytest.approx(2)  # the logits 1, 2, 3


def test_a_relu_that_is_zero_on_every_row_is_dead() -> None:
    found = measured("relu", 1.0)
    assert found[0]["dead"] == 0.5
    assert math.isnan(found[0]["saturated"])
    assert math.isnan(found[1]["dead"])


@pytest.mark.parametrize(
    ("activation", "narrow", "wide"), [("sigmoid", 1.0, 9.0), ("tanh", 0.5, 9.0)]
)
def test_saturation_is_the_share_near_the_ends(activation: str, narrow: float, wide: float) -> None:
    assert measured(activation, narrow)[0]["saturated"] == 0
    assert measured(activation, wide)[0]["saturated"] == 1


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_the_inside_is_that_of_a_plain_network(batch_norm: bool, loss: str) -> None:
    """What activations get and give, and the gradient of the mean loss; by autograd."""
    v = variant(network={"batch_norm": batch_norm, "activation": "tanh"}, training={"loss": loss})
    stack = StackedNetwork(v.network, 6, 4, 1)
    initialise(stack, Init(), lambda i, name: torch.Generator().manual_seed(len(name)))
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.nn.functional.one_hot(torch.arange(9) % 4, 4).float()
    plain = stack.unstack(0).train()
    values = dict[str, Tensor]()
    for name, module in plain.named_children():
        module.register_forward_hook(lambda m, i, o, name=name: values.update({name: o.detach()}))
    logits = plain(x)
    losses(logits.unsqueeze(0), targets.unsqueeze(0), loss).mean().backward()
    *hidden, output = inspection(stack, v.training)(x, targets)
    for number, layer in enumerate(hidden, start=1):
        before = values[f"{'norm' if batch_norm else 'linear'}{number}"]
        np.testing.assert_allclose(layer.z, before, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.y, values[f"activation{number}"], rtol=1e-4, atol=1e-5)
        gradient = plain.get_submodule(f"linear{number}").weight.grad
        np.testing.assert_allclose(layer.gradient, gradient.T, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(output.z, logits.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.gradient, plain.output.weight.grad.T, rtol=1e-3, atol=1e-5)


def test_gradient_norm_is_that_of_the_mean_loss() -> None:
    stack = stack_of("sigmoid", 0.7)
    inside = inspection(stack, variant().training)(X, Y)
    model = stack.unstack(0)
    torch.nn.functional.binary_cross_entropy_with_logits(model(X), Y).backward()
    for line, name in zip(measure(inside, "sigmoid"), ("linear1", "output"), strict=True):
        norm = float(model.get_submodule(name).weight.grad.norm())
        assert line["gradient_norm"] == pytest.approx(norm)


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
