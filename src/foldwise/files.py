"""Write files so that nothing half-written is ever taken for whole; digests of what is in them."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foldwise.errors import ResultsError


def atomically(path: Path, write_to: Callable[[Path], object]) -> None:
    """Let `write_to` fill a temporary file beside `path`, flush it to disk, rename it.

    Raises:
        ResultsError: it cannot be written (read-only, disk full); `path` is as it was.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        part = Path(name)
        with os.fdopen(descriptor, "rb") as file:
            os.fchmod(file.fileno(), 0o644)
            write_to(part)
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ResultsError(
            f"{path}: cannot be written ({error.strerror or error}); nothing that was there "
            "has changed; make room or the folder writable, then run the same command again"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, making its folder where needed."""
    atomically(path, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: Path, content: Any) -> None:
    """Write canonical, readable JSON (sorted keys, no NaN) atomically."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_table(path: Path, table: pd.DataFrame, facts: dict[str, Any] | None = None) -> None:
    """Write a Parquet file atomically, `facts` in its schema's metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    if facts is not None:
        metadata = {**(arrow.schema.metadata or {}), b"foldwise": json.dumps(facts).encode()}
        arrow = arrow.replace_schema_metadata(metadata)
    atomically(path, lambda part: pq.write_table(arrow, part, compression="zstd"))


def read_facts(path: Path) -> dict[str, Any]:
    """The `facts` that `write_table` put into a Parquet file."""
    metadata = pq.read_schema(path).metadata or {}
    facts: dict[str, Any] = json.loads(metadata.get(b"foldwise", b"{}"))
    return facts


def sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Hex sha256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
