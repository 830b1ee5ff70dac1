"""Train chunks in local processes, one thread each.

A split's result depends neither on the number of workers nor on their order. To add an executor,
for a cluster say, write a function like `run_chunks`.
"""

import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from foldwise.core.environment import Environment
from foldwise.core.errors import TrainingError
from foldwise.core.processes import exit_with_parent
from foldwise.engine.learners import Learner
from foldwise.numerics.inputs import Data
from foldwise.numerics.outcomes import DivergedError, Recorded, Trained
from foldwise.numerics.split import Split

if TYPE_CHECKING:
    from foldwise.numerics.checkpoints import Checkpoints

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of WSL, of AMD
Chunk = tuple[Split, ...]
Job = tuple[int, int]  # which work, which of its chunks
News = tuple[int, int | Recorded]  # which work; epochs that models took, or what is recorded


@dataclass(frozen=True)
class Work:
    """The chunks of a variant that are to be trained.

    Attributes:
        learner: trains each of them.
        data: raw arrays.
        chunks: each a tuple of splits that train together.
        checkpoints: of each chunk, or of none.
    """

    learner: Learner
    data: Data
    chunks: Sequence[Chunk]
    checkpoints: Sequence["Checkpoints"] = ()

    def train(self, chunk: int, tell: Callable[[int | Recorded], object], device: str) -> "Done":
        """Train one of the chunks."""
        kept = self.checkpoints[chunk] if self.checkpoints else None
        trained = self.learner.train(self.chunks[chunk], self.data, device, tell, tell, kept)
        return Done(trained, _peak())

    def cost(self, chunk: int) -> int:
        """About proportional to the time that a chunk takes."""
        rows = sum(len(split.train) for split in self.chunks[chunk])
        return rows * self.learner.variant.training.epochs * self.learner.parameters(self.data)


@dataclass(frozen=True)
class Done:
    """The results of a chunk, and the bytes of memory of the process that trained it."""

    trained: list[Trained]
    peak_memory: int


@dataclass
class _Failures:
    """Of each work, the first of its chunks whose training diverged, and how it did.

    The chunks before it are all trained: so which one is the first does not depend on the number
    of workers, nor on their order.
    """

    first: dict[int, tuple[int, DivergedError]] = field(default_factory=dict)

    def add(self, job: Job, error: DivergedError) -> None:
        work, chunk = job
        if not self.rules_out(job):
            self.first[work] = chunk, error

    def rules_out(self, job: Job) -> bool:
        work, chunk = job
        return work in self.first and self.first[work][0] < chunk


def run_chunks(
    works: Sequence[Work],
    device: str,
    workers: int,
    done: Callable[[int, Done], object],
    record: Callable[[int, Recorded], object] = lambda work, recorded: None,
) -> dict[int, DivergedError]:
    """Train every chunk, the longest first; of a work whose training diverges, not all of them.

    On a GPU all chunks run in this process. On a CPU, BLAS and OpenMP keep to one thread
    afterwards (see `limit_threads`).

    Args:
        works: what to train.
        device: "cpu" or "cuda".
        workers: the largest number of processes.
        done: called in this process with the number of a work and the results of a chunk, as soon
            as they are there.
        record: called in this process with the number of a work, when `Learner.train` calls it
            in a worker.

    Returns:
        By the number of the work, how the training of its first chunk that diverged did so.

    Raises:
        TrainingError: a worker died.
    """
    if device == "cpu":
        limit_threads()
    for work in works:
        work.learner.prepare(work.data, device)
    jobs = [(i, j) for i, work in enumerate(works) for j in range(len(work.chunks))]
    jobs.sort(key=lambda job: works[job[0]].cost(job[1]), reverse=True)  # all finish together
    with _progress(works) as bar:
        weights = [_weight(work) for work in works]

        def tell(news: News) -> None:
            i, said = news
            if isinstance(said, Recorded):
                record(i, said)
            else:
                bar.update(said * weights[i])

        pool = min(workers, len(jobs))
        if device == "cpu" and pool > 1:
            failures = _train_in_processes(works, jobs, pool, done, tell)
        else:
            failures = _train_here(works, jobs, device, done, tell)
    return {i: error for i, (_, error) in failures.first.items()}


def _progress(works: Sequence[Work]) -> "tqdm[Any]":
    """A bar that moves as fast for a large network as for a small one."""
    names = [work.learner.variant.name for work in works]
    title = names[0] if len(names) == 1 else f"{len(names)} variants"
    epochs = [work.learner.variant.training.epochs * sum(map(len, work.chunks)) for work in works]
    total = sum(_weight(work) * count for work, count in zip(works, epochs, strict=True))
    shown = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    return tqdm(total=total, desc=f"train {title}", bar_format=shown, mininterval=0.5)


def _weight(work: Work) -> int:
    """What an epoch of one of its models costs."""
    return len(work.chunks[0][0].train) * work.learner.parameters(work.data)


def limit_threads() -> None:
    """Give every BLAS and OpenMP pool of this process and of its children one thread.

    With two, small products take several times the CPU time. Libraries that are loaded later read
    the environment. The limit stays: to raise it after a fork would start idle threads.
    """
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREADS, "1"))
    threadpool_limits(1)


def choose_device(environment: Environment) -> str:
    """What trains, "cpu" or "cuda"; `auto` takes a GPU where there is one and says so.

    Raises:
        TrainingError: `cuda` without a usable GPU.
    """
    if environment.device == "cpu":
        return "cpu"
    if environment.device == "auto" and not any(map(os.path.exists, GPU_FILES)):
        return "cpu"  # without asking torch, which takes a second to import
    import torch

    there = torch.cuda.is_available()
    if environment.device == "cuda" and not there:
        raise TrainingError(
            "FOLDWISE_DEVICE=cuda, but torch finds no usable GPU; use FOLDWISE_DEVICE=cpu or auto"
        )
    if environment.device == "auto" and there:
        print("device: cuda (FOLDWISE_DEVICE=cpu trains on the CPU)", file=sys.stderr)  # noqa: T201
    return "cuda" if there else "cpu"


def _train_here(
    works: Sequence[Work],
    jobs: Sequence[Job],
    device: str,
    done: Callable[[int, Done], object],
    tell: Callable[[News], object],
) -> _Failures:
    import torch

    failures, threads = _Failures(), torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums in another order would differ in bits
    try:
        for i, j in jobs:
            if failures.rules_out((i, j)):
                continue
            try:
                done(i, works[i].train(j, partial(_pass_on, tell, i), device))
            except DivergedError as error:
                failures.add((i, j), error)
    finally:
        torch.set_num_threads(threads)
    return failures


def _pass_on(tell: Callable[[News], object], work: int, said: int | Recorded) -> None:
    tell((work, said))


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# --- processes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Worker:
    """What a worker process was given when it started."""

    works: Sequence[Work]
    news: "SimpleQueue[News]"

    def train(self, job: Job) -> Done:
        work, chunk = job
        return self.works[work].train(chunk, partial(_pass_on, self.news.put, work), "cpu")


_worker: _Worker


def _train_in_processes(
    works: Sequence[Work],
    jobs: Sequence[Job],
    workers: int,
    done: Callable[[int, Done], object],
    tell: Callable[[News], object],
) -> _Failures:
    context = multiprocessing.get_context(_start_method())
    news: SimpleQueue[News] = context.SimpleQueue()
    failures, ended = _Failures(), threading.Event()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (_Worker(works, news),))
    reader = threading.Thread(target=_drain, args=(news, ended, tell), daemon=True)
    try:
        futures = {pool.submit(_train_in_worker, job): job for job in jobs}
        reader.start()
        for future in as_completed(futures):
            _settle(future, futures, failures, done)
    except BrokenProcessPool:
        raise TrainingError(
            "a worker process died (killed, or out of memory): run the same command again, "
            "with fewer workers (FOLDWISE_WORKERS=1) if memory is short"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        ended.set()  # not a message: a worker that was killed while it wrote one holds the queue
        reader.join(timeout=5)
    return failures


def _settle(
    future: "Future[Done]",
    futures: Mapping["Future[Done]", Job],
    failures: _Failures,
    done: Callable[[int, Done], object],
) -> None:
    """Pass on a chunk's results; where it diverged, train none of those that come after it."""
    if future.cancelled():
        return
    job = futures[future]
    try:
        done(job[0], future.result())
    except DivergedError as error:
        failures.add(job, error)
        for other in futures:
            if failures.rules_out(futures[other]):
                other.cancel()


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


def _drain(
    news: "SimpleQueue[News]", ended: threading.Event, tell: Callable[[News], object]
) -> None:
    """Pass on the workers' news until they have ended and none is left."""
    while not (ended.is_set() and news.empty()):
        if news.empty():
            ended.wait(0.02)
        else:
            tell(news.get())


def _start_worker(given: _Worker) -> None:
    import torch

    global _worker
    _worker = given
    torch.set_num_threads(1)
    threading.Thread(target=exit_with_parent, daemon=True).start()


def _train_in_worker(job: Job) -> Done:
    return _worker.train(job)
