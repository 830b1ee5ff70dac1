"""What decides a training's numbers, as digests and records. Rewording changes none of it."""

import ast
import hashlib
import platform
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foldwise import numerics
from foldwise.core import files
from foldwise.engine.learners import Learner
from foldwise.engine.mlp import Chunk
from foldwise.numerics.split import Split
from foldwise.results.runs import Numerics, NumericsPath, Place

LIBRARIES = {  # besides foldwise
    "compiled": ("llvmlite", "numba", "numpy", "torch"),
    "autograd": ("numpy", "torch"),
    "cuda": ("numpy", "torch"),
}
FEATURES = ("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")
ROOM = Path(numerics.__file__).parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def split_keys(
    learner: Learner, chunks: Iterable[Chunk], data_digest: str, device: str
) -> dict[Place, str]:
    """For every split a digest of everything that decides its numbers.

    On a CPU, the other splits of its chunk do not; on a GPU, they do. The chunks are all splits
    of the study, as the learner plans them.
    """
    variant = learner.variant
    common = {
        "data": data_digest,
        "study": variant.study,
        "network": [type(variant.network).__name__, variant.network.model_dump(mode="json")],
        "training": variant.training.model_dump(mode="json", exclude={"probe"}),
        "code": code_of(learner.code),
        "numerics": numerics_of(learner, device).model_dump(),
    }
    keys = {}
    for chunk in chunks:
        own = {split.place: _facts_of(split, learner) for split in chunk}
        together = list(own.values()) if device == "cuda" else []
        for place, facts in own.items():
            keys[place] = files.digest({**common, "split": facts, "together": together})
    return keys


def _facts_of(split: Split, learner: Learner) -> dict[str, Any]:
    rows = [
        hashlib.sha256(part.astype("<i8").tobytes()).hexdigest()
        for part in (split.train, split.held_out)
    ]
    place = list(split.place)
    return {"place": place, "rows": rows, "probed": place == learner.variant.training.probe}


# --- numerics ---------------------------------------------------------------------------------


def numerics_of(learner: Learner, device: str) -> Numerics:
    """What decides the bits that a learner gives on a device, beside foldwise's own code."""
    path: NumericsPath = "cuda" if device == "cuda" else learner.path
    hardware = "" if path == "compiled" else _gpu() if path == "cuda" else _processor()
    versions = {name: version(name) for name in LIBRARIES[path]}
    return Numerics(path=path, versions=versions, hardware=hardware)


def _processor() -> str:
    """The maker and the features by which libraries choose their code."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return platform.machine()
    lines = [line.partition(":")[::2] for line in text.splitlines()]
    known = {name.strip(): value.split() for name, value in lines}
    features = [name for name in FEATURES if name in known.get("flags", [])]
    return " ".join([*known.get("vendor_id", [platform.machine()]), *features])


def _gpu() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


# --- code -------------------------------------------------------------------------------------


@cache
def code_of(module: str) -> str:
    """As `code_digest`, of this foldwise; read once."""
    return code_digest(module)


def code_digest(module: str, room: Path = ROOM) -> str:
    """Sha256 of a module of `numerics`, by its name, and of all modules there that it imports.

    It is taken over syntax trees: comments, docstrings, layout and the version of Python do not
    change it.
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
            if name.startswith(f"{numerics.__name__}."):
                yield name.removeprefix(f"{numerics.__name__}.").split(".")[0]


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
