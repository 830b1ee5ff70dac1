"""What the commands' help texts and options have in common."""

import math
from typing import Literal

import typer

from foldwise.core.errors import FoldwiseError


def verbatim(text: str) -> str:
    """A help text whose lines are not wrapped again."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs)


def at_most_one(**flags: bool) -> None:
    """That no two of the flags are given.

    Raises:
        BadParameter: two are.
    """
    given = [f"--{name}" for name, value in flags.items() if value]
    if len(given) > 1:
        raise typer.BadParameter(f"{' and '.join(given)} exclude each other")


def seconds(text: str) -> float:
    """A time in seconds.

    Raises:
        BadParameter: it is not a finite number above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"'{text}' is not a number above 0")
    return value


def variants(incomplete: str) -> list[str]:
    """Variants of params.yaml that begin with this, for the shell's completion."""
    return _declared("variants", incomplete)


def studies(incomplete: str) -> list[str]:
    """Studies of params.yaml that begin with this, for the shell's completion."""
    return _declared("studies", incomplete)


def models(incomplete: str) -> list[str]:
    """Studies and variants of params.yaml that begin with this, for the shell's completion."""
    return [*studies(incomplete), *variants(incomplete)]


def _declared(kind: Literal["studies", "variants"], incomplete: str) -> list[str]:
    from foldwise.core import config

    try:
        settings = config.load()
    except FoldwiseError:
        return []
    names = settings.studies if kind == "studies" else settings.variants
    return [name for name in names if name.startswith(incomplete)]
