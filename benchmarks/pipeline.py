"""`python -m benchmarks.pipeline`: the whole pipeline from an empty workspace, stage by stage.

Copies what git has or would add into a temporary folder, without results. Each round times the
notebook's loops, and then what `make repro` runs there, and says how long those loops would take
for the same training. At the end `dvc repro` with nothing to do, in turn with one in a trivial DVC
repository of as many stages.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import chosen
from benchmarks.harness import ROOT, measure
from benchmarks.measuring import Round, Runs
from benchmarks.report import goals
from benchmarks.stages import Stage, by_kind, stages
from benchmarks.summary import Spread, ratio_of_medians, spread, times
from benchmarks.targets import Target
from foldwise.core import config, files, git, paths
from foldwise.core.config import Config, Variant
from foldwise.core.environment import MIRROR, TELEMETRY_OFF, TRACKING
from foldwise.core.files import Record
from foldwise.core.processes import exit_after
from foldwise.datasets.prepared import load_meta
from foldwise.wording.tables import aligned

OUTPUT = ROOT / "benchmarks/pipeline.json"
EARLIER = ("dvc.lock", "metrics", "comparisons")  # results in git, which `repro` would reuse
LOOPS = ("notebook-sonar", "notebook-cifar")
SONAR_STEPS = 300 * 12  # of a Sonar model, the unit of its times
SLOW_KINDS = ("train", "track")
STAGES = ["stage", "count", "seconds", "longest"]
Lines = list[tuple[float, str]]


class PipelineRound(Record):
    """The whole pipeline from an empty workspace.

    Attributes:
        loops: the notebook's loops, measured before it.
        seconds: of all of it.
        until_first_stage: seconds.
        stages: in order.
    """

    loops: dict[str, list[Round]]
    seconds: float
    until_first_stage: float
    stages: list[Stage]


class Work(NamedTuple):
    """How many networks a variant trains (`refit` included), and in how many steps."""

    models: int
    steps: int


class Measured(Record):
    """benchmarks/pipeline.json.

    Attributes:
        compiling: seconds to compile the step, which belong to the installation.
        rounds: see `PipelineRound`.
        idle: seconds of `dvc repro` with nothing to do, here and in a trivial repository.
        work: of every variant.
    """

    compiling: float
    rounds: list[PipelineRound]
    idle: list[tuple[float, float]]
    work: dict[str, Work]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds: {options.rounds} is not a whole number above 0")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measured = _measure(Path(folder), options.rounds, options.idle)
    print(text(measured))
    files.write_record(options.output, measured)


def _measure(folder: Path, rounds: int, idle: int) -> Measured:
    clone, trivial = folder / "clone", folder / "trivial"
    make_clone(clone)
    compiling = compile_kernels(clone)
    done = [one_round(clone) for _ in range(rounds)]
    make_trivial(trivial, len(done[0].stages))
    return Measured(
        compiling=compiling,
        rounds=done,
        idle=[(repro(clone)[0], repro(trivial)[0]) for _ in range(idle)],
        work=work(config.load(clone / paths.PARAMS), clone),
    )


def read(path: Path) -> Measured:
    """What was measured.

    Raises:
        DamagedError: the file is not what was written.
    """
    return files.read_record(path, Measured, "`python -m benchmarks.pipeline` makes it")


def one_round(clone: Path) -> PipelineRound:
    """The notebook's loops, then the pipeline without any results."""
    loops = measure(chosen(LOOPS), rounds=1, quick=False).runs
    # The compiled step stays, which is in __pycache__ and belongs to the installation.
    git.run(clone, "clean", "-xdffq", "-e", "__pycache__")
    seconds, lines = whole(clone)
    until_first, found = stages(lines, seconds)
    return PipelineRound(loops=loops, seconds=seconds, until_first_stage=until_first, stages=found)


def make_clone(target: Path) -> None:
    """The working tree as git sees it, without results, as a git repository of its own."""
    listed = git.run(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if name.split("/")[0] in EARLIER or not (ROOT / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    _commit(target)


def compile_kernels(clone: Path) -> float:
    """Compile the training step as `make setup` does, and count it to the installation: seconds."""
    begun = time.perf_counter()
    command = "from foldwise.engine import mlp; mlp.compile_ahead()"
    subprocess.run([sys.executable, "-c", command], cwd=clone, env=_environ(clone), check=True)
    return time.perf_counter() - begun


def make_trivial(target: Path, count: int) -> None:
    """A DVC repository of `count` stages that copy one small file, all done."""
    target.mkdir()
    (target / "source").write_text("1\n")
    stage = "  s{0}:\n    cmd: cp source out{0}\n    deps: [source]\n    outs: [out{0}]\n"
    (target / "dvc.yaml").write_text("stages:\n" + "".join(map(stage.format, range(count))))
    _commit(target)
    _dvc(target, "init")
    repro(target)


def _commit(folder: Path) -> None:
    git.run(folder, "init", "--quiet")
    git.run(folder, "add", "--all")
    git.run(folder, "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "all")


def _dvc(folder: Path, command: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", command, "--quiet"],
        cwd=folder, env=_environ(folder), check=True,
    )  # fmt: skip


def whole(folder: Path) -> tuple[float, Lines]:
    """What `make repro` runs; its seconds, and its lines with the second at which each came.

    Training is a stage `train@all` in it: the stages `train@…` after it put run folders together.
    """
    steps = [("dvc", "repro", "split"), ("foldwise", "train"), ("dvc", "repro")]
    seconds, lines = 0.0, list[tuple[float, str]]()
    for step in steps:
        if step[0] == "foldwise":
            lines.append((seconds, "Running stage 'train@all'"))
        took, found = _timed(folder, step, progress=True)
        lines += [(seconds + at, line) for at, line in found]
        seconds += took
    return seconds, lines


def repro(folder: Path) -> tuple[float, Lines]:
    """Run `dvc repro`; like `whole`."""
    return _timed(folder, ("dvc", "repro"))


def _timed(folder: Path, step: Sequence[str], progress: bool = False) -> tuple[float, Lines]:
    """Run a module's command; its seconds, and its lines with the second at which each came.

    Raises:
        RuntimeError: it failed; the message ends with its last lines.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *step],
        cwd=folder, env=_environ(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    lines: Lines = []
    for line in process.stdout or ():
        lines.append((time.perf_counter() - begun, line.rstrip()))
        if progress and line.startswith("Running"):
            print(f"{lines[-1][0]:7.1f} s  {line.rstrip()}", file=sys.stderr)
    if process.wait():
        last = "\n".join(line for _, line in lines[-20:])
        raise RuntimeError(f"{' '.join(step)} failed:\n{last}")
    return time.perf_counter() - begun, lines


def _environ(folder: Path) -> dict[str, str]:
    """This environment, with the clone's own code and the mirror that this project has."""
    chosen = os.environ.get(MIRROR) or config.load(ROOT / paths.PARAMS).data.mirror
    mirror = chosen if not chosen or "://" in chosen else str((ROOT / chosen).resolve())
    kept = {name: value for name, value in os.environ.items() if name != TRACKING}
    return {
        **kept,
        **TELEMETRY_OFF,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "src"),
        MIRROR: mirror or "",
    }


# --- the same training in the notebook's loops ------------------------------------------------


def work(settings: Config, root: Path) -> dict[str, Work]:
    """What every variant of params.yaml trains."""
    return {
        name: _work(variant, load_meta(root / paths.prepared(variant.dataset)).rows)
        for name, variant in settings.resolved.items()
    }


def _work(variant: Variant, rows: int) -> Work:
    folds, repeats = variant.cv.folds, variant.cv.repeats
    sizes = [rows - len(range(fold, rows, folds)) for fold in range(folds)] * repeats + [rows]
    batches = sum(-(-size // variant.training.batch_size) for size in sizes)
    return Work(len(sizes), variant.training.epochs * batches)


def notebook_seconds(asked: Mapping[str, Work], loops: Runs) -> float | None:
    """What the notebook's loops would take for it, by their measured time per step."""
    total = 0.0
    for name, work in asked.items():
        milliseconds = _step_milliseconds(name, loops)
        if milliseconds is None:
            return None
        total += milliseconds * work.steps / 1000
    return total


def _step_milliseconds(name: str, loops: Runs) -> float | None:
    """Of the loop that trains such a variant: the notebook's nearest."""
    sonar = name.startswith("sonar")
    kinds = ("input-dropout", "hidden-dropout", "baseline") if sonar else ("batchnorm", "plain")
    kind = next((kind for kind in kinds if kind in name), kinds[-1])
    loop, study = ("notebook-sonar", "sonar") if sonar else ("notebook-cifar", "cifar10")
    found = times(loops, loop, f"{study}-{kind}")
    return None if found is None else found.median / (SONAR_STEPS if sonar else 1)


# --- text -------------------------------------------------------------------------------------


def text(measured: Measured) -> str:
    """The targets and the table of stages, for a terminal."""
    rounds = measured.rounds
    kinds = [by_kind(each.stages) for each in rounds]
    rows = [
        STAGES,
        ["(until the first)", "", _shown(each.until_first_stage for each in rounds), ""],
    ]
    for kind, first in kinds[0].items():
        seconds = [each[kind] for each in kinds]
        rows.append([kind, str(len(first)), _shown(map(sum, seconds)), _shown(map(max, seconds))])
    count = str(len(rounds[0].stages))
    rows.append(["all", count, _shown(each.seconds for each in rounds), ""])
    lines = [
        "The whole pipeline from an empty workspace",
        *goals(targets(measured)),
        "",
        *aligned(rows, left={0}),
        "",
        f"Rounds: {len(rounds)}, each begun with the notebook's loops. Before them, in the "
        f"installation: {measured.compiling:.0f} s to compile the step. {_idle(measured)}",
    ]
    return "\n".join(lines)


def _shown(values: Iterable[float], digits: int = 1) -> str:
    found = spread(list(values))
    return found.show(digits) if found else ""


def _idle(measured: Measured) -> str:
    """Seconds of a run with nothing to do, here and in the trivial repository."""
    shown = [found.show(2, " s") for each in zip(*measured.idle, strict=True)
             if (found := spread(each))]  # fmt: skip
    return f"With nothing to do: {' against '.join(shown)} in a trivial repository." * bool(shown)


def targets(measured: Measured) -> list[Target]:
    """Whole pipeline, its stages, tracking, and a run with nothing to do."""
    rounds, asked = measured.rounds, measured.work
    kinds = [by_kind(each.stages) for each in rounds]
    others = [max(max(s) for kind, s in k.items() if kind not in SLOW_KINDS) for k in kinds]
    models = sum(work.models for work in asked.values())
    loops = [notebook_seconds(asked, each.loops) for each in rounds]
    minutes = _shown((seconds / 60 for seconds in loops if seconds is not None), 0)
    loop = f"the notebook's loops for the same {models} models ({minutes or '?'} minutes)"
    ours, trivial = zip(*measured.idle, strict=True) if measured.idle else ((), ())
    return [
        Target(f"whole pipeline: times as fast as {loop}", _over(loops, rounds), 18, True),
        Target("longest stage, `train` and `track` apart", spread(others), 5, False, " s"),
        Target("`track`: a split's run with its model",
               spread([sum(k["track"]) / models for k in kinds]), 0.1, False, " s", 3),
        Target("`dvc repro` with nothing to do: time relative to a trivial repository",
               ratio_of_medians(ours, trivial), 1.3, False, digits=2),
    ]  # fmt: skip


def _over(loops: Sequence[float | None], rounds: Sequence[PipelineRound]) -> Spread | None:
    """How many times as long as the pipeline the loops take, within each round."""
    pairs = zip(loops, rounds, strict=True)
    return spread([slow / each.seconds for slow, each in pairs if slow is not None])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description=__doc__,
        epilog="example: python -m benchmarks.pipeline --rounds 1 --idle 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="from an empty workspace (3)")
    parser.add_argument("--idle", type=int, default=5, help="runs with nothing to do (5)")
    parser.add_argument("--folder", type=Path, help="where the temporary workspaces go")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON")
    return parser


if __name__ == "__main__":
    exit_after(main)
