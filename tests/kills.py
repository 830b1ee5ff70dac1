"""Processes that tests kill."""

import os
import signal
from collections.abc import Callable


def killed(work: Callable[[], None]) -> None:
    """Do something in a process that kills itself meanwhile."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
