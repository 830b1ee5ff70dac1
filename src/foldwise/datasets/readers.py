"""Finds the module of a data set by name. Adding a data set is adding one module.

`foldwise/datasets/my_data.py` with the two functions of `DatasetModule` is the data set `my-data`;
a block of that name under `datasets:` in params.yaml says where its files come from.
"""

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Protocol, cast

import foldwise.datasets
from foldwise.core.config import nearest
from foldwise.core.errors import ConfigError
from foldwise.datasets.prepared import Dataset

OTHERS = {"download", "kept", "prepared", "provenance", "readers", "transfer"}  # no data sets


class DatasetModule(Protocol):
    """What the module of a data set has."""

    def read(self, folder: Path, edition: str) -> Dataset:
        """Read the raw files of an edition.

        Raises:
            MissingError: a file is not there.
            DataError: a file is not what it must be; the message names the place in it.
        """

    def synthesize(self, folder: Path, rows: int) -> None:
        """Write raw files of the same layout with `rows` made-up training rows, always the same.

        The task can be learnt, but not perfectly.
        """


def module(name: str) -> DatasetModule:
    """The module that reads the data set `name`.

    Raises:
        ConfigError: there is none; the message has the nearest name and how to add one.
    """
    stem = name.replace("-", "_")
    address = f"foldwise.datasets.{stem}"
    if stem.isidentifier() and importlib.util.find_spec(address) is not None:
        found = importlib.import_module(address)
        if hasattr(found, "read") and hasattr(found, "synthesize"):
            return cast(DatasetModule, found)
    raise ConfigError(
        f"datasets.{name}: no module reads it; {nearest(name, names())} To add it, write "
        f"src/foldwise/datasets/{stem}.py with read and synthesize (docs/extending.md)"
    )


def names() -> list[str]:
    """The data sets that have a module, sorted."""
    stems = {info.name for info in pkgutil.iter_modules(foldwise.datasets.__path__)} - OTHERS
    return sorted(stem.replace("_", "-") for stem in stems)
