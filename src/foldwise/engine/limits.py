"""What a training takes of memory, and whether it is there: asked before anything trains.

`foldwise check` asks, too, so this imports nothing that takes long.
"""

import math
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from foldwise.core import files, paths
from foldwise.core.config import Config, Network, Variant
from foldwise.core.errors import ReadError, TrainingError
from foldwise.core.files import shown

if TYPE_CHECKING:
    from foldwise.engine.executors import Work

BASE = 2**26  # bytes that any training takes, about
CGROUPS = Path("/sys/fs/cgroup")


def parameters(network: Network, inputs: int, outputs: int) -> int:
    """Trained numbers in one network."""
    linear = sum((a + 1) * b for a, b in pairwise([inputs, *network.hidden, outputs]))
    return linear + 2 * sum(network.hidden) * network.batch_norm


def memory(variant: Variant, inputs: int, outputs: int, rows: int, models: int = 1) -> int:
    """Bytes that training so many networks together takes in a process, about.

    Of each its parameters, initial ones, two moments and the result; of one, what a probe copies;
    a layer as it is drawn and transposed; what a batch leaves in every unit.
    """
    network, widths = variant.network, [inputs, *variant.network.hidden, outputs]
    numbers = (5 * models + 6) * parameters(network, inputs, outputs)
    layer = max(a * b for a, b in pairwise(widths))
    batch = max(64, min(variant.training.batch_size, rows)) * sum(widths)
    masked = rows * sum(network.hidden) if network.hidden_dropout else 0
    return BASE + 4 * (numbers + 4 * layer + 6 * batch + 2 * masked)


def free_memory() -> int:
    """Bytes that processes may take yet: of the machine, of this container, of a limit of ours."""
    free: list[int] = [psutil.virtual_memory().available]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # there is none
            of_group = [int((CGROUPS / name).read_text()) for name in (most, used)]
            free.append(of_group[0] - of_group[1] + _reclaimable((CGROUPS / used).parent))
    return max(0, min(free))


def _reclaimable(group: Path) -> int:
    """Bytes of files that the system gives up where memory is short."""
    lines = (group / "memory.stat").read_text().splitlines()
    facts = dict(line.split() for line in lines)
    return int(facts.get("inactive_file", 0))


def workers_that_fit(works: Sequence["Work"], workers: int) -> int:
    """How many workers have memory at once, any of them training any of this.

    Where that is not all of them, it is said.

    Raises:
        TrainingError: there is too little for one; with the numbers.
    """
    sizes = [work.learner.memory(work.data) for work in works]
    counts = [work.learner.parameters(work.data) for work in works]
    splits = (sum(map(len, work.chunks)) for work in works)
    kept = sum(4 * count * many for count, many in zip(counts, splits, strict=True))
    one, free = max(sizes), free_memory()
    largest = sizes.index(one)
    name = works[largest].learner.variant.name
    needs = _needs(name, counts[largest], one)
    if one + kept > free:
        raise TrainingError(
            f"{needs} and {shown(kept)} for the results, and {shown(free)} are free; "
            f"{_remedy(name)}"
        )
    fit = min(workers, (free - kept) // one)
    if fit < workers:
        print(  # noqa: T201
            f"memory for {fit} of {workers} workers: {needs}, and {shown(free)} are free",
            file=sys.stderr,
        )
    return fit


def check_settings(settings: Config, root: Path = Path()) -> None:
    """That this machine's memory, were all of it free, suffices for every variant.

    Rows of data that are not prepared yet count as if they had one feature.

    Raises:
        TrainingError: it does not; a line for each variant, with the numbers.
    """
    total, lines = psutil.virtual_memory().total, []
    for name, variant in settings.resolved.items():
        inputs, outputs = _shape(root / paths.prepared(variant.dataset))
        size = memory(variant, inputs, outputs, variant.training.batch_size)
        if size > total:
            needs = _needs(name, parameters(variant.network, inputs, outputs), size)
            lines.append(f"{needs}, and this machine has {shown(total)}; {_remedy(name)}")
    if lines:
        raise TrainingError("\n".join(lines))


def _shape(prepared: Path) -> tuple[int, int]:
    """Features and logits of a row, as far as they are known."""
    with suppress(ReadError, KeyError, TypeError):
        meta = files.read_json(prepared / "meta.json", "")
        inputs, classes = int(math.prod(meta["shape"])), len(meta["class_names"])
        return inputs, 1 if classes == 2 else classes
    return 1, 1


def _needs(name: str, count: int, size: int) -> str:
    return (
        f"{name}: training networks of {count:,} parameters takes {shown(size)} of memory in a "
        "worker"
    )


def _remedy(name: str) -> str:
    return f"make variants.{name}.hidden smaller in {paths.PARAMS}, or free memory"
