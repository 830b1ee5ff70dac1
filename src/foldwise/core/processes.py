"""How a process of ours begins and ends: its command line, its exit status, its parent."""

import argparse
import gc
import io
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import NoReturn

from foldwise.core.endings import status_of
from foldwise.core.environment import choose_target, without_telemetry
from foldwise.core.errors import ConfigError, UsageError

_signals: list[int] = []  # that came in a block of `ending_within`


def run_stage(main: Callable[..., None], key: str = "", example: str = "") -> NoReturn:
    """Run a stage's script, for the key on its command line if it has one; see `exit_after`.

    Args:
        main: does the stage's work (for one key); imports there what takes long to import.
        key: what the key names: "dataset", "study" or "variant".
        example: a key, for `--help`.
    """
    parser = argparse.ArgumentParser(
        description=(sys.modules["__main__"].__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"example: python {sys.argv[0]} {example}",
    )
    if key:
        parser.add_argument(key, help=f"a {key} of params.yaml")
    keys = vars(parser.parse_args()).values()

    def work() -> None:
        run_own_source()
        main(*keys)

    exit_after(work, _exit_at_once)


def exit_after(
    work: Callable[[], int | None], done: Callable[[int], NoReturn] = sys.exit
) -> NoReturn:
    """Do the work, then exit with its status, 0 by `done`; `endings` says which there are."""
    without_telemetry()
    if isinstance(sys.stdout, io.TextIOWrapper):  # of whatever the terminal has no sign for
        sys.stdout.reconfigure(errors="backslashreplace")
    # What libraries say to those who write programs, nobody who runs one can act on.
    warnings.filterwarnings("ignore", module="(?!foldwise)")
    # Seldom: what is imported is no garbage, and each search for garbage goes through all of it.
    gc.set_threshold(100_000, 50, 100)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _stop)
    try:
        if status := status_of(_prepare) or status_of(work):
            sys.exit(status)
    finally:
        for number in _signals:
            _exit_at_once(128 + number)
    done(0)


def _prepare() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("this folder is not there any more; change into one that is") from None
    choose_target()


def run_own_source() -> None:
    """Start this process again with the source of the project in this folder, if it runs another's.

    An environment belongs to one checkout, and its source is what a copy of the project would run,
    and a queued experiment, which DVC gives a folder with the source as it was.

    Raises:
        ConfigError: Python is told to ignore PYTHONPATH.
    """
    own = Path("src").resolve()
    running = Path(__file__).resolve().parents[2]
    if own == running or not (own / "foldwise/__init__.py").is_file():
        return
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if others[0] == str(own):
        raise ConfigError(
            f"{own}: not what runs, which is {running}; `make setup` makes an environment of this "
            "project's own"
        )
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(own), *others]))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    """After a signal during the block, this process ends so soon, even in a long compiled step.

    Python handles a signal between two instructions of its own. Where none comes in time, a thread
    ends the process, with the status that the signal would have given; and `exit_after` then takes
    nothing apart. Start no process in the block by forking: its signals would count as this one's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, signals = socket.socketpair()
    signals.setblocking(False)

    def watch() -> None:
        with ours:
            for number in ours.recv(1):
                _signals.append(number)
                time.sleep(seconds)
                os._exit(128 + number)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signals.close()
        thread.join(0.1)


def exit_with_parent() -> None:
    """End this process when its parent is gone, however it went; for a thread of its own."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _exit_at_once(status: int) -> NoReturn:
    """Exit without taking apart what was imported, which takes half a second where torch is."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
