"""The same models trained by other tools. A tool that is not installed is skipped, with the reason.

Each is written the way that suits it best. What it cannot do (scikit-learn knows neither Dropout
nor BatchNorm) is left out and said in the table. JAX has its own module, `jax_scan`.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import workloads
from benchmarks.measuring import Outcome, Sample, Size, SkipError, timed
from benchmarks.notebook_loops import PictureModel, SonarModel
from benchmarks.parallel import in_processes
from benchmarks.protocol import (
    CIFAR,
    CIFAR_BATCH,
    CIFAR_RATE,
    EPOCHS,
    SEED,
    SONAR,
    SONAR_BATCH,
    SONAR_MOMENTUM,
    SONAR_RATE,
)
from foldwise.datasets.prepared import Dataset
from foldwise.numerics.split import Split


def need(package: str) -> Any:
    """Import an optional package.

    Raises:
        SkipError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise SkipError(f"{package} is not installed: pip install -e '.[bench]'")
    return importlib.import_module(package)


# --- PyTorch, tuned ---------------------------------------------------------------------------


def plain_cifar(size: Size, processes: int) -> Outcome:
    """Data in one tensor, fused Adam, autograd: one model per core."""
    samples = []
    for name in CIFAR:
        together = in_processes(partial(_plain_setup, name, size), processes)
        steps = sum(together.results)
        samples.append(Sample(name, together.seconds, steps, together.started))
    return Outcome(samples)


def _plain_setup(name: str, size: Size, index: int) -> Callable[[], int]:
    torch.set_num_threads(1)
    torch.manual_seed(SEED + index)
    data = workloads.cifar(size.rows)
    X = torch.from_numpy(data.X).flatten(1).float().div_(data.scale)
    return partial(_plain_epoch, PictureModel(**CIFAR[name]), X, torch.from_numpy(data.y), size)


def _plain_epoch(model: nn.Module, X: Tensor, y: Tensor, size: Size) -> int:
    """At most ten times the slow loops' steps of one epoch; their number."""
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=CIFAR_RATE, fused=True)
    batches = torch.split(torch.randperm(len(X)), CIFAR_BATCH)[: 10 * size.steps]
    for rows in batches:
        optimizer.zero_grad()
        loss_function(model(X[rows]), y[rows]).backward()
        optimizer.step()
    return len(batches)


# --- torch.func -------------------------------------------------------------------------------


def vmap_sonar(size: Size, repeats: int) -> Outcome:
    """`vmap(grad)` over stacked parameters, all splits at once, one SGD step by hand."""
    data = workloads.sonar()
    samples = []
    for name in SONAR:
        variant = workloads.sonar_variant(name, size.epochs, repeats)
        plan = workloads.plan(variant, data)
        run = partial(_vmap_train, name, data, plan, size.epochs)
        samples.append(timed(f"{name}/{len(plan)}", len(plan) * size.epochs / EPOCHS, run))
    return Outcome(samples)


def _vmap_train(name: str, data: Dataset, plan: list[Split], epochs: int) -> list[float]:
    torch.manual_seed(SEED)
    model = SonarModel(**SONAR[name])
    parameters, _ = torch.func.stack_module_state([model] * len(plan))
    velocity = {key: torch.zeros_like(p) for key, p in parameters.items()}
    step = torch.func.vmap(torch.func.grad(partial(_weighted_loss, model)), randomness="different")
    batches = _padded_batches(data, plan)
    for _ in range(epochs):
        for x, y, weight in batches:
            gradient = step(parameters, x, y, weight)
            with torch.no_grad():
                for key, p in parameters.items():
                    velocity[key].mul_(SONAR_MOMENTUM).add_(gradient[key])
                    p.sub_(velocity[key], alpha=SONAR_RATE)
    return _vmap_accuracies(model.eval(), parameters, data, plan)


def _weighted_loss(
    model: nn.Module, parameters: dict[str, Tensor], x: Tensor, y: Tensor, weight: Tensor
) -> Tensor:
    p = torch.func.functional_call(model, parameters, (x,))
    return nn.functional.binary_cross_entropy(p, y, weight, reduction="sum") / weight.sum()


def padded_rows(plan: list[Split], batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows (F, steps, B), row 0 where a split has fewer, and weights 1 or 0 likewise."""
    steps = max(-(-len(split.train) // batch_size) for split in plan)
    rows = np.zeros((len(plan), steps * batch_size), dtype=np.int64)
    weight = np.zeros(rows.shape, dtype=np.float32)
    for i, split in enumerate(plan):
        rows[i, : len(split.train)] = split.train
        weight[i, : len(split.train)] = 1
    shape = (len(plan), steps, batch_size)
    return rows.reshape(shape), weight.reshape(shape)


def _padded_batches(data: Dataset, plan: list[Split]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each step: x (F, B, 60), y (F, B, 1), weight (F, B, 1)."""
    rows, weight = padded_rows(plan, SONAR_BATCH)
    x = torch.from_numpy(data.X[rows]).transpose(0, 1).contiguous()
    y = torch.from_numpy(data.y[rows]).float().unsqueeze(-1).transpose(0, 1).contiguous()
    w = torch.from_numpy(weight).unsqueeze(-1).transpose(0, 1).contiguous()
    return list(zip(x, y, w, strict=True))


def _vmap_accuracies(
    model: nn.Module, parameters: dict[str, Tensor], data: Dataset, plan: list[Split]
) -> list[float]:
    found = []
    for i, split in enumerate(plan):
        own = {key: p[i] for key, p in parameters.items()}
        p = torch.func.functional_call(model, own, (torch.from_numpy(data.X[split.held_out]),))
        right = (p.squeeze(-1) > 0.5).numpy() == (data.y[split.held_out] == 1)
        found.append(float(right.mean()))
    return found


# --- scikit-learn -----------------------------------------------------------------------------


def sklearn_sonar(size: Size) -> Outcome:
    """`MLPClassifier` in `cross_val_score`: the baseline alone; its own initial weights."""
    from sklearn.model_selection import cross_val_score

    data = workloads.sonar()
    plan = workloads.plan(workloads.sonar_variant("sonar-baseline", size.epochs), data)
    folds = [(split.train, split.held_out) for split in plan]

    def run(epochs: int) -> list[float]:
        model = _mlp(
            hidden_layer_sizes=(60, 30), solver="sgd", learning_rate_init=SONAR_RATE,
            momentum=SONAR_MOMENTUM, nesterovs_momentum=False, batch_size=SONAR_BATCH,
            max_iter=epochs, shuffle=False,
        )  # fmt: skip
        return list(cross_val_score(model, data.X, data.y, cv=folds, n_jobs=-1))

    run(1)  # its worker processes start
    work = partial(run, size.epochs)
    return Outcome([timed("sonar-baseline/10", 10 * size.epochs / EPOCHS, work)])


def sklearn_cifar(size: Size) -> Outcome:
    """`MLPClassifier` for one epoch over some rows: the plain network alone."""
    data = workloads.cifar(size.scikit_rows)
    X = (data.X.reshape(len(data.X), -1) / np.float32(data.scale)).astype(np.float32)
    model = _mlp(
        hidden_layer_sizes=(64, 32), solver="adam", learning_rate_init=CIFAR_RATE,
        batch_size=CIFAR_BATCH, max_iter=1,
    )  # fmt: skip
    return Outcome([timed("cifar10-plain", len(X) // CIFAR_BATCH, lambda: model.fit(X, data.y))])


def _mlp(**settings: Any) -> Any:
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    always = {"activation": "relu", "alpha": 0.0, "tol": 0.0, "n_iter_no_change": 10**6}
    return MLPClassifier(random_state=SEED, **always, **settings)


# --- skorch -----------------------------------------------------------------------------------


def skorch_sonar(size: Size) -> Outcome:
    """`NeuralNetBinaryClassifier` in `cross_validate`, a process per core."""
    skorch = need("skorch")
    data = workloads.sonar()
    plan = workloads.plan(workloads.sonar_variant("sonar-baseline", 1), data)[: 2 * size.folds]
    run = partial(_skorch_scores, skorch, data, plan)
    run(1, "sonar-baseline")  # its worker processes start
    count = len(plan) * size.epochs / EPOCHS
    return Outcome([timed(name, count, partial(run, size.epochs, name)) for name in SONAR])


def _skorch_scores(
    skorch: Any, data: Dataset, plan: list[Split], epochs: int, name: str
) -> list[float]:
    from sklearn.model_selection import cross_validate

    net = skorch.NeuralNetBinaryClassifier(
        partial(_FlatSonar, **SONAR[name]), criterion=nn.BCELoss, optimizer=torch.optim.SGD,
        optimizer__momentum=SONAR_MOMENTUM, lr=SONAR_RATE, batch_size=SONAR_BATCH,
        max_epochs=epochs, train_split=None, verbose=0,
    )  # fmt: skip
    folds = [(split.train, split.held_out) for split in plan]
    y = data.y.astype(np.float32)
    found = cross_validate(net, data.X, y, cv=folds, n_jobs=-1, scoring="accuracy")
    return list(found["test_score"])


class _FlatSonar(SonarModel):
    """skorch's binary classifier expects outputs (B,)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(-1)


def skorch_cifar(size: Size) -> Outcome:
    """`NeuralNetClassifier.partial_fit` for one epoch over some rows."""
    skorch = need("skorch")
    data = workloads.cifar(size.scikit_rows)
    X = data.X.astype(np.float32) / np.float32(data.scale)
    samples = []
    for name in CIFAR:
        net = skorch.NeuralNetClassifier(
            partial(PictureModel, **CIFAR[name]), criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam, lr=CIFAR_RATE, batch_size=CIFAR_BATCH, max_epochs=1,
            train_split=None, verbose=0, iterator_train__shuffle=True,
        ).initialize()  # fmt: skip
        run = partial(net.partial_fit, X, data.y)
        samples.append(timed(name, len(X) // CIFAR_BATCH, run))
    return Outcome(samples)
