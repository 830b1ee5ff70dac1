"""What DVC keeps of a project's raw files: in its cache, or else in its remote."""

from collections.abc import Iterator
from pathlib import Path

from foldwise.datasets.transfer import CHUNK, Unavailable


def content(path: Path) -> Iterator[bytes]:
    """What dvc.lock names as the content of a file of the project in this folder, in pieces.

    Raises:
        Unavailable: dvc.lock names none, or neither cache nor remote has it.
    """
    if not Path("dvc.lock").is_file():
        raise Unavailable("there is no dvc.lock")
    from dvc.repo import Repo
    from dvc_data.fs import DataFileSystem

    try:
        with Repo(".") as repo:
            files = DataFileSystem(index=repo.index.data["repo"])
            place = (Path.cwd() / path).relative_to(repo.root_dir)
            with files.open(place.as_posix()) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
    except Exception as error:  # a remote can raise nearly anything
        raise Unavailable(str(error) or type(error).__name__) from error
