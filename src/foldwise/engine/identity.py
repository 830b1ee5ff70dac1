"""A digest of the code that decides a training's numbers; rewording does not change it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foldwise import numerics
from foldwise.core import files

ROOM = Path(numerics.__file__).parent
PACKAGE = numerics.__name__


def code_digest(module: str, room: Path = ROOM) -> str:
    """Sha256 of a module of `numerics` and of all modules of this room that it imports.

    It is taken over syntax trees: comments, docstrings, layout and the version of Python do not
    change it.

    Args:
        module: its name within the room.
        room: where the room lies.
    """
    trees = reached(module, room)
    return files.digest({name: _canonical(tree) for name, tree in trees.items()})


def reached(module: str, room: Path = ROOM) -> dict[str, ast.Module]:
    """The syntax trees of a module and of all modules of the room that it imports."""
    trees: dict[str, ast.Module] = {}
    waiting = ["__init__", module]
    while waiting:
        name = waiting.pop()
        if name not in trees:
            trees[name] = ast.parse((room / f"{name}.py").read_text(encoding="utf-8"))
            waiting += [each for each in _imports(trees[name]) if (room / f"{each}.py").exists()]
    return trees


def _imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports from the room: names of modules, and of what `__init__` defines."""
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
    """A syntax tree as nested lists: the kind of each node and its fields.

    Empty fields are left out, since each version of Python adds some.
    """
    if isinstance(part, list):
        return [_canonical(item) for item in part]
    if not isinstance(part, ast.AST):
        return repr(part)
    fields = dict(ast.iter_fields(part))
    if isinstance(part, DOCUMENTED) and ast.get_docstring(part) is not None:
        fields["body"] = fields["body"][1:]
    kept = {name: value for name, value in fields.items() if value is not None and value != []}
    return [type(part).__name__, {name: _canonical(value) for name, value in kept.items()}]


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
