"""Real data stay, through real `dvc`, whatever happens to the mirror, the folder or the code.

A made-up file stands for the real one. The synthetic stand-in is for who never had it.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from dvc.api import DVCFileSystem
from dvc.repo import Repo
from repositories import git, run
from ruamel.yaml import YAML

from foldwise import demo
from foldwise.core import files, paths
from foldwise.datasets import provenance, sonar

ROOT = Path(__file__).parents[2]
RAW = paths.raw("sonar")
pytestmark = pytest.mark.slow


def change(root: Path, **data: Any) -> None:
    """Set values below `data` in params.yaml."""
    yaml = YAML()
    tree = yaml.load(root / paths.PARAMS)
    tree["data"] |= data
    yaml.dump(tree, root / paths.PARAMS)


def edition(root: Path) -> str:
    return provenance.verify(root / RAW).edition


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project beside a mirror with the real file, committed; nothing has run."""
    root = tmp_path_factory.mktemp("work") / "project"
    mirror = root.parent / "mirror"
    mirror.mkdir()
    sonar.synthesize(mirror, 30)
    git_init(root)
    demo.make_workspace(ROOT, root)
    yaml = YAML()
    tree = yaml.load(root / paths.PARAMS)
    del tree["datasets"]["cifar10"], tree["studies"]["images"]
    for name in ("images-plain", "images-batchnorm"):
        del tree["variants"][name]
    tree["datasets"]["sonar"]["editions"] = {
        "uci": {"rows": 30, "files": {sonar.FILE: {"mirror_path": sonar.FILE}}},
        "synthetic": {"rows": 20},
    }
    tree["data"]["mirror"] = "../mirror"
    yaml.dump(tree, root / paths.PARAMS)
    offer(root, mirror, (mirror / sonar.FILE).read_text())
    (root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    commit(root)
    return root


def offer(root: Path, mirror: Path, text: str) -> None:
    """Put a file into the mirror, and its size and sha256 into params.yaml."""
    path = mirror / sonar.FILE
    path.write_text(text)
    yaml = YAML()
    tree = yaml.load(root / paths.PARAMS)
    file = tree["datasets"]["sonar"]["editions"]["uci"]["files"][sonar.FILE]
    file |= {"size": path.stat().st_size, "sha256": files.sha256(path)}
    yaml.dump(tree, root / paths.PARAMS)


def git_init(root: Path) -> None:
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    Repo.init(str(root)).close()


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")


@pytest.fixture(scope="module")
def downloaded(new: Path) -> Path:
    """The same, with the real data, and dvc.lock committed."""
    root = new.parent / "downloaded"
    shutil.copytree(new, root)
    run(root, "dvc", "repro", "-q", "prepare@sonar")
    assert edition(root) == "uci"
    commit(root)
    return root


@pytest.fixture
def project(downloaded: Path, tmp_path: Path) -> Path:
    """A copy without a mirror."""
    root = tmp_path / "project"
    shutil.copytree(downloaded, root)
    change(root, mirror=None)
    return root


def repro(root: Path, *options: str) -> str:
    return run(root, "dvc", "repro", *options, "download@sonar")


def test_no_mirror_any_more(project: Path) -> None:
    said = repro(project)
    assert "Running stage" in said
    assert "SYNTHETIC" not in said
    assert edition(project) == "uci"


def test_other_code(project: Path) -> None:
    with (project / "src/foldwise/core/errors.py").open("a") as file:
        file.write("# changed\n")
    shutil.rmtree(project / ".dvc/cache")  # nothing but what lies in the folder
    assert "Running stage" in repro(project)
    assert edition(project) == "uci"


def test_a_deleted_folder_comes_from_the_cache(project: Path) -> None:
    shutil.rmtree(project / "data")
    repro(project)
    assert edition(project) == "uci"


def test_a_damaged_file_comes_from_the_cache(project: Path) -> None:
    (project / RAW / sonar.FILE).unlink()
    (project / RAW / sonar.FILE).write_text("rotten")
    assert "corrupt" in repro(project)
    assert edition(project) == "uci"


def test_a_clone_takes_them_from_the_remote(project: Path, tmp_path: Path) -> None:
    run(project, "dvc", "remote", "add", "-q", "-d", "folder", str(tmp_path / "remote"))
    run(project, "dvc", "push", "-q")
    commit(project)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(project), str(clone))
    repro(clone)
    assert edition(clone) == "uci"
    assert git(clone, "status", "--porcelain", "--", "data") == ""


def test_who_never_had_them_is_told_and_can_have_them_later(new: Path, tmp_path: Path) -> None:
    """The line that the results carry names a command that works."""
    root, mirror = tmp_path / "project", tmp_path / "mirror"
    shutil.copytree(new, root)
    assert "WARNING: sonar is SYNTHETIC" in repro(root)  # ../mirror is not there
    assert edition(root) == "synthetic"
    said = run(root, "python", "-m", "foldwise", "doctor", ok=False)
    (line,) = [line for line in said.splitlines() if "SYNTHETIC" in line]
    shutil.copytree(new.parent / "mirror", mirror)
    assert "Running stage" not in repro(root)  # as far as DVC knows, nothing has changed
    command = line.split("`")[1]
    assert command == "dvc repro -f download@sonar"
    run(root, *command.split())
    assert edition(root) == "uci"


def test_a_malformed_file_is_corrected_where_it_comes_from(new: Path, tmp_path: Path) -> None:
    root, mirror = tmp_path / "project", tmp_path / "mirror"
    shutil.copytree(new, root)
    shutil.copytree(new.parent / "mirror", mirror)
    good = (mirror / sonar.FILE).read_text()
    offer(root, mirror, good.replace(",R", ",X", 1))
    said = run(root, "dvc", "repro", "prepare@sonar", ok=False)
    assert "line 1, column 61: unknown label 'X'" in said
    assert "correct it there, and size and sha256 in params.yaml" in said
    offer(root, mirror, good)
    run(root, "dvc", "repro", "prepare@sonar")
    assert edition(root) == "uci"


def test_a_temporary_experiment_finds_the_mirror_and_runs_its_own_code(
    new: Path, tmp_path: Path
) -> None:
    """In a folder of DVC's: neither `../mirror` nor the source is where it is in the project."""
    root = tmp_path / "project"
    shutil.copytree(new, root)
    shutil.copytree(new.parent / "mirror", tmp_path / "mirror")
    module = root / "src/foldwise/datasets/prepared.py"
    module.write_text(module.read_text().replace("meta.json", "other.json"))
    run(root, "dvc", "exp", "run", "-q", "--temp", "-n", "mine", "prepare@sonar")
    there = DVCFileSystem(str(root), rev="mine")
    assert '"edition": "uci"' in there.read_text(str(RAW / provenance.FILE))
    assert there.exists(str(paths.prepared("sonar") / "other.json"))
