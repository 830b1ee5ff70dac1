"""How a process of ours begins and ends: its command line, its exit status, its parent."""

import argparse
import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import wait
from types import FrameType
from typing import NoReturn

from foldwise.core.endings import status_of
from foldwise.core.environment import choose_target, without_telemetry


def run_stage(main: Callable[[str], None], key: str, example: str) -> NoReturn:
    """Run a stage's script for the key on its command line, then exit (see `exit_after`).

    Args:
        main: does the stage's work for one key; imports there what takes long to import.
        key: what the key names: "dataset", "study" or "variant".
        example: a key, for `--help`.
    """
    parser = _parser()
    parser.epilog = f"example: python {sys.argv[0]} {example}"
    parser.add_argument(key, help=f"a {key} of params.yaml")
    name = getattr(parser.parse_args(), key)
    exit_after(lambda: main(name), _exit_at_once)


def run_stage_without_key(main: Callable[[], None]) -> NoReturn:
    """As `run_stage`, for a stage that has no key."""
    _parser().parse_args()
    exit_after(main, _exit_at_once)


def exit_after(
    work: Callable[[], int | None], done: Callable[[int], NoReturn] = sys.exit
) -> NoReturn:
    """Do the work, then exit with its status, 0 by `done`; `endings` says which there are."""
    without_telemetry()
    # What libraries say to those who write programs, nobody who runs one can act on.
    warnings.filterwarnings("ignore", module="(?!foldwise)")
    # Seldom: what is imported is no garbage, and each search for garbage goes through all of it.
    gc.set_threshold(100_000, 50, 100)
    signal.signal(signal.SIGTERM, _stop)
    if status := status_of(choose_target) or status_of(work):
        sys.exit(status)
    done(0)


def exit_with_parent() -> None:
    """End this process when its parent is gone, however it went; for a thread of its own."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        description=(sys.modules["__main__"].__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _exit_at_once(status: int) -> NoReturn:
    """Exit without taking apart what was imported, which takes half a second where torch is."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
