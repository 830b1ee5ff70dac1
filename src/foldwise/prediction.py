"""Ask a trained network about files as users have them: tables of raw features, or pictures.

Preprocessing is inside the network, so a file is read and nothing else is done to it. Tables are
read in blocks, so that their size does not matter.
"""

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from foldwise.core import config, paths
from foldwise.core.environment import Environment, without_telemetry
from foldwise.core.errors import DataError, ResultsError
from foldwise.engine.learners import network as network_of
from foldwise.numerics.split import REFIT
from foldwise.results.runs import RunFolder
from foldwise.tracking.place import CHAMPION
from foldwise.tracking.predictor import Predictor
from foldwise.wording.predictions import Prediction

MODES = {1: "L", 3: "RGB"}  # Pillow's, by channels
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB")
LARGEST_PICTURE = 2**25  # bytes of a file
LARGEST = float(np.finfo(np.float32).max)
LONGEST_CELL = 64  # characters, on average over a line
BLOCK = 4096  # rows that are read and answered at a time
MANY = 8  # numbers in a line, from which on it is no chance that they count, or only rise
TABLE = "this model takes tables: lines of numbers separated by commas"
TAKES = "the model takes {} numbers, raw and separated by commas; leave out anything else"
Line = tuple[int, list[str]]  # its number, and its cells
Note = Callable[[str], object]  # takes a sentence on what was taken for granted, or left out


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


def predict(model: Predictor, files: Iterable[Path], note: Note) -> Iterator[Prediction]:
    """One prediction per row of every file, as the rows are read.

    Raises:
        DataError: a file is not there, or does not hold rows of the network's shape; the message
            names the place, what is there and what must be.
    """
    names = model.class_names
    for path in files:
        row = count(1)
        for values in read(path, model.shape, model.feature_names, note):
            for p in model.predict(values):
                probabilities = dict(zip(names, map(float, p), strict=True))
                yield Prediction(str(path), next(row), names[int(p.argmax())], probabilities)


def read(
    path: Path, shape: Sequence[int], names: Sequence[str], note: Note
) -> Iterator[np.ndarray]:
    """The rows of a file as the network takes them: (N, C) for N rows of a table, (1, C, H, W).

    Args:
        path: the file.
        shape: of one row.
        names: of the C features; none where the network does not know them.
        note: is told what was taken for granted, or left out.

    Raises:
        DataError: as of `predict`.
    """
    try:
        if len(shape) == 1:
            yield from _table(path, shape[0], names, note)
        elif len(shape) == 3 and shape[0] in MODES:
            yield _picture(path, shape)[None]
        else:
            raise DataError(
                f"{path}: the model takes rows of shape {tuple(shape)}, for which there is no file "
                "format; ask it from Python (docs/serving.md)"
            )
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the name") from None


# --- models -----------------------------------------------------------------------------------


def _of_run(run: RunFolder) -> Predictor:
    """The network of a run folder that was trained on all rows."""
    manifest, name = run.manifest, run.path.name
    if not manifest.complete:
        raise ResultsError(f"{run.path}: {manifest.reason}; it has no network to ask")
    network = network_of(manifest, run.weights, manifest.splits.index((REFIT, REFIT)))

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
        feature_names=tuple(manifest.dataset.feature_names),
        predict=predict,
    )


def _of_mlflow(address: str, root: Path, environment: Environment) -> Predictor:
    without_telemetry()
    from foldwise.tracking import loading

    return loading.load(address, root, environment)


# --- tables -----------------------------------------------------------------------------------


def _table(path: Path, features: int, names: Sequence[str], note: Note) -> Iterator[np.ndarray]:
    """Lines of numbers, a block at a time, without header and labels."""
    lines = _lines(path, LONGEST_CELL * (features + 2))
    head = list(islice(lines, 2))
    fits = bool(head) and len(head[0][1]) in (features, features + 1)
    has_header = fits and _is_header(path, head, features)
    if len(head) == has_header:
        raise DataError(f"{path}: no rows; the model takes lines of {features} numbers")
    number, first = head[0]
    order, label = list(range(features)), None
    if has_header and names and not _counts(first):
        order = _matched(path, number, first, names)
        if order != sorted(order):
            note(f"{path}: the columns are in another order than the features; matched by name")
    elif names:
        why = "the header counts the columns" if has_header else "no header"
        note(f"{path}: {why}, so they are taken for {names[0]}, …, {names[-1]}, in this order")
    elif has_header:
        note(f"{path}: the model does not know its features' names; columns are taken in order")
    if len(first) == features + 1:
        (label,) = {*range(features + 1)} - {*order}
        note(f"{path}: column {label + 1} is no feature, so taken for a label and left out")
    rows = chain(head[has_header:], lines)
    while block := list(islice(rows, BLOCK)):
        yield _values(path, block, order, label)


def _lines(path: Path, longest: int) -> Iterator[Line]:
    """Number and cells of every line that is not blank."""
    size = path.stat().st_size or None  # none of a pipe
    with (
        path.open(encoding="utf-8-sig", newline="") as file,
        tqdm(
            desc=path.name, total=size, unit="B", unit_scale=True, leave=False, disable=None
        ) as bar,
    ):

        def bounded() -> Iterator[str]:
            while line := file.readline(longest + 1):
                if len(line) > longest:
                    raise DataError(f"{path}, line {reader.line_num + 1}: too long; {TABLE}")
                bar.update(len(line))
                yield line

        reader = csv.reader(bounded(), skipinitialspace=True)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, [cell.strip() for cell in cells]
        except UnicodeDecodeError:
            raise DataError(f"{path}: not text; {TABLE}") from None
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}; {TABLE}") from None


def _is_header(path: Path, head: Sequence[Line], features: int) -> bool:
    """Whether the first line names the columns, or counts them as pandas does.

    Raises:
        DataError: it may as well be a row.
    """
    number, first = head[0]
    if not any(map(_is_number, first)) or (_counts(first) and features >= MANY):
        return True
    rising = [_rises(cells[:features]) for _, cells in head]
    if _counts(first) or (rising[0] and not all(rising) and features >= MANY):
        raise DataError(
            f"{path}, line {number}: {', '.join(first[:3])}, … may be a header or a row; remove "
            "it, or put a line with the names of the columns above it"
        )
    return False


def _counts(cells: Sequence[str]) -> bool:
    """Whether they are 0, 1, 2, … or 1, 2, 3, …, but for a word at the end."""
    numbers = list(cells if _is_number(cells[-1]) else cells[:-1])
    return any(numbers == [str(first + i) for i in range(len(numbers))] for first in (0, 1))


def _rises(cells: Sequence[str]) -> bool:
    return all(map(_is_number, cells)) and all(float(a) < float(b) for a, b in pairwise(cells))


def _matched(path: Path, number: int, header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Where in a line each feature is."""
    for name in names:
        if header.count(name) != 1:
            problem = f"two columns '{name}'" if name in header else f"no column '{name}'"
            raise DataError(
                f"{path}, line {number}: {problem}, which is a feature of the model; name the "
                f"columns {names[0]}, …, {names[-1]}, or leave the header out if they are in order"
            )
    return [header.index(name) for name in names]


def _values(
    path: Path, block: Sequence[Line], order: Sequence[int], label: int | None
) -> np.ndarray:
    """The features (N, C) of some lines."""
    width = len(order) + (label is not None)
    for number, cells in block:
        if len(cells) != width:
            expected = f"the lines above {width}" if label is not None else TAKES.format(width)
            raise DataError(f"{path}, line {number}: {len(cells)} columns, and {expected}")
        if label is not None and _is_number(cells[label]):
            raise DataError(
                f"{path}, line {number}, column {label + 1}: {cells[label]} is a number, but of no "
                "feature of the model; leave the column out"
            )
    try:
        values = np.array([[cells[i] for i in order] for _, cells in block], dtype=np.float64)
    except ValueError:
        values = np.full((1, 1), np.nan)
    if (np.abs(values) <= LARGEST).all():
        return values.astype(np.float32)
    place, cell = next(
        (f"line {number}, column {i + 1}", cells[i])
        for number, cells in block
        for i in order
        if not (_is_number(cells[i]) and abs(float(cells[i])) <= LARGEST)
    )
    raise DataError(
        f"{path}, {place}: '{cell}' is not a finite number; correct it or remove the line"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# --- pictures ---------------------------------------------------------------------------------


def _picture(path: Path, shape: Sequence[int]) -> np.ndarray:
    """Pixels (C, H, W) from 0 to 255, upright."""
    channels, height, width = shape
    with path.open("rb") as file:
        content = file.read(LARGEST_PICTURE + 1)
    expected = f"this model takes PNG or JPEG of {width} × {height} pixels"
    if len(content) > LARGEST_PICTURE:
        raise DataError(f"{path}: more than {LARGEST_PICTURE:,} bytes; {expected}")
    size, upright = (0, 0), None
    try:
        with (
            warnings.catch_warnings(action="ignore"),  # Pillow's, of a size that is refused below
            Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image,
        ):
            size = image.size
            if sorted(size) == sorted((width, height)):
                upright = ImageOps.exif_transpose(image)
                size = upright.size
    except Exception:  # there are many that a decoder raises where it finds something else
        raise DataError(f"{path}: not a picture, or a damaged one; {expected}") from None
    if upright is None or size != (width, height):
        raise DataError(
            f"{path}: {size[0]} × {size[1]} pixels, and the model takes {width} × {height}; crop "
            "or resize it first"
        )
    if upright.mode not in EIGHT_BITS:
        raise DataError(f"{path}: pixels of mode {upright.mode}; save it with 8 bits each")
    if upright.has_transparency_data and np.asarray(upright.convert("RGBA"))[..., 3].min() < 255:
        raise DataError(f"{path}: has transparent pixels; put it on a background first")
    pixels = np.asarray(upright.convert(MODES[channels]))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
