"""The parts of a compiled step that are no products: batches, activations, BatchNorm, the loss.

Pointers to flat matrices; a matrix (B, C) has rows of `wide` numbers, C rounded up. Sums over
rows go from the first to the last. Shapes: B rows of a batch, C columns, K outputs.
"""

import math

import numpy as np

from foldwise.numerics.elementary import erf, exp, expm1, log, log1p, sigmoid, tanh
from foldwise.numerics.lanes import after, fma, inner, like
from foldwise.numerics.networks import EPS, MOMENTUM

ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh", "elu", "silu", "gelu")
RELU, LEAKY_RELU, SIGMOID, TANH, ELU, SILU, GELU = range(len(ACTIVATIONS))


# --- batches ----------------------------------------------------------------------------------


@inner
def gather(X, features, chosen, rows, shift, factor, x, wide):
    """Rescale some of the raw features X (N, C): x (B, C) = (X[chosen] - shift) * factor."""
    for row in range(rows):
        to, source = row * wide, chosen[row] * features
        for c in range(features):
            x[to + c] = (like(x, X[source + c]) - shift[c]) * factor[c]


@inner
def gather_targets(targets, outputs, chosen, rows, wanted):
    """Copy targets (N, K) of some rows to `wanted` (B, K), without padding."""
    for row in range(rows):
        for k in range(outputs):
            wanted[row * outputs + k] = targets[chosen[row] * outputs + k]


@inner
def multiply_rows(z, rows, columns, wide, mask, mask_row):
    """Multiply z (B, C) by a mask (B, C) whose rows lie `mask_row` apart."""
    for row in range(rows):
        for c in range(columns):
            z[row * wide + c] *= mask[row * mask_row + c]


@inner
def copy(z, size, to):
    """The same numbers at another place."""
    for i in range(size):
        to[i] = z[i]


@inner
def multiply(d, slopes, size):
    """Multiply d by slopes."""
    for i in range(size):
        d[i] *= slopes[i]


@inner
def clear_padding(z, rows, columns, wide):
    """Zeros right of C columns."""
    zero = like(z, 0)
    for row in range(rows):
        for c in range(columns, wide):
            z[row * wide + c] = zero


@inner
def sum_rows(d, rows, wide, total):
    """Sum d (B, C) over rows: total (C,)."""
    for c in range(wide):
        total[c] = d[c]
    for row in range(1, rows):
        for c in range(wide):
            total[c] += d[row * wide + c]


# --- BatchNorm --------------------------------------------------------------------------------


@inner
def batch_norm(z, rows, wide, weight, bias, running_mean, running_var, normed, spread, mean, var):
    """Standardize z (B, C) by its own biased variance (Ioffe & Szegedy 2015), scale and shift.

    What it is before scale and shift is kept in `normed`, 1 / sqrt(variance + eps) in `spread`;
    mean and var (C,) are room.
    """
    one, eps, momentum = like(z, 1), like(z, EPS), like(z, MOMENTUM)
    count, unbiased = like(z, rows), like(z, rows) / like(z, max(rows - 1, 1))
    sum_rows(z, rows, wide, mean)
    for c in range(wide):
        mean[c] /= count
        var[c] = like(z, 0)
    for row in range(rows):
        for c in range(wide):
            centred = z[row * wide + c] - mean[c]
            normed[row * wide + c] = centred
            var[c] = fma(centred, centred, var[c])
    for c in range(wide):
        var[c] /= count
        running_mean[c] = fma(momentum, mean[c] - running_mean[c], running_mean[c])
        running_var[c] = fma(momentum, fma(var[c], unbiased, -running_var[c]), running_var[c])
        spread[c] = one / np.sqrt(var[c] + eps)
    for row in range(rows):
        for c in range(wide):
            value = normed[row * wide + c] * spread[c]
            normed[row * wide + c] = value
            z[row * wide + c] = fma(value, weight[c], bias[c])


@inner
def apply_batch_norm(z, rows, wide, weight, bias, running_mean, running_var, spread):
    """BatchNorm in evaluation: z (B, C) by the running mean and variance."""
    one, eps = like(z, 1), like(z, EPS)
    for c in range(wide):
        spread[c] = one / np.sqrt(running_var[c] + eps)
    for row in range(rows):
        for c in range(wide):
            value = (z[row * wide + c] - running_mean[c]) * spread[c]
            z[row * wide + c] = fma(value, weight[c], bias[c])


@inner
def batch_norm_backward(d, rows, wide, weight, normed, spread, by_weight, by_bias):
    """Turn d (B, C), by BatchNorm's outputs, into that by its inputs; gradients by its weights."""
    share = like(d, 1) / like(d, rows)
    sum_rows(d, rows, wide, by_bias)
    for c in range(wide):
        by_weight[c] = like(d, 0)
    for row in range(rows):
        for c in range(wide):
            by_weight[c] = fma(d[row * wide + c], normed[row * wide + c], by_weight[c])
    for row in range(rows):
        for c in range(wide):
            mean = share * fma(normed[row * wide + c], by_weight[c], by_bias[c])
            d[row * wide + c] = weight[c] * spread[c] * (d[row * wide + c] - mean)


# --- activations ------------------------------------------------------------------------------


@inner
def activate(z, slopes, size, name):
    """Turn z into the activation's value, slopes into its derivative by what z was."""
    zero, half, one = like(z, 0), like(z, 0.5), like(z, 1)
    if name == RELU:
        for i in range(size):
            slopes[i] = one if z[i] > zero else zero
            z[i] = z[i] if z[i] > zero else zero
    elif name == LEAKY_RELU:
        leak = like(z, 0.01)
        for i in range(size):
            slopes[i] = one if z[i] > zero else leak
            z[i] = z[i] * slopes[i]
    elif name == SIGMOID:
        for i in range(size):
            value = sigmoid(z[i])
            slopes[i] = value * (one - value)
            z[i] = value
    elif name == TANH:
        for i in range(size):
            value = tanh(z[i])
            slopes[i] = fma(-value, value, one)
            z[i] = value
    elif name == ELU:
        for i in range(size):
            low = z[i] if z[i] < zero else zero
            slopes[i] = exp(low)
            z[i] = z[i] if z[i] > zero else expm1(low)
    elif name == SILU:
        for i in range(size):
            gate = sigmoid(z[i])
            slopes[i] = gate * fma(z[i], one - gate, one)
            z[i] = z[i] * gate
    else:
        scale, root = like(z, 1 / math.sqrt(2 * math.pi)), like(z, math.sqrt(0.5))
        for i in range(size):
            share = half * (one + erf(z[i] * root))
            density = scale * exp(-half * z[i] * z[i])
            slopes[i] = fma(z[i], density, share)
            z[i] = z[i] * share


# --- loss and probabilities -------------------------------------------------------------------


@inner
def softmax(z, outputs, p):
    """Compute p (K,) = exp(z) / sum of exp(z), and give the logarithm of that sum."""
    highest, total = z[0], like(z, 0)
    for k in range(1, outputs):
        highest = max(highest, z[k])
    for k in range(outputs):
        p[k] = exp(z[k] - highest)
        total += p[k]
    for k in range(outputs):
        p[k] /= total
    return highest + log(total)


@inner
def loss_gradient(logits, rows, outputs, wide, targets, squared_error, d):
    """Gradient d (B, K) of the mean of `steps.losses` over B rows by the logits (B, K)."""
    share = like(d, 1) / like(d, rows)
    for row in range(rows):
        z, y, by_z = after(logits, row * wide), after(targets, row * outputs), after(d, row * wide)
        if outputs == 1:
            _binary_gradient(z, y, squared_error, share, by_z)
        else:
            _softmax_gradient(z, y, outputs, squared_error, share, by_z)


@inner
def _binary_gradient(z, y, squared_error, share, d):
    p = sigmoid(z[0])
    d[0] = (p - y[0]) * share
    if squared_error:
        d[0] *= like(d, 2) * p * (like(d, 1) - p)


@inner
def _softmax_gradient(z, y, outputs, squared_error, share, d):
    softmax(z, outputs, d)
    inner_product = like(d, 0)
    for k in range(outputs):
        inner_product = fma(d[k] - y[k], d[k], inner_product)
    for k in range(outputs):
        error = d[k] - y[k]
        if squared_error:
            error = (error - inner_product) * d[k] * (like(d, 2) / like(d, outputs))
        d[k] = error * share


@inner
def row_loss(z, y, outputs, squared_error, p):
    """`steps.losses` of one row: logits z, targets y, and room p (K,) for probabilities."""
    total = like(z, 0)
    if outputs == 1:
        if squared_error:
            error = sigmoid(z[0]) - y[0]
            return error * error
        above = z[0] if z[0] > total else total
        return above + log1p(exp(-abs(z[0]))) - z[0] * y[0]
    sum_of_all = softmax(z, outputs, p)
    for k in range(outputs):
        if squared_error:
            total = fma(p[k] - y[k], p[k] - y[k], total)
        else:
            total = fma(sum_of_all - z[k], y[k], total)
    return total / like(z, outputs) if squared_error else total


@inner
def row_probabilities(z, outputs, p):
    """Class probabilities p (2 or K) of one row's logits z (1 or K)."""
    if outputs == 1:
        p[1] = sigmoid(z[0])
        p[0] = like(p, 1) - p[1]
    else:
        softmax(z, outputs, p)


@inner
def row_class(z, outputs):
    """The class of the highest logit, the first of equals; of one logit, 1 above 0."""
    if outputs == 1:
        return 1 if z[0] > like(z, 0) else 0
    best = 0
    for k in range(1, outputs):
        if z[k] > z[best]:
            best = k
    return best
