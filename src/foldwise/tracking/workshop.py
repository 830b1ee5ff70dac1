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
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from foldwise.core import processes
from foldwise.core.errors import TrackingError
from foldwise.tracking.place import SAFE
from foldwise.tracking.records import FolderSource

Charts = Callable[[str], Mapping[str, bytes]]  # variant → file name → PNG
Made = TypeVar("Made")
Make = Callable[[FolderSource, Path], Made]

START = "spawn"  # the start method, as multiprocessing names it
_given: dict[str, Charts | None] = {}  # "charts": what the process draws with


class Models(NamedTuple):
    """The models of one variant.

    Attributes:
        folders: one per split.
        description: what their MLmodel files are to say, without the ids of model and run; they
            are not written yet.
    """

    folders: list[Path]
    description: dict[str, Any]


@dataclass
class Workshop:
    """Where files of variants are ordered, and taken as often as needed.

    Attributes:
        folder: where they lie.
        pool: of one process, which starts with the first order.
    """

    folder: Path
    pool: ProcessPoolExecutor
    _ordered: dict[tuple[str, str], Future[Any]] = field(default_factory=dict)
    _drawing: Future[None] | None = None

    def draw_with(self, charts: Charts | None) -> None:
        """Start the process; it draws what is ordered from now on with `charts`.

        Args:
            charts: variant name → file name → PNG; something that pickle can send.
        """
        self._drawing = self.pool.submit(_draw_with, charts)

    def order(self, source: FolderSource) -> None:
        """Have the models and pictures of a variant made while other things are done."""
        if source.splits:  # of a variant that failed there are no models
            self._order(_make_models, source)
        self._order(_draw, source)

    def models(self, source: FolderSource) -> Models:
        """The models of a variant that is complete, as soon as they are there."""
        return self._order(_make_models, source).result()

    def pictures(self, source: FolderSource) -> Path | None:
        """A folder with the pictures of a variant, as soon as it is there; None without any."""
        if self._drawing is None:
            return None
        self._drawing.result()
        return self._order(_draw, source).result()

    def discard(self, source: FolderSource) -> None:
        """Have what was made for a variant deleted."""
        for make in (_make_models, _draw):
            self._ordered.pop((make.__name__, source.name), None)
        self.pool.submit(shutil.rmtree, self._folder(source), ignore_errors=True)

    def _folder(self, source: FolderSource) -> Path:
        return self.folder / source.name

    def _order(self, make: Make[Made], source: FolderSource) -> Future[Made]:
        """Order something, or find what was ordered before."""
        key = make.__name__, source.name
        if key not in self._ordered:
            bare = replace(source)  # without caches: a thread pickles it while this one fills them
            self._ordered[key] = self.pool.submit(make, bare, self._folder(source))
        return self._ordered[key]


@contextmanager
def opened() -> Iterator[Workshop]:
    """A workshop with a process that lives as long as the block.

    Raises:
        TrackingError: the process was killed.
    """
    with tempfile.TemporaryDirectory(prefix="foldwise-") as folder:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context(START), _start)
        try:
            yield Workshop(Path(folder), pool)
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


def _draw_with(charts: Charts | None) -> None:
    _given.update(charts=charts)


def _make_models(source: FolderSource, folder: Path) -> Models:
    from foldwise.tracking.models import Exporter

    exporter = Exporter(source.manifest, source.folder.weights, folder / "template")
    folders = [folder / str(index) for index in range(len(source.splits))]
    for index, model in enumerate(folders):
        exporter.save(index, model)
    return Models(folders, exporter.description)


def _draw(source: FolderSource, folder: Path) -> Path | None:
    charts = _given["charts"]
    pictures = charts(source.name) if charts else {}
    place = folder / "charts"
    for name, content in pictures.items():
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return place if pictures else None
