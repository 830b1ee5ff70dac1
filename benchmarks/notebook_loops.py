"""The course notebook's two training loops, with the same work in every step.

Sonar: `BCELoss` on a sigmoid output, SGD, batches by slicing, rows in file order, the same seed
before every fold. CIFAR-10: one picture at a time through `ToTensor` in a `DataLoader` with one
worker process, Adam, `loss.item()` in every step. Threads are torch's default, as there.
"""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from benchmarks import workloads
from benchmarks.measuring import Outcome, Sample, Size, timed
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

# --- Sonar ------------------------------------------------------------------------------------


class SonarModel(nn.Module):
    """60 → 60 → 30 → 1 with a sigmoid; dropout on the input or after each hidden layer."""

    def __init__(self, input_dropout: float = 0.0, hidden_dropout: float = 0.0):
        super().__init__()
        self.input_dropout = nn.Dropout(input_dropout) if input_dropout else None
        self.layer1, self.act1 = nn.Linear(60, 60), nn.ReLU()
        self.dropout1 = nn.Dropout(hidden_dropout) if hidden_dropout else None
        self.layer2, self.act2 = nn.Linear(60, 30), nn.ReLU()
        self.dropout2 = nn.Dropout(hidden_dropout) if hidden_dropout else None
        self.output, self.sigmoid = nn.Linear(30, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 60) to the probability of class 1 (B, 1)."""
        if self.input_dropout is not None:
            x = self.input_dropout(x)
        x = self.act1(self.layer1(x))
        if self.dropout1 is not None:
            x = self.dropout1(x)
        x = self.act2(self.layer2(x))
        if self.dropout2 is not None:
            x = self.dropout2(x)
        probability: Tensor = self.sigmoid(self.output(x))
        return probability


def train_sonar(
    model: nn.Module, X: Tensor, y: Tensor, X_held_out: Tensor, y_held_out: Tensor, epochs: int
) -> float:
    """Train on X (n, 60), y (n, 1) and give the accuracy on the held-out rows."""
    loss_function = nn.BCELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=SONAR_RATE, momentum=SONAR_MOMENTUM)
    starts = torch.arange(0, len(X), SONAR_BATCH)
    model.train()
    for _ in range(epochs):
        for start in starts:
            x_batch = X[start : start + SONAR_BATCH]
            y_batch = y[start : start + SONAR_BATCH]
            predicted = model(x_batch)
            loss = loss_function(predicted, y_batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    predicted = model(X_held_out)
    return float((predicted.round() == y_held_out).float().mean())


def sonar_folds(name: str, data: Dataset, folds: int, epochs: int) -> list[float]:
    """Accuracies of the first folds of a variant, one network after the other."""
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y).float().reshape(-1, 1)
    found = []
    for split in workloads.plan(workloads.sonar_variant(name, epochs), data)[:folds]:
        torch.manual_seed(SEED)
        model = SonarModel(**SONAR[name])
        parts = X[split.train], y[split.train], X[split.held_out], y[split.held_out]
        found.append(train_sonar(model, *parts, epochs))
    return found


def sonar(size: Size) -> Outcome:
    """The three Dropout lessons."""
    data = workloads.sonar()
    sonar_folds("sonar-baseline", data, 1, 2)  # the first steps of a process are slow
    count = size.folds * size.epochs / EPOCHS
    runs = {name: partial(sonar_folds, name, data, size.folds, size.epochs) for name in SONAR}
    return Outcome([timed(name, count, run) for name, run in runs.items()])


# --- CIFAR-10 ---------------------------------------------------------------------------------


class Pictures(TorchDataset[tuple[Tensor, int]]):
    """Rows as `torchvision.datasets.CIFAR10` gives them: array → PIL image → transform.

    Args:
        X: (n, 3, 32, 32) uint8.
        y: (n,) class numbers.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray):
        self.data = np.ascontiguousarray(X.transpose(0, 2, 3, 1))
        self.targets = [int(label) for label in y]
        self.transform = transforms.ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Pixels (3, 32, 32) in [0, 1], and the class."""
        picture = Image.fromarray(self.data[row])
        return self.transform(picture), self.targets[row]


class PictureModel(nn.Module):
    """3072 → 64 → 32 → 10, ReLU, with BatchNorm before it where asked for."""

    def __init__(self, batch_norm: bool = False):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in ((32 * 32 * 3, 64), (64, 32)):
            layers.append(nn.Linear(inputs, outputs))
            if batch_norm:
                layers.append(nn.BatchNorm1d(outputs))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 32, 32) to logits (B, 10)."""
        logits: Tensor = self.layers(x)
        return logits


def cifar_steps(model: nn.Module, pictures: Pictures) -> Iterator[float]:
    """Train for one epoch, a step at a time; yields the loss of each."""
    loader = DataLoader(pictures, batch_size=CIFAR_BATCH, shuffle=True, num_workers=1)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=CIFAR_RATE)
    for inputs, targets in loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = loss_function(outputs, targets)
        loss.backward()
        optimizer.step()
        yield loss.item()


def cifar(size: Size) -> Outcome:
    """The BatchNorm lesson, with and without, over a fixed number of steps."""
    data = workloads.cifar()
    pictures = Pictures(data.X, data.y)
    return Outcome([_some_steps(name, pictures, size) for name in CIFAR])


def _some_steps(name: str, pictures: Pictures, size: Size) -> Sample:
    torch.manual_seed(SEED)
    steps = cifar_steps(PictureModel(**CIFAR[name]), pictures)
    for _ in range(size.warm_up):
        next(steps)
    started, clock = time.time(), time.perf_counter()
    for _ in range(size.steps):
        next(steps)
    return Sample(name, time.perf_counter() - clock, size.steps, started)
