"""Results as the stages before the report leave them, fabricated but scored for real."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from foldwise import comparison, evaluation, results
from foldwise.core import config, files, paths
from foldwise.core.config import Config, Variant

EDITION = {"digest": "a" * 64, "scale": 1.0}

PARAMS = """
datasets:
  pictures:
    editions:
      official:
        rows: {pictures}
        files:
          pictures.bin: {{mirror_path: pictures.bin, size: 1, sha256: {sha}}}
      synthetic: {{rows: {pictures}}}
  echoes:
    editions:
      official:
        rows: 208
        files:
          echoes.csv: {{mirror_path: echoes.csv, size: 1, sha256: {sha}}}
studies:
  pictures:
    dataset: pictures
    cv: {{folds: 5, repeats: 1}}
    training: {{epochs: 5, batch_size: 10, shuffle: true, optimizer: {{name: adam, lr: 1.0e-4}}}}
    comparison: {{baseline: pictures-plain, pairs: [[pictures-sigmoid, pictures-batchnorm]]}}
  echoes:
    dataset: echoes
    cv: {{folds: 10, repeats: {repeats}}}
    training:
      epochs: {epochs}
      batch_size: 16
      shuffle: false
      same_init: true
      optimizer: {{name: sgd, lr: 0.01, momentum: 0.8}}
    comparison: {{baseline: echoes-baseline}}
variants:
  pictures-plain: {{study: pictures, hidden: [64, 32]}}
  pictures-batchnorm: {{study: pictures, hidden: [64, 32], batch_norm: true}}
  pictures-sigmoid: {{study: pictures, hidden: [64, 32], activation: sigmoid}}
  echoes-baseline: {{study: echoes, hidden: [60, 30]}}
  echoes-input-dropout: {{study: echoes, hidden: [60, 30], input_dropout: 0.2}}
  echoes-hidden-dropout: {{study: echoes, hidden: [60, 30], hidden_dropout: 0.2}}
"""

CLASSES = {
    "pictures": ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                 "truck"],
    "echoes": ["metal", "rock"],
}  # fmt: skip
SKILL = {
    "pictures-plain": 1.9,
    "pictures-batchnorm": 2.4,
    "pictures-sigmoid": 1.4,
    "echoes-baseline": 1.9,
    "echoes-input-dropout": 1.8,
    "echoes-hidden-dropout": 1.85,
}


@dataclass(frozen=True)
class Project:
    """A folder with everything that `reporting.load` reads."""

    root: Path
    config: Config


def project(
    root: Path,
    pictures: int = 1000,
    repeats: int = 2,
    epochs: int = 40,
    synthetic: bool = False,
    failed: Mapping[str, str] | None = None,
) -> Project:
    """Fabricate the results of two studies; `failed` maps variants to reasons."""
    text = PARAMS.format(pictures=pictures, repeats=repeats, epochs=epochs, sha="a" * 64)
    settings = config.parse(text)
    edition = "synthetic" if synthetic else "official"
    for name in settings.studies:
        _study(root, settings, name, edition, failed or {})
    return Project(root, settings)


def _study(
    root: Path, settings: Config, study: str, edition: str, failed: Mapping[str, str]
) -> None:
    found = {}
    for variant in settings.variants_of(study):
        run = fabricate(variant, _rows(settings, variant), edition, failed.get(variant.name))
        results.write(root / paths.run(variant.name), run)
        scored = evaluation.evaluate(
            run.manifest, run.history, run.predictions, run.test_predictions
        )
        files.write_json(root / paths.metrics(variant.name), scored.metrics)
        scored.scores.to_csv(root / paths.scores(variant.name), index=False)
        found[variant.name] = comparison.VariantResult(
            scored.metrics, scored.scores, run.predictions, run.manifest
        )
    content = comparison.compare_study(study, settings.studies[study], found)
    files.write_json(root / paths.comparison(study), content)


def fabricate(
    variant: Variant, rows: int, edition: str, reason: str | None = None
) -> results.RunFiles:
    """What training a variant would leave, without training."""
    random = np.random.default_rng([len(variant.name), *variant.name.encode()])
    predictions = _predictions(variant, rows, random)
    splits = [[r, f] for r in range(variant.cv.repeats) for f in range(variant.cv.folds)]
    test = predictions.head(rows // 5).copy() if variant.study == "pictures" else None
    return results.RunFiles(
        manifest=_manifest(variant, edition, splits, reason),
        history=_history(variant, [*splits, [-1, -1]], random, reason),
        predictions=predictions.head(0) if reason else predictions,
        test_predictions=_tested(predictions.head(0) if test is None else test, splits),
        diagnostics=_diagnostics(variant, random),
        weights={"0.weight": np.zeros((len(splits) + 1, 1), dtype=np.float32)},
        timeline=pd.DataFrame({"repeat": [0], "fold": [0], "epoch": [1], "finished": [0.0]}),
        facts={},
    )


def _diagnostics(variant: Variant, random: np.random.Generator) -> pd.DataFrame:
    """Without BatchNorm the inputs spread, sigmoids saturate, units die and gradients fade."""
    network, layers = variant.network, len(variant.network.hidden) + 1
    calm, sigmoid = network.batch_norm, network.activation == "sigmoid"
    table = pd.MultiIndex.from_product(
        [range(0, 60 * 8, 8), range(1, layers + 1)], names=["step", "layer"]
    ).to_frame(index=False)
    u, hidden = table["step"] / table["step"].max(), table["layer"] < layers
    spread = 1 + (0.0 if calm else 3.0) * u + 0.1 * random.random(len(table))
    share = (0.0 if calm else 0.4) * u
    return table.assign(
        p15=-spread,
        p50=0.1 * random.normal(size=len(table)),
        p85=spread,
        saturated=share.where(hidden & sigmoid),
        dead=share.where(hidden & (network.activation == "relu")),
        gradient_norm=0.5 * np.exp(-(0.0 if calm else 3.0) * u),
        update_ratio=0.01 * np.exp(-2 * u),
    )


def _rows(settings: Config, variant: Variant) -> int:
    return next(iter(settings.datasets[variant.dataset].editions.values())).rows


def _manifest(
    variant: Variant, edition: str, splits: list[list[int]], reason: str | None
) -> dict[str, object]:
    return {
        "schema": results.SCHEMA,
        "status": "failed" if reason else "complete",
        "reason": reason,
        "variant": variant.model_dump(mode="json"),
        "dataset": {
            **EDITION,
            "name": variant.dataset,
            "edition": edition,
            "synthetic": edition == "synthetic",
            "class_names": CLASSES[variant.study],
        },
        "split_digest": "1" * 64,
        "code_digest": "2" * 64,
        "versions": {"foldwise": "0.1.0", "python": "3.11", "torch": "2.11.0"},
        "device": "cpu",
        "splits": [*splits, [-1, -1]],
    }


def _predictions(variant: Variant, rows: int, random: np.random.Generator) -> pd.DataFrame:
    """Rows of a study are equally hard for all of its variants, so that differences are paired."""
    shared, classes = np.random.default_rng(7), len(CLASSES[variant.study])
    labels = np.arange(rows) % classes
    parts = []
    for repeat in range(variant.cv.repeats):
        folds = shared.permutation(np.arange(rows) // classes % variant.cv.folds)
        logits = shared.normal(size=(rows, classes)) + 0.5 * random.normal(size=(rows, classes))
        logits[np.arange(rows), labels] += SKILL[variant.name] * (1 - 0.4 * (labels == 1))
        odds = np.exp(1.6 * logits)  # a little over-confident
        p = odds / odds.sum(axis=1, keepdims=True)
        columns = {f"p{k}": p[:, k].astype(np.float32) for k in range(classes)}
        table = {"row": np.arange(rows), "repeat": repeat, "fold": folds, "label": labels}
        parts.append(pd.DataFrame({**table, **columns}))
    return pd.concat(parts, ignore_index=True)


def _tested(table: pd.DataFrame, splits: list[list[int]]) -> pd.DataFrame:
    parts = [table.assign(repeat=r, fold=f) for r, f in [*splits, [-1, -1]]]
    return pd.concat(parts, ignore_index=True)


def _history(
    variant: Variant, splits: list[list[int]], random: np.random.Generator, reason: str | None
) -> pd.DataFrame:
    epochs = variant.training.epochs // 2 if reason else variant.training.epochs
    epoch = np.arange(1, epochs + 1)
    u = epoch / variant.training.epochs
    dropout = variant.network.input_dropout + variant.network.hidden_dropout
    parts = []
    for repeat, fold in splits:
        bend = 1 + 0.15 * random.normal()
        train = 0.75 * np.exp(-(3 - 4 * dropout) * u * bend) + 0.02 * random.random(len(u))
        held_out = train + (0.45 - dropout) * u**2 * bend + 0.05 * random.random(len(u))
        if fold == results.REFIT:
            held_out = np.full(len(u), np.nan)
        if reason:
            train[-1] = held_out[-1] = np.nan
        table = {"repeat": repeat, "fold": fold, "epoch": epoch, "train_loss": train}
        table |= {"train_accuracy": 1 - 0.6 * train, "validation_loss": held_out}
        parts.append(pd.DataFrame({**table, "validation_accuracy": 1 - 0.4 * held_out}))
    return pd.concat(parts, ignore_index=True)
