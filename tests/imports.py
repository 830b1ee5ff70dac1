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


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, foldwise's modules in full."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inside if module_file(name)} or {node.module}
            if node.module != "foldwise":
                found.add(node.module)
    return found


def closure(path: Path) -> set[Path]:
    """Files of foldwise that a file imports, and what they import in turn.

    A package's own __init__.py counts only if it says more than its docstring.
    """
    seen: set[Path] = set()
    todo = [path]
    while todo:
        for name in imported(todo.pop()):
            file = module_file(name) if name.startswith("foldwise") else None
            if file and file not in seen and _has_code(file):
                seen.add(file)
                todo.append(file)
    return seen


def _has_code(path: Path) -> bool:
    return len(ast.parse(path.read_text()).body) > 1 or path.name != "__init__.py"
