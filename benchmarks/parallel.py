"""The same work in several processes at once, so that every core is busy; timed as a whole."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

import torch

Setup = Callable[[int], Callable[[], Any]]  # the process's number -> the work to time
PATIENCE = 600  # seconds that a process waits for the others to be ready

_barrier: Barrier | None = None


@dataclass(frozen=True)
class Together:
    """Attributes: wall-clock seconds of all, Unix time of the start, longest set-up, results."""

    seconds: float
    started: float
    setup_seconds: float
    results: list[Any]


def in_processes(setup: Setup, processes: int) -> Together:
    """Set up in each process, wait for each other, run; one thread each if there are several.

    Args:
        setup: must pickle; given the process's number it returns the work to time.
        processes: how many. One runs here, with the threads that there are.
    """
    runs = [_measure(setup, 0, None)] if processes == 1 else _spawn(setup, processes)
    started = min(run[0] for run in runs)
    return Together(
        seconds=max(run[1] for run in runs) - started,
        started=started,
        setup_seconds=max(run[2] for run in runs),
        results=[run[3] for run in runs],
    )


def _spawn(setup: Setup, processes: int) -> list[tuple[float, float, float, Any]]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes, timeout=PATIENCE)
    with context.Pool(processes, _start, (barrier,)) as pool:
        return pool.starmap(_measure_here, [(setup, i) for i in range(processes)], chunksize=1)


def _start(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    torch.set_num_threads(1)


def _measure_here(setup: Setup, index: int) -> tuple[float, float, float, Any]:
    return _measure(setup, index, _barrier)


def _measure(setup: Setup, index: int, barrier: Barrier | None) -> tuple[float, float, float, Any]:
    """Start, end (Unix times), seconds of the set-up, and what the work returned."""
    begun = time.time()
    try:
        work = setup(index)
    except BaseException:
        if barrier is not None:
            barrier.abort()  # the others would wait for this process
        raise
    ready = time.time()
    if barrier is not None:
        barrier.wait()
    started = time.time()
    result = work()
    return started, time.time(), ready - begun, result
