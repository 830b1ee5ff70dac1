"""comparisons/<study>.json: every variant of a study, and every pair with its verdict."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from foldwise.core import files, paths, trees
from foldwise.core.config import MetricName, Training
from foldwise.core.files import Record
from foldwise.statistics import Interval, Posterior, Verdict

Kind = Literal["baseline", "declared"]


class Protocol(Record):
    """What all variants of a study share."""

    dataset: str
    folds: int
    repeats: int
    splits: int
    training: Training


class VariantSummary(Record):
    """One variant's primary score, or why it has none."""

    status: str
    reason: str | None = None
    mean: float | None = None
    sd: float | None = None
    se: float | None = None
    ci95: Interval | None = None


class McNemar(Record):
    """Exact McNemar test of one repeat: rows that only A, and only B, gets right."""

    repeat: int
    only_a: int
    only_b: int
    p: float


class Bootstrap(Record):
    """Row bootstrap of the difference in accuracy: the trained models are held fixed."""

    mean: float
    ci95: Interval
    replicates: int


class Difference(Record):
    """B − A on one split."""

    repeat: int
    fold: int
    difference: float


class Exploratory(Record):
    """The corrected t-test of another metric, B − A; or why there is none."""

    mean: float | None = None
    ci95: Interval | None = None
    p: float | None = None
    missing: str | None = None


class AtRope(Record):
    """The posterior at another rope than the declared one."""

    rope: float
    worse: float
    equivalent: float
    better: float


class Pair(Record):
    """B against A. n rows, J = folds · repeats splits.

    From `mean` to `mde`, the t-test (`statistics.TTest`) of the differences B − A of the primary
    metric; `p_holm` is adjusted over the study's pairs. `verdict` and `posterior` know whether
    more is better. McNemar's tests (one a repeat) and the bootstrap need predictions at hand.
    """

    a: str
    b: str
    kind: Kind  # whether A is the study's baseline or the pair was declared
    n: int
    folds: int
    repeats: int
    mean: float
    sd: float
    se: float
    t: float | None
    df: int
    p: float
    ci95: Interval
    naive_p: float
    mde: float
    p_holm: float
    posterior: Posterior
    verdict: Verdict
    ropes: list[AtRope]
    mcnemar: list[McNemar]
    bootstrap: Bootstrap | None
    exploratory: dict[str, Exploratory]  # the other metrics
    differences: list[Difference]


class Refused(Record):
    """A pair that must not be compared, and why."""

    a: str
    b: str
    kind: Kind
    refused: str


class Comparison(Record):
    """comparisons/<study>.json."""

    study: str
    edition: str
    synthetic: bool
    metric: MetricName
    rope: float
    protocol: Protocol
    variants: dict[str, VariantSummary]
    metrics: dict[str, str] = Field(default_factory=dict)  # variant → digest of its files
    pairs: list[Pair | Refused]

    @property
    def made(self) -> list[Pair]:
        """The pairs that were compared, in the order of the file."""
        return [pair for pair in self.pairs if isinstance(pair, Pair)]

    @property
    def refused(self) -> list[Refused]:
        """The pairs that were not."""
        return [pair for pair in self.pairs if isinstance(pair, Refused)]


def write_comparison(root: Path, comparison: Comparison) -> None:
    """Write a study's comparisons, floats with ten significant digits."""
    content = trees.rounded(comparison.model_dump(mode="json"))
    files.write_json(root / paths.comparison(comparison.study), content)


def read_comparison(root: Path, study: str) -> Comparison:
    """A study's comparisons; MissingError or DamagedError where they are not as written."""
    remedy = f"`dvc repro compare@{study}` makes it"
    return files.read_record(root / paths.comparison(study), Comparison, remedy)
