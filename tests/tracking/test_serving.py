"""Models as users ask them: over HTTP, from Python, and as `foldwise predict`.

The networks are really trained, so that what they answer is what the run has written down.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.environment_variables
import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import pandas as pd
import pytest
import requests
import torch
from fabricate import TINY
from PIL import Image
from projects import Project, pictures, rows, run_of, train
from servers import free_port

from foldwise import prediction
from foldwise.commands.main import main
from foldwise.core import paths
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.numerics.split import REFIT, split_name
from foldwise.results.runs import Place, RunFolder, probabilities
from foldwise.tracking import champions, place, served

HERE = Environment()
TABLE, PICTURES = "tiny-dropout", "pictures-plain"
ALL_ROWS = (REFIT, REFIT)
START_SECONDS = 300


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Project:
    """A project with a network for tables and one for pictures, tracked; both are champions."""
    root = tmp_path_factory.mktemp("trained") / "Ein Projekt"
    root.mkdir()
    (root / paths.PARAMS).write_text(TINY.params)
    shutil.copy(empty_database, root / place.DATABASE)
    project = Project(root, TINY.config).only(TABLE, PICTURES)
    for name in project.config.variants:
        train(root, project.config.variant(name))
    project.track()
    champions.promote(project.config, root, HERE, TABLE)  # not the study's baseline
    return project


@pytest.fixture
def store(trained: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The trained project, at the address where MLflow looks up `models:/`."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(trained.uri)
    yield trained
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def addresses(
    trained: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Two real servers: the champion for tables, and one fold's network for pictures."""
    fold = run_of(trained, PICTURES, "r0-f01").info.run_id
    models = {TABLE: f"models:/tiny@{place.CHAMPION}", PICTURES: f"runs:/{fold}/model"}
    logs = tmp_path_factory.mktemp("servers")
    servers = {name: Server(uri, trained.uri, logs / name) for name, uri in models.items()}
    try:
        for server in servers.values():
            server.wait()
        yield {name: server.address for name, server in servers.items()}
    finally:
        for server in servers.values():
            server.stop()


class Server:
    """`mlflow models serve`, where foldwise cannot be imported and no pickle be read."""

    def __init__(self, model: str, uri: str, folder: Path):
        (folder / "foldwise").mkdir(parents=True)
        (folder / "foldwise/__init__.py").write_text("raise ImportError('not on a server')")
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        binaries = Path(sys.executable).parent
        command = [str(binaries / "mlflow"), "models", "serve", "-m", model]
        command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
        environ = {
            **os.environ,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environ, start_new_session=True
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if requests.get(f"{self.address}/ping", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)


COMMAND = "from foldwise.commands.main import main; main()"


def post(address: str, content: Any) -> requests.Response:
    body = content if isinstance(content, str) else json.dumps(content)
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{address}/invocations", data=body, headers=headers, timeout=30)


def held_out(project: Project, name: str, fold: int) -> pd.DataFrame:
    table = RunFolder(project.root / paths.run(name)).predictions
    return table[(table["repeat"] == 0) & (table["fold"] == fold)]


def of_test_rows(project: Project, name: str, split: Place) -> np.ndarray:
    """What the run says of its test rows, by one split's network."""
    table = RunFolder(project.root / paths.run(name)).test_predictions
    chosen = (table["repeat"] == split[0]) & (table["fold"] == split[1])
    return probabilities(table[chosen].sort_values("row"))


# --- over HTTP --------------------------------------------------------------------------------


def test_the_served_champion_gives_the_test_predictions(
    trained: Project, addresses: dict[str, str]
) -> None:
    answer = post(addresses[TABLE], {"inputs": rows().X_test.tolist()})
    assert answer.status_code == 200
    found = pd.DataFrame(answer.json()["predictions"])
    assert found.columns.tolist() == ["class0", "class1"]
    expected = of_test_rows(trained, TABLE, ALL_ROWS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_served_fold_gives_the_out_of_fold_predictions(
    trained: Project, addresses: dict[str, str]
) -> None:
    expected = held_out(trained, PICTURES, 1)
    answer = post(addresses[PICTURES], {"inputs": pictures().X[expected["row"]].tolist()})
    found = pd.DataFrame(answer.json()["predictions"])
    assert found.columns.tolist() == ["dark", "middling", "bright"]
    np.testing.assert_allclose(found, probabilities(expected), atol=1e-5)


ROW = [0.5, 1, -2, 0, 3, 1e-3]
FORMS = [
    {"inputs": [ROW]},
    {"instances": [ROW]},
    {"inputs": {"rows": [ROW]}},
    {"instances": [{"rows": ROW}]},
    {"dataframe_split": {"columns": ["rows"], "data": [[ROW]]}},
    {"dataframe_records": [{"rows": ROW}]},
]


def test_all_forms_of_a_request_give_the_same(addresses: dict[str, str]) -> None:
    answers = [post(addresses[TABLE], form) for form in FORMS]
    assert [answer.status_code for answer in answers] == [200] * len(FORMS)
    assert len({answer.text for answer in answers}) == 1
    (answer,) = answers[0].json()["predictions"]
    assert sum(answer.values()) == pytest.approx(1)


PIXELS = np.full((1, 3, 4, 4), 200).tolist()


@pytest.mark.parametrize(
    ("name", "inputs", "messages"),
    [
        (TABLE, [[*ROW, 1]], ["(1, 7) does not match expected shape (-1, 6)"]),
        (TABLE, [ROW[1:]], ["(1, 5) does not match expected shape (-1, 6)"]),
        (TABLE, ROW, ["(6,) does not match expected shape (-1, 6)"]),
        (TABLE, [[ROW]], ["(1, 1, 6) does not match expected shape (-1, 6)"]),
        (TABLE, [], ["(0,) does not match expected shape (-1, 6)"]),
        (TABLE, [ROW, ROW[1:]], ["inhomogeneous shape"]),
        (TABLE, [[*ROW[1:], "rock"]], ["could not convert string to float: 'rock'"]),
        (TABLE, [[*ROW[1:], None]], ["'rows' takes finite numbers", "has nan at position [5]"]),
        (TABLE, [ROW, [float("nan"), *ROW[1:]]], ["row 1 has nan at position [0]"]),
        (TABLE, [[*ROW[1:], 1e39]], ["has inf at position [5]"]),
        (TABLE, {"columns": [ROW]}, ["missing inputs ['rows']", "extra inputs: ['columns']"]),
        (PICTURES, PIXELS[0], ["(3, 4, 4) does not match expected shape (-1, 3, 4, 4)"]),
        (PICTURES, [ROW], ["(1, 6) does not match expected shape (-1, 3, 4, 4)"]),
        (PICTURES, [np.full((3, 4, 4), 0.5).tolist()], ["whole numbers from 0 to 255", "has 0.5"]),
        (PICTURES, [np.full((3, 4, 4), 256).tolist()], ["has 256 at position [0, 0, 0]"]),
    ],
)
def test_what_is_no_input_gets_400_and_a_reason(
    addresses: dict[str, str], name: str, inputs: Any, messages: list[str]
) -> None:
    answer = post(addresses[name], {"inputs": inputs})
    assert answer.status_code == 400
    for message in messages:
        assert message in answer.json()["message"]


def test_what_is_no_request_gets_400(addresses: dict[str, str]) -> None:
    for body in ("{", "[1]", "{}", '{"rows": [[1]]}'):
        assert post(addresses[TABLE], body).status_code == 400


# --- from Python ------------------------------------------------------------------------------


def test_every_network_gives_what_its_run_has_written_down(store: Project) -> None:
    for name, data in ((TABLE, rows()), (PICTURES, pictures())):
        for repeat, fold in RunFolder(store.root / paths.run(name)).manifest.splits:
            run = run_of(store, name, split_name(repeat, fold))
            model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
            found = model.predict(data.X_test.astype(np.float32))
            expected = of_test_rows(store, name, (repeat, fold))
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_network_itself_can_be_loaded(store: Project) -> None:
    address = f"models:/pictures@{place.CHAMPION}"
    X = pictures().X_test.astype(np.float32)
    network, model = mlflow.pytorch.load_model(address), mlflow.pyfunc.load_model(address)
    assert isinstance(network, torch.nn.Module)
    found = network(torch.from_numpy(X)).detach()
    np.testing.assert_allclose(model.predict(X), found, rtol=1e-6)


def test_an_exported_network_is_in_evaluation_mode_for_good(store: Project) -> None:
    """As docs/serving.md says; the same rows get the same answers, whatever is beside them."""
    network = mlflow.pytorch.load_model(f"models:/tiny@{place.CHAMPION}")
    X = torch.from_numpy(rows().X_test.astype(np.float32))
    torch.testing.assert_close(network(X)[:2], network(X[:2]))
    for change in (network.eval, network.train):
        with pytest.raises(NotImplementedError):
            change()


@pytest.mark.skipif(
    not hasattr(mlflow.environment_variables, "MLFLOW_ALLOW_MODEL_CODE_EXECUTION"),
    reason="MLflow 3.18 has it",
)
def test_where_no_model_may_bring_code(store: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The classifier is code; the network is not."""
    monkeypatch.setenv("MLFLOW_ALLOW_MODEL_CODE_EXECUTION", "false")
    address = f"models:/tiny@{place.CHAMPION}"
    X = torch.from_numpy(rows().X_test.astype(np.float32))
    assert mlflow.pytorch.load_model(address)(X).shape == (len(X), 2)
    with pytest.raises(TrackingError, match="MLFLOW_ALLOW_MODEL_CODE_EXECUTION' to 'true'"):
        prediction.predictor("tiny", store.root, HERE)


def test_no_pickle_in_a_model_can_run_code(store: Project) -> None:
    """The one that is there, of two example rows, has tensors in it and nothing else."""
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/tiny@{place.CHAMPION}"))
    found = [path for path in folder.rglob("*") if path.is_file()]
    named = {path.suffix for path in found if "__pycache__" not in path.parts}  # of who loaded it
    assert named == {"", ".json", ".pt2", ".py", ".txt", ".yaml"}
    with zipfile.ZipFile(folder / "data/model.pt2") as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    raw = {name for name in records if name.startswith("data/weights/weight_")}
    pickles = [n for n in records.keys() - raw if zipfile.is_zipfile(io.BytesIO(records[n]))]
    assert pickles == ["data/sample_inputs/model.pt"]
    ((example,), _) = torch.load(io.BytesIO(records[pickles[0]]), weights_only=True)
    assert example.shape == (2, 6)
    for name in records.keys() - raw - {*pickles}:
        assert records[name].isascii(), name
        assert b".py" not in records[name], name  # nor a path of this machine


def test_the_signature_has_names_and_shapes(store: Project) -> None:
    signature = mlflow.models.get_model_info("models:/pictures@champion").signature
    (rows_in,) = signature.inputs.inputs
    assert (rows_in.name, rows_in.shape, rows_in.type) == ("pictures", (-1, 3, 4, 4), np.float32)
    assert signature.outputs.input_names() == ["dark", "middling", "bright"]


def test_the_loader_travels_with_the_model(store: Project) -> None:
    folder = Path(mlflow.artifacts.download_artifacts("models:/tiny@champion"))
    loader = folder / "code/foldwise_served.py"
    assert loader.read_text() == Path(served.__file__).read_text()
    requirements = (folder / "requirements.txt").read_text()
    assert [line.split("==")[0] for line in requirements.split()] == [
        "mlflow",
        "torch",
        "numpy",
        "pandas",
    ]


# --- foldwise predict -------------------------------------------------------------------------


def test_predict_as_a_command_asks_the_champion_of_a_study(
    trained: Project, tmp_path: Path
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(len(pictures().X_test))]
    for path, pixels in zip(files, pictures().X_test, strict=True):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    command = [sys.executable, "-c", COMMAND, "predict", "--model", "pictures", "--json"]
    done = subprocess.run(
        [*command, *map(str, files)], cwd=trained.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "pictures-plain (models:/pictures@champion)\n"
    answers = json.loads(done.stdout)["predictions"]
    found = [
        [answer["probabilities"][name] for name in pictures().class_names] for answer in answers
    ]
    expected = of_test_rows(trained, PICTURES, ALL_ROWS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_kind_of_address(trained: Project) -> None:
    version = trained.client.get_model_version_by_alias("tiny", place.CHAMPION)
    X, expected = rows().X_test, of_test_rows(trained, TABLE, ALL_ROWS)
    for name in (
        "tiny",
        TABLE,
        f"models:/tiny/{version.version}",
        f"runs:/{version.run_id}/model",
        version.source.removeprefix("file://").replace("%20", " "),
    ):
        model = prediction.predictor(name, trained.root, HERE)
        assert (model.shape, model.class_names) == ((6,), ("class0", "class1"))
        assert model.feature_names == ("a", "b", "c", "d", "e", "f")
        assert model.variant == TABLE
        np.testing.assert_allclose(model.predict(X), expected, atol=1e-5, err_msg=name)
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/tiny@chmpion", "alias chmpion not found"),
        ("models:/tiny/99", "version=99.*not found"),
        ("models:/nothing/1", "name=nothing not found"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "not found"),
    ],
)
def test_an_address_where_nothing_is(trained: Project, name: str, message: str) -> None:
    with pytest.raises(TrackingError, match=f"{name}: .*{message}.*`foldwise track`"):
        prediction.predictor(name, trained.root, HERE)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (tmp_path / paths.PARAMS).write_text(TINY.params)
    with pytest.raises(TrackingError, match=r"mlflow\.db: nothing is tracked yet"):
        prediction.predictor("tiny", tmp_path, HERE)
    assert [path.name for path in tmp_path.iterdir()] == [paths.PARAMS.name]


def test_a_model_of_somebody_else(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    mlflow.pytorch.save_model(
        torch.nn.Linear(2, 2), folder, pip_requirements=["torch"], serialization_format="pickle"
    )
    with pytest.raises(TrackingError, match="not a model that this version of foldwise has logged"):
        prediction.predictor(str(folder), tmp_path, HERE)


def test_promote_as_a_command(
    trained: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained.root)
    with pytest.raises(SystemExit) as stopped:
        main(["promote", TABLE, "--why", "quick"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == "tiny: version 1 (tiny-dropout) is champion\n"
    version = trained.client.get_model_version_by_alias("tiny", place.CHAMPION)
    assert version.tags["champion_why"] == "quick"
