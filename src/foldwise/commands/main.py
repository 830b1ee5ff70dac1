"""The `foldwise` command as a whole: its commands in order, its help, its exit status."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn

import typer

from foldwise.commands import (
    check,
    clean,
    compare,
    demo,
    doctor,
    predict,
    promote,
    report,
    results,
    track,
    train,
    ui,
    verify,
)
from foldwise.commands.texts import verbatim
from foldwise.core.endings import status_of
from foldwise.core.processes import exit_after, run_own_source

COMMANDS = (
    *(check, train, verify, results, compare, track, ui),
    *(predict, promote, report, doctor, clean, demo),
)
EXAMPLES = """
examples:
  foldwise train                train what is missing of all variants, on all cores
  dvc repro                     then the rest of the pipeline
  foldwise results              show the results as a table
  foldwise compare A B          does B do better than A? (compare --help: across commits)
  foldwise ui                   browse the runs
  foldwise predict --model sonar echoes.csv    class probabilities for your own rows

exit status:
  0    done
  1    an error: one line on stderr says where, what, and what to do
  2    the command line is wrong, or asks to compare what cannot be compared
  3    the answer is no: compare --fail-if, verify and doctor, see there
  70   an unexpected error: where its traceback is kept
  130  stopped by Ctrl-C
  143  stopped by SIGTERM
docs/exit-status.md has those of every command.
"""


def _command(run: Callable[..., int | None]) -> Callable[..., NoReturn]:
    """The function for Typer, which ends with the exit status of the work."""

    @wraps(run)
    def command(**options: Any) -> NoReturn:
        raise typer.Exit(status_of(lambda: run(**options)))

    return command


app = typer.Typer(
    help="Does it help? Cross-validated comparisons of small networks.",
    epilog=verbatim(EXAMPLES),
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: nothing to import, nothing to switch off
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _module in COMMANDS:
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, epilog=verbatim(_module.EXAMPLES))(_command(_module.run))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, by default that of the command line, then exit with its status."""

    def work() -> None:
        if arguments is None:
            run_own_source()
        app(arguments)

    exit_after(work)
