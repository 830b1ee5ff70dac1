"""The store of trained splits: no split is trained twice, whatever else changes around it.

An entry is the result of one split, under the key that `identity.split_keys` gives it: everything
that decides its numbers. So an entry is never out of date; it is there, or it is not. Beside the
entries lie checkpoints of trainings that take long.
"""

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from foldwise.core import files, paths
from foldwise.core.errors import WriteError
from foldwise.numerics.outcomes import DIAGNOSTICS, Trained
from foldwise.numerics.split import Split
from foldwise.results.runs import Facts

CHECKPOINT = ".part"  # at the end of a checkpoint's name
NAME = re.compile(r"[0-9a-f]+(\.part)?")  # of an entry, or a checkpoint
CHECKPOINT_SECONDS = 60.0
UNDECLARED_BYTES = 2**31  # at most, of what no variant of params.yaml needs
ARRAYS = ("epochs", "history", "finished", "held_out", "test")  # of `Trained`, as they are
WEIGHTS = "weights/"  # before the name of each


@dataclass(frozen=True, eq=False)
class Entry:
    """The result of one split, and facts about the training that gave it."""

    trained: Trained
    facts: Facts


class Store:
    """The entries of a project; those of its temporary DVC experiments are among them.

    Args:
        root: the project's root.
        fresh: pass over what is there, and replace it.
        seconds: between two checkpoints of a training.
    """

    def __init__(self, root: Path, fresh: bool = False, seconds: float = CHECKPOINT_SECONDS):
        self.folder = paths.home(root) / paths.STORE
        self.fresh, self.seconds = fresh, seconds

    def has(self, key: str) -> bool:
        """Whether there is a result, without looking at it."""
        return self._path(key).is_file()

    def get(self, key: str, split: Split) -> Entry | None:
        """The result of a split; None where it is not there, or damaged, which is said."""
        path = self._path(key)
        if self.fresh or not path.is_file():
            return None
        try:
            entry = _entry(*unpack(path.read_bytes()), split)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}; trained again", file=sys.stderr)  # noqa: T201
            return None
        with suppress(OSError):
            os.utime(path)  # the time of its last use
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep the result of a split.

        Raises:
            WriteError: it cannot be written.
        """
        files.write_bytes(self._path(key), pack(*_parts(entry)))

    def checkpoint(self, keys: Sequence[str]) -> "Checkpoint":
        """That of the splits with these keys, which train together."""
        path = self._path(files.digest(list(keys)))
        return Checkpoint(path.with_suffix(CHECKPOINT), self.seconds, self.fresh)

    def kept(self) -> dict[Path, os.stat_result]:
        """All entries and checkpoints, the one that was not used for the longest time first."""
        names = (path for path in self.folder.glob("??/*") if NAME.fullmatch(path.name))
        files = [path for path in names if not (path.is_symlink() or path.parent.is_symlink())]
        found = {path: path.stat() for path in files if path.is_file()}
        return dict(sorted(found.items(), key=lambda item: item[1].st_mtime))

    def damaged(self) -> Iterator[Path]:
        """Entries and checkpoints that are not what was written; reads all of them."""
        for path in self.kept():
            try:
                unpack(path.read_bytes())
            except (OSError, ValueError):
                yield path

    def shrink(self, needed: Callable[[], Collection[str]], most: int = UNDECLARED_BYTES) -> None:
        """Remove the oldest of what is not needed, until the rest of that takes few enough bytes.

        `needed` gives the keys that are; it is called only where there is much.

        Raises:
            WriteError: one cannot be removed.
        """
        sizes = {path: stat.st_size for path, stat in self.kept().items()}
        if sum(sizes.values()) <= most:
            return
        keys = needed()
        rest = [path for path in sizes if path.name not in keys]
        size = sum(sizes[path] for path in rest)
        for path in rest:
            if size <= most:
                break
            files.remove(path)
            size -= sizes[path]

    def clear(self) -> None:
        """Remove everything.

        Raises:
            WriteError: something cannot be removed.
        """
        for path in self.kept():
            files.remove(path)

    def __str__(self) -> str:
        kept = self.kept()
        size = sum(stat.st_size for stat in kept.values())
        return f"{len(kept)} trained splits, {size / 2**20:.1f} MiB"

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


@dataclass
class Checkpoint:
    """The state of a training that takes long; see `numerics.checkpoints.Checkpoints`.

    One that cannot be written is none: the training goes on.
    """

    path: Path
    seconds: float
    fresh: bool = False
    _due: float = 0.0

    def load(self) -> dict[str, np.ndarray] | None:
        """The state that was kept last; None where there is none, or a damaged one."""
        self._due = time.monotonic() + self.seconds
        with suppress(OSError, ValueError):
            return None if self.fresh else unpack(self.path.read_bytes())[0]
        return None

    def offer(self, state: Callable[[], dict[str, np.ndarray]]) -> None:
        """Keep a state, if the last one is old enough."""
        if time.monotonic() >= self._due:
            with suppress(WriteError):
                files.write_bytes(self.path, pack(state(), {}))
            self._due = time.monotonic() + self.seconds

    def remove(self) -> None:
        """It is not needed any more."""
        files.remove(self.path)


def _parts(entry: Entry) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    trained = entry.trained
    lines = [[line[name] for name in DIAGNOSTICS] for line in trained.diagnostics]
    arrays = {name: getattr(trained, name) for name in ARRAYS}
    arrays["diagnostics"] = np.array(lines, dtype=np.float64).reshape(-1, len(DIAGNOSTICS))
    arrays |= {WEIGHTS + name: array for name, array in trained.weights.items()}
    return arrays, {"started": trained.started, "facts": entry.facts.model_dump(exclude_none=True)}


def _entry(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], split: Split) -> Entry:
    weights = [name for name in arrays if name.startswith(WEIGHTS)]
    lines = arrays["diagnostics"].tolist()
    trained = Trained(
        split=split,
        started=facts["started"],
        **{name: arrays[name] for name in ARRAYS},
        weights={name.removeprefix(WEIGHTS): arrays[name] for name in weights},
        diagnostics=[dict(zip(DIAGNOSTICS, line, strict=True)) for line in lines],
    )
    return Entry(trained, Facts.model_validate(facts["facts"]))


# --- bytes ------------------------------------------------------------------------------------


def pack(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """Arrays and facts that are JSON as safetensors, after the sha256 (32 bytes) of it."""
    named = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors.numpy.save(named, metadata={"facts": json.dumps(facts)})
    return hashlib.sha256(content).digest() + content


def unpack(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `pack` was given.

    Raises:
        ValueError: it is not what was written.
    """
    digest, content = content[:32], content[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("damaged")
    size = int.from_bytes(content[:8], "little")  # of the header, which is JSON
    facts = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["facts"])
    return safetensors.numpy.load(content), facts
