"""Finds the module of a data set by name. Adding a data set is adding one module.

`foldwise/datasets/my_data.py` with the two functions of `DatasetModule` is the data set `my-data`;
a block of that name under `datasets:` in params.yaml says where its files come from.
"""

import difflib
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Protocol, cast

import foldwise.datasets
from foldwise.core.errors import ConfigError
from foldwise.datasets.prepared import Dataset


class DatasetModule(Protocol):
    """What the module of a data set has."""

    def read(self, folder: Path, edition: str) -> Dataset:
        """Read the raw files of an edition.

        Raises:
            MissingError: a file is not there.
            DataError: a file is not what it must be; the message names the place in it.
        """

    def synthesize(self, folder: Path, rows: int) -> None:
        """Write raw files of the same layout with `rows` made-up training rows.

        The same call writes the same bytes. The task can be learnt, but not perfectly.
        """


def module(name: str) -> DatasetModule:
    """The module that reads the data set `name`.

    Raises:
        ConfigError: there is none; the message has the nearest name and how to add one.
    """
    reader = _import(name.replace("-", "_"))
    if reader is None:
        raise ConfigError(f"datasets.{name}: no module reads it; {_remedy(name)}")
    return reader


def names() -> list[str]:
    """The data sets that have a module, sorted."""
    stems = [info.name for info in pkgutil.iter_modules(foldwise.datasets.__path__)]
    return sorted(stem.replace("_", "-") for stem in stems if _import(stem) is not None)


def _import(stem: str) -> DatasetModule | None:
    address = f"foldwise.datasets.{stem}"
    if not stem.isidentifier() or importlib.util.find_spec(address) is None:
        return None
    reader = importlib.import_module(address)
    if not (hasattr(reader, "read") and hasattr(reader, "synthesize")):
        return None
    return cast(DatasetModule, reader)


def _remedy(name: str) -> str:
    there = names()
    match = difflib.get_close_matches(name, there, n=1, cutoff=0.6)
    hint = f"did you mean '{match[0]}'?" if match else f"there are: {', '.join(there)}"
    path = f"src/foldwise/datasets/{name.replace('-', '_')}.py"
    return f"{hint} To add it, write {path} with read and synthesize (see readers.py)"
