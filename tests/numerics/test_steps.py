"""Which way a stack trains, and that the ways agree."""

import pytest
import torch
from builders import chunk, dataset, variant
from torch import Tensor, nn

from foldwise.numerics import kernels, steps
from foldwise.numerics.batches import Batch, Block, Rows
from foldwise.numerics.outcomes import Trained
from foldwise.numerics.training import train


class Squeezed(nn.Module):
    """A network that the compiled step does not know: a bottleneck of one number."""

    def __init__(self, models: int, inputs: int):
        super().__init__()
        self.down = nn.Parameter(torch.full((models, inputs, 1), 0.1))
        self.up = nn.Parameter(torch.full((models, 1, 1), 0.1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.tanh(x @ self.down) @ self.up


def test_any_other_module_trains_through_autograd() -> None:
    stack = Squeezed(3, 6).train()
    x = torch.randn(3, 40, 6, generator=torch.Generator().manual_seed(0))
    targets = (x[..., :1] > 0).float()
    settings = variant(training={"optimizer": {"name": "adam", "lr": 0.05}}).training
    loss = nn.functional.binary_cross_entropy_with_logits
    before = loss(stack(x), targets).item()
    train_on, logits, *_ = steps.functions(stack, settings)
    rows, chosen = own_rows(x, targets)
    with torch.no_grad():
        for _ in range(20):
            train_on(Block(rows, chosen))
    torch.testing.assert_close(logits(rows, chosen), stack(x))
    assert loss(stack(x), targets).item() < before / 2


@pytest.mark.parametrize("network", [{}, {"batch_norm": True}, {"hidden_dropout": 0.4}])
def test_autograd_trains_the_same_models_as_the_compiled_step(
    network: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU does, on the CPU: equal but for rounding."""
    toy = chunk(variant(network=network, training={"epochs": 3}), dataset())
    compiled = train(toy, dataset())
    monkeypatch.setattr(kernels, "functions", None)
    monkeypatch.setattr(steps, "is_compiled", lambda stack: False)
    assert_close(compiled, train(toy, dataset()), rtol=1e-4, atol=1e-5)


def assert_close(found: list[Trained], expected: list[Trained], rtol: float, atol: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.held_out, other.held_out, rtol=rtol, atol=atol)


def test_losses_are_torchs_own() -> None:
    functional = torch.nn.functional
    logits, targets = torch.randn(3, 7, 4), torch.randint(0, 4, (3, 7))
    expected = functional.cross_entropy(logits.view(-1, 4), targets.view(-1), reduction="none")
    one_hot = functional.one_hot(targets, 4).float()
    torch.testing.assert_close(steps.losses(logits, one_hot, "cross_entropy").view(-1), expected)
    single, y = torch.randn(3, 7, 1), torch.randint(0, 2, (3, 7, 1)).float()
    expected = functional.binary_cross_entropy_with_logits(single, y, reduction="none")
    torch.testing.assert_close(steps.losses(single, y, "cross_entropy"), expected.squeeze(-1))
    expected = functional.mse_loss(torch.sigmoid(single), y, reduction="none")
    torch.testing.assert_close(steps.losses(single, y, "squared_error"), expected.squeeze(-1))


def own_rows(x: Tensor, targets: Tensor) -> tuple[Rows, Tensor]:
    """Data of which every model takes its own part (F, m, C), as it is."""
    models, size, features = x.shape
    same, every = torch.ones(models, features), torch.arange(models * size)
    rows = Rows(x.flatten(0, 1), targets.flatten(0, 1), every, same * 0, same, every)
    return rows, every.view(models, size)


def test_blocks_are_cut_into_batches() -> None:
    """With the features rescaled and dropped out, and every unit's mask."""
    x, targets = torch.arange(2 * 17 * 3.0).view(2, 17, 3), torch.zeros(2, 17, 1)
    rows, chosen = own_rows(x, targets)
    dropped = torch.arange(3.0).expand(2, 17, 3)
    block = Block(rows, chosen, dropped, mask=torch.ones(2, 17, 4))
    found: list[Batch] = []
    steps.batchwise(found.append, 5)(block)
    assert [batch.x.shape[1] for batch in found] == [5, 5, 5, 2]
    assert [batch.mask.shape for batch in found if batch.mask is not None][-1] == (2, 2, 4)
    assert torch.equal(torch.cat([batch.x for batch in found], dim=1), x * dropped)
    assert torch.equal(
        torch.cat([b.x for b in block.part(3, 9).batches(4)], 1), (x * dropped)[:, 3:9]
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_the_same_models() -> None:
    toy = chunk(variant(network={"batch_norm": True}), dataset())
    here, there = train(toy, dataset(), "cpu"), train(toy, dataset(), "cuda")
    assert_close(here, there, rtol=1e-3, atol=1e-4)
