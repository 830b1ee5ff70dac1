from dataclasses import replace
from typing import Any

import pytest

from foldwise.core.config import Adam, Init, Sgd, Training
from foldwise.metrics import METRICS
from foldwise.results.comparisons import Pair, Protocol
from foldwise.results.studies import StudyResults
from foldwise.statistics import Posterior
from foldwise.wording import sentences
from foldwise.wording.sentences import Context, answer, sentence

ONE = Context(METRICS["accuracy"], 0.01, "d", "uci", folds=5, repeats=1, pairs=1)
TRAINING = Training(
    epochs=300,
    batch_size=16,
    shuffle=False,
    same_init=True,
    optimizer=Sgd(name="sgd", lr=0.01, momentum=0.8),
    init=Init(uniform=0.05),
)


def pair(**changes: Any) -> Pair:
    fields: dict[str, Any] = {
        "a": "base", "b": "new", "kind": "baseline", "n": 10, "folds": 5, "repeats": 1,
        "mean": -0.1, "sd": 0.4, "se": 0.37, "t": -0.27, "df": 4, "p": 1.0,
        "ci95": (-1.1201, 0.9201), "naive_p": 0.9, "mde": 1.36592, "p_holm": 1.0,
        "posterior": Posterior(0.5908, 0.0192, 0.39), "verdict": "Inconclusive", "ropes": [],
        "mcnemar": [], "bootstrap": None, "exploratory": {}, "differences": [],
    }  # fmt: skip
    return Pair(**fields | changes)


def test_an_open_question_has_everything() -> None:
    assert sentence(pair(), ONE) == (
        "Inconclusive: new against base changes accuracy by −10.00 pp (95 % CI −112.01 to +92.01 "
        "pp, n = 10 rows of d/uci, 5 folds); P(worse / within ±1 pp / better) = "
        "0.591 / 0.019 / 0.390, unadjusted; p = 1.000 (corrected repeated k-fold t-test, Holm "
        "over 1 pair); minimum detectable effect 136.59 pp at 80 % power."
    )


@pytest.mark.parametrize(("verdict", "mean"), [("Helps", 0.4), ("Hurts", -0.4)])
def test_a_claim_needs_no_detectable_effect(verdict: str, mean: float) -> None:
    made = pair(verdict=verdict, mean=mean, p_holm=0.0004)
    text = sentence(made, replace(ONE, repeats=2, pairs=2))
    assert text.startswith(f"{verdict}: new against base changes accuracy by ")
    assert "n = 10 rows of d/uci, 5 folds × 2 repeats" in text
    assert "p = 0.0004 (corrected repeated k-fold t-test, Holm over 2 pairs)." in text
    assert "minimum detectable effect" not in text


def test_identical_variants() -> None:
    made = pair(mean=0.0, sd=0.0, mde=0.0, df=9, n=100, verdict="Practically the same")
    assert sentence(made, replace(ONE, repeats=2)) == (
        "Practically the same: new and base have the same accuracy on every one of 10 splits "
        "(n = 100 rows of d/uci, 5 folds × 2 repeats)."
    )


def test_one_difference_everywhere_has_no_detectable_effect() -> None:
    assert "minimum detectable effect" not in sentence(pair(sd=0.0, mde=0.0), ONE)


def test_a_loss_has_its_unit_and_says_that_lower_is_better() -> None:
    text = sentence(pair(verdict="Helps"), replace(ONE, metric=METRICS["log_loss"]))
    assert text.startswith(
        "Helps: new against base changes log-loss (lower is better) by −0.1000 nats "
        "(95 % CI −1.1201 to +0.9201 nats, n = "
    )
    assert "P(worse / within ±0.01 nats / better)" in text


def test_a_score_without_a_unit() -> None:
    text = sentence(pair(), replace(ONE, metric=METRICS["matthews"]))
    assert "changes Matthews correlation by −0.1000 (95 % CI −1.1201 to +0.9201, n = " in text
    assert "minimum detectable effect 1.3659 at 80 % power." in text


def test_the_answer_is_the_sentence_without_its_verdict() -> None:
    assert sentence(pair(), ONE) == f"Inconclusive: {answer(pair(), ONE)}"


def test_the_context_is_what_all_pairs_of_a_study_share(troubled: list[StudyResults]) -> None:
    pictures, echoes = (Context.of(study.comparison) for study in troubled)
    assert echoes == Context(METRICS["accuracy"], 0.01, "echoes", "synthetic", 10, 2, pairs=2)
    assert pictures.pairs == 1  # the others are refused
    assert pictures.synthetic
    assert not ONE.synthetic


def test_the_protocol_says_what_decides_a_result() -> None:
    shared = Protocol(dataset="echoes", folds=10, repeats=2, splits=20, training=TRAINING)
    assert sentences.protocol(shared, "official") == (
        "Data: echoes (edition official); stratified cross-validation, 10 folds × 2 repeats = 20 "
        "splits, the same splits for every variant; 300 epochs in batches of 16, sgd (lr 0.01, "
        "momentum 0.8), rows in file order, the same initial weights in every split, features not "
        "standardised."
    )
    assert sentences.protocol(shared, "synthetic").startswith("Data: echoes (synthetic stand-in);")


def test_the_other_settings() -> None:
    adam = Adam(name="adam", lr=1e-4)
    changes = {"optimizer": adam, "shuffle": True, "same_init": False, "preprocessing": "minmax"}
    assert sentences.training(TRAINING.model_copy(update=changes)) == (
        "300 epochs in batches of 16, adam (betas [0.9, 0.999], eps 1e-08, lr 0.0001), reshuffled "
        "every epoch, new initial weights in every split, features scaled to [0, 1] inside each "
        "training fold"
    )


def test_one_repeat_is_singular() -> None:
    assert sentences.splits_of(5, 1) == "5 folds × 1 repeat = 5 splits"


def test_synthetic_results_are_marked() -> None:
    assert sentences.marked("echoes", synthetic=True) == "echoes (synthetic data)"
    assert sentences.marked("echoes", synthetic=False) == "echoes"
