"""Projects in git and DVC whose commits hold fabricated results."""

import os
import subprocess
import sys
from pathlib import Path

from foldwise import results
from foldwise.core import config, paths

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
DVC_YAML = """
stages:
  train:
    foreach: ${variants}
    do:
      cmd: 'true'
      outs:
""" + "".join(f"        - runs/${{key}}/{name}\n" for name in results.FILES)
IGNORED = "/runs/\n/mlflow.db*\n/mlartifacts/\n/.foldwise/\n"


def run(folder: Path, *command: str, ok: bool = True) -> str:
    """Run a command as in an activated environment; both its outputs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def start(root: Path, params: str = PARAMS) -> config.Config:
    """An empty project whose one stage keeps run folders."""
    root.mkdir(parents=True)
    run(root, "git", "init", "-q", "-b", "main")
    run(root, "dvc", "init", "-q")
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text(IGNORED)
    return write_params(root, params)


def write_params(root: Path, params: str) -> config.Config:
    (root / paths.PARAMS).write_text(params)
    return config.parse(params)


def commit(root: Path, tag: str) -> str:
    """Keep the run folders that there are, as if trained, and commit; the commit's hash."""
    run(root, "dvc", "commit", "--force", "--quiet")
    return commit_only(root, tag)


def commit_only(root: Path, tag: str) -> str:
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", tag)
    run(root, "git", "tag", tag)
    return run(root, "git", "rev-parse", "HEAD").strip()


def cached(root: Path, path: str, revision: str = "HEAD") -> Path:
    """Where DVC's cache has a file of a commit."""
    code = (
        "from dvc.api import DVCFileSystem as F; "
        f"print(F('.', rev={revision!r}).info({path!r})['md5'])"
    )
    digest = run(root, sys.executable, "-c", code).strip()
    return root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
