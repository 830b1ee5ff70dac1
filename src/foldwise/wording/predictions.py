"""Predictions as people and programs read them, written as they come."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TextIO

from foldwise.wording.tables import aligned

BLOCK = 1000  # lines that are aligned with each other


@dataclass(frozen=True)
class Prediction:
    """What a network says of one row of a file, counted from 1: its class, and how probable."""

    file: str
    row: int
    label: str
    probabilities: dict[str, float]  # by class name


def text(predictions: Iterable[Prediction], out: TextIO) -> None:
    """Aligned columns for a terminal."""
    rows = _rows(predictions, ".3f")
    heading, begun = next(rows), False
    while block := list(islice(rows, BLOCK)):
        lines = aligned([heading, *block], left={0, 2})
        out.writelines(f"{line}\n" for line in lines[begun:])
        begun = True


def as_csv(predictions: Iterable[Prediction], out: TextIO) -> None:
    """A line per row: file, row, class, and the probability of every class under its name."""
    csv.writer(out, lineterminator="\n").writerows(_rows(predictions))


def as_json(model: str, predictions: Iterable[Prediction], out: TextIO) -> None:
    """`{"model": …, "predictions": [{"file", "row", "class", "probabilities"}, …]}`."""
    out.write(f'{{"model": {json.dumps(model, ensure_ascii=False)}, "predictions": [')
    between = "\n"
    for p in predictions:
        line = {"file": p.file, "row": p.row, "class": p.label, "probabilities": p.probabilities}
        out.write(between + json.dumps(line, ensure_ascii=False, allow_nan=False))
        between = ",\n"
    out.write("\n]}\n")


def _rows(predictions: Iterable[Prediction], form: str = "") -> Iterator[list[str]]:
    """The heading, and a row for each."""
    for i, p in enumerate(predictions):
        if i == 0:
            yield ["file", "row", "class", *p.probabilities]
        numbers = (format(value, form) for value in p.probabilities.values())
        yield [p.file, str(p.row), p.label, *numbers]
