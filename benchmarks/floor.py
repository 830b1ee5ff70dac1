"""The least time a training step can take on a machine, from its operations and its bytes.

A phase takes at least flops / peak and at least bytes / bandwidth; phases follow each other. Peak
and bandwidth are measured in the same run (`limits`): a large matrix product, and copies of three
sizes. It leaves out activations, losses and the start of every kernel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.measuring import Runs
from benchmarks.protocol import CIFAR_BATCH, CIFAR_WIDTHS, EPOCHS, SONAR_BATCH, SONAR_WIDTHS
from benchmarks.summary import fact, times

# Per parameter: numbers of 4 bytes that an optimizer step reads and writes, and its operations.
# SGD with momentum: reads and writes p and v; Adam: p, m and s. A gradient can be used where it is
# made, so it need not travel.
OPTIMIZERS = {"sgd": (4, 4), "adam": (6, 12)}


@dataclass(frozen=True)
class Phase:
    """Operations and bytes moved of a part of a step of one model."""

    flops: float
    bytes: float

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """Whichever of the two takes longer."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)


def parameters(widths: tuple[int, ...]) -> int:
    """Weights and biases."""
    return sum((a + 1) * b for a, b in pairwise(widths))


def phases(widths: tuple[int, ...], rows: int, optimizer: str, row_bytes: int) -> dict[str, Phase]:
    """Forward, backward and optimizer of one step of one model.

    Only matrix products and the optimizer count; activations stay in registers and first-level
    cache. Forward reads every weight and the batch; backward reads the weights of all layers but
    the first.

    Args:
        widths: of the layers, input and output included.
        rows: in a batch.
        optimizer: "sgd" or "adam".
        row_bytes: of one row of the data as stored.
    """
    weights = [a * b for a, b in pairwise(widths)]
    numbers, operations = OPTIMIZERS[optimizer]
    every, later, p = sum(weights), sum(weights[1:]), parameters(widths)
    return {
        "forward": Phase(2.0 * rows * every, 4.0 * every + rows * row_bytes),
        "backward": Phase(2.0 * rows * (every + later), 4.0 * later),
        "optimizer": Phase(float(operations * p), 4.0 * numbers * p),
    }


def step_seconds(
    step: Mapping[str, Phase], flops_per_second: float, bytes_per_second: float
) -> float:
    """The floor of one step of one model."""
    return sum(phase.seconds(flops_per_second, bytes_per_second) for phase in step.values())


# --- the table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is trained: name, variant, step, steps per unit, the copy whose bandwidth counts.

    The state of a stack of Sonar networks fits the second-level cache, that of a CIFAR-10 network
    does not; `limits` copies as many bytes.
    """

    text: str
    variant: str
    step: Mapping[str, Phase]
    steps: int
    copy: str


@dataclass(frozen=True)
class Floor:
    """A line of the table.

    Attributes:
        text: what is trained and on what.
        flops: operations per model or step.
        bytes: bytes moved likewise.
        floor: milliseconds.
        found: milliseconds that foldwise takes, where measured.
    """

    text: str
    flops: float
    bytes: float
    floor: float
    found: float | None


SONAR_CASE = Case(
    "Sonar baseline, a model",
    "sonar-baseline",
    phases(SONAR_WIDTHS, SONAR_BATCH, "sgd", row_bytes=4 * SONAR_WIDTHS[0]),
    EPOCHS * 12,  # batches of 16 from 187 or 188 rows
    "cache",
)
CIFAR_CASE = Case(
    "CIFAR-10 plain, a step",
    "cifar10-plain",
    phases(CIFAR_WIDTHS, CIFAR_BATCH, "adam", row_bytes=CIFAR_WIDTHS[0]),
    1,
    "state",
)


def floors(runs: Runs) -> list[Floor]:
    """Sonar and CIFAR-10, on one core and on all; empty where the machine was not measured."""
    if fact(runs, "machine", "one_core_flops") is None:
        return []
    return [
        _floor(runs, "one_core", SONAR_CASE, "foldwise-sonar-one-core"),
        _floor(runs, "all_cores", SONAR_CASE, "foldwise-sonar-10"),
        _floor(runs, "one_core", CIFAR_CASE, "foldwise-cifar-one-core"),
        _floor(runs, "all_cores", CIFAR_CASE, "foldwise-cifar"),
    ]


def _floor(runs: Runs, share: str, case: Case, contender: str) -> Floor:
    peak = fact(runs, "machine", f"{share}_flops") or 1.0
    bandwidth = fact(runs, "machine", f"{share}_{case.copy}") or 1.0
    found = times(runs, contender, case.variant)
    return Floor(
        text=f"{case.text}, {share.replace('_', ' ')}",
        flops=case.steps * sum(phase.flops for phase in case.step.values()),
        bytes=case.steps * sum(phase.bytes for phase in case.step.values()),
        floor=1000 * case.steps * step_seconds(case.step, peak, bandwidth),
        found=found.median if found else None,
    )
