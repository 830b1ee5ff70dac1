"""The trained networks of a variant as MLflow models: raw rows in, class probabilities out.

All networks of a variant have one graph, so it is exported once, through MLflow. Each model is a
copy of that folder with its own weights in it (4 ms instead of 160); `mirror` adds the ids of its
model and run.

`mlflow.pytorch.load_model` gives the network, `mlflow.pyfunc.load_model` and servers the
`Classifier` of served.py, which names the classes and refuses what is no input.
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import torch
from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from foldwise.core.errors import TrackingError
from foldwise.datasets.prepared import Meta
from foldwise.engine import learners
from foldwise.results.runs import Manifest
from foldwise.tracking.served import LARGEST_PIXEL

PT2 = Path("data/model.pt2")  # where MLflow's PyTorch flavour keeps and looks for it
CODE = "code"
LOADER = "foldwise_served"  # served.py as a module of its own
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas")


class Exporter:
    """Writes model folders for the networks of one variant.

    Args:
        manifest: of the variant's run.
        weights: name → (S, ...), as its run folder has them.
        template: where the exported network goes; not there yet.

    Attributes:
        description: the MLmodel of every network, without the ids of model and run.
    """

    def __init__(self, manifest: Manifest, weights: Mapping[str, np.ndarray], template: Path):
        self._network = partial(learners.network, manifest, weights)
        self._template = template
        self._save_template(manifest.dataset, manifest.variant.name)
        self._archive = Archive(self._template / PT2)
        self.description: dict[str, Any] = self._describe().to_dict()

    def save(self, index: int, folder: Path) -> None:
        """Write the model folder of one network; its MLmodel is still the template's."""
        shutil.copytree(self._template, folder)
        self._archive.write(folder / PT2, self._network(index).state_dict())

    def _save_template(self, dataset: Meta, variant: str) -> None:
        known = {"class_names", "feature_names", "dtype", "synthetic"}
        facts = dataset.model_dump(mode="json", include=known)
        mlflow.pytorch.save_model(
            self._network(0),
            self._template,
            signature=signature(dataset),
            input_example=_example(self._network(0), dataset),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            serialization_format="pt2",
            metadata={**facts, "variant": variant},
        )
        (self._template / CODE).mkdir()
        served = Path(__file__).with_name("served.py")
        shutil.copyfile(served, self._template / CODE / f"{LOADER}.py")

    def _describe(self) -> Model:
        """MLmodel of the template, with our own loader for `mlflow.pyfunc`."""
        model = Model.load(self._template)
        environment = model.flavors[pyfunc.FLAVOR_NAME][pyfunc.ENV]
        pyfunc.add_to_model(
            model,
            loader_module=LOADER,
            code=CODE,
            conda_env=environment[pyfunc.EnvType.CONDA],
            python_env=environment[pyfunc.EnvType.VIRTUALENV],
        )
        return model


def _example(network: torch.nn.Module, dataset: Meta) -> np.ndarray:
    """Two rows (2, *shape), typical where the network rescales its inputs.

    A network that is exported with a single row would accept batches of one row only.
    """
    buffers = {name.rpartition(".")[2]: buffer for name, buffer in network.named_buffers()}
    shift = buffers.get("shift", torch.zeros(dataset.shape))
    scale = buffers.get("scale", torch.ones(dataset.shape))
    rows = torch.stack([shift, shift + scale]).to(torch.float32).numpy()
    if dataset.dtype == "uint8":
        rows = rows.round().clip(0, LARGEST_PIXEL)
    return rows.reshape(2, *dataset.shape)


def signature(dataset: Meta) -> ModelSignature:
    """Raw rows, named after their data set, in; a number per class, by its name, out.

    Pixels are float32, too: as uint8, MLflow would cut rescaled ones off to 0 without a word.
    """
    rows = TensorSpec(np.dtype(np.float32), (-1, *dataset.shape), dataset.name)
    classes = Schema([ColSpec(DataType.float, name) for name in dataset.class_names])
    return ModelSignature(Schema([rows]), classes)


class Archive:
    """An exported program as torch.export.save leaves it: a zip that keeps each tensor raw.

    Layout: https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/pt2_archive.html
    """

    def __init__(self, path: Path):
        with zipfile.ZipFile(path) as archive:
            self._records = {name: archive.read(name) for name in archive.namelist()}
        config = next(name for name in self._records if name.endswith("_weights_config.json"))
        entries = json.loads(self._records[config])["config"]
        folder = config.rsplit("/", 1)[0]
        self._places = {name: f"{folder}/{entry['path_name']}" for name, entry in entries.items()}

    def write(self, path: Path, state: Mapping[str, torch.Tensor]) -> None:
        """The same program with other parameters and buffers."""
        records = dict(self._records)
        for name, place in self._places.items():
            content = state[name].detach().contiguous().numpy().tobytes()
            if len(content) != len(records[place]):
                raise TrackingError(f"{path}: '{name}' is not of the exported network's shape")
            records[place] = content
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(zipfile.ZipInfo(name), content)
