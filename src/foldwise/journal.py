"""The journal of a training, for those who watch it while it runs.

One file per variant that DVC does not keep, with a JSON object on each line: first
`{"manifest": …, "facts": …}`, then recorded epochs of chunks, always including the last one of
each chunk, and at the end `{"status": …}`. The training holds a lock on the file; the system
releases it however the training ends.
"""

import errno
import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from foldwise.core.errors import DamagedError
from foldwise.numerics.outcomes import Recorded
from foldwise.results.runs import CURVES, Facts, Manifest, Status, manifest_of

RUNNING, KILLED = "running", "killed"


@dataclass(frozen=True)
class Journal:
    """What a journal says: the manifest without the digests of files, and facts of the start.

    The status is "running"; "complete" or "failed", as in run.json, once the run folder is there;
    "killed" if the training ended before that.
    """

    manifest: Manifest
    facts: Facts
    epochs: list[Recorded]  # in the order of writing
    status: str
    size: int  # bytes of the header and the epochs


class Recorder:
    """Writes the journal of one training, in place of the last one's; without a path, nothing.

    A failure (disk full, folder read-only) is reported once and never stops the training.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.close(self._file)

    def begin(self, manifest: Manifest, facts: Facts) -> None:
        """Write the header."""
        header = {"manifest": manifest.model_dump(mode="json")}
        self._write({**header, "facts": facts.model_dump(exclude_none=True)})

    def record(self, recorded: Recorded) -> None:
        """Write an epoch of a chunk."""
        self._write(vars(recorded))

    def end(self, status: Status) -> None:
        """Write the status, after the results; nothing where no training began."""
        if self._file is not None:
            self._write({"status": status})

    def _write(self, line: Mapping[str, Any]) -> None:
        """Append a line, in one piece."""
        if self._path is None:
            return
        content = f"{json.dumps(line)}\n".encode()
        try:
            if self._file is None:
                self._file = _new(self._path)
            if os.write(self._file, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            print(  # noqa: T201
                f"{self._path}: cannot be written ({error.strerror}), so this training cannot be "
                "watched; it goes on, and its results are not affected",
                file=sys.stderr,
            )
            self._path = None


def read(path: Path, known: Journal | None = None) -> Journal | None:
    """A journal as far as it is written; of what is known only what is new is read.

    None where there is no journal yet, or one that another foldwise wrote.
    """
    try:
        with path.open("rb") as file:
            held = _is_held(file.fileno())  # first: without a writer nothing is added
            begun = _begun(file.readline(), path)
            if begun is None:
                return None
            if known is None or known.facts != begun.facts:  # of another training
                known = begun
            file.seek(known.size)
            content = file.read()
    except OSError:
        return None
    lines = parse(content)
    try:
        epochs = [_recorded(**line) for line in lines if "epoch" in line]
        ended = [str(line["status"]) for line in lines if "status" in line]
    except (TypeError, ValueError, OverflowError):
        return None
    return replace(
        known,
        epochs=known.epochs + epochs,
        status=ended[0] if ended else RUNNING if held else KILLED,
        size=known.size + sum(len(line) + 1 for line in content.split(b"\n")[: len(epochs)]),
    )


def parse(content: bytes) -> list[dict[str, Any]]:
    """The lines of a journal up to the first that is torn or damaged."""
    lines: list[dict[str, Any]] = []
    for line in content.split(b"\n")[:-1]:
        try:
            lines.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return lines


def _begun(header: bytes, path: Path) -> Journal | None:
    """The journal after its first line; None where that is not usable."""
    try:
        (line,) = parse(header)
        manifest = manifest_of(line["manifest"], str(path), "train again")
        return Journal(manifest, Facts.model_validate(line["facts"]), [], RUNNING, len(header))
    except (DamagedError, KeyError, TypeError, ValueError):
        return None


def _recorded(splits: Any, epoch: Any, finished: Any, metrics: Any) -> Recorded:
    places = [(int(repeat), int(fold)) for repeat, fold in splits]
    rows = [[float(value) for value in row] for row in metrics]
    if rows and [len(row) for row in rows] != [len(CURVES)] * len(places):
        raise ValueError("other metrics than models")
    return Recorded(places, int(epoch), float(finished), rows)


def _new(path: Path) -> int:
    """An empty, locked file at `path`: nobody ever sees it without its lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.fchmod(file, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(part).replace(path)
    except OSError:
        os.close(file)
        Path(part).unlink(missing_ok=True)
        raise
    return file


def _is_held(file: int) -> bool:
    """Whether a training has the file locked; closing the file releases what this locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
