"""A workspace with the whole pipeline on built-in synthetic data, apart from the real results."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from foldwise.core.errors import ConfigError


def make_workspace(root: Path, target: Path) -> None:
    """Copy the pipeline of the project in `root` into `target`, with this package's params.yaml.

    What `target` holds already stays, so that a second run repeats nothing.

    Raises:
        ConfigError: `root` is not the project's root.
    """
    if not (root / "dvc.yaml").is_file():
        raise ConfigError(f"{root}: has no dvc.yaml; run from the project's root")
    target.mkdir(parents=True, exist_ok=True)
    no_caches = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pipeline", "src"):
        shutil.copytree(root / name, target / name, dirs_exist_ok=True, ignore=no_caches)
    for path in (root / "dvc.yaml", root / ".dvcignore", Path(__file__).with_name("params.yaml")):
        shutil.copy2(path, target)
    if not (target / ".dvc").is_dir():
        dvc(target, "init", "--no-scm", "--quiet")


def dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder, on its source; subprocess.CalledProcessError where it fails."""
    environ = {**os.environ, "PYTHONPATH": str(folder.resolve() / "src")}
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=folder, env=environ, check=True)
