"""Counts the calls of all processes of a trial that write in its project, and kills at one of them.

Python imports this at its start, where killing.py puts this folder on its path. FAULTS_WRITES names
the file that counts, with a byte for each call; FAULTS_KILL says at which call to kill whom.
"""

import os
import signal
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CALLS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def watch(root: str, counter: str, order: str) -> None:
    number, victim = order.split() if order else ("0", "")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & WRITING:
                return
        elif event not in CALLS:
            return
        path = arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        path = str(Path(os.fsdecode(path)).absolute())
        if not path.startswith(root) or ".pyc" in path:
            return
        file = os.open(counter, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b".")
        count = os.lseek(file, 0, os.SEEK_CUR)
        os.close(file)
        if count == int(number):
            if victim == "group":
                os.killpg(os.getpgrp(), signal.SIGKILL)
            os.kill(os.getpgrp() if victim == "parent" else os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if "FAULTS_WRITES" in os.environ:
    names = ("FAULTS_ROOT", "FAULTS_WRITES", "FAULTS_KILL")
    watch(*(os.environ.get(name, "") for name in names))
