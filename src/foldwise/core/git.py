"""The one wrapper of git."""

import subprocess
from pathlib import Path

from foldwise.core.errors import GitError

SECONDS = 60  # that an answer may take


def run(root: Path, *arguments: str) -> str:
    """What git answers.

    Raises:
        GitError: it is not there, or says that it cannot be done.
    """
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        raise GitError(f"git {arguments[0]}: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git {arguments[0]}: {error}") from None


def ask(root: Path, *arguments: str) -> str:
    """What git answers, stripped; "" where it is not there, or this is no checkout."""
    try:
        return run(root, *arguments).strip()
    except GitError:
        return ""
