"""What is wrong with a workspace, and what fixes it: files, DVC, surroundings.

Reports first. What it deletes can be had again: from git, from DVC's cache (for results, by a
dvc.lock that is committed), or by running the pipeline; everything else is left to a person. What
is wrong with the MLflow store, `doctor.store` says.
"""

import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dvc.dvcfile import LOCK_FILE, Lockfile
from dvc.exceptions import DvcException
from dvc.repo import Repo

from foldwise.core import config, environment, files, git, paths
from foldwise.core.config import Config
from foldwise.core.environment import DEVICE, MIRROR, WORKERS, Environment
from foldwise.core.errors import ConfigError, FoldwiseError, GitError, ReadError
from foldwise.datasets import provenance
from foldwise.datasets.transfer import is_address
from foldwise.doctor import Finding, Fix, locks
from foldwise.engine.store import Store
from foldwise.results.runs import RunFolder
from foldwise.results.studies import stale_results, stand_ins
from foldwise.wording.sentences import stand_in

ROOM = 2**30  # bytes on a disk, below which something is likely to fail
ABANDONED = 3600  # seconds after which nobody writes a temporary file any more
TEMPORARY = re.compile(
    r"\..+\.[a-z0-9_]{8}"  # files.replacing, journals
    r"|\.synthetic-[a-z0-9_]{8}"  # download
    r"|.+\.[\w-]{22}\.tmp"  # DVC
    r"|mlflow\.db\.part.*"
)
WRITTEN = (
    *(Path("data"), paths.RUNS, paths.METRICS, paths.COMPARISONS, paths.PLOTS),
    *(paths.REPORT.parent, paths.TRACKED.parent),
)


def examine(root: Path, track: Fix, variables: Mapping[str, str] = os.environ) -> list[Finding]:
    """Everything that is wrong, as far as it can be told cheaply; changes nothing.

    Args:
        root: the project's root.
        track: mirrors the workspace to MLflow.
        variables: the environment's, which may have bad values.
    """
    root = root.resolve()
    findings = [*surroundings(root, variables), *room(root), *locks.examine(root)]
    findings += [*leftovers(root), *damaged_splits(root)]
    try:
        settings = config.load(root / paths.PARAMS)
    except ConfigError as error:
        return findings + [Finding(line) for line in _relative(error, root).splitlines()]
    findings += [*stale_entries(root), *orphans(root, settings), *damaged(root, settings)]
    findings += [*synthetic(root, settings)]
    findings += [Finding(line) for line in stale_results(settings, root)]
    environment.without_telemetry()
    from foldwise.doctor import store

    good = {name: value for name, value in variables.items() if name not in (WORKERS, DEVICE)}
    return findings + store.examine(settings, root, Environment.read(good), track)


# --- surroundings -----------------------------------------------------------------------------


def surroundings(root: Path, variables: Mapping[str, str]) -> Iterator[Finding]:
    """FOLDWISE_* variables with a bad value, or with a name that looks misspelt."""
    yield from map(Finding, environment.problems(variables))
    mirror = variables.get(MIRROR, "").strip()
    if mirror and not is_address(mirror) and not (root / Path(mirror).expanduser()).is_dir():
        yield Finding(f"{MIRROR}: there is no folder '{mirror}'; correct or unset it")


def room(root: Path) -> Iterator[Finding]:
    """Disks that are nearly full: the project's, and the one for temporary files."""
    folders = {folder.stat().st_dev: folder for folder in (Path(tempfile.gettempdir()), root)}
    for folder in folders.values():
        free = shutil.disk_usage(folder).free
        if free < ROOM:
            yield Finding(
                f"{folder}: only {free / 2**20:.0f} MiB are free; make room (`dvc gc --workspace` "
                "removes from DVC's cache what the workspace does not use)"
            )


def synthetic(root: Path, settings: Config) -> Iterator[Finding]:
    """Stand-ins, in data/ or in results, where params.yaml declares real editions."""
    names = set(stand_ins(settings, root))
    for name, dataset in settings.datasets.items():
        with suppress(ReadError):
            if provenance.read(root / paths.raw(name)).synthetic and len(dataset.editions) > 1:
                names.add(name)
    if names:
        yield Finding(stand_in(sorted(names)))


# --- DVC --------------------------------------------------------------------------------------


def stale_entries(root: Path) -> Iterator[Finding]:
    """Stages in dvc.lock that dvc.yaml and params.yaml do not give any more."""
    try:
        with Repo(str(root)) as repo:
            entries = Lockfile(repo, str(root / LOCK_FILE)).load().get("stages", {})
            declared = {getattr(stage, "name", None) for stage in repo.index.stages}
    except DvcException as error:
        if not locks.examine(root):  # which has said it
            text = f"dvc.yaml or dvc.lock cannot be read: {error}; `git diff` shows what changed"
            yield Finding(text)
        return
    stale = [name for name in entries if name not in declared]
    committed = _committed_entries(root) if stale else {}
    safe = [name for name in stale if committed.get(name) == entries[name]]
    if safe:
        yield Finding(
            f"{LOCK_FILE}: entries of stages that are gone: {', '.join(safe)}; remove them (git "
            "has them)",
            functools.partial(_remove_entries, root, safe),
        )
    for name in (name for name in stale if name not in safe):
        yield Finding(
            f"{LOCK_FILE}: entry of a stage that is gone, {name}, and not committed: nothing else "
            f"says where DVC's cache has its results; commit {LOCK_FILE}, then `foldwise doctor "
            "--fix` removes it"
        )


# --- files ------------------------------------------------------------------------------------


def leftovers(root: Path) -> Iterator[Finding]:
    """Temporary files of processes that were killed."""
    inside = (path for folder in WRITTEN for path in (root / folder).rglob("*"))
    for path in sorted([*inside, *root.glob("mlflow.db.part*")]):
        if not TEMPORARY.fullmatch(path.name) or not path.exists():
            continue
        if time.time() - path.stat().st_mtime > ABANDONED:
            text = f"{path.relative_to(root)}: left half-written by a process that was killed"
            yield Finding(f"{text}; delete it", functools.partial(_delete, path))


def orphans(root: Path, settings: Config) -> Iterator[Finding]:
    """Files and folders of variants, studies and data sets that params.yaml does not declare."""
    variants, studies, datasets = settings.variants, settings.studies, settings.datasets
    scored = [f(name) for name in variants for f in (paths.metrics, paths.scores)]
    declared: list[tuple[Path, str, Iterable[Path]]] = [
        (paths.RUNS, "variant", map(paths.run, variants)),
        (paths.METRICS, "variant", scored),
        (paths.COMPARISONS, "study", map(paths.comparison, studies)),
        (paths.RAW, "data set", map(paths.raw, datasets)),
        (paths.PREPARED, "data set", map(paths.prepared, datasets)),
        (paths.SPLITS, "study", map(paths.splits, studies)),
    ]
    for folder, kind, wanted in declared:
        there = {path.relative_to(root) for path in (root / folder).glob("[!.]*")}
        for path in sorted(there - set(wanted)):
            if TEMPORARY.fullmatch(path.name):
                continue
            text = f"{path}: of no {kind} in {paths.PARAMS}"
            if kept := _kept(root / path, root):
                delete = functools.partial(_delete, root / path)
                yield Finding(f"{text}; delete it ({kept})", delete)
            else:
                text += ", and kept nowhere else; declare it again and `dvc repro`, or delete it"
                yield Finding(f"{text} by hand")


def damaged(root: Path, settings: Config) -> Iterator[Finding]:
    """Run folders whose files are not what their manifest says."""
    for name in settings.variants:
        run = RunFolder(root / paths.run(name))
        try:
            if run.exists:
                run.check()
        except FoldwiseError as error:
            yield Finding(_relative(error, root))


def damaged_splits(root: Path) -> Iterator[Finding]:
    """Trained splits in the store that are not what was written."""
    for path in Store(root).damaged():
        yield Finding(
            f"{path.relative_to(paths.home(root))}: a damaged trained split; delete it (it is "
            "trained again where it is needed)",
            functools.partial(files.remove, path),
        )


# --- helpers ----------------------------------------------------------------------------------


def _relative(error: FoldwiseError, root: Path) -> str:
    return str(error).replace(f"{root}/", "")


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _committed_entries(root: Path) -> dict[str, Any]:
    """The stages of the dvc.lock that is committed."""
    try:
        text = git.ask(root, "show", f"HEAD:./{LOCK_FILE}")
        return dict(config.read_yaml(text, LOCK_FILE).get("stages", {}))
    except ConfigError:
        return {}


def _remove_entries(root: Path, names: Iterable[str]) -> None:
    with Repo(str(root)) as repo, repo.lock:
        lock = Lockfile(repo, str(root / LOCK_FILE))
        for name in names:
            lock.remove_stage(SimpleNamespace(name=name))


def _kept(path: Path, root: Path) -> str:
    """Where something can be had again, "" if nowhere for sure."""
    folder = path.relative_to(root).parent
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if not files:
        return "it is empty"
    if folder in (paths.METRICS, paths.COMPARISONS):
        relative = path.relative_to(root).as_posix()
        with suppress(GitError):  # unknown is not kept
            known = git.run(root, "ls-tree", "--name-only", "HEAD", "--", relative)
            if known and not git.run(root, "status", "--porcelain", "--", relative):
                return "git has it"
        return ""
    if not _are_cached(files, root):
        return ""
    if folder != paths.RUNS:
        return "DVC's cache has it, and the pipeline makes it again"
    commit = _commit_with({_md5(file) for file in files}, root)
    return f"DVC's cache has it, by {LOCK_FILE} of commit {commit}" if commit else ""


def _are_cached(files: Iterable[Path], root: Path) -> bool:
    try:
        with Repo(str(root)) as repo:
            return all(repo.cache.local.exists(_md5(file)) is True for file in files)
    except DvcException:
        return False


def _commit_with(md5s: Collection[str], root: Path) -> str:
    """A commit of any branch, tag or experiment whose dvc.lock names all files, "" for none."""
    changed = f"-S{min(md5s)}"  # finds commits that brought a file, and that took it away
    commits = git.ask(root, "log", "--all", "--format=%h %p", changed, "--", LOCK_FILE)
    for commit in commits.split():
        lock = git.ask(root, "show", f"{commit}:./{LOCK_FILE}")
        if all(md5 in lock for md5 in md5s):
            return commit
    return ""


def _md5(file: Path) -> str:
    """DVC's name for a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()
