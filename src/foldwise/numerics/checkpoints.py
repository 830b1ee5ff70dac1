"""The state of a training, from which it can go on to the same bits."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

State = dict[str, np.ndarray]


class Checkpoints(Protocol):
    """Where the state of one training is kept meanwhile."""

    def load(self) -> State | None:
        """The state that was kept last; None where there is none."""

    def offer(self, state: Callable[[], State]) -> None:
        """Called often; keeps the state now and then."""


class Stateful(Protocol):
    """A part of a training that changes from batch to batch."""

    def state(self) -> State:
        """Copies of all that it needs to go on."""

    def restore(self, state: State) -> None:
        """Go on from there."""


def gathered(parts: Mapping[str, Stateful]) -> State:
    """The state of all parts as one."""
    states = {name: part.state() for name, part in parts.items()}
    return {f"{name}/{key}": array for name, its in states.items() for key, array in its.items()}


def restore(parts: Mapping[str, Stateful], state: State) -> None:
    """Give every part its own state back."""
    for name, part in parts.items():
        start = f"{name}/"
        part.restore({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})


class Numbers:
    """The parameters and statistics of a module."""

    def __init__(self, module: nn.Module):
        self.module = module

    def state(self) -> State:
        """By name."""
        return {name: _copied(tensor) for name, tensor in self.module.state_dict().items()}

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """In place, as others hold views of them."""
        for name, tensor in self.module.state_dict().items():
            tensor.copy_(torch.from_numpy(state[name].copy()))


class Moments:
    """What an optimizer of torch keeps for each parameter."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def state(self) -> State:
        """By number of the parameter, and name."""
        kept = self.optimizer.state_dict()["state"]
        return {
            f"{i}/{name}": _copied(tensor)
            for i, of_one in kept.items()
            for name, tensor in of_one.items()
            if tensor is not None
        }

    def restore(self, state: State) -> None:
        """Before the first step."""
        tree = self.optimizer.state_dict()
        for key, array in state.items():
            i, name = key.split("/")
            tree["state"].setdefault(int(i), {})[name] = torch.from_numpy(array.copy())
        self.optimizer.load_state_dict(tree)


def _copied(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy().copy()
    return array
