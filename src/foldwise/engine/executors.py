"""Run the chunks of a variant in local processes, one thread each.

A split's result depends neither on the number of workers nor on their order. To add an executor,
for a cluster say, write a function like `run_chunks`.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from foldwise.core.environment import Environment
from foldwise.core.errors import TrainingError
from foldwise.core.processes import exit_with_parent
from foldwise.engine.learners import Learner
from foldwise.numerics.inputs import Data
from foldwise.numerics.outcomes import Recorded, Trained
from foldwise.numerics.split import Split

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
Chunk = tuple[Split, ...]
Progress = Callable[[int], object]
Record = Callable[[Recorded], object]
News = int | Recorded  # from a worker: for `progress`, or for `record`


@dataclass(frozen=True)
class _Worker:
    """What a worker process was given when it started."""

    learner: Learner
    data: Data
    news: "SimpleQueue[News]"

    def train(self, chunk: Chunk) -> list[Trained]:
        return self.learner.train(chunk, self.data, "cpu", self.news.put, self.news.put)


_worker: _Worker


def run_chunks(
    learner: Learner,
    chunks: Sequence[Chunk],
    data: Data,
    device: str,
    workers: int,
    record: Record = lambda recorded: None,
) -> list[Trained]:
    """Train every chunk; the results of all splits, in the order of `chunks`.

    On a GPU all chunks run in this process. On a CPU, BLAS and OpenMP keep to one thread
    afterwards (see `limit_threads`).

    Args:
        learner: trains each of them.
        chunks: each a tuple of splits that train together.
        data: raw arrays.
        device: "cpu" or "cuda".
        workers: the largest number of processes.
        record: called in this process, when `Learner.train` calls it in a worker.

    Raises:
        DivergedError: the loss of a model is no longer finite.
        TrainingError: a worker died.
    """
    if device == "cpu":
        limit_threads()
    learner.prepare(data, device)
    name, epochs = learner.variant.name, learner.variant.training.epochs
    total = sum(map(len, chunks)) * epochs
    with tqdm(total=total, desc=f"train {name}", unit="model-epoch", mininterval=0.5) as bar:
        if device == "cpu" and min(workers, len(chunks)) > 1:
            pool = min(workers, len(chunks))
            return _train_in_processes(learner, chunks, data, pool, bar.update, record)
        return _train_here(learner, chunks, data, device, bar.update, record)


def limit_threads() -> None:
    """Give every BLAS and OpenMP pool of this process and of its children one thread.

    With two, small products take several times the CPU time. Libraries that are loaded later read
    the environment. The limit stays: to raise it after a fork would start idle threads.
    """
    os.environ.update(dict.fromkeys(THREADS, "1"))
    threadpool_limits(1)


def choose_device(environment: Environment) -> str:
    """What trains, "cpu" or "cuda"; `auto` takes a GPU where there is one and says so.

    Raises:
        TrainingError: `cuda` without a usable GPU.
    """
    if environment.device == "cpu":
        return "cpu"
    there = torch.cuda.is_available()
    if environment.device == "cuda" and not there:
        raise TrainingError(
            "FOLDWISE_DEVICE=cuda, but torch finds no usable GPU; use FOLDWISE_DEVICE=cpu or auto"
        )
    if environment.device == "auto" and there:
        print("device: cuda (FOLDWISE_DEVICE=cpu trains on the CPU)", file=sys.stderr)  # noqa: T201
    return "cuda" if there else "cpu"


def _train_here(
    learner: Learner,
    chunks: Sequence[Chunk],
    data: Data,
    device: str,
    progress: Progress,
    record: Record,
) -> list[Trained]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums in another order would differ in bits
    try:
        return [
            trained
            for chunk in chunks
            for trained in learner.train(chunk, data, device, progress, record)
        ]
    finally:
        torch.set_num_threads(threads)


# --- processes --------------------------------------------------------------------------------


def _train_in_processes(
    learner: Learner,
    chunks: Sequence[Chunk],
    data: Data,
    workers: int,
    progress: Progress,
    record: Record,
) -> list[Trained]:
    """Longest chunks first, so that the workers finish together."""
    context = multiprocessing.get_context(_start_method())
    news: SimpleQueue[News] = context.SimpleQueue()
    results: dict[int, list[Trained]] = {}
    order = sorted(range(len(chunks)), key=lambda i: _cost(chunks[i]), reverse=True)
    given = _Worker(learner, data, news)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (given,))
    ended = threading.Event()
    reader = threading.Thread(target=_drain, args=(news, ended, progress, record), daemon=True)
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
    return [trained for i in range(len(chunks)) for trained in results[i]]


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
    return sum(len(split.train) for split in chunk)


def _drain(
    news: "SimpleQueue[News]", ended: threading.Event, progress: Progress, record: Record
) -> None:
    """Pass on the workers' news until they have ended and none is left."""
    while not (ended.is_set() and news.empty()):
        if news.empty():
            ended.wait(0.02)
            continue
        said = news.get()
        if isinstance(said, Recorded):
            record(said)
        else:
            progress(said)


def _start_worker(given: _Worker) -> None:
    global _worker
    _worker = given
    torch.set_num_threads(1)
    threading.Thread(target=exit_with_parent, daemon=True).start()


def _train_in_worker(chunk: Chunk) -> list[Trained]:
    return _worker.train(chunk)
