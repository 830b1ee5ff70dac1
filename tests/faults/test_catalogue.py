"""Every test that the catalogue of faults names is there, and would be collected."""

import ast
from functools import cache
from pathlib import Path

import pytest
from catalogue import CATALOGUE, Fault

TESTS = Path(__file__).parents[1]
ROWS = [row for rows in CATALOGUE.values() for row in rows]


@cache
def named_in(file: str) -> set[str]:
    """Those that pytest collects from a file."""
    path = TESTS / file
    assert path.name.startswith("test_")
    assert path.is_file(), file
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)
def test_every_fault_has_tests_that_are_there(row: Fault) -> None:
    assert row.tests
    for test in row.tests:
        file, _, name = test.partition("::")
        assert name.startswith("test_")
        assert name in named_in(file), test


def test_no_fault_is_there_twice() -> None:
    names = [row.fault for row in ROWS]
    assert len(names) == len(set(names)) >= 34
