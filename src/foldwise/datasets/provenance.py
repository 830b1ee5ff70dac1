"""provenance.json: which edition the raw files beside it are, and their checksums.

It is written last, so a folder without it is never read.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from foldwise.core.errors import DataError
from foldwise.datasets.prepared import damaged, read_json, write_json

FILE = "provenance.json"


@dataclass(frozen=True)
class RawFile:
    """One raw file: its published address (None if it has none), SHA-256 (hex) and bytes."""

    url: str | None
    sha256: str
    size: int


@dataclass(frozen=True)
class Provenance:
    """Which edition of a data set a folder holds."""

    dataset: str
    edition: str
    synthetic: bool
    files: dict[str, RawFile]


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(folder: Path, provenance: Provenance) -> None:
    """Write provenance.json; the same provenance gives the same bytes.

    Raises:
        DataError: it cannot be written.
    """
    write_json(folder / FILE, asdict(provenance))


def load(folder: Path) -> Provenance:
    """Read provenance.json.

    Raises:
        DataError: it is missing or damaged.
    """
    tree = read_json(folder / FILE)
    try:
        tree["files"] = {name: RawFile(**facts) for name, facts in tree["files"].items()}
        return Provenance(**tree)
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(folder / FILE, error) from None


def verify(folder: Path) -> Provenance:
    """Read provenance.json and hash every file that it lists.

    Raises:
        DataError: one is missing or differs from what was downloaded; it names the file.
    """
    provenance = load(folder)
    for name, facts in provenance.files.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "none: not found"
        if found != facts.sha256:
            raise DataError(
                f"{path}: sha256 {found}, downloaded as {facts.sha256}; "
                "delete it and run the download again"
            )
    return provenance
