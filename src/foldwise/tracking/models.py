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
from foldwise.results.runs import Manifest, RunFolder
from foldwise.tracking.served import LARGEST_PIXEL
from foldwise.tracking.workshop import Models

PT2 = Path("data/model.pt2")  # where MLflow's PyTorch flavour keeps and looks for it
CODE = "code"
LOADER = "foldwise_served"  # served.py as a module of its own
REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas")


def export(run: Path, folder: Path) -> Models:
    """Write a model folder for each network of a run folder, into `folder`."""
    made = RunFolder(run)
    network = partial(learners.network, made.manifest, made.weights)
    template = folder / "template"
    description = _save_template(template, network(0), made.manifest)
    program = _program(template / PT2)
    folders = [folder / str(index) for index in range(len(made.manifest.splits))]
    for index, model in enumerate(folders):
        shutil.copytree(template, model)
        _write_weights(program, model / PT2, network(index).state_dict())
    return Models(folders, description)


def _save_template(folder: Path, network: torch.nn.Module, manifest: Manifest) -> dict[str, Any]:
    """Export a network through MLflow, with our own loader for `mlflow.pyfunc`; its MLmodel."""
    dataset = manifest.dataset
    known = {"class_names", "feature_names", "dtype", "synthetic"}
    facts = dataset.model_dump(mode="json", include=known)
    mlflow.pytorch.save_model(
        network,
        folder,
        signature=signature(dataset),
        input_example=_example(network, dataset),
        pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        serialization_format="pt2",
        metadata={**facts, "variant": manifest.variant.name},
    )
    (folder / CODE).mkdir()
    shutil.copyfile(Path(__file__).with_name("served.py"), folder / CODE / f"{LOADER}.py")
    model = Model.load(folder)
    environment = model.flavors[pyfunc.FLAVOR_NAME][pyfunc.ENV]
    pyfunc.add_to_model(
        model,
        loader_module=LOADER,
        code=CODE,
        conda_env=environment[pyfunc.EnvType.CONDA],
        python_env=environment[pyfunc.EnvType.VIRTUALENV],
    )
    described: dict[str, Any] = model.to_dict()
    return described


def _program(path: Path) -> dict[str, bytes]:
    """The records of an exported program, without what depends on where foldwise lies.

    These are traces of its source, and their digest. `torch.export.save` leaves a zip that keeps
    each tensor raw, as laid out in
    https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export/pt2_archive.html.
    """
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    for name in records:
        if name.endswith("models/model.json"):
            program = json.loads(records[name])
            for node in program["graph_module"]["graph"]["nodes"]:
                node["metadata"].pop("stack_trace", None)
            records[name] = json.dumps(program).encode()
        elif name.endswith("/serialization_id"):
            records[name] = b"0" * len(records[name])
    return records


def _write_weights(
    program: Mapping[str, bytes], path: Path, state: Mapping[str, torch.Tensor]
) -> None:
    """The same program with other parameters and buffers."""
    records = {**program}
    config = next(name for name in records if name.endswith("_weights_config.json"))
    for name, entry in json.loads(records[config])["config"].items():
        place = f"{config.rpartition('/')[0]}/{entry['path_name']}"
        content = state[name].detach().contiguous().numpy().tobytes()
        if len(content) != len(records[place]):
            raise TrackingError(f"{path}: '{name}' is not of the exported network's shape")
        records[place] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content)


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
