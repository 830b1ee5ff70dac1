"""What a report tells, gathered from the files of all stages: one `StudyResults` per study."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from foldwise import results
from foldwise.core import paths
from foldwise.core.config import SYNTHETIC, Config
from foldwise.core.errors import ResultsError


@dataclass(frozen=True)
class VariantResults:
    """One variant's results.

    Attributes:
        name: the variant.
        metrics: metrics/<variant>.json.
        scores: metrics/<variant>.csv, one row per split.
        history: repeat, fold, epoch, losses and accuracies; `refit` included.
        predictions: out-of-fold probabilities; no rows where the training failed.
        diagnostics: what happened inside the network of the probed split, by step and layer.
        manifest: run.json.
    """

    name: str
    metrics: dict[str, Any]
    scores: pd.DataFrame
    history: pd.DataFrame
    predictions: pd.DataFrame
    diagnostics: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the training failed, so that there is nothing to score."""
        return bool(self.metrics.get("status", "complete") != "complete")

    @property
    def reason(self) -> str:
        """Why it failed; empty where it did not."""
        return str(self.metrics.get("reason") or "")

    @property
    def classes(self) -> list[str]:
        """The class names, class 0 first."""
        return [str(name) for name in self.manifest["dataset"]["class_names"]]


@dataclass(frozen=True)
class StudyResults:
    """One study's results: its comparison, and its variants in the order of params.yaml."""

    name: str
    comparison: dict[str, Any]
    variants: tuple[VariantResults, ...]

    @property
    def edition(self) -> str:
        """The edition of the data that every variant was trained on."""
        return str(self.comparison.get("edition", "unknown"))

    @property
    def synthetic(self) -> bool:
        """Whether the data are the built-in stand-in."""
        return bool(self.comparison.get("synthetic")) or self.edition == SYNTHETIC

    @property
    def protocol(self) -> dict[str, Any]:
        """Data set, folds, repeats and training settings."""
        protocol: dict[str, Any] = self.comparison.get("protocol", {})
        return protocol

    @property
    def splits(self) -> int:
        """How many splits hold rows out: folds × repeats."""
        return int(self.protocol.get("folds", 0)) * int(self.protocol.get("repeats", 0))

    @property
    def rope(self) -> float:
        """Differences of the metric within ±rope count as none."""
        return float(self.comparison.get("rope", 0.0))

    @property
    def complete(self) -> list[VariantResults]:
        """The variants that have scores."""
        return [variant for variant in self.variants if not variant.failed]

    @property
    def failed(self) -> list[VariantResults]:
        """The variants whose training failed."""
        return [variant for variant in self.variants if variant.failed]

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """The comparisons that were made, in the order of the file."""
        return [pair for pair in self.comparison.get("pairs", []) if "refused" not in pair]

    @property
    def refused(self) -> list[dict[str, Any]]:
        """The comparisons that were refused, each with its reason."""
        return [pair for pair in self.comparison.get("pairs", []) if "refused" in pair]


def load(config: Config, root: Path = Path()) -> list[StudyResults]:
    """The results of every study that params.yaml declares.

    Only what is declared is read, never what happens to lie in a folder.

    Args:
        config: the settings.
        root: the project's root.

    Raises:
        ResultsError: a file is missing, damaged or not JSON.
    """
    return [load_study(config, name, root) for name in config.studies]


def load_study(config: Config, name: str, root: Path = Path()) -> StudyResults:
    """The results of one study; see `load`."""
    comparison = _json(root / paths.comparison(name), f"compare@{name}")
    variants = tuple(_variant(root, variant.name) for variant in config.variants_of(name))
    return StudyResults(name=name, comparison=comparison, variants=variants)


def is_there(config: Config, name: str, root: Path = Path()) -> bool:
    """Whether a study has been trained, evaluated and compared as a whole."""
    needed = [paths.comparison(name)]
    for variant in config.variants_of(name):
        needed += [paths.metrics(variant.name), paths.scores(variant.name)]
        needed += [paths.run(variant.name) / results.MANIFEST]
    return all((root / path).is_file() for path in needed)


def _variant(root: Path, name: str) -> VariantResults:
    run = root / paths.run(name)
    return VariantResults(
        name=name,
        metrics=_json(root / paths.metrics(name), f"evaluate@{name}"),
        scores=_scores(root / paths.scores(name), f"evaluate@{name}"),
        history=results.read_table(run, results.HISTORY),
        predictions=results.read_table(run, results.PREDICTIONS),
        diagnostics=results.read_table(run, results.DIAGNOSTICS),
        manifest=results.read_manifest(run),
    )


def _json(path: Path, stage: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{path}: not there; `dvc repro {stage}` makes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"{path}: damaged ({error}); `git checkout -- {path}` restores it, "
            f"`dvc repro {stage}` makes it again"
        ) from None
    return content


def _scores(path: Path, stage: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise ResultsError(f"{path}: not there; `dvc repro {stage}` makes it") from None
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
