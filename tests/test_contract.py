"""The project's own rules: import directions, declared dependencies, parameters and outputs."""

import ast
import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imports import PACKAGE, ROOT, closure, files_imported, imported, room
from ruamel.yaml import YAML

from foldwise.core import config
from foldwise.core.errors import ConfigError

pytestmark = pytest.mark.contract

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted((ROOT / "pipeline").glob("*.py"))

# Each room may import those before it.
ORDER = (
    "core",
    "numerics",
    "metrics",
    "statistics",
    "datasets",
    "splits",
    "results",
    "journal",
    "engine",
    "evaluation",
    "comparison",
    "commits",
    "revisions",
    "wording",
    "reporting",
    "tracking",
    "prediction",
    "watching",
    "backfill",
    "doctor",
    "demo",
    "commands",
)
# Of those before it, what a room must not know all the same.
APART = {
    "numerics": set(ORDER),
    "metrics": set(ORDER),
    "statistics": set(ORDER),
    "tracking": {"reporting"},
}
ON_TOP = ("watching", "backfill", "doctor", "demo")  # used by commands alone


def stage(name: str) -> dict[str, Any]:
    block: dict[str, Any] = STAGES[name]
    return dict(block.get("do", block))


def paths_of(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def short(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def importers(*libraries: str) -> set[str]:
    """Files of foldwise that import one of the libraries, as paths below the package."""
    return {
        short(path)
        for path in MODULES
        if {name.split(".")[0] for name in imported(path)} & set(libraries)
    }


def rooms(*files: str) -> set[str]:
    return {room(PACKAGE / file) for file in files}


# --- imports ----------------------------------------------------------------------------------


def test_every_module_is_in_the_order() -> None:
    assert rooms(*map(short, MODULES)) - {"__init__", "__main__"} == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_one_way(name: str) -> None:
    files = [path for path in MODULES if room(path) == name]
    reached = {room(file) for path in files for file in files_imported(path)} - {name}
    assert reached <= set(ORDER[: ORDER.index(name)]) - APART.get(name, set())


@pytest.mark.parametrize("name", ON_TOP)
def test_what_stands_on_top_can_be_taken_away(name: str) -> None:
    users = {
        room(path) for path in MODULES if name in {room(file) for file in files_imported(path)}
    }
    assert users - {name} <= {"commands"}


def test_nothing_imports_the_stage_scripts() -> None:
    assert importers("pipeline") == set()


def test_only_tracking_and_what_stands_on_it_import_mlflow() -> None:
    users = rooms(*importers("mlflow"))
    assert "tracking" in users
    assert users <= {"tracking", "watching", "backfill", "doctor"}


def test_only_reporting_draws() -> None:
    assert rooms(*importers("altair", "vl_convert", "matplotlib")) == {"reporting"}


def test_only_config_reads_yaml() -> None:
    assert importers("ruamel", "yaml") == {"core/config.py"}


def test_only_three_places_import_dvc() -> None:
    users = importers("dvc", "dvc_data")
    assert {user for user in users if not user.startswith("doctor/")} == {
        "commits.py",
        "datasets/kept.py",
    }


def test_only_one_module_runs_git() -> None:
    """A command line is a list that begins with the program."""
    users = set()
    for path in MODULES:
        lists = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.List)
        ]
        firsts = [node.elts[0] for node in lists if node.elts]
        if any(isinstance(first, ast.Constant) and first.value == "git" for first in firsts):
            users.add(short(path))
    assert users == {"core/git.py"}


WRITERS = {
    "core/files.py",
    "journal.py",  # appends a line at a time, for whoever reads along
    "tracking/workshop.py",  # copies into a scratch folder, which is gone afterwards
}


def writes(call: ast.Call) -> bool:
    """Whether this opens or writes a file without `files`."""
    if isinstance(call.func, ast.Attribute):
        by_files = isinstance(call.func.value, ast.Name) and call.func.value.id == "files"
        if call.func.attr in ("write_text", "write_bytes", "mkstemp", "save_file", "touch"):
            return not by_files
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [value.value for value in values if isinstance(value, ast.Constant)]
    modes = [text for text in texts if isinstance(text, str) and re.fullmatch("[rwaxbt+]+", text)]
    return name in ("open", "fdopen") and any(set(mode) & set("wax+") for mode in modes)


def test_only_files_writes() -> None:
    users = {
        short(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and writes(node)
    }
    assert users <= WRITERS
    assert "core/files.py" in users


# What a process has that an import could change. What others change is imported before.
SNAPSHOT = r"""
import atexit, contextlib, gc, importlib, locale, logging, multiprocessing, os, random, resource
import signal, socket, sys, threading, warnings
import numpy, psutil, torch

def state():
    process, named = psutil.Process(), logging.Logger.manager.loggerDict
    loggers = {"": logging.root} | {
        name: logger for name, logger in named.items() if isinstance(logger, logging.Logger)
    }
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "mask": (mask := os.umask(0), os.umask(mask))[0],
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
        "priority": process.nice(),
        "random": random.getstate(),
        "numpy's random": repr(numpy.random.get_state()),
        "numpy's errors": numpy.geterr(),
        "torch's random": torch.get_rng_state().tolist(),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch's ways": (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
        ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "warnings": list(warnings.filters),
        "path": list(sys.path),
        "finders": list(sys.meta_path),
        "hooks": (sys.excepthook, sys.displayhook, threading.excepthook, sys.stdout, sys.stderr),
        "tracing": (sys.gettrace(), sys.getprofile(), sys.getrecursionlimit()),
        "loggers": {
            name: (logger.level, list(logger.handlers), logger.propagate, logger.disabled)
            for name, logger in loggers.items()
            if logger.level or logger.handlers or logger.disabled or not logger.propagate
        },
        "logging": (logging.root.manager.disable, logging.getLoggerClass()),
        "time-out": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_ALL),
        "at exit": atexit._ncallbacks(),
        "threads": threading.enumerate(),
        "children": process.children(),
        "start of processes": multiprocessing.get_start_method(allow_none=True),
        "open files": process.open_files(),
        "connections": process.net_connections(),
    }

others, ours = OTHERS, OURS
for name in others:
    with contextlib.suppress(ModuleNotFoundError): importlib.import_module(name)
before = state()
for name in ours: importlib.import_module(name)
after = state()
for name in before:
    if before[name] != after[name]: print(f"{name}: {before[name]!s:.300} != {after[name]!s:.300}")
"""


def test_importing_does_nothing(tmp_path: Path) -> None:
    """Nothing that a process has changes, no file is made, nothing is said."""
    ours = [".".join(("foldwise", *Path(short(path)).with_suffix("").parts)) for path in MODULES]
    ours = [name.removesuffix(".__init__") for name in ours]
    names = set().union(*map(imported, MODULES))
    others = sorted(name for name in names if name.split(".")[0] != "foldwise")
    code = SNAPSHOT.replace("OTHERS, OURS", f"{others!r}, {ours!r}")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# --- stages -----------------------------------------------------------------------------------


def places(script: Path) -> set[str]:
    """The rooms that a script imports from, as dvc.yaml names them.

    A room of which it uses one module is named by that module: a new reader of data retrains
    nothing, although training uses `datasets.prepared`.
    """
    used: dict[str, list[Path]] = {}
    for file in closure(script):
        used.setdefault(room(file), []).append(file)
    one = {files[0] if len(files) == 1 else PACKAGE / name for name, files in used.items()}
    return {path.relative_to(ROOT).as_posix() for path in one}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_stage_depends_on_the_rooms_that_its_script_imports(script: Path) -> None:
    declared = [dep for dep in stage(script.stem)["deps"] if dep.startswith(("src/", "pipeline/"))]
    assert sorted(declared) == sorted({f"pipeline/{script.name}"} | places(script))


def test_what_people_add_retrains_nothing() -> None:
    """A data set, a metric, a chart, a tracker, another field of a comparison."""
    trained_by = [ROOT / dep for dep in stage("train")["deps"]]
    added = ["datasets/new.py", "metrics.py", "results/comparisons.py", "reporting/new.py"]
    for file in (PACKAGE / name for name in added):
        assert not {file, *file.parents} & set(trained_by), file


def test_every_script_is_a_stage_and_the_command_carries_only_the_key() -> None:
    assert {path.stem for path in SCRIPTS} == set(STAGES)
    for name, block in STAGES.items():
        key = " ${key}" if "foreach" in block else ""
        assert stage(name)["cmd"] == f"python pipeline/{name}.py{key}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_thin_and_import_in_main_what_takes_long(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert len(lines) <= 45
    for line in lines:
        if line.startswith(("import ", "from ")):
            library = line.split()[1].split(".")[0]
            assert library in sys.stdlib_module_names or line.startswith("from foldwise.core")


def expanded(text: str, name: str, key: str, params: dict[str, Any] = PARAMS) -> str:
    """An entry of dvc.yaml for one key of a stage."""
    block = STAGES[name]
    item = params[block["foreach"][2:-1]][key] if "foreach" in block else {}
    return re.sub(r"\$\{item\.(\w+)\}", lambda m: str(item[m[1]]), text.replace("${key}", key))


@pytest.mark.parametrize("source", ["params.yaml", "src/foldwise/demo/params.yaml"])
@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_declared_parameter_exists(name: str, source: str) -> None:
    params = YAML(typ="safe").load(ROOT / source)
    block = STAGES[name]
    for key in params[block["foreach"][2:-1]] if "foreach" in block else [""]:
        for parameter in stage(name).get("params", []):
            node: Any = params
            for part in expanded(parameter, name, key, params).split("."):
                assert part in node, f"{name}@{key}: {parameter}"
                node = node[part]


def test_metrics_and_comparisons_are_in_git_and_the_rest_is_ignored() -> None:
    for name in STAGES:
        outs = [*stage(name).get("outs", []), *stage(name).get("metrics", [])]
        for entry in outs:
            path = paths_of([entry])[0].replace("${key}", "x")
            path += "/" if path in ("plots", "data/raw/x", "data/prepared/x") else ""
            ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
            in_git = path.startswith(("metrics/", "comparisons/"))
            assert (ignored.returncode != 0) == in_git, path
            cached = not isinstance(entry, dict) or next(iter(entry.values())).get("cache", True)
            assert cached == (not in_git and not path.startswith(".foldwise/")), path


def test_the_lock_has_hashes_and_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "http" not in re.sub(r"^[a-z][\w.-]*==.*$", "", text, flags=re.M)
    packages = re.findall(r"^[a-zA-Z][\w.-]*==", text, flags=re.M)
    assert len(packages) > 100
    for entry in re.split(r"\n(?=\S)", text):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry[:80]


# What using all of a part of the settings reads, where that is not the part itself.
WHOLE = {
    "settings": {"datasets", "studies", "variants"},
    "variant": {
        "variants.${key}",
        "studies.${item.study}.cv",
        "studies.${item.study}.dataset",
        "studies.${item.study}.training",
    },
    "variant.dataset": {"studies.${item.study}.dataset"},
    "variant.study": set(),  # it is in the name of every parameter that depends on it
}


def part(read: str, attribute: str, call: ast.Call | None) -> str:
    """The part of the settings that `read.attribute` is, or that calling it gives."""
    if call is None:
        return attribute if read == "settings" else f"{read}.{attribute}"
    own = isinstance(call.args[0], ast.Name)  # the stage's key, and not a variant's study
    study = "studies.${key}" if own else "studies.${item.study}"
    parts = {"study": study, "dataset": "datasets.${key}", "variants_of": "variants"}
    return parts.get(attribute, attribute)


def parameters_read(script: Path) -> set[str]:
    """What a stage script takes from the settings, as dvc.yaml writes it.

    Reads the script: every use of what `config.load()` gave, followed through assignments.
    """
    tree = ast.parse(script.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    reads: set[str] = set()

    def follow(node: ast.AST, read: str) -> None:
        """`node` is an expression that holds this part of the settings."""
        parent = parents[node]
        if target := assigned(node, parents):
            for use in ast.walk(tree):
                same = isinstance(use, ast.Name) and use.id == target
                if same and isinstance(use.ctx, ast.Load):
                    follow(use, read)
        elif isinstance(parent, ast.Attribute):
            outer = parents[parent]
            call = outer if isinstance(outer, ast.Call) and outer.func is parent else None
            follow(call or parent, part(read, parent.attr, call))
        elif not isinstance(parent, ast.Expr):  # a bare call only checks that the key exists
            reads.update(WHOLE.get(read, {read}))

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node) == "config.load()":
            follow(node, "settings")
    # DVC fails where a parameter is not there: a key that has a default is declared by its block.
    reads = {read.removesuffix(".metric") for read in reads}
    return {read for read in reads if not any(read.startswith(f"{other}.") for other in reads)}


def assigned(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    """The variable that takes the value of an expression, "" where none does."""
    parent = parents[node]
    if isinstance(parent, ast.Tuple) and isinstance(parents[parent], ast.Assign):
        targets = parents[parent].targets[0].elts  # type: ignore[attr-defined]
        return str(targets[parent.elts.index(node)].id)  # type: ignore[arg-type]
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        return parent.targets[0].id
    return ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_stage_declares_the_parameters_that_its_script_reads(script: Path) -> None:
    assert parameters_read(script) == set(stage(script.stem).get("params", []))


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def other(value: Any) -> Any:
    """A valid value of the same kind, but another one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value / 2 + 0.01
    if isinstance(value, list):
        return [7]
    names = {
        "relu": "tanh",
        "none": "minmax",
        "standardize": "none",
        "cross_entropy": "squared_error",
    }
    return {"uniform": 0.1} if value == "default" else names.get(value, value)


def test_a_variants_settings_are_decided_by_its_declared_parameters_alone() -> None:
    key = "sonar-hidden-dropout"
    declared = {expanded(p, "train", key) for p in stage("train")["params"]}
    before = config.parse((ROOT / "params.yaml").read_text()).variant(key)
    checked = 0
    for path in leaves(PARAMS):
        tree = copy.deepcopy(PARAMS)
        node = tree
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = other(node[path[-1]])
        inside = any(f"{'.'.join(map(str, path))}.".startswith(f"{d}.") for d in declared)
        if node[path[-1]] == leaf(PARAMS, path):
            continue
        try:
            after = config.parse(json.dumps(tree)).variant(key)
        except ConfigError:
            continue
        assert (after != before) == inside, path
        checked += inside
    assert checked >= 12


def leaf(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree
