"""How well one variant did: metrics/<variant>.json for `dvc metrics`, and a line per split."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from foldwise.core import files, paths, trees
from foldwise.core.errors import DamagedError
from foldwise.core.files import Record
from foldwise.metrics import METRICS
from foldwise.results.runs import Numerics, RunFolder

SPLIT = ["repeat", "fold"]
SIZES = ["n_train", "n_validation"]
COLUMNS = [*SPLIT, *SIZES, *METRICS, "train_accuracy", "train_loss", "test_accuracy"]


class Score(Record):
    """One metric over the splits: the mean, its spread (SD, ddof=1), and how far to trust it.

    `se_corrected` is an error of the mean (see `statistics.corrected_standard_error`), and the
    interval is made of it; the study's primary metric alone has them.
    """

    mean: float
    sd_over_splits: float
    se_corrected: float | None = None
    ci95_low: float | None = None
    ci95_high: float | None = None


class Gap(Record):
    """How much better the rows of training were done; more is always more overfitting."""

    accuracy: float
    loss: float


class OnTestRows(Record):
    """Scores on the test rows: of the model that saw all training rows, and of the folds'."""

    refit_accuracy: float
    refit_log_loss: float
    folds_accuracy_mean: float
    folds_accuracy_sd: float
    rows: int


class Metrics(Record):
    """metrics/<variant>.json. A failed run has `reason` and no scores.

    Attributes:
        data_digest: with `split_digest` it says with which other results, of any commit, these
            are paired; None in files of an older foldwise.
        numerics: what decided the bits of the training; None in files of an older foldwise.
        metric: the study's primary one.
        scores: metric → score; in the file each stands under its own name.
        missing: metric → why it could not be computed.
        recall: class → share of its rows that were predicted as it, over all repeats.
    """

    variant: str
    study: str
    edition: str
    synthetic: bool
    data_digest: str | None = None
    numerics: Numerics | None = None
    status: str
    reason: str | None = None
    metric: str = "accuracy"
    splits: int = 0
    rows: int = 0
    split_digest: str | None = None
    scores: dict[str, Score] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
    train_accuracy: float | None = None
    train_loss: float | None = None
    gap: Gap | None = None
    recall: dict[str, float] = Field(default_factory=dict)
    test: OnTestRows | None = None

    @property
    def complete(self) -> bool:
        """Whether there are scores."""
        return self.status == "complete"

    @property
    def primary(self) -> Score:
        """The score that verdicts are about; of a complete run."""
        return self.scores[self.metric]

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or "scores" in tree:
            return tree
        return {**tree, "scores": {name: tree[name] for name in METRICS if name in tree}}

    @model_serializer(mode="wrap")
    def _spread(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = handler(self)
        scores = tree.pop("scores")
        if not self.complete:
            del tree["splits"], tree["rows"]
        kept = {key: value for key, value in tree.items() if value not in ({}, None)}
        return kept | dict(scores)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What evaluating one variant yields. J splits.

    Attributes:
        metrics: see `Metrics`.
        scores: (J, …), a line per split in the order of (repeat, fold), with `COLUMNS`: every
            metric of its held-out rows (of a pooled one its jackknife share), train_accuracy and
            train_loss after the last epoch, test_accuracy; NaN where there is none. No lines of a
            failed run.
    """

    metrics: Metrics
    scores: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Result:
    """One variant's result as far as it is at hand: across commits the run folder is not."""

    evaluation: Evaluation
    run: RunFolder | None = None

    @property
    def name(self) -> str:
        """The variant."""
        return self.metrics.variant

    @property
    def metrics(self) -> Metrics:
        """How well it did."""
        return self.evaluation.metrics

    @property
    def scores(self) -> pd.DataFrame:
        """The same, a line per split."""
        return self.evaluation.scores


def write_evaluation(root: Path, evaluation: Evaluation) -> None:
    """Write a variant's metrics and scores, floats with ten significant digits.

    Raises:
        WriteError: a file cannot be written.
    """
    name = evaluation.metrics.variant
    metrics = trees.rounded(evaluation.metrics.model_dump(mode="json", exclude_none=True))
    files.write_json(root / paths.metrics(name), metrics)
    scores = evaluation.scores.copy()
    for column in scores.select_dtypes("float").columns:
        scores[column] = scores[column].map(trees.significant)
    files.write_text(root / paths.scores(name), scores.to_csv(index=False))


def read_evaluation(root: Path, variant: str) -> Evaluation:
    """A variant's metrics and scores.

    Raises:
        MissingError: one of them is not there.
        DamagedError: one of them is not what was written.
    """
    remedy = f"`dvc repro evaluate@{variant}` makes it"
    metrics = files.read_record(root / paths.metrics(variant), Metrics, remedy)
    path = root / paths.scores(variant)
    return Evaluation(metrics, parse_scores(files.read_bytes(path, remedy), str(path), remedy))


def parse_scores(content: bytes, source: str, remedy: str) -> pd.DataFrame:
    """The scores per split in a CSV file's content; `source` names it in messages.

    Columns that an older foldwise did not write are left out.

    Raises:
        DamagedError: it is no table, or has no splits in it.
    """
    try:
        table = pd.read_csv(io.BytesIO(content))
    except (ValueError, UnicodeDecodeError) as error:
        raise DamagedError(f"{source}: damaged ({error}); {remedy}") from None
    missing = [name for name in (*SPLIT, *SIZES) if name not in table.columns]
    if missing:
        raise DamagedError(f"{source}: damaged (no column '{missing[0]}'); {remedy}")
    return table


def read_result(root: Path, variant: str) -> Result:
    """A variant's evaluation and its run folder, which is read when it is asked.

    Raises:
        MissingError: a file is not there.
        DamagedError: a file is not what was written.
    """
    return Result(read_evaluation(root, variant), RunFolder(root / paths.run(variant)))
