"""A model that is not foldwise's is refused before anything of it runs."""

from pathlib import Path
from typing import Any

import mlflow.pytorch
import pytest
import torch

from foldwise import prediction
from foldwise.core.environment import Environment
from foldwise.core.errors import TrackingError


class Trap(torch.nn.Module):
    """Leaves a mark where somebody unpickles it."""

    def __init__(self, mark: Path):
        super().__init__()
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("metadata", [None, {"variant": "x", "synthetic": True}])
def test_a_pickle_is_not_opened(metadata: dict[str, Any] | None, tmp_path: Path) -> None:
    """Whatever it says that it is."""
    mark, folder = tmp_path / "mark", tmp_path / "model"
    options = {"pip_requirements": ["torch"], "serialization_format": "pickle"}
    mlflow.pytorch.save_model(Trap(mark), folder, metadata=metadata, **options)
    with pytest.raises(TrackingError):
        prediction.predictor(str(folder), tmp_path, Environment(workers=1))
    assert not mark.exists()
