"""Projects in git and DVC whose commits hold fabricated results."""

import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.repo import Repo
from fabricate import Plan
from ruamel.yaml import YAML

from foldwise.core import paths
from foldwise.results import runs
from foldwise.tracking import place

ROOT = Path(__file__).parent.parent
PARAMS = """
datasets:
  rows: {editions: {synthetic: {rows: 40}}}
studies:
  tiny:
    dataset: rows
    cv: {folds: 2, repeats: 1, seed: 0}
    training:
      epochs: 5
      batch_size: 8
      shuffle: true
      optimizer: {name: sgd, lr: 0.1, momentum: 0.5}
    comparison: {baseline: tiny-plain}
variants:
  tiny-plain: {study: tiny, hidden: [5]}
  tiny-dropout: {study: tiny, hidden: [5, 4], hidden_dropout: 0.2}
"""
PLAN = Plan(PARAMS, synthetic=True)
IGNORED = "/runs/\n/mlflow.db*\n/mlartifacts/\n/.foldwise/\n"


def dvc_yaml() -> str:
    """One stage, which keeps run folders and depends on what the project's own `train` does."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    params = "".join(f"        - {key}\n" for key in stages["train"]["do"]["params"])
    outs = "".join(f"        - runs/${{key}}/{name}\n" for name in runs.FILES)
    return (
        "stages:\n  train:\n    foreach: ${variants}\n    do:\n      cmd: 'true'\n"
        f"      params:\n{params}      outs:\n{outs}"
    )


def run(folder: Path, *command: str, ok: bool = True) -> str:
    """Run a command as in an activated environment; both its outputs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def move_store(old: Path, new: Path) -> None:
    """Have the store of a project that was copied name the copy's files, and not the original's."""
    places = (
        ("experiments", "artifact_location"),
        ("runs", "artifact_uri"),
        ("logged_models", "artifact_location"),
    )
    uris = old.as_uri(), new.as_uri()
    with closing(sqlite3.connect(new / place.DATABASE)) as connection, connection:
        for table, column in places:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", uris)


def git(root: Path, *arguments: str) -> str:
    return run(root, "git", *arguments)


def start(root: Path, params: str = PARAMS, subfolder: bool = False) -> None:
    """An empty project whose one stage keeps run folders; `subfolder`: of a repository."""
    root.mkdir(parents=True)
    if not subfolder:
        git(root, "init", "-q", "-b", "main")
    Repo.init(str(root), subdir=subfolder).close()
    (root / "dvc.yaml").write_text(dvc_yaml())
    (root / ".gitignore").write_text(IGNORED)
    (root / paths.PARAMS).write_text(params)


def commit(root: Path, tag: str) -> str:
    """Keep the run folders that there are, as if trained, and commit; the commit's hash."""
    keep(root)
    return commit_only(root, tag)


def keep(root: Path) -> None:
    """`dvc commit --force`."""
    with dvc(root) as repo:
        repo.commit(force=True)


def bring_back(root: Path, tag: str) -> None:
    """`git checkout` and `dvc checkout`."""
    git(root, "checkout", "-q", tag)
    with dvc(root) as repo:
        repo.checkout()


@contextmanager
def dvc(root: Path) -> Iterator[Repo]:
    """DVC in this process, which spares a second for each command."""
    with chdir(root), warnings.catch_warnings(), Repo(".") as repo:
        warnings.simplefilter("ignore", DeprecationWarning)  # DVC's own
        yield repo


def commit_only(root: Path, tag: str) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-qm", tag)
    git(root, "tag", tag)
    return git(root, "rev-parse", "HEAD").strip()


def cached(root: Path, path: str, revision: str = "HEAD") -> Path:
    """Where DVC's cache has a file of a commit."""
    digest = str(DVCFileSystem(str(root), rev=revision).info(path)["md5"])
    return root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
