"""Kill a command at random, run the same command again, and compare with what nobody killed.

A `Site` is a small synthetic project with git and DVC, reproduced once; a copy of it before every
stage is kept. A trial starts from such a copy. It kills at a random time or at a random one of
the calls that write (inject/sitecustomize.py counts them): the whole process group, the process
that was started, or another one of its family. Seed and number of a trial give the same plan again.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import getitem
from pathlib import Path
from random import Random
from typing import Any, Literal

import psutil
from ruamel.yaml import YAML

from foldwise import demo, doctor
from foldwise.core import paths
from foldwise.core.environment import TELEMETRY_OFF
from foldwise.doctor import locks, workspace

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).parent / "inject"
STAGES = ("download", "prepare", "split", "train", "evaluate", "compare", "report", "track")
COMPILE = "from foldwise.engine import mlp; mlp.compile_ahead()"
SECONDS = 300.0  # for one command, and then it hangs
GRACE = 20.0  # seconds in which processes whose parent was killed have to end
OURS = ("DVC_", "FAULTS_", "FOLDWISE_", "GIT_", "MLFLOW_", "NUMBA_", "UV_")
NOT_COMPARED = (".git", ".dvc", "src", "pipeline", "mlartifacts")
RESULTS_OF = (paths.LIVE, paths.STORE)  # compared by name alone, or not at all
PRUNED = {  # of the demonstration's settings, for a project as small as can be
    "datasets": ("cifar10",),
    "studies": ("images",),
    "variants": ("images-plain", "images-batchnorm"),
}
SMALL = {
    "datasets.sonar.editions.synthetic.rows": 60,
    "studies.table.cv.folds": 2,
    "studies.table.cv.repeats": 1,
    "studies.table.training.epochs": 40,
}
Victim = Literal["group", "parent", "worker"]


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        name: for the tables.
        line: the command line.
        before: the first stage that is not done yet.
        done: the last stage that is done afterwards.
        mends: whether it mends by itself what a killed dvc leaves.
        then: what is run after it, so that there is more to compare.
    """

    name: str
    line: tuple[str, ...]
    before: str
    done: str
    mends: bool = False
    then: tuple[str, ...] = ()


def recipe(target: str) -> str:
    """The commands of a target of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    (found,) = re.findall(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", text, re.MULTILINE)
    return "\n".join(line.strip().removeprefix("@") for line in found.splitlines())


FOLDWISE = (sys.executable, "-m", "foldwise")
COMMANDS = {
    command.name: command
    for command in (
        *(Command(f"dvc repro {s}", ("dvc", "repro", s), before=s, done=s) for s in STAGES),
        Command(
            "foldwise train", (*FOLDWISE, "train"), "train", "train", then=("dvc", "repro", "train")
        ),
        Command("foldwise track", (*FOLDWISE, "track"), "track", "track"),
        Command("dvc repro", ("dvc", "repro"), STAGES[0], STAGES[-1]),
        Command("make repro", ("sh", "-ec", recipe("repro")), STAGES[0], STAGES[-1], mends=True),
    )
}


@dataclass
class Outcome:
    """What a trial saw.

    Attributes:
        number, seed: the same plan again: `--only NUMBER --seed SEED`.
        command: the name of what was killed.
        moment: when.
        victim: who.
        killed: False where it had ended before.
        status: of the killed command; of the group's leader.
        waited: how often the rerun was refused while processes of the first were at work.
        mended: whether `foldwise doctor --fix` was needed.
        problems: what is not as it should be; empty where all is well.
        said: what the failed rerun printed last.
    """

    number: int
    seed: int
    command: str
    moment: str
    victim: Victim
    killed: bool = False
    status: int | None = None
    waited: int = 0
    mended: bool = False
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    said: str = ""

    @property
    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


# --- a project --------------------------------------------------------------------------------


class Site:
    """A small project, and what it is like before and after each stage.

    Args:
        folder: an empty one; everything happens in it.
        settings: of params.yaml, by their dotted names.
        stages: those that are reproduced.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] = SMALL,
        stages: tuple[str, ...] = STAGES,
    ):
        self.folder, self.root = folder, folder / "project"
        self.states: dict[str, dict[str, str]] = {}
        self.seconds: dict[str, float] = {}
        self.writes: dict[str, int] = {}
        self._begin(settings)
        for stage in stages:
            self.keep(stage)
            self._measure(COMMANDS[f"dvc repro {stage}"])
            self.states[stage] = state(self.root)
        self.store = mlflow_of(self.root) if "track" in stages else {}
        for name in ("dvc repro", "make repro"):
            for known in (self.seconds, self.writes):
                known[name] = type(known[f"dvc repro {stages[0]}"])(
                    sum(known[f"dvc repro {s}"] for s in stages) * 0.8
                )

    def _begin(self, settings: Mapping[str, Any]) -> None:
        self.root.mkdir(parents=True)
        home = self.folder / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n\tname = Test\n\temail = test@example.org\n")
        script = self.folder / "bin/foldwise"  # what an environment has, of the source here
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m foldwise "$@"\n')
        script.chmod(0o755)
        self.run("git", "init", "-q")
        self.run("dvc", "init", "-q")
        demo.make_workspace(ROOT, self.root)
        # With what is compiled, as `make setup` does it; what is here already need not be again.
        shutil.copytree(ROOT / "src", self.root / "src", dirs_exist_ok=True)
        compiled = self.run(sys.executable, "-c", COMPILE)
        assert compiled.returncode == 0, compiled.stdout
        (self.root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
        yaml, path = YAML(), self.root / paths.PARAMS
        tree = yaml.load(path)
        for block, names in PRUNED.items():
            for name in names:
                del tree[block][name]
        for key, value in settings.items():
            *parts, last = key.split(".")
            reduce(getitem, parts, tree)[last] = value
        yaml.dump(tree, path)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "start")

    def _measure(self, command: Command) -> None:
        started = time.monotonic()
        done = self.run(*command.line, FAULTS_WRITES=str(self._fresh_counter()))
        assert done.returncode == 0, done.stdout
        self.seconds[command.name] = time.monotonic() - started
        self.writes[command.name] = self._counter.stat().st_size

    @property
    def _counter(self) -> Path:
        return self.folder / "writes"

    def _fresh_counter(self) -> Path:
        self._counter.write_bytes(b"")
        return self._counter

    def keep(self, name: str) -> None:
        """Keep the project as it is now."""
        shutil.copytree(self.root, self.folder / "kept" / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Have the project as it was kept; DVC's own caches and temporary files are fresh."""
        for path in (self.root, self.folder / "tmp", self.folder / "site"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.folder / "kept" / name, self.root, symlinks=True)

    def environment(self, **more: str) -> dict[str, str]:
        """As in an activated environment of its own; `more` counts the writing calls."""
        kept = {name: v for name, v in os.environ.items() if not name.startswith(OURS)}
        (self.folder / "tmp").mkdir(exist_ok=True)
        places = {
            "HOME": self.folder / "home",
            "GIT_CONFIG_GLOBAL": self.folder / "home/.gitconfig",
            "TMPDIR": self.folder / "tmp",
            "DVC_SITE_CACHE_DIR": self.folder / "site",
            "FAULTS_ROOT": f"{self.root}/",
        }
        path = [self.folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
        modules = [INJECT, self.root / "src"]
        return (
            kept
            | {name: str(place) for name, place in places.items()}
            | {"PATH": os.pathsep.join(map(str, path))}
            | {"PYTHONPATH": os.pathsep.join(map(str, modules))}
            | {"FOLDWISE_WORKERS": "2", "FOLDWISE_DEVICE": "cpu", "FAULTS_TRIAL": str(self.folder)}
            | TELEMETRY_OFF
            | more
        )

    def start(self, *command: str, said: Path, **more: str) -> "subprocess.Popen[bytes]":
        """A command that leads a process group of its own."""
        with said.open("wb") as file:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """A command from beginning to end; the status is -9 where it hung."""
        said = self.folder / "said"
        with self.start(*command, said=said, **more) as process:
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        text = said.read_text(errors="replace")
        return subprocess.CompletedProcess(command, process.returncode, text, "")

    def processes(self) -> list[psutil.Process]:
        """All that were started here, directly or not, and have not ended."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("FAULTS_TRIAL") == str(self.folder):
                    found.append(process)
        return found

    def left(self, seconds: float) -> list[psutil.Process]:
        """Those that still have not ended after some time."""
        deadline = time.monotonic() + seconds
        while (found := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


# --- what is compared -------------------------------------------------------------------------


def state(root: Path) -> dict[str, str]:
    """Every file of a project and a digest of what it says, but for what differs from run to run.

    Of the wall-clock facts, of databases and of trained splits that they are there; of dvc.lock
    all but the digests of wall-clock facts.
    """
    found = {}
    for path in files_of(root):
        name = path.relative_to(root).as_posix()
        if path.name == "dvc.lock":
            found[name] = digest(locked(path))
        elif (
            path.name in ("timeline.parquet", "mlflow.db")
            or paths.STORE in path.relative_to(root).parents
        ):
            found[name] = "there"
        else:
            found[name] = digest(path.read_bytes())
    return found


def files_of(root: Path) -> Iterator[Path]:
    """Those that are a project's own."""
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        if here == root:
            folders[:] = [name for name in folders if name not in NOT_COMPARED]
        folders[:] = [name for name in folders if name != "__pycache__"]
        if here.relative_to(root) == paths.LIVE:
            names = [name for name in names if name.startswith(".")]
        yield from (here / name for name in names)


def locked(path: Path) -> bytes:
    """What a dvc.lock says, without digests of what holds wall-clock facts."""
    tree = YAML(typ="safe").load(path)
    for stage in tree["stages"].values():
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
            if entry["path"] == "runs" or entry["path"].endswith("timeline.parquet"):
                for key in ("md5", "size"):
                    entry.pop(key, None)
    return json.dumps(tree, sort_keys=True).encode()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_one_at_a_time = threading.Lock()


def mlflow_of(root: Path) -> dict[str, Any]:
    """All that the MLflow store holds (tracking/dump.py), and how many models its folder has."""
    sys.path.append(str(ROOT / "tests/tracking"))
    from dump import dump
    from mlflow import MlflowClient

    with _one_at_a_time:  # a copy: the engine of an address stays, and the file is replaced
        copy = root.parent / f"store-{time.monotonic_ns()}.db"
        shutil.copy(root / "mlflow.db", copy)
        return {
            **dump(MlflowClient(f"sqlite:///{copy}")),
            "folders of models": len(list(root.glob("mlartifacts/*/models/m-*"))),
        }


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two trees differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key not in one or key not in other:
                yield f"{place}/{key}: only {'there' if key in one else 'here'}"
            else:
                yield from differences(one[key], other[key], f"{place}/{key}")
    elif one != other:
        yield f"{place}: {str(one)[:80]} there, {str(other)[:80]} here"


# --- a trial ----------------------------------------------------------------------------------


def trial(site: Site, command: Command, seed: int, number: int) -> Outcome:
    """Kill it, run it again, and look at what there is."""
    random, started = Random(f"{seed}/{number}"), time.monotonic()
    for _ in range(5):  # it may have ended before
        outcome = attempt(site, command, seed, number, random)
        if outcome.killed:
            break
    else:
        outcome.problems.append("it always ended before it was killed")
    if not outcome.problems:
        rerun(site, command, outcome)
    if not outcome.problems:
        outcome.problems += compared(site, command)
    for process in site.processes():
        process.kill()
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def attempt(site: Site, command: Command, seed: int, number: int, random: Random) -> Outcome:
    """Start it and kill it."""
    site.restore(command.before)
    victim: Victim = random.choice(("group", "group", "parent", "worker"))
    said, known = site.folder / "killed", COMMANDS_MEASURED.get(command.name, command.name)
    if random.random() < 0.5:
        at = random.randint(1, max(1, site.writes[known]))
        outcome = Outcome(number, seed, command.name, f"write {at}", victim)
        orders = {"FAULTS_WRITES": str(site._fresh_counter()), "FAULTS_KILL": f"{at} {victim}"}
        with site.start(*command.line, said=said, **orders) as process:
            finish(process)
        outcome.killed = site._counter.stat().st_size >= at
    else:
        seconds = random.uniform(0.2, site.seconds[known])
        outcome = Outcome(number, seed, command.name, f"{seconds:.2f} s", victim)
        with site.start(*command.line, said=said) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            outcome.killed = process.returncode is None
            if outcome.killed:
                kill(process, victim, random)
            finish(process)
    outcome.status = process.returncode
    if outcome.killed and victim != "group" and process.returncode not in (-signal.SIGKILL, None):
        outcome.problems += ended_well(process.returncode, said)
    return outcome


COMMANDS_MEASURED = {"foldwise train": "dvc repro train", "foldwise track": "dvc repro track"}


def kill(process: "subprocess.Popen[bytes]", victim: Victim, random: Random) -> None:
    """The whole group, the one that was started, or another one of the family if there is any."""
    family = psutil.Process(process.pid).children(recursive=True)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "parent" or not family:
        process.kill()
    else:
        with suppress(psutil.NoSuchProcess):
            random.choice(family).kill()


def finish(process: "subprocess.Popen[bytes]") -> None:
    """Wait for its end, which must come by itself."""
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def ended_well(status: int, said: Path) -> list[str]:
    """What is wrong with the end of a command that lost another process of its family."""
    text = said.read_text(errors="replace")
    if "Traceback" in text:
        return [f"status {status} and a traceback: {text[-600:]}"]
    return []


def rerun(site: Site, command: Command, outcome: Outcome) -> None:
    """The same command at once; a few times, where the first one's orphans are still at work."""
    for _ in range(4):
        done = site.run(*command.line)
        if done.returncode == 0:
            break
        outcome.said = done.stdout[-1500:]
        if site.processes():
            outcome.waited += 1
            if orphans := site.left(GRACE):
                outcome.problems.append(f"still there after {GRACE:.0f} s: {named(orphans)}")
                return
        elif not command.mends and not outcome.mended:
            outcome.mended = True
            site.run(*FOLDWISE, "doctor", "--fix", "--dvc")
        else:
            break
    if done.returncode:
        outcome.problems.append(f"the same command again: status {done.returncode}")
        return
    outcome.said = ""
    if orphans := site.left(GRACE):
        outcome.problems.append(f"processes left: {named(orphans)}")
    if command.then:
        then = site.run(*command.then)
        if then.returncode:
            outcome.problems.append(f"{' '.join(command.then)}: {then.stdout[-600:]}")


def named(processes: list[psutil.Process]) -> str:
    lines = []
    for process in processes:
        with suppress(psutil.Error):
            lines.append(" ".join(process.cmdline())[-120:])
    return "; ".join(lines)


def compared(site: Site, command: Command) -> list[str]:
    """What differs from a run that nobody killed."""
    expected, found = dict(site.states[command.done]), state(site.root)
    if command.name == "foldwise track":
        for tree in (expected, found):
            tree.pop("dvc.lock", None)  # which `dvc repro` alone writes
    extra = sorted(set(found) - set(expected))
    problems = [
        f"differs: {line}"
        for line in differences(expected, {n: d for n, d in found.items() if n not in extra})
    ]
    problems += unknown(site.root, extra)
    if command.done == "track":
        problems += [f"MLflow: {line}" for line in differences(site.store, mlflow_of(site.root))]
    return problems[:10]


def unknown(root: Path, extra: list[str]) -> list[str]:
    """What should not be there, and that the doctor does not remove an hour later."""
    old = time.time() - workspace.ABANDONED - 60
    for name in extra:
        os.utime(root / name, (old, old))
    with _one_at_a_time:
        doctor.fix([*workspace.leftovers(root), *locks.examine(root)])
    left = [f"left: {name}" for name in extra if (root / name).exists()]
    return left + [f"left: {finding.text}" for finding in locks.examine(root)]


def campaign(
    site: Site,
    numbers: list[int],
    seed: int,
    tell: Callable[[Outcome], None],
) -> None:
    """Many trials, the commands in turn."""
    names = list(COMMANDS)
    for number in numbers:
        tell(trial(site, COMMANDS[names[number % len(names)]], seed, number))
