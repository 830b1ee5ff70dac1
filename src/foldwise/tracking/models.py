"""The trained networks of a variant as MLflow models: raw rows in, class probabilities out.

All networks of a variant have one graph, so it is exported once, through MLflow; each model is
then that folder with its own weights in it (20 ms instead of 160).
"""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import torch
from mlflow.entities import LoggedModel
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from foldwise import networks
from foldwise.config import Network

MLMODEL = "MLmodel"
PT2 = Path("data/model.pt2")  # where MLflow's PyTorch flavour keeps and looks for it
REQUIREMENTS = ("mlflow", "torch", "numpy")


class Exporter:
    """Writes model folders for the networks of one variant.

    Args:
        manifest: of the variant's run.
        weights: name → (S, ...), as `results.read_weights` gives them.
        scratch: an empty folder of its own.
    """

    def __init__(
        self, manifest: Mapping[str, Any], weights: Mapping[str, np.ndarray], scratch: Path
    ):
        network = Network.model_validate(manifest["variant"]["network"])
        self._stack = networks.from_weights(network, weights)
        self._template = scratch / "template"
        self._folder = scratch / "model"
        self._save_template(manifest["dataset"])
        self._program = torch.export.load(self._template / PT2)
        self._description = Model.load(self._template).to_dict()

    def save(self, index: int, model: LoggedModel, run_id: str) -> Path:
        """The folder of one network's model, valid until the next call."""
        if not self._folder.exists():
            shutil.copytree(self._template, self._folder)
        state = self.classifier(index).state_dict()
        with torch.no_grad():
            for name, tensor in self._program.state_dict.items():
                tensor.copy_(state[name])
        torch.export.save(self._program, self._folder / PT2)
        identity = {"run_id": run_id, "model_id": model.model_id, "model_uuid": model.model_id}
        place = {"artifact_path": model.artifact_location}
        Model.from_dict({**self._description, **identity, **place}).save(self._folder / MLMODEL)
        return self._folder

    def classifier(self, index: int) -> networks.Classifier:
        """One network as a plain module: raw float32 rows (B, *shape) to probabilities (B, K)."""
        classifier = networks.Classifier(self._stack.unstack(index))
        return classifier.eval()

    def _save_template(self, dataset: Mapping[str, Any]) -> None:
        shape, classes = tuple(dataset["shape"]), len(dataset["class_names"])
        mlflow.pytorch.save_model(
            self.classifier(0),
            self._template,
            signature=ModelSignature(_rows(shape), _rows((classes,))),
            input_example=self._example(shape),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            serialization_format="pt2",
            metadata={"class_names": list(dataset["class_names"])},
        )

    def _example(self, shape: tuple[int, ...]) -> np.ndarray:
        """Two typical rows (2, *shape); of one row the export would take one-row batches only."""
        shift, scale = self._stack.shift[0], self._stack.scale[0]
        rows = torch.stack([shift, shift + scale]).to(torch.float32)
        return rows.reshape(2, *shape).numpy()


def _rows(shape: tuple[int, ...]) -> Schema:
    """Float32 batches of any size."""
    return Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))])
