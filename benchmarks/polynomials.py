"""Fit the polynomials of `foldwise.numerics.elementary`: `python -m benchmarks.polynomials`.

Each is the interpolation at Chebyshev nodes, taken with 60 digits: within a factor of two of the
best polynomial of its degree, and far below a rounding. The printed errors are those of the
polynomial alone, relative to the function that is to be had.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp

Number = Any  # an mpmath number
mp.mp.dps = 60


class Fit(NamedTuple):
    """What is fitted: P(y) on [low, high], and how P gives the wanted function of y."""

    name: str
    target: Callable[[Number], Number]
    low: float
    high: float
    degree: int
    relative: Callable[[Number], Number]  # weight of an error in P, relative to the result


def exponential(r: Number) -> Number:
    """(exp(r) - 1 - r) / r^2."""
    return mp.fsum(r**k / mp.factorial(k + 2) for k in range(40))


def logarithm(z: Number) -> Number:
    """(2 atanh(s) / s - 2) / s^2 where z = s^2."""
    return mp.fsum(2 * z**k / (2 * k + 3) for k in range(60))


def near(z: Number) -> Number:
    """(erf(x) / x - 1) where z = x^2."""
    first = 2 / mp.sqrt(mp.pi)
    series = [(-1) ** k * z**k / (mp.factorial(k) * (2 * k + 1)) for k in range(60)]
    return first * mp.fsum(series) - 1


def far(t: Number) -> Number:
    """erfc(t) exp(t^2)."""
    return mp.erfc(t) * mp.exp(t * t)


HALF = float(mp.log(2)) / 2 * 1.0001
TOP = float((3 - 2 * mp.sqrt(2)) ** 2) * 1.0001
FITS = [
    Fit("EXP float32", exponential, -HALF, HALF, 5, lambda r: r**2 / mp.expm1(r) if r else r),
    Fit("EXP float64", exponential, -HALF, HALF, 10, lambda r: r**2 / mp.expm1(r) if r else r),
    Fit("LOG float32", logarithm, 0, TOP, 2, lambda z: z / 2),
    Fit("LOG float64", logarithm, 0, TOP, 6, lambda z: z / 2),
    Fit("ERF_NEAR float32", near, 0, 1, 6, lambda z: 1 / (1 + near(z))),
    Fit("ERF_NEAR float64", near, 0, 1, 12, lambda z: 1 / (1 + near(z))),
    Fit("ERF_FAR float32", lambda u: far(u * 1.5 + 2.5), -1, 1, 12,
        lambda u: mp.exp(-((u * 1.5 + 2.5) ** 2))),
    Fit("ERF_FAR float64", lambda u: far(u * 2.5 + 3.5), -1, 1, 30,
        lambda u: mp.exp(-((u * 2.5 + 3.5) ** 2))),
]  # fmt: skip


def coefficients(fit: Fit) -> list[Number]:
    """Of the interpolating polynomial, the constant first."""
    middle, half = mp.mpf(fit.low + fit.high) / 2, mp.mpf(fit.high - fit.low) / 2
    count = fit.degree + 1
    nodes = [middle + half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    matrix = mp.matrix(count, count)
    for i, node in enumerate(nodes):
        for k in range(count):
            matrix[i, k] = node**k
    solved = mp.lu_solve(matrix, mp.matrix([fit.target(node) for node in nodes]))
    return [solved[k] for k in range(count)]


def error(fit: Fit, found: list[Number]) -> float:
    """The largest of 1,000 places."""
    places = [fit.low + (fit.high - fit.low) * (i + 0.5) / 1000 for i in range(1000)]
    errors = [
        (mp.polyval(found[::-1], y) - fit.target(mp.mpf(y))) * fit.relative(mp.mpf(y))
        for y in places
    ]
    return float(max(abs(e) for e in errors))


def main() -> None:
    """Print every fit."""
    for fit in FITS:
        found = coefficients(fit)
        print(f"{fit.name}: error {error(fit, found):.1e}")
        for value in found:
            print(f"    {float(value)!r},")


if __name__ == "__main__":
    main()
