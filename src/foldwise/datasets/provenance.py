"""provenance.json: which edition the raw files beside it are, and their checksums.

It is written last, so a folder without it is never read.
"""

from pathlib import Path

from foldwise.core import files
from foldwise.core.errors import DamagedError, MissingError
from foldwise.core.files import Record

FILE = "provenance.json"


class RawFile(Record):
    """One raw file: its published address (None if it has none), SHA-256 (hex) and bytes."""

    url: str | None
    sha256: str
    size: int


class Provenance(Record):
    """Which edition of a data set a folder holds."""

    dataset: str
    edition: str
    synthetic: bool
    files: dict[str, RawFile]


def read(folder: Path) -> Provenance:
    """Read provenance.json.

    Raises:
        MissingError: it is not there.
        DamagedError: it is not what was written.
    """
    return files.read_record(folder / FILE, Provenance, _remedy(folder))


def verify(folder: Path) -> Provenance:
    """Read provenance.json and hash every file that it lists; raises as `read`."""
    provenance = read(folder)
    for name, facts in provenance.files.items():
        path = folder / name
        if not path.is_file():
            raise MissingError(f"{path}: not there; {_remedy(folder)}")
        if (actual := files.sha256(path)) != facts.sha256:
            raise DamagedError(
                f"{path}: sha256 {actual}, downloaded as {facts.sha256}; {_remedy(folder)}"
            )
    return provenance


def _remedy(folder: Path) -> str:
    return f"`dvc repro download@{folder.name}` gets it again"
