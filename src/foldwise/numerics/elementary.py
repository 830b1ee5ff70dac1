"""exp, expm1, sigmoid, tanh, log, log1p and erf with the same bits on every machine.

The C library chooses its own by processor. These are for float32 and float64, and become plain
arithmetic in the loop that calls them, so that LLVM computes several at once.

Every one reduces its argument to a short interval and takes a polynomial there (Muller,
*Elementary Functions*, 2016; the logarithm's form is that of fdlibm). `benchmarks/polynomials.py`
fits the coefficients. Errors of float32: exp, expm1, log, log1p, erf at most 1.5 units in the last
place, sigmoid and tanh 2.5. Results below the smallest normal number count as zero.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from foldwise.numerics.lanes import Value


class Form(NamedTuple):
    """What depends on the kind of float. Polynomials have their constant first."""

    fraction: int  # bits of it
    bias: int  # of the exponent
    low: float  # log of the smallest normal number
    high: float  # log of the largest number
    one: float  # expm1(-one) and 1 - tanh(one) are -1 and 0
    tiny: float  # smallest normal number
    ln2_high: float
    ln2_low: float  # ln 2 less ln2_high
    exponential: tuple[float, ...]  # (exp(r) - 1 - r) / r^2
    logarithm: tuple[float, ...]  # (2 atanh(s) / s - 2) / s^2, of s^2
    near: tuple[float, ...]  # erf(x) / x - 1, of x^2, below 1
    far: tuple[float, ...]  # erfc(x) exp(x^2) from 1 to `end`
    end: float  # from here erf is 1


SINGLE = Form(
    fraction=23, bias=127, low=-87.33654022216797, high=88.72283172607422, one=20.0,
    tiny=2.0**-126, ln2_high=0.693147182464599609375, ln2_low=-1.904654299957767878e-09,
    exponential=(
        0.500000001346581, 0.16666666681623232, 0.041666464925285904, 0.0083333109254809,
        0.0013933649996309251, 0.00019890990824673654,
    ),
    logarithm=(0.6666668504515603, 0.39988778282162807, 0.2958005304318844),
    near=(
        0.12837916584835093, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412,
        0.005189087423433974, -0.000801686428716587, 7.875875062685488e-05,
    ),
    far=(
        0.2108063640611436, -0.11152100511306101, 0.05611048818984676, -0.027005716870634796,
        0.01248952041745665, -0.005567380322584669, 0.002402487431083445, -0.0010170089408470175,
        0.0004129869220693504, -0.00014405779233076188, 5.6303576556181324e-05,
        -3.6888910916590526e-05, 1.3365835857927637e-05,
    ),
    end=4.0,
)  # fmt: skip
DOUBLE = Form(
    fraction=52, bias=1023, low=-708.396418532264, high=709.782712893384, one=40.0,
    tiny=2.0**-1022, ln2_high=0.6931471805599453094172321214581766,
    ln2_low=2.319046813846299616e-17,
    exponential=(
        0.5, 0.1666666666666667, 0.04166666666666667, 0.008333333333326136, 0.0013888888888883748,
        0.00019841269874820627, 2.4801587325547743e-05, 2.7557255400206422e-06,
        2.75572736431103e-07, 2.5105217004720745e-08, 2.0914686968086876e-09,
    ),
    logarithm=(
        0.666666666666667, 0.39999999999899444, 0.2857142862600327, 0.22222211130259878,
        0.18182889455674947, 0.15331710618210773, 0.14616585424888623,
    ),
    near=(
        0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
        0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
        -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
        1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
    ),
    far=(
        0.1552936556088943, -0.10330894458313124, 0.06663208245319109, -0.04176678811943095,
        0.0254955596437064, -0.01518251154565966, 0.00883342391639231, -0.005028067967896857,
        0.0028033261864894706, -0.0015325157195868503, 0.0008222552565141488,
        -0.0004333616469641549, 0.00022452993059700351, -0.00011444274581909268,
        5.742080518440341e-05, -2.8375421033603888e-05, 1.38206733448045e-05,
        -6.644171891044074e-06, 3.1473331910963984e-06, -1.4583791026934757e-06,
        6.740620690712834e-07, -3.263444005599658e-07, 1.4614480520522422e-07,
        -4.5551021827612916e-08, 2.0766620450808687e-08, -2.313380406055404e-08,
        9.597458511055547e-09, 2.6635869107568587e-09, -1.0099480876298564e-09,
        -1.5114786449782725e-09, 6.096624968614332e-10,
    ),
    end=6.0,
)  # fmt: skip


Formula = Callable[[Value, Form], Value]


def _polynomial(coefficients: tuple[float, ...], y: Value) -> Value:
    """By Horner's rule."""
    total = y.like(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(y, coefficient)
    return total


def _reduced(x: Value, form: Form) -> tuple[Value, Value]:
    """Whole n and q = exp(r) - 1, where x = n ln 2 + r."""
    magic = 1.5 * 2.0**form.fraction  # a sum with it keeps no places after the point
    raised = x.fma(1 / math.log(2), magic)
    n = raised - magic
    r = n.fma(-form.ln2_low, n.fma(-form.ln2_high, x))
    q = (r * r).fma(_polynomial(form.exponential, r), r)
    return raised.bits().minus(x.like(magic).bits()), q


def _power(n: Value, form: Form) -> Value:
    """2^n of a whole number."""
    return n.plus(form.bias).shifted(form.fraction).as_float()


def _exp(x: Value, form: Form) -> Value:
    inside = _clamped(x, form.low - 1, form.high + 1)
    n, q = _reduced(inside, form)
    half = n.shifted(-1)  # 2^n itself may be too large
    grown = (q + 1.0) * _power(half, form) * _power(n.minus(half), form)
    grown = (x < form.low).where(0.0, grown)
    return (x.like(form.high) < x).where(math.inf, grown)


def _expm1(x: Value, form: Form) -> Value:
    n, q = _reduced(_clamped(x, -form.one, form.high + 1), form)
    half = _power(n.minus(1), form)
    grown = half.fma(q, half - 0.5) * 2.0
    return (x.like(form.high) < x).where(math.inf, grown)


def _sigmoid(x: Value, form: Form) -> Value:
    return x.like(1.0) / (_exp(x * -1.0, form) + 1.0)


def _tanh(x: Value, form: Form) -> Value:
    size = _clamped(_size(x), 0.0, form.one)
    grown = _expm1(size * 2.0, form)
    return _signed(grown / (grown + 2.0), x)


def _log(x: Value, form: Form) -> Value:
    """By x = 2^e m, m from the root of 1/2 to that of 2; f = m - 1, s = f / (2 + f)."""
    least = x.like(math.sqrt(0.5)).bits()
    e = x.bits().minus(least).shifted(-form.fraction)
    f = x.bits().minus(e.shifted(form.fraction)).as_float() - 1.0
    s = f / (f + 2.0)
    half = f * f * 0.5
    z = s * s
    rest = z * _polynomial(form.logarithm, z)
    times = e.to_float()
    small = s.fma(half + rest, times * form.ln2_low)
    found = times.fma(form.ln2_high, f - (half - small))
    found = (x < form.tiny).where((x < 0.0).where(x.like(math.nan), -math.inf), found)
    return (x < math.inf).where(found, x)


def _log1p(u: Value, form: Form) -> Value:
    """What rounding took from 1 + u is given back."""
    whole = u + 1.0
    return _log(whole, form) + (u - (whole - 1.0)) / whole


def _erf(x: Value, form: Form) -> Value:
    size = _clamped(_size(x), 0.0, form.end)
    square = size * size
    near = size.fma(_polynomial(form.near, square), size)
    half = (form.end - 1) / 2
    place = (size - (1 + half)) * (1 / half)
    far = x.like(1.0) - _exp(x.like(0.0) - square, form) * _polynomial(form.far, place)
    return _signed((size < 1.0).where(near, far), x)


def _clamped(x: Value, low: float, high: float) -> Value:
    """Not below low, not above high; NaN stays."""
    raised = (x < low).where(low, x)
    return (raised.like(high) < raised).where(high, raised)


def _size(x: Value) -> Value:
    return (x < 0.0).where(x.like(0.0) - x, x)


def _signed(size: Value, x: Value) -> Value:
    return (x < 0.0).where(size.like(0.0) - size, size)


def _compiled(formula: Formula) -> Any:
    """A function of one float for compiled code."""

    @intrinsic
    def function(context: Any, x: Any) -> Any:
        form = {types.float32: SINGLE, types.float64: DOUBLE}[x]

        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            return formula(Value(b, arguments[0]), form).number

        return x(x), generate

    return function


exp, expm1, sigmoid, tanh = map(_compiled, (_exp, _expm1, _sigmoid, _tanh))
log, log1p, erf = map(_compiled, (_log, _log1p, _erf))
