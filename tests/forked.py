"""What tests run in a process that was forked from one with everything imported (`processes`)."""

import os
import signal
import sys
from pathlib import Path

from foldwise.commands.main import main

SAID = "said"  # a file in the folder: what the process prints


def foldwise(root: Path, *arguments: str) -> None:
    """The command, in a folder."""
    enter(root)
    main(arguments)


def enter(root: Path) -> None:
    """Be as if started in a folder, as the leader of a process group; print to a file there."""
    os.setsid()
    os.chdir(root)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(SAID).open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
