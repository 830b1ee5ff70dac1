"""Sonar, mines vs. rocks: 208 rows of 60 numbers in [0, 1] and a label (Gorman & Sejnowski 1988).

The file has no header; each line is 60 numbers and `R` (rock) or `M` (metal cylinder, a mine),
separated by commas. It is sorted by class: 97 R, then 111 M.
"""

import re
from pathlib import Path
from typing import NoReturn

import numpy as np

from foldwise.core import files
from foldwise.core.errors import DataError, MissingError
from foldwise.datasets.prepared import Dataset

FILE = "sonar.all-data"
FEATURES = 60
LABELS = {"M": 0, "R": 1}  # alphabetical, as scikit-learn's LabelEncoder numbers them
CLASS_NAMES = ("metal", "rock")
FEATURE_NAMES = tuple(f"attribute_{i}" for i in range(1, FEATURES + 1))  # as OpenML names them
ROCK_SHARE = 97 / 208
LARGEST = float(np.finfo(np.float32).max)
SEED = 1988

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read(folder: Path, edition: str) -> Dataset:
    """Read `sonar.all-data`: X (n, 60) float32, y (n,) with 0 for metal and 1 for rock.

    Raises:
        MissingError: the file is not there.
        DataError: a line is malformed; it names line, column and value.
    """
    path = folder / FILE
    rows = [_row(path, i, line) for i, line in enumerate(_lines(path), start=1)]
    if not rows:
        raise DataError(f"{path}: empty")
    return Dataset(
        name="sonar",
        X=np.array([numbers for numbers, _ in rows], dtype=np.float32),
        y=np.array([label for _, label in rows], dtype=np.int64),
        X_test=None,
        y_test=None,
        class_names=CLASS_NAMES,
        feature_names=FEATURE_NAMES,
        scale=1.0,
        edition=edition,
    )


def synthesize(folder: Path, rows: int) -> None:
    """Write a made-up `sonar.all-data` of `rows` lines, rocks first, as in the real file.

    A row is a smooth spectrum: a common curve, a bump whose place depends on the class, and
    smooth noise that is large enough for the classes to overlap.
    """
    rng = np.random.default_rng(SEED)
    rocks = min(max(round(rows * ROCK_SHARE), 1), rows - 1)
    labels = np.repeat([LABELS["R"], LABELS["M"]], [rocks, rows - rocks])
    lines = [
        ",".join(f"{value:.4f}" for value in spectrum) + ("," + "MR"[label])
        for spectrum, label in zip(_spectra(rng, labels), labels, strict=True)
    ]
    files.write_text(folder / FILE, "\n".join(lines) + "\n")


def _spectra(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Made-up rows (n, 60) in [0, 1] for labels (n,)."""
    n = len(labels)
    x = np.linspace(0, 1, FEATURES)
    common = 0.1 + 0.4 * np.exp(-((x - 0.45) ** 2) / 0.06)  # (60,)
    place = np.where(labels == LABELS["M"], 0.30, 0.42) + 0.05 * rng.standard_normal(n)
    bump = 0.30 * np.exp(-((x - place[:, None]) ** 2) / 0.01)  # (n, 60)
    waves = np.cos(np.pi * np.arange(1, 9)[:, None] * x)  # (8, 60)
    smooth = 0.05 * rng.standard_normal((n, 8)) @ waves
    rough = 0.03 * rng.standard_normal((n, FEATURES))
    return np.clip(common + bump + smooth + rough, 0.0, 1.0)


def _lines(path: Path) -> list[str]:
    """The lines, whatever ends them, without a byte order mark or blank ones at the end."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise MissingError(f"{path}: not there; list it among the edition's files") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text") from None
    text = text.rstrip().replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n") if text else []


def _row(path: Path, line: int, text: str) -> tuple[list[float], int]:
    """60 numbers and the label of one line."""
    cells = [cell.strip() for cell in text.split(",")]

    def refuse(column: int, reason: str) -> NoReturn:
        raise DataError(f"{path}, line {line}, column {column}: {reason}")

    if cells == [""]:
        raise DataError(f"{path}, line {line}: blank line; remove it")
    for column, cell in enumerate(cells[:FEATURES], start=1):
        if not cell:
            refuse(column, "empty; fill in a number or remove the line")
        if column > 1 and cell in LABELS:
            reason = f"label '{cell}' where a number must be; the line has {column - 1} numbers"
            refuse(column, f"{reason}, not {FEATURES}: complete it or remove it")
        if not _NUMBER.fullmatch(cell) or abs(float(cell)) > LARGEST:
            header = "; if line 1 is a header, remove it" if line == 1 else ""
            refuse(column, f"'{cell}' is not a finite number; correct it{header}")
    if len(cells) <= FEATURES:
        reason = f"missing; a line has {FEATURES} numbers and a label, complete it or remove it"
        refuse(len(cells) + 1, reason)
    label = cells[FEATURES]
    if label not in LABELS:
        reason = f"unknown label '{label}'; use" if label else "the label is missing; write"
        refuse(FEATURES + 1, f"{reason} one of {', '.join(LABELS)}")
    if len(cells) > FEATURES + 1:
        reason = f"extra value '{cells[FEATURES + 1]}'; a line ends with its label in column"
        refuse(FEATURES + 2, f"{reason} {FEATURES + 1}, remove what follows")
    return [float(cell) for cell in cells[:FEATURES]], LABELS[label]
