"""What keeps dvc from running at all, as a killed one leaves it, and what mends it.

Light: `make repro` looks here each time, before it calls dvc.
"""

import functools
import json
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import psutil

from foldwise.core import config, files, git
from foldwise.core.errors import ConfigError, GitError
from foldwise.doctor import Finding

LOCK = Path("dvc.lock")
NEW = b'schema: "2.0"\n'
RWLOCKS = (Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/exps/rwlock"))


def examine(root: Path) -> list[Finding]:
    """Everything that makes any dvc command fail, as far as it is known; changes nothing."""
    return [*no_repository(root), *dead_locks(root), *broken_lock(root)]


def no_repository(root: Path) -> Iterator[Finding]:
    """A project that was downloaded as an archive: DVC wants a git repository around it."""
    settings = ConfigParser()
    settings.read([root / ".dvc/config", root / ".dvc/config.local"])
    if any((folder / ".git").exists() for folder in (root, *root.parents)):
        return
    if (root / ".dvc").is_dir() and not settings.getboolean("core", "no_scm", fallback=False):
        yield Finding(
            f"{root}: in no git repository (downloaded as an archive?), and DVC needs one; clone "
            "the project, or `git init && git add -A && git commit -m start`"
        )


def dead_locks(root: Path) -> Iterator[Finding]:
    """Locks that a killed dvc left behind, and that keep the next one from working.

    Not `.dvc/tmp/lock`: the system lets go of it when its process dies.
    """
    for path in (root / lock for lock in RWLOCKS if (root / lock).exists()):
        if (pids := _holders(path)) is None:
            text = "damaged, so that every dvc command fails; delete it"
        elif pids and not any(_is_running(pid, path.stat().st_mtime) for pid in pids):
            gone = ", ".join(map(str, sorted(pids)))
            text = f"left by a dvc that was killed (process {gone}); delete it"
        else:
            continue
        yield Finding(f"{path.relative_to(root)}: {text}", functools.partial(files.remove, path))


def _holders(path: Path, wait: float = 0.1) -> set[int] | None:
    """The processes that DVC's lock names; None where it is damaged, and not being written."""
    try:
        lock = json.loads(path.read_bytes())
        readers = [info for infos in lock.get("read", {}).values() for info in infos]
        return {int(info["pid"]) for info in [*readers, *lock.get("write", {}).values()]}
    except (ValueError, AttributeError, KeyError, TypeError):
        time.sleep(wait)
        return _holders(path, 0) if wait else None


def broken_lock(root: Path) -> Iterator[Finding]:
    """A dvc.lock that a killed dvc left empty or cut off: it is written in place."""
    content, committed = _lock_of(root)
    as_committed = committed and content == committed  # which saves looking into it
    if as_committed or not (problem := _problem(content)):
        return
    if b"<<<<<<<" in content:
        remedy = f"resolve it, or take that of the last commit: `git checkout HEAD -- {LOCK}`"
        yield Finding(f"{problem}; it has a conflict: {remedy}")
        return
    remedy = "remove it" if _problem(committed) else "restore that of the last commit"
    newer = "what is newer, dvc takes from its cache or makes again"
    yield Finding(f"{problem}; {remedy} ({newer})", functools.partial(_mend, root))


def _mend(root: Path) -> None:
    """Restore or remove dvc.lock, unless a dvc at work was just writing it."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo, repo.lock:
        content, committed = _lock_of(root)
        if not _problem(content):
            return
        if _problem(committed):
            files.remove(root / LOCK)
        else:
            files.write_bytes(root / LOCK, committed)


def _lock_of(root: Path) -> tuple[bytes, bytes]:
    """dvc.lock as it is, and as it is committed; where it is not there, as DVC begins it."""
    path = root / LOCK
    try:
        committed = git.run(root, "show", f"HEAD:./{LOCK}").encode()
    except GitError:
        committed = b""
    return path.read_bytes() if path.exists() else NEW, committed


def _problem(content: bytes) -> str:
    """Why dvc does not take this for a dvc.lock, "" where it does."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(config.read_yaml(content.decode(), str(LOCK), pure=False))
    except ConfigError as error:
        return str(error)
    except (Invalid, UnicodeDecodeError) as error:
        return f"{LOCK}: damaged ({error})"
    return ""


def _is_running(pid: int, since: float) -> bool:
    """Whether a process was there at a time and still is; its number may be another's by now.

    One that was killed and that nobody asked about yet, a zombie, is not.
    """
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() <= since and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
