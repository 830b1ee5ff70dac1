"""Train one chunk: the splits of a variant that form one stack. Knows no file and no tracker.

Shapes: F models, n training rows each, B rows per batch, C features, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foldwise.core.config import Variant
from foldwise.core.errors import DivergedError
from foldwise.datasets.prepared import Dataset
from foldwise.numerics import networks, randomness, steps
from foldwise.numerics.batches import Block, Rows, blocks, preprocessing, targets_for
from foldwise.numerics.diagnostics import ROWS, Probe
from foldwise.numerics.losses import losses
from foldwise.numerics.networks import StackedNetwork
from foldwise.results import split_name
from foldwise.splits import Split

HISTORY_POINTS = 100  # a learning curve has at most so many points
RECORD_SECONDS = 1.0  # at least between two calls of `record`
TELL_SECONDS = 0.1  # between two words on the progress
Logits = Callable[[Rows, Tensor], Tensor]
EVALUATED_ROWS = 10_000  # training metrics are taken on the first so many rows of a split


@dataclass(frozen=True)
class Chunk:
    """Splits with equally many training rows that train as one stack."""

    variant: Variant
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Recorded:
    """What is known of a chunk's models after an epoch; at epoch 0 they only start.

    Attributes:
        splits: (repeat, fold) of the chunk's models (F,).
        epoch: 0, or a recorded epoch.
        finished: Unix time in seconds.
        metrics: (F, 4), as in `Trained.history`; empty at epoch 0.
    """

    splits: list[tuple[int, int]]
    epoch: int
    finished: float
    metrics: list[list[float]]


@dataclass(frozen=True)
class Trained:
    """What training a chunk yields.

    Attributes:
        started: Unix time in seconds.
        epochs: recorded epochs (E,), from 1.
        history: (F, E, 4): train loss and accuracy, validation loss and accuracy.
        finished: Unix time in seconds of each recorded epoch (E,).
        held_out: class probabilities of the held-out rows (F, n_validation, K).
        test: class probabilities of the test rows (F, n_test, K).
        weights: name -> (F, ...), the stack's `state_dict`.
        diagnostics: records of `diagnostics.Probe`; none if the probed split is elsewhere.
    """

    started: float
    epochs: np.ndarray
    history: np.ndarray
    finished: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    weights: dict[str, np.ndarray]
    diagnostics: list[dict[str, float]]


def train(
    chunk: Chunk,
    dataset: Dataset,
    device: str = "cpu",
    progress: Callable[[int], object] = lambda models: None,
    record: Callable[[Recorded], object] = lambda recorded: None,
) -> Trained:
    """Train a chunk's models for the variant's epochs; same input, same bits.

    Args:
        chunk: the variant and its splits.
        dataset: raw arrays.
        device: "cpu" or "cuda".
        progress: called now and then with the number of epochs that models took since.
        record: called at the start, after recorded epochs (not all, where they follow each other
            quickly) and at the end.

    Raises:
        DivergedError: a model's loss is no longer finite; names split, epoch and rate.
    """
    started, places = time.time(), [(split.repeat, split.fold) for split in chunk.splits]
    due, taken, told = started + RECORD_SECONDS, 0, started
    record(Recorded(places, 0, started, []))
    settings = chunk.variant.training
    stack, rows = _prepare(chunk, dataset, device)
    train_on, logits = steps.functions(stack, settings)
    probe = _probe(chunk, stack, rows)
    if probe is not None:
        train_on = probe.around(train_on)
    recorded = recorded_epochs(settings.epochs)
    held_out = _stack_rows([split.held_out for split in chunk.splits], device)
    evaluate = _evaluation(logits, rows, held_out, settings.loss)
    history, finished = [], []
    with torch.no_grad(), subnormals_flushed():
        for epoch, one_epoch in enumerate(_epochs(chunk, stack, rows, device), start=1):
            for block in one_epoch:
                train_on(block)
            taken += stack.models
            if time.time() > told + TELL_SECONDS or epoch == settings.epochs:
                progress(taken)
                taken, told = 0, time.time()
            if epoch in recorded:
                history.append(evaluate())
                finished.append(time.time())
                _check_finite(history[-1][:, 0], chunk, epoch)
                if finished[-1] >= due or epoch == settings.epochs:
                    record(Recorded(places, epoch, finished[-1], history[-1].tolist()))
                    due = finished[-1] + RECORD_SECONDS
        return Trained(
            started=started,
            epochs=np.array(recorded),
            history=torch.stack(history, dim=1).cpu().numpy(),
            finished=np.array(finished),
            held_out=_probabilities(logits(rows, held_out)),
            test=_test_probabilities(logits, rows, dataset, device),
            weights={name: t.cpu().numpy().copy() for name, t in stack.state_dict().items()},
            diagnostics=[] if probe is None else probe.records,
        )


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """Subnormal numbers count as zero, in this thread.

    Adam's moments of a dead unit decay into them and stay there, and arithmetic on them is
    several times slower.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def recorded_epochs(epochs: int) -> list[int]:
    """The epochs after which metrics are taken: at most `HISTORY_POINTS`, the last always."""
    every = math.ceil(epochs / HISTORY_POINTS)
    return sorted({*range(every, epochs + 1, every), epochs})


# --- preparation -------------------------------------------------------------------------


def _prepare(chunk: Chunk, dataset: Dataset, device: str) -> tuple[StackedNetwork, Rows]:
    """The initialised stack, in training mode, and its rows."""
    X = torch.from_numpy(dataset.X).flatten(1)
    classes = len(dataset.class_names)
    outputs = networks.logits_for(classes)
    stack = StackedNetwork(chunk.variant.network, X.shape[1], outputs, len(chunk.splits))
    networks.initialise(stack, chunk.variant.training.init, _initial_generator(chunk))
    kind = chunk.variant.training.preprocessing
    for i, split in enumerate(chunk.splits):
        fitted_on = split.train[:0] if kind == "none" else split.train  # "none" looks at no row
        shift, scale = preprocessing(kind, X[torch.from_numpy(fitted_on)], dataset.scale)
        stack.shift[i], stack.scale[i] = shift, scale
    stack.to(device).train()
    labels = torch.from_numpy(dataset.y)
    return stack, Rows(
        X=X.to(device),
        targets=targets_for(labels, classes).to(device),
        labels=labels.to(device),
        shift=stack.shift,
        scale=stack.scale,
        train=_stack_rows([split.train for split in chunk.splits], device),
    )


def _stack_rows(rows: Sequence[np.ndarray], device: str) -> Tensor:
    return torch.from_numpy(np.stack(rows)).to(device)


def _epochs(
    chunk: Chunk, stack: StackedNetwork, rows: Rows, device: str
) -> Iterator[Iterator[Block]]:
    """For every epoch, its blocks of batches."""
    settings = chunk.variant.training
    order, dropout = _generators(chunk, "order"), _generators(chunk, "dropout")
    for _ in range(settings.epochs):
        shuffled = rows.train
        if settings.shuffle:
            places = randomness.orders(order, rows.train.shape[1]).to(device)
            shuffled = rows.train.gather(1, places)
        yield blocks(stack, rows, shuffled, settings.batch_size, dropout)


def _generators(chunk: Chunk, purpose: str) -> list[torch.Generator]:
    seed, study = chunk.variant.training.seed, chunk.variant.study
    return [randomness.generator(seed, study, s.repeat, s.fold, purpose) for s in chunk.splits]


def _initial_generator(chunk: Chunk) -> Callable[[int, str], torch.Generator]:
    settings, study = chunk.variant.training, chunk.variant.study

    def generator(model: int, layer: str) -> torch.Generator:
        split = chunk.splits[0 if settings.same_init else model]
        place = (0, 0) if settings.same_init else (split.repeat, split.fold)
        return randomness.generator(settings.seed, study, *place, f"init/{layer}")

    return generator


# --- the probe -------------------------------------------------------------------------------


def _probe(chunk: Chunk, stack: StackedNetwork, rows: Rows) -> Probe | None:
    """A probe of the split that the settings name, on training rows spread over the file."""
    settings = chunk.variant.training
    places = [[split.repeat, split.fold] for split in chunk.splits]
    if settings.probe not in places:
        return None
    i, n = places.index(settings.probe), rows.train.shape[1]
    spread = torch.linspace(0, n - 1, min(ROWS, n), device=rows.train.device).long()
    chosen = rows.train[:, spread]
    total = settings.epochs * math.ceil(n / settings.batch_size)
    x, targets = rows.features(chosen)[i].cpu(), rows.targets_of(chosen)[i].cpu()
    return Probe(stack, i, x, targets, settings.loss, settings.batch_size, total)


# --- evaluation -------------------------------------------------------------------------------


def _evaluation(logits_of: Logits, rows: Rows, held_out: Tensor, loss: str) -> Callable[[], Tensor]:
    """What gives mean loss and accuracy on training rows, then on held-out rows (F, m): (F, 4).

    NaN where there are no rows.
    """
    seen = rows.train[:, :EVALUATED_ROWS]
    chosen = torch.cat([seen, held_out], dim=1)
    targets, labels = rows.targets_of(chosen), rows.labels[chosen]
    sizes = [seen.shape[1], held_out.shape[1]]

    def evaluate() -> Tensor:
        logits = logits_of(rows, chosen)
        predicted = logits.argmax(-1) if logits.shape[-1] > 1 else (logits.squeeze(-1) > 0).long()
        correct = (predicted == labels).float()
        both = torch.stack([losses(logits, targets, loss), correct], dim=1)
        return torch.cat([part.mean(dim=2) for part in torch.split(both, sizes, dim=2)], dim=1)

    return evaluate


def _probabilities(logits: Tensor) -> np.ndarray:
    return networks.probabilities(logits).cpu().numpy()


def _test_probabilities(logits_of: Logits, rows: Rows, dataset: Dataset, device: str) -> np.ndarray:
    models = len(rows.train)
    if dataset.X_test is None:
        return np.empty((models, 0, len(dataset.class_names)), dtype=np.float32)
    X = torch.from_numpy(dataset.X_test).flatten(1).to(device)
    test = Rows(X, rows.targets, rows.labels, rows.shift, rows.scale, rows.train)
    every = torch.arange(len(X), device=device).expand(models, -1)
    return _probabilities(logits_of(test, every))


def _check_finite(loss: Tensor, chunk: Chunk, epoch: int) -> None:
    if bool(loss.isfinite().all()):
        return
    i = int((~loss.isfinite()).nonzero()[0])
    split = chunk.splits[i]
    optimizer = chunk.variant.training.optimizer
    raise DivergedError(
        f"{chunk.variant.name}, {split_name(split.repeat, split.fold)}, epoch {epoch}: the "
        f"training loss is {float(loss[i])} with {optimizer.name}, lr {optimizer.lr}; "
        "try a smaller lr"
    )
