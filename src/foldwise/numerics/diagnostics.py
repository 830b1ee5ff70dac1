"""What happens inside a network while it trains, on a fixed probe batch.

For BatchNorm the question is what its paper shows in Figure 1 (Ioffe & Szegedy 2015): do the
inputs of the nonlinearity stay where it responds? Hence, per layer and over the steps: their
percentiles, the share of saturated or dead units, the norm of the gradient, and how far one
step moves the weights.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from foldwise.numerics.batches import Block
from foldwise.numerics.inputs import Training
from foldwise.numerics.kernels import Inside, inspection
from foldwise.numerics.networks import StackedNetwork
from foldwise.numerics.outcomes import DIAGNOSTICS

POINTS = 40  # measurements over a training
ROWS = 64  # rows of the probe batch
PERCENTILES = {"p15": 0.15, "p50": 0.50, "p85": 0.85}

Train = Callable[[Block], None]


class Probe:
    """Measures one model of a stack around about `POINTS` of its training steps.

    Changes nothing in it. Probe rows are rescaled, x (R, C), with their targets (R, outputs).
    """

    def __init__(
        self,
        stack: StackedNetwork,
        model: int,
        x: Tensor,
        targets: Tensor,
        training: Training,
        steps: int,
    ):
        self.stack, self.model, self.x, self.targets = stack, model, x, targets
        self.batch_size = training.batch_size
        self.single = StackedNetwork(stack.network, x.shape[1], targets.shape[1], 1)
        self.inspect = inspection(self.single, training)
        self.every = math.ceil(steps / POINTS)
        self.records: list[dict[str, float]] = []
        self.taken = 0  # steps

    def around(self, train: Train) -> Train:
        """The same training, cut and measured around its first step and every `every`-th."""

        def observed(block: Block) -> None:
            start = 0
            while start < block.size:
                done = self.taken % self.every
                ahead = self.every - done if done else 1
                stop = min(start + ahead * self.batch_size, block.size)
                part = block.part(start, stop)
                if done:
                    train(part)
                else:
                    self._measured(part, train, self.taken)
                self.taken += math.ceil((stop - start) / self.batch_size)
                start = stop

        return observed

    def state(self) -> dict[str, np.ndarray]:
        """The steps taken, and what was measured."""
        lines = [[line[name] for name in DIAGNOSTICS] for line in self.records]
        return {"taken": np.array(self.taken), "records": np.array(lines, dtype=np.float64)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on after these."""
        lines = state["records"].tolist()
        self.taken = int(state["taken"])
        self.records = [dict(zip(DIAGNOSTICS, line, strict=True)) for line in lines]

    @np.errstate(all="ignore")  # a network that diverges is no longer finite
    def _measured(self, batch: Block, train: Train, step: int) -> None:
        before = self._weights()
        self._copy()
        found = measure(self.inspect(self.x, self.targets), self.stack.network.activation)
        train(batch)
        ratios = _ratios(before, self._weights())
        for layer, (values, ratio) in enumerate(zip(found, ratios, strict=True), start=1):
            self.records.append({"step": step, "layer": layer, **values, "update_ratio": ratio})

    @torch.no_grad()
    def _copy(self) -> None:
        """Give the single network the present numbers of the model."""
        numbers = self.stack.state_dict()
        for name, tensor in self.single.state_dict().items():
            tensor[0].copy_(numbers[name][self.model])

    def _weights(self) -> list[np.ndarray]:
        layers = [*(layer.linear for layer in self.stack.hidden_layers()), self.stack.output]
        return [layer.weight[self.model].detach().cpu().numpy().copy() for layer in layers]


def measure(inside: Sequence[Inside], activation: str) -> list[dict[str, float]]:
    """Per linear layer: pre-activations and gradient on a batch; of the output layer, the logits.

    `saturated` is the share of a sigmoid's or tanh's values within 2 % of its range from an end;
    `dead` the share of ReLU units that are 0 on every row; NaN where the notion does not apply.
    `gradient_norm` is that of the weights, of the mean loss.
    """
    *hidden, output = inside
    shares = [*(_shares(activation, layer.y) for layer in hidden), _shares("none", output.y)]
    return [
        {**_percentiles(layer.z), **share, "gradient_norm": float(_norm(layer.gradient))}
        for layer, share in zip(inside, shares, strict=True)
    ]


def _percentiles(z: np.ndarray) -> dict[str, float]:
    """Between the two nearest values, linearly; in float64."""
    values = np.sort(z, axis=None).astype(np.float64)
    found = {}
    for name, share in PERCENTILES.items():
        place = share * (len(values) - 1)
        low = int(place)
        high = min(low + 1, len(values) - 1)
        found[name] = float(values[low] + (place - low) * (values[high] - values[low]))
    return found


def _shares(activation: str, y: np.ndarray) -> dict[str, float]:
    """Share of saturated values (sigmoid, tanh) and of dead units (ReLU)."""
    shares = {"saturated": math.nan, "dead": math.nan}
    if activation in ("sigmoid", "tanh"):
        unit = y if activation == "sigmoid" else (y + 1) / 2
        shares["saturated"] = float(((unit < 0.02) | (unit > 0.98)).mean())
    if activation == "relu":
        shares["dead"] = float((y <= 0).all(axis=0).mean())
    return shares


def _norm(weights: np.ndarray) -> np.float64:
    """A cumulative sum has one order of its terms; that of a plain sum is the library's choice."""
    return np.float64(np.sqrt(np.cumsum(np.square(weights, dtype=np.float64))[-1]))


def _ratios(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> list[float]:
    """How far a step moved each layer's weights, relative to their norm."""
    return [float(_norm(new - old) / _norm(old)) for old, new in zip(before, after, strict=True)]
