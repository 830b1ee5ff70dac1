"""Numbers as people read them: with a true minus sign, in the unit of what they measure."""

import math
from dataclasses import dataclass
from typing import TypeGuard

from foldwise.metrics import Metric, Unit
from foldwise.statistics import Interval

NONE = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """How the values of a metric are shown: times `factor`, with `digits` fewer behind the point.

    `score` and `difference` are the units of a score and of a difference of two, `axis` that of a
    difference at the axis of a chart.
    """

    factor: float
    digits: int
    score: str
    difference: str
    axis: str


SCALES: dict[Unit, Scale] = {
    "share": Scale(100, 2, " %", " pp", "percentage points"),
    "nats": Scale(1, 0, " nats", " nats", "nats"),
    "": Scale(1, 0, "", "", "no unit"),
}


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3, sign: str = "-") -> str:
    """A number with a true minus sign; `sign="+"` shows a plus as well. "–" where there is none."""
    if not known(value):
        return NONE
    nearest = round(float(value), digits) + 0.0  # no negative zero
    return f"{nearest:{sign}.{digits}f}".replace("-", "−")


def percent(share: float | None, digits: int = 1) -> str:
    """A share, or a probability, as a percentage: `84.2 %`."""
    return f"{number(100 * share, digits)} %" if known(share) else NONE


def p_value(p: float | None) -> str:
    """A p value without its name: `0.034`, `4e-05`."""
    if not known(p):
        return NONE
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def short(value: float | None) -> str:
    """A number with two significant digits: 150, 0.31, 9.4·10⁻⁵."""
    if not known(value):
        return NONE
    if abs(value) >= 10 or value == 0:
        return number(value, 0)
    if abs(value) >= 1e-3:
        return number(value, 1 - math.floor(math.log10(abs(value))))
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.replace('-', '−')}·10{str(int(exponent)).translate(SUPERSCRIPT)}"


def thousands(count: int) -> str:
    """A count with narrow spaces: 50 000."""
    return f"{count:,}".replace(",", "\u202f")


# --- in the unit of a metric; digits are those of a plain number ------------------------------


def scale(metric: Metric) -> Scale:
    """How the values of a metric are shown."""
    return SCALES[metric.unit]


def in_unit(value: float | None, metric: Metric, digits: int = 3) -> str:
    """A score of a metric: `83.6 %`, `0.560 nats`, `0.136`."""
    return _scaled(value, metric, digits, "-") + (scale(metric).score if known(value) else "")


def interval(ends: Interval | None, metric: Metric) -> str:
    """An interval of scores: `[38.0, 41.6] %`."""
    if ends is None:
        return NONE
    low, high = (_scaled(end, metric, 3, "-") for end in ends)
    return f"[{low}, {high}]{scale(metric).score}"


def difference(value: float | None, metric: Metric, digits: int = 4, sign: str = "+") -> str:
    """A difference of two scores: `+6.51 pp`, `−0.0151 nats`; a spread has `sign="-"`."""
    return _scaled(value, metric, digits, sign) + (scale(metric).difference if known(value) else "")


def difference_interval(ends: Interval | None, metric: Metric) -> str:
    """An interval of differences: `[+4.74, +8.29] pp`."""
    if ends is None:
        return NONE
    low, high = (_scaled(end, metric) for end in ends)
    return f"[{low}, {high}]{scale(metric).difference}"


def estimate(value: float, ends: Interval, metric: Metric) -> str:
    """A difference and its interval, with the unit once: `+6.51 [+4.74, +8.29] pp`."""
    return f"{_scaled(value, metric)} {difference_interval(ends, metric)}"


def span(ends: Interval, metric: Metric) -> str:
    """An interval of differences in words: `+4.74 to +8.29 pp`."""
    low, high = (_scaled(end, metric) for end in ends)
    return f"{low} to {high}{scale(metric).difference}"


def margin(rope: float, metric: Metric) -> str:
    """A region around no difference: `±1 pp`."""
    shown = scale(metric)
    return f"±{shown.factor * rope:g}{shown.difference}"


def _scaled(value: float | None, metric: Metric, digits: int = 4, sign: str = "+") -> str:
    shown = scale(metric)
    scaled = shown.factor * value if known(value) else None
    return number(scaled, max(0, digits - shown.digits), sign)
