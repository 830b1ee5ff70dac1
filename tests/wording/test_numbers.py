import pytest

from foldwise.metrics import METRICS
from foldwise.wording import numbers

ACCURACY, LOG_LOSS, AUC = (METRICS[name] for name in ("accuracy", "log_loss", "roc_auc"))


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (0.5, 1, "-", "0.5"),
        (-0.5, 1, "-", "−0.5"),
        (0.5, 1, "+", "+0.5"),
        (-0.01, 1, "-", "0.0"),
        (-0.01, 1, "+", "+0.0"),
        (0.0001, 1, "-", "0.0"),
        (None, 1, "-", "–"),
        (float("nan"), 1, "-", "–"),
        (float("inf"), 1, "-", "–"),
    ],
)
def test_number(value: float | None, digits: int, sign: str, text: str) -> None:
    assert numbers.number(value, digits, sign) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.34, "0.340"), (0.001, "0.001"), (0.0004, "0.0004"), (4.2e-5, "4e-05"), (None, "–")],
)
def test_p_values(p: float | None, text: str) -> None:
    assert numbers.p_value(p) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (150.4, "150"),
        (31.0, "31"),
        (1.04, "1.0"),
        (0.8, "0.80"),
        (0.0123, "0.012"),
        (-0.98, "−0.98"),
        (9.4e-5, "9.4·10⁻⁵"),
        (-9.4e-5, "−9.4·10⁻⁵"),
        (0.0, "0"),
        (float("nan"), "–"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert numbers.short(value) == text


def test_shares_are_shown_in_percent_and_their_differences_in_points() -> None:
    assert numbers.percent(0.8417) == "84.2 %"
    assert numbers.in_unit(0.8417, ACCURACY) == "84.2 %"
    assert numbers.interval((0.5, 0.75), ACCURACY) == "[50.0, 75.0] %"
    assert numbers.difference(-0.01234, ACCURACY) == "−1.23 pp"
    assert numbers.difference(0.0123, ACCURACY, 3, "-") == "1.2 pp"
    assert numbers.difference_interval((-0.0311, 0.0811), ACCURACY) == "[−3.11, +8.11] pp"
    assert numbers.estimate(0.025, (-0.0311, 0.0811), ACCURACY) == "+2.50 [−3.11, +8.11] pp"
    assert numbers.span((-0.0311, 0.0811), ACCURACY) == "−3.11 to +8.11 pp"
    assert numbers.margin(0.0025, ACCURACY) == "±0.25 pp"


def test_other_scores_keep_their_unit_or_have_none() -> None:
    assert numbers.in_unit(0.5601, LOG_LOSS) == "0.560 nats"
    assert numbers.in_unit(0.913, AUC) == "0.913"
    assert numbers.interval((0.5, 0.75), LOG_LOSS) == "[0.500, 0.750] nats"
    assert numbers.difference(-0.01234, LOG_LOSS) == "−0.0123 nats"
    assert numbers.difference_interval((-0.0311, 0.0811), AUC) == "[−0.0311, +0.0811]"
    assert numbers.span((-0.0311, 0.0811), AUC) == "−0.0311 to +0.0811"
    assert numbers.margin(0.01, LOG_LOSS) == "±0.01 nats"
    assert numbers.margin(0.01, AUC) == "±0.01"


def test_what_is_not_known_has_no_unit() -> None:
    assert numbers.percent(None) == "–"
    assert numbers.in_unit(None, ACCURACY) == "–"
    assert numbers.difference(float("nan"), ACCURACY) == "–"
    assert numbers.interval(None, LOG_LOSS) == "–"
    assert numbers.difference_interval(None, LOG_LOSS) == "–"


def test_thousands_are_set_apart_by_narrow_spaces() -> None:
    assert numbers.thousands(50_000) == "50\u202f000"
