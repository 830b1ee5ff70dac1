"""A network's training step and its logits, compiled by Numba for the CPU.

PyTorch spends more time around its operations than in them when a network is small. Here a
model goes through its batches without leaving compiled code: its parameters stay in the
processor's cache, a batch's features are gathered and rescaled where they are needed, and a
weight's gradient is used where it is made. This and `layers` are the only places with
hand-written derivatives; tests hold them to autograd in float64.

The same input gives the same bits on every x86-64 machine with AVX2 and FMA: no library computes
anything, and the order of every sum is fixed (`lanes`, `products`, `elementary`).

Shapes: F models, P parameters of a model, N rows of data, n rows of a block, B rows of a batch,
C features, K outputs, H hidden units of all layers together. The width of every layer is rounded
up (`padded`); what is there in addition is zero and stays zero.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from foldwise.numerics import layers, products
from foldwise.numerics.batches import Block, Rows
from foldwise.numerics.checkpoints import Stateful
from foldwise.numerics.compiling import compiled, warn_without_fma
from foldwise.numerics.inputs import Training
from foldwise.numerics.lanes import LANES, after, as_kind, inner, like, start
from foldwise.numerics.networks import StackedNetwork
from foldwise.numerics.products import RULE

ACTIVATIONS = layers.ACTIVATIONS
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw")
SGD, RMSPROP, ADAM, ADAMW = range(len(OPTIMIZERS))
EVALUATED = 64  # rows whose logits are computed together
ALIASED = 1024  # numbers from row to row at which rows fall into the same place of a cache
Pointer = Any  # to numbers of compiled code


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
    keep: bool = False  # what activations get, for `inspection`


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

    X: np.ndarray  # (N, bytes of a row)
    whole: bool  # uint8; otherwise of the kind of the parameters
    shift: np.ndarray  # (F, C)
    factor: np.ndarray  # (F, C)


class Widths(NamedTuple):
    """Of the inputs, every hidden layer, the outputs: as they are, and padded."""

    real: np.ndarray
    padded: np.ndarray


class Room(NamedTuple):
    """Memory for one batch of one model, and where in it each part of `Scratch` begins."""

    numbers: np.ndarray
    offsets: np.ndarray


class Shape(NamedTuple):
    """Pointers to `Widths`, and the number of linear layers."""

    real: Pointer
    padded: Pointer
    layers: int


class Model(NamedTuple):
    """Pointers to the numbers of one model, as in `State`."""

    parameters: Pointer
    first: Pointer
    second: Pointer
    running_mean: Pointer
    running_var: Pointer


class Scratch(NamedTuple):
    """Pointers to the parts of `Room`."""

    x: Pointer  # (B, C), rescaled features
    targets: Pointer  # (B, K), without padding
    units: Pointer  # what each hidden layer gives to the next, (B, width) each; then the logits
    kept: Pointer  # what the activations got, where asked for
    slopes: Pointer  # derivative of `units` by it
    normed: Pointer  # BatchNorm's values before scale and shift
    spread: Pointer  # (H,), BatchNorm's 1 / sqrt(variance + eps)
    above: Pointer  # gradient by a layer's outputs
    below: Pointer  # gradient by its inputs
    weights: Pointer  # the transposed weights of a layer
    gradient: Pointer  # two rows: by a bias, or by BatchNorm's weight and bias
    zeros: Pointer  # a row
    rule: Pointer  # the optimizer's constants


class Functions(NamedTuple):
    """What can be done with a stack. F models, m rows, K outputs, two or more classes."""

    train: Callable[[Block], None]
    """On the batches of a block."""
    logits: Callable[[Rows, Tensor], Tensor]
    """Of rows (F, m), in evaluation mode: (F, m, K)."""
    scores: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Of logits (F, m, K), targets (F, m, K), labels (F, m): mean loss and accuracy (F, 2)."""
    probabilities: Callable[[Tensor], Tensor]
    """Of logits (F, m, K): of the classes (F, m, classes)."""
    memory: Stateful
    """What the optimizer keeps from step to step."""


class Memory:
    """What the optimizer keeps: the moments, and the powers of Adam's betas."""

    def __init__(self, state: State):
        self.arrays = {"first": state.first, "second": state.second}
        self.powers = 1.0, 1.0

    def state(self) -> dict[str, np.ndarray]:
        """Copies of it."""
        copies = {name: array.copy() for name, array in self.arrays.items()}
        return {**copies, "powers": np.array(self.powers)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """In place."""
        for name, array in self.arrays.items():
            array[:] = state[name]
        power1, power2 = state["powers"].tolist()
        self.powers = power1, power2


def functions(stack: StackedNetwork, training: Training) -> Functions:
    """What the compiled code does with a stack on the CPU.

    The loss of a model is the mean over a batch's rows; models do not touch each other, and the
    numbers of one do not depend on how many others there are. The stack's parameters and
    running statistics become views of the arrays that training changes.
    """
    state, settings = _flattened(stack), _settings(stack, training)
    widths, without = _widths(stack), _no_mask(stack)
    memory = Memory(state)

    @cache
    def room(rows: int) -> Room:
        return _room(widths, rows, stack.shift.dtype)

    def train(block: Block) -> None:
        by_feature = without if block.input_mask is None else block.input_mask.numpy()
        by_unit = without if block.mask is None else block.mask.numpy()
        memory.powers = _train(
            state, _data(block.rows), block.rows.targets.numpy(), block.chosen.numpy(),
            by_feature, by_unit, widths, settings, memory.powers, training.batch_size,
            room(min(training.batch_size, max(1, block.size))),
        )  # fmt: skip

    def logits(rows: Rows, chosen: Tensor) -> Tensor:
        found = np.empty((*chosen.shape, widths.real[-1]), state.parameters.dtype)
        chosen = chosen.contiguous()
        _evaluate(state, _data(rows), chosen.numpy(), widths, settings, room(EVALUATED), found)
        return torch.from_numpy(found)

    def scores(logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        found = np.empty((len(logits), 2), state.parameters.dtype)
        arrays = [values.contiguous().numpy() for values in (logits, targets, labels)]
        _score(*arrays, settings.squared_error, np.empty_like(arrays[0][0, :1]), found)
        return torch.from_numpy(found)

    return Functions(train, logits, scores, probabilities, memory)


def probabilities(logits: Tensor) -> Tensor:
    """Logits (F, m, 1) or (F, m, K) to class probabilities (F, m, 2) or (F, m, K)."""
    classes = max(2, logits.shape[-1])
    found = np.empty((*logits.shape[:-1], classes), logits.numpy().dtype)
    _probabilities(logits.contiguous().numpy(), found)
    return torch.from_numpy(found)


class Inside(NamedTuple):
    """What one batch makes of a linear layer."""

    z: np.ndarray  # (B, out), what the activation gets, after BatchNorm; or the logits
    y: np.ndarray  # (B, out), what it gives; or the logits
    gradient: np.ndarray  # (in, out), of the mean loss by the weights


def inspection(
    stack: StackedNetwork, training: Training
) -> Callable[[Tensor, Tensor], list[Inside]]:
    """What gives, for rescaled rows (B, C) and targets (B, K), the inside of each linear layer.

    As in training, but without dropout, and no weight changes. The stack is one model on the CPU.
    """
    state, widths, without = _flattened(stack), _widths(stack), _no_mask(stack)
    settings = _settings(stack, training)._replace(
        dropout=False, optimizer=SGD, lr=0.0, weight_decay=0.0, beta1=0.0, nesterov=False, keep=True
    )  # so that the velocity is the gradient
    as_it_is = [np.full((1, widths.real[0]), x, state.parameters.dtype) for x in (0.0, 1.0)]

    def inspect(x: Tensor, targets: Tensor) -> list[Inside]:
        rows, room = len(x), _room(widths, len(x), stack.shift.dtype)
        data = Data(x.contiguous().numpy().view(np.uint8), False, *as_it_is)
        chosen = np.arange(rows)[np.newaxis]
        _train(
            state, data, targets.contiguous().numpy(), chosen, without, without, widths, settings,
            (1.0, 1.0), rows, room,
        )  # fmt: skip
        return list(_inside(state, widths, rows, room, stack.network.batch_norm))

    return inspect


def _inside(
    state: State, widths: Widths, rows: int, room: Room, batch_norm: bool
) -> Iterator[Inside]:
    """Cut out of what a step leaves behind."""
    places = Scratch(*room.offsets.tolist())
    weight, unit = 0, 0
    sizes = pairwise(zip(widths.real.tolist(), widths.padded.tolist(), strict=True))
    for layer, ((real, wide), (outputs, narrow)) in enumerate(sizes, start=1):
        last = layer == len(widths.real) - 1

        def matrix(values: np.ndarray, start: int, height: int, narrow: int = narrow) -> np.ndarray:
            return values[start : start + height * narrow].reshape(height, narrow)

        y = matrix(room.numbers, places.units + unit, rows)[:, :outputs]
        z = y if last else matrix(room.numbers, places.kept + unit, rows)[:, :outputs]
        yield Inside(z, y, matrix(state.first[0], weight, wide)[:real, :outputs])
        weight += (wide + 1 + (0 if last or not batch_norm else 2)) * narrow
        unit += rows * narrow


def padded(width: int) -> int:
    """A multiple of LANES, and not such a one that all rows compete for one place of a cache."""
    wide = -(-width // LANES) * LANES
    return wide + LANES if wide % ALIASED == 0 else wide


def _widths(stack: StackedNetwork) -> Widths:
    real = [stack.shift.shape[1], *stack.network.hidden, stack.output.weight.shape[2]]
    return Widths(np.array(real), np.array([padded(width) for width in real]))


def _no_mask(stack: StackedNetwork) -> np.ndarray:
    return np.empty((stack.models, 0, 0), stack.shift.numpy().dtype)


def _room(widths: Widths, rows: int, kind: torch.dtype) -> Room:
    """Zeros, since padding is never written."""
    inputs, *hidden, outputs = widths.padded.tolist()
    units, widest = sum(hidden), max([*hidden, outputs])
    pairs = pairwise([*hidden, outputs])
    sizes = Scratch(
        x=rows * inputs, targets=rows * int(widths.real[-1]), units=rows * (units + outputs),
        kept=rows * units, slopes=rows * units, normed=rows * units, spread=units,
        above=rows * widest, below=rows * widest, gradient=2 * widest, zeros=widest,
        weights=max([0, *(a * b for a, b in pairs)]), rule=len(RULE),
    )  # fmt: skip
    *offsets, total = accumulate((padded(size) for size in sizes), initial=0)
    return Room(torch.zeros(total, dtype=kind).numpy(), np.array(offsets))


def _data(rows: Rows) -> Data:
    X = rows.X.numpy()
    whole = X.dtype == np.uint8
    return Data(X.view(np.uint8), whole, rows.shift.numpy(), rows.factor.numpy())


def prepare() -> None:
    """Compile, or load what an earlier process compiled, before others are forked from this one.

    The code is the same for all settings. The first time takes some ten seconds; the result lies
    beside this file, in `__pycache__`.
    """
    warn_without_fma()
    network: Any = SimpleNamespace(
        hidden=[], activation="relu", batch_norm=False, input_dropout=0.0, hidden_dropout=0.0
    )
    optimizer = SimpleNamespace(name="sgd", lr=1.0, weight_decay=0.0, momentum=0.0)
    training: Any = SimpleNamespace(loss="cross_entropy", batch_size=1, optimizer=optimizer)
    nothing, chosen = torch.zeros(1, 1), torch.zeros(1, 0, dtype=torch.int64)
    rows = Rows(nothing, nothing, chosen, nothing, nothing, chosen)
    train, logits, scores, *_ = functions(StackedNetwork(network, 1, 1, 1), training)
    train(Block(rows, chosen))
    found = logits(rows, chosen)
    scores(found, found, chosen)
    probabilities(found)


def _settings(stack: StackedNetwork, training: Training) -> Settings:
    network, optimizer, its = stack.network, training.optimizer, vars(training.optimizer)
    beta1, beta2 = its.get("betas") or (its["momentum"], its.get("alpha", 0.0))
    return Settings(
        ACTIVATIONS.index(network.activation), network.batch_norm, network.hidden_dropout > 0,
        training.loss == "squared_error", OPTIMIZERS.index(optimizer.name), optimizer.lr,
        optimizer.weight_decay, beta1, beta2, its.get("eps", 0.0), its.get("nesterov", False),
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
    flat = _joined([*parameters, stack.output.weight, stack.output.bias], stack)
    moments = np.zeros_like(flat), np.zeros_like(flat)
    return State(flat, *moments, _joined(means, stack), _joined(variances, stack))


def _joined(tensors: Sequence[Tensor], stack: StackedNetwork) -> np.ndarray:
    """Tensors (F, ...), padded, side by side in one array (F, all), of which they become views."""
    shapes = [[padded(width) for width in tensor.shape[1:]] for tensor in tensors]
    sizes = [math.prod(shape) for shape in shapes]
    joined = torch.zeros(stack.models, sum(sizes), dtype=stack.shift.dtype)
    for tensor, shape, part in zip(tensors, shapes, joined.split(sizes, dim=1), strict=True):
        view = part.unflatten(1, shape)
        for axis, width in enumerate(tensor.shape[1:], start=1):
            view = view.narrow(axis, 0, width)
        tensor.data = view.copy_(tensor.detach())
    array: np.ndarray = joined.numpy()
    return array


# --- what is called from Python ---------------------------------------------------------------


@compiled
def _train(
    state, data, targets, chosen, input_mask, mask, widths, settings, powers, batch_size, room
):
    """Every model through all batches: targets (N, K), chosen (F, n), masks (F, n, C or H).

    Gives the powers of Adam's betas that belong to the last step.
    """
    models, size = chosen.shape
    features, units = input_mask.shape[2], mask.shape[2]
    shape, scratch = _shape(widths), _scratch(room)
    power1, power2 = powers
    for f in range(models):
        model = _model(state, f)
        power1, power2 = powers
        for a in range(0, size, batch_size):
            rows, at = min(batch_size, size - a), f * size + a
            rows_of = after(start(chosen), at)
            _load_features(data, rows_of, rows, f, shape, scratch)
            if features:
                factors, wide = after(start(input_mask), at * features), shape.padded[0]
                layers.multiply_rows(scratch.x, rows, features, wide, factors, features)
            outputs = targets.shape[1]
            layers.gather_targets(start(targets), outputs, rows_of, rows, scratch.targets)
            power1, power2 = power1 * settings.beta1, power2 * settings.beta2
            _set_rule(scratch.rule, settings, power1, power2)
            factors = after(start(mask), at * units)
            _forward(model, shape, rows, factors, units, settings, True, scratch)
            _backward(model, shape, rows, state.parameters.shape[1], settings, scratch)
    return power1, power2


@compiled
def _evaluate(state, data, chosen, widths, settings, room, logits):
    """Logits (F, n, K) of chosen rows (F, n), without dropout, BatchNorm by its running values."""
    models, size = chosen.shape
    shape, scratch = _shape(widths), _scratch(room)
    outputs, wide = shape.real[shape.layers], shape.padded[shape.layers]
    for f in range(models):
        model = _model(state, f)
        for a in range(0, size, EVALUATED):
            rows, at = min(EVALUATED, size - a), f * size + a
            _load_features(data, after(start(chosen), at), rows, f, shape, scratch)
            found = _forward(model, shape, rows, scratch.zeros, 0, settings, False, scratch)
            to = after(start(logits), at * outputs)
            for row in range(rows):
                for k in range(outputs):
                    to[row * outputs + k] = found[row * wide + k]


@compiled
def _score(logits, targets, labels, squared_error, room, scores):
    """Mean loss and accuracy (F, 2) of logits (F, n, K), summed in float64; room for K numbers."""
    models, size, outputs = logits.shape
    for f in range(models):
        loss, correct = 0.0, 0.0
        for i in range(f * size, (f + 1) * size):
            z, y = after(start(logits), i * outputs), after(start(targets), i * outputs)
            loss += layers.row_loss(z, y, outputs, squared_error, start(room))
            correct += layers.row_class(z, outputs) == labels[f, i - f * size]
        scores[f, 0], scores[f, 1] = loss / size, correct / size


@compiled
def _probabilities(logits, found):
    """Class probabilities (F, n, 2 or K) of logits (F, n, 1 or K)."""
    models, size, outputs = logits.shape
    for i in range(models * size):
        z, p = after(start(logits), i * outputs), after(start(found), i * found.shape[2])
        layers.row_probabilities(z, outputs, p)


@inner
def _shape(widths):
    return Shape(start(widths.real), start(widths.padded), len(widths.real) - 1)


@inner
def _model(state, f):
    """The numbers of one model."""
    at, unit = f * state.parameters.shape[1], f * state.running_mean.shape[1]
    return Model(
        after(start(state.parameters), at), after(start(state.first), at),
        after(start(state.second), at), after(start(state.running_mean), unit),
        after(start(state.running_var), unit),
    )  # fmt: skip


@inner
def _scratch(room):
    numbers, o = start(room.numbers), room.offsets
    return Scratch(
        after(numbers, o[0]), after(numbers, o[1]), after(numbers, o[2]), after(numbers, o[3]),
        after(numbers, o[4]), after(numbers, o[5]), after(numbers, o[6]), after(numbers, o[7]),
        after(numbers, o[8]), after(numbers, o[9]), after(numbers, o[10]), after(numbers, o[11]),
        after(numbers, o[12]),
    )  # fmt: skip


@inner
def _load_features(data, chosen, rows, f, shape, scratch):
    """Rescaled features of some rows of a model's data."""
    features = shape.real[0]
    shift, factor = after(start(data.shift), f * features), after(start(data.factor), f * features)
    x, wide = scratch.x, shape.padded[0]
    if data.whole:
        layers.gather(start(data.X), features, chosen, rows, shift, factor, x, wide)
    else:
        X = as_kind(start(data.X), x)
        layers.gather(X, features, chosen, rows, shift, factor, x, wide)


# --- a step -----------------------------------------------------------------------------------


@inner
def _forward(model, shape, rows, mask, mask_row, settings, training, scratch):
    """What each layer makes of `scratch.x`; gives the logits (B, K). The mask is (B, H)."""
    inputs, z = scratch.x, scratch.units
    at, unit, column = 0, 0, 0  # where a layer's parameters, its units, its mask begin
    for layer in range(shape.layers):
        wide, narrow, real = shape.padded[layer], shape.padded[layer + 1], shape.real[layer + 1]
        weights, z = after(model.parameters, at), after(scratch.units, rows * unit)
        bias = after(weights, wide * narrow)
        products.product(
            inputs, wide, weights, narrow, bias, 0, z, narrow, rows, narrow, shape.real[layer]
        )
        at += (wide + 1) * narrow
        if layer + 1 < shape.layers:
            if settings.batch_norm:
                _batch_norm(model, at, unit, z, rows, narrow, training, scratch)
                at += 2 * narrow
            slopes = after(scratch.slopes, rows * unit)
            if settings.keep:
                layers.copy(z, rows * narrow, after(scratch.kept, rows * unit))
            layers.activate(z, slopes, rows * narrow, settings.activation)
            if settings.dropout and training:
                factors = after(mask, column)
                layers.multiply_rows(z, rows, real, narrow, factors, mask_row)
                layers.multiply_rows(slopes, rows, real, narrow, factors, mask_row)
            layers.clear_padding(z, rows, real, narrow)
            layers.clear_padding(slopes, rows, real, narrow)
        inputs = z
        unit += narrow
        column += real
    return z


@inner
def _batch_norm(model, at, unit, z, rows, wide, training, scratch):
    """BatchNorm of z (B, C), whose weight and bias lie at `at`."""
    weight, bias = after(model.parameters, at), after(model.parameters, at + wide)
    mean, var = after(model.running_mean, unit), after(model.running_var, unit)
    spread, normed = after(scratch.spread, unit), after(scratch.normed, rows * unit)
    if training:
        room = scratch.gradient
        layers.batch_norm(
            z, rows, wide, weight, bias, mean, var, normed, spread, room, after(room, wide)
        )
    else:
        layers.apply_batch_norm(z, rows, wide, weight, bias, mean, var, spread)


@inner
def _backward(model, shape, rows, parameters, settings, scratch):
    """Gradient of the loss, layer by layer, and the update of each by it."""
    d, below, gradient, rule = scratch.above, scratch.below, scratch.gradient, scratch.rule
    at, unit = parameters, 0  # where a layer's parameters and the units below it end
    for layer in range(1, shape.layers):
        unit += shape.padded[layer]
    outputs, narrow = shape.real[shape.layers], shape.padded[shape.layers]
    logits = after(scratch.units, rows * unit)
    layers.loss_gradient(logits, rows, outputs, narrow, scratch.targets, settings.squared_error, d)
    layers.clear_padding(d, rows, outputs, narrow)
    kind = _update_kind(settings)
    for layer in range(shape.layers - 1, -1, -1):
        wide, narrow = shape.padded[layer], shape.padded[layer + 1]
        if layer + 1 < shape.layers and settings.batch_norm:
            at -= 2 * narrow
            normed, spread = after(scratch.normed, rows * unit), after(scratch.spread, unit)
            weight, by_bias = after(model.parameters, at), after(gradient, narrow)
            layers.batch_norm_backward(d, rows, narrow, weight, normed, spread, gradient, by_bias)
            _update(model, at, gradient, 2 * narrow, rule, kind)
        at -= (wide + 1) * narrow
        inputs = scratch.x
        if layer:
            unit -= wide
            inputs = after(scratch.units, rows * unit)
            _by_inputs(model, at, shape, layer, d, rows, scratch, below)
            layers.multiply(below, after(scratch.slopes, rows * unit), rows * wide)
        p, first = after(model.parameters, at), after(model.first, at)
        second, real = after(model.second, at), shape.real[layer]
        products.update_weights(
            inputs, wide, d, narrow, rows, p, first, second, real, narrow, rule, kind
        )
        layers.sum_rows(d, rows, narrow, gradient)
        _update(model, at + wide * narrow, gradient, narrow, rule, kind)
        d, below = below, d


@inner
def _by_inputs(model, at, shape, layer, d, rows, scratch, below):
    """Gradient `below` by a layer's inputs, from that by its outputs d and its weights at `at`."""
    wide, narrow, real = shape.padded[layer], shape.padded[layer + 1], shape.real[layer + 1]
    products.transpose(after(model.parameters, at), wide, narrow, scratch.weights, wide)
    products.product(
        d, narrow, scratch.weights, wide, scratch.zeros, 0, below, wide, rows, wide, real
    )


@inner
def _update(model, at, gradient, size, rule, kind):
    """Update `size` parameters from `at` on."""
    p, first = after(model.parameters, at), after(model.first, at)
    products.update(gradient, p, first, after(model.second, at), size, rule, kind)


@inner
def _update_kind(settings):
    if settings.optimizer == SGD:
        return products.NESTEROV if settings.nesterov else products.SGD
    return products.RMSPROP if settings.optimizer == RMSPROP else products.ADAM


@inner
def _set_rule(rule, settings, power1, power2):
    """An optimizer's constants for the step to which these powers of its betas belong."""
    lr, decay, shrink, root = settings.lr, settings.weight_decay, 1.0, 1.0
    if settings.optimizer == ADAMW:
        shrink, decay = 1 - lr * decay, 0.0
    if settings.optimizer in (ADAM, ADAMW):
        lr, root = lr / (1 - power1), 1 / math.sqrt(1 - power2)
    rule[RULE.lr] = like(rule, lr)
    rule[RULE.decay] = like(rule, decay)
    rule[RULE.shrink] = like(rule, shrink)
    rule[RULE.beta1] = like(rule, settings.beta1)
    rule[RULE.beta2] = like(rule, settings.beta2)
    rule[RULE.rest1] = like(rule, 1) - rule[RULE.beta1]
    rule[RULE.rest2] = like(rule, 1) - rule[RULE.beta2]
    rule[RULE.root] = like(rule, root)
    rule[RULE.eps] = like(rule, settings.eps)
