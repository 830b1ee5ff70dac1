"""Read and write files: whole or not at all, and durable. Digests of what is in them.

The only place that writes a file of the project's; everything is written as bytes.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from foldwise.core.errors import DamagedError, MissingError, WriteError

if TYPE_CHECKING:
    import pandas as pd

FACTS = b"foldwise"  # key of our own facts in a Parquet file's metadata


class Record(BaseModel):
    """What one JSON file, or a part of it, says: frozen and typed; unknown keys are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


R = TypeVar("R", bound=Record)


# --- writing ----------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """An open file under a temporary name, which takes the place of `path` after the block.

    It is flushed to disk before it is renamed; an error in the block removes it. The folder is
    made if needed.

    Raises:
        WriteError: it cannot be written (read-only, disk full); `path` is as it was.
    """
    refuse_links(path.parent)
    part: Path | None = None
    try:
        _make_folder(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        part = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            _flush_file(file)
        part.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; this and all below as `replacing` says."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON; see `json_bytes` and `write_bytes`."""
    write_bytes(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """Canonical, readable JSON: sorted keys, no NaN."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def write_record(path: Path, record: Record) -> None:
    """Write a record as JSON; what is None is left out."""
    write_json(path, record.model_dump(mode="json", exclude_none=True))


def write_table(path: Path, table: "pd.DataFrame", facts: dict[str, Any] | None = None) -> None:
    """Write a Parquet file; see `table_bytes` and `write_bytes`."""
    write_bytes(path, table_bytes(table, facts))


def table_bytes(table: "pd.DataFrame", facts: dict[str, Any] | None = None) -> bytes:
    """A Parquet file, `facts` in its schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    if facts is not None:
        metadata = {**(arrow.schema.metadata or {}), FACTS: json.dumps(facts).encode()}
        arrow = arrow.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(arrow, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Put files into a folder, all of them or none; it is not there, or whole, before and after.

    They are flushed to disk before they take their places. The last of them says that all are
    there: it is taken away first, and comes back last.

    Raises:
        WriteError: they cannot be written (read-only, disk full); the folder is as it was.
    """
    refuse_links(folder)
    staging, last = None, [*contents][-1]
    try:
        _make_folder(folder)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder))
        for name, content in contents.items():
            with (staging / name).open("wb") as file:
                file.write(content)
                _flush_file(file)
        (folder / last).unlink(missing_ok=True)
        _flush_folder(folder)
        for name in contents:
            (staging / name).replace(folder / name)
        _flush_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file, if there is one; WriteError where that cannot be done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def refuse_links(folder: Path) -> None:
    """That a folder, relative to the project's root, is no link, nor any that it lies in.

    The outermost one may be: `data` on another disk.

    Raises:
        WriteError: one is.
    """
    for each in [] if folder.is_absolute() else [folder, *folder.parents][:-2]:
        if each.is_symlink():
            raise WriteError(
                f"{each}: a link to {each.readlink()}, through which nothing is written; remove "
                f"it (only {folder.parts[0]} as a whole may be a link)"
            )


def check_room(folder: Path, size: int) -> None:
    """That a folder, which is made if needed, can be written, and so many bytes are free there.

    Raises:
        WriteError: it cannot, or they are not.
    """
    try:
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise unwritable(folder, error) from error
    if free < size:
        raise WriteError(
            f"{folder}: this needs about {shown(size)}, and {shown(free)} are free; make room, "
            "then run the same command again"
        )


def shown(size: int) -> str:
    """A number of bytes, for people."""
    for unit, bytes_of_it in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:,.1f} {unit}"
    return f"{size / 2**10:,.0f} KiB"


def unwritable(path: Path, error: OSError) -> WriteError:
    """The error for a place where nothing can be written."""
    return WriteError(
        f"{path}: cannot be written ({error.strerror or error}); nothing that was there "
        "has changed; make room or the folder writable, then run the same command again"
    )


def _make_folder(folder: Path) -> None:
    """Make a folder, and its parents, that outlast a loss of power."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_file(file: BinaryIO) -> None:
    """Let others read a file that was written, and make its content durable."""
    os.fchmod(file.fileno(), 0o644)
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- reading ----------------------------------------------------------------------------------
# Each raises MissingError where there is no file, DamagedError where it is not what was written.
# `remedy`, for their messages, says what to do then; `source` names what is not read from a file.


def read_bytes(path: Path, remedy: str) -> bytes:
    """The content of a file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; {remedy}") from None
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        content = json.loads(read_bytes(path, remedy))
    except (ValueError, RecursionError) as error:  # of JSON, or of UTF-8; nested too deeply
        raise DamagedError(f"{path}: damaged ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path}: damaged (not an object); {remedy}")
    return content


def read_record(path: Path, kind: type[R], remedy: str) -> R:
    """The record in a JSON file; an error names the field that is missing or of another type."""
    return parse_record(read_bytes(path, remedy), kind, str(path), remedy)


def parse_record(text: bytes, kind: type[R], source: str, remedy: str) -> R:
    """The record in a JSON text."""
    return _record(lambda: kind.model_validate_json(text), source, remedy)


def as_record(tree: dict[str, Any], kind: type[R], source: str, remedy: str) -> R:
    """The record that a tree is."""
    return _record(lambda: kind.model_validate(tree), source, remedy)


def _record(validate: Callable[[], R], source: str, remedy: str) -> R:
    try:
        return validate()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise DamagedError(f"{source}: damaged ({reason}); {remedy}") from None


def read_table(path: Path, whole: Collection[str], numbers: Collection[str]) -> "pd.DataFrame":
    """A Parquet file of numbers that has these columns, `whole` ones of whole numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: it is none, or lacks a column; the message says which.
    """
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    return checked(table, whole, numbers)


def checked(
    table: "pd.DataFrame", whole: Collection[str], numbers: Collection[str] = ()
) -> "pd.DataFrame":
    """A table, if it has these columns and holds nothing but numbers, `whole` ones in some.

    Raises:
        ValueError: the first of its columns that is missing or of another kind.
    """
    for name in (*whole, *numbers):
        if name not in table.columns:
            raise ValueError(f"no column '{name}'")
    for column, dtype in table.dtypes.items() if len(table) else ():
        if dtype.kind not in ("iu" if column in whole else "iuf"):
            kind = "whole numbers" if column in whole else "numbers"
            raise ValueError(f"column '{column}' holds {dtype}, not {kind}")
    return table


def read_facts(path: Path) -> dict[str, Any]:
    """The `facts` that `write_table` put into a Parquet file; {} where there are none."""
    import pyarrow.parquet as pq

    metadata = pq.read_schema(path).metadata or {}
    facts: dict[str, Any] = json.loads(metadata.get(FACTS, b"{}"))
    return facts


# --- digests ----------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Hex sha256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short(digest: str) -> str:
    """The part of a digest that is shown: 64 bits are plenty against chance."""
    return digest[:16]
