"""How much of `foldwise train` is done again after a kill.

Splits that were done are kept in the store of trained splits, and long ones leave a checkpoint once
a minute. What was trained and is neither kept nor in a checkpoint is trained again.
"""

import json
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from killing import FOLDWISE, Site, Victim, kill

from foldwise.core import paths
from foldwise.engine.store import CHECKPOINT, CHECKPOINT_SECONDS, Store, unpack

TRAIN = (*FOLDWISE, "train")
BEFORE = ("download", "prepare", "split")
WORKERS = 2  # of killing.Site
SHORT = {  # 42 splits of a second
    "datasets.sonar.editions.synthetic.rows": 200,
    "studies.table.cv.folds": 5,
    "studies.table.cv.repeats": 4,
    "studies.table.training.epochs": 1500,
}
LONG = {  # hours
    "datasets.sonar.editions.synthetic.rows": 200,
    "studies.table.cv.folds": 2,
    "studies.table.cv.repeats": 1,
    "studies.table.training.epochs": 1_000_000,
    "variants.table-baseline.hidden": [400, 400],
    "variants.table-dropout.hidden": [400, 400],
}
VICTIMS: tuple[Victim, ...] = ("group", "parent", "worker")


@dataclass
class Kill:
    """A kill of `foldwise train`.

    Attributes:
        number, seed, victim, seconds: which one, whom, and how long after the start.
        kept: splits that were done.
        begun: splits that were begun and not done, which are trained again.
        trained: splits that the same command then trained.
        total: splits that there are to train.
        lost: seconds of a long training since its last checkpoint.
        problems: what is not as it should be.
    """

    number: int
    seed: int
    victim: Victim
    seconds: float
    kept: int = 0
    begun: int = 0
    trained: int = 0
    total: int = 0
    lost: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def as_json(self) -> str:
        return json.dumps(asdict(self))


# --- many short splits ------------------------------------------------------------------------


def short_splits(folder: Path, seed: int, kills: int, tell: Callable[[Kill], None]) -> None:
    """Kills at random moments of a training of many splits, each rerun and compared."""
    site = Site(folder, SHORT, BEFORE)
    site.keep("train")
    started = time.monotonic()
    done = site.run(*TRAIN)
    assert done.returncode == 0, done.stdout
    whole, seconds = entries(site), time.monotonic() - started
    for number in range(kills):
        random = Random(f"{seed}/short/{number}")
        killed = None
        while killed is None:
            site.restore("train")
            killed = _killed(site, Kill(number, seed, random.choice(VICTIMS), 0), random, seconds)
        _again(site, killed, whole)
        tell(killed)


def _killed(site: Site, planned: Kill, random: Random, seconds: float) -> Kill | None:
    """The kill, once something was trained; None where all was done before."""
    with site.start(*TRAIN, said=site.folder / "killed") as process:
        started = time.monotonic()
        while not begun(site) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0, max(0.1, seconds - (time.monotonic() - started))))
        if process.poll() is not None:
            return None
        planned.seconds = round(time.monotonic() - started, 1)
        kill(process, planned.victim, random)
        process.wait()
    if site.left(20):
        planned.problems.append("processes left")
    kept = entries(site)
    planned.kept, planned.begun = len(kept), len(begun(site)) - len(kept)
    return planned


def _again(site: Site, killed: Kill, whole: dict[str, dict[str, np.ndarray]]) -> None:
    done = site.run(*TRAIN)
    found = re.search(r"(\d+) splits trained, (\d+) were there", done.stdout)
    if done.returncode or found is None:
        killed.problems.append(f"status {done.returncode}: {done.stdout[-500:]}")
        return
    killed.trained, there = map(int, found.groups())
    killed.total = len(whole)
    if (killed.trained, there) != (killed.total - killed.kept, killed.kept):
        killed.problems.append(f"{killed.kept} were kept, and {there} used")
    if killed.begun > WORKERS * largest_chunk(site):
        killed.problems.append(f"{killed.begun} splits are trained again")
    killed.problems += different(whole, entries(site))


def entries(site: Site) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every trained split that is kept, but for wall-clock times."""
    found = {}
    for path in Store(site.root).kept():
        if path.suffix != CHECKPOINT:
            arrays = unpack(path.read_bytes())[0]
            found[path.name] = {n: a for n, a in arrays.items() if n != "finished"}
    return found


def different(
    one: dict[str, dict[str, np.ndarray]], other: dict[str, dict[str, np.ndarray]]
) -> list[str]:
    """Trained splits that differ in a bit."""
    if one.keys() != other.keys():
        return [f"{len(one.keys() ^ other.keys())} splits are only in one of the two"]
    return [
        f"{key}: other {name}"
        for key, arrays in one.items()
        for name, array in arrays.items()
        if array.tobytes() != other[key][name].tobytes()
    ]


def begun(site: Site) -> set[tuple[str, int, int]]:
    """The splits whose training has begun, by the journals."""
    return {(name, *split) for name, chunk in _chunks(site) for split in chunk}


def largest_chunk(site: Site) -> int:
    """The most splits that train together."""
    return max(len(chunk) for _, chunk in _chunks(site))


def _chunks(site: Site) -> list[tuple[str, list[tuple[int, int]]]]:
    found = []
    for path in (site.root / paths.LIVE).glob("*.jsonl"):
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # torn by the kill
                if "splits" in (said := json.loads(line)):
                    found.append((path.stem, [(r, f) for r, f in said["splits"]]))
    return found


# --- long splits ------------------------------------------------------------------------------


def long_splits(folder: Path, seed: int, kills: int, tell: Callable[[Kill], None]) -> None:
    """Kills of one training that takes long, one after the other; each time it goes on."""
    site = Site(folder, LONG, BEFORE)
    before: dict[str, int] = {}
    for number in range(kills):
        random = Random(f"{seed}/long/{number}")
        killed = Kill(number, seed, random.choice(VICTIMS[:2]), 0)
        with site.start(*TRAIN, said=site.folder / "killed") as process:
            started = time.monotonic()
            time.sleep(random.uniform(CHECKPOINT_SECONDS + 15, 2 * CHECKPOINT_SECONDS))
            if process.poll() is not None:
                killed.problems.append(f"it ended: {(site.folder / 'killed').read_text()[-500:]}")
            else:
                kill(process, killed.victim, random)
            now, killed.seconds = time.time(), round(time.monotonic() - started, 1)
            process.send_signal(signal.SIGKILL)
        if site.left(20):
            killed.problems.append("processes left")
        kept = [p for p in Store(site.root).kept() if p.suffix == CHECKPOINT]
        killed.begun = len(kept)
        killed.lost = round(max([now - p.stat().st_mtime for p in kept], default=now), 1)
        if killed.lost > CHECKPOINT_SECONDS + 2:
            killed.problems.append(f"{killed.lost} s are trained again")
        epochs = {p.name: int(unpack(p.read_bytes())[0]["course/place"][0]) for p in kept}
        if any(epochs[name] <= epoch for name, epoch in before.items()):
            killed.problems.append("it did not go on from its checkpoint")
        before = epochs
        tell(killed)
