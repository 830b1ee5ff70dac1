"""The whole pipeline, through real `dvc`, on the synthetic sample, in a folder of its own.

The tests of this file run in order on one workspace: each continues where the last one stopped.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from foldwise import demo, reporting, tracking
from foldwise.core import config, paths

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    # MLflow's own store code still uses these.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]
VARIANTS = ["images-plain", "images-batchnorm", "table-baseline", "table-dropout"]


def run(folder: Path, *command: str, ok: bool = True) -> str:
    """Run a command in the workspace, as in an activated environment; both its outputs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output
    return output


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def every_stage(variants: list[str]) -> set[str]:
    data = {f"{stage}@{name}" for stage in ("download", "prepare") for name in ("sonar", "cifar10")}
    study = {f"{stage}@{name}" for stage in ("split", "compare") for name in ("images", "table")}
    trained = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in variants}
    return data | study | trained | {"report", "track"}


def smaller(text: str) -> str:
    """The demonstration's settings, but quicker still."""
    for old, new in (
        ("rows: 2000", "rows: 400"),
        ("epochs: 5", "epochs: 2"),
        ("epochs: 60", "epochs: 6"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC project whose path has spaces and letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("work") / "a plâce with späces"
    folder.mkdir()
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    demo.make_workspace(ROOT, folder)
    params = folder / paths.PARAMS
    params.write_text(smaller(params.read_text()))
    (folder / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "start")
    return folder


@pytest.fixture(scope="module")
def first(workspace: Path) -> str:
    """Output of the first `dvc repro`, with a follower beside it."""
    command = [sys.executable, "-m", "foldwise.cli", "track", "--follow", "--interval", "0.2"]
    with subprocess.Popen(command, cwd=workspace, stderr=subprocess.PIPE) as follower:
        try:
            output = run(workspace, "dvc", "repro")
        finally:
            follower.send_signal(signal.SIGINT)
            _, errors = follower.communicate(timeout=60)
    assert (follower.returncode, errors.count(b"\n")) == (0, 1), errors.decode()
    return output


def commit(workspace: Path) -> None:
    run(workspace, "git", "add", "-A")
    run(workspace, "git", "commit", "-qm", "results")


def comparison(workspace: Path, study: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((workspace / paths.comparison(study)).read_text())
    return content


def test_everything_runs_once_and_leaves_what_it_declares(workspace: Path, first: str) -> None:
    assert stages_run(first) == every_stage(VARIANTS)
    settings = config.load(workspace / paths.PARAMS)
    for variant in settings.resolved.values():
        scores = pd.read_csv(workspace / paths.scores(variant.name))
        assert len(scores) == variant.cv.folds * variant.cv.repeats
        assert scores["accuracy"].between(0, 1).all()
    assert "<html" in (workspace / paths.REPORT).read_text()
    assert run(workspace, "dvc", "status").strip() == "Data and pipelines are up to date."
    ignored = run(workspace, "git", "status", "--short", "--untracked-files=all")
    assert {line.split()[-1].split("/")[0] for line in ignored.splitlines()} == {
        "metrics",
        "comparisons",
        "dvc.lock",
    }


def test_everything_is_marked_synthetic(workspace: Path, first: str) -> None:
    for name in VARIANTS:
        assert json.loads((workspace / paths.metrics(name)).read_text())["synthetic"] is True
    for study in ("images", "table"):
        assert comparison(workspace, study)["edition"] == "synthetic"
    page = (workspace / paths.REPORT).read_text()
    assert page.lower().count("synthetic") >= 5
    settings = config.load(workspace / paths.PARAMS)
    assert "synthetic" in reporting.text_table(reporting.load(settings, workspace)).lower()
    table = tracking.runs_table(tracking.store_uri({}, workspace))
    assert len(table) > 0


def test_mlflow_holds_a_parent_per_variant_and_a_child_per_split(
    workspace: Path, first: str
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking.store_uri({}, workspace))
    experiments = {e.name: e.experiment_id for e in client.search_experiments()}
    assert {"images", "table"} <= set(experiments)
    for study, splits in (("images", 4 + 1), ("table", 5 * 2 + 1)):
        runs = client.search_runs([experiments[study]], max_results=1000)
        assert len(runs) == 2 * (splits + 1)
        for each in runs:
            assert each.info.status == "FINISHED"
            assert each.data.tags["edition"] == "synthetic"
        children = [r for r in runs if r.data.tags["role"] == "split"]
        assert len(children) == 2 * splits
        one = next(r for r in children if r.data.tags["fold"] == "1")
        epochs = client.get_metric_history(one.info.run_id, "validation_accuracy")
        assert [point.step for point in epochs] == list(range(1, len(epochs) + 1))
        assert one.inputs.dataset_inputs


def test_a_logged_model_predicts_what_the_run_predicted(workspace: Path, first: str) -> None:
    import mlflow
    from mlflow import MlflowClient

    from foldwise import results
    from foldwise.datasets import prepared

    uri = tracking.store_uri({}, workspace)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("table")
    assert experiment is not None
    query = "tags.variant = 'table-dropout' and tags.fold = '3' and tags.repeat = '1'"
    (run_found,) = client.search_runs([experiment.experiment_id], query)
    model = mlflow.pyfunc.load_model(f"runs:/{run_found.info.run_id}/model")
    predictions = results.read_table(workspace / paths.run("table-dropout"), results.PREDICTIONS)
    rows = predictions[(predictions["repeat"] == 1) & (predictions["fold"] == 3)]
    X = prepared.load(workspace / paths.prepared("sonar")).X[rows["row"]]
    mlflow.set_tracking_uri(None)
    found = pd.DataFrame(model.predict(X)).to_numpy()
    assert abs(found - results.probabilities(rows)).max() < 1e-5


def test_the_report_can_link_to_the_runs(workspace: Path, first: str) -> None:
    page = workspace / run(workspace, "foldwise", "report").strip().splitlines()[-1]
    table = tracking.runs_table(tracking.store_uri({}, workspace))
    parents = table[table["role"] == "variant"]
    assert len(parents) == 4
    for identity in parents["run_id"]:
        assert f"http://127.0.0.1:5000/#/runs/{identity}" in page.read_text()


def test_again_runs_nothing(workspace: Path, first: str) -> None:
    assert stages_run(run(workspace, "dvc", "repro")) == set()
    commit(workspace)


def test_changing_one_variant_on_the_command_line_retrains_it_alone(
    workspace: Path, first: str
) -> None:
    change = "variants.table-dropout.hidden_dropout=0.5"
    output = run(workspace, "dvc", "exp", "run", "-S", change)
    trained = {name for name in stages_run(output) if name.startswith("train")}
    assert trained == {"train@table-dropout"}
    assert not any(name.startswith(("download", "prepare", "split")) for name in stages_run(output))
    assert "hidden_dropout" in run(workspace, "dvc", "params", "diff")
    assert "accuracy.mean" in run(workspace, "dvc", "metrics", "diff")
    commit(workspace)


def test_adding_a_variant_on_the_command_line(workspace: Path, first: str) -> None:
    block = "{study: table, hidden: [], activation: tanh}"
    output = run(workspace, "dvc", "exp", "run", "-S", f"+variants.table-linear={block}")
    trained = {name for name in stages_run(output) if name.startswith("train")}
    assert trained == {"train@table-linear"}
    assert "table-linear" in str(comparison(workspace, "table")["variants"])
    commit(workspace)


def test_changing_what_is_compared_retrains_nothing(workspace: Path, first: str) -> None:
    params = workspace / paths.PARAMS
    params.write_text(params.read_text().replace("rope: 0.01", "rope: 0.02"))
    ran = stages_run(run(workspace, "dvc", "repro"))
    assert ran == {"compare@images", "compare@table", "report", "track"}


def test_a_removed_variant_is_gone_from_every_table(workspace: Path, first: str) -> None:
    yaml = YAML()
    params = workspace / paths.PARAMS
    tree = yaml.load(params.read_text())
    del tree["variants"]["table-dropout"]
    with params.open("w") as file:
        yaml.dump(tree, file)
    ran = stages_run(run(workspace, "dvc", "repro"))
    assert not any(name.startswith(("train", "evaluate")) for name in ran)
    assert "table-dropout" not in json.dumps(comparison(workspace, "table"))
    assert "table-dropout" not in (workspace / paths.REPORT).read_text()
    for path in (workspace / "plots").glob("*.csv"):
        assert "table-dropout" not in path.read_text(), path
    assert "table-dropout" not in run(workspace, "dvc", "metrics", "show")


def test_dvc_shows_plots(workspace: Path, first: str) -> None:
    run(workspace, "dvc", "plots", "show")
    page = (workspace / "dvc_plots/index.html").read_text()
    assert "table-linear" in page
    assert "Validation accuracy by epoch" in page


def test_a_bad_setting_stops_a_stage_before_any_data_loads(workspace: Path, first: str) -> None:
    params = workspace / paths.PARAMS
    good = params.read_text()
    params.write_text(good.replace("epochs", "epoch", 1))
    (workspace / "data").rename(workspace / "data-away")
    try:
        output = run(workspace, "python", "pipeline/train.py", "table-baseline", ok=False)
    finally:
        (workspace / "data-away").rename(workspace / "data")
        params.write_text(good)
    assert "training.epoch: unknown key; did you mean 'epochs'?" in output
    assert "Traceback" not in output


def test_an_unknown_key_of_a_stage_names_the_nearest(workspace: Path, first: str) -> None:
    output = run(workspace, "python", "pipeline/train.py", "table-basline", ok=False)
    assert "did you mean 'table-baseline'?" in output
    helped = run(workspace, "python", "pipeline/train.py", "--help")
    assert "example: python pipeline/train.py sonar-baseline" in helped
