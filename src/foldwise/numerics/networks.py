"""The networks of a variant: F of them as one stack, and each as a plain `nn.Module`.

Shapes: F models, B rows, C features of a layer. Axis 0 of every parameter is the model axis.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from foldwise.numerics.inputs import Init, Network

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
EPS = 1e-5  # of BatchNorm, as in torch.nn.BatchNorm1d
MOMENTUM = 0.1  # of BatchNorm's running statistics, likewise


class Rescale(nn.Module):
    """Raw input to what the network sees: (x - shift) / scale, both (C,), flattened to (B, C)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Rows as users have them (B, *shape) to features (B, C)."""
        return (x.flatten(1).to(self.scale.dtype) - self.shift) / self.scale


class StackedLinear(nn.Module):
    """F linear layers: y = x W + b; weight (F, in, out), bias (F, out)."""

    def __init__(self, models: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(models, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(models, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, in) to (F, B, out)."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight)

    def unstack(self, i: int) -> nn.Linear:
        """Model i as `nn.Linear`."""
        _, inputs, outputs = self.weight.shape
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            linear.weight.copy_(self.weight[i].T)
            linear.bias.copy_(self.bias[i])
        return linear


class StackedBatchNorm(nn.Module):
    """F BatchNorm layers (Ioffe & Szegedy 2015): (x - E[x]) / sqrt(var[x] + eps) * weight + bias.

    Training uses the batch's own mean and *biased* variance, and moves the running mean and
    the running *unbiased* variance by 0.1 of the way, as `nn.BatchNorm1d` does; evaluation
    uses the running ones. At the start weight (gamma) is 1 and bias (beta) is 0.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, models: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(models, features))
        self.bias = nn.Parameter(torch.zeros(models, features))
        self.register_buffer("running_mean", torch.zeros(models, features))
        self.register_buffer("running_var", torch.ones(models, features))

    def forward(self, x: Tensor) -> Tensor:
        """(F, B, C) to (F, B, C); training needs B of 2 or more."""
        models, rows, features = x.shape
        y = nn.functional.batch_norm(
            x.transpose(0, 1).reshape(rows, models * features),
            self.running_mean.reshape(-1),
            self.running_var.reshape(-1),
            self.weight.reshape(-1),
            self.bias.reshape(-1),
            training=self.training,
            momentum=MOMENTUM,
            eps=EPS,
        )
        return y.view(rows, models, features).transpose(0, 1)

    def unstack(self, i: int) -> nn.BatchNorm1d:
        """Model i as `nn.BatchNorm1d`."""
        norm = nn.BatchNorm1d(self.weight.shape[1], eps=EPS, momentum=MOMENTUM)
        with torch.no_grad():
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(norm, name).copy_(getattr(self, name)[i])
        return norm


class HiddenLayer(nn.Module):
    """Linear, BatchNorm where asked for, activation; dropout comes as a mask.

    A mask (F, B, C) is 0 where a unit is dropped and 1 / (1 - p) where it is kept
    (Srivastava et al. 2014, inverted: evaluation needs no rescaling).
    """

    def __init__(self, models: int, inputs: int, outputs: int, network: Network):
        super().__init__()
        self.linear = StackedLinear(models, inputs, outputs)
        self.norm = StackedBatchNorm(models, outputs) if network.batch_norm else None
        self.activation = ACTIVATIONS[network.activation]()

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(F, B, in) to (F, B, out)."""
        x = self.linear(x)
        if self.norm is not None:
            x = self.norm(x)
        x = self.activation(x)
        return x if mask is None else x * mask


class StackedNetwork(nn.Module):
    """F networks of one variant.

    Args:
        network: of each.
        inputs: features per row.
        outputs: logits per row (see `inputs.logits_for`).
        models: F.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Network, inputs: int, outputs: int, models: int):
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.zeros(models, inputs))
        self.register_buffer("scale", torch.ones(models, inputs))
        widths = [inputs, *network.hidden]
        self.hidden = nn.ModuleList(
            HiddenLayer(models, wide, narrow, network)
            for wide, narrow in zip(widths, network.hidden, strict=False)
        )
        self.output = StackedLinear(models, widths[-1], outputs)

    @property
    def models(self) -> int:
        """F."""
        return self.output.weight.shape[0]

    @property
    def units(self) -> int:
        """H, the hidden units of a model, all layers together."""
        return sum(self.network.hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Rescaled features (F, B, C), input dropout applied, to logits (F, B, outputs).

        `mask` has the dropout factors of all hidden units (F, B, H); none means no dropout.
        """
        widths = self.network.hidden
        masks = [None] * len(widths) if mask is None else torch.split(mask, widths, dim=2)
        for layer, part in zip(self.hidden, masks, strict=True):
            x = layer(x, part)
        logits: Tensor = self.output(x)
        return logits

    def unstack(self, i: int) -> nn.Sequential:
        """Model i as a plain module in evaluation mode: raw rows (B, *shape) to logits.

        Its outputs equal the stack's. In training mode it drops out by itself.
        """
        net = self.network
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        modules["rescale"] = Rescale(self.shift[i].clone(), self.scale[i].clone())
        if net.input_dropout:
            modules["input_dropout"] = nn.Dropout(net.input_dropout)
        for number, layer in enumerate(self.hidden_layers(), start=1):
            modules[f"linear{number}"] = layer.linear.unstack(i)
            if layer.norm is not None:
                modules[f"norm{number}"] = layer.norm.unstack(i)
            modules[f"activation{number}"] = ACTIVATIONS[net.activation]()
            if net.hidden_dropout:
                modules[f"dropout{number}"] = nn.Dropout(net.hidden_dropout)
        modules["output"] = self.output.unstack(i)
        return nn.Sequential(modules).eval()

    def hidden_layers(self) -> list[HiddenLayer]:
        """The hidden layers in order."""
        return [layer for layer in self.hidden if isinstance(layer, HiddenLayer)]


class Classifier(nn.Module):
    """A plain network that gives class probabilities: what users get from a trained model."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Raw rows (B, *shape) to probabilities (B, K)."""
        return probabilities(self.network(x))


def probabilities(logits: Tensor) -> Tensor:
    """Logits (..., 1) or (..., K) to class probabilities (..., 2) or (..., K)."""
    if logits.shape[-1] > 1:
        return torch.softmax(logits, dim=-1)
    p = torch.sigmoid(logits)
    return torch.cat([1 - p, p], dim=-1)


def from_weights(network: Network, weights: Mapping[str, np.ndarray]) -> StackedNetwork:
    """The stack whose `state_dict` is `weights`, as a run holds it."""
    models, inputs = weights["shift"].shape
    stack = StackedNetwork(network, inputs, weights["output.bias"].shape[1], models)
    stack.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return stack.eval()


def initialise(
    stack: StackedNetwork, init: Init, generator: Callable[[int, str], torch.Generator]
) -> None:
    """Draw the initial weights of every linear layer; BatchNorm keeps 1 and 0.

    The default is that of `nn.Linear`: U(-1/sqrt(in), 1/sqrt(in)) for weights and biases,
    drawn as (out, in) and then (out,), so that a generator seeded as torch's global one
    gives the numbers of `nn.Linear`.

    Args:
        stack: changed in place.
        init: the bound a of U(-a, a), or None for the default.
        generator: (model, layer name) to a seeded generator; one per layer, so that variants
            share the layers whose shapes agree.
    """
    with torch.no_grad():
        for name, layer in stack.named_modules():
            if not isinstance(layer, StackedLinear):
                continue
            models, inputs, outputs = layer.weight.shape
            bound = init.uniform or 1 / math.sqrt(inputs)
            for i in range(models):
                random = generator(i, name)
                layer.weight[i].copy_(_uniform((outputs, inputs), bound, random).T)
                layer.bias[i].copy_(_uniform((outputs,), bound, random))


def _uniform(shape: tuple[int, ...], bound: float, random: torch.Generator) -> Tensor:
    """U(-bound, bound) as `uniform_` draws it on a processor with AVX2: rounded once.

    Without AVX2 it rounds the product and then the sum, and gives other bits.
    """
    low = float(torch.tensor(-bound))  # in float32
    return torch.empty(shape).uniform_(generator=random).double().mul_(-2 * low).add_(low).float()
