"""How work ends: the exit statuses, and what is said of an error. Nothing else says it.

What users can do something about is one line. Anything else is a fault of foldwise or of what it
uses: two lines, and a file that keeps the traceback.
"""

import errno
import os
import select
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foldwise.core import paths
from foldwise.core.errors import FoldwiseError, WriteError, masked

DONE = 0
FAILED = 1  # an error that the user can fix; Python's own status where an import fails
REFUSED = 2  # the command line is wrong, or two results must not be compared
NEGATIVE = 3  # the work is done, and the answer is no: a loss, a difference, something to mend
UNEXPECTED = 70  # an error that nobody thought of (EX_SOFTWARE of sysexits.h)
INTERRUPTED = 130  # by Ctrl-C
UNREAD = 141  # whoever read the output has gone away, as shells say of SIGPIPE
TERMINATED = 143  # by SIGTERM
PACKAGE = Path(__file__).parents[1]
PERMISSIONS = "change the permissions, or run as a user who has them"
ELSE = "it is not what must be there: move it away"
ROOM = "make room, then run the same command again"
REMEDIES = {  # of what the system refuses
    errno.EACCES: PERMISSIONS,
    errno.EPERM: PERMISSIONS,
    errno.EROFS: "the file system is read-only: make it writable",
    errno.EISDIR: ELSE,
    errno.ENOTDIR: ELSE,
    errno.ELOOP: ELSE,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EMFILE: "allow this shell more open files (`ulimit -n`)",
    errno.ENFILE: "close other programs",
    errno.EIO: "the disk, or what is mounted there, fails: check it",
}


def status_of(work: Callable[[], int | None]) -> int:
    """Do the work; its exit status. What goes wrong is said on stderr."""
    try:
        status = work() or DONE
        print(end="", flush=True)  # noqa: T201 - here, where it can still be said that it fails
    except (Exception, KeyboardInterrupt) as error:
        gone = isinstance(error, BrokenPipeError) and _is_unread()
        status = UNREAD if gone else _explained(error)
        try:
            print(end="", flush=True)  # noqa: T201
        except OSError:  # as Python would say once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _is_unread() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _explained(error: BaseException) -> int:
    """Say what went wrong; the exit status for it."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    expected = _expected(error)
    with suppress(OSError):
        if expected:
            print(f"error: {expected}", file=sys.stderr)  # noqa: T201
        else:
            print(_report(error), file=sys.stderr)  # noqa: T201
    if isinstance(error, FoldwiseError):
        return error.status
    return FAILED if expected else UNEXPECTED


def _expected(error: BaseException) -> str:
    """What to say of an error that users can do something about, "" of any other."""
    if isinstance(error, FoldwiseError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f"out of memory: {error or 'no more to be had'}; close other programs, or ask for less"
        )
    if isinstance(error, OSError) and error.errno in REMEDIES:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; {REMEDIES[error.errno]}"
    return ""


def _report(error: BaseException) -> str:
    """Two lines on an error that nobody thought of."""
    frames = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    ours = [(path, line) for path, line in frames if path.is_relative_to(PACKAGE)]
    place = "".join(f"{path.relative_to(PACKAGE)}, line {n}: " for path, n in ours[-1:])
    what = masked(f"{type(error).__name__}: {error}".partition("\n")[0])
    return (
        f"unexpected error: {place}{what}\n"
        f"This is a fault of foldwise or of what it uses, and no result. {_kept(error)}"
    )


def _kept(error: BaseException) -> str:
    """Where the traceback is: in the project, else among the temporary files, else here."""
    import platform  # these take a while, and are seldom needed
    import tempfile
    from importlib.metadata import distributions

    from foldwise.core import files

    packages = sorted(f"{one.name} {one.version}" for one in distributions())
    lines = [
        " ".join(sys.argv),
        f"{platform.platform()}, Python {platform.python_version()}",
        ", ".join(packages),
        "",
        *traceback.format_exception(error),
    ]
    text = masked("\n".join(lines))
    name = time.strftime(f"foldwise-%Y%m%d-%H%M%S-{os.getpid()}.txt")
    with suppress(OSError):
        root = paths.home(Path())
        ours = [root / paths.ERRORS] if (root / paths.PARAMS).exists() else []
        for folder in (*ours, Path(tempfile.gettempdir())):
            with suppress(WriteError):
                files.write_text(folder / name, text)
                return f"Its traceback: {folder / name}"
    return f"Its traceback:\n{text}"
