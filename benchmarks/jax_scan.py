"""JAX: all steps of all epochs as one compiled `scan`, over all models at once by `vmap`.

Compilation is timed apart. Dropout masks are drawn in bulk for each epoch, by `unsafe_rbg`, which
JAX offers for speed.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import workloads
from benchmarks.measuring import Outcome, Sample, Size
from benchmarks.parallel import in_processes
from benchmarks.peers import need, padded_rows
from benchmarks.protocol import (
    CIFAR,
    CIFAR_BATCH,
    CIFAR_RATE,
    CIFAR_WIDTHS,
    EPOCHS,
    SEED,
    SONAR,
    SONAR_BATCH,
    SONAR_MOMENTUM,
    SONAR_RATE,
    SONAR_WIDTHS,
)
from foldwise.datasets.prepared import Dataset
from foldwise.numerics.split import Split

BETA1, BETA2, ADAM_EPS = 0.9, 0.999, 1e-8
NORM_EPS, NORM_MOMENTUM = 1e-5, 0.1


def _jax() -> Any:
    jax = need("jax")
    jax.config.update("jax_default_prng_impl", "unsafe_rbg")
    return jax


def _initial(widths: tuple[int, ...], seed: int) -> list[dict[str, np.ndarray]]:
    """Layers as `nn.Linear` draws them: U(-1/sqrt(in), 1/sqrt(in))."""
    random = np.random.default_rng(seed)

    def draw(inputs: int, *shape: int) -> np.ndarray:
        bound = 1 / np.sqrt(inputs)
        return random.uniform(-bound, bound, shape).astype(np.float32)

    return [{"w": draw(a, a, b), "b": draw(a, b)} for a, b in pairwise(widths)]


# --- Sonar ------------------------------------------------------------------------------------


def sonar(size: Size, repeats: int, processes: int) -> Outcome:
    """Three variants; the splits are shared out among the processes."""
    _jax()
    samples, compiling = [], 0.0
    for name in SONAR:
        setup = partial(_sonar_setup, name, size.epochs, repeats, processes)
        together = in_processes(setup, processes)
        accuracies, compile_seconds = zip(*together.results, strict=True)
        compiling += max(compile_seconds)
        found = [float(a) for part in accuracies for a in part][:10]
        count = 10 * repeats * size.epochs / EPOCHS
        workload = f"{name}/{10 * repeats}"
        samples.append(Sample(workload, together.seconds, count, together.started, found))
    return Outcome(samples, compile_seconds=compiling)


def _sonar_setup(
    name: str, epochs: int, repeats: int, processes: int, index: int
) -> Callable[[], tuple[np.ndarray, float]]:
    jax = _jax()
    data = workloads.sonar()
    plan = workloads.plan(workloads.sonar_variant(name, epochs, repeats), data)[index::processes]
    arguments = [jax.device_put(a) for a in _sonar_arrays(data, plan)]
    keys = jax.random.split(jax.random.key(SEED + index), len(plan))
    train = partial(_train_sonar, jax, name, epochs, _initial(SONAR_WIDTHS, SEED))
    begun = time.perf_counter()
    compiled = jax.jit(jax.vmap(train)).lower(*arguments, keys).compile()
    seconds = time.perf_counter() - begun
    return lambda: (np.asarray(compiled(*arguments, keys)), seconds)


def _sonar_arrays(data: Dataset, plan: list[Split]) -> tuple[np.ndarray, ...]:
    """Per split: batches x, y, weight (F, steps, B, …), held-out x, y, weight (F, m, …)."""
    rows, weight = padded_rows(plan, SONAR_BATCH)
    most = max(len(split.held_out) for split in plan)
    held_out = np.stack([np.resize(split.held_out, most) for split in plan])
    counted = np.stack([np.arange(most) < len(split.held_out) for split in plan])
    y = data.y.astype(np.float32)
    return data.X[rows], y[rows], weight, data.X[held_out], y[held_out], counted.astype(np.float32)


def _train_sonar(
    jax: Any, name: str, epochs: int, layers: Any,
    X: Any, y: Any, weight: Any, X_held_out: Any, y_held_out: Any, counted: Any, key: Any,
) -> Any:  # fmt: skip
    """One model's accuracy on its held-out rows, after all its epochs."""
    slope = jax.grad(partial(_sonar_loss, jax))

    def step(state: Any, batch: Any) -> Any:
        gradient = slope(state[0], *batch)
        velocity = jax.tree.map(lambda v, g: SONAR_MOMENTUM * v + g, state[1], gradient)
        layers = jax.tree.map(lambda p, v: p - SONAR_RATE * v, state[0], velocity)
        return (layers, velocity), None

    def epoch(state: Any, key: Any) -> Any:
        masks = _masks(jax, name, key, X.shape[:2])
        return jax.lax.scan(step, state, (X, y, weight, masks))[0], None

    state = (layers, jax.tree.map(lambda p: 0 * p, layers))
    (layers, _), _ = jax.lax.scan(epoch, state, jax.random.split(key, epochs))
    right = (_sonar_logits(jax, layers, X_held_out, {}) > 0) == (y_held_out > 0.5)
    return (right * counted).sum() / counted.sum()


def _masks(jax: Any, name: str, key: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Inverted-dropout factors of a whole epoch by layer, (steps, B, width)."""
    widths = {"input_dropout": SONAR_WIDTHS[:1], "hidden_dropout": SONAR_WIDTHS[1:-1]}
    found = {}
    for kind, p in SONAR[name].items():
        for i, width in enumerate(widths[kind]):
            key, own = jax.random.split(key)
            kept = jax.random.bernoulli(own, 1 - p, (*shape, width))
            found[f"{kind}{i}"] = kept.astype(np.float32) / (1 - p)
    return found


def _sonar_logits(jax: Any, layers: Any, x: Any, masks: dict[str, Any]) -> Any:
    x = x * masks.get("input_dropout0", 1.0)
    for i, layer in enumerate(layers[:-1]):
        x = jax.nn.relu(x @ layer["w"] + layer["b"]) * masks.get(f"hidden_dropout{i}", 1.0)
    return (x @ layers[-1]["w"] + layers[-1]["b"]).squeeze(-1)


def _sonar_loss(jax: Any, layers: Any, x: Any, y: Any, weight: Any, masks: Any) -> Any:
    z = _sonar_logits(jax, layers, x, masks)
    return (weight * (jax.nn.softplus(z) - z * y)).sum() / weight.sum()


# --- CIFAR-10 ---------------------------------------------------------------------------------


def cifar(size: Size, processes: int) -> Outcome:
    """An epoch of one model per process as one scan, then the evaluations that foldwise makes."""
    _jax()
    samples, compiling = [], 0.0
    for name in CIFAR:
        together = in_processes(partial(_cifar_setup, name, size.rows), processes)
        steps, compile_seconds, accuracies = zip(*together.results, strict=True)
        compiling += max(compile_seconds)
        sample = Sample(name, together.seconds, sum(steps), together.started, list(accuracies))
        samples.append(sample)
    return Outcome(samples, compile_seconds=compiling)


def _cifar_setup(name: str, rows: int | None, index: int) -> Callable[[], tuple[int, float, float]]:
    jax = _jax()
    data = workloads.cifar(rows)
    split = workloads.plan(workloads.cifar_variant(name), data)[index]
    order = np.random.default_rng(SEED + index).permutation(split.train)
    order = order[: len(order) // CIFAR_BATCH * CIFAR_BATCH].reshape(-1, CIFAR_BATCH)
    X = jax.device_put(data.X.reshape(len(data.X), -1))
    y = jax.device_put(data.y.astype(np.int32))
    arguments = (_cifar_state(name, SEED + index), X, y, order.astype(np.int32))
    begun = time.perf_counter()
    epoch = jax.jit(partial(_cifar_epoch, jax)).lower(*arguments).compile()
    chosen = [split.train[:10_000], split.held_out, split.held_out]  # the last in the test's place
    accuracy = [_compiled_accuracy(jax, arguments[0], X, y, rows) for rows in chosen]
    seconds = time.perf_counter() - begun

    def run() -> tuple[int, float, float]:
        state = epoch(*arguments)
        found = [evaluate(state) for evaluate in accuracy]
        return len(order), seconds, found[1]

    return run


def _cifar_state(name: str, seed: int) -> Any:
    """Parameters, running statistics, Adam's two moments and its count."""
    layers = _initial(CIFAR_WIDTHS, seed)
    running = []
    for layer in layers[:-1] if CIFAR[name] else []:
        width = layer["b"].shape
        layer |= {"gamma": np.ones(width, np.float32), "beta": np.zeros(width, np.float32)}
        running.append({"mean": np.zeros(width, np.float32), "var": np.ones(width, np.float32)})
    zeros = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    return layers, running, zeros, [dict(layer) for layer in zeros], np.float32(0)


def _cifar_epoch(jax: Any, state: Any, X: Any, y: Any, order: Any) -> Any:
    slope = jax.grad(partial(_cifar_loss, jax), has_aux=True)

    def step(state: Any, rows: Any) -> Any:
        layers, running, mean, square, count = state
        gradient, running = slope(layers, running, X[rows] / np.float32(255), y[rows])
        return (*_adam(jax, layers, gradient, running, mean, square, count + 1),), None

    return jax.lax.scan(step, state, order)[0]


def _adam(
    jax: Any, layers: Any, gradient: Any, running: Any, mean: Any, square: Any, count: Any
) -> Any:
    """Adam as in Kingma & Ba (2015), section 2, with the corrections in the step size."""
    mean = jax.tree.map(lambda m, g: m + (1 - BETA1) * (g - m), mean, gradient)
    square = jax.tree.map(lambda s, g: s + (1 - BETA2) * (g * g - s), square, gradient)
    rate = CIFAR_RATE / (1 - BETA1**count)
    root = (1 - BETA2**count) ** -0.5

    def move(p: Any, m: Any, s: Any) -> Any:
        return p - rate * m / (s**0.5 * root + ADAM_EPS)

    return jax.tree.map(move, layers, mean, square), running, mean, square, count


def _cifar_loss(jax: Any, layers: Any, running: Any, x: Any, y: Any) -> Any:
    logits, running = _cifar_logits(jax, layers, running, x, training=True)
    picked = jax.nn.log_softmax(logits)[np.arange(CIFAR_BATCH), y]
    return -picked.mean(), running


def _cifar_logits(jax: Any, layers: Any, running: Any, x: Any, training: bool) -> Any:
    """Logits (B, 10), and BatchNorm's running statistics moved as `nn.BatchNorm1d` moves them."""
    moved = []
    for i, layer in enumerate(layers[:-1]):
        x = x @ layer["w"] + layer["b"]
        if running:
            x, statistics = _batch_norm(jax, x, layer, running[i], training)
            moved.append(statistics)
        x = jax.nn.relu(x)
    return x @ layers[-1]["w"] + layers[-1]["b"], moved


def _batch_norm(jax: Any, x: Any, layer: Any, running: Any, training: bool) -> Any:
    mean = x.mean(0) if training else running["mean"]
    var = x.var(0) if training else running["var"]
    y = (x - mean) * jax.lax.rsqrt(var + NORM_EPS) * layer["gamma"] + layer["beta"]
    unbiased = var * (len(x) / (len(x) - 1))
    return y, {
        "mean": running["mean"] + NORM_MOMENTUM * (mean - running["mean"]),
        "var": running["var"] + NORM_MOMENTUM * (unbiased - running["var"]),
    }


def _compiled_accuracy(
    jax: Any, state: Any, X: Any, y: Any, rows: np.ndarray
) -> Callable[[Any], float]:
    """A compiled function from the state to loss and accuracy on some rows; gives the latter."""
    rows = jax.device_put(rows.astype(np.int32))

    def evaluate(state: Any, X: Any, y: Any) -> Any:
        x = X[rows] / np.float32(255)
        logits, _ = _cifar_logits(jax, state[0], state[1], x, training=False)
        picked = jax.nn.log_softmax(logits)[np.arange(len(rows)), y[rows]]
        return -picked.mean(), (logits.argmax(-1) == y[rows]).mean()

    compiled = jax.jit(evaluate).lower(state, X, y).compile()
    return lambda state: float(compiled(state, X, y)[1])
