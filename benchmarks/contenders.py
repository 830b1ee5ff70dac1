"""Everything that is timed, by name. Imports nothing heavy: each runs in a process of its own."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from typing import Any

from benchmarks.measuring import Outcome, Size

# One XLA thread per process, where several processes share the cores.
ONE_XLA_THREAD = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "NPROC": "1"}
ON_CPU = {"JAX_PLATFORMS": "cpu"}


@dataclass(frozen=True)
class Contender:
    """One way to train.

    Attributes:
        name: for `--only`.
        label: for the table.
        module: below `benchmarks`.
        function: in it; takes the size and `options`.
        cores: what it runs on, for the table.
        options: keyword arguments.
        environ: environment variables of its process.
        note: what is different about it, for the table.
    """

    name: str
    label: str
    module: str
    function: str
    cores: str
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def work(self) -> Callable[[Size], Outcome]:
        """The function, its options filled in; imports its module."""
        module = importlib.import_module(f"benchmarks.{self.module}")
        return partial(getattr(module, self.function), **self.options)


NOTEBOOK = (
    Contender(
        "notebook-sonar", "the notebook's loop", "notebook_loops", "sonar", "1 process",
        note="2 folds, torch's default threads",
    ),
    Contender(
        "notebook-cifar", "the notebook's loop", "notebook_loops", "cifar", "1 process + loader",
        note="300 steps after 50, torch's default threads",
    ),
)  # fmt: skip

FOLDWISE = (
    *(
        Contender(
            f"foldwise-sonar-{repeats}", "foldwise", "foldwise_runs", "sonar", "all cores",
            options={"repeats": repeats},
            note="the whole path, `refit` included",
        )
        for repeats in (1, 3, 10, 30)
    ),
    Contender(
        "foldwise-more-repeats", "foldwise", "foldwise_runs", "sonar_more", "all cores",
        note="5 repeats in the store, 5 more",
    ),
    Contender(
        "foldwise-sonar-one-core", "foldwise, engine alone", "foldwise_runs", "sonar_one_core",
        "1 core", environ={"OMP_NUM_THREADS": "1"},
    ),
    Contender(
        "foldwise-cifar", "foldwise", "foldwise_runs", "cifar", "all cores",
        note="the whole path: 5 folds and `refit`, 1 epoch, evaluations included",
    ),
    Contender(
        "foldwise-cifar-one-core", "foldwise, engine alone", "foldwise_runs", "cifar_one_core",
        "1 core", environ={"OMP_NUM_THREADS": "1"}, note="evaluations included",
    ),
    Contender("foldwise-gpu", "foldwise", "foldwise_runs", "gpu", "1 GPU"),
)  # fmt: skip

PEERS = (
    *(
        Contender(
            f"vmap-sonar-{repeats}", "torch.func vmap(grad)", "peers", "vmap_sonar", "1 process",
            options={"repeats": repeats}, note="torch's default threads",
        )
        for repeats in (1, 10)
    ),
    Contender(
        "sklearn-sonar", "scikit-learn MLPClassifier", "peers", "sklearn_sonar", "all cores",
        note="no Dropout; its own initial weights; cross_val_score(n_jobs=-1)",
    ),
    Contender(
        "sklearn-cifar", "scikit-learn MLPClassifier", "peers", "sklearn_cifar", "1 process",
        note="no BatchNorm; 500 steps",
    ),
    Contender(
        "skorch-sonar", "skorch", "peers", "skorch_sonar", "all cores",
        note="cross_validate(n_jobs=-1), 4 folds",
    ),
    Contender("skorch-cifar", "skorch", "peers", "skorch_cifar", "1 process", note="500 steps"),
    *(
        Contender(
            f"torch-cifar-{n}", "PyTorch: one tensor, fused Adam", "peers", "plain_cifar",
            f"{n} × 1 thread", options={"processes": n}, environ={"OMP_NUM_THREADS": "1"},
            note="autograd; 3,000 steps",
        )
        for n in (1, 2)
    ),
    *(
        Contender(
            f"jax-sonar-{repeats}", "JAX jit(vmap(scan))", "jax_scan", "sonar", "1 process",
            options={"repeats": repeats, "processes": 1}, environ=ON_CPU,
            note="XLA's own threads",
        )
        for repeats in (1, 10)
    ),
    *(
        Contender(
            f"jax-sonar-{repeats}-processes", "JAX jit(vmap(scan))", "jax_scan", "sonar",
            "2 × 1 thread", options={"repeats": repeats, "processes": 2},
            environ=ON_CPU | ONE_XLA_THREAD,
        )
        for repeats in (1, 10)
    ),
    *(
        Contender(
            f"jax-cifar-{n}", "JAX jit(scan)", "jax_scan", "cifar", f"{n} × 1 thread",
            options={"processes": n}, environ=ON_CPU | ONE_XLA_THREAD,
            note="1 epoch, evaluations included",
        )
        for n in (1, 2)
    ),
)  # fmt: skip

MACHINE = (Contender("machine", "the machine", "limits", "measure", "1 core, all cores"),)

ALL = (*NOTEBOOK, *MACHINE, *FOLDWISE, *PEERS)


def chosen(patterns: Iterable[str]) -> list[Contender]:
    """Contenders whose name matches one of the patterns (`*` allowed); all if there are none.

    Raises:
        ValueError: a pattern matches nothing.
    """
    patterns = list(patterns)
    for pattern in patterns:
        if not any(fnmatch(c.name, pattern) for c in ALL):
            raise ValueError(f"'{pattern}' matches none of: {', '.join(c.name for c in ALL)}")
    return [c for c in ALL if not patterns or any(fnmatch(c.name, p) for p in patterns)]


def by_name(name: str) -> Contender:
    """One contender."""
    return next(c for c in ALL if c.name == name)
