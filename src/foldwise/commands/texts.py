"""What the commands' help texts and options have in common."""

import math
from collections.abc import Callable
from typing import Literal

import typer

from foldwise.core.errors import FoldwiseError, UsageError


def verbatim(text: str) -> str:
    """A help text whose lines are not wrapped again."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs)


def at_most_one(**flags: bool) -> None:
    """That no two of the flags are given.

    Raises:
        UsageError: two are.
    """
    given = [f"--{name}" for name, value in flags.items() if value]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other")


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


def _declared(*kinds: Literal["studies", "variants"]) -> Callable[[str], list[str]]:
    """Names in params.yaml that begin with what is typed, for the shell's completion."""

    def names(incomplete: str) -> list[str]:
        from foldwise.core import config

        try:
            settings = config.load()
        except FoldwiseError:
            return []
        declared = [name for kind in kinds for name in getattr(settings, kind)]
        return [name for name in declared if name.startswith(incomplete)]

    return names


studies, variants = _declared("studies"), _declared("variants")
models = _declared("studies", "variants")
