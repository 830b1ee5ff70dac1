"""foldwise itself: the path that `pipeline/train.py` takes, and the engine alone on one core."""

import os
import time
from collections.abc import Callable
from functools import partial

import torch
from threadpoolctl import threadpool_limits

from benchmarks import workloads
from benchmarks.measuring import Outcome, Sample, Size, SkipError, timed
from benchmarks.protocol import CIFAR, CIFAR_BATCH, EPOCHS, SONAR
from foldwise.core import config
from foldwise.core.config import Variant
from foldwise.datasets.prepared import Dataset
from foldwise.engine import cross_validation
from foldwise.numerics import kernels, training
from foldwise.results import RunFiles
from foldwise.splits import splits

NO_DIGEST = "0" * 64  # nothing here is compared with a file


def cross_validate(variant: Variant, data: Dataset) -> RunFiles:
    """The whole path: plan, worker processes, evaluation, tables; `refit` included."""
    table = workloads.table(variant, data)
    return cross_validation.cross_validate(variant, data, table, NO_DIGEST)


def sonar(size: Size, repeats: int) -> Outcome:
    """3 variants × (10 folds × repeats, and refit), every core."""
    data = workloads.sonar()
    cross_validate(workloads.sonar_variant("sonar-baseline", 2), data)  # first calls are slow
    peak = {"peak_process_bytes": 0.0}
    samples = [_sonar_sample(name, data, size, repeats, peak) for name in SONAR]
    return Outcome(samples, facts=peak)


def _sonar_sample(
    name: str, data: Dataset, size: Size, repeats: int, peak: dict[str, float]
) -> Sample:
    variant = workloads.sonar_variant(name, size.epochs, repeats)
    models = (10 * repeats + 1) * size.epochs / EPOCHS
    return _timed_run(f"{name}/{10 * repeats}", models, variant, data, peak)


def cifar(size: Size) -> Outcome:
    """2 variants × (5 folds and refit), one epoch with its evaluations, every core."""
    cross_validate(workloads.cifar_variant("cifar10-plain"), workloads.cifar(400))
    data = workloads.cifar(size.rows)
    peak = {"peak_process_bytes": 0.0}
    samples = []
    for name in CIFAR:
        variant = workloads.cifar_variant(name)
        plan = splits(workloads.table(variant, data))
        steps = sum(-(-len(split.train) // CIFAR_BATCH) for split in plan)
        samples.append(_timed_run(name, steps, variant, data, peak))
    return Outcome(samples, facts=peak)


def _timed_run(
    workload: str, count: float, variant: Variant, data: Dataset, peak: dict[str, float]
) -> Sample:
    """Time a run; `peak` keeps the memory of the largest process so far."""
    started, clock = time.time(), time.perf_counter()
    run = cross_validate(variant, data)
    seconds = time.perf_counter() - clock
    used = float(run.facts["peak_memory_bytes"])
    peak["peak_process_bytes"] = max(peak["peak_process_bytes"], used)
    last = run.history[(run.history.fold >= 0) & (run.history.epoch == variant.training.epochs)]
    return Sample(workload, seconds, count, started, last.validation_accuracy.head(10).tolist())


# --- one core ---------------------------------------------------------------------------------


def sonar_one_core(size: Size) -> Outcome:
    """`training.train` on the chunks of 10 folds × 10 repeats, one after the other."""
    torch.set_num_threads(1)
    data = workloads.sonar()
    kernels.prepare()
    samples = []
    for name in SONAR:
        variant = workloads.sonar_variant(name, size.epochs, repeats=10)
        plan = workloads.plan(variant, data)
        models = len(plan) * size.epochs / EPOCHS
        chunks = cross_validation.plan_chunks(variant, plan, data)
        samples.append(timed(f"{name}/100", models, partial(_train_all, chunks, data)))
    return Outcome(samples)


def _train_all(chunks: list[training.Chunk], data: Dataset) -> None:
    with threadpool_limits(1):
        for chunk in chunks:
            training.train(chunk, data)


def cifar_one_core(size: Size) -> Outcome:
    """`training.train` on one split for an epoch, evaluations included."""
    torch.set_num_threads(1)
    data = workloads.cifar(size.rows)
    kernels.prepare()
    samples = []
    for name in CIFAR:
        variant = workloads.cifar_variant(name)
        split = workloads.plan(variant, data)[0]
        steps = len(split.train) // CIFAR_BATCH
        chunk = training.Chunk(variant, (split,))
        samples.append(timed(name, steps, partial(_train_all, [chunk], data)))
    return Outcome(samples)


# --- a GPU ------------------------------------------------------------------------------------


def gpu(size: Size) -> Outcome:
    """Every variant of params.yaml on the GPU, a variant at a time.

    Raises:
        SkipError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise SkipError("no GPU")
    os.environ["FOLDWISE_DEVICE"] = "cuda"
    data = {"sonar": workloads.sonar(), "cifar10": workloads.cifar(size.rows)}
    variants = [v for v in config.load().resolved.values() if v.dataset in data]
    torch.zeros(1, device="cuda")  # the driver's own start
    runs = {v.name: partial(cross_validate, v, data[v.dataset]) for v in variants}
    return Outcome([timed(name, 1, partial(_silent, run)) for name, run in runs.items()])


def _silent(run: Callable[[], RunFiles]) -> None:
    run()
