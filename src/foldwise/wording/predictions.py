"""Predictions as people and programs read them."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from foldwise.wording.tables import aligned


@dataclass(frozen=True)
class Prediction:
    """What a network says of one row.

    Attributes:
        file: where the row is.
        row: its number in the file, from 1.
        label: the most probable class.
        probabilities: class name → probability.
    """

    file: str
    row: int
    label: str
    probabilities: dict[str, float]


def text(predictions: Sequence[Prediction]) -> str:
    """Aligned columns for a terminal."""
    rows = [
        [p.file, str(p.row), p.label, *(f"{value:.3f}" for value in p.probabilities.values())]
        for p in predictions
    ]
    return "\n".join(aligned([_header(predictions), *rows], left={0, 2}))


def as_csv(predictions: Sequence[Prediction]) -> str:
    """A line per row: file, row, class, and the probability of every class under its name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_header(predictions))
    writer.writerows([p.file, p.row, p.label, *p.probabilities.values()] for p in predictions)
    return out.getvalue().rstrip("\n")


def as_json(model: str, predictions: Sequence[Prediction]) -> str:
    """`{"model": …, "predictions": [{"file", "row", "class", "probabilities"}, …]}`."""
    lines = [
        {"file": p.file, "row": p.row, "class": p.label, "probabilities": p.probabilities}
        for p in predictions
    ]
    tree = {"model": model, "predictions": lines}
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)


def _header(predictions: Sequence[Prediction]) -> list[str]:
    return ["file", "row", "class", *predictions[0].probabilities]
