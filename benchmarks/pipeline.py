"""`python -m benchmarks.pipeline`: the whole `dvc repro` from an empty workspace, per stage.

Copies what git has or would add into a temporary folder, without results, and runs `dvc repro`
there; then `dvc repro` again with nothing to do, in turn with one in a trivial DVC repository of
as many stages. Compares the first with what the notebook's loops would take for the same training
(from benchmarks/results.json).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from benchmarks.stages import Stage, by_kind, stages
from benchmarks.summary import Results, ratio_of_medians, spread, table, times
from benchmarks.targets import Target
from foldwise import config, paths
from foldwise.config import Config, Variant
from foldwise.datasets.prepared import load_meta
from foldwise.files import write_text

RESULTS = ROOT / "benchmarks/results.json"
OUTPUT = ROOT / "benchmarks/pipeline.json"
EARLIER = ("dvc.lock", "metrics", "comparisons")  # results in git, which `repro` would reuse
SONAR_STEPS = 300 * 12  # of a Sonar model, the unit of its times
SLOW_KINDS = ("train", "track")
Lines = list[tuple[float, str]]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, measure, print, write."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        clone, trivial = Path(folder) / "clone", Path(folder) / "trivial"
        make_clone(clone)
        compiling = compile_kernels(clone)
        seconds, lines = repro(clone, progress=True)
        until_first, found = stages(lines, seconds)
        make_trivial(trivial, len(found))
        idle = [(repro(clone)[0], repro(trivial)[0]) for _ in range(options.idle)]
        asked = work(config.load(clone / paths.PARAMS), clone)
    measured = {
        "compiling": compiling,
        "seconds": seconds,
        "until_first_stage": until_first,
        "stages": [[stage.name, stage.seconds] for stage in found],
        "idle": idle,
        "work": asked,
    }
    measured["text"] = text(measured, _results())
    print(measured["text"])
    write_text(options.output, json.dumps(measured, indent=1) + "\n")


# --- workspaces -------------------------------------------------------------------------------


def make_clone(target: Path) -> None:
    """The working tree as git sees it, without results, as a git repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if name.split("/")[0] in EARLIER or not (ROOT / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)
    _commit(target)


def compile_kernels(clone: Path) -> float:
    """Compile the training step as `make setup` does, and count it to the installation: seconds."""
    begun = time.perf_counter()
    command = "from foldwise.engine import kernels; kernels.prepare()"
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
    person = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for command in (["init", "--quiet"], ["add", "--all"], [*person, "commit", "--quiet", "-mx"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def _dvc(folder: Path, command: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "dvc", command, "--quiet"],
        cwd=folder, env=_environ(folder), check=True,
    )  # fmt: skip


def repro(folder: Path, progress: bool = False) -> tuple[float, Lines]:
    """Run `dvc repro`; its seconds, and its lines with the second at which each came.

    Raises:
        RuntimeError: it failed; the message ends with its last lines.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder, env=_environ(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    lines: Lines = []
    for line in process.stdout or ():
        lines.append((time.perf_counter() - begun, line.rstrip()))
        if progress and line.startswith("Running"):
            print(f"{lines[-1][0]:7.1f} s  {line.rstrip()}", file=sys.stderr)
    if process.wait():
        raise RuntimeError("dvc repro failed:\n" + "\n".join(line for _, line in lines[-20:]))
    return time.perf_counter() - begun, lines


def _environ(folder: Path) -> dict[str, str]:
    """This environment, with the clone's own code and the mirror that this project has."""
    chosen = os.environ.get("FOLDWISE_MIRROR") or config.load(ROOT / paths.PARAMS).data.mirror
    mirror = chosen if not chosen or "://" in chosen else str((ROOT / chosen).resolve())
    kept = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "src"),
        "FOLDWISE_MIRROR": mirror or "",
        "DVC_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


# --- the same training in the notebook's loops ------------------------------------------------


def work(settings: Config, root: Path) -> dict[str, list[int]]:
    """For every variant, how many networks are trained (`refit` included) and in how many steps."""
    return {
        name: list(_work(variant, load_meta(root / paths.prepared(variant.dataset)).rows))
        for name, variant in settings.resolved.items()
    }


def _work(variant: Variant, rows: int) -> tuple[int, int]:
    folds, repeats = variant.cv.folds, variant.cv.repeats
    sizes = [rows - len(range(fold, rows, folds)) for fold in range(folds)] * repeats + [rows]
    batches = sum(-(-size // variant.training.batch_size) for size in sizes)
    return len(sizes), variant.training.epochs * batches


def notebook_seconds(asked: dict[str, list[int]], results: Results) -> float | None:
    """What the notebook's loops would take for it, by their measured time per step."""
    total = 0.0
    for name, (_, steps) in asked.items():
        milliseconds = _step_milliseconds(name, results)
        if milliseconds is None:
            return None
        total += milliseconds * steps / 1000
    return total


def _step_milliseconds(name: str, results: Results) -> float | None:
    """Of the loop that trains such a variant: the notebook's nearest."""
    sonar = name.startswith("sonar")
    kinds = ("input-dropout", "hidden-dropout", "baseline") if sonar else ("batchnorm", "plain")
    kind = next((kind for kind in kinds if kind in name), kinds[-1])
    loop, study = ("notebook-sonar", "sonar") if sonar else ("notebook-cifar", "cifar10")
    found = times(results, loop, f"{study}-{kind}")
    return None if found is None else found.median / (SONAR_STEPS if sonar else 1)


def _results() -> dict[str, Any]:
    """The last whole benchmark, or nothing."""
    if not RESULTS.is_file():
        return {"runs": {}}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


# --- text -------------------------------------------------------------------------------------


def text(measured: dict[str, Any], results: Results) -> str:
    """The table of stages and the targets, in Markdown."""
    found = [Stage(*stage) for stage in measured["stages"]]
    kinds = by_kind(found)
    headers = ["stage", ">count", ">seconds", ">longest"]
    rows = [["(until the first)", "", f"{measured['until_first_stage']:.1f}", ""]]
    rows += [[k, str(len(s)), f"{sum(s):.1f}", f"{max(s):.1f}"] for k, s in kinds.items()]
    rows.append(["**all**", str(len(found)), f"{measured['seconds']:.1f}", ""])
    lines = "\n".join(f"- {target.line()}" for target in targets(measured, results))
    title = "### The whole `dvc repro` from an empty workspace"
    compiling = (
        f"Before it, in the installation: {measured['compiling']:.0f} s to compile the step."
    )
    return f"{title}\n\n{lines}\n\n{table(headers, rows)}\n\n{compiling} {_idle(measured)}"


def _idle(measured: dict[str, Any]) -> str:
    """Seconds of a run with nothing to do, here and in the trivial repository."""
    shown = [found.show(2, " s") for each in zip(*measured["idle"], strict=True)
             if (found := spread(each))]  # fmt: skip
    return f"With nothing to do: {' against '.join(shown)} in a trivial repository." * bool(shown)


def targets(measured: dict[str, Any], results: Results) -> list[Target]:
    """Whole pipeline, its stages, tracking, and a run with nothing to do."""
    kinds = by_kind(Stage(*stage) for stage in measured["stages"])
    others = [max(s) for kind, s in kinds.items() if kind not in SLOW_KINDS]
    models = sum(count for count, _ in measured["work"].values())
    loops = notebook_seconds(measured["work"], results)
    against = [] if loops is None else [loops / measured["seconds"]]
    name = f"notebook's loops for the same {models} models"
    hours = "" if loops is None else f" ({loops / 60:.0f} minutes)"
    ours, trivial = zip(*measured["idle"], strict=True) if measured["idle"] else ((), ())
    return [
        Target(f"the {name}{hours} over the whole pipeline", spread(against), 15, True),
        Target("longest stage but train and track", spread([max(others)]), 5, False, " s"),
        Target("track, per fold run with its model", spread([sum(kinds["track"]) / models]), 0.1,
               False, " s", 3),
        Target("`dvc repro` with nothing to do over a trivial repository's",
               ratio_of_medians(ours, trivial), 1.3, False, digits=2),
    ]  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pipeline",
        description=__doc__,
        epilog="example: python -m benchmarks.pipeline --idle 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--idle", type=int, default=5, help="runs with nothing to do (5)")
    parser.add_argument("--folder", type=Path, help="where the temporary workspaces go")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON")
    return parser


if __name__ == "__main__":
    main()
