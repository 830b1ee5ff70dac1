"""`foldwise ui`: browse the runs in MLflow's own interface."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from foldwise.commands.track import INTERVAL, watch

EXAMPLES = """
examples:
  foldwise ui --port 5001    browse the runs
  foldwise ui --follow       with live training curves (make watch)
"""


def run(
    port: Annotated[
        int, typer.Option(min=1, max=65535, metavar="PORT", help="On 127.0.0.1.")
    ] = 5000,
    follow: Annotated[
        bool, typer.Option("--follow", help="Run `track --follow` at the same time.")
    ] = False,
) -> None:
    """Serve the MLflow UI until Ctrl-C, on the project's store."""
    from foldwise.core.environment import Environment
    from foldwise.tracking import place

    environment = Environment.read()
    uri = place.store_uri(Path.cwd(), environment)
    command = place.ui_command(uri, port)
    if follow:
        server = os.getpid()
        if os.fork() == 0:
            watch(INTERVAL, lambda: os.getppid() == server)
            return
        from foldwise.tracking import store

        with store.opened(uri, environment):  # or the server and the follower would both make it
            pass
    if not place.is_built(uri):
        print("no MLflow store yet: `foldwise track` builds it from runs/", file=sys.stderr)
    print(f"http://127.0.0.1:{port}", file=sys.stderr, flush=True)
    without_judges = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}  # 1.4 GB less
    # In this process's place: Ctrl-C and kill reach the server.
    os.execve(command[0], command, without_judges)
