"""What every stage script shares: one key on the command line, errors that can be read."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from foldwise.errors import FoldwiseError

# Seldom, from here on: what a stage imports is no garbage, and each search goes through all of it.
gc.set_threshold(100_000, 50, 100)


def run(main: Callable[[str], None], key: str, example: str) -> NoReturn:
    """Run a stage for the key on the command line, then exit.

    Exit status: 0, or 1 after an error that the user can mend (its message on stderr, without
    a traceback), 130 after SIGINT, 143 after SIGTERM.

    Args:
        main: does the stage's work for one key.
        key: what the key names: "dataset", "study" or "variant".
        example: a key, for `--help`.
    """
    script = sys.argv[0]
    parser = argparse.ArgumentParser(
        description=(sys.modules["__main__"].__doc__ or "").strip(),
        epilog=f"example: python {script} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(key, help=f"a {key} of params.yaml")
    name = getattr(parser.parse_args(), key)
    exit_with(lambda: main(name), _exit_at_once)


def run_whole(main: Callable[[], None]) -> NoReturn:
    """As `run`, for a stage that has no key."""
    argparse.ArgumentParser(
        description=(sys.modules["__main__"].__doc__ or "").strip()
    ).parse_args()
    exit_with(main, _exit_at_once)


def exit_with(work: Callable[[], None], done: Callable[[int], NoReturn] = sys.exit) -> NoReturn:
    """Do the work, then exit with its status: 0 (by `done`), 1, 130 or 143 (see `run`)."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        work()
    except FoldwiseError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    done(0)


def _exit_at_once(status: int) -> NoReturn:
    """Exit without taking apart what was imported, which takes half a second where torch is."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
