"""The digest of the code changes with what decides numbers, and with nothing else."""

import ast
import shutil
from pathlib import Path

import pytest
from imports import PACKAGE, imported

from foldwise.engine.identity import ROOM, code_digest, reached

MODULES = {path.stem for path in ROOM.glob("*.py")}


@pytest.fixture
def room(tmp_path: Path) -> Path:
    copy = tmp_path / "numerics"
    shutil.copytree(ROOM, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert code_digest("training", copy) == code_digest("training")
    return copy


def changed(room: Path, module: str, old: str, new: str) -> bool:
    """Whether a change of a module's text changes the digest."""
    path = room / f"{module}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return code_digest("training", room) != code_digest("training")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_rewording_changes_nothing(module: str, room: Path) -> None:
    """The docstring of every module, class and function, comments and empty lines."""
    path = room / f"{module}.py"
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body[0] = ast.Expr(ast.Constant("Said in another way."))
            else:
                node.body.insert(0, ast.Expr(ast.Constant("Said for the first time.")))
    text = ast.unparse(ast.fix_missing_locations(tree))  # without comments, in another layout
    assert text != path.read_text()
    path.write_text(f"# A comment.\n\n{text}\n")
    assert code_digest("training", room) == code_digest("training")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("networks", "MOMENTUM = 0.1", "MOMENTUM = 0.2"),
        ("steps", "square().mean(dim=-1)", "square().mean(dim=1)"),
        ("kernels", "SGD, RMSPROP", "RMSPROP, SGD"),
        ("split", "folds != fold", "folds == fold"),
        ("steps", "WARM_UP", "WARMING_UP"),
        ("randomness", "    return torch.stack", "    torch.seed()\n    return torch.stack"),
    ],
)
def test_other_code_changes_it(module: str, old: str, new: str, room: Path) -> None:
    assert changed(room, module, old, new)


def test_every_module_that_training_reaches_is_in_it(room: Path) -> None:
    assert reached("training").keys() == MODULES
    (room / "schedules.py").write_text("RATE = 1\n")
    assert code_digest("training", room) == code_digest("training")  # nothing imports it
    imports = "import partial\n"
    assert changed(room, "steps", imports, f"{imports}from foldwise.numerics import schedules\n")
    one = code_digest("training", room)
    (room / "schedules.py").write_text("RATE = 2\n")
    assert code_digest("training", room) != one


def test_numerics_imports_nothing_else_of_foldwise() -> None:
    for path in ROOM.glob("*.py"):
        ours = {name for name in imported(path) if name.split(".")[0] == PACKAGE.name}
        assert all(name.startswith("foldwise.numerics") for name in ours), path
