"""`make setup`, on a small project and packages packed from this environment: no network.

It makes this checkout's own environment whatever a user has set, however the last one ended.
"""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    *("uv", "hatchling", "editables", "packaging", "pathspec", "pluggy", "trove-classifiers"),
)
BASE = sys._base_executable
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "foldwise"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["src/foldwise"]
"""
pytestmark = pytest.mark.slow


def pack(name: str, folder: Path) -> str:
    """An installed package as a wheel again; its line of a lock file."""
    made = distribution(name)
    stem = f"{name.replace('-', '_')}-{made.version}"
    wheel, record = folder / f"{stem}-py3-none-any.whl", []
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in made.files or []:
            if "__pycache__" in file.parts or file.name in ("RECORD", "INSTALLER", "REQUESTED"):
                continue
            if file.parts[0] == ".." and name != "uv":
                continue  # a script, which installers make
            content = Path(str(made.locate_file(file))).read_bytes()
            place = f"{stem}.data/scripts/{file.name}" if file.parts[0] == ".." else str(file)
            info = zipfile.ZipInfo(place)
            info.external_attr = 0o100755 << 16
            archive.writestr(info, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{place},sha256={digest.decode()},{len(content)}")
        record.append(f"{stem}.dist-info/RECORD,,")
        archive.writestr(f"{stem}.dist-info/RECORD", "\n".join(record) + "\n")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={made.version} \\\n    --hash=sha256:{digest}\n"


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without an environment, beside its packages."""
    root = tmp_path_factory.mktemp("setup") / "Ein Projekt für #1"
    wheels = root.parent / "wheels"
    for folder in (wheels, root / "tools", root / "src/foldwise/engine"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(ROOT / "tools/environment.py", root / "tools")
    (root / "requirements.lock").write_text("".join(pack(name, wheels) for name in PACKAGES))
    (root / "pyproject.toml").write_text(PYPROJECT)
    for package in ("src/foldwise", "src/foldwise/engine"):
        (root / package / "__init__.py").touch()
    (root / "src/foldwise/engine/mlp.py").write_text("def compile_ahead(): pass\n")
    return root


@pytest.fixture
def project(blank: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(blank, tmp_path / "Ein Projekt, für #1 (neu)"))


@pytest.fixture
def variables(blank: Path) -> dict[str, str]:
    """Where the packages are, and nothing else that is for Python."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "PYTHON", "CONDA", "VIRTUAL_ENV", "MAKE"))
    }
    wheels = str(blank.parent / "wheels")
    return plain | {
        "PIP_FIND_LINKS": wheels,
        "PIP_NO_INDEX": "1",
        "UV_FIND_LINKS": wheels,
        "UV_OFFLINE": "1",
        "UV_CACHE_DIR": str(blank.parent / "cache"),
    }


def set_up(root: Path, variables: dict[str, str], python: str = BASE, ok: bool = True) -> str:
    command = ["make", "setup", f"PYTHON={python}"]
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def check(root: Path) -> None:
    """All packages are there, and the source is this folder's."""
    code = "import foldwise, hatchling, uv; print(foldwise.__file__, uv.__file__)"
    command = [str(root / ".venv/bin/python"), "-I", "-c", code]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    assert f"{root}/src/foldwise/__init__.py {root}/.venv/lib" in said
    assert (root / ".venv/bin/uv").exists()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def test_whatever_is_set_for_other_environments(
    project: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    victim, elsewhere, home = tmp_path / "victim", tmp_path / "elsewhere", tmp_path / "home"
    subprocess.run([BASE, "-m", "venv", "--without-pip", str(victim)], check=True)
    (elsewhere / "pip").mkdir(parents=True)
    for name in ("sitecustomize.py", "pip/__init__.py", "uv.py"):
        (elsewhere / name).write_text("raise SystemExit('reached')\n")
    for name, text in {
        "pip/pip.conf": f"[install]\ntarget = {victim}\n[global]\nuser = true\n",
        "uv/uv.toml": f'[pip]\nsystem = true\ntarget = "{victim}"\nno-binary = [":all:"]\n',
    }.items():
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text)
    before = files_in(victim), files_in(elsewhere)
    python = str(victim / "bin/python")
    hostile = {
        "UV_SYSTEM_PYTHON": "1",
        "UV_PYTHON": python,
        "UV_BREAK_SYSTEM_PACKAGES": "1",
        "UV_REQUIRE_HASHES": "1",
        "UV_EXCLUDE_NEWER": "2000-01-01",
        "UV_NO_BINARY": "1",
        "UV_CONFIG_FILE": str(home / "uv/uv.toml"),
        "UV_PROJECT_ENVIRONMENT": str(victim),
        "UV_CONSTRAINT": "/nowhere",
        "UV_NO_BUILD_ISOLATION": "0",
        "UV_COMPILE_BYTECODE": "?",
        "PIP_TARGET": str(victim),
        "PIP_USER": "1",
        "PIP_NO_BINARY": ":all:",
        "PIP_DRY_RUN": "1",
        "PIP_CONFIG_FILE": str(home / "pip/pip.conf"),
        "PIP_PYTHON": python,
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_CONSTRAINT": "/nowhere",
        "PIP_LOG": "/nowhere/log",
        "PYTHONPATH": str(elsewhere),
        "PYTHONHOME": "/nowhere",
        "PYTHONSAFEPATH": "1",
        "PYTHONUSERBASE": str(victim),
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSTARTUP": "/nowhere",
        "PYTHONINSPECT": "1",
        "VIRTUAL_ENV": str(victim),
        "CONDA_PREFIX": str(victim),
        "CONDA_DEFAULT_ENV": "base",
        "XDG_CONFIG_HOME": str(home),
    }
    set_up(project, variables | hostile)
    assert (files_in(victim), files_in(elsewhere)) == before
    check(project)
    assert "Nothing to be done" in set_up(project, variables | hostile)


@pytest.mark.parametrize("seen", ["pyvenv.cfg", "bin/python", "bin/pip", "bin/uv"])
def test_killed_at_any_moment_and_again(
    project: Path, variables: dict[str, str], seen: str
) -> None:
    command = ["make", "setup", f"PYTHON={BASE}"]
    with subprocess.Popen(command, cwd=project, env=variables, start_new_session=True) as process:
        while process.poll() is None and not (project / ".venv" / seen).exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    set_up(project, variables)
    check(project)


def test_a_copied_checkout_gets_its_own(project: Path, variables: dict[str, str]) -> None:
    set_up(project, variables)
    copy = project.with_name("copy")
    shutil.copytree(project, copy, symlinks=True)
    before = files_in(project / ".venv")
    set_up(copy, variables)
    check(copy)
    assert files_in(project / ".venv") == before
    check(project)
    (copy / "requirements.lock").touch()
    shutil.rmtree(copy / ".venv")
    (copy / ".venv").symlink_to(project / ".venv")  # what it points to belongs to the first
    set_up(copy, variables)
    check(copy)
    assert files_in(project / ".venv") == before


def test_two_at_once(project: Path, variables: dict[str, str]) -> None:
    command = ["make", "setup", f"PYTHON={BASE}"]
    both = [subprocess.Popen(command, cwd=project, env=variables) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    check(project)


def test_without_what_makes_environments(
    project: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    """As Debian's Python is without python3-venv: one line names the package.

    The first argument is -I, with which Python would not look at another library.
    """
    command = [BASE, "-I", "-c", "import os; print(os.__file__)"]
    library = Path(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ).parent
    bare = tmp_path / "lib" / library.name
    bare.mkdir(parents=True)
    for path in library.iterdir():
        if path.name != "ensurepip":
            (bare / path.name).symlink_to(path)
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\nshift\nPYTHONHOME={tmp_path} exec {BASE} "$@"\n')
    python.chmod(0o755)
    said = set_up(project, variables, str(python), ok=False)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert f"`apt install python3.{sys.version_info.minor}-venv`" in line
    assert "Traceback" not in said
    assert not (project / ".venv").exists()
