"""`foldwise train`: train what is missing of all variants at once."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from foldwise.commands.texts import variants

EXAMPLES = """
examples:
  foldwise train                          what is missing of all variants in params.yaml
  foldwise train sonar-baseline           of this one
  foldwise train --fresh sonar-baseline   all of it, whatever is there

`dvc repro` afterwards puts the run folders together, evaluates and compares. FOLDWISE_WORKERS and
FOLDWISE_DEVICE say on what it runs (a GPU is experimental).
"""


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT", help="Of params.yaml; without any, all.", autocompletion=variants
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train what is there again, and replace it.")
    ] = False,
) -> None:
    """Train every split that is missing, of several variants at once.

    The splits of all variants share the cores, the longest first. Each result is kept in the store
    of trained splits (.foldwise/splits/) as soon as it is there: stopped at any time, the same
    command goes on where it was. `dvc repro` alone gives the same results, a variant at a time.
    """
    from foldwise.core import config, paths
    from foldwise.core.environment import Environment
    from foldwise.engine import executors, tasks
    from foldwise.engine.store import Store
    from foldwise.journal import Recorder

    settings, environment = config.load(), Environment.read()
    wanted = [settings.variant(name) for name in names or settings.variants]
    device = executors.choose_device(environment)
    asked = tasks.load(wanted, device)
    store = Store(Path(), fresh)
    todo = asked if fresh else tasks.adopt(asked, store)
    tasks.check_room(todo, store)
    with ExitStack() as stack:
        journals = [stack.enter_context(Recorder(paths.journal(task.name))) for task in todo]
        outcomes = tasks.train(todo, environment, store, journals)
        for outcome, journal in zip(outcomes, journals, strict=True):
            journal.end("failed" if outcome.failure else "complete")
            if outcome.failure:
                print(f"{outcome.task.name} failed: {outcome.reason}", file=sys.stderr)
    tasks.shrink(store, device)
    trained = sum(outcome.trained for outcome in outcomes)
    there = sum(len(outcome.entries) for outcome in outcomes) - trained
    print(f"{trained} splits trained, {there} were there")
