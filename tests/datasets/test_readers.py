import subprocess
import sys

import numpy as np
import pytest

import foldwise.datasets
from foldwise.core.errors import ConfigError
from foldwise.datasets import cifar10, readers, sonar


def test_finds_the_modules():
    assert readers.module("sonar") is sonar
    assert readers.module("cifar10") is cifar10
    assert readers.names() == ["cifar10", "sonar"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sonnar", "did you mean 'sonar'"),
        ("mnist", "there are: cifar10, sonar"),
        ("my-data", r"src/foldwise/datasets/my_data\.py"),
        ("prepared", "no module reads it"),
        ("readers", "no module reads it"),
        ("../sonar", "no module reads it"),
        ("sonar.x", "no module reads it"),
    ],
)
def test_unknown_name(name, hint):
    with pytest.raises(ConfigError, match=hint):
        readers.module(name)


SOURCE = """
import numpy as np
from foldwise.datasets.prepared import Dataset

def read(folder, edition):
    X = np.zeros((4, 2), dtype=np.float32)
    return Dataset("my-data", X, np.array([0, 1, 0, 1]), None, None, ("a", "b"), 1.0, edition)

def synthesize(folder, rows):
    (folder / "x").write_text(str(rows))
"""


@pytest.fixture
def extended(tmp_path, monkeypatch):
    monkeypatch.setattr(foldwise.datasets, "__path__", [*foldwise.datasets.__path__, str(tmp_path)])
    yield tmp_path
    for name in ("my_data", "broken"):
        sys.modules.pop(f"foldwise.datasets.{name}", None)
        vars(foldwise.datasets).pop(name, None)


def test_a_data_set_is_added_by_adding_one_module(extended):
    (extended / "my_data.py").write_text(SOURCE)
    dataset = readers.module("my-data").read(extended, "official")
    assert np.array_equal(dataset.y, [0, 1, 0, 1])
    assert readers.names() == ["cifar10", "my-data", "sonar"]


def test_an_import_that_fails_in_it_is_not_hidden(extended):
    (extended / "broken.py").write_text("import there_is_no_such_package\n")
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_package"):
        readers.module("broken")


@pytest.mark.contract
def test_readers_need_neither_torch_nor_network():
    heavy = ("torch", "requests")
    code = (
        "import sys; from foldwise.datasets import readers;"
        "readers.module('sonar'), readers.module('cifar10');"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
