"""What is wrong with a project, and what fixes it: `foldwise doctor`."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from foldwise.core.errors import FoldwiseError

Fix = Callable[[], object]
ROUNDS = 3  # of fixing: one remedy can bring something to light, as the files of a deleted run


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    text: str  # one line: place, what is wrong, and the remedy
    # Does what the text says that `--fix` does; None where it takes a person. Findings that share
    # it are fixed together.
    fix: Fix | None = None


def fix(findings: Iterable[Finding]) -> list[str]:
    """Do what `--fix` does; what could not be fixed, and why."""
    from dvc.exceptions import DvcException

    problems = []
    for work in dict.fromkeys(finding.fix for finding in findings if finding.fix):
        try:
            work()
        except (FoldwiseError, DvcException, OSError) as error:
            problems.append(str(error))
    return problems
