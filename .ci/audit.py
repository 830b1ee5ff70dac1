"""Known vulnerabilities of what requirements.lock installs, as `uv audit` finds them (osv.dev).

An advisory can appear at any time without a change here: it is printed and fails nothing. Where the
source cannot be reached, that is said in a line.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
INDEX = "https://index.invalid/simple"  # a uv.lock names one; none is asked
SECONDS = 15  # for all of it; an answer takes one or two
QUICK = {"UV_HTTP_TIMEOUT": "3", "UV_HTTP_RETRIES": "0", "UV_NO_CONFIG": "1"}
HEAD = ("version = 1", 'requires-python = ">=3.11"', "")
PROJECT = '[project]\nname = "foldwise"\nversion = "0"\nrequires-python = ">=3.11"\n'


def write_project(lock: Path, folder: Path) -> None:
    """A project whose uv.lock says what requirements.lock does."""
    pins = re.findall(r"^([A-Za-z][\w.-]*)==([^\s;]+)", lock.read_text(), re.MULTILINE)
    source = f'source = {{ registry = "{INDEX}" }}'
    entries = [[f'name = "{name}"', f'version = "{version}"', source] for name, version in pins]
    needed = ", ".join(f"{{ {', '.join(entry)} }}" for entry in entries)
    own = ['name = "foldwise"', 'version = "0"', 'source = { virtual = "." }']
    own.append(f"dependencies = [{needed}]")
    packages = ["\n".join(["[[package]]", *entry, ""]) for entry in (own, *entries)]
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "uv.lock").write_text("\n".join([*HEAD, *packages]))


def main(*options: str, lock: Path = LOCK) -> None:
    """Print what there is to know."""
    with tempfile.TemporaryDirectory() as folder:
        write_project(lock, Path(folder))
        command = ["uv", "audit", "--frozen", "--preview-features", "audit-command", *options]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | QUICK,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"advisories: skipped (no answer within {SECONDS} s)")
            return
    errors = done.stderr.strip().splitlines() or ["no reason given"]
    if done.returncode == 0:
        print(f"advisories: {errors[-1]}")
    elif done.stdout.strip():
        print(f"{done.stdout.strip()}\n{errors[-1]}; `make lock` takes newer versions")
    else:
        print(f"advisories: skipped ({errors[-1].strip().removeprefix('cause: ')})")


if __name__ == "__main__":
    main(*sys.argv[1:])
