"""What a training takes of memory, and whether it is there: asked before anything trains."""

import math
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from foldwise.core import paths
from foldwise.core.config import Config
from foldwise.core.errors import ReadError, TrainingError
from foldwise.core.files import shown
from foldwise.datasets import prepared
from foldwise.engine.learners import Learner, learner_of
from foldwise.numerics.inputs import Data

CGROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that processes may take yet: of the machine, of this container, of a limit of ours."""
    free = [psutil.virtual_memory().available]
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


def workers_that_fit(
    trainings: Sequence[tuple[Learner, Data]], splits: Sequence[int], workers: int
) -> int:
    """How many workers have memory at once; where that is not all of them, it is said.

    Args:
        trainings: what is trained; any worker may train any of it.
        splits: of each, whose results this process keeps.
        workers: as many as there may be.

    Raises:
        TrainingError: there is too little for one; with the numbers.
    """
    sizes = [learner.memory(data) for learner, data in trainings]
    kept = sum(
        4 * count * learner.parameters(data)
        for count, (learner, data) in zip(splits, trainings, strict=True)
    )
    one, free = max(sizes), free_memory()
    learner, data = trainings[sizes.index(one)]
    if one + kept > free:
        raise TrainingError(
            f"{_needs(learner, data, one)} and {shown(kept)} for the results, and "
            f"{shown(free)} are free; {_remedy(learner)}"
        )
    fit = min(workers, (free - kept) // one)
    if fit < workers:
        print(  # noqa: T201
            f"memory for {fit} of {workers} workers: {_needs(learner, data, one)}, and "
            f"{shown(free)} are free",
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
    for variant in settings.resolved.values():
        learner, data = learner_of(variant), _shaped(settings, variant.dataset, root)
        if (size := learner.memory(data)) > total:
            lines.append(
                f"{_needs(learner, data, size)}, and this machine has {shown(total)}; "
                f"{_remedy(learner)}"
            )
    if lines:
        raise TrainingError("\n".join(lines))


def _shaped(settings: Config, dataset: str, root: Path) -> Data:
    """Data of the right shape that take no memory."""
    rows = max(edition.rows for edition in settings.dataset(dataset).editions.values())
    shape, names = (rows, 1), ("0", "1")
    with suppress(ReadError):
        meta = prepared.load_meta(root / paths.prepared(dataset))
        shape, names = (meta.rows, math.prod(meta.shape)), meta.class_names
    found: Any = SimpleNamespace(X=np.broadcast_to(np.uint8(0), shape), class_names=names)
    data: Data = found
    return data


def _needs(learner: Learner, data: Data, size: int) -> str:
    return (
        f"{learner.variant.name}: training networks of {learner.parameters(data):,} parameters "
        f"takes {shown(size)} of memory in a worker"
    )


def _remedy(learner: Learner) -> str:
    name = learner.variant.name
    return f"make variants.{name}.hidden smaller in {paths.PARAMS}, or free memory"
