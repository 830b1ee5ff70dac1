"""The address of a model → the model, ready to be asked."""

import os
from pathlib import Path

import mlflow.models
import mlflow.pyfunc
import numpy as np

from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError
from foldwise.tracking import place, server, store
from foldwise.tracking.predictor import Predictor

PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


def load(address: str, root: Path, environment: Environment) -> Predictor:
    """A model that `track` has logged, by an address that MLflow knows, or by its folder.

    Raises:
        TrackingError: there is none, or not one of foldwise.
    """
    if ":/" not in address:  # a folder: no store is asked
        return _predictor(address)
    uri = place.store_uri(root, environment)
    with store.opened(uri, environment, write=False):
        silence = server.trouble(uri, f"has not sent {address} in {server.LOAD_SECONDS} s")
        return server.within(server.LOAD_SECONDS, lambda: _predictor(address), silence)


def _predictor(address: str) -> Predictor:
    before = os.environ.get(PICKLES)
    try:
        os.environ[PICKLES] = "false"  # what foldwise logs needs none, and they can run code
        facts = mlflow.models.get_model_info(address).metadata or {}
        model = mlflow.pyfunc.load_model(address) if "variant" in facts else None
    except Exception as error:  # of MLflow, of torch, of what a server sent
        raise TrackingError(
            f"{address}: {error}; the MLflow UI shows the models that there are, and `foldwise "
            "track` adds those of the results in runs/"
        ) from error
    finally:
        os.environ.pop(PICKLES)
        os.environ.update({} if before is None else {PICKLES: before})
    if model is None:
        raise TrackingError(
            f"{address}: not a model that this version of foldwise has logged; ask for the "
            "variant by its name"
        )

    def predict(rows: np.ndarray) -> np.ndarray:
        answer: np.ndarray = model.predict(rows.astype(np.float32)).to_numpy()
        return answer

    return Predictor(
        place=address,
        variant=facts["variant"],
        synthetic=facts["synthetic"],
        shape=tuple(model.metadata.signature.inputs.inputs[0].shape[1:]),
        class_names=tuple(facts["class_names"]),
        feature_names=tuple(facts.get("feature_names", ())),
        predict=predict,
    )
