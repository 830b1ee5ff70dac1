"""How well one variant did: metrics/<variant>.json for `dvc metrics`, and a line per split.

What reads raises MissingError where a file is not there, DamagedError where it is not what was
written.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from foldwise.core import files, paths, trees
from foldwise.core.config import MetricName
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

    Data and split digest say with which other results, of any commit, these are paired. What an
    older foldwise did not write is None.
    """

    variant: str
    study: str
    edition: str
    synthetic: bool
    data_digest: str | None = None
    run_digest: str | None = None  # `Manifest.digest` of the run that they were made from
    numerics: Numerics | None = None
    status: str
    reason: str | None = None
    metric: MetricName = "accuracy"  # the study's primary one
    splits: int = 0
    rows: int = 0
    split_digest: str | None = None
    scores: dict[str, Score] = Field(default_factory=dict)  # in the file by their own names
    missing: dict[str, str] = Field(default_factory=dict)  # metric → why it has no score
    train_accuracy: float | None = None
    train_loss: float | None = None
    gap: Gap | None = None
    recall: dict[str, float] = Field(default_factory=dict)  # of each class, over all repeats
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

    @model_validator(mode="after")
    def _has_scores(self) -> Self:
        if self.complete and self.metric not in self.scores:
            raise ValueError(f"no score of the primary metric, {self.metric}")
        return self

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
    """What evaluating one variant yields.

    The scores have a line per split in the order of (repeat, fold), with `COLUMNS`: every metric
    of its held-out rows (of a pooled one its jackknife share), train_accuracy and train_loss after
    the last epoch, test_accuracy; NaN where there is none. A failed run has no lines.
    """

    metrics: Metrics
    scores: pd.DataFrame
    digest: str = ""  # of the two files, where it was read from them


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

    @property
    def stale(self) -> str:
        """Why the scores are not those of the run; "" where they are, or where nothing says so."""
        made_from = self.metrics.run_digest
        if made_from is None or self.run is None or not self.run.exists:
            return ""
        if made_from == self.run.manifest.digest:
            return ""
        return (
            f"{paths.metrics(self.name)}: made from another training than {paths.run(self.name)}/ "
            f"holds; `dvc repro evaluate@{self.name}` evaluates it again"
        )


def write_evaluation(root: Path, evaluation: Evaluation) -> None:
    """Write a variant's metrics and scores, floats with ten significant digits."""
    name = evaluation.metrics.variant
    metrics = trees.rounded(evaluation.metrics.model_dump(mode="json", exclude_none=True))
    files.write_json(root / paths.metrics(name), metrics)
    scores = evaluation.scores.copy()
    for column in scores.select_dtypes("float").columns:
        scores[column] = scores[column].map(trees.significant)
    files.write_text(root / paths.scores(name), scores.to_csv(index=False))


def read_evaluation(root: Path, variant: str) -> Evaluation:
    """A variant's metrics and scores."""
    remedy = f"`dvc repro evaluate@{variant}` makes it"
    path, table = root / paths.metrics(variant), root / paths.scores(variant)
    text = files.read_bytes(path, remedy)
    metrics = files.parse_record(text, Metrics, str(path), remedy)
    csv = files.read_bytes(table, remedy)
    digest = files.short(hashlib.sha256(text + csv).hexdigest())
    return Evaluation(metrics, parse_scores(csv, str(table), remedy), digest)


def parse_scores(content: bytes, source: str, remedy: str) -> pd.DataFrame:
    """The scores per split in a CSV file's content; `source` names it in messages.

    Columns that an older foldwise did not write are left out.
    """
    try:
        return files.checked(pd.read_csv(io.BytesIO(content)), [*SPLIT, *SIZES])
    except ValueError as error:
        raise DamagedError(f"{source}: damaged ({error}); {remedy}") from None


def read_result(root: Path, variant: str) -> Result:
    """A variant's evaluation and its run folder, which is read when it is asked."""
    return Result(read_evaluation(root, variant), RunFolder(root / paths.run(variant)))
