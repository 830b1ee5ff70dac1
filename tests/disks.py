"""Disks that are small or read-only, for real; skipped where nothing can be mounted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A disk of so many KiB at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with _mounted(folder, ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """What is in `folder`, for reading alone."""
    with _mounted(folder, ["--bind", str(folder), str(folder)]):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield folder


@contextmanager
def _mounted(folder: Path, arguments: list[str]) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
