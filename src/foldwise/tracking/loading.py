"""The address of a model → the model, ready to be asked."""

from collections.abc import Mapping

import mlflow
import mlflow.pyfunc
import numpy as np
from mlflow.exceptions import MlflowException

from foldwise.errors import TrackingError
from foldwise.tracking import Predictor, store


def load(address: str, uri: str, environ: Mapping[str, str]) -> Predictor:
    """See `foldwise.tracking.load_model`."""
    if ":/" not in address:  # a folder: no store is asked
        return _predictor(address)
    before = mlflow.get_tracking_uri()
    with store.reading(uri, environ):
        mlflow.set_tracking_uri(uri)
        try:
            return _predictor(address)
        finally:
            mlflow.set_tracking_uri(before)


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
