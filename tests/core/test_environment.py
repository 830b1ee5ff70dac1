"""Environment variables are read once, typed, and refused with a remedy."""

import os
import subprocess
import sys

import pytest

from foldwise.core import environment
from foldwise.core.environment import Environment
from foldwise.core.errors import ConfigError


def test_everything_is_read() -> None:
    variables = {
        "FOLDWISE_WORKERS": "3",
        "FOLDWISE_DEVICE": "cpu",
        "FOLDWISE_MIRROR": " /data ",
        "MLFLOW_TRACKING_URI": " http://localhost:5000 ",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "DVC_EXP_NAME": "witty-fox",
        "DVC_EXP_BASELINE_REV": "abc",
        "HOME": "/home",
    }
    assert Environment.read(variables) == Environment(
        workers=3,
        device="cpu",
        mirror="/data",
        tracking_uri="http://localhost:5000",
        experiment="witty-fox",
        baseline_rev="abc",
        mlflow={
            "MLFLOW_TRACKING_URI": " http://localhost:5000 ",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        },
    )


def test_nothing_set_is_a_worker_per_core_and_any_device() -> None:
    found = Environment.read({})
    assert found == Environment(workers=environment.cores())
    assert (found.device, found.mirror, found.mlflow) == ("auto", None, {})
    empty = Environment.read({"FOLDWISE_WORKERS": "", "FOLDWISE_DEVICE": ""})
    assert empty == found
    assert Environment.read({"FOLDWISE_MIRROR": ""}).mirror == ""  # no mirror at all


def test_the_process_s_own_variables_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDWISE_WORKERS", "7")
    assert Environment.read().workers == 7
    assert list(environment.problems()) == []


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", "²", " 2", "9" * 5000])
def test_workers_are_a_whole_number(value: str) -> None:
    shown = f"FOLDWISE_WORKERS: '{value[:20]}.*' is not a whole number"
    with pytest.raises(ConfigError, match=shown):
        Environment.read({"FOLDWISE_WORKERS": value})


def test_a_device_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="FOLDWISE_DEVICE: 'gpu' is none of auto, cpu, cuda"):
        Environment.read({"FOLDWISE_DEVICE": "gpu"})


def test_a_target_is_what_numba_compiles_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"FOLDWISE_TARGET": ""})
    environment.choose_target()
    assert "NUMBA_CPU_NAME" not in os.environ
    os.environ["FOLDWISE_TARGET"] = "x86-64-v3"
    environment.choose_target()
    assert os.environ["NUMBA_CPU_NAME"] == "x86-64-v3"
    os.environ["FOLDWISE_TARGET"] = "arm"
    with pytest.raises(ConfigError, match="FOLDWISE_TARGET: 'arm' is none of native, x86-64-v3"):
        environment.choose_target()


def test_problems_are_all_named_at_once() -> None:
    variables = {"FOLDWISE_WORKERS": "0", "FOLDWISE_DEVICE": "gpu", "FOLDWISE_MIROR": "x"}
    assert list(environment.problems(variables)) == [
        "FOLDWISE_WORKERS: '0' is not a whole number from 1 to 9999; correct or unset it",
        "FOLDWISE_DEVICE: 'gpu' is none of auto, cpu, cuda; correct or unset it",
        "FOLDWISE_MIROR: nothing reads this variable; did you mean FOLDWISE_MIRROR?",
    ]
    assert list(environment.problems({"FOLDWISE_DEVICE": "cpu", "PATH": "/bin"})) == []


def test_telemetry_is_off_for_all_that_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in environment.TELEMETRY_OFF:
        monkeypatch.setenv(name, "0")
    environment.without_telemetry()
    code = f"import os; print(*(os.environ[name] for name in {list(environment.TELEMETRY_OFF)}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["true"] * 3
