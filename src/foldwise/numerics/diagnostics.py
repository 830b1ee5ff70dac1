"""What happens inside a network while it trains, on a fixed probe batch.

For BatchNorm the question is what its paper shows in Figure 1 (Ioffe & Szegedy 2015): do the
inputs of the nonlinearity stay where it responds? Hence, per layer and over the steps: their
percentiles, the share of saturated or dead units, the norm of the gradient, and how far one
step moves the weights.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from foldwise.numerics.batches import Block
from foldwise.numerics.losses import losses
from foldwise.numerics.networks import StackedNetwork

POINTS = 40  # measurements over a training
ROWS = 64  # rows of the probe batch
PERCENTILES = (0.15, 0.50, 0.85)
COLUMNS = (
    "step", "layer", "p15", "p50", "p85", "saturated", "dead", "gradient_norm", "update_ratio",
)  # fmt: skip

Train = Callable[[Block], None]


class Probe:
    """Measures one model of a stack around some of its training steps; changes nothing in it.

    Args:
        stack: the stack in training.
        model: which of its models.
        x: probe rows, rescaled (R, C).
        targets: their targets (R, outputs).
        loss: "cross_entropy" or "squared_error".
        batch_size: rows of a training step.
        steps: how many steps the training has; about `POINTS` of them are measured.
    """

    def __init__(
        self,
        stack: StackedNetwork,
        model: int,
        x: Tensor,
        targets: Tensor,
        loss: str,
        batch_size: int,
        steps: int,
    ):
        self.stack, self.model, self.x, self.targets, self.loss = stack, model, x, targets, loss
        self.batch_size = batch_size
        self.plain = _without_dropout(stack.unstack(model))
        self.every = math.ceil(steps / POINTS)
        self.records: list[dict[str, float]] = []

    def around(self, train: Train) -> Train:
        """The same training, cut and measured around its first step and every `every`-th."""
        taken = 0

        def observed(block: Block) -> None:
            nonlocal taken
            start = 0
            while start < block.size:
                ahead = 1 if taken % self.every == 0 else self.every - taken % self.every
                stop = min(start + ahead * self.batch_size, block.size)
                part = block.part(start, stop)
                if taken % self.every:
                    train(part)
                else:
                    self._measured(part, train, taken)
                taken += math.ceil((stop - start) / self.batch_size)
                start = stop

        return observed

    def _measured(self, batch: Block, train: Train, step: int) -> None:
        before = self._weights()
        self.stack.copy_to(self.plain, self.model)
        layers = measure(self.plain[1:], self.x, self.targets, self.loss)  # x is rescaled
        train(batch)
        ratios = _ratios(before, self._weights())
        for layer, (values, ratio) in enumerate(zip(layers, ratios, strict=True), start=1):
            self.records.append({"step": step, "layer": layer, **values, "update_ratio": ratio})

    def _weights(self) -> list[Tensor]:
        layers = [*(layer.linear for layer in self.stack.hidden_layers()), self.stack.output]
        return [layer.weight[self.model].detach().clone() for layer in layers]


def measure(model: nn.Sequential, x: Tensor, targets: Tensor, loss: str) -> list[dict[str, float]]:
    """Per linear layer of a plain model: pre-activations and gradient on a batch.

    Pre-activations are what the nonlinearity gets (after BatchNorm where there is one); of the
    output layer, the logits. `saturated` is the share of a sigmoid's or tanh's values within 2 %
    of its range from an end; `dead` the share of ReLU units that are 0 on every row; NaN where
    the notion does not apply. `gradient_norm` is that of the weights, of the mean loss.

    Args:
        model: modules in order, as `StackedNetwork.unstack` names them.
        x: (R, C).
        targets: (R, outputs).
        loss: "cross_entropy" or "squared_error".
    """
    with torch.enable_grad():
        inputs, outputs, linears = [], [], []
        for module in model:
            if isinstance(module, nn.Linear):
                linears.append(module)
            y = module(x)
            if _is_activation(module):
                inputs.append(x.detach())
                outputs.append((module, y.detach()))
            x = y
        mean = losses(x.unsqueeze(0), targets.unsqueeze(0), loss).mean()
        slopes = torch.autograd.grad(mean, [linear.weight for linear in linears])
    inputs.append(x.detach())
    shares = [*(_shares(module, y) for module, y in outputs), _NO_SHARES]
    return [
        {**_percentiles(z), **share, "gradient_norm": float(slope.norm())}
        for z, share, slope in zip(inputs, shares, slopes, strict=True)
    ]


def _is_activation(module: nn.Module) -> bool:
    return not isinstance(module, nn.Linear | nn.BatchNorm1d | nn.Dropout)


def _percentiles(z: Tensor) -> dict[str, float]:
    values = torch.quantile(z.flatten(), torch.tensor(PERCENTILES)).tolist()
    return dict(zip(("p15", "p50", "p85"), values, strict=True))


_NO_SHARES = {"saturated": math.nan, "dead": math.nan}


def _shares(module: nn.Module, y: Tensor) -> dict[str, float]:
    """Share of saturated values (sigmoid, tanh) and of dead units (ReLU)."""
    shares = dict(_NO_SHARES)
    if isinstance(module, nn.Sigmoid | nn.Tanh):
        unit = y if isinstance(module, nn.Sigmoid) else (y + 1) / 2
        shares["saturated"] = float(((unit < 0.02) | (unit > 0.98)).float().mean())
    if isinstance(module, nn.ReLU):
        shares["dead"] = float((y <= 0).all(dim=0).float().mean())
    return shares


def _without_dropout(model: nn.Sequential) -> nn.Sequential:
    """The same model with BatchNorm as in training and dropout off."""
    model.train()
    for module in model:
        if isinstance(module, nn.Dropout):
            module.eval()
    return model


def _ratios(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[float]:
    """How far a step moved each layer's weights, relative to their norm."""
    return [float((new - old).norm() / old.norm()) for old, new in zip(before, after, strict=True)]
