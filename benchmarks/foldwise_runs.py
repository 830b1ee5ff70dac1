"""foldwise itself: the path that `pipeline/train.py` takes, and the engine alone on one core."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from threadpoolctl import threadpool_limits

from benchmarks import workloads
from benchmarks.measuring import Outcome, Sample, Size, SkipError, timed
from benchmarks.protocol import CIFAR, CIFAR_BATCH, EPOCHS, SONAR
from foldwise.core import config
from foldwise.core.config import Variant
from foldwise.core.environment import Environment
from foldwise.datasets.prepared import Dataset
from foldwise.engine import cross_validation
from foldwise.engine.learners import Learner, learner_of
from foldwise.engine.mlp import Chunk
from foldwise.engine.store import Store
from foldwise.numerics.split import Split
from foldwise.results.runs import Run
from foldwise.splits import splits_of

NO_DIGEST = "0" * 64  # nothing here is compared with a file


def cross_validate(
    variant: Variant, data: Dataset, environment: Environment, store: Store | None = None
) -> Run:
    """The whole path: plan, worker processes, evaluation, tables; `refit` included."""
    table = workloads.table(variant, data)
    return cross_validation.cross_validate(
        variant, data, table, NO_DIGEST, environment, store=store
    )


def sonar(size: Size, repeats: int) -> Outcome:
    """3 variants × (10 folds × repeats, and refit), every core."""
    data, runs = workloads.sonar(), Runs(Environment.read())
    runs.warm_up(workloads.sonar_variant("sonar-baseline", 2), data)
    models = (10 * repeats + 1) * size.epochs / EPOCHS
    for name in SONAR:
        variant = workloads.sonar_variant(name, size.epochs, repeats)
        runs.take(f"{name}/{10 * repeats}", models, variant, data)
    return runs.outcome()


def cifar(size: Size) -> Outcome:
    """2 variants × (5 folds and refit), one epoch with its evaluations, every core."""
    runs = Runs(Environment.read())
    runs.warm_up(workloads.cifar_variant("cifar10-plain"), workloads.cifar(400))
    data = workloads.cifar(size.rows)
    for name in CIFAR:
        variant = workloads.cifar_variant(name)
        plan = splits_of(workloads.table(variant, data))
        steps = sum(-(-len(split.train) // CIFAR_BATCH) for split in plan)
        runs.take(name, steps, variant, data)
    return runs.outcome()


def sonar_more(size: Size) -> Outcome:
    """3 variants: CPU seconds of 10 repeats, from nothing and where 5 are in the store."""
    data, environment = workloads.sonar(), Environment.read()
    cross_validate(workloads.sonar_variant("sonar-baseline", 2), data, environment)

    def seconds(repeats: int, store: Store) -> float:
        begun = _cpu_seconds()
        for name in SONAR:
            variant = workloads.sonar_variant(name, size.epochs, repeats)
            cross_validate(variant, data, environment, store)
        return _cpu_seconds() - begun

    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        whole = seconds(10, Store(Path(one)))
        seconds(5, half := Store(Path(other)))
        return Outcome(facts={"all_ten_cpu": whole, "five_more_cpu": seconds(10, half)})


def _cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    return sum(os.times()[:4])


class Runs:
    """Timed runs, and the memory of the largest of their processes."""

    def __init__(self, environment: Environment):
        self._environment = environment
        self._samples: list[Sample] = []
        self._peak = 0

    def warm_up(self, variant: Variant, data: Dataset) -> None:
        """Run without the clock: the first calls of a process are slow."""
        cross_validate(variant, data, self._environment)

    def take(self, workload: str, count: float, variant: Variant, data: Dataset) -> None:
        """Time a run."""
        started, clock = time.time(), time.perf_counter()
        run = cross_validate(variant, data, self._environment)
        seconds = time.perf_counter() - clock
        self._peak = max(self._peak, run.facts.peak_memory_bytes or 0)
        last = run.history[(run.history.fold >= 0) & (run.history.epoch == variant.training.epochs)]
        accuracies = last.validation_accuracy.head(10).tolist()
        self._samples.append(Sample(workload, seconds, count, started, accuracies))

    def outcome(self) -> Outcome:
        """All of them."""
        return Outcome(self._samples, facts={"peak_process_bytes": float(self._peak)})


# --- one core ---------------------------------------------------------------------------------


def sonar_one_core(size: Size) -> Outcome:
    """The learner on the chunks of 10 folds × 10 repeats, one after the other."""
    data, samples = workloads.sonar(), []
    for name in SONAR:
        variant = workloads.sonar_variant(name, size.epochs, repeats=10)
        plan = workloads.plan(variant, data)
        models = len(plan) * size.epochs / EPOCHS
        samples.append(timed(f"{name}/100", models, _training(variant, plan, data)))
    return Outcome(samples)


def cifar_one_core(size: Size) -> Outcome:
    """The learner on one split for an epoch, evaluations included."""
    data, samples = workloads.cifar(size.rows), []
    for name in CIFAR:
        variant = workloads.cifar_variant(name)
        split = workloads.plan(variant, data)[0]
        steps = len(split.train) // CIFAR_BATCH
        samples.append(timed(name, steps, _training(variant, [split], data)))
    return Outcome(samples)


def _training(variant: Variant, plan: Sequence[Split], data: Dataset) -> "partial[None]":
    """The training of a plan in this process, ready to start."""
    torch.set_num_threads(1)
    learner = learner_of(variant)
    learner.prepare("cpu")
    return partial(_train, learner, learner.plan(plan, data, "cpu"), data)


def _train(learner: Learner, chunks: Sequence[Chunk], data: Dataset) -> None:
    with threadpool_limits(1):
        for chunk in chunks:
            learner.train(chunk, data, "cpu", lambda said: None)


# --- a GPU ------------------------------------------------------------------------------------


def gpu(size: Size) -> Outcome:
    """Every variant of params.yaml on the GPU, a variant at a time.

    Raises:
        SkipError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise SkipError("no GPU")
    runs = Runs(replace(Environment.read(), device="cuda"))
    data = {"sonar": workloads.sonar(), "cifar10": workloads.cifar(size.rows)}
    torch.zeros(1, device="cuda")  # the driver's own start
    for variant in config.load().resolved.values():
        if variant.dataset in data:
            runs.take(variant.name, 1, variant, data[variant.dataset])
    return runs.outcome()
