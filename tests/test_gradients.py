"""The hand-written gradient is autograd's, checked in float64."""

import pytest
import torch
from torch import Tensor

from foldwise import networks
from foldwise.config import Init, Network
from foldwise.gradients import ACTIVATIONS, gradient_function, loss_gradient, losses
from foldwise.networks import StackedNetwork
from foldwise.training import flatten


def make(outputs: int, **network: object) -> StackedNetwork:
    stack = StackedNetwork(Network.model_validate({"hidden": [5, 4], **network}), 6, outputs, 3)
    networks.initialise(stack, Init(), lambda i, name: torch.Generator().manual_seed(i + len(name)))
    return stack.double().train()


def batch(outputs: int, rows: int = 7) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(3, rows, 6, generator=random, dtype=torch.float64)
    classes = torch.randint(0, max(2, outputs), (3, rows), generator=random)
    targets = (
        classes.unsqueeze(-1) if outputs == 1 else torch.nn.functional.one_hot(classes, outputs)
    )
    return x, targets.double()


def autograd(
    stack: StackedNetwork, x: Tensor, targets: Tensor, masks: list[Tensor], loss: str
) -> list[Tensor]:
    total = losses(stack(x, masks), targets, loss).mean(dim=1).sum()
    return list(torch.autograd.grad(total, list(stack.parameters())))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("outputs", "loss"), [(1, "cross_entropy"), (4, "squared_error")])
def test_gradient_equals_autograd(
    activation: str, batch_norm: bool, dropout: float, outputs: int, loss: str
) -> None:
    stack = make(outputs, activation=activation, batch_norm=batch_norm, hidden_dropout=dropout)
    x, targets = batch(outputs)
    masks = [(torch.rand(3, 7, w) >= p).double() / (1 - p) for p, w in stack.dropout_widths]
    expected = autograd(stack, x, targets, masks, loss)
    flatten(stack)
    with torch.no_grad():
        gradient_function(stack, loss)(x, targets, masks)
    for parameter, gradient in zip(stack.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_loss_gradient_equals_autograd(outputs: int, loss: str) -> None:
    _, targets = batch(outputs)
    logits = torch.randn(3, 7, outputs, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(losses(logits, targets, loss).mean(dim=1).sum(), logits)
    torch.testing.assert_close(loss_gradient(logits.detach(), targets, loss), expected)


def test_losses_are_torchs_own() -> None:
    functional = torch.nn.functional
    logits, targets = torch.randn(3, 7, 4), torch.randint(0, 4, (3, 7))
    expected = functional.cross_entropy(logits.view(-1, 4), targets.view(-1), reduction="none")
    one_hot = functional.one_hot(targets, 4).float()
    torch.testing.assert_close(losses(logits, one_hot, "cross_entropy").view(-1), expected)
    single, y = torch.randn(3, 7, 1), torch.randint(0, 2, (3, 7, 1)).float()
    expected = functional.binary_cross_entropy_with_logits(single, y, reduction="none")
    torch.testing.assert_close(losses(single, y, "cross_entropy"), expected.squeeze(-1))
    expected = functional.mse_loss(torch.sigmoid(single), y, reduction="none")
    torch.testing.assert_close(losses(single, y, "squared_error"), expected.squeeze(-1))


def test_running_statistics_move_as_in_a_forward_pass() -> None:
    by_hand, by_forward = make(4, batch_norm=True), make(4, batch_norm=True)
    x, targets = batch(4)
    flatten(by_hand)
    with torch.no_grad():
        gradient_function(by_hand, "cross_entropy")(x, targets, [])
        by_forward(x)
    for name, buffer in by_hand.named_buffers():
        torch.testing.assert_close(buffer, by_forward.get_buffer(name))
