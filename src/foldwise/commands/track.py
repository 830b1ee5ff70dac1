"""`foldwise track`: mirror results to MLflow, once or while trainings go on."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from foldwise.commands.texts import seconds
from foldwise.core.endings import DONE, FAILED

INTERVAL = 10.0  # seconds between two looks at the journals
EXAMPLES = """
examples:
  foldwise track                          the workspace's results
  foldwise track --rev v1..HEAD           and those of the commits after v1
  foldwise track --rev v1 --rev v2        and those of two tags
  foldwise track --rev brave-otter        and those of a DVC experiment
  foldwise track --follow                 in a second terminal, beside `dvc repro`
  foldwise track --follow --interval 60   look once a minute

exit status:
  0  done
  1  an error; with --rev also: none of the commits' results could be read
"""


def run(
    rev: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REV",
            help="Also the results of a commit, tag, branch, DVC experiment or range; repeatable.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show live training curves until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(parser=seconds, metavar="SECONDS", help="With --follow: time between looks."),
    ] = INTERVAL,
) -> int:
    """Mirror the runs to MLflow.

    What is already there is left alone: running it twice adds nothing, and the next run completes
    one that was stopped. The store is a mirror: if it was deleted, this builds it again.

    With --rev the results of other commits are added as history: from git and from DVC's cache or
    remote, without a checkout. What a commit lacks is named and left out.

    With --follow trainings are shown in MLflow as they go on, from the journals that `train`
    writes. At the end the stage `track`, or this command without --follow, takes over the same
    runs. A tracking server that fails is tried again until it is back; no training waits for it.
    """
    if follow:
        watch(interval, lambda: True)
        return DONE
    mirror()
    return add_history(rev) if rev else DONE


def mirror() -> None:
    """Mirror the workspace's results, and say what was done."""
    from foldwise import reporting
    from foldwise.core import config, paths
    from foldwise.core.environment import Environment
    from foldwise.results.studies import stand_ins
    from foldwise.tracking import tracker
    from foldwise.wording.sentences import stand_in

    settings, root = config.load(), Path.cwd()
    charts = reporting.PngCharts(settings, root)
    done = tracker.track(settings, root, Environment.read(), charts)
    done.write_marker(paths.TRACKED)
    print(done)
    if notice := stand_in(stand_ins(settings)):
        print(notice)


def add_history(revisions: list[str]) -> int:
    """Mirror the results of other commits; the exit status, 1 where none could be read."""
    from foldwise import backfill, reporting
    from foldwise.core.environment import Environment

    history = backfill.backfill(Path.cwd(), revisions, Environment.read(), reporting.PngCharts)
    print(history)
    return FAILED if history.failed else DONE


def watch(interval: float, going: Callable[[], bool]) -> None:
    """Show trainings in MLflow as they go on, until Ctrl-C or as long as `going` says."""
    from foldwise import watching
    from foldwise.core import config, paths
    from foldwise.core.environment import Environment

    config.load()  # says so where this is not a project's root
    print(f"watching {paths.LIVE}/ for trainings; Ctrl-C ends it", file=sys.stderr)
    with suppress(KeyboardInterrupt):
        watching.follow(Path.cwd(), Environment.read(), interval, going)
