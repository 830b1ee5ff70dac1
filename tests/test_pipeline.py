"""The whole pipeline, through real `dvc`, on tiny synthetic data, in a folder of its own.

`project` has run once and is only read. What changes something has a copy of it.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dvc.repo import Repo
from repositories import move_store, run
from ruamel.yaml import YAML

from foldwise import demo
from foldwise.core import config, paths
from foldwise.core.config import Config
from foldwise.core.environment import Environment
from foldwise.results.comparisons import Comparison, read_comparison
from foldwise.results.evaluations import read_evaluation
from foldwise.results.runs import RunFolder, probabilities
from foldwise.results.studies import read_studies
from foldwise.tracking import place
from foldwise.wording.results import text_table

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    # MLflow's own store code still uses these.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),
]
VARIANTS = ["images-plain", "table-baseline", "table-dropout"]
SPLITS = {"images": 2 + 1, "table": 2 * 2 + 1}  # of one variant, `refit` among them
SMALLER = {  # than the demonstration
    "datasets.sonar.editions.synthetic.rows": 40,
    "datasets.cifar10.editions.synthetic.rows": 80,
    "studies.images.cv.folds": 2,
    "studies.images.training.epochs": 2,
    "studies.table.cv.folds": 2,
    "studies.table.training.epochs": 3,
}


@dataclass(frozen=True)
class Project:
    """A project's folder, and what its first `dvc repro` said."""

    root: Path
    output: str = ""

    @property
    def config(self) -> Config:
        return config.load(self.root / paths.PARAMS)

    def comparison(self, study: str) -> Comparison:
        return read_comparison(self.root, study)

    def runs(self) -> dict[str, str]:
        """By variant, the run that shows its results."""
        from foldwise.tracking import experiments

        return experiments.shown(place.store_uri(self.root), Environment())


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def every_stage() -> set[str]:
    data = {f"{stage}@{name}" for stage in ("download", "prepare") for name in ("sonar", "cifar10")}
    study = {f"{stage}@{name}" for stage in ("split", "compare") for name in ("images", "table")}
    trained = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in VARIANTS}
    return data | study | trained | {"report", "track"}


def change(root: Path, values: dict[str, Any], removed: str) -> None:
    """Set values in params.yaml, and remove a variant from it."""
    yaml, path = YAML(), root / paths.PARAMS
    tree = yaml.load(path)
    for key, value in values.items():
        *parts, last = key.split(".")
        node = reduce(getitem, parts, tree)
        assert last in node
        node[last] = value
    del tree["variants"][removed]
    yaml.dump(tree, path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Reproduced, with a follower beside it; its path has spaces and letters beyond ASCII."""
    root = tmp_path_factory.mktemp("work") / "a plâce with späces"
    root.mkdir()
    run(root, "git", "init", "-q")
    Repo.init(str(root)).close()
    demo.make_workspace(ROOT, root)
    change(root, SMALLER, removed="images-batchnorm")
    (root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "start")
    command = [sys.executable, "-m", "foldwise", "track", "--follow", "--interval", "0.2"]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) as follower:
        try:
            output = run(root, "dvc", "repro")
        finally:
            follower.send_signal(signal.SIGINT)
            _, errors = follower.communicate(timeout=300)
    assert (follower.returncode, errors.count(b"\n")) == (0, 1), errors.decode()
    return Project(root, output)


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Project:
    """To be changed; its results are committed."""
    root = tmp_path / "copy"
    shutil.copytree(project.root, root, symlinks=True)
    move_store(project.root, root)
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-qm", "results")
    return Project(root)


# --- one run ----------------------------------------------------------------------------------


def test_everything_runs_once_and_leaves_what_it_declares(project: Project) -> None:
    assert stages_run(project.output) == every_stage()
    for variant in project.config.resolved.values():
        evaluation = read_evaluation(project.root, variant.name)
        assert len(evaluation.scores) == variant.cv.folds * variant.cv.repeats
        assert evaluation.scores["accuracy"].between(0, 1).all()
        assert evaluation.metrics.metric == "accuracy"
    assert "<html" in (project.root / paths.REPORT).read_text()
    new = run(project.root, "git", "status", "--short", "--untracked-files=all")
    assert {line.split()[-1].split("/")[0] for line in new.splitlines()} == {
        "metrics",
        "comparisons",
        "dvc.lock",
    }


def test_again_runs_nothing(project: Project) -> None:
    assert stages_run(run(project.root, "dvc", "repro")) == set()


def test_a_clean_run_warns_of_nothing(project: Project) -> None:
    assert "warn" not in project.output.lower()
    assert "deprecat" not in project.output.lower()


def test_everything_is_marked_synthetic(project: Project) -> None:
    for name in VARIANTS:
        assert read_evaluation(project.root, name).metrics.synthetic
    for study in SPLITS:
        assert project.comparison(study).edition == "synthetic"
    assert (project.root / paths.REPORT).read_text().lower().count("synthetic") >= 5
    assert "synthetic" in text_table(read_studies(project.config, project.root)).lower()


def test_mlflow_holds_a_parent_per_variant_and_a_child_per_split(project: Project) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(place.store_uri(project.root))
    for study, splits in SPLITS.items():
        experiment = client.get_experiment_by_name(study)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        variants = [name for name in VARIANTS if name.startswith(study)]
        assert len(runs) == len(variants) * (splits + 1)
        for each in runs:
            assert each.info.status == "FINISHED"
            assert each.data.tags["edition"] == "synthetic"
        children = [each for each in runs if each.data.tags["role"] == "split"]
        assert len(children) == len(variants) * splits
        one = next(each for each in children if each.data.tags["fold"] == "1")
        epochs = client.get_metric_history(one.info.run_id, "validation_accuracy")
        assert [point.step for point in epochs] == list(range(1, len(epochs) + 1))
        assert one.inputs.dataset_inputs


def test_a_logged_model_predicts_what_the_run_predicted(project: Project) -> None:
    import mlflow
    from mlflow import MlflowClient

    from foldwise.datasets import prepared

    uri = place.store_uri(project.root)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("table")
    assert experiment is not None
    query = "tags.variant = 'table-dropout' and tags.fold = '1' and tags.repeat = '1'"
    (logged,) = client.search_runs([experiment.experiment_id], query)
    mlflow.set_tracking_uri(uri)
    try:
        model = mlflow.pyfunc.load_model(f"runs:/{logged.info.run_id}/model")
    finally:
        mlflow.set_tracking_uri(None)
    predictions = RunFolder(project.root / paths.run("table-dropout")).predictions
    rows = predictions[(predictions["repeat"] == 1) & (predictions["fold"] == 1)]
    X = prepared.load(project.root / paths.prepared("sonar")).X[rows["row"]]
    answers = pd.DataFrame(model.predict(X)).to_numpy()
    assert abs(answers - probabilities(rows)).max() < 1e-5


def test_the_report_can_link_to_the_runs(project: Project) -> None:
    page = (
        project.root
        / run(project.root, "python", "-m", "foldwise", "report").strip().splitlines()[-1]
    )
    runs = project.runs()
    assert runs.keys() == set(VARIANTS)
    text = page.read_text()
    for identity in runs.values():
        assert f"http://127.0.0.1:5000/#/runs/{identity}" in text


def test_dvc_shows_plots(project: Project) -> None:
    run(project.root, "dvc", "plots", "show")
    page = (project.root / "dvc_plots/index.html").read_text()
    assert "table-dropout" in page
    assert "Validation accuracy by epoch" in page


# --- changes ----------------------------------------------------------------------------------


def test_variants_changed_and_added_on_the_command_line_are_trained_alone(copy: Project) -> None:
    change = "variants.table-dropout.hidden_dropout=0.5"
    new = "+variants.table-linear={study: table, hidden: [], activation: tanh}"
    command = ["dvc", "exp", "run", "-S", change, "-S", new, "compare@table"]
    ran = stages_run(run(copy.root, *command))
    both = {"table-dropout", "table-linear"}
    trained = {f"{stage}@{name}" for stage in ("train", "evaluate") for name in both}
    assert ran == trained | {"compare@table"}
    assert set(copy.comparison("table").variants) == both | {"table-baseline"}
    assert "hidden_dropout" in run(copy.root, "dvc", "params", "diff")
    assert "accuracy.mean" in run(copy.root, "dvc", "metrics", "diff")


def test_another_rope_and_a_removed_variant_retrain_nothing(copy: Project) -> None:
    ropes = {f"studies.{study}.comparison.rope": 0.02 for study in SPLITS}
    change(copy.root, ropes, removed="table-dropout")
    ran = stages_run(run(copy.root, "dvc", "repro"))
    compared = {f"{stage}@{study}" for stage in ("split", "compare") for study in SPLITS}
    evaluated = {"evaluate@images-plain", "evaluate@table-baseline"}
    assert ran == compared | evaluated | {"report", "track"}
    assert copy.comparison("images").rope == 0.02
    written = [copy.root / paths.comparison("table"), copy.root / paths.REPORT]
    for path in [*written, *(copy.root / paths.PLOTS).glob("*.csv")]:
        assert "table-dropout" not in path.read_text(), path
    assert "table-dropout" not in run(copy.root, "dvc", "metrics", "show")
    assert set(copy.runs()) == set(VARIANTS) - {"table-dropout"}


def test_a_fresh_clone_reruns_only_track_and_holds_the_same(copy: Project, tmp_path: Path) -> None:
    import projects

    run(copy.root, "dvc", "remote", "add", "-q", "-d", "folder", str(tmp_path / "remote"))
    run(copy.root, "git", "commit", "-qam", "remote")
    run(copy.root, "dvc", "push", "-q")
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "-q", str(copy.root), str(clone))
    run(clone, "dvc", "pull", "-q")
    assert stages_run(run(clone, "dvc", "repro")) == {"track"}
    assert run(clone, "git", "status", "--porcelain") == ""
    one, other = (projects.Project(root, copy.config) for root in (copy.root, clone))
    assert projects.by_outputs(one) == projects.by_outputs(other)
    assert artifacts(copy.root) == artifacts(clone)
    (clone / place.DATABASE).unlink()
    assert stages_run(run(clone, "dvc", "repro")) == set()  # knows nothing of the store


def artifacts(root: Path) -> list[tuple[str, bytes]]:
    """Pictures and networks: name and content."""
    files = (root / place.ARTIFACTS).rglob("*")
    return sorted((f.name, f.read_bytes()) for f in files if f.suffix in (".png", ".pt2"))


def test_all_variants_trained_at_once_give_what_dvc_gives(copy: Project) -> None:
    """As in `make repro`: dvc then only puts the run folders together."""
    before = {name: (copy.root / paths.run(name) / "run.json").read_bytes() for name in VARIANTS}
    shutil.rmtree(copy.root / paths.STORE)
    shutil.rmtree(copy.root / paths.RUNS)
    assert stages_run(run(copy.root, "dvc", "repro", "split")) == set()
    said = run(copy.root, "python", "-m", "foldwise", "train")
    total = sum(SPLITS[name.partition("-")[0]] for name in VARIANTS)
    assert f"{total} splits trained, 0 were there" in said
    again = ["--force", "--no-run-cache", "--single-item"]
    output = run(copy.root, "dvc", "repro", *again, "train")
    assert stages_run(output) == {f"train@{name}" for name in VARIANTS}
    assert "%|" not in output  # no bar: nothing trained
    for name, content in before.items():
        assert (copy.root / paths.run(name) / "run.json").read_bytes() == content


# --- a stage alone ----------------------------------------------------------------------------


def train(folder: Path, *arguments: str, ok: bool = True, params: str = "") -> str:
    """Run the training's script in a folder where there is params.yaml, and no data."""
    text = params or (ROOT / paths.PARAMS).read_text()
    (folder / paths.PARAMS).write_text(text)
    return run(folder, "python", str(ROOT / "pipeline/train.py"), *arguments, ok=ok)


def test_a_bad_setting_stops_a_stage_before_any_data_loads(tmp_path: Path) -> None:
    bad = YAML(typ="safe").load(ROOT / paths.PARAMS)
    bad["studies"]["sonar"]["training"]["epoch"] = 3
    output = train(tmp_path, "sonar-baseline", ok=False, params=json.dumps(bad))
    assert "training.epoch: unknown key; did you mean 'epochs'?" in output
    assert "Traceback" not in output


def test_an_unknown_key_of_a_stage_names_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'sonar-baseline'?" in train(tmp_path, "sonar-basline", ok=False)
    assert "train.py sonar-baseline" in train(tmp_path, "--help")
