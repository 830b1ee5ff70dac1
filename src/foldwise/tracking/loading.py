"""The address of a model → the model, ready to be asked."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.exceptions import MlflowException

from foldwise.core.environment import TRACKING, Environment
from foldwise.core.errors import TrackingError
from foldwise.tracking import place, store
from foldwise.tracking.predictor import Predictor


def load(address: str, root: Path, environment: Environment) -> Predictor:
    """A model that `track` has logged.

    Args:
        address: `models:/<study>@champion`, `runs:/<id>/model`, any other address that MLflow
            knows, or a model's folder.
        root: the project's root.
        environment: where the store is.

    Raises:
        TrackingError: there is none, or not one of foldwise.
    """
    if ":/" not in address:  # a folder: no store is asked
        return _predictor(address)
    uri = place.store_uri(root, environment)
    with store.reading(uri, environment), _looked_up_at(uri):
        return _predictor(address)


@contextmanager
def _looked_up_at(uri: str) -> Iterator[None]:
    """Where MLflow looks addresses up: global, and kept in an environment variable."""
    before = os.environ.get(TRACKING)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # removes the variable
        os.environ.update({} if before is None else {TRACKING: before})


def _predictor(address: str) -> Predictor:
    try:
        model = mlflow.pyfunc.load_model(address)
    except MlflowException as error:
        raise TrackingError(
            f"{address}: {error}; the MLflow UI shows the models that there are, and `foldwise "
            "track` adds those of the results in runs/"
        ) from error
    facts = model.metadata.metadata or {}
    if "variant" not in facts:
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
