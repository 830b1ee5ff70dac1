"""The training step of a network, compiled by Numba for the CPU: forward, backward, update.

PyTorch spends more time around its operations than in them when a network is small. Here a
model goes through its batches without leaving compiled code: its parameters stay in the
processor's cache, and a weight's gradient is used where it is made. Matrix products are BLAS's.
This is the only place with hand-written derivatives; tests hold them to autograd in float64.

Shapes: F models, P parameters of a model, n rows, B rows of a batch, C features, K outputs,
H hidden units of all layers together.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from foldwise.batches import Block
from foldwise.config import Adam, RmsProp, Sgd, Training
from foldwise.networks import EPS, MOMENTUM, StackedNetwork

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "silu", "gelu")
RELU, LEAKY_RELU, SIGMOID, TANH, ELU, SILU, GELU = range(len(ACTIVATIONS))
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw")
SGD, RMSPROP, ADAM, ADAMW = range(len(OPTIMIZERS))
ROWS = 128  # of a weight matrix, handled together: so many fit the nearest cache
compiled = njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


class Settings(NamedTuple):
    """What is the same in every step; names by their places, since compiled text is slow."""

    activation: int  # in ACTIVATIONS
    batch_norm: bool
    dropout: bool
    squared_error: bool  # otherwise cross-entropy
    optimizer: int  # in OPTIMIZERS
    lr: float
    weight_decay: float
    beta1: float  # momentum of SGD and RMSprop
    beta2: float  # alpha of RMSprop
    eps: float
    nesterov: bool


class State(NamedTuple):
    """A stack's numbers, and what its optimizer keeps.

    A model's parameters in the order of a step: weight (in, out) and bias of a hidden layer,
    weight and bias of its BatchNorm, then the next layer's.
    """

    parameters: np.ndarray  # (F, P)
    first: np.ndarray  # (F, P), velocity or first moment
    second: np.ndarray  # (F, P), second moment
    running_mean: np.ndarray  # (F, H), BatchNorm's; no columns without
    running_var: np.ndarray  # likewise


class Scratch(NamedTuple):
    """Room for one batch of one model; flat, cut into matrices as they are needed."""

    units: np.ndarray  # what each hidden layer gives to the next, then the logits
    slopes: np.ndarray  # derivative of that by what the activation got
    normed: np.ndarray  # BatchNorm's values before scale and shift
    spread: np.ndarray  # (H,), BatchNorm's 1 / sqrt(variance + eps)
    above: np.ndarray  # gradient by a layer's outputs
    below: np.ndarray  # gradient by its inputs
    part: np.ndarray  # up to ROWS columns of the inputs; BatchNorm's mean and variance
    gradient: np.ndarray  # by up to ROWS rows of the weights


def train_function(stack: StackedNetwork, training: Training) -> Callable[[Block], None]:
    """A function that trains a stack on the batches of a block, one after the other.

    The loss of a model is the mean over a batch's rows; models do not touch each other, and the
    numbers of one do not depend on how many others there are. The stack's parameters and
    running statistics become views of the arrays that the function changes.

    Args:
        stack: on the CPU, in training mode.
        training: loss, optimizer and batch size.
    """
    state, settings = _flattened(stack), _settings(stack, training)
    widths = (stack.shift.shape[1], *stack.network.hidden, stack.output.weight.shape[2])
    without = np.empty((stack.models, 0, 0), state.parameters.dtype)
    steps = 0

    def train(block: Block) -> None:
        nonlocal steps
        mask = without if block.mask is None else block.mask.numpy()
        x, targets = block.x.numpy(), block.targets.numpy()
        _train(state, x, targets, mask, np.array(widths), settings, steps, training.batch_size)
        steps += math.ceil(x.shape[1] / training.batch_size)

    return train


def prepare() -> None:
    """Compile, or load what an earlier process compiled, before others are forked from this one.

    The first time takes some ten seconds; the result lies beside this file, in `__pycache__`.
    """
    nothing = np.zeros((1, 0, 0), np.float32)
    state = State(*(np.zeros((1, 2), np.float32) for _ in State._fields))
    settings = Settings(RELU, False, False, False, SGD, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    x = np.zeros((1, 1, 1), np.float32)
    _train(state, x, x, nothing, np.array((1, 1)), settings, 0, 1)


def _settings(stack: StackedNetwork, training: Training) -> Settings:
    network, optimizer = stack.network, training.optimizer
    beta1, beta2, eps, nesterov = 0.0, 0.0, 0.0, False
    if isinstance(optimizer, Sgd):
        beta1, nesterov = optimizer.momentum, optimizer.nesterov
    if isinstance(optimizer, Adam):
        (beta1, beta2), eps = optimizer.betas, optimizer.eps
    if isinstance(optimizer, RmsProp):
        beta1, beta2, eps = optimizer.momentum, optimizer.alpha, optimizer.eps
    return Settings(
        ACTIVATIONS.index(network.activation), network.batch_norm, network.hidden_dropout > 0,
        training.loss == "squared_error", OPTIMIZERS.index(optimizer.name), optimizer.lr,
        optimizer.weight_decay, beta1, beta2, eps, nesterov,
    )  # fmt: skip


def _flattened(stack: StackedNetwork) -> State:
    parameters = list[Tensor]()
    means, variances = list[Tensor](), list[Tensor]()
    for layer in stack.hidden_layers():
        parameters += [layer.linear.weight, layer.linear.bias]
        if layer.norm is not None:
            parameters += [layer.norm.weight, layer.norm.bias]
            means.append(layer.norm.running_mean)
            variances.append(layer.norm.running_var)
    flat = _joined([*parameters, stack.output.weight, stack.output.bias])
    moments = np.zeros_like(flat), np.zeros_like(flat)
    return State(flat, *moments, _joined(means, stack.models), _joined(variances, stack.models))


def _joined(tensors: Sequence[Tensor], models: int = 0) -> np.ndarray:
    """Tensors (F, ...) side by side in one array (F, all), of which they become views."""
    if not tensors:
        return np.empty((models, 0), np.float32)
    parts = [tensor.detach().flatten(1) for tensor in tensors]
    joined = torch.cat(parts, dim=1)
    views = torch.split(joined, [part.shape[1] for part in parts], dim=1)
    for tensor, view in zip(tensors, views, strict=True):
        tensor.data = view.unflatten(1, tensor.shape[1:])
    array: np.ndarray = joined.numpy()
    return array


# --- a step -----------------------------------------------------------------------------------


@compiled
def _train(state, x, targets, mask, widths, settings, steps, batch_size):
    """Every model through all batches: x (F, n, C), targets (F, n, K), mask (F, n, H)."""
    scratch = _scratch(widths, min(batch_size, x.shape[1]), x.dtype)
    for f in range(x.shape[0]):
        model = State(
            state.parameters[f], state.first[f], state.second[f],
            state.running_mean[f], state.running_var[f],
        )  # fmt: skip
        for batch in range(-(-x.shape[1] // batch_size)):
            a = batch * batch_size
            b = min(a + batch_size, x.shape[1])
            rows = x[f][a:b], targets[f][a:b], mask[f][a:b]
            _step(model, *rows, widths, settings, steps + batch + 1, scratch)


@compiled
def _step(model, x, targets, mask, widths, settings, step, scratch):
    """One batch of one model: x (B, C), targets (B, K), mask (B, H)."""
    parameters, first, second, running_mean, running_var = model
    units, slopes, normed, spread, above, below, part, gradient = scratch
    rows, output = len(x), len(widths) - 2
    at, unit = 0, 0  # where a layer's parameters and its units begin

    inputs = x
    for layer in range(output + 1):
        wide, narrow = widths[layer], widths[layer + 1]
        size = rows * narrow
        z = _matrix(units, rows * unit, rows, narrow)
        _linear(inputs, parameters, at, z, part)
        at += (wide + 1) * narrow
        if layer < output:
            if settings.batch_norm:
                own = _matrix(normed, rows * unit, rows, narrow)
                _batch_norm(z, own, spread, parameters, at, running_mean, running_var, unit, part)
                at += 2 * narrow
            slope = slopes[rows * unit : rows * unit + size]
            _activate(units[rows * unit : rows * unit + size], slope, settings.activation)
            if settings.dropout:
                _drop_out(z, slope.reshape(rows, narrow), mask[:, unit : unit + narrow])
            unit += narrow
        inputs = z

    d = _matrix(above, 0, rows, widths[-1])
    _loss_gradient(inputs, targets, settings.squared_error, d)
    for layer in range(output, -1, -1):
        wide, narrow = widths[layer], widths[layer + 1]
        if layer < output and settings.batch_norm:
            at -= 2 * narrow
            own = _matrix(normed, rows * unit, rows, narrow)
            _batch_norm_backward(d, own, spread, parameters, at, unit, gradient)
            _update(parameters, first, second, at, 2 * narrow, gradient, settings, step)
        at -= (wide + 1) * narrow
        if layer == 0:
            _update_linear(x, d, parameters, first, second, at, gradient, part, settings, step)
        else:
            unit -= wide
            by_inputs = _matrix(below, 0, rows, wide)
            np.dot(d, _matrix(parameters, at, wide, narrow).T, by_inputs)
            _multiply(below, slopes[rows * unit : rows * (unit + wide)])
            z = _matrix(units, rows * unit, rows, wide)
            _update_linear(z, d, parameters, first, second, at, gradient, part, settings, step)
            d, above, below = by_inputs, below, above


@compiled
def _scratch(widths, rows, dtype):
    hidden, widest = widths[1:-1].sum(), widths[1:].max()
    return Scratch(
        np.empty(rows * widths[1:].sum(), dtype),
        np.empty(rows * hidden, dtype),
        np.empty(rows * hidden, dtype),
        np.empty(hidden, dtype),
        np.empty(rows * widest, dtype),
        np.empty(rows * widest, dtype),
        np.empty(rows * max(widest, ROWS), dtype),
        np.empty(ROWS * widest, dtype),
    )


@compiled
def _matrix(flat, start, rows, columns):
    """A part of a flat array as a matrix."""
    return flat[start : start + rows * columns].reshape(rows, columns)


# --- layers -----------------------------------------------------------------------------------


@compiled
def _linear(x, parameters, at, z, part):
    """Outputs z (B, out) = x W + b, with W and b from `at` on."""
    rows, wide = x.shape
    narrow = z.shape[1]
    if wide <= ROWS:
        np.dot(x, _matrix(parameters, at, wide, narrow), z)
    else:
        _wide_product(x, parameters, at, z, part)
    bias = parameters[at + wide * narrow : at + (wide + 1) * narrow]
    for row in range(rows):
        for o in range(narrow):
            z[row, o] += bias[o]


@compiled
def _wide_product(x, parameters, at, z, part):
    """Product z = x W, a part at a time, which BLAS does faster for few rows."""
    narrow = z.shape[1]
    product = np.empty_like(z)
    z[:] = 0
    for start in range(0, x.shape[1], ROWS):
        columns = _columns(x, start, part)
        width = columns.shape[1]
        np.dot(columns, _matrix(parameters, at + start * narrow, width, narrow), product)
        for row in range(len(z)):
            for o in range(narrow):
                z[row, o] += product[row, o]


@compiled
def _update_linear(x, d, parameters, first, second, at, gradient, part, settings, step):
    """Update weight and bias by their gradients xᵀ d and the sum of d over rows."""
    rows, wide = x.shape
    narrow = d.shape[1]
    for start in range(0, wide, ROWS):
        columns = _columns(x, start, part) if wide > ROWS else x
        width = columns.shape[1]
        np.dot(columns.T, d, _matrix(gradient, 0, width, narrow))
        begin, size = at + start * narrow, width * narrow
        _update(parameters, first, second, begin, size, gradient, settings, step)
    gradient[:narrow] = 0
    for row in range(rows):
        for o in range(narrow):
            gradient[o] += d[row, o]
    _update(parameters, first, second, at + wide * narrow, narrow, gradient, settings, step)


@compiled
def _columns(x, start, part):
    """Up to ROWS columns of x, side by side in memory."""
    rows, width = x.shape[0], min(ROWS, x.shape[1] - start)
    columns, source = _matrix(part, 0, rows, width), x[:, start : start + width]
    for row in range(rows):
        for c in range(width):
            columns[row, c] = source[row, c]
    return columns


@compiled
def _batch_norm(z, normed, spread, parameters, at, running_mean, running_var, unit, part):
    """Normalise z (B, C) by its own biased variance (Ioffe & Szegedy 2015), scale and shift it."""
    rows, width = z.shape
    kind = z.dtype.type
    one, count, eps, momentum = kind(1), kind(rows), kind(EPS), kind(MOMENTUM)
    weight, bias = parameters[at : at + width], parameters[at + width : at + 2 * width]
    running_mean, running_var = running_mean[unit : unit + width], running_var[unit : unit + width]
    spread = spread[unit : unit + width]
    mean, variance = part[:width], part[width : 2 * width]
    part[: 2 * width] = 0
    for row in range(rows):
        for c in range(width):
            mean[c] += z[row, c] / count
    for row in range(rows):
        for c in range(width):
            normed[row, c] = z[row, c] - mean[c]
            variance[c] += normed[row, c] * normed[row, c] / count
    unbiased = count / kind(max(rows - 1, 1))
    for c in range(width):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (variance[c] * unbiased - running_var[c])
        spread[c] = one / np.sqrt(variance[c] + eps)
    for row in range(rows):
        for c in range(width):
            normed[row, c] *= spread[c]
            z[row, c] = normed[row, c] * weight[c] + bias[c]


@compiled
def _batch_norm_backward(d, normed, spread, parameters, at, unit, gradient):
    """Turn d (B, C), by BatchNorm's outputs, into that by its inputs; gradient by its weights."""
    rows, width = d.shape
    share = d.dtype.type(1) / d.dtype.type(rows)
    weight, spread = parameters[at : at + width], spread[unit : unit + width]
    gradient[: 2 * width] = 0
    by_weight, by_bias = gradient[:width], gradient[width : 2 * width]
    for row in range(rows):
        for c in range(width):
            by_weight[c] += d[row, c] * normed[row, c]
            by_bias[c] += d[row, c]
    for row in range(rows):
        for c in range(width):
            centred = d[row, c] - share * (by_bias[c] + normed[row, c] * by_weight[c])
            d[row, c] = weight[c] * spread[c] * centred


@compiled
def _activate(values, slopes, name):
    """Values become the activation's, slopes its derivative by what they were."""
    kind = values.dtype.type
    zero, half, one = kind(0), kind(0.5), kind(1)
    if name in (RELU, LEAKY_RELU):
        leak = kind(0.01) if name == LEAKY_RELU else zero
        for i in range(len(values)):
            slopes[i] = one if values[i] > zero else leak
            values[i] *= slopes[i]
    elif name == SIGMOID:
        for i in range(len(values)):
            values[i] = one / (one + np.exp(-values[i]))
            slopes[i] = values[i] * (one - values[i])
    elif name == TANH:
        for i in range(len(values)):
            values[i] = np.tanh(values[i])
            slopes[i] = one - values[i] * values[i]
    elif name == ELU:
        for i in range(len(values)):
            slopes[i] = one if values[i] > zero else np.exp(values[i])
            values[i] = values[i] if values[i] > zero else np.expm1(values[i])
    elif name == SILU:
        for i in range(len(values)):
            gate = one / (one + np.exp(-values[i]))
            slopes[i] = gate * (one + values[i] * (one - gate))
            values[i] *= gate
    else:
        scale = kind(1 / math.sqrt(2 * math.pi))
        for i in range(len(values)):
            share = half * (one + kind(math.erf(values[i] * kind(math.sqrt(0.5)))))
            slopes[i] = share + values[i] * scale * np.exp(-half * values[i] * values[i])
            values[i] *= share


@compiled
def _drop_out(z, slopes, mask):
    """Multiply by a layer's mask (B, C), on the way here and on the way back."""
    for row in range(z.shape[0]):
        for c in range(z.shape[1]):
            z[row, c] *= mask[row, c]
            slopes[row, c] *= mask[row, c]


@compiled
def _multiply(d, slopes):
    for i in range(len(slopes)):
        d[i] *= slopes[i]


@compiled
def _loss_gradient(logits, targets, squared_error, d):
    """Gradient d (B, K) of the mean of `losses.losses` over B rows by the logits."""
    rows, outputs = logits.shape
    kind = logits.dtype.type
    one, share = kind(1), kind(1) / kind(rows)
    for row in range(rows):
        if outputs == 1:
            p = one / (one + np.exp(-logits[row, 0]))
            d[row, 0] = (p - targets[row, 0]) * share
            if squared_error:
                d[row, 0] *= kind(2) * p * (one - p)
            continue
        highest, total, inner = logits[row].max(), kind(0), kind(0)
        for k in range(outputs):
            d[row, k] = np.exp(logits[row, k] - highest)
            total += d[row, k]
        for k in range(outputs):
            d[row, k] /= total  # the probability
            inner += (d[row, k] - targets[row, k]) * d[row, k]
        for k in range(outputs):
            error = d[row, k] - targets[row, k]
            if squared_error:
                error = (error - inner) * d[row, k] * kind(2) / kind(outputs)
            d[row, k] = error * share


# --- optimizers -------------------------------------------------------------------------------


@compiled
def _update(parameters, first, second, at, size, gradient, settings, step):
    """One step of `torch.optim`'s SGD, Adam, AdamW or RMSprop on `size` parameters from `at`."""
    p, first = parameters[at : at + size], first[at : at + size]
    second = second[at : at + size]
    kind = gradient.dtype.type
    one, lr, decay = kind(1), kind(settings.lr), kind(settings.weight_decay)
    beta1, beta2, eps = kind(settings.beta1), kind(settings.beta2), kind(settings.eps)
    if settings.optimizer == SGD:
        for i in range(size):
            g = gradient[i] + decay * p[i]
            first[i] = beta1 * first[i] + g
            move = g + beta1 * first[i] if settings.nesterov else first[i]
            p[i] -= lr * move
    elif settings.optimizer == RMSPROP:
        for i in range(size):
            g = gradient[i] + decay * p[i]
            second[i] = beta2 * second[i] + (one - beta2) * g * g
            first[i] = beta1 * first[i] + g / (np.sqrt(second[i]) + eps)
            p[i] -= lr * first[i]
    else:
        shrink, penalty = one, decay
        if settings.optimizer == ADAMW:
            shrink, penalty = one - lr * decay, kind(0)
        corrected = kind(settings.lr / (1 - settings.beta1**step))
        root = kind(1 / math.sqrt(1 - settings.beta2**step))
        for i in range(size):
            value = p[i] * shrink
            g = gradient[i] + penalty * value
            mean = first[i] + (one - beta1) * (g - first[i])
            square = beta2 * second[i] + (one - beta2) * g * g
            first[i], second[i] = mean, square
            p[i] = value - corrected * mean / (np.sqrt(square) * root + eps)
