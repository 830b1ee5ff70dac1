"""What a Python file of this project imports from foldwise, read from its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/foldwise"


def module_file(name: str) -> Path | None:
    """File of a module below foldwise, or None if `name` is no module."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


def room(path: Path) -> str:
    """What a file of foldwise belongs to: a folder of the package, or a module that is alone."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, within functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in inside if module_file(name)} or {node.module}
            if node.module != "foldwise":
                names.add(node.module)
    return names


def files_imported(path: Path) -> set[Path]:
    """Files of foldwise that a file imports itself."""
    files = (module_file(name) for name in imported(path) if name.split(".")[0] == "foldwise")
    return {file for file in files if file}


def closure(path: Path) -> set[Path]:
    """Files of foldwise that a file imports, and what they import in turn.

    A package's own __init__.py counts only if it says more than its docstring.
    """
    seen: set[Path] = set()
    todo = [path]
    while todo:
        new = {file for file in files_imported(todo.pop()) if _has_code(file)} - seen
        seen |= new
        todo += new
    return seen


def _has_code(path: Path) -> bool:
    return len(ast.parse(path.read_text()).body) > 1 or path.name != "__init__.py"
