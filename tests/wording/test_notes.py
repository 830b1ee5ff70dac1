"""MLflow's descriptions, from typed records."""

from pathlib import Path

import pytest
from fabricate import TINY, Cache

from foldwise.core import paths
from foldwise.results.comparisons import Refused, read_comparison
from foldwise.results.evaluations import Metrics, Score
from foldwise.results.runs import Manifest, RunFolder
from foldwise.wording import notes
from foldwise.wording.sentences import Context, sentence

PROTOCOL = (
    "Protocol: study `tiny`, data `rows` (edition synthetic, 40 rows), stratified 2-fold × 2, 5 "
    "epochs of batches of 8, reshuffled every epoch, preprocessing standardize."
)
LINKS = (
    "See the [models of this study](#/models/tiny) (`champion` among them); `foldwise report` "
    "writes the pictures, with links back here."
)


@pytest.fixture(scope="module")
def root(fabricated: Cache) -> Path:
    return fabricated.shared(TINY).root


@pytest.fixture(scope="module")
def manifest(root: Path) -> Manifest:
    return RunFolder(root / paths.run("tiny-plain")).manifest


def scored(metric: str, score: Score) -> Metrics:
    return Metrics(
        variant="tiny-plain",
        study="tiny",
        edition="synthetic",
        synthetic=True,
        status="complete",
        metric=metric,
        splits=4,
        scores={metric: score},
    )


SHARE = Score(mean=0.8351, sd_over_splits=0.0716, ci95_low=0.78298, ci95_high=0.88721)


def test_a_run_says_score_verdicts_protocol_and_where_to_go_on(
    root: Path, manifest: Manifest
) -> None:
    comparison = read_comparison(root, "tiny")
    note = notes.run(manifest, scored("accuracy", SHARE), comparison)
    assert note.split("\n\n") == [
        notes.SYNTHETIC,
        "Accuracy **83.5 %** (95 % CI 78.3 to 88.7 %, SD over 4 splits 7.2 pp)",
        f"- {sentence(comparison.made[0], Context.of(comparison))}",
        PROTOCOL,
        LINKS,
    ]


def test_the_score_is_the_primary_metric(manifest: Manifest) -> None:
    nats = Score(mean=0.55880, sd_over_splits=0.31702, ci95_low=0.4, ci95_high=0.7)
    note = notes.run(manifest, scored("log_loss", nats), None)
    score = "Log-loss **0.559 nats** (95 % CI 0.400 to 0.700 nats, SD over 4 splits 0.317 nats)"
    assert score in note


def test_a_refused_pair_says_why(root: Path, manifest: Manifest) -> None:
    refused = Refused(a="tiny-plain", b="tiny-dropout", kind="baseline", refused="other splits")
    comparison = read_comparison(root, "tiny").model_copy(update={"pairs": [refused]})
    assert "\n\n- other splits\n\n" in notes.run(manifest, None, comparison)


def test_a_failed_run_says_why_and_has_no_score(manifest: Manifest) -> None:
    failed = manifest.model_copy(update={"status": "failed", "reason": "the loss is NaN"})
    said = Metrics(
        variant="tiny-plain", study="tiny", edition="synthetic", synthetic=True, status="failed"
    )
    assert notes.run(failed, said, None).split("\n\n")[1:3] == [
        "**Failed**: the loss is NaN",
        PROTOCOL,
    ]


def test_real_data_have_no_warning(manifest: Manifest) -> None:
    real = manifest.dataset.model_copy(update={"edition": "uci", "synthetic": False})
    note = notes.training(manifest.model_copy(update={"dataset": real}), "running", "epoch 1 of 5")
    assert note.startswith("**Training, running**: epoch 1 of 5\n\nProtocol: ")


def test_a_model_says_data_and_protocol(manifest: Manifest) -> None:
    parts = notes.model(manifest, "champion").split("\n\n")
    assert parts[:3] == [
        notes.SYNTHETIC,
        "Data `rows` (edition synthetic), classes: class 0, class 1.",
        PROTOCOL,
    ]
    assert "`champion` is the one to use" in parts[3]


def test_a_version_is_described_as_its_run() -> None:
    assert notes.version("tiny-plain", "**x**") == "`tiny-plain`, trained on all rows.\n\n**x**"


def test_why_a_champion_is_one_in_full_and_in_short(root: Path) -> None:
    comparison = read_comparison(root, "tiny")
    pair = comparison.made[0]
    whole, short = notes.better(pair, comparison), notes.better_in_short(pair, comparison)
    assert whole.startswith(f"{short}; P(worse")
    assert short.endswith("2 folds × 2 repeats)")
