"""Which code decided a training's numbers, whatever its wording."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foldwise import numerics
from foldwise.core import files

ROOM = Path(numerics.__file__).parent
PACKAGE = numerics.__name__


def code_digest(module: str, room: Path = ROOM) -> str:
    """Sha256 of a module of `numerics` and all that it imports of this room.

    It is taken over syntax trees, so that comments, docstrings and layout do not count, nor does
    the version of Python.

    Args:
        module: its name within the room.
        room: where the room lies.
    """
    trees = reached(module, room)
    return files.digest({name: _canonical(tree) for name, tree in trees.items()})


def reached(module: str, room: Path = ROOM) -> dict[str, ast.Module]:
    """A module of the room and all that it imports of it, as syntax trees."""
    trees: dict[str, ast.Module] = {}
    waiting = ["__init__", module]
    while waiting:
        name = waiting.pop()
        if name not in trees:
            trees[name] = ast.parse((room / f"{name}.py").read_text(encoding="utf-8"))
            waiting += [found for found in _imports(trees[name]) if (room / f"{found}.py").exists()]
    return trees


def _imports(tree: ast.Module) -> Iterator[str]:
    """Names within the room that a module imports, modules and what is in them."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith(f"{PACKAGE}."):
                yield name.removeprefix(f"{PACKAGE}.").split(".")[0]


def _canonical(part: Any) -> Any:
    """A syntax tree as nested lists: kinds of nodes and their fields, but for empty ones, which
    differ between versions of Python.
    """
    if isinstance(part, list):
        return [_canonical(item) for item in part]
    if not isinstance(part, ast.AST):
        return repr(part)
    fields = dict(ast.iter_fields(part))
    if ast.get_docstring(part) is not None if isinstance(part, DOCUMENTED) else False:
        fields["body"] = fields["body"][1:]
    kept = {name: value for name, value in fields.items() if value is not None and value != []}
    return [type(part).__name__, {name: _canonical(value) for name, value in kept.items()}]


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
