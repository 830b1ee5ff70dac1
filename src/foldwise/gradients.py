"""The gradient of a stack's loss, written out by hand.

Autograd costs more than the arithmetic when a network is small. This is the only place with
hand-written derivatives; tests hold it to autograd in float64. The derivatives of activations
and of BatchNorm are torch's own kernels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from foldwise.networks import (
    EPS,
    MOMENTUM,
    StackedBatchNorm,
    StackedLinear,
    StackedNetwork,
    side_by_side,
    stacked,
)

aten: Any = torch.ops.aten

# name -> (z -> activation, (gradient, z, activation) -> gradient before the activation)
ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "relu": (torch.relu, lambda d, z, h: aten.threshold_backward(d, h, 0)),
    "sigmoid": (torch.sigmoid, lambda d, z, h: aten.sigmoid_backward(d, h)),
    "tanh": (torch.tanh, lambda d, z, h: aten.tanh_backward(d, h)),
    "gelu": (aten.gelu, lambda d, z, h: aten.gelu_backward(d, z)),
    "silu": (aten.silu, lambda d, z, h: aten.silu_backward(d, z)),
    "elu": (aten.elu, lambda d, z, h: aten.elu_backward(d, 1, 1, 1, False, z)),
    "leaky_relu": (aten.leaky_relu, lambda d, z, h: aten.leaky_relu_backward(d, z, 0.01, False)),
}


def backpropagate(
    stack: StackedNetwork,
    x: Tensor,
    targets: Tensor,
    masks: Sequence[Tensor],
    loss: str,
) -> None:
    """One forward and backward pass; writes every parameter's `.grad` (which must exist).

    The loss of a model is the mean over its B rows; models do not touch each other.
    BatchNorm's running statistics move as in a forward pass in training mode.

    Args:
        stack: F networks.
        x: rescaled features (F, B, C), input dropout already applied.
        targets: (F, B, outputs): one-hot rows, or the class as 0 or 1 where outputs is 1.
        masks: dropout factors (F, B, width) for each hidden layer, or empty.
        loss: "cross_entropy" or "squared_error".
    """
    forward, backward = ACTIVATIONS[stack.network.activation]
    layers = stack.hidden_layers()
    xs, zs, hs, norms = [x], list[Tensor](), list[Tensor](), list[Any]()
    for i, layer in enumerate(layers):
        z, norm = _batch_norm(layer.norm, layer.linear(xs[i]))
        h = forward(z)
        xs.append(h * masks[i] if masks else h)
        zs.append(z)
        hs.append(h)
        norms.append(norm)

    d = loss_gradient(stack.output(xs[-1]), targets, loss)
    _linear_gradients(stack.output, xs[-1], d)
    following = stack.output
    for i, layer in reversed(list(enumerate(layers))):
        d = torch.bmm(d, following.weight.transpose(1, 2))
        if masks:
            d.mul_(masks[i])
        d = _batch_norm_backward(layer.norm, backward(d, zs[i], hs[i]), norms[i])
        _linear_gradients(layer.linear, xs[i], d)
        following = layer.linear


def loss_gradient(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Gradient of the mean over B rows of `losses` by the logits: (F, B, outputs)."""
    rows, outputs = logits.shape[1:]
    p = torch.sigmoid(logits) if outputs == 1 else torch.softmax(logits, dim=-1)
    error = p.sub(targets)
    if loss == "cross_entropy":
        return error.div_(rows)
    if outputs == 1:
        return error.mul_(p).mul_(1 - p).mul_(2 / rows)
    inner = (error * p).sum(dim=-1, keepdim=True)
    return error.sub_(inner).mul_(p).mul_(2 / (rows * outputs))


def losses(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Loss of every row (F, B), in evaluation and for autograd.

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


def _linear_gradients(layer: StackedLinear, x: Tensor, d: Tensor) -> None:
    torch.bmm(x.transpose(1, 2), d, out=layer.weight.grad)
    torch.sum(d, dim=1, out=layer.bias.grad)


def _batch_norm(norm: StackedBatchNorm | None, z: Tensor) -> tuple[Tensor, Any]:
    """Normalised z (F, B, C) and what the way back needs."""
    if norm is None:
        return z, None
    flat = side_by_side(z)
    y, mean, inverse_sd = torch.native_batch_norm(
        flat,
        norm.weight.view(-1),
        norm.bias.view(-1),
        norm.running_mean.view(-1),
        norm.running_var.view(-1),
        True,
        MOMENTUM,
        EPS,
    )
    return stacked(y, z.shape[0]), (flat, mean, inverse_sd)


def _batch_norm_backward(norm: StackedBatchNorm | None, d: Tensor, saved: Any) -> Tensor:
    if norm is None:
        return d
    flat, mean, inverse_sd = saved
    dz, dweight, dbias = aten.native_batch_norm_backward(
        side_by_side(d), flat, norm.weight.view(-1), None, None, mean, inverse_sd,
        True, EPS, [True, True, True],
    )  # fmt: skip
    norm.weight.grad.view(-1).copy_(dweight)  # type: ignore[union-attr]
    norm.bias.grad.view(-1).copy_(dbias)  # type: ignore[union-attr]
    return stacked(dz, d.shape[0])
