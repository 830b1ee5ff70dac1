"""Each step equals torch.optim's."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from foldwise.config import Optimizer
from foldwise.optimizers import step_function

OPTIMIZERS: list[tuple[dict[str, Any], type[torch.optim.Optimizer], dict[str, Any]]] = [
    ({"name": "sgd"}, torch.optim.SGD, {}),
    ({"name": "sgd", "momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8}),
    (
        {"name": "sgd", "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    ),
    ({"name": "adam"}, torch.optim.Adam, {}),
    (
        {"name": "adam", "betas": [0.8, 0.9], "weight_decay": 0.1},
        torch.optim.Adam,
        {"betas": (0.8, 0.9), "weight_decay": 0.1},
    ),
    ({"name": "adamw", "weight_decay": 0.1}, torch.optim.AdamW, {"weight_decay": 0.1}),
    ({"name": "rmsprop", "momentum": 0.5}, torch.optim.RMSprop, {"momentum": 0.5}),
]


@pytest.mark.parametrize(("settings", "reference", "options"), OPTIMIZERS)
def test_steps_equal_torch_optim(
    settings: dict[str, Any], reference: type[torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    parsed: Any = TypeAdapter(Optimizer).validate_python({"lr": 0.05, **settings})
    flat = torch.linspace(-1, 1, 50)
    gradient = torch.zeros(50)
    step = step_function(parsed, flat, gradient)
    expected = torch.nn.Parameter(flat.clone())
    optimizer = reference([expected], lr=0.05, **options)  # type: ignore[call-arg]
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        gradient.copy_(torch.randn(50, generator=random))
        expected.grad = gradient.clone()
        with torch.no_grad():
            step()
        optimizer.step()
        torch.testing.assert_close(flat, expected.detach())
