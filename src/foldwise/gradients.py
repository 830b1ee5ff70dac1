"""The gradient of a stack's loss, written out by hand.

Autograd costs more than the arithmetic when a network is small. This is the only place with
hand-written derivatives; tests hold it to autograd in float64. The derivatives of activations
and of BatchNorm are torch's own kernels.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class Bound(NamedTuple):
    """A linear layer's tensors, looked up once: attribute access on modules is slow."""

    weight: Tensor  # (F, in, out)
    transposed: Tensor  # (F, out, in)
    bias: Tensor  # (F, 1, out)
    weight_gradient: Tensor
    bias_gradient: Tensor  # (F, out)


class BoundNorm(NamedTuple):
    """A BatchNorm layer's tensors, likewise; each (F * C,)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


def gradient_function(
    stack: StackedNetwork, loss: str
) -> Callable[[Tensor, Tensor, Sequence[Tensor]], None]:
    """A function that does one forward and backward pass and writes every parameter's `.grad`.

    The loss of a model is the mean over its B rows; models do not touch each other.
    BatchNorm's running statistics move as in a forward pass in training mode.

    Args:
        stack: F networks whose parameters have a `.grad` (see `training.flatten`).
        loss: "cross_entropy" or "squared_error".

    Returns:
        A function of x, rescaled features (F, B, C) with input dropout already applied;
        targets (F, B, outputs), one-hot rows, or the class as 0 or 1 where outputs is 1;
        masks, dropout factors (F, B, width) for each hidden layer, or empty.
    """
    forward, backward = ACTIVATIONS[stack.network.activation]
    hidden = [_bind(layer.linear) for layer in stack.hidden_layers()]
    norms = [_bind_norm(layer.norm) for layer in stack.hidden_layers()]
    output = _bind(stack.output)
    above = [*hidden[1:], output]  # the layer that follows each hidden one

    def gradient(x: Tensor, targets: Tensor, masks: Sequence[Tensor]) -> None:
        xs, zs, hs, saved = [x], list[Tensor](), list[Tensor](), list[Any]()
        for i, layer in enumerate(hidden):
            z = torch.baddbmm(layer.bias, xs[i], layer.weight)
            z, kept = _batch_norm(norms[i], z)
            h = forward(z)
            xs.append(h * masks[i] if masks else h)
            zs.append(z)
            hs.append(h)
            saved.append(kept)

        d = loss_gradient(torch.baddbmm(output.bias, xs[-1], output.weight), targets, loss)
        _linear_gradients(output, xs[-1], d)
        for i in range(len(hidden) - 1, -1, -1):
            d = torch.bmm(d, above[i].transposed)
            if masks:
                d.mul_(masks[i])
            d = _batch_norm_backward(norms[i], backward(d, zs[i], hs[i]), saved[i])
            _linear_gradients(hidden[i], xs[i], d)

    return gradient


def _bind(layer: StackedLinear) -> Bound:
    weight, bias = layer.weight.detach(), layer.bias.detach()
    slope, bias_slope = layer.weight.grad, layer.bias.grad
    if slope is None or bias_slope is None:
        raise ValueError("the parameters have no gradient to write to: call `flatten` first")
    return Bound(weight, weight.transpose(1, 2), bias.unsqueeze(1), slope, bias_slope)


def loss_gradient(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Gradient of the mean over B rows of `losses` by the logits: (F, B, outputs)."""
    rows, outputs = logits.shape[1:]
    p = torch.sigmoid(logits) if outputs == 1 else torch.softmax(logits, dim=-1)
    error = p.sub(targets)
    if loss == "cross_entropy":
        return error.mul_(1 / rows)
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


def _linear_gradients(layer: Bound, x: Tensor, d: Tensor) -> None:
    torch.bmm(x.transpose(1, 2), d, out=layer.weight_gradient)
    torch.sum(d, dim=1, out=layer.bias_gradient)


def _bind_norm(norm: StackedBatchNorm | None) -> BoundNorm | None:
    if norm is None:
        return None
    slope, bias_slope = norm.weight.grad, norm.bias.grad
    if slope is None or bias_slope is None:
        raise ValueError("the parameters have no gradient to write to: call `flatten` first")
    tensors = (norm.weight.detach(), norm.bias.detach(), norm.running_mean, norm.running_var)
    return BoundNorm(*(tensor.view(-1) for tensor in (*tensors, slope, bias_slope)))


def _batch_norm(norm: BoundNorm | None, z: Tensor) -> tuple[Tensor, Any]:
    """Normalised z (F, B, C) and what the way back needs."""
    if norm is None:
        return z, None
    flat = side_by_side(z)
    y, mean, inverse_sd = torch.native_batch_norm(
        flat, norm.weight, norm.bias, norm.running_mean, norm.running_var, True, MOMENTUM, EPS
    )
    return stacked(y, z.shape[0]), (flat, mean, inverse_sd)


def _batch_norm_backward(norm: BoundNorm | None, d: Tensor, saved: Any) -> Tensor:
    if norm is None:
        return d
    flat, mean, inverse_sd = saved
    dz, dweight, dbias = aten.native_batch_norm_backward(
        side_by_side(d), flat, norm.weight, None, None, mean, inverse_sd, True, EPS, [True] * 3
    )
    norm.weight_gradient.copy_(dweight)
    norm.bias_gradient.copy_(dbias)
    return stacked(dz, d.shape[0])
