"""Train chunks in local processes, one thread each.

A split's result depends neither on the number of workers nor on their order. To add an executor,
for a cluster say, write a function like `run_chunks`.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from foldwise.core.environment import Environment
from foldwise.core.errors import TrainingError
from foldwise.core.processes import ending_within, exit_with_parent
from foldwise.engine.learners import Learner
from foldwise.engine.limits import workers_that_fit
from foldwise.engine.mlp import Chunk
from foldwise.numerics.inputs import Data
from foldwise.numerics.outcomes import DivergedError, Recorded, Trained

if TYPE_CHECKING:
    from foldwise.numerics.checkpoints import Checkpoints

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of WSL, of AMD
PATIENCE = 0.8  # seconds that a signal's work may take before it is cut short
Job = tuple[int, int]  # which work, which of its chunks


@dataclass(frozen=True)
class Work:
    """The chunks of a variant that are to be trained, and the checkpoint of each, or none."""

    learner: Learner
    data: Data
    chunks: Sequence[Chunk]
    checkpoints: Sequence["Checkpoints"] = ()

    def train(self, chunk: int, tell: Callable[[int | Recorded], object], device: str) -> "Done":
        """Train one of the chunks."""
        kept = self.checkpoints[chunk] if self.checkpoints else None
        trained = self.learner.train(self.chunks[chunk], self.data, device, tell, kept)
        unit = 1 if sys.platform == "darwin" else 1024
        return Done(trained, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)

    @property
    def weight(self) -> int:
        """What an epoch of one of its models costs."""
        return len(self.chunks[0][0].train) * self.learner.parameters(self.data)

    def cost(self, chunk: int) -> int:
        """About proportional to the time that a chunk takes."""
        rows = sum(len(split.train) for split in self.chunks[chunk])
        return rows * self.learner.variant.training.epochs * self.learner.parameters(self.data)


@dataclass(frozen=True)
class Done:
    """The results of a chunk, and the bytes of memory of the process that trained it."""

    trained: list[Trained]
    peak_memory: int


class _Run:
    """The jobs that are left, the longest first, and what comes of them.

    Of a work whose training diverges, the chunks before the first that did are trained all the
    same: so which one is the first depends neither on the number of workers nor on their order.
    """

    def __init__(
        self,
        works: Sequence[Work],
        done: Callable[[int, Done], object],
        record: Callable[[int, Recorded], object],
    ):
        self.works, self.done, self.record = works, done, record
        self.first: dict[int, tuple[int, DivergedError]] = {}  # of a work that diverged
        jobs = [(i, j) for i, work in enumerate(works) for j in range(len(work.chunks))]
        self.jobs = sorted(jobs, key=lambda job: works[job[0]].cost(job[1]), reverse=True)
        names = [work.learner.variant.name for work in works]
        epochs = [w.learner.variant.training.epochs * sum(map(len, w.chunks)) for w in works]
        self.bar: tqdm[Any] = tqdm(  # moves as fast for a large network as for a small one
            total=sum(work.weight * count for work, count in zip(works, epochs, strict=True)),
            desc=f"train {names[0] if len(names) == 1 else f'{len(names)} variants'}",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}",
            mininterval=0.5,
        )

    def next(self) -> Job | None:
        """A job to do."""
        while self.jobs:
            work, chunk = self.jobs.pop(0)
            if work not in self.first or chunk < self.first[work][0]:
                return work, chunk
        return None

    def tell(self, job: Job, said: int | Recorded) -> None:
        """Epochs that models of a job took, or what is recorded of them."""
        if isinstance(said, Recorded):
            self.record(job[0], said)
        else:
            self.bar.update(said * self.works[job[0]].weight)

    def settle(self, job: Job, result: Done | DivergedError) -> None:
        """The end of a job."""
        work, chunk = job
        if isinstance(result, Done):
            self.done(work, result)
        elif work not in self.first or chunk < self.first[work][0]:
            self.first[work] = chunk, result


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
        record: called in this process with the number of a work and what is recorded of it.

    Returns:
        By the number of the work, how the training of its first chunk that diverged did so.

    Raises:
        TrainingError: a worker died, or memory is short.
    """
    pool = min(workers, sum(len(work.chunks) for work in works))
    if device == "cpu":
        limit_threads()
        pool = workers_that_fit(works, pool)
    with ending_within(PATIENCE):
        for work in works:
            work.learner.prepare(device)
    run = _Run(works, done, record)
    with run.bar:
        if device == "cpu" and pool > 1:
            _train_in_processes(run, pool)
        else:
            _train_here(run, device)
    return {work: error for work, (_, error) in run.first.items()}


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


def _train_here(run: _Run, device: str) -> None:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker: sums in another order would differ in bits
    try:
        with ending_within(PATIENCE):
            while (job := run.next()) is not None:
                run.settle(job, _result(run.works, job, partial(run.tell, job), device))
    finally:
        torch.set_num_threads(threads)


def _result(
    works: Sequence[Work], job: Job, tell: Callable[[int | Recorded], object], device: str
) -> Done | DivergedError:
    try:
        return works[job[0]].train(job[1], tell, device)
    except DivergedError as error:
        return error
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "memory" in str(error)):  # as torch says it
            raise
        name = works[job[0]].learner.variant.name
        raise TrainingError(
            f"{name}: out of memory ({str(error).partition(chr(10))[0]}); use fewer workers "
            f"(FOLDWISE_WORKERS=1), or make variants.{name}.hidden or its batch_size smaller"
        ) from None


# --- processes --------------------------------------------------------------------------------


def _train_in_processes(run: _Run, workers: int) -> None:
    """Give each worker a job at a time. Whatever happens here, no worker is left."""
    busy: dict[Connection, Job] = {}

    def employ(worker: Connection) -> None:
        if (job := run.next()) is not None:
            with _alive():
                worker.send(job)
            busy[worker] = job

    with _pool(run.works, workers) as pool, ending_within(2 * PATIENCE):
        for worker in pool:
            employ(worker)
        while busy:
            for ready in wait(list(busy)):
                assert isinstance(ready, Connection)
                with _alive():
                    said = ready.recv()
                if isinstance(said, int | Recorded):
                    run.tell(busy[ready], said)
                elif isinstance(said, Done | DivergedError):
                    run.settle(busy.pop(ready), said)
                    employ(ready)
                else:
                    raise said


@contextmanager
def _alive() -> Iterator[None]:
    """The other end of a pipe is there."""
    try:
        yield
    except (EOFError, OSError):
        raise TrainingError(
            "a worker process died (killed, or out of memory): run the same command again, "
            "with fewer workers (FOLDWISE_WORKERS=1) if memory is short"
        ) from None


@contextmanager
def _pool(works: Sequence[Work], workers: int) -> Iterator[list[Connection]]:
    """Processes that train what they are sent; one that does not end soon is killed."""
    context: Any = multiprocessing.get_context(_start_method())
    processes, ours = list[BaseProcess](), list[Connection]()
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(works, there), daemon=True)
            process.start()
            there.close()  # so that the other end's is the only one, and its end is noticed
            processes.append(process)
            ours.append(here)
        yield ours
    finally:
        deadline = monotonic() + PATIENCE
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(max(0.0, deadline - monotonic()))
            process.kill()
            process.join()


def _serve(works: Sequence[Work], jobs: Connection) -> None:
    """Train, in a process of its own, until the parent ends it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    threading.Thread(target=exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while True:
        job = jobs.recv()
        try:
            jobs.send(_result(works, job, jobs.send, "cpu"))
        except Exception as error:
            jobs.send(error)


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
