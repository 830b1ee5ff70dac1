"""A workspace with the whole pipeline on built-in synthetic data, apart from the real results."""

import shutil
import subprocess
import sys
from pathlib import Path

from foldwise.core import paths
from foldwise.core.errors import ConfigError

PARTS = ("pipeline", "src", "dvc.yaml", ".dvcignore")


def make_workspace(root: Path, target: Path) -> None:
    """Copy the pipeline into `target`, with this package's params.yaml, as a DVC project.

    What `target` holds already stays, so that a second run repeats nothing.

    Args:
        root: the project whose pipeline is shown.
        target: a folder, made where needed.

    Raises:
        ConfigError: `root` is not the project's root.
    """
    if not (root / "dvc.yaml").is_file():
        raise ConfigError(f"{root}: has no dvc.yaml; run from the project's root")
    target.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if (root / name).is_dir():
            no_caches = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(root / name, target / name, dirs_exist_ok=True, ignore=no_caches)
        else:
            shutil.copy2(root / name, target / name)
    shutil.copy2(Path(__file__).with_name("params.yaml"), target / paths.PARAMS)
    if not (target / ".dvc").is_dir():
        dvc(target, "init", "--no-scm", "--quiet")


def dvc(folder: Path, *arguments: str) -> None:
    """Run dvc in a folder, its output on this process's terminal.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True)
