"""The `foldwise` command as a whole: its commands in order, its help, its exit status."""

from collections.abc import Sequence
from typing import NoReturn

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
from foldwise.core.processes import exit_after, run_own_source

EXAMPLES = """
examples:
  dvc repro                     run the whole pipeline
  foldwise train                train what is missing of all variants, on all cores
  foldwise verify               do the results come out again, to the byte?
  foldwise results              show the results as a table
  foldwise compare A B          does B do better than A? (compare --help: across commits)
  foldwise track                mirror the results to MLflow again (track --help: older commits)
  foldwise track --follow       show live training curves there
  foldwise doctor               what is wrong, and what fixes it
  foldwise ui --port 5001       browse the runs
  foldwise predict --model sonar echoes.csv    class probabilities for your own rows
  foldwise report               the report with its commit and links to the runs
  foldwise demo                 the whole pipeline on synthetic data, in .demo
  foldwise check                is params.yaml valid, and what does it ask for?

exit status:
  0    done
  1    an error: one line on stderr says where, what, and what to do
  2    the command line is wrong (compare: also that nothing could be compared)
  130  stopped by Ctrl-C
  143  stopped by SIGTERM
"""

app = typer.Typer(
    help="Does it help? Cross-validated comparisons of small networks.",
    epilog=verbatim(EXAMPLES),
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: nothing to import, nothing to switch off
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("check", epilog=verbatim(check.EXAMPLES))(check.run)
app.command("train", epilog=verbatim(train.EXAMPLES))(train.run)
app.command("verify", epilog=verbatim(verify.EXAMPLES))(verify.run)
app.command("results", epilog=verbatim(results.EXAMPLES))(results.run)
app.command("compare", epilog=verbatim(compare.EXAMPLES))(compare.run)
app.command("track", epilog=verbatim(track.EXAMPLES))(track.run)
app.command("ui", epilog=verbatim(ui.EXAMPLES))(ui.run)
app.command("predict", epilog=verbatim(predict.EXAMPLES))(predict.run)
app.command("promote", epilog=verbatim(promote.EXAMPLES))(promote.run)
app.command("report", epilog=verbatim(report.EXAMPLES))(report.run)
app.command("doctor", epilog=verbatim(doctor.EXAMPLES))(doctor.run)
app.command("clean", epilog=verbatim(clean.EXAMPLES))(clean.run)
app.command("demo", epilog=verbatim(demo.EXAMPLES))(demo.run)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command, by default that of the command line, then exit with its status."""

    def work() -> None:
        if arguments is None:
            run_own_source()
        app(arguments)

    exit_after(work)
