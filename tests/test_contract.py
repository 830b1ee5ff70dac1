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
from imports import PACKAGE, ROOT, closure, imported
from ruamel.yaml import YAML

from foldwise.core import config
from foldwise.core.errors import ConfigError

pytestmark = pytest.mark.contract

STAGES: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
MODULES = sorted(PACKAGE.rglob("*.py"))


def stage(name: str) -> dict[str, Any]:
    block: dict[str, Any] = STAGES[name]
    return dict(block.get("do", block))


def paths_of(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def importers(library: str) -> set[str]:
    """Files of foldwise that import a library, as paths below the package."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        if any(name.split(".")[0] == library for name in imported(path))
    }


# --- imports ----------------------------------------------------------------------------------


def test_only_tracking_imports_mlflow() -> None:
    found = importers("mlflow")
    assert found
    assert all(name.startswith("tracking/") for name in found), found


def test_only_reporting_draws() -> None:
    found = importers("altair") | importers("vl_convert") | importers("matplotlib")
    assert found
    assert all(name.startswith("reporting/") for name in found), found


def test_only_config_reads_yaml() -> None:
    assert importers("ruamel") | importers("yaml") == {"config.py"}


def test_nothing_imports_the_pipeline_or_the_cli() -> None:
    for path in MODULES:
        names = imported(path)
        assert not any(name.split(".")[0] == "pipeline" for name in names), path
        assert "foldwise.cli" not in names, path


ABOVE = {"cli", "demo", "prediction", "tracking", "reporting", "revisions", "simulation"}
FORBIDDEN = {
    "engine": {"evaluation", "comparison", "commits", "findings", "doctor"} | ABOVE,
    "engine/training": {"engine/executors", "engine/cross_validation"},
    "engine/networks": {"engine/training", "results", "splits", "datasets"},
    "splits": {"engine", "datasets"} | ABOVE,
    "comparison": {"engine", "datasets"} | ABOVE,
    "evaluation": {"engine", "datasets", "comparison"} | ABOVE,
    "results": {"engine", "datasets", "evaluation"} | ABOVE,
    "config": {"results", "engine", "datasets", "files"} | ABOVE,
}


@pytest.mark.parametrize("module", sorted(FORBIDDEN))
def test_imports_point_one_way(module: str) -> None:
    place = PACKAGE / module
    files = sorted(place.glob("*.py")) or [place.with_suffix(".py")]
    reached = set()
    for path in {found for file in files for found in closure(file)}:
        name = path.relative_to(PACKAGE).with_suffix("")
        reached |= {name.as_posix(), name.parts[0]}
    assert not reached & FORBIDDEN[module]


def test_importing_does_nothing(tmp_path: Path) -> None:
    """No file, no output, no seed, no thread count, no environment variable."""
    names = [
        ".".join(["foldwise", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(
            ".__init__"
        )
        for path in MODULES
    ]
    code = (
        "import importlib, os, random, sys, torch\n"
        "import ruamel.yaml, requests, tqdm, pooch, pandas, altair, sklearn, mlflow\n"
        "before = dict(os.environ), torch.get_rng_state().tolist(), torch.get_num_threads()\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "after = dict(os.environ), torch.get_rng_state().tolist(), torch.get_num_threads()\n"
        "assert before == after\n"
    )
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


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_depends_on_what_its_script_imports(name: str) -> None:
    script = ROOT / "pipeline" / f"{name}.py"
    declared = {dep for dep in stage(name)["deps"] if dep.startswith(("src/", "pipeline/"))}
    folders = {dep for dep in declared if (ROOT / dep).is_dir()}
    files = {str(path.relative_to(ROOT)) for path in closure(script)} | {f"pipeline/{name}.py"}
    inside = {file for file in files for folder in folders if file.startswith(f"{folder}/")}
    assert declared - folders == files - inside
    assert all(any(file.startswith(f"{folder}/") for file in files) for folder in folders)
    if "src/foldwise/datasets/registry.py" in files:  # imports readers by name
        assert "src/foldwise/datasets" in folders


def test_every_script_is_a_stage_and_the_command_carries_only_the_key() -> None:
    assert {path.stem for path in (ROOT / "pipeline").glob("*.py")} == set(STAGES)
    for name, block in STAGES.items():
        key = " ${key}" if "foreach" in block else ""
        assert stage(name)["cmd"] == f"python pipeline/{name}.py{key}"


def test_scripts_are_thin() -> None:
    for path in (ROOT / "pipeline").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 45, path


def expanded(text: str, block: dict[str, Any], key: str) -> str:
    item = PARAMS[block["foreach"][2:-1]][key] if "foreach" in block else {}
    return re.sub(r"\$\{item\.(\w+)\}", lambda m: str(item[m[1]]), text.replace("${key}", key))


def test_every_declared_parameter_exists() -> None:
    for name, block in STAGES.items():
        keys = PARAMS[block["foreach"][2:-1]] if "foreach" in block else [""]
        for key in keys:
            for parameter in stage(name).get("params", []):
                node: Any = PARAMS
                for part in expanded(parameter, block, key).split("."):
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


READS = {
    "data": {"data"},
    "dataset": {"datasets.${key}"},
    "study": {"studies.${key}"},
    "variants_of": {"variants"},
    "variant": {
        "variants.${key}",
        "studies.${item.study}.cv",
        "studies.${item.study}.dataset",
        "studies.${item.study}.training",
    },
}


def parameters_read(script: Path) -> set[str]:
    """What a stage script takes from the settings, as dvc.yaml writes it.

    Reads the script: every use of what `config.load()` gave, followed through assignments.
    """
    tree = ast.parse(script.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found: set[str] = set()

    def follow(node: ast.AST, read: set[str] | None) -> None:
        """`node` is an expression that holds settings; `read` is what using all of it reads."""
        parent = parents[node]
        if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
            for use in ast.walk(tree):
                same = isinstance(use, ast.Name) and use.id == parent.targets[0].id
                if same and isinstance(use.ctx, ast.Load):
                    follow(use, read)
        elif isinstance(parent, ast.Attribute) and read is None:
            call = parents[parent]
            called = isinstance(call, ast.Call) and call.func is parent
            follow(call if called else parent, READS[parent.attr])
        elif isinstance(parent, ast.Attribute) and read == READS["study"]:
            found.add(f"studies.${{key}}.{parent.attr}")
        elif not isinstance(parent, ast.Expr):  # a bare call only checks that the key exists
            found.update({"studies", "variants"} if read is None else read)

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node) == "config.load()":
            follow(node, None)
    return found


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_declares_the_parameters_that_its_script_reads(name: str) -> None:
    assert parameters_read(ROOT / "pipeline" / f"{name}.py") == set(stage(name).get("params", []))


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
    declared = {expanded(p, STAGES["train"], key) for p in stage("train")["params"]}
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
