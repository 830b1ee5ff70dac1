"""A workspace with the whole pipeline on built-in synthetic data, apart from the real results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from foldwise.core import paths
from foldwise.core.errors import FoldwiseError, UsageError

PARTS = ("pipeline", "src", "dvc.yaml", ".dvcignore")
MINE = Path(__file__).with_name("params.yaml")


def make_workspace(root: Path, target: Path) -> None:
    """Copy the pipeline of the project in `root` into `target`, with this package's params.yaml.

    What an earlier demonstration left there stays, so that a second run repeats nothing.

    Raises:
        UsageError: `root` is not the project's root, `target` is in what is copied from it, or
            has another project.
    """
    if not (root / "dvc.yaml").is_file():
        raise UsageError(f"{root}: has no dvc.yaml; run from the project's root")
    params = target / paths.PARAMS
    if any(target.resolve().is_relative_to((root / part).resolve()) for part in PARTS):
        raise UsageError(f"{target}: this is what is copied; choose another folder")
    if params.exists() and _title(params) != _title(MINE):
        raise UsageError(f"{target}: has a project of its own; choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    no_caches = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pipeline", "src"):
        shutil.copytree(root / name, target / name, dirs_exist_ok=True, ignore=no_caches)
    for path in (root / "dvc.yaml", root / ".dvcignore", MINE):
        shutil.copy2(path, target)
    if not (target / ".dvc").is_dir():
        dvc(target, "init", "--no-scm", "--quiet")


def dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder, on its source; FoldwiseError where it fails, which it has explained."""
    environ = {**os.environ, "PYTHONPATH": str(folder.resolve() / "src")}
    command = [sys.executable, "-m", "dvc", *arguments]
    if subprocess.run(command, cwd=folder, env=environ, check=False).returncode:
        raise FoldwiseError(f"{folder}: `dvc {' '.join(arguments)}` failed, see above")


def _title(path: Path) -> bytes:
    return path.read_bytes().partition(b"\n")[0]
