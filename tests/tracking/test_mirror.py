"""Run folders → a real MLflow store → read back through MLflow's own client."""

import json
import os
import shutil
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from fabricate import STARTED, write_variant
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from projects import (
    EPOCHS,
    Killed,
    Project,
    assert_whole,
    charts,
    content,
    dump,
    interrupt,
    models_of,
    raise_killed,
    run_of,
    runs_of,
    track_here,
)

from foldwise.core import paths
from foldwise.core.environment import Environment
from foldwise.core.errors import DamagedError, TrackingError
from foldwise.engine import learners
from foldwise.numerics.split import split_name
from foldwise.results import runs
from foldwise.results.evaluations import read_evaluation, write_evaluation
from foldwise.results.runs import RunFolder
from foldwise.tracking import experiments, mirror, place, records, store, tracker
from foldwise.tracking.summary import Summary

HERE = Environment()


def table(project: Project) -> pd.DataFrame:
    names = ("study", "variant", "split", records.CURRENT, records.OUTPUTS)
    lines = [[run.data.tags.get(name, "") for name in names] for run in runs_of(project)]
    return pd.DataFrame(lines, columns=["study", "variant", "split", "current", "outputs"])


# --- what is there ----------------------------------------------------------------------------


def test_every_variant_and_split_is_a_run(tracked: tuple[Project, Summary]) -> None:
    project, summary = tracked
    assert (summary.created, summary.missing) == (6 + 6 + 4, [])
    expected = {("tiny-plain", None), ("tiny-plain", "refit"), ("tiny-plain", "r1-f01")}
    seen = content(project)
    assert expected < set(seen)
    assert len(seen) == 16
    assert {facts[0][0] for facts in seen.values()} == {"FINISHED"}
    for (variant, split), facts in seen.items():
        assert facts[-1] == (None if split is None else variant)


def test_experiments_are_studies_with_their_artifacts_in_the_project(
    tracked: tuple[Project, Summary],
) -> None:
    project, _ = tracked
    experiment = project.client.get_experiment_by_name("tiny")
    assert experiment is not None
    location = (project.root / place.ARTIFACTS / "tiny").as_uri()
    assert experiment.artifact_location == location
    assert experiment.tags["edition"] == "synthetic"


def test_curves_have_their_values_and_original_times(
    tracked: tuple[Project, Summary],
) -> None:
    project, _ = tracked
    run = run_of(project, "tiny-plain", "r1-f01")
    history = RunFolder(project.root / paths.run("tiny-plain")).history
    rows = history[(history["repeat"] == 1) & (history["fold"] == 1)]
    for key in runs.CURVES:
        logged = project.client.get_metric_history(run.info.run_id, key)
        assert [m.value for m in logged] == rows[key].tolist()
        assert [m.step for m in logged] == list(range(1, EPOCHS + 1))
        assert [m.timestamp for m in logged] == [
            round((STARTED + 0.25 * e) * 1000) for e in range(1, EPOCHS + 1)
        ]
        assert run.data.metrics[key] == rows[key].iloc[-1]
    assert run.info.end_time == round((STARTED + 0.25 * EPOCHS) * 1000)


def test_refit_has_no_validation_curve(tracked: tuple[Project, Summary]) -> None:
    metrics = run_of(tracked[0], "tiny-plain", "refit").data.metrics
    assert "train_loss" in metrics
    assert not any(key.startswith("validation") for key in metrics)


def test_final_metrics_are_those_of_the_evaluation(
    tracked: tuple[Project, Summary],
) -> None:
    project, _ = tracked
    scores = pd.read_csv(project.root / paths.scores("tiny-plain")).set_index(["repeat", "fold"])
    child = run_of(project, "tiny-plain", "r0-f01").data.metrics
    assert child["accuracy"] == scores.loc[(0, 1), "accuracy"]
    assert child["log_loss"] == scores.loc[(0, 1), "log_loss"]
    parent = run_of(project, "tiny-plain").data.metrics
    metrics = json.loads((project.root / paths.metrics("tiny-plain")).read_text())
    assert parent["accuracy"] == metrics["accuracy"]["mean"]
    assert parent["accuracy_sd_over_splits"] == metrics["accuracy"]["sd_over_splits"]
    assert parent["duration_seconds"] == 2
    assert parent["peak_memory_mib"] == 3
    assert not any("confusion" in key for key in parent)


def test_params_are_the_resolved_settings(tracked: tuple[Project, Summary]) -> None:
    params = run_of(tracked[0], "tiny-dropout", "r0-f00").data.params
    assert params["network.hidden"] == "[5, 4]"
    assert params["training.optimizer.lr"] == "0.1"
    assert params["cv.folds"] == "2"
    assert max(map(len, params.values())) < 500


def test_tags_say_what_where_and_from_what(tracked: tuple[Project, Summary]) -> None:
    project, summary = tracked
    tags = run_of(project, "tiny-plain", "r1-f00").data.tags
    wanted = {"role": "split", "study": "tiny", "repeat": "1", "fold": "0", "synthetic": "true"}
    assert wanted.items() <= tags.items()
    assert tags["foldwise.outputs"] == summary.tracked["tiny-plain"].outputs
    folder = RunFolder(project.root / paths.run("tiny-plain"))
    assert tags["foldwise.data"] == folder.manifest.dataset.digest
    parent = run_of(project, "tiny-plain").data.tags
    assert parent["foldwise.spec"] == summary.tracked["tiny-plain"].spec != tags["foldwise.spec"]
    assert (parent["role"], parent["device"], parent["workers"]) == ("variant", "cpu", "2")


def test_runs_are_found_by_the_digest_of_their_data(
    tracked: tuple[Project, Summary],
) -> None:
    project, _ = tracked
    folder = RunFolder(project.root / paths.run("pictures-plain"))
    digest = folder.manifest.dataset.digest[: mirror.DIGEST]
    ids = [e.experiment_id for e in project.client.search_experiments()]
    found = project.client.search_runs(ids, f"datasets.digest = '{digest}'")
    assert {run.data.tags["variant"] for run in found} == {"pictures-plain"}
    assert len(found) == 4


def test_the_description_has_verdict_score_and_warning(
    tracked: tuple[Project, Summary],
) -> None:
    note = run_of(tracked[0], "tiny-dropout").data.tags[records.NOTE]
    assert "SYNTHETIC" in note
    assert "- Helps: tiny-dropout against tiny-plain" in note
    assert "Accuracy **" in note
    assert "stratified 2-fold × 2" in note
    assert "](#/models/tiny)" in note


def test_charts_are_shown_with_the_variant(tracked: tuple[Project, Summary]) -> None:
    project, _ = tracked
    run = run_of(project, "tiny-plain")
    found = project.client.list_artifacts(run.info.run_id, "charts")
    assert [file.path for file in found] == ["charts/curves.png"]


def test_the_runs_that_show_what_is_there_now(tracked: tuple[Project, Summary]) -> None:
    project, _ = tracked
    seen = experiments.shown(project.uri, HERE)
    assert seen == {n: run_of(project, n).info.run_id for n in project.config.variants}
    assert set(table(project)["current"]) == {"true"}


def test_the_marker_has_no_ids_or_times(tracked: tuple[Project, Summary], tmp_path: Path) -> None:
    project, summary = tracked
    again = project.track()
    for path, said in ((tmp_path / "a", summary), (tmp_path / "b", again)):
        said.write_marker(path)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert set(json.loads((tmp_path / "a").read_text())["runs"]) == set(project.config.variants)


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["tiny-plain", "tiny-dropout", "pictures-plain"])
def test_models_predict_what_the_networks_do(loading: Project, variant: str) -> None:
    folder = RunFolder(loading.root / paths.run(variant))
    for index, (repeat, fold) in list(enumerate(folder.manifest.splits))[-2:]:
        run = run_of(loading, variant, split_name(repeat, fold))
        uri = f"runs:/{run.info.run_id}/model"
        eager, served = mlflow.pytorch.load_model(uri), mlflow.pyfunc.load_model(uri)
        for rows in (1, 7):
            x = torch.randint(0, 256, (rows, *folder.manifest.dataset.shape)).float()
            expected = learners.network(folder.manifest, folder.weights, index)(x)
            torch.testing.assert_close(eager(x), expected)
            np.testing.assert_allclose(served.predict(x.numpy()), expected.detach(), rtol=1e-5)


def test_the_model_is_an_entity_of_its_run(loading: Project) -> None:
    run = run_of(loading, "tiny-plain", "r0-f00")
    (output,) = run.outputs.model_outputs
    model = loading.client.get_logged_model(output.model_id)
    assert (model.status, model.source_run_id) == ("READY", run.info.run_id)
    assert {m.key: m.value for m in model.metrics}["accuracy"] == run.data.metrics["accuracy"]
    info = mlflow.models.get_model_info(f"models:/{output.model_id}")
    assert info.model_id == output.model_id
    assert info.run_id == run.info.run_id
    assert info.metadata["class_names"] == ["class 0", "class 1"]
    assert info.signature.inputs.input_names() == ["rows"]
    assert info.signature.inputs.inputs[0].shape == (-1, 6)
    assert info.signature.outputs.input_names() == ["class 0", "class 1"]


def test_the_parent_shows_the_refit_model(loading: Project) -> None:
    parent, refit = run_of(loading, "tiny-plain"), run_of(loading, "tiny-plain", "refit")
    (shown,) = parent.outputs.model_outputs
    assert shown.model_id == refit.outputs.model_outputs[0].model_id


def test_each_child_has_one_model(tracked: tuple[Project, Summary]) -> None:
    assert len(models_of(tracked[0])) == 5 + 5 + 3


# --- again and again --------------------------------------------------------------------------


def test_twice_adds_nothing(tracked: tuple[Project, Summary]) -> None:
    project, _ = tracked
    before = dump(project)
    summary = project.track()
    assert dump(project) == before
    assert (summary.created, summary.updated, summary.skipped) == (0, 0, 16)


def test_a_deleted_store_is_rebuilt_with_the_same_content(project: Project) -> None:
    project.track()
    before = content(project)
    shutil.rmtree(project.root / place.ARTIFACTS)
    with store.opened(project.uri, HERE) as opened:
        for run in runs_of(project):
            opened.client.delete_run(run.info.run_id)
    project.track()
    assert content(project) == before


def test_other_results_supersede_the_old_ones(project: Project) -> None:
    first = project.track()
    project.fabricate("tiny-plain", seed=1)
    second = project.track()
    seen = table(project)
    assert (second.created, second.superseded) == (6, 6)
    old, new = (summary.tracked["tiny-plain"].outputs for summary in (first, second))
    assert set(seen[seen["outputs"] == old]["current"]) == {"false"}
    assert set(seen[seen["outputs"] == new]["current"]) == {"true"}
    project.fabricate("tiny-plain")
    third = project.track()
    assert (third.created, third.updated, third.superseded) == (0, 6, 6)


def test_other_settings_make_other_runs(project: Project) -> None:
    first = project.track()
    variant = project.config.variant("tiny-plain")
    training = variant.training.model_copy(update={"seed": 7})
    write_variant(project.root, variant.model_copy(update={"training": training}), models=True)
    second = project.track()
    assert second.created == 6
    assert first.tracked["tiny-plain"].spec != second.tracked["tiny-plain"].spec


def test_runs_of_a_removed_variant_stay_as_history(project: Project, original: Project) -> None:
    both = Project(project.root, original.config).only("tiny-plain", "tiny-dropout")
    both.track()
    assert project.track().superseded == 6
    seen = table(project)
    assert set(seen[seen["variant"] == "tiny-dropout"]["current"]) == {"false"}
    assert set(seen[seen["variant"] == "tiny-plain"]["current"]) == {"true"}


def test_a_variant_without_results_is_named_and_left_alone(project: Project) -> None:
    project.track()
    shutil.rmtree(project.root / paths.run("tiny-plain"))
    summary = project.track()
    assert summary.missing == ["tiny-plain"]
    assert "tiny-plain" in str(summary)
    assert set(table(project)["current"]) == {"true"}


def halve_accuracy(project: Project) -> tuple[float, float]:
    """Give a variant half its accuracy: before and after."""
    before = read_evaluation(project.root, "tiny-plain")
    score = before.metrics.primary
    halved = score.model_copy(update={"mean": score.mean / 2})
    scores = before.metrics.scores | {"accuracy": halved}
    metrics = before.metrics.model_copy(update={"scores": scores})
    write_evaluation(project.root, replace(before, metrics=metrics))
    return score.mean, halved.mean


def test_a_new_evaluation_revises_the_runs_in_place(project: Project, original: Project) -> None:
    project.track()
    _, lower = halve_accuracy(project)
    replace(original, root=project.root).compare(dropout="Helps")
    summary = project.track()
    assert (summary.created, summary.updated, summary.skipped) == (0, 1, 5)
    run = run_of(project, "tiny-plain")
    assert run.data.metrics["accuracy"] == pytest.approx(lower, rel=1e-9)
    assert "- Helps: tiny-dropout against tiny-plain" in run.data.tags[records.NOTE]
    assert project.track().skipped == 6


def test_a_failed_variant_is_shown_as_failed(project: Project) -> None:
    project.fail("tiny-plain", "loss is NaN in epoch 3")
    assert project.track().created == 1
    shown = run_of(project, "tiny-plain")
    assert shown.info.status == "FAILED"
    assert "NaN in epoch 3" in shown.data.tags[records.NOTE]
    assert shown.data.tags["reason"] == "loss is NaN in epoch 3"
    assert project.track().skipped == 1


def test_a_damaged_run_folder_is_named(project: Project) -> None:
    path = project.root / paths.run("tiny-plain") / runs.HISTORY
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="damaged"):
        project.track()


# --- interruptions ----------------------------------------------------------------------------

WRITES = (
    "create_run",
    "log_inputs",
    "log_batch",
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "log_outputs",
    "set_terminated",
)


@pytest.mark.parametrize("calls", [1, 4, 5, 6, 7, 44])
def test_an_interrupted_track_is_completed_without_doubles(project: Project, calls: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, WRITES, calls, raise_killed)
        with pytest.raises(Killed):
            project.track()
    assert project.track().repaired >= 1
    assert_whole(project)
    assert project.track().skipped == 6


def test_an_upload_that_fails_leaves_the_run_incomplete(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", fail)
        with pytest.raises(TrackingError, match=r"No space left.*results in runs/ are safe"):
            project.track()
    assert {run.info.status for run in runs_of(project)} == {"RUNNING"}
    project.track()
    assert_whole(project)


def test_the_model_of_a_run_that_is_retired_meanwhile_goes_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `track` may do that; nobody would look for the model later."""
    upload = MlflowClient.log_model_artifacts

    def retired_meanwhile(client: MlflowClient, model: str, folder: str) -> None:
        upload(client, model, folder)
        client.delete_run(client.get_logged_model(model).source_run_id)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", retired_meanwhile)
        with pytest.raises(TrackingError):
            project.track()
    assert models_of(project) == []
    project.track()
    assert_whole(project)


def test_ghost_runs_are_retired(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A create request that is sent twice makes two runs; one of them stays."""
    create = MlflowClient.create_run

    def twice(*arguments: Any, **options: Any) -> Any:
        create(*arguments, **options)
        return create(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_run", twice)
        assert project.track().retired == 6
    assert_whole(project)
    assert project.track().skipped == 6


def test_a_run_that_shows_two_models_is_made_anew(project: Project) -> None:
    """As two that mended it at the same time would leave it."""
    project.track()
    before = content(project)
    with store.opened(project.uri, HERE) as opened:
        client, run = opened.client, run_of(project, "tiny-plain", "refit")
        tags = {"variant": "tiny-plain", records.OUTPUTS: run.data.tags[records.OUTPUTS]}
        model = client.create_logged_model(run.info.experiment_id, "model", run.info.run_id, tags)
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
    summary = project.track()
    assert (summary.created, summary.retired) == (2, 2)  # its parent showed its model, too
    assert_whole(project)
    assert content(project) == before
    assert project.track().skipped == 6


def test_a_revision_that_was_half_written(project: Project) -> None:
    """The new score arrived, but not the tag that says so."""
    project.track()
    halve_accuracy(project)
    run = run_of(project, "tiny-plain")
    old, finished = run.data.metrics["accuracy"], run.info.end_time
    new = read_evaluation(project.root, "tiny-plain").metrics.primary.mean
    with store.opened(project.uri, HERE) as opened:
        opened.client.log_metric(run.info.run_id, "accuracy", new, finished, step=1)
    project.track()
    history = project.client.get_metric_history(run.info.run_id, "accuracy")
    assert [(point.value, point.step) for point in history] == [(old, 0), (new, 1)]


def test_a_locked_database_is_tried_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, problems = MlflowClient.create_run, iter([True])

    def locked(*arguments: Any, **options: Any) -> Any:
        if next(problems, False):
            raise MlflowException("(sqlite3.OperationalError) database is locked")
        return create(*arguments, **options)

    monkeypatch.setattr(MlflowClient, "create_run", locked)
    assert project.track().created == 6
    project.fabricate("tiny-plain", seed=1)
    problems = iter([True] * mirror.ATTEMPTS)
    with pytest.raises(TrackingError, match="locked"):
        project.track()


# --- processes --------------------------------------------------------------------------------


def track_in_process(project: Project, kill_after: int | None) -> None:
    if kill_after is not None:
        interrupt(
            pytest.MonkeyPatch(), WRITES, kill_after, lambda: os.kill(os.getpid(), signal.SIGKILL)
        )
    track_here(project)


def test_a_killed_process_and_then_two_at_once(project: Project, processes: Any) -> None:
    """The killed one leaves half a run and no lock behind."""
    killed = processes.Process(target=track_in_process, args=(project, 20))
    killed.start()
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    assert "RUNNING" in {run.info.status for run in runs_of(project)}
    at_once(2, project, processes)
    assert_whole(project)


def test_three_processes_at_once_on_a_fresh_store(bare: Project, processes: Any) -> None:
    at_once(3, bare, processes)
    assert_whole(bare)


def at_once(number: int, project: Project, processes: Any) -> None:
    arguments = [(project, None)] * number
    together = [processes.Process(target=track_in_process, args=each) for each in arguments]
    for process in together:
        process.start()
    for process in together:
        process.join(300)
    assert [process.exitcode for process in together] == [0] * number


# --- stores that cannot be used ---------------------------------------------------------------


def test_a_file_that_is_no_database(bare: Project) -> None:
    (bare.root / place.DATABASE).write_text("hello, I am a text file, and a long one at that\n" * 9)
    with pytest.raises(TrackingError, match="not a database"):
        bare.track()


def test_a_database_of_something_else(bare: Project) -> None:
    with closing(sqlite3.connect(bare.root / place.DATABASE)) as connection:
        connection.execute("CREATE TABLE mine (a)")
    with pytest.raises(TrackingError, match="not one of MLflow"):
        bare.track()


@pytest.mark.parametrize(
    ("revision", "message"), [("0c779009ac13", "older.*mlflow db upgrade"), ("f" * 12, "newer")]
)
def test_a_database_of_another_mlflow(project: Project, revision: str, message: str) -> None:
    with closing(sqlite3.connect(project.root / place.DATABASE)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    with pytest.raises(TrackingError, match=message):
        project.track()


def test_what_is_left_of_another_database_is_not_taken_for_this_one(project: Project) -> None:
    """Neither one that was half made, nor the log of one that was deleted."""
    path = project.root / place.DATABASE
    log = path.with_name(f"{path.name}-wal")
    with store.opened(project.uri, HERE) as opened:
        opened.client.create_experiment("old")
        left = log.read_bytes()
    path.unlink()
    log.write_bytes(left)
    path.with_name(f"{path.name}.part").write_bytes(b"half")
    with store.opened(project.uri, HERE) as opened:
        names = [experiment.name for experiment in opened.client.search_experiments()]
    assert names == ["Default"]
    assert sorted(file.name for file in path.parent.glob(f"{path.name}*")) == [
        path.name,
        f"{path.name}.lock",
    ]


# --- where ------------------------------------------------------------------------------------


def uri_at(root: Path, address: str = "") -> str:
    return place.store_uri(root, Environment(tracking_uri=address))


def test_the_address_wins_over_the_own_store(tmp_path: Path) -> None:
    assert uri_at(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert uri_at(tmp_path, "http://example.org:5000") == "http://example.org:5000"
    assert uri_at(tmp_path, "sqlite:///else/where.db") == f"sqlite:///{tmp_path}/else/where.db"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("127.0.0.1:5000", "'127.0.0.1:5000'"),
        ("me:secret@host:5000", r"'\*\*\*@host:5000'"),
        ("a/b", "'a/b'"),
    ],
)
def test_what_is_not_an_address(tmp_path: Path, address: str, shown: str) -> None:
    with pytest.raises(TrackingError, match=f"^MLFLOW_TRACKING_URI: {shown} is not an address"):
        uri_at(tmp_path, address)


def test_no_connection_to_the_database_stays_open(project: Project) -> None:
    path = project.root / place.DATABASE
    project.track()
    with store.opened(project.uri, HERE, write=False) as opened:
        opened.client.search_registered_models()
    opened = {Path(file.path) for file in psutil.Process().open_files()}
    assert path not in opened


def test_a_path_that_no_database_address_can_have(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
        uri_at(tmp_path / "what?")


def test_a_queued_experiment_goes_to_the_project_s_store(project: Project) -> None:
    folder = project.root / ".dvc" / "tmp" / "exps" / "temp" / "tmpabc"
    assert uri_at(folder) == project.uri
    project.track()
    variant = project.config.variant("tiny-plain")
    write_variant(folder, variant, models=True, seed=1)
    here = Environment(experiment="bold-idea", baseline_rev="abc")
    summary = tracker.track(project.config, folder, here)
    assert (summary.created, summary.superseded) == (6, 0)
    assert sorted(table(project)["current"]) == ["false"] * 6 + ["true"] * 6
    found = project.client.search_runs(
        [project.client.get_experiment_by_name("tiny").experiment_id],
        "tags.experiment = 'bold-idea' AND tags.baseline_rev = 'abc'",
    )
    assert len(found) == 6


def theirs(name: str) -> dict[str, bytes]:
    return {"theirs.png": name.encode()}


def test_a_queued_experiment_says_nothing_about_the_project_s_own_runs(
    project: Project, original: Project
) -> None:
    """Not even where it has the same results and compares them with others."""
    project.track(charts=charts)
    before, files_before = content(project), dump(project)["artifacts"]
    folder = project.root / ".dvc" / "tmp" / "exps" / "temp" / "tmpabc"
    for part in (paths.RUNS, paths.METRICS, paths.COMPARISONS):
        shutil.copytree(original.root / part, folder / part)
    summary = tracker.track(project.config, folder, HERE, theirs)
    assert (summary.updated, summary.skipped) == (0, 6)
    assert (content(project), dump(project)["artifacts"]) == (before, files_before)


def test_ui_command(tmp_path: Path) -> None:
    uri = uri_at(tmp_path)
    command = place.ui_command(uri, port=5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "--allowed-hosts" in command
    with pytest.raises(TrackingError, match="browser"):
        place.ui_command("http://example.org")


# --- points -----------------------------------------------------------------------------------


def test_points_come_in_parts_and_again(project: Project) -> None:
    """More than a request takes; those that are there already stay as they are."""
    points = [records.Point("curve", 1 / step, 7 * step, step) for step in range(1, 1102)]
    with store.opened(project.uri, HERE) as opened:
        run = opened.client.create_run("0").info.run_id
        opened.log_points(run, points[:1050])
        opened.log_points(run, points)
        logged = opened.client.get_metric_history(run, "curve")
    assert [(m.value, m.step, m.timestamp) for m in logged] == [
        (p.value, p.step, p.time) for p in points
    ]
