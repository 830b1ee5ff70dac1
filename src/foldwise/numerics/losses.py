"""What training minimises."""

import torch
from torch import Tensor, nn


def losses(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Loss of every row (F, B).

    cross_entropy: minus the log-probability of the row's class. squared_error: the mean over
    the network's outputs of (probability - target)^2, the Brier score of the row.
    """
    if loss == "cross_entropy":
        if logits.shape[-1] == 1:
            z, y = logits.squeeze(-1), targets.squeeze(-1)
            return nn.functional.softplus(z) - z * y
        return -(torch.log_softmax(logits, dim=-1) * targets).sum(dim=-1)
    p = torch.sigmoid(logits) if logits.shape[-1] == 1 else torch.softmax(logits, dim=-1)
    return (p - targets).square().mean(dim=-1)
