"""How a stack trains on a block of batches: the ways that there are, and which one is taken."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from foldwise.numerics import kernels
from foldwise.numerics.batches import BLOCK_BYTES, Batch, Block, Rows
from foldwise.numerics.checkpoints import Moments
from foldwise.numerics.inputs import Training
from foldwise.numerics.kernels import Functions
from foldwise.numerics.networks import StackedNetwork, probabilities

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
WARM_UP = 3  # batches of a size before their step is captured in a CUDA graph

Step = Callable[[Batch], None]


def functions(stack: nn.Module, training: Training) -> Functions:
    """The fastest way that there is for this module, in training mode, on its device."""
    if isinstance(stack, StackedNetwork) and is_compiled(stack):
        return kernels.functions(stack, training)
    optimizer = optimizer_of(stack, training)
    step = autograd_step(stack, training, optimizer)
    on_gpu = next(stack.parameters()).is_cuda
    train = batchwise(captured(step) if on_gpu else step, training.batch_size)
    scores = partial(mean_scores, training.loss)
    return Functions(train, partial(evaluated, stack), scores, probabilities, Moments(optimizer))


def is_compiled(stack: StackedNetwork) -> bool:
    """Whether the compiled step trains this; autograd trains everything else."""
    return stack.output.weight.device.type == "cpu"


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


def evaluated(stack: nn.Module, rows: Rows, chosen: Tensor) -> Tensor:
    """Logits of rows (F, m) in evaluation mode: (F, m, outputs)."""
    stack.eval()
    most = max(1, BLOCK_BYTES // (4 * rows.X.shape[1]))
    parts = torch.split(chosen, most, dim=1)
    logits = torch.cat([stack(rows.features(part)) for part in parts], dim=1)
    stack.train()
    return logits


def mean_scores(loss: str, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """Mean loss and accuracy (F, 2) of logits (F, m, K), targets (F, m, K), labels (F, m)."""
    predicted = logits.argmax(-1) if logits.shape[-1] > 1 else (logits.squeeze(-1) > 0).long()
    correct = (predicted == labels).float()
    return torch.stack([losses(logits, targets, loss), correct], dim=1).mean(dim=2)


def batchwise(step: Step, batch_size: int) -> Callable[[Block], None]:
    """Take a step on every batch of a block."""

    def train(block: Block) -> None:
        for batch in block.batches(batch_size):
            step(batch)

    return train


def optimizer_of(stack: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The optimizer that the settings ask for."""
    options = {key: value for key, value in vars(training.optimizer).items() if key != "name"}
    if next(stack.parameters()).is_cuda and training.optimizer.name != "sgd":
        options["capturable"] = True  # keeps the step count on the GPU
    return OPTIMIZERS[training.optimizer.name](stack.parameters(), **options)


def autograd_step(stack: nn.Module, training: Training, optimizer: torch.optim.Optimizer) -> Step:
    """One step on one batch, as in any PyTorch program."""

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        with torch.enable_grad():
            row_losses = losses(stack(batch.x, batch.mask), batch.targets, training.loss)
            row_losses.mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def captured(step: Step) -> Step:
    """The same step, replayed from a CUDA graph once a few batches of a size have been seen.

    A small network's kernels take less time than their launches, which a graph does at once:
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. The first batches of each
    size run on a side stream, as capturing asks for; they are ordinary training steps.
    """
    seen = Counter[int]()
    graphs: dict[int, tuple[torch.cuda.CUDAGraph, Batch]] = {}
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def replay(batch: Batch) -> None:
        rows = batch.x.shape[1]
        seen[rows] += 1
        if seen[rows] <= WARM_UP:
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step(batch)
            torch.cuda.current_stream().wait_stream(side)
            return
        if rows not in graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):  # records, does not run
                step(batch)
            graphs[rows] = graph, batch
        graph, held = graphs[rows]
        held.x.copy_(batch.x)
        held.targets.copy_(batch.targets)
        if held.mask is not None and batch.mask is not None:
            held.mask.copy_(batch.mask)
        graph.replay()

    return replay
