"""What is wrong with a project, and what fixes it: `foldwise doctor`."""

from collections.abc import Callable
from dataclasses import dataclass

Fix = Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    text: str  # one line: place, what is wrong, and the remedy
    # Does what the text says that `--fix` does; None where it takes a person. Findings that share
    # it are fixed together.
    fix: Fix | None = None
