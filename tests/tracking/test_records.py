"""What a variant's results say in MLflow, without a store."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabricate import TINY, Cache, Project

from foldwise.core import files, paths
from foldwise.core.errors import DamagedError
from foldwise.metrics import METRICS
from foldwise.results.evaluations import read_evaluation, write_evaluation
from foldwise.results.runs import MANIFEST
from foldwise.tracking import records
from foldwise.tracking.origin import Origin
from foldwise.tracking.records import FolderSource

HERE = Origin(user="somebody", command="a test")
NAME = "tiny-plain"


@pytest.fixture
def project(fabricated: Cache, tmp_path: Path) -> Project:
    return fabricated.copy(tmp_path, TINY)


def source(project: Project, origin: Origin = HERE) -> FolderSource:
    read = records.read(project.root, NAME, origin)
    assert read is not None
    return read


def rewrite(project: Project, change: Any) -> dict[str, Any]:
    """Change what run.json says."""
    path = project.root / paths.run(NAME) / MANIFEST
    tree: dict[str, Any] = json.loads(path.read_text())
    change(tree)
    files.write_json(path, tree)
    return tree


@pytest.mark.parametrize("older", [False, True])
def test_the_spec_is_of_what_run_json_says(project: Project, older: bool) -> None:
    """Also where an older foldwise has written it, which knew fewer settings."""

    def forget(tree: dict[str, Any]) -> None:
        if older:
            del tree["variant"]["training"]["init"], tree["variant"]["training"]["loss"]

    said = rewrite(project, forget)
    identity = {
        "schema": said["schema"],
        "data": said["dataset"]["digest"],
        "splits": said["split_digest"],
        "variant": said["variant"],
        "code": said["code_digest"],
    }
    made = source(project)
    assert made.spec == files.digest(identity)
    assert made.child(0).spec == files.digest({**identity, "split": [0, 0]})
    assert made.outputs == files.digest([made.spec, said["status"], said["files"]])
    assert ("training.loss" in made.parent.params) != older


def test_a_run_has_every_metric(project: Project) -> None:
    assert source(project).parent.finals.keys() > METRICS.keys()


@pytest.mark.parametrize(
    ("primary", "more"), [("accuracy", set()), ("roc_auc", {"roc_auc"}), ("f1_macro", set())]
)
def test_a_split_has_few_metrics_and_the_primary_one(
    project: Project, primary: str, more: set[str]
) -> None:
    """MLflow's page draws a bar for each before it comes to the curves."""
    evaluation = read_evaluation(project.root, NAME)
    metrics = evaluation.metrics.model_copy(update={"metric": primary})
    write_evaluation(project.root, replace(evaluation, metrics=metrics))
    made = source(project)
    assert set(made.child(0).finals) == {"accuracy", "log_loss", "brier"} | more
    assert made.child(len(made.splits) - 1).finals == {}  # refit holds no rows out


def test_results_that_are_not_evaluated_yet(project: Project) -> None:
    (project.root / paths.metrics(NAME)).unlink()
    (project.root / paths.comparison("tiny")).unlink()
    made = source(project)
    assert (made.parent.finals, made.child(0).finals) == ({}, {})
    assert made.note.startswith("**SYNTHETIC DATA**")
    assert "Accuracy" not in made.note


def test_of_a_commit_what_is_too_old_to_be_read_is_left_out(project: Project) -> None:
    files.write_json(project.root / paths.comparison("tiny"), {"study": "tiny", "pairs": [{}]})
    with pytest.raises(DamagedError, match=r"tiny\.json: damaged"):
        source(project).parent  # noqa: B018
    past = source(project, replace(HERE, commit="c" * 40, backfilled=True))
    assert "Accuracy" in past.parent.note
    assert not past.current


def test_tags_say_who_and_from_what() -> None:
    origin = Origin("me", "foldwise track", commit="abc", dirty=True, experiment="bold")
    assert origin.tags == {
        "mlflow.user": "me",
        "mlflow.source.name": "foldwise track",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "abc",
        "git_commit": "abc",
        "dirty": "true",
        "experiment": "bold",
    }
    assert "dirty" not in HERE.tags  # not known without git
