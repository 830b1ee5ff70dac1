"""What `foldwise doctor` finds."""

from collections.abc import Callable
from dataclasses import dataclass

Fix = Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        text: one line: place, what is wrong, and the remedy.
        fix: does what the text says that `--fix` does; None where it takes a person. Findings
            that share it are fixed together.
    """

    text: str
    fix: Fix | None = None
