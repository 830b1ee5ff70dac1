"""Peak operations and bandwidth of this machine, measured in the same run as everything else."""

import math
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.measuring import Outcome, Size
from benchmarks.parallel import in_processes
from foldwise.core.environment import cores

COPIES = {"cache": 2**20, "state": 3 * 2**20, "memory": 2**29}  # bytes read and written together
PRODUCT = 1536  # rows and columns of the large matrix product
SECONDS = 0.4  # that each quantity is measured for


def measure(size: Size) -> Outcome:
    """Peak operations and bytes per second, of one core and of all of them at once."""
    del size
    every = cores()
    together = in_processes(_limits_setup, every) if every > 1 else None
    torch.set_num_threads(1)
    one = _limits()
    results = [one] if together is None else together.results
    facts = {f"one_core_{name}": value for name, value in one.items()}
    facts |= {f"all_cores_{name}": sum(found[name] for found in results) for name in one}
    return Outcome(facts=facts)


def _limits_setup(index: int) -> Callable[[], dict[str, float]]:
    del index
    return _limits


def _limits() -> dict[str, float]:
    """FLOP/s of a large product, bytes/s of copies (read and written)."""
    a, b = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT)
    out = torch.empty_like(a)
    found = {"flops": 2 * PRODUCT**3 / _fastest(lambda: torch.mm(a, b, out=out))}
    for name, total in COPIES.items():
        source = torch.rand(total // 8)
        found[name] = total / _fastest(partial(torch.empty_like(source).copy_, source))
    return found


def _fastest(work: Callable[[], object]) -> float:
    """The fastest of many runs, in seconds."""
    work()  # first touch of the memory
    best, end = math.inf, time.perf_counter() + SECONDS
    while best == math.inf or time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best
