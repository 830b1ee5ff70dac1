"""Whatever is changed in a result's files: it is read, or refused with the place."""

import json
from pathlib import Path
from typing import Any

import pytest
from fabricate import Cache, Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foldwise.core import paths
from foldwise.core.errors import ReadError, ResultsError
from foldwise.results import runs
from foldwise.results.runs import RunFolder
from foldwise.results.studies import read_studies, stale_results
from foldwise.wording.results import text_table

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)
FILES = (
    paths.metrics("tiny-plain"),
    paths.comparison("tiny"),
    paths.run("tiny-plain") / runs.MANIFEST,
)


@pytest.fixture(scope="module")
def made(fabricated: Cache, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return fabricated.copy(tmp_path_factory.mktemp("mutated"))


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> Any:
    """A tree with a part that is another one, or gone."""
    if draw(st.integers(0, 3)) == 0 or not isinstance(tree, dict | list) or not tree:
        return draw(VALUES)
    copy = tree.copy()
    key = draw(st.sampled_from([*tree] if isinstance(tree, dict) else range(len(tree))))
    if draw(st.integers(0, 3)) == 0:
        del copy[key]
    else:
        copy[key] = draw(changed(tree[key]))
    return copy


def read(made: Project) -> None:
    """All that reads results says why it does not."""
    stale_results(made.config, made.root)
    said = "; `dvc "
    try:
        text_table(read_studies(made.config, made.root))
        RunFolder(made.root / paths.run("tiny-plain")).check()
    except (ReadError, ResultsError) as error:
        said = str(error)
    assert "; `dvc " in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_changed_json(path: Path, made: Project, data: st.DataObject) -> None:
    file = made.root / path
    before = file.read_bytes()
    try:
        file.write_text(json.dumps(data.draw(changed(json.loads(before)))))
        read(made)
    finally:
        file.write_bytes(before)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
@pytest.mark.parametrize(
    "path",
    [*FILES, paths.scores("tiny-plain"), *(paths.run("tiny-plain") / n for n in runs.FILES)],
    ids=lambda path: path.name,
)
def test_changed_bytes(path: Path, made: Project, data: st.DataObject) -> None:
    """Cut off, or with other bytes in the middle."""
    file = made.root / path
    before = file.read_bytes()
    start = data.draw(st.integers(0, len(before)))
    other = data.draw(st.binary(max_size=20))
    rest = before[start + len(other) :] if data.draw(st.booleans()) else b""
    try:
        file.write_bytes(before[:start] + other + rest)
        read(made)
    finally:
        file.write_bytes(before)
