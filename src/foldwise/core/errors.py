"""The exceptions that foldwise raises for its users: each message names place, value and remedy."""

import re

ADDRESS = r"(?i:\b[a-z][a-z0-9+.-]*://)"
LONGEST = 1000  # characters of a line: it may quote a value, but not a file


def printable(text: str) -> str:
    """A text that a terminal can show, whatever it quotes: no control characters, no endless lines.

    The place is at the beginning of a line, the remedy at its end.
    """
    text = re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: repr(m[0])[1:-1], text)
    lines = text.split("\n")
    return "\n".join(s if len(s) <= LONGEST else f"{s[:600]} … {s[-300:]}" for s in lines)


def masked(text: str) -> str:
    """A text whose addresses show neither user nor password, nor a query, which may sign a link."""
    text = re.sub(rf"({ADDRESS})[^\s/'\"<>]*@", r"\1***@", text)
    return re.sub(rf"({ADDRESS}[^\s?'\"<>]*)\?\S+?(?=[:;,.)]*(['\"<>\s]|$))", r"\1?***", text)


class FoldwiseError(Exception):
    """Something that the user can fix; shown as one message, without a traceback or a password."""

    status = 1  # with which the process exits, see endings.py

    def __str__(self) -> str:
        return printable(masked(super().__str__()))


class UsageError(FoldwiseError):
    """A command line asks for what cannot be."""

    status = 2


class ConfigError(FoldwiseError):
    """params.yaml or an environment variable asks for something that cannot be."""


class WriteError(FoldwiseError):
    """A file cannot be written; what was there has not changed."""


class ReadError(FoldwiseError):
    """A file cannot be used as it is."""


class MissingError(ReadError):
    """A file is not there."""


class DamagedError(ReadError):
    """A file's content is not what was written."""


class GitError(FoldwiseError):
    """Git is not there, or says that something cannot be done."""


class DataError(FoldwiseError):
    """A data file cannot be had, or its content is not what it must be."""


class TrainingError(FoldwiseError):
    """Training could not be done: a worker died, a device is not there."""


class ResultsError(FoldwiseError):
    """A result is not complete, or its parts do not belong together."""


class ComparisonError(FoldwiseError):
    """Two results must not be compared."""

    status = 2


class TrackingError(FoldwiseError):
    """The MLflow store cannot be reached or read; the results on disk are safe."""
