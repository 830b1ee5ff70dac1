"""One optimizer step over the flat parameters of a whole stack.

`torch.optim` spends more time around its fused kernels than in them when a model is small;
these call the same kernels directly. A test holds them to `torch.optim`'s own results.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from foldwise.config import Adam, Optimizer, RmsProp, Sgd


def step_function(settings: Optimizer, flat: Tensor, gradient: Tensor) -> Callable[[], None]:
    """A function that takes one step: changes `flat` (P,) in place by `gradient` (P,)."""
    if isinstance(settings, Sgd):
        return _sgd(settings, flat, gradient)
    if isinstance(settings, Adam):
        return _adam(settings, flat, gradient)
    return _rmsprop(settings, flat, gradient)


def _sgd(settings: Sgd, flat: Tensor, gradient: Tensor) -> Callable[[], None]:
    """The kernel behind `torch.optim.SGD(fused=True)`."""
    velocities = [torch.zeros_like(flat)] if settings.momentum else []
    parameters, gradients = [flat], [gradient]

    def step() -> None:
        torch._fused_sgd_(
            parameters, gradients, velocities,
            lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay,
            nesterov=settings.nesterov, dampening=0.0, maximize=False, is_first_step=False,
        )  # fmt: skip

    return step


def _adam(settings: Adam, flat: Tensor, gradient: Tensor) -> Callable[[], None]:
    """The kernel behind `torch.optim.Adam(fused=True)` and `AdamW(fused=True)`."""
    kernel = torch._fused_adamw_ if settings.name == "adamw" else torch._fused_adam_
    mean, square = [torch.zeros_like(flat)], [torch.zeros_like(flat)]
    count = torch.zeros((), device=flat.device)
    parameters, gradients, counts = [flat], [gradient], [count]
    beta1, beta2 = settings.betas

    def step() -> None:
        count.add_(1)
        kernel(
            parameters, gradients, mean, square, [], counts,
            lr=settings.lr, beta1=beta1, beta2=beta2, weight_decay=settings.weight_decay,
            eps=settings.eps, amsgrad=False, maximize=False,
        )  # fmt: skip

    return step


def _rmsprop(settings: RmsProp, flat: Tensor, gradient: Tensor) -> Callable[[], None]:
    flat.grad = gradient
    options = settings.model_dump(exclude={"name"})
    optimizer = torch.optim.RMSprop([flat], **options)

    def step() -> None:
        optimizer.step()

    return step
