"""The address of a model → the model, ready to be asked."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.exceptions import MlflowException

from foldwise.core.errors import TrackingError
from foldwise.tracking import Predictor, store

ADDRESS = "MLFLOW_TRACKING_URI"


def load(address: str, uri: str, environ: Mapping[str, str]) -> Predictor:
    """See `foldwise.tracking.load_model`."""
    if ":/" not in address:  # a folder: no store is asked
        return _predictor(address)
    with store.reading(uri, environ), _looked_up_at(uri):
        return _predictor(address)


@contextmanager
def _looked_up_at(uri: str) -> Iterator[None]:
    """Where MLflow looks addresses up: global, and kept in an environment variable."""
    before = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # removes the variable
        os.environ.update({} if before is None else {ADDRESS: before})


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
        predict=predict,
    )
