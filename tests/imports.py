"""What a Python file of this project imports from foldwise, read from its source."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/foldwise"


def module_file(name: str) -> Path | None:
    """File of foldwise or of a module below it, or None if `name` is no module."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def room(path: Path) -> str:
    """What a file of foldwise belongs to: a folder of the package, or a module that is alone."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> frozenset[str]:
    """Names of all that a file imports, within functions too: modules, and what is from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def files_imported(path: Path) -> set[Path]:
    """Files of foldwise that a file imports itself, and those of the packages they are in.

    A package's own __init__.py counts only if it says more than its docstring.
    """
    files = set()
    for parts in (name.split(".") for name in imported(path)):
        if parts[0] == "foldwise":
            files |= {module_file(".".join(parts[:end])) for end in range(1, len(parts) + 1)}
    return {file for file in files if file and _has_code(file)}


def closure(path: Path) -> set[Path]:
    """Files of foldwise that a file imports, and what they import in turn."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        new = files_imported(todo.pop()) - seen
        seen |= new
        todo += new
    return seen


@cache
def _has_code(path: Path) -> bool:
    return len(ast.parse(path.read_text()).body) > 1 or path.name != "__init__.py"
