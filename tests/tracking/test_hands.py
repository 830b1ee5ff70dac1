"""What people can do in MLflow's UI, one by one on a real store: `track` mends it, or leaves it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from projects import Project, content, models_of, run_of, runs_of

from foldwise.core.environment import Environment
from foldwise.doctor import store as doctor
from foldwise.tracking import champions, experiments, loading, place, records

NAME, SPLIT = "tiny-plain", "r0-f01"
HERE = Environment()


def texts(project: Project) -> list[str]:
    """What the doctor finds, but for the files of what was deleted."""
    found = doctor.examine(project.config, project.root, project.environment, project.track)
    return [
        finding.text
        for finding in found
        if not re.search(r"\d+ folders \(.*of runs and", finding.text)
    ]


def assert_mended(project: Project, before: dict[Any, Any]) -> None:
    """The store says what it said, `track` has no more to do, and the doctor finds nothing."""
    project.track()
    assert content(project) == before
    assert texts(project) == []
    again = project.track()
    assert (again.skipped, again.mended, again.notes) == (6, 0, [])


def ids(project: Project) -> set[str]:
    return {run.info.run_id for run in runs_of(project)}


# --- experiments ------------------------------------------------------------------------------


def rename(client: MlflowClient, experiment: str) -> None:
    client.rename_experiment(experiment, "a better name")


def rename_and_delete(client: MlflowClient, experiment: str) -> None:
    rename(client, experiment)
    client.delete_experiment(experiment)


def delete_tag(client: MlflowClient, experiment: str) -> None:
    client.delete_experiment_tag(experiment, experiments.STUDY)


def edit_tag(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, experiments.STUDY, "mine")


def add_another(client: MlflowClient, experiment: str) -> None:
    rename(client, experiment)
    client.create_experiment("tiny")


@pytest.mark.parametrize(
    "do",
    [rename, MlflowClient.delete_experiment, rename_and_delete, delete_tag, edit_tag, add_another],
)
def test_an_experiment(mirrored: Project, do: Callable[[MlflowClient, str], None]) -> None:
    before, runs = content(mirrored), ids(mirrored)
    experiment = run_of(mirrored, NAME).info.experiment_id
    do(mirrored.client, experiment)
    assert_mended(mirrored, before)
    assert ids(mirrored) == runs
    there = mirrored.client.get_experiment(experiment)
    assert there.tags[experiments.STUDY] == "tiny"


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "edited"])
@pytest.mark.parametrize(
    "tags",
    [
        (records.SPEC,),
        (records.OUTPUTS,),
        (records.SPEC, records.OUTPUTS),
        ("role", "study", "variant", "split", "repeat", "synthetic", records.CURRENT),
        (MLFLOW_PARENT_RUN_ID, records.CREATED, records.SUMMARY),
    ],
)
def test_tags_of_runs(mirrored: Project, tags: tuple[str, ...], value: str | None) -> None:
    if value and len(tags) == 2:
        pytest.skip("then nothing says any more what it is; `track` makes another")
    before, runs = content(mirrored), ids(mirrored)
    for run in [run_of(mirrored, NAME, split) for split in (SPLIT, "refit", None)]:
        for tag in tags:
            if tag in run.data.tags and value:
                mirrored.client.set_tag(run.info.run_id, tag, value)
            elif tag in run.data.tags:
                mirrored.client.delete_tag(run.info.run_id, tag)
    texts(mirrored)  # no traceback
    assert_mended(mirrored, before)
    assert ids(mirrored) == runs


def test_the_doctor_misses_a_tag(mirrored: Project) -> None:
    mirrored.client.delete_tag(run_of(mirrored, NAME, SPLIT).info.run_id, records.SPEC)
    (text,) = texts(mirrored)
    assert text.startswith("runs/tiny-plain: these results are not in MLflow, or not whole")


@pytest.mark.parametrize("split", [SPLIT, "refit", None])
def test_a_deleted_run_comes_again_and_is_no_double_when_it_is_restored(
    mirrored: Project, split: str | None
) -> None:
    before, run = content(mirrored), run_of(mirrored, NAME, split)
    mirrored.client.delete_run(run.info.run_id)
    assert_mended(mirrored, before)
    mirrored.client.restore_run(run.info.run_id)
    texts(mirrored)
    assert_mended(mirrored, before)


def test_names_and_descriptions_are_peoples_own(mirrored: Project) -> None:
    run = run_of(mirrored, NAME, SPLIT)
    mirrored.client.update_run(run.info.run_id, name="the odd one")
    mirrored.client.set_tag(run.info.run_id, records.NOTE, "odd")
    mirrored.client.set_tag(run.info.run_id, "mine", "too")
    summary = mirrored.track()
    assert (summary.skipped, summary.mended) == (6, 0)
    after = run_of(mirrored, NAME, SPLIT)
    assert after.info.run_name == "the odd one"
    assert (after.data.tags[records.NOTE], after.data.tags["mine"]) == ("odd", "too")


def test_runs_of_somebody_else_are_left_alone(mirrored: Project) -> None:
    """RUNNING for ever, and even below a run of ours."""
    before, parent = content(mirrored), run_of(mirrored, NAME)
    child = run_of(mirrored, NAME, SPLIT)
    own = [
        mirrored.client.create_run(parent.info.experiment_id, tags=tags)
        for tags in ({"variant": NAME}, {MLFLOW_PARENT_RUN_ID: parent.info.run_id}, {})
    ]
    mirrored.client.delete_run(child.info.run_id)
    mirrored.track()
    assert texts(mirrored) == []
    for run in own:
        assert mirrored.client.get_run(run.info.run_id).info.lifecycle_stage == "active"
        mirrored.client.delete_run(run.info.run_id)
    assert content(mirrored) == before


def test_a_deleted_model_comes_again(mirrored: Project) -> None:
    before = content(mirrored)
    refit = run_of(mirrored, NAME, "refit").outputs.model_outputs[0].model_id
    mirrored.client.delete_logged_model(refit)
    assert len(texts(mirrored)) == 1
    assert_mended(mirrored, before)
    assert len(models_of(mirrored)) == 5
    model = loading.load(f"models:/tiny@{place.CHAMPION}", mirrored.root, HERE)
    assert model.variant == NAME


# --- registered models ------------------------------------------------------------------------


def versions(project: Project) -> list[tuple[str, str, bool]]:
    """Of the study's model: variant and outputs of each version, and whether it is champion."""
    model = project.client.get_registered_model("tiny")
    found = project.client.search_model_versions("name = 'tiny'")
    return sorted(
        (
            version.tags["variant"],
            version.tags[records.OUTPUTS],
            str(model.aliases.get(place.CHAMPION)) == str(version.version),
        )
        for version in found
    )


def rename_model(client: MlflowClient) -> None:
    client.rename_registered_model("tiny", "a better name")


def delete_model(client: MlflowClient) -> None:
    client.delete_registered_model("tiny")


def delete_version(client: MlflowClient) -> None:
    client.delete_model_version("tiny", "1")


def delete_alias(client: MlflowClient) -> None:
    client.delete_registered_model_alias("tiny", place.CHAMPION)


def delete_model_tag(client: MlflowClient) -> None:
    client.delete_registered_model_tag("tiny", champions.STUDY)


def delete_version_tags(client: MlflowClient) -> None:
    for tag in ("variant", "edition", "verdict", records.OUTPUTS, records.CURRENT):
        client.delete_model_version_tag("tiny", "1", tag)


def edit_version_tags(client: MlflowClient) -> None:
    for tag in ("variant", "edition", "verdict", records.OUTPUTS, records.CURRENT):
        client.set_model_version_tag("tiny", "1", tag, "edited")


@pytest.mark.parametrize(
    "do",
    [
        rename_model,
        delete_model,
        delete_version,
        delete_alias,
        delete_model_tag,
        delete_version_tags,
        edit_version_tags,
    ],
)
def test_a_registered_model(mirrored: Project, do: Callable[[MlflowClient], None]) -> None:
    before, expected = content(mirrored), versions(mirrored)
    do(mirrored.client)
    assert_mended(mirrored, before)
    assert versions(mirrored) == expected
    assert loading.load(f"models:/tiny@{place.CHAMPION}", mirrored.root, HERE).variant == NAME


def test_a_version_of_somebody_else(mirrored: Project) -> None:
    """It may even be champion, as that is given by hand."""
    client, before = mirrored.client, content(mirrored)
    model = client.search_logged_models([run_of(mirrored, NAME).info.experiment_id])[0]
    own = client.create_model_version("tiny", model.artifact_location, model.source_run_id)
    client.set_registered_model_alias("tiny", place.CHAMPION, own.version)
    for _ in range(2):
        mirrored.track()
        held = client.get_model_version_by_alias("tiny", place.CHAMPION)
        assert held.version == own.version
    assert content(mirrored) == before
    assert texts(mirrored) == []


def test_everything_is_deleted(mirrored: Project) -> None:
    """All that the UI can delete; the database and its trash stay."""
    client, before = mirrored.client, content(mirrored)
    for run in runs_of(mirrored):
        client.delete_run(run.info.run_id)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    for experiment in client.search_experiments(ViewType.ACTIVE_ONLY):
        client.delete_experiment(experiment.experiment_id)
    mirrored.track()
    assert content(replace(mirrored)) == before
    assert len(versions(mirrored)) == 1
