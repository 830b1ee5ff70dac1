"""Makes the files of models and pictures in a second process, while this one writes the store.

What MLflow does for a run keeps one core busy, and making the files takes as long again. So they
are ordered ahead and taken when a run needs them. The second process starts before this one imports
mlflow, and imports torch meanwhile: this module imports neither. It is spawned, not forked: charts
are drawn in threads, and a fork of a process with threads can wait for them forever.
"""

import atexit
import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from foldwise.core import processes
from foldwise.core.errors import TrackingError
from foldwise.tracking.place import SAFE

Charts = Callable[[str], Mapping[str, bytes]]  # variant → file name → PNG
START = "spawn"  # the start method, as multiprocessing names it


class Models(NamedTuple):
    """The models of one variant."""

    folders: list[Path]  # one per split
    description: dict[str, Any]  # of the MLmodel files, which are to be written with ids besides


class Workshop(NamedTuple):
    """Where files are ordered; they lie there as long as it is open."""

    folder: Path
    pool: ProcessPoolExecutor  # one process
    charts: Charts | None  # what it draws with

    def models(self, run: Path) -> Future[Models]:
        """Order the models of a run folder."""
        return self.pool.submit(_export, run, self.folder / run.name / "models")

    def pictures(self, variants: Sequence[str]) -> Future[dict[str, Path | None]]:
        """Order a folder with pictures for each variant; None where there are none for it."""
        return self.pool.submit(_draw, self.charts, variants, self.folder)


@contextmanager
def opened(charts: Charts | None) -> Iterator[Workshop]:
    """A workshop with a process that lives as long as the block.

    Raises:
        TrackingError: the process was killed.
    """
    with tempfile.TemporaryDirectory(prefix="foldwise-") as folder:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context(START), _start)
        try:
            pool.submit(len, ())  # starts it
            yield Workshop(Path(folder), pool, charts)
        except BrokenProcessPool:
            raise TrackingError(
                "the process that makes models and pictures died (killed, or out of memory); "
                f"{SAFE}"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


# --- in the process ---------------------------------------------------------------------------


def _start() -> None:
    """Import what takes seconds, and keep the garbage collector from going through it again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that it works for decides
    atexit.register(os._exit, 0)  # at the end, without taking apart what is imported
    threading.Thread(target=processes.exit_with_parent, daemon=True).start()
    import torch

    from foldwise.tracking import models  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()


def _export(run: Path, folder: Path) -> Models:
    from foldwise.tracking import models

    return models.export(run, folder)


def _draw(charts: Charts | None, variants: Sequence[str], folder: Path) -> dict[str, Path | None]:
    """All with the same charts, which draw what variants share once."""
    drawn: dict[str, Path | None] = {}
    for variant in variants:
        pictures, place = charts(variant) if charts else {}, folder / variant / "charts"
        for name, content in pictures.items():
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        drawn[variant] = place if pictures else None
    return drawn
