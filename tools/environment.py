"""Make this checkout's own environment in .venv, or bring it up to date: `make setup`.

    python3 -I tools/environment.py [MORE.lock]

Installs what requirements.lock names (or adds what MORE.lock does), and this checkout as it lies
here. Needs the standard library alone. Whatever a user has set for pip, uv, venv, conda or Python,
by variables or files, stays outside, but for where packages come from: hashes hold those.
"""

import ast
import fcntl
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
READY = VENV / ".ready"  # says whose environment this is, once it is whole
PYTHON, UV = str(VENV / "bin/python"), str(VENV / "bin/uv")
LOCK = ROOT / "requirements.lock"
FOREIGN = re.compile(r"(PIP|UV|PYTHON|CONDA|_CONDA|VIRTUAL_ENV|__PYVENV).*")
SOURCES = re.compile(  # of packages, and the way to them
    r"(PIP|UV)_\w*(INDEX|LINKS|CERT|TLS|HOST|PROXY|TIMEOUT|RETRIES|CACHE_DIR|KEYRING|OFFLINE)\w*"
)


def main(more: list[str]) -> None:
    """Make the environment, or add what MORE.lock names to it."""
    with alone():
        if not more:
            make()
        for lock in more:
            run(UV, *("pip", "install", "--require-hashes", "-r", lock))


def make() -> None:
    """The environment: from nothing, unless it is known to be whole and of this folder.

    Installers take for whole what a killed one left.
    """
    if VENV.is_symlink():
        VENV.unlink()  # and leave alone what it points to
    whole = READY.is_file() and READY.read_text() == str(ROOT) and Path(PYTHON).exists()
    READY.unlink(missing_ok=True)
    if not whole:
        if importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            sys.exit(
                f"error: {sys.executable} cannot make environments; on Debian or Ubuntu, "
                f"`apt install python{version}-venv`, then the same command again"
            )
        base = getattr(sys, "_base_executable", sys.executable)  # not of an environment
        run(base, "-I", "-m", "venv", "--clear", str(VENV))
    # uv is itself locked: its entry installs it, then it installs the rest.
    entries = re.split(r"\n(?=\S)", LOCK.read_text())
    of_uv = VENV / "uv.lock"
    of_uv.write_text("\n".join(entry for entry in entries if entry.startswith("uv==")) + "\n")
    run(PYTHON, "-I", *("-m", "pip", "install", "--require-hashes", "-r", str(of_uv)))
    run(UV, *("pip", "sync", "--require-hashes", str(LOCK)))
    run(UV, *("pip", "install", "--no-deps", "--no-build-isolation", "--editable", "."))
    run(PYTHON, "-c", "from foldwise.engine import mlp; mlp.compile_ahead()")
    READY.write_text(str(ROOT))


@contextmanager
def alone() -> Iterator[None]:
    """Wait for another set-up of this folder; the system lets go of the lock of a killed one."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def run(*command: str) -> None:
    """Run a command on this environment and no other; exits where it fails."""
    environ = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    environ |= {"VIRTUAL_ENV": str(VENV), "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}"}
    if "pip" in command:
        files = of_uvs_files() if command[0] == UV else of_pips_files()
        environ |= files | {name: v for name, v in os.environ.items() if SOURCES.fullmatch(name)}
        command += ("--quiet",)
    if command[0] == UV:
        command += ("--no-config", "--python", PYTHON)  # which wins over all that names another
    elif "pip" in command:
        environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        subprocess.run(command, cwd=ROOT, env=environ, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}; `make setup` starts anew")


# --- where packages come from, by the files of a user -----------------------------------------


def of_pips_files() -> dict[str, str]:
    """What pip's files say of it, as variables."""
    command = [PYTHON, "-I", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = (line.partition("=")[::2] for line in listed.splitlines())
    return variables("PIP", {key.rpartition(".")[2]: ast.literal_eval(v) for key, v in lines})


def of_uvs_files() -> dict[str, str]:
    """What uv's files say of it, as variables."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    files = ["/etc/uv/uv.toml", f"{home}/uv/uv.toml", os.environ.get("UV_CONFIG_FILE", "")]
    settings: dict[str, Any] = {}
    for file in (Path(file) for file in files if file):
        with suppress(OSError, ValueError):
            read = tomllib.loads(file.read_text())
            settings |= read | read.get("pip", {})
    indexes = settings.pop("index", [])
    for index in indexes:
        if index.get("default"):
            settings["default-index"] = index["url"]
        else:
            name = f"{index['name']}=" if "name" in index else ""
            settings.setdefault("index", []).append(name + index["url"])
    settings["insecure-host"] = settings.pop("allow-insecure-host", None)
    return variables("UV", settings)


def variables(tool: str, settings: dict[str, Any]) -> dict[str, str]:
    """Those of a tool's settings that say where packages come from, as its variables."""
    found = {}
    for key, value in settings.items():
        name = f"{tool}_{key.upper().replace('-', '_')}"
        if SOURCES.fullmatch(name) and value not in (None, [], False):
            separator = "," if name == "UV_FIND_LINKS" else " "
            several = value if isinstance(value, list) else [value]
            found[name] = separator.join("true" if each is True else str(each) for each in several)
    return found


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
