"""The compiled step is autograd's and torch.optim's."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from builders import variant
from numba import njit
from torch import Tensor

from foldwise.core.config import Init, Variant
from foldwise.numerics import kernels, networks, products, steps
from foldwise.numerics.batches import Block, Rows
from foldwise.numerics.lanes import start
from foldwise.numerics.networks import StackedNetwork

MODELS, ROWS, FEATURES, BATCH = 3, 17, 6, 7  # batches of 7, 7 and 3 rows
OPTIMIZERS: list[dict[str, Any]] = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.8},
    {"name": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    {"name": "adam"},
    {"name": "adam", "betas": [0.8, 0.9], "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "rmsprop", "momentum": 0.5, "weight_decay": 0.1},
]


def make(v: Variant, outputs: int) -> StackedNetwork:
    """In float64: differences are mistakes then, not rounding."""
    stack = StackedNetwork(v.network, FEATURES, outputs, MODELS)
    networks.initialise(stack, Init(), lambda i, name: torch.Generator().manual_seed(i + len(name)))
    return stack.double().train()


def classes(outputs: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, max(2, outputs), (MODELS, ROWS), generator=random)


def block(v: Variant, outputs: int) -> Block:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(MODELS, ROWS, FEATURES, generator=random, dtype=torch.float64)
    own = classes(outputs)
    one_hot = torch.nn.functional.one_hot
    targets = own.unsqueeze(-1) if outputs == 1 else one_hot(own, outputs)
    p = v.network.hidden_dropout
    kept = torch.rand(MODELS, ROWS, sum(v.network.hidden), generator=random) >= p
    dropped = v.network.input_dropout > 0
    kept_inputs = torch.rand(x.shape, generator=random, dtype=torch.float64) >= 0.3
    return block_of(
        x, targets.double(),
        input_mask=kept_inputs.double() / 0.7 if dropped else None,
        mask=kept.double() / (1 - p) if p else None,
    )  # fmt: skip


def block_of(x: Tensor, targets: Tensor, **masks: Tensor | None) -> Block:
    """Rows (F, m, C), each model its own, with their targets; half of the features rescaled."""
    models, size, features = x.shape
    shift = torch.arange(features, dtype=x.dtype).remainder(2).expand(models, -1).contiguous()
    everything = torch.arange(models * size)
    rows = Rows(x.flatten(0, 1), targets.flatten(0, 1), everything, shift, shift + 1, everything)
    return Block(rows, everything.view(models, size), **masks)


def assert_same_training(v: Variant, outputs: int) -> None:
    """Two blocks, so that the optimizer's memory counts; then parameters, running statistics
    and logits are compared.
    """
    compiled, reference = make(v, outputs), make(v, outputs)
    by_kernels, logits, scores, probabilities, _ = kernels.functions(compiled, v.training)
    optimizer = steps.optimizer_of(reference, v.training)
    by_autograd = steps.batchwise(steps.autograd_step(reference, v.training, optimizer), BATCH)
    with torch.no_grad():
        for _ in range(2):
            by_kernels(block(v, outputs))
            by_autograd(block(v, outputs))
    state = compiled.state_dict()
    assert not torch.equal(state["output.weight"], make(v, outputs).output.weight)
    for name, expected in reference.state_dict().items():
        torch.testing.assert_close(state[name], expected, rtol=1e-9, atol=1e-11)
    seen = block(v, outputs)
    with torch.no_grad():
        expected = steps.evaluated(reference, seen.rows, seen.chosen)
    found = logits(seen.rows, seen.chosen)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    targets, labels = seen.rows.targets_of(seen.chosen), classes(outputs)
    means = steps.losses(expected, targets, v.training.loss).mean(dim=1)
    p = networks.probabilities(expected)
    torch.testing.assert_close(scores(found, targets, labels)[:, 0], means, rtol=1e-9, atol=1e-11)
    correct = (p.argmax(dim=-1) == labels).double().mean(dim=1)
    assert torch.equal(scores(found, targets, labels)[:, 1], correct)
    torch.testing.assert_close(probabilities(found), p, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("activation", kernels.ACTIVATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradient_equals_autograd(activation: str, batch_norm: bool) -> None:
    """Every activation, with and without BatchNorm and dropout, with every loss."""
    kinds = [
        (1, "cross_entropy"),
        (1, "squared_error"),
        (4, "cross_entropy"),
        (4, "squared_error"),
    ]
    for dropout, (outputs, loss) in product((0.0, 0.4), kinds):
        network = {
            "activation": activation, "batch_norm": batch_norm,
            "input_dropout": dropout, "hidden_dropout": dropout,
        }  # fmt: skip
        training = {"loss": loss, "optimizer": {"name": "sgd", "lr": 1.0}, "batch_size": BATCH}
        assert_same_training(variant(network=network, training=training), outputs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_equal_torch_optim(optimizer: dict[str, Any]) -> None:
    settings = {"optimizer": {"lr": 0.05, **optimizer}, "batch_size": BATCH}
    assert_same_training(variant(training=settings), 4)


@pytest.mark.parametrize("hidden", [[], [5], [300, 7], [2, 3, 4]])
def test_any_number_and_width_of_layers(hidden: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also layers wider than what is handled at once."""
    settings = {"optimizer": {"name": "adam", "lr": 0.01}, "batch_size": BATCH}
    assert_same_training(variant(network={"hidden": hidden}, training=settings), 3)


def test_a_model_does_not_depend_on_the_others() -> None:
    """To the bit, and in float32."""
    v = variant(network={"batch_norm": True}, training={"batch_size": BATCH})
    together, alone = make(v, 4).float(), make(v, 4).float()
    single = StackedNetwork(v.network, FEATURES, 4, 1).train()
    single.load_state_dict({name: t[1:2] for name, t in alone.state_dict().items()})
    random = torch.Generator().manual_seed(0)
    x = torch.randn(MODELS, 2 * BATCH, FEATURES, generator=random)
    targets = torch.nn.functional.one_hot(torch.arange(x[..., 0].numel()) % 4, 4).float()
    targets = targets.view(MODELS, -1, 4)
    with torch.no_grad():
        kernels.functions(together, v.training)[0](block_of(x, targets))
        kernels.functions(single, v.training)[0](block_of(x[1:2], targets[1:2]))
    for name, tensor in single.state_dict().items():
        assert torch.equal(tensor, together.state_dict()[name][1:2])


def test_known_names_are_those_of_the_settings() -> None:
    assert set(kernels.ACTIVATIONS) == set(networks.ACTIVATIONS)
    assert set(kernels.OPTIMIZERS) == set(steps.OPTIMIZERS)


@njit
def update(gradient: Any, p: Any, first: Any, second: Any, rule: Any) -> None:
    pointers = start(gradient), start(p), start(first), start(second)
    products.update(*pointers, len(p), start(rule), products.ADAM)


def test_adam_in_float32_is_as_close_as_torch_optim() -> None:
    """Gradients over thirty orders of magnitude, and none at all."""
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.uniform(-22, 8, 10_000)
    gradient = (random.standard_normal(10_000) * sizes).astype(np.float32)
    gradient[:10] = 0
    values = random.standard_normal(10_000).astype(np.float32)
    ours, first, second = values.copy(), np.zeros_like(values), np.zeros_like(values)
    exact, theirs = (torch.tensor(values, dtype=k) for k in (torch.float64, torch.float32))
    exact.grad, theirs.grad = torch.tensor(gradient).double(), torch.tensor(gradient)
    optimizers = [torch.optim.Adam([start], lr=1e-3) for start in (exact, theirs)]
    for step in range(1, 4):
        root = 1 / np.sqrt(1 - 0.999**step)
        rule = 1e-3 / (1 - 0.9**step), 0.0, 1.0, 0.9, 0.999, 0.1, 0.001, root, 1e-8  # as in RULE
        update(gradient, ours, first, second, np.array(rule, np.float32))
        for optimizer in optimizers:
            optimizer.step()
    error = np.abs(ours - exact.numpy()).max()
    assert 0 < error <= 1.5 * float((theirs.double() - exact).abs().max())
