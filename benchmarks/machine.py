"""What the figures were taken on. Reads /proc where there is one."""

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import Field

from foldwise.core.environment import cores
from foldwise.core.files import Record

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "jax", "jaxlib", "dvc", "mlflow")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "FOLDWISE_WORKERS", "FOLDWISE_DEVICE")


class Machine(Record):
    """Cores, CPU model, memory, versions, and what the environment says of threads."""

    cpu: str
    cores: int
    memory_gib: float | None
    system: str
    python: str
    versions: dict[str, str | None]
    environment: dict[str, str | None] = Field(default_factory=dict)


def describe() -> Machine:
    """This machine."""
    return Machine(
        cpu=_cpu_model(),
        cores=cores(),
        memory_gib=_memory_gib(),
        system=platform.system(),
        python=platform.python_version(),
        versions=versions(PACKAGES),
        environment={name: os.environ.get(name) for name in THREAD_VARIABLES},
    )


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Installed versions; None for what is not installed."""
    return {name: _version(name) for name in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return round(int(found[1]) / 2**20, 1) if found else None


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).is_file() else ""
