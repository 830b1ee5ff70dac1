"""Ask a trained network about files as users have them: tables of raw features, or pictures.

Preprocessing is inside the network, so a file is read and nothing else is done to it.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foldwise.core import config, paths
from foldwise.core.environment import Environment, without_telemetry
from foldwise.core.errors import DataError, ResultsError
from foldwise.engine.learners import networks
from foldwise.numerics.split import REFIT
from foldwise.results.runs import RunFolder
from foldwise.tracking.place import CHAMPION
from foldwise.tracking.predictor import Predictor
from foldwise.wording.predictions import Prediction

MODES = {1: "L", 3: "RGB"}  # Pillow's, by channels
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Rows:
    """Raw rows of one file.

    Attributes:
        path: the file.
        values: (N, *shape).
        note: what was left out of account, "" where nothing was.
    """

    path: Path
    values: np.ndarray
    note: str = ""


def predictor(name: str, root: Path, environment: Environment) -> Predictor:
    """The network that a name stands for.

    Args:
        name: a variant (its network trained on all rows, from its run folder), a study (its
            champion), or an address that MLflow knows: `models:/sonar@champion`, `runs:/…`, the
            folder of a model.
        root: the project's root.
        environment: says where the MLflow store is.

    Raises:
        ConfigError: no such variant or study; the message has the nearest name.
        ResultsError: the variant's training failed.
        MissingError: the variant's run is not complete.
        DamagedError: a file of it is not what was written.
        TrackingError: MLflow has no such model.
    """
    if ":/" in name or (Path(name) / "MLmodel").is_file():
        return _of_mlflow(name, root, environment)
    run = RunFolder(root / paths.run(name))
    if run.exists:
        return _of_run(run)
    settings = config.load(root / paths.PARAMS)
    config.known(name, [*settings.studies, *settings.variants], "--model (a study or a variant)")
    if name in settings.variants:
        return _of_run(run)
    return _of_mlflow(f"models:/{name}@{CHAMPION}", root, environment)


def read(path: Path, shape: Sequence[int]) -> Rows:
    """The rows of a file, as the network takes them: (1, C, H, W) of a picture, (N, C) of a table.

    Raises:
        DataError: it is not there, or does not hold rows of this shape; the message names the
            place, what is there and what must be.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    if len(shape) == 1:
        return _table(path, content, shape[0])
    if len(shape) != 3 or shape[0] not in MODES:
        raise DataError(
            f"{path}: the model takes rows of shape {tuple(shape)}, for which there is no file "
            "format; ask it from Python (docs/serving.md)"
        )
    return Rows(path, _picture(path, content, shape)[None])


def predict(model: Predictor, files: Sequence[Rows]) -> list[Prediction]:
    """One prediction per row of every file."""
    places = [(str(rows.path), i) for rows in files for i in range(1, len(rows.values) + 1)]
    probabilities = model.predict(np.concatenate([rows.values for rows in files]))
    names = model.class_names
    return [
        Prediction(file, row, names[int(p.argmax())], dict(zip(names, map(float, p), strict=True)))
        for (file, row), p in zip(places, probabilities, strict=True)
    ]


# --- models -----------------------------------------------------------------------------------


def _of_run(run: RunFolder) -> Predictor:
    """The network of a run folder that was trained on all rows."""
    manifest, name = run.manifest, run.path.name
    if not manifest.complete:
        raise ResultsError(f"{run.path}: {manifest.reason}; it has no network to ask")
    network = networks(manifest, run.weights)[manifest.splits.index((REFIT, REFIT))]

    def predict(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            answer: torch.Tensor = network(torch.from_numpy(rows.astype(np.float32)))
        return answer.numpy()

    return Predictor(
        place=str(paths.run(name)),
        variant=manifest.variant.name,
        synthetic=manifest.dataset.synthetic,
        shape=tuple(manifest.dataset.shape),
        class_names=tuple(manifest.dataset.class_names),
        predict=predict,
    )


def _of_mlflow(address: str, root: Path, environment: Environment) -> Predictor:
    without_telemetry()
    from foldwise.tracking import loading

    return loading.load(address, root, environment)


# --- tables -----------------------------------------------------------------------------------


def _table(path: Path, content: bytes, features: int) -> Rows:
    """Lines of numbers; a header and labels at the end of the lines are left out."""
    lines = list(_lines(path, content))
    if lines and _is_header(lines[0][1]):
        del lines[0]
    if not lines:
        raise DataError(f"{path}: no rows; the model takes lines of {features} numbers")
    labels = 0
    values = np.empty((len(lines), features), dtype=np.float32)
    for i, (number, cells) in enumerate(lines):
        if len(cells) == features + 1 and not _is_number(cells[-1]):
            cells, labels = cells[:-1], labels + 1
        if len(cells) != features:
            raise DataError(
                f"{path}, line {number}: {len(cells)} columns, and the model takes {features} "
                "numbers, raw and separated by commas; leave out anything else"
            )
        values[i] = [_finite(path, number, j, cell) for j, cell in enumerate(cells, start=1)]
    note = f"{path}: column {features + 1} is not a number, so taken for a label and left out"
    return Rows(path, values, note if labels else "")


def _lines(path: Path, content: bytes) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line that is not blank."""
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: not text; this model takes tables: lines of numbers separated by commas"
        ) from None
    reader = csv.reader(io.StringIO(decoded, newline=""), skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct it") from None


def _is_header(cells: Sequence[str]) -> bool:
    """Names, or 0, 1, 2, … as pandas numbers columns without names."""
    return not any(map(_is_number, cells)) or cells == [str(i) for i in range(len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _finite(path: Path, line: int, column: int, cell: str) -> float:
    if not _is_number(cell) or math.isnan(float(cell)) or abs(float(cell)) > LARGEST:
        raise DataError(
            f"{path}, line {line}, column {column}: '{cell}' is not a finite number; correct it "
            "or remove the line"
        )
    return float(cell)


# --- pictures ---------------------------------------------------------------------------------


def _picture(path: Path, content: bytes, shape: Sequence[int]) -> np.ndarray:
    """Pixels (C, H, W) from 0 to 255."""
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size != (width, height):
                raise DataError(
                    f"{path}: {image.size[0]} × {image.size[1]} pixels, and the model takes "
                    f"{width} × {height}; crop or resize it first"
                )
            if image.mode not in EIGHT_BITS:
                raise DataError(f"{path}: pixels of mode {image.mode}; save it with 8 bits each")
            pixels = np.asarray(image.convert(MODES[channels]))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DataError(
            f"{path}: not a picture, or a damaged one; this model takes PNG or JPEG of "
            f"{width} × {height} pixels"
        ) from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
