"""A network's training step and its logits, compiled by Numba for the CPU.

PyTorch spends more time around its operations than in them when a network is small. Here a
model goes through its batches without leaving compiled code: its parameters stay in the
processor's cache, a batch's features are gathered and rescaled where they are needed, and a
weight's gradient is used where it is made. Matrix products are BLAS's. This is the only place
with hand-written derivatives; tests hold them to autograd in float64.

Shapes: F models, P parameters of a model, N rows of data, n rows of a block, B rows of a batch,
C features, K outputs, H hidden units of all layers together.

A layer's inputs (B, C) lie in *strips*: up to STRIP columns, all rows of them, then the next
columns. BLAS is faster with a few rows and a few columns than with a few rows and thousands.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from foldwise.numerics.batches import Block, Rows
from foldwise.numerics.inputs import Network, Training
from foldwise.numerics.networks import EPS, MOMENTUM, StackedNetwork

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "silu", "gelu")
RELU, LEAKY_RELU, SIGMOID, TANH, ELU, SILU, GELU = range(len(ACTIVATIONS))
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw")
SGD, RMSPROP, ADAM, ADAMW = range(len(OPTIMIZERS))
LOSSES = ("cross_entropy", "squared_error")
STRIP = 128  # columns of inputs, and their rows of weights, that fit the nearest cache
EVALUATED = 64  # rows whose logits are computed together
REORDERED = {"contract", "reassoc", "nsz"}  # sums in any order, products joined with sums
ESTIMATED = {"arcp", "afn", "ninf"}  # roots by an estimate and a correction: a rounding apart
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath=REORDERED)
compiled_with_estimates = njit(
    cache=True, nogil=True, error_model="numpy", fastmath=REORDERED | ESTIMATED
)


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


class Data(NamedTuple):
    """A data set's raw features and how each model rescales them: (X - shift) * factor."""

    X: np.ndarray  # (N, C)
    shift: np.ndarray  # (F, C)
    factor: np.ndarray  # (F, C)


class Scratch(NamedTuple):
    """Room for one batch of one model; flat, cut into matrices as they are needed."""

    x: np.ndarray  # rescaled features, in strips
    targets: np.ndarray
    units: np.ndarray  # what each hidden layer gives to the next, in strips; then the logits
    slopes: np.ndarray  # derivative of that by what the activation got
    normed: np.ndarray  # BatchNorm's values before scale and shift
    spread: np.ndarray  # (H,), BatchNorm's 1 / sqrt(variance + eps)
    above: np.ndarray  # gradient by a layer's outputs
    below: np.ndarray  # gradient by its inputs
    gradient: np.ndarray  # by up to STRIP rows of the weights
    room: np.ndarray  # for what is needed shortly


def functions(
    stack: StackedNetwork, training: Training
) -> tuple[Callable[[Block], None], Callable[[Rows, Tensor], Tensor]]:
    """Two functions: to train a stack on the batches of a block, and to give its logits.

    The loss of a model is the mean over a batch's rows; models do not touch each other, and the
    numbers of one do not depend on how many others there are. The stack's parameters and
    running statistics become views of the arrays that training changes. Logits (F, m, K) are
    those of evaluation mode for rows (F, m).

    Args:
        stack: on the CPU.
        training: loss, optimizer and batch size.
    """
    state, settings = _flattened(stack), _settings(stack, training)
    widths = np.array((stack.shift.shape[1], *stack.network.hidden, stack.output.weight.shape[2]))
    without = np.empty((stack.models, 0, 0), state.parameters.dtype)
    steps = 0

    def train(block: Block) -> None:
        nonlocal steps
        by_feature = without if block.input_mask is None else block.input_mask.numpy()
        by_unit = without if block.mask is None else block.mask.numpy()
        _train(
            state, _data(block.rows), block.rows.targets.numpy(), block.chosen.numpy(),
            by_feature, by_unit, widths, settings, steps, training.batch_size,
        )  # fmt: skip
        steps += math.ceil(block.size / training.batch_size)

    def logits(rows: Rows, chosen: Tensor) -> Tensor:
        found = np.empty((*chosen.shape, widths[-1]), state.parameters.dtype)
        _evaluate(state, _data(rows), chosen.contiguous().numpy(), widths, settings, found)
        return torch.from_numpy(found)

    return train, logits


def _data(rows: Rows) -> Data:
    return Data(rows.X.numpy(), rows.shift.numpy(), rows.factor.numpy())


def prepare(network: Network, training: Training, kinds: Sequence[torch.dtype]) -> None:
    """Compile, or load what an earlier process compiled, before others are forked from this one.

    The first time takes some ten seconds; the result lies beside this file, in `__pycache__`.

    Args:
        network: any; the compiled code is the same for all.
        training: likewise.
        kinds: of raw features.
    """
    nothing, chosen = torch.zeros(1, 1), torch.zeros(1, 0, dtype=torch.int64)
    for kind in kinds:
        rows = Rows(nothing.to(kind), nothing, nothing, nothing, nothing, nothing)
        train, logits = functions(StackedNetwork(network, 1, 1, 1), training)
        train(Block(rows, chosen))
        logits(rows, chosen)


def _settings(stack: StackedNetwork, training: Training) -> Settings:
    network, optimizer = stack.network, training.optimizer
    beta1, beta2, eps, nesterov = 0.0, 0.0, 0.0, False
    if optimizer.name == "sgd":
        beta1, nesterov = optimizer.momentum, optimizer.nesterov
    elif optimizer.name == "rmsprop":
        beta1, beta2, eps = optimizer.momentum, optimizer.alpha, optimizer.eps
    else:
        (beta1, beta2), eps = optimizer.betas, optimizer.eps
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


# --- batches ----------------------------------------------------------------------------------


@compiled
def _train(
    state, data, targets, chosen, input_mask, mask, widths, settings, steps, batch_size
):  # fmt: skip
    """Every model through all batches: targets (N, K), chosen (F, n), masks (F, n, C or H)."""
    models, size = chosen.shape
    scratch = _scratch(widths, min(batch_size, size), state.parameters.dtype)
    for f in range(models):
        model = _model(state, f)
        for batch in range(-(-size // batch_size)):
            a = batch * batch_size
            b = min(a + batch_size, size)
            rows = chosen[f, a:b]
            _gather(data.X, rows, data.shift[f], data.factor[f], scratch.x)
            if input_mask.shape[1]:
                _multiply_strips(scratch.x, input_mask[f, a:b])
            wanted = _matrix(scratch.targets, 0, len(rows), targets.shape[1])
            for row in range(len(rows)):
                for k in range(targets.shape[1]):
                    wanted[row, k] = targets[rows[row], k]
            _forward(model, len(rows), mask[f, a:b], widths, settings, True, scratch)
            _backward(model, wanted, widths, settings, steps + batch + 1, scratch)


@compiled
def _evaluate(state, data, chosen, widths, settings, logits):
    """Logits (F, n, K) of chosen rows (F, n), without dropout, BatchNorm by its running values."""
    models, size = chosen.shape
    scratch = _scratch(widths, min(EVALUATED, size), state.parameters.dtype)
    for f in range(models):
        model = _model(state, f)
        for a in range(0, size, EVALUATED):
            b = min(a + EVALUATED, size)
            _gather(data.X, chosen[f, a:b], data.shift[f], data.factor[f], scratch.x)
            _forward(model, b - a, logits[f, a:b], widths, settings, False, scratch)
            found = _matrix(scratch.units, (b - a) * _units(widths), b - a, widths[-1])
            for row in range(b - a):
                for k in range(widths[-1]):
                    logits[f, a + row, k] = found[row, k]


@compiled
def _model(state, f):
    """The numbers of one model."""
    return State(
        state.parameters[f], state.first[f], state.second[f],
        state.running_mean[f], state.running_var[f],
    )  # fmt: skip


@compiled
def _scratch(widths, rows, dtype):
    hidden, widest = _units(widths), 0
    for width in widths[1:]:
        widest = max(widest, width)
    return Scratch(
        np.empty(rows * widths[0], dtype),
        np.empty(rows * widths[-1], dtype),
        np.empty(rows * (hidden + widths[-1]), dtype),
        np.empty(rows * hidden, dtype),
        np.empty(rows * hidden, dtype),
        np.empty(hidden, dtype),
        np.empty(rows * widest, dtype),
        np.empty(rows * widest, dtype),
        np.empty(max(2, STRIP) * widest, dtype),
        np.empty(max(2, rows) * widest, dtype),
    )


@compiled
def _units(widths):
    """H, the hidden units of all layers."""
    units = 0
    for width in widths[1:-1]:
        units += width
    return units


@compiled
def _gather(X, rows, shift, factor, x):
    """Rows of raw features (N, C), rescaled, into strips."""
    kind = x.dtype.type
    count = len(rows)
    for row in range(count):
        raw = X[rows[row]]
        for start in range(0, len(raw), STRIP):
            width = min(STRIP, len(raw) - start)
            place = count * start + row * width
            strip, values = x[place : place + width], raw[start : start + width]
            low, by = shift[start : start + width], factor[start : start + width]
            for c in range(width):
                strip[c] = (kind(values[c]) - low[c]) * by[c]


@compiled
def _multiply_strips(x, mask):
    """Multiply strips by a matrix (B, C)."""
    count, wide = mask.shape
    for row in range(count):
        for start in range(0, wide, STRIP):
            width = min(STRIP, wide - start)
            place = count * start + row * width
            strip, factors = x[place : place + width], mask[row, start : start + width]
            for c in range(width):
                strip[c] *= factors[c]


# --- a step -----------------------------------------------------------------------------------


@compiled
def _forward(model, rows, mask, widths, settings, training, scratch):
    """What each layer makes of `scratch.x`, the logits at last; mask (B, H) where training."""
    parameters, _, _, running_mean, running_var = model
    x, _, units, slopes, normed, spread, _, below, _, room = scratch
    output = len(widths) - 2
    at, unit = 0, 0  # where a layer's parameters and its units begin

    inputs = x
    for layer in range(output + 1):
        wide, narrow = widths[layer], widths[layer + 1]
        values = units[rows * unit : rows * (unit + narrow)]
        z = values.reshape(rows, narrow)
        _linear(inputs, wide, parameters, at, z, below)
        at += (wide + 1) * narrow
        if layer < output:
            if settings.batch_norm:
                weight, bias = at, at + narrow
                if training:
                    own = _matrix(normed, rows * unit, rows, narrow)
                    _batch_norm(z, own, spread, running_mean, running_var, unit, room)
                else:
                    _normalise(z, running_mean, running_var, unit)
                _scale(z, parameters[weight:bias], parameters[bias : bias + narrow])
                at += 2 * narrow
            slope = slopes[rows * unit : rows * (unit + narrow)]
            _activate(values, slope, settings.activation)
            if settings.dropout and training:
                _drop_out(z, slope.reshape(rows, narrow), mask[:, unit : unit + narrow])
            if narrow > STRIP:
                _into_strips(z, room)
            unit += narrow
        inputs = values


@compiled
def _backward(model, targets, widths, settings, step, scratch):
    """Gradient of the loss, layer by layer, and the update of each by it; targets (B, K)."""
    parameters, first, second, _, _ = model
    x, _, units, slopes, normed, spread, above, below, gradient, _ = scratch
    rows, output = len(targets), len(widths) - 2
    at, unit = len(parameters), _units(widths)  # where a layer's parameters and units end

    d = _matrix(above, 0, rows, widths[-1])
    _loss_gradient(_matrix(units, rows * unit, rows, widths[-1]), targets, settings, d)
    for layer in range(output, -1, -1):
        wide, narrow = widths[layer], widths[layer + 1]
        if layer < output and settings.batch_norm:
            at -= 2 * narrow
            own = _matrix(normed, rows * unit, rows, narrow)
            _batch_norm_backward(d, own, spread, parameters, at, unit, gradient)
            _update(parameters, first, second, at, 2 * narrow, gradient, settings, step)
        at -= (wide + 1) * narrow
        if layer == 0:
            _update_linear(x, wide, d, parameters, first, second, at, gradient, settings, step)
        else:
            unit -= wide
            by_inputs = _matrix(below, 0, rows, wide)
            np.dot(d, _matrix(parameters, at, wide, narrow).T, by_inputs)
            _multiply(below, slopes[rows * unit : rows * (unit + wide)])
            inputs = units[rows * unit : rows * (unit + wide)]
            _update_linear(inputs, wide, d, parameters, first, second, at, gradient, settings, step)
            d, above, below = by_inputs, below, above


@compiled
def _matrix(flat, start, rows, columns):
    """A part of a flat array as a matrix."""
    return flat[start : start + rows * columns].reshape(rows, columns)


# --- layers -----------------------------------------------------------------------------------


@compiled
def _linear(x, wide, parameters, at, z, product):
    """Outputs z (B, out) = x W + b, with x in strips, and W and b from `at` on."""
    rows, narrow = z.shape
    for start in range(0, wide, STRIP):
        width = min(STRIP, wide - start)
        strip = _matrix(x, rows * start, rows, width)
        weights = _matrix(parameters, at + start * narrow, width, narrow)
        if start == 0:
            np.dot(strip, weights, z)
        else:
            np.dot(strip, weights, _matrix(product, 0, rows, narrow))
            _add(z, product)
    bias = parameters[at + wide * narrow : at + (wide + 1) * narrow]
    for row in range(rows):
        for o in range(narrow):
            z[row, o] += bias[o]


@compiled
def _add(z, product):
    total = z.reshape(z.size)
    for i in range(len(total)):
        total[i] += product[i]


@compiled
def _update_linear(x, wide, d, parameters, first, second, at, gradient, settings, step):
    """Update weight and bias by their gradients xᵀ d and the sum of d over rows."""
    rows, narrow = d.shape
    for start in range(0, wide, STRIP):
        width = min(STRIP, wide - start)
        strip = _matrix(x, rows * start, rows, width)
        np.dot(strip.T, d, _matrix(gradient, 0, width, narrow))
        begin, size = at + start * narrow, width * narrow
        _update(parameters, first, second, begin, size, gradient, settings, step)
    gradient[:narrow] = 0
    for row in range(rows):
        for o in range(narrow):
            gradient[o] += d[row, o]
    _update(parameters, first, second, at + wide * narrow, narrow, gradient, settings, step)


@compiled
def _into_strips(z, room):
    """Reorder z (B, C) in its place."""
    rows, wide = z.shape
    flat, at = z.reshape(z.size), 0
    for start in range(0, wide, STRIP):
        for row in range(rows):
            for c in range(start, min(start + STRIP, wide)):
                room[at] = z[row, c]
                at += 1
    for i in range(len(flat)):
        flat[i] = room[i]


@compiled
def _batch_norm(z, normed, spread, running_mean, running_var, unit, room):
    """Normalise z (B, C) by its own biased variance (Ioffe & Szegedy 2015); keep a copy."""
    rows, width = z.shape
    kind = z.dtype.type
    one, count, eps, momentum = kind(1), kind(rows), kind(EPS), kind(MOMENTUM)
    running_mean, running_var = running_mean[unit : unit + width], running_var[unit : unit + width]
    spread = spread[unit : unit + width]
    mean, variance = room[:width], room[width : 2 * width]
    room[: 2 * width] = 0
    for row in range(rows):
        for c in range(width):
            mean[c] += z[row, c] / count
    for row in range(rows):
        for c in range(width):
            z[row, c] -= mean[c]
            variance[c] += z[row, c] * z[row, c] / count
    unbiased = count / kind(max(rows - 1, 1))
    for c in range(width):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (variance[c] * unbiased - running_var[c])
        spread[c] = one / np.sqrt(variance[c] + eps)
    for row in range(rows):
        for c in range(width):
            z[row, c] *= spread[c]
            normed[row, c] = z[row, c]


@compiled
def _normalise(z, running_mean, running_var, unit):
    """Normalise z (B, C) as BatchNorm does in evaluation."""
    kind = z.dtype.type
    for c in range(z.shape[1]):
        mean = running_mean[unit + c]
        spread = kind(1) / np.sqrt(running_var[unit + c] + kind(EPS))
        for row in range(len(z)):
            z[row, c] = (z[row, c] - mean) * spread


@compiled
def _scale(z, weight, bias):
    for row in range(len(z)):
        for c in range(z.shape[1]):
            z[row, c] = z[row, c] * weight[c] + bias[c]


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
def _loss_gradient(logits, targets, settings, d):
    """Gradient d (B, K) of the mean of `losses.losses` over B rows by the logits."""
    rows, outputs = logits.shape
    kind = logits.dtype.type
    one, share, squared_error = kind(1), kind(1) / kind(rows), settings.squared_error
    for row in range(rows):
        if outputs == 1:
            p = one / (one + np.exp(-logits[row, 0]))
            d[row, 0] = (p - targets[row, 0]) * share
            if squared_error:
                d[row, 0] *= kind(2) * p * (one - p)
            continue
        highest, total, inner = logits[row, 0], kind(0), kind(0)
        for k in range(1, outputs):
            highest = max(highest, logits[row, k])
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


@compiled_with_estimates
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
