"""How a stack trains on a block of batches: the ways that there are, and which one is taken."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import nn

from foldwise import kernels
from foldwise.batches import Block
from foldwise.config import Training
from foldwise.losses import losses
from foldwise.networks import StackedNetwork

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
}
WARM_UP = 3  # batches of a size before their step is captured in a CUDA graph

Train = Callable[[Block], None]


def train_function(stack: nn.Module, training: Training) -> Train:
    """A function that trains a stack on the batches of a block, one after the other.

    On the CPU the project's own networks take the compiled step of `kernels`. Every other module
    that turns features and mask into logits (F, B, outputs) trains by autograd, as does
    everything on a GPU, where the step is captured in CUDA graphs. The loss of a model is the
    mean over a batch's rows, and models do not touch each other.

    Args:
        stack: in training mode, on the device where it is to train.
        training: loss, optimizer and batch size.
    """
    device = next(stack.parameters()).device.type
    if device == "cpu" and isinstance(stack, StackedNetwork):
        return kernels.train_function(stack, training)
    step = autograd_step(stack, training)
    return batchwise(captured(step) if device == "cuda" else step, training.batch_size)


def batchwise(step: Train, batch_size: int) -> Train:
    """Take a step on every batch of a block."""

    def train(block: Block) -> None:
        for batch in block.batches(batch_size):
            step(batch)

    return train


def autograd_step(stack: nn.Module, training: Training) -> Train:
    """One step on one batch, as in any PyTorch program."""
    options = training.optimizer.model_dump(exclude={"name"})
    if next(stack.parameters()).is_cuda and training.optimizer.name != "sgd":
        options["capturable"] = True  # keeps the step count on the GPU
    optimizer = OPTIMIZERS[training.optimizer.name](stack.parameters(), **options)

    def step(batch: Block) -> None:
        optimizer.zero_grad()
        with torch.enable_grad():
            row_losses = losses(stack(batch.x, batch.mask), batch.targets, training.loss)
            row_losses.mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def captured(step: Train) -> Train:
    """The same step, replayed from a CUDA graph once a few batches of a size have been seen.

    A small network's kernels take less time than their launches, which a graph does at once:
    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. The first batches of each
    size run on a side stream, as capturing asks for; they are ordinary training steps.
    """
    seen = Counter[int]()
    graphs: dict[int, tuple[torch.cuda.CUDAGraph, Block]] = {}
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def replay(batch: Block) -> None:
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
