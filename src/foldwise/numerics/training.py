"""Train one chunk: the splits of a variant that form one stack. Knows no file and no tracker.

Shapes: F models, n training rows each, B rows per batch, C features, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from foldwise.numerics import networks, randomness, steps
from foldwise.numerics.batches import Block, Rows, blocks, preprocessing, targets_for
from foldwise.numerics.checkpoints import Checkpoints, Numbers, State, Stateful, gathered, restore
from foldwise.numerics.diagnostics import ROWS, Probe
from foldwise.numerics.inputs import Data, Network, Training, logits_for
from foldwise.numerics.kernels import Functions
from foldwise.numerics.networks import StackedNetwork
from foldwise.numerics.outcomes import DivergedError, Recorded, Trained
from foldwise.numerics.split import Split

HISTORY_POINTS = 100  # a learning curve has at most so many points
RECORD_SECONDS = 1.0  # at least between two records that are told
TELL_SECONDS = 0.1  # at least between two numbers that are
EVALUATED_ROWS = 10_000  # training metrics are taken on the first so many rows of a split
Tell = Callable[[int | Recorded], object]


@dataclass(frozen=True)
class Chunk:
    """F splits with equally many training rows that train as one stack, a model each.

    The study is part of the key of the random streams.
    """

    network: Network
    training: Training
    study: str
    splits: Sequence[Split]

    @property
    def places(self) -> list[tuple[int, int]]:
        """(repeat, fold) of the splits."""
        return [split.place for split in self.splits]

    def streams(self, purpose: str) -> list[torch.Generator]:
        """The random streams of the splits for a purpose."""
        return [self._stream(place, purpose) for place in self.places]

    def initial(self, model: int, layer: str) -> torch.Generator:
        """The stream of a layer's initial weights."""
        place = (0, 0) if self.training.same_init else self.places[model]
        return self._stream(place, f"init/{layer}")

    def _stream(self, place: tuple[int, int], purpose: str) -> torch.Generator:
        return randomness.generator(self.training.seed, self.study, *place, purpose)


def train(
    chunk: Chunk,
    data: Data,
    device: str = "cpu",
    tell: Tell = lambda said: None,
    checkpoints: Checkpoints | None = None,
) -> list[Trained]:
    """Train a chunk's models on "cpu" or "cuda"; same input, same bits.

    Args:
        chunk: settings and splits.
        data: raw arrays.
        device: where.
        tell: called now and then with the number of epochs that models took since; and with what
            is recorded at the start, after some epochs (not all, where they follow each other
            quickly) and at the end.
        checkpoints: has the state to go on from, and is offered a new one after each block.

    Raises:
        DivergedError: a model's loss is no longer finite.
    """
    reporter = _Reporter(chunk, tell)
    stack, rows = _prepare(chunk, data, device)
    functions = steps.functions(stack, chunk.training)
    train_on, probe = functions.train, _probe(chunk, stack, rows)
    course = _Course(chunk, stack, rows)
    parts: dict[str, Stateful] = {
        "stack": Numbers(stack), "memory": functions.memory, "reporter": reporter, "course": course
    }  # fmt: skip
    if probe is not None:
        train_on, parts["probe"] = probe.around(train_on), probe
    held_out = _stack_rows([split.held_out for split in chunk.splits], device)
    evaluate = _evaluation(functions, rows, held_out)
    if checkpoints is not None and (state := checkpoints.load()) is not None:
        restore(parts, state)
    reporter.begin(course.epoch)
    with torch.no_grad(), _subnormals_flushed():
        for one_epoch in course.epochs():
            for block in one_epoch:
                train_on(block)
                if checkpoints is not None:
                    checkpoints.offer(partial(gathered, parts))
            reporter.advance(course.epoch)
            if course.epoch in reporter.epochs:
                reporter.add(course.epoch, evaluate())
        p = _probabilities(functions, rows, held_out)
        test = _probabilities(functions, *_test_rows(rows, data, device))
    return [
        Trained(
            split=split,
            started=reporter.started,
            epochs=np.array(reporter.epochs),
            history=np.stack([metrics[i] for metrics in reporter.history]),
            finished=np.array(reporter.finished),
            held_out=p[i],
            test=test[i],
            weights={name: t[i].cpu().numpy().copy() for name, t in stack.state_dict().items()},
            diagnostics=probe.records if probe is not None and probe.model == i else [],
        )
        for i, split in enumerate(chunk.splits)
    ]


@contextmanager
def _subnormals_flushed() -> Iterator[None]:
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


class _Reporter:
    """Collects the metrics of recorded epochs; tells them and the progress, not too often."""

    def __init__(self, chunk: Chunk, tell: Tell):
        self.chunk, self.tell = chunk, tell
        self.epochs = recorded_epochs(chunk.training.epochs)
        self.history, self.finished = list[np.ndarray](), list[float]()  # (F, 4) each
        self.started = time.time()
        self._taken, self._told, self._due = 0, self.started, self.started + RECORD_SECONDS

    def begin(self, epoch: int) -> None:
        """Say when the models began, and what they took before the first epoch of this process."""
        self.tell(Recorded(self.chunk.places, 0, self.started, []))
        self._taken = (epoch - 1) * len(self.chunk.splits)

    def state(self) -> State:
        """What it collected."""
        history = np.array(self.history, dtype=np.float32).reshape(-1, len(self.chunk.splits), 4)
        times = {"started": np.array(self.started), "finished": np.array(self.finished)}
        return {"history": history, **times}

    def restore(self, state: State) -> None:
        """Go on from there."""
        self.history, self.finished = list(state["history"]), state["finished"].tolist()
        self.started = float(state["started"])

    def advance(self, epoch: int) -> None:
        """Every model has taken one more epoch."""
        self._taken += len(self.chunk.splits)
        now = time.time()
        if now > self._told + TELL_SECONDS or epoch == self.epochs[-1]:
            self.tell(self._taken)
            self._taken, self._told = 0, now

    def add(self, epoch: int, metrics: Tensor) -> None:
        """Keep the metrics (F, 4) of an epoch."""
        finished = time.time()
        self.history.append(metrics.cpu().numpy())
        self.finished.append(finished)
        for place, loss in zip(self.chunk.places, metrics[:, 0].tolist(), strict=True):
            if not math.isfinite(loss):
                raise DivergedError(*place, epoch, loss)
        if finished >= self._due or epoch == self.epochs[-1]:
            self.tell(Recorded(self.chunk.places, epoch, finished, metrics.tolist()))
            self._due = finished + RECORD_SECONDS


# --- preparation -------------------------------------------------------------------------


def _prepare(chunk: Chunk, data: Data, device: str) -> tuple[StackedNetwork, Rows]:
    """The initialised stack, in training mode, and its rows."""
    X = torch.from_numpy(data.X).flatten(1)
    classes = len(data.class_names)
    outputs = logits_for(classes)
    stack = StackedNetwork(chunk.network, X.shape[1], outputs, len(chunk.splits))
    networks.initialise(stack, chunk.training.init, chunk.initial)
    kind = chunk.training.preprocessing
    for i, split in enumerate(chunk.splits):
        fitted_on = split.train[:0] if kind == "none" else split.train  # "none" looks at no row
        shift, scale = preprocessing(kind, X[torch.from_numpy(fitted_on)], data.scale)
        stack.shift[i], stack.scale[i] = shift, scale
    stack.to(device).train()
    labels = torch.from_numpy(data.y)
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


class _Course:
    """How far a training is: the epoch, from 1, its order of rows, its blocks, the random streams.

    The order (F, n) is None before an epoch begins; `block` counts the blocks that were given.
    """

    def __init__(self, chunk: Chunk, stack: StackedNetwork, rows: Rows):
        self.settings, self.stack, self.rows = chunk.training, stack, rows
        self.streams = {name: chunk.streams(name) for name in ("order", "dropout")}
        self.epoch, self.block = 1, 0
        self.order: Tensor | None = None

    def epochs(self) -> Iterator[Iterator[Block]]:
        """For every epoch that is left, its blocks of batches."""
        while self.epoch <= self.settings.epochs:
            if self.order is None:
                self.order = self._shuffled()
            yield self._blocks(self.order)
            self.epoch, self.block, self.order = self.epoch + 1, 0, None

    def _shuffled(self) -> Tensor:
        train = self.rows.train
        if not self.settings.shuffle:
            return train
        places = randomness.orders(self.streams["order"], train.shape[1])
        return train.gather(1, places.to(train.device))

    def _blocks(self, order: Tensor) -> Iterator[Block]:
        size, dropout = self.settings.batch_size, self.streams["dropout"]
        for block in blocks(self.stack, self.rows, order, size, dropout, self.block):
            self.block += 1
            yield block

    def state(self) -> State:
        """In the middle of an epoch."""
        assert self.order is not None
        streams = {
            f"{name}/{i}": generator.get_state().numpy()
            for name, generators in self.streams.items()
            for i, generator in enumerate(generators)
        }
        place = np.array([self.epoch, self.block])
        return {**streams, "place": place, "order": self.order.cpu().numpy().copy()}

    def restore(self, state: State) -> None:
        """Go on from there."""
        for name, generators in self.streams.items():
            for i, generator in enumerate(generators):
                generator.set_state(torch.from_numpy(state[f"{name}/{i}"].copy()))
        self.epoch, self.block = state["place"].tolist()
        self.order = torch.from_numpy(state["order"].copy()).to(self.rows.train.device)


# --- the probe -------------------------------------------------------------------------------


def _probe(chunk: Chunk, stack: StackedNetwork, rows: Rows) -> Probe | None:
    """A probe of the split that the settings name, on training rows spread over the file."""
    settings, (repeat, fold) = chunk.training, chunk.training.probe
    if (repeat, fold) not in chunk.places:
        return None
    i, n = chunk.places.index((repeat, fold)), rows.train.shape[1]
    spread = torch.linspace(0, n - 1, min(ROWS, n), device=rows.train.device).long()
    chosen = rows.train[:, spread]
    total = settings.epochs * math.ceil(n / settings.batch_size)
    x, targets = rows.features(chosen)[i].cpu(), rows.targets_of(chosen)[i].cpu()
    return Probe(stack, i, x, targets, settings, total)


# --- evaluation -------------------------------------------------------------------------------


def _evaluation(functions: Functions, rows: Rows, held_out: Tensor) -> Callable[[], Tensor]:
    """What gives mean loss and accuracy on training, then on held-out rows (F, m): (F, 4).

    NaN where no rows are held out.
    """
    seen = rows.train[:, :EVALUATED_ROWS]
    chosen = torch.cat([seen, held_out], dim=1)
    sizes = [seen.shape[1], held_out.shape[1]]
    targets, labels = rows.targets_of(chosen), rows.labels[chosen]

    def evaluate() -> Tensor:
        every = functions.logits(rows, chosen), targets, labels
        parts = zip(*(torch.split(values, sizes, dim=1) for values in every), strict=True)
        return torch.cat([functions.scores(*part) for part in parts], dim=1)

    return evaluate


def _probabilities(functions: Functions, rows: Rows, chosen: Tensor) -> np.ndarray:
    return functions.probabilities(functions.logits(rows, chosen)).cpu().numpy()


def _test_rows(rows: Rows, data: Data, device: str) -> tuple[Rows, Tensor]:
    """The test rows, all of them for every model (F, n_test); or none."""
    X = rows.X[:0] if data.X_test is None else torch.from_numpy(data.X_test).flatten(1).to(device)
    test = Rows(X, rows.targets, rows.labels, rows.shift, rows.scale, rows.train)
    return test, torch.arange(len(X), device=device).expand(len(rows.train), -1)
