"""Losses are torch's own, row by row."""

import torch

from foldwise.numerics.losses import losses


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
