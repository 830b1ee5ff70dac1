"""Run the chunks of a variant: in local processes, one thread each.

A chunk's result depends on the chunk alone, never on the number of workers or on their order.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from foldwise.core.errors import ConfigError, TrainingError
from foldwise.datasets.prepared import Dataset
from foldwise.numerics import kernels
from foldwise.numerics.training import Chunk, Recorded, Trained, train

_worker: dict[str, Any] = {}  # what a worker process was given when it started


def run_chunks(
    chunks: Sequence[Chunk],
    dataset: Dataset,
    device: str = "cpu",
    environ: Mapping[str, str] = os.environ,
    record: Callable[[Recorded], object] = lambda recorded: None,
) -> list[Trained]:
    """Train every chunk; results in the order of `chunks`.

    FOLDWISE_WORKERS sets the number of processes (default: the cores this process may use). On a
    GPU all chunks run in this process. `record` is called in this process, as `training.train`
    calls it. BLAS has one thread in this process from then on.

    Raises:
        TrainingError: a model diverged, or a worker died.
        ConfigError: FOLDWISE_WORKERS has a bad value.
    """
    workers = min(worker_count(environ), len(chunks)) if device == "cpu" else 1
    if device == "cpu":
        threadpool_limits(1)  # for good: after a fork, a call to change it starts idle threads
        kernels.prepare([torch.from_numpy(dataset.X[:0]).dtype])  # once, for all workers
    name = chunks[0].variant.name
    total = sum(len(c.splits) for c in chunks) * chunks[0].variant.training.epochs
    with tqdm(total=total, desc=f"train {name}", unit="model-epoch", mininterval=0.5) as bar:
        if workers == 1:
            return [_train_here(chunk, dataset, device, bar.update, record) for chunk in chunks]
        return _train_in_processes(chunks, dataset, workers, bar.update, record)


def worker_count(environ: Mapping[str, str]) -> int:
    """FOLDWISE_WORKERS, or the number of cores that this process may use.

    Raises:
        ConfigError: the variable is not a whole number above 0.
    """
    value = environ.get("FOLDWISE_WORKERS", "")
    if not value:
        return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if not value.isdigit() or int(value) < 1:
        raise ConfigError(f"FOLDWISE_WORKERS: '{value}' is not a whole number above 0")
    return int(value)


def choose_device(environ: Mapping[str, str]) -> str:
    """FOLDWISE_DEVICE as "cpu" or "cuda"; `auto` takes a GPU where there is one and says so.

    Raises:
        ConfigError: the variable has another value.
        TrainingError: `cuda` without a usable GPU.
    """
    value = environ.get("FOLDWISE_DEVICE", "auto")
    if value not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"FOLDWISE_DEVICE: '{value}' is none of auto, cpu, cuda")
    if value == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "FOLDWISE_DEVICE=cuda, but torch finds no usable GPU; use FOLDWISE_DEVICE=cpu or auto"
        )
    if value == "auto" and torch.cuda.is_available():
        print("device: cuda (FOLDWISE_DEVICE=cpu trains on the CPU)", file=sys.stderr)  # noqa: T201
        return "cuda"
    return "cuda" if value == "cuda" else "cpu"


def _train_here(
    chunk: Chunk,
    dataset: Dataset,
    device: str,
    progress: Callable[[int], object],
    record: Callable[[Recorded], object],
) -> Trained:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums in another order would differ in bits
    try:
        return train(chunk, dataset, device, progress, record)
    finally:
        torch.set_num_threads(threads)


def _train_in_processes(
    chunks: Sequence[Chunk],
    dataset: Dataset,
    workers: int,
    progress: Callable[[int], object],
    record: Callable[[Recorded], object],
) -> list[Trained]:
    """Longest chunks first, so that the workers finish together."""
    start = _start_method()
    context = multiprocessing.get_context(start)
    ticks = context.SimpleQueue()
    results: dict[int, Trained] = {}
    order = sorted(range(len(chunks)), key=lambda i: _cost(chunks[i]), reverse=True)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (dataset, ticks, start))
    ended = threading.Event()
    reader = threading.Thread(target=_drain, args=(ticks, ended, progress, record), daemon=True)
    try:
        futures = {pool.submit(_train_in_worker, chunks[i]): i for i in order}
        reader.start()
        for future in as_completed(futures):
            results[futures[future]] = future.result()
    except BrokenProcessPool:
        raise TrainingError(
            "a worker process died (killed, or out of memory): run the same command again, "
            "with fewer workers (FOLDWISE_WORKERS=1) if memory is short"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ended.set()  # not a message: a worker that was killed while it wrote one holds the queue
        reader.join(timeout=5)
    return [results[i] for i in range(len(chunks))]


def _start_method() -> str:
    """How workers start: as copies of this process, which is quick, if autograd works in a copy.

    It does not once it has threads of its own here, as with a GPU or after `torch.export`:
    https://github.com/pytorch/pytorch/wiki/Autograd-and-Fork
    """
    if sys.platform != "linux":
        return "spawn"
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            if (thread / "comm").read_text().startswith("pt_autograd"):
                return "spawn"
    return "fork"


def _cost(chunk: Chunk) -> int:
    return len(chunk.splits) * len(chunk.splits[0].train)


def _drain(
    ticks: Any,
    ended: threading.Event,
    progress: Callable[[int], object],
    record: Callable[[Recorded], object],
) -> None:
    """Pass on what the workers say, until they have ended and all of it is passed on."""
    while not (ended.is_set() and ticks.empty()):
        if ticks.empty():
            ended.wait(0.02)
            continue
        tick = ticks.get()
        if isinstance(tick, Recorded):
            record(tick)
        else:
            progress(tick)


def _start_worker(dataset: Dataset, ticks: Any, start: str) -> None:
    torch.set_num_threads(1)
    if start == "spawn":
        threadpool_limits(1)
    _worker.update(dataset=dataset, ticks=ticks)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this worker when its parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _train_in_worker(chunk: Chunk) -> Trained:
    tell = _worker["ticks"].put
    return train(chunk, _worker["dataset"], "cpu", tell, tell)
