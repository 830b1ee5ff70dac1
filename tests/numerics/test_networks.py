"""A stack is its models side by side, and each layer obeys its law."""

import math

import numpy as np
import pytest
import torch
from builders import dataset
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor, nn

from foldwise.core.config import Init, Network
from foldwise.numerics import inputs, networks
from foldwise.numerics.batches import Rows, blocks
from foldwise.numerics.networks import StackedBatchNorm, StackedNetwork
from foldwise.numerics.randomness import dropout_mask


def seeded(model: int, layer: str) -> torch.Generator:
    return torch.Generator().manual_seed(100 * model + len(layer))


def stack_of(models: int = 3, outputs: int = 4, **network: object) -> StackedNetwork:
    stack = StackedNetwork(
        Network.model_validate({"hidden": [5, 3], **network}), 6, outputs, models
    )
    networks.initialise(stack, Init(), seeded)
    with torch.no_grad():
        for name, buffer in stack.named_buffers():
            if "running" in name or name in ("shift", "scale"):
                buffer.uniform_(0.5, 2.0)
    return stack


@pytest.mark.parametrize("activation", sorted(networks.ACTIVATIONS))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_unstacked_models_equal_the_stack(activation: str, batch_norm: bool) -> None:
    stack = stack_of(activation=activation, batch_norm=batch_norm, hidden_dropout=0.3).eval()
    raw = torch.randn(7, 6)
    x = (raw - stack.shift.unsqueeze(1)) / stack.scale.unsqueeze(1)
    together = stack(x)
    for i in range(3):
        torch.testing.assert_close(stack.unstack(i)(raw), together[i])


def test_unstacked_modules_are_the_ordinary_ones() -> None:
    plain = stack_of(batch_norm=True, input_dropout=0.2, hidden_dropout=0.5).unstack(0)
    kinds = [type(module).__name__ for module in plain]
    block = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert kinds == ["Rescale", "Dropout", *block, *block, "Linear"]
    assert not plain.training


def test_without_hidden_layers_a_network_is_linear() -> None:
    stack = stack_of(hidden=[])
    assert [type(m).__name__ for m in stack.unstack(1)] == ["Rescale", "Linear"]
    assert sum(p.numel() for p in stack.parameters()) == 3 * (6 * 4 + 4)


def test_models_do_not_touch_each_other() -> None:
    stack = stack_of(batch_norm=True).train()
    x = torch.randn(3, 8, 6)
    stack(x)[1].sum().backward()
    for parameter in stack.parameters():
        assert parameter.grad is not None
        assert not parameter.grad[0].any()
        assert not parameter.grad[2].any()


def test_batch_norm_is_the_formula_with_the_biased_variance() -> None:
    norm = StackedBatchNorm(2, 5).train()
    x = torch.randn(2, 9, 5, dtype=torch.float32) * 3 + 1
    mean = x.mean(dim=1, keepdim=True)
    variance = x.var(dim=1, unbiased=False, keepdim=True)
    torch.testing.assert_close(norm(x), (x - mean) / torch.sqrt(variance + 1e-5))
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    unbiased = x.var(dim=1, unbiased=True)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean.squeeze(1))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * unbiased)


def test_batch_norm_in_evaluation_uses_the_running_statistics() -> None:
    norm = StackedBatchNorm(2, 5)
    norm.running_mean.uniform_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 5)
    expected = (x - norm.running_mean.unsqueeze(1)) / torch.sqrt(norm.running_var + 1e-5).unsqueeze(
        1
    )
    torch.testing.assert_close(norm.eval()(x), expected)


NEAR_ENDS = st.builds(
    lambda bits, high: 1 - 2.0**-bits if high else 2.0**-bits, st.integers(1, 53), st.booleans()
)
RATES = st.floats(0, 1, exclude_min=True, exclude_max=True) | NEAR_ENDS


def assert_law(mask: Tensor | None, p: float) -> None:
    """Each factor is 0 with probability p, else 1 / (1 - p): as often as chance lets it be."""
    assert mask is not None
    factor = float(np.float32(1 / (1 - p)))
    assert set(mask.unique().tolist()) <= {0.0, factor}
    low, high = binom.ppf([1e-12, 1 - 1e-12], mask.numel(), 1 - p)
    assert low <= int((mask != 0).sum()) <= high


@given(RATES, st.integers(0, 2**32))
@example(1 - 2.0**-17, 0)  # the nearest multiple of 2**-16 is 1
@example(math.nextafter(1, 0), 0)
@example(2.0**-17, 0)
@example(5e-324, 0)
@example(0.01, 0)
@example(0.99, 0)
def test_dropout_drops_with_p_and_rescales_what_it_keeps(p: float, seed: int) -> None:
    """At any rate that params.yaml may ask for, to those next to 0 and 1."""
    streams = [torch.Generator().manual_seed(seed + i) for i in range(2)]
    mask = dropout_mask(streams, p, rows=199, width=51)
    assert (mask.shape, mask.dtype) == ((2, 199, 51), torch.float32)
    assert_law(mask, p)


@given(RATES, st.sampled_from(["input_dropout", "hidden_dropout"]))
def test_the_masks_that_learners_are_given_have_the_rate_of_the_settings(
    p: float, kind: str
) -> None:
    network = Network.model_validate({"hidden": [50, 30], kind: p})
    stack = StackedNetwork(network, 80, 1, 2)
    zeros, order = torch.zeros(40, 80), torch.arange(40).expand(2, -1)
    rows = Rows(zeros, zeros[:, :1], order[0], stack.shift, stack.scale, order)
    streams = [torch.Generator().manual_seed(i) for i in range(2)]
    for block in blocks(stack, rows, order, 8, streams):
        masks = {"input_dropout": block.input_mask, "hidden_dropout": block.mask}
        assert_law(masks.pop(kind), p)
        assert [*masks.values()] == [None]


def test_dropout_is_off_in_evaluation() -> None:
    with_dropout = stack_of(hidden_dropout=0.5, input_dropout=0.5).eval()
    without = stack_of()
    without.load_state_dict(with_dropout.state_dict())
    x = torch.randn(3, 4, 6)
    assert torch.equal(with_dropout(x), without.eval()(x))
    plain = with_dropout.unstack(0)
    assert torch.equal(plain(x[0]), plain(x[0]))


def test_default_init_is_that_of_nn_linear() -> None:
    """The same seed gives the numbers that nn.Linear draws from torch's global generator."""
    stack = StackedNetwork(Network(hidden=[5]), 6, 1, 1)
    generators = {"hidden.0.linear": 3, "output": 4}
    networks.initialise(
        stack, Init(), lambda _, layer: torch.Generator().manual_seed(generators[layer])
    )
    for layer, (wide, narrow) in zip(generators, [(6, 5), (5, 1)], strict=True):
        torch.manual_seed(generators[layer])
        expected = nn.Linear(wide, narrow)
        found = stack.get_submodule(layer)
        torch.testing.assert_close(found.weight[0].T, expected.weight)
        torch.testing.assert_close(found.bias[0], expected.bias)


def test_uniform_init_fills_its_range() -> None:
    stack = StackedNetwork(Network(hidden=[50]), 60, 2, 2)
    networks.initialise(stack, Init(uniform=0.3), seeded)
    weight = stack.hidden_layers()[0].linear.weight
    weight = weight.detach()
    assert weight.abs().max() <= 0.3
    assert weight.abs().max() > 0.29
    assert float(weight.std()) == pytest.approx(0.3 / math.sqrt(3), rel=0.05)


def test_two_classes_have_one_logit_and_probabilities_sum_to_one() -> None:
    assert inputs.logits_for(2) == 1
    assert inputs.logits_for(10) == 10
    for outputs, classes in ((1, 2), (10, 10)):
        p = networks.probabilities(torch.randn(5, outputs))
        assert p.shape == (5, classes)
        torch.testing.assert_close(p.sum(dim=1), torch.ones(5))
    assert networks.probabilities(torch.tensor([[2.0]]))[0, 1] > 0.5


def test_weights_survive_the_way_to_arrays_and_back() -> None:
    stack = stack_of(batch_norm=True).eval()
    weights = {name: tensor.numpy().copy() for name, tensor in stack.state_dict().items()}
    again = networks.from_weights(stack.network, weights)
    x = torch.randn(3, 4, 6)
    assert torch.equal(stack(x), again(x))


def test_classifier_takes_raw_rows_of_any_number() -> None:
    data = dataset()
    model = networks.Classifier(stack_of().unstack(0))
    for rows in (1, 7):
        assert model(torch.from_numpy(data.X[:rows])).shape == (rows, 4)
    pixels = torch.from_numpy(np.zeros((2, 1, 2, 3), dtype=np.uint8))
    assert model(pixels).shape == (2, 4)
