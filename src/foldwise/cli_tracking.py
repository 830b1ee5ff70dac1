"""The commands of `foldwise` that have to do with MLflow: its runs, its models, its troubles."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from foldwise import reporting, tracking
from foldwise.core import config, paths
from foldwise.doctor.findings import Finding

INTERVAL = 10.0  # seconds between two looks at the journals

TRACK = """Twice adds nothing, and a track that was stopped is completed by the next. The store is a
mirror: if it was deleted, this builds it again.

With --rev the results of other commits come, too, as history: from git and from DVC's cache or
remote, without a checkout. What a commit lacks is named and left out.

With --follow: shows trainings in MLflow while they go on, from the journals that `train` writes.
At the end the stage `track`, or this command without --follow, takes the same runs over. A
tracking server that fails is tried again until it is back; no training waits for it.

examples:
  foldwise track                          the workspace's results
  foldwise track --rev v1..HEAD           and those of the commits after v1
  foldwise track --rev v1 --rev v2        and those of two tags
  foldwise track --rev brave-otter        and those of a DVC experiment
  foldwise track --follow                 in a second terminal, beside `dvc repro`
  foldwise track --follow --interval 60   look once a minute

exit status:
  0  done
  1  an error; with --rev also: the commits' results are lacking, all of them
"""

UI = """examples:
  foldwise ui --port 5001                    browse the runs
  foldwise ui --follow                       and watch trainings as they go on (make watch)
"""

PREDICT = """MODEL is a study (its champion), a variant (its network trained on all rows), or an
address that MLflow knows: models:/sonar@champion, runs:/<id>/model, the folder of a model.
FILE is raw as you have it: a CSV of the features with or without header for a model of tables, a
PNG or JPEG of the right size for a model of pictures.

examples:
  foldwise predict --model sonar echoes.csv                 by the champion of study sonar
  foldwise predict --model cifar10-plain cat.png dog.jpg    by one variant
  foldwise predict --model models:/sonar/2 --csv echoes.csv > answers.csv
"""

PROMOTE = """`foldwise track` moves a study's alias `champion` to what the comparison calls better.
This gives it to a variant by hand, and there it stays until it is given by hand again. The
variant's present results must be tracked from a commit: no uncommitted changes, no experiment.

examples:
  foldwise promote sonar-sound-input-dropout --why "half the log-loss, same accuracy"
  foldwise promote cifar10-batchnorm
"""

DOCTOR = """Looks for
  files     temporary files of killed processes; run folders, metrics, comparisons and data of
            what params.yaml no longer declares; damaged run folders
  DVC       locks of a killed dvc; entries in dvc.lock of stages that are gone
  MLflow    results that are not in the store, or not whole; runs that stay RUNNING though nothing
            is at work on them; runs shown as current without results; artifacts without a run; a
            database of another MLflow, or of another folder; a server that does not answer
  around    FOLDWISE_* variables with a bad value or name; params.yaml; full disks

Each finding is a line: where, what, and the remedy. --fix carries out the remedies with a *, after
listing them. It deletes only what can be had again: from git, from DVC's cache by a committed
dvc.lock, or by running the pipeline.

examples:
  foldwise doctor           report
  foldwise doctor --fix     report, mend, and report what is left

exit status:
  0  nothing is wrong (any more)
  1  something is
"""


def register(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands; `add` takes a name, a function and the text below the options."""
    _track_options(add("track", _track, TRACK))
    _predict_options(add("predict", _predict, PREDICT))
    _promote_options(add("promote", _promote, PROMOTE))
    doctor = add("doctor", _doctor, DOCTOR)
    doctor.add_argument("--fix", action="store_true", help="mend what is safe to mend")
    ui = add("ui", _ui, UI)
    ui.add_argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: 5000)")
    ui.add_argument("--follow", action="store_true", help="do `track --follow` meanwhile")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _track_options(track: argparse.ArgumentParser) -> None:
    track.add_argument(
        "--rev",
        action="append",
        default=[],
        help="also the results of a commit, tag, branch, DVC experiment or range; again for more",
    )
    track.add_argument("--follow", action="store_true", help="go on until Ctrl-C; see below")
    track.add_argument(
        "--interval", type=_seconds, default=INTERVAL, metavar="SECONDS", help="with --follow (10)"
    )


def _predict_options(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("--model", required=True, help="study, variant or address: see below")
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE", help="CSV, PNG or JPEG")
    form = predict.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for a program")
    form.add_argument("--csv", action="store_true", help="likewise, a line per row")


def _promote_options(promote: argparse.ArgumentParser) -> None:
    promote.add_argument("variant", metavar="VARIANT", help="a variant of params.yaml")
    promote.add_argument("--study", help="where params.yaml does not name the variant any more")
    promote.add_argument("--why", default="", help="kept with the version")


def _track(arguments: argparse.Namespace) -> None:
    """Mirror the runs to MLflow; what is there already is left alone."""
    if arguments.follow:
        _follow(arguments.interval, lambda: True)
        return
    _mirror()
    if arguments.rev:
        history = tracking.backfill(Path.cwd(), arguments.rev, os.environ, reporting.PngCharts)
        print(history)
        sys.exit(1 if history.failed else 0)


def _mirror() -> None:
    settings, root = config.load(), Path.cwd()
    summary = tracking.track(settings, root, os.environ, reporting.PngCharts(settings, root))
    tracking.write_marker(paths.TRACKED, summary)
    print(summary)


def _follow(interval: float, going: Callable[[], bool]) -> None:
    """Show trainings in MLflow while they go on, until Ctrl-C."""
    config.load()  # says so where this is not a project's root
    print(f"watching {paths.LIVE}/ for trainings; Ctrl-C ends it", file=sys.stderr)
    with suppress(KeyboardInterrupt):
        tracking.follow(Path.cwd(), os.environ, interval, going)


def _ui(arguments: argparse.Namespace) -> None:
    """Serve the MLflow UI on the project's store until Ctrl-C."""
    command = tracking.ui_command(Path.cwd(), os.environ, arguments.port)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # 1.4 GB for LLM judges
    if arguments.follow:
        server = os.getpid()
        if os.fork() == 0:
            _follow(INTERVAL, lambda: os.getppid() == server)
            return
        tracking.prepare(Path.cwd())  # the server is not to make the database beside the follower
    if not tracking.is_built(Path.cwd(), os.environ):
        print("no MLflow store yet: `foldwise track` builds it from runs/", file=sys.stderr)
    print(f"http://127.0.0.1:{arguments.port}", file=sys.stderr)
    sys.stderr.flush()
    os.execv(command[0], command)  # in this process's place: Ctrl-C and kill reach the server


def _predict(arguments: argparse.Namespace) -> None:
    """Class probabilities for files of raw rows or pictures, by a trained model."""
    from foldwise import prediction  # imports torch, which the other commands can do without

    model = prediction.predictor(arguments.model, Path.cwd())
    files = [prediction.read(path, model.shape) for path in arguments.files]
    for note in [model, *(rows.note for rows in files if rows.note)]:
        print(note, file=sys.stderr)
    predictions = prediction.predict(model, files)
    if arguments.json:
        print(prediction.as_json(model, predictions))
    else:
        print(prediction.as_csv(predictions) if arguments.csv else prediction.text(predictions))


def _promote(arguments: argparse.Namespace) -> None:
    """Make a variant its study's champion by hand."""
    variant, study, why = arguments.variant, arguments.study, arguments.why
    print(tracking.promote(config.load(), Path.cwd(), os.environ, variant, study, why))


def _doctor(arguments: argparse.Namespace) -> None:
    """Find what is wrong with the workspace and the MLflow store, and mend it with --fix."""
    from foldwise.doctor import (
        workspace as doctor,  # imports DVC, which the other commands can do without
    )

    def examine() -> list[Finding]:
        found = doctor.examine(Path.cwd(), os.environ, _mirror)
        for finding in found:
            print(f"{'*' if finding.mend else '-'} {finding.text}")
        return found

    found = examine()
    for _ in range(doctor.ROUNDS if arguments.fix else 0):
        if not any(finding.mend for finding in found):
            break
        print("\nmending those with a *")
        for problem in doctor.mend(found):
            print(f"could not be mended: {problem}")
        print("\nwhat is left:")
        found = examine()
    if not found:
        print("nothing is wrong")
    elif not arguments.fix and any(finding.mend for finding in found):
        print("\n`foldwise doctor --fix` mends those with a *")
    sys.exit(1 if found else 0)
