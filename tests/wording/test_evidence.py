from collections.abc import Callable

from foldwise.metrics import METRICS
from foldwise.results.comparisons import Exploratory
from foldwise.results.studies import StudyResults
from foldwise.wording import evidence
from foldwise.wording.sentences import Context


def facts(study: StudyResults) -> dict[str, str]:
    return dict(evidence.rows(study.comparison.made[0], Context.of(study.comparison)))


def test_every_number_has_its_name(studies: list[StudyResults]) -> None:
    shown = facts(studies[1])
    for name in (
        "mean difference",
        "corrected t-test",
        "p after Holm, over the pairs of this study",
        "naive p, which takes splits for independent: do not trust",
        "minimum detectable effect (power 80 %)",
        "worse / practically the same / better at ±1 pp",
        "worse / practically the same / better at ±0 pp",
        "log-loss, B − A (exploratory; below 0 is better)",
        "ROC AUC, B − A (exploratory; above 0 is better)",
        "McNemar, repeat 1 (trained models held fixed)",
        "row bootstrap of accuracy, 2000 replicates (models fixed)",
    ):
        assert name in shown, name
    assert shown["mean difference"].endswith(" pp")
    assert " nats, 95 % CI [" in shown["log-loss, B − A (exploratory; below 0 is better)"]


def test_all_metrics_but_the_primary_one_are_exploratory(
    by_metric: Callable[[str], StudyResults],
) -> None:
    study = by_metric("log_loss")
    shown = facts(study)
    exploratory = [name for name in shown if "exploratory" in name]
    assert len(exploratory) == len(METRICS) - 1
    assert not any(name.startswith("log-loss") for name in exploratory)
    assert shown["mean difference"].endswith(" nats")
    assert shown["row bootstrap of accuracy, 2000 replicates (models fixed)"].count("pp") == 2


def test_a_missing_metric_says_why(studies: list[StudyResults]) -> None:
    missing = Exploratory(missing="split r0-f03: no row is of class 1")
    pair = studies[1].comparison.made[0].model_copy(update={"exploratory": {"roc_auc": missing}})
    shown = dict(evidence.rows(pair, Context.of(studies[1].comparison)))
    heading = "ROC AUC, B − A (exploratory; above 0 is better)"
    assert shown[heading] == "missing: split r0-f03: no row is of class 1"


def test_without_predictions_nothing_is_secondary(studies: list[StudyResults]) -> None:
    bare = {"mcnemar": [], "bootstrap": None, "t": None}
    pair = studies[1].comparison.made[0].model_copy(update=bare)
    shown = dict(evidence.rows(pair, Context.of(studies[1].comparison)))
    assert shown["corrected t-test"] == "–"
    assert not any(name.startswith(("McNemar", "row bootstrap")) for name in shown)
