"""Run folders, metrics and comparisons as disks, merges and other versions leave them."""

import json
from collections.abc import Iterator

import pytest
from fabricate import TINY, Cache, Project
from hypothesis import given
from hypothesis import strategies as st
from mutations import (
    accepted_or_refused,
    as_json,
    damaged,
    either,
    examples,
    holding,
    mutated,
    other_columns,
    unchanged,
)

from foldwise import journal, reporting
from foldwise.comparison import compare_study
from foldwise.core import files, paths
from foldwise.evaluation import evaluate
from foldwise.reporting import tidy
from foldwise.results import runs
from foldwise.results.evaluations import read_result
from foldwise.results.runs import RunFolder
from foldwise.results.studies import read_studies
from foldwise.tracking import records
from foldwise.tracking.origin import Origin
from foldwise.wording.results import readme_table, text_table

NAME = "tiny-dropout"
TABLES = [name for name in runs.FILES if name.endswith(".parquet")]


@pytest.fixture(scope="module")
def made(fabricated: Cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = fabricated.copy(tmp_path_factory.mktemp("project"), TINY)
    with unchanged(project.root):
        yield project


def show(made: Project) -> None:
    """What `foldwise results`, the report's tables and a comparison say."""
    studies = read_studies(made.config, made.root)
    text_table(studies)
    readme_table(studies)
    results = {v.name: read_result(made.root, v.name) for v in made.config.variants_of("tiny")}
    compare_study(made.config.study("tiny"), results)


def use_run(made: Project) -> None:
    """What reads a run folder: evaluation, comparison, tables for plots, MLflow's records."""
    run = RunFolder(made.root / paths.run(NAME))
    run.check()
    _ = run.weights
    evaluate(run)
    show(made)
    tidy.plot("curves", read_studies(made.config, made.root))
    source = records.read(made.root, NAME, Origin(user="somebody", command="a test"))
    assert source is not None
    _ = source.parent, [source.child(i) for i in range(len(source.splits))]


# --- metrics and comparisons ------------------------------------------------------------------


@examples(150)
@given(data=st.data())
def test_metrics(made: Project, data: st.DataObject) -> None:
    path = made.root / paths.metrics(NAME)
    content = data.draw(either(path.read_bytes()))
    with holding(path, content), unchanged(made.root), accepted_or_refused(path, NAME):
        show(made)


@examples(100)
@given(data=st.data())
def test_scores(made: Project, data: st.DataObject) -> None:
    path = made.root / paths.scores(NAME)
    content = data.draw(damaged(path.read_bytes()))
    with holding(path, content), unchanged(made.root), accepted_or_refused(path, NAME):
        show(made)


@examples(150)
@given(data=st.data())
def test_comparisons(made: Project, data: st.DataObject) -> None:
    path = made.root / paths.comparison("tiny")
    content = data.draw(either(path.read_bytes()))
    place = paths.comparison("tiny")
    with holding(path, content), unchanged(made.root), accepted_or_refused(place):
        show(made)


@examples(3)
@given(data=st.data())
def test_a_report_of_what_is_accepted(made: Project, data: st.DataObject) -> None:
    path = made.root / data.draw(st.sampled_from((paths.metrics(NAME), paths.comparison("tiny"))))
    content = data.draw(mutated(json.loads(path.read_bytes())).map(as_json))
    page = made.root.with_name("page.html")
    with holding(path, content), unchanged(made.root), accepted_or_refused(path, NAME, seconds=60):
        reporting.write_report(read_studies(made.config, made.root), page)


# --- run folders ------------------------------------------------------------------------------


@examples(100)
@given(data=st.data())
def test_files_of_a_run(made: Project, data: st.DataObject) -> None:
    folder = made.root / paths.run(NAME)
    path = folder / data.draw(st.sampled_from(runs.FILES))
    change = either if path.suffix == ".json" else damaged
    content = data.draw(change(path.read_bytes()))
    with holding(path, content), unchanged(made.root), accepted_or_refused(folder, NAME):
        use_run(made)


@examples(100)
@given(data=st.data())
def test_tables_of_a_run_that_was_signed_again(made: Project, data: st.DataObject) -> None:
    """Whole files of the wrong kind, as another version or a person with a script leaves them."""
    folder = made.root / paths.run(NAME)
    path, manifest = folder / data.draw(st.sampled_from(TABLES)), folder / runs.MANIFEST
    content = data.draw(st.one_of(other_columns(path.read_bytes()), damaged(path.read_bytes())))
    with holding(path, content):
        tree = json.loads(manifest.read_bytes())
        if path.name in tree["files"]:
            tree["files"][path.name] = files.sha256(path)
        with (
            holding(manifest, as_json(tree)),
            unchanged(made.root),
            accepted_or_refused(folder, NAME),
        ):
            use_run(made)


@examples(100)
@given(data=st.data())
def test_journals(
    made: Project, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = made.root / paths.journal(NAME)
    manifest = RunFolder(made.root / paths.run(NAME)).manifest
    epoch = {"splits": [[0, 0]], "epoch": 1, "finished": 1.0, "metrics": [[0.1, 0.2, 0.3, 0.4]]}
    lines = [
        {"manifest": manifest.model_dump(mode="json"), "facts": {"started": 1.0}},
        *(epoch | {"epoch": i} for i in range(1, 4)),
        {"status": "complete"},
    ]
    number = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.booleans()):
        lines[number] = data.draw(mutated(lines[number]))
    content = b"\n".join(map(as_json, lines)) + b"\n"
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    with holding(path, content), accepted_or_refused(path):
        journal.read(path, journal.read(path))
