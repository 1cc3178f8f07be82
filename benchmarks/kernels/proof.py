"""Bound the errors of the compiled kernels on paper, and write the tables of docs/derivation.md.

    python benchmarks/kernels/proof.py

Each polynomial is compared with its function's Taylor series, with coefficients as primitives.h
has them. The roundings of each primitive are added up as its operations make them, at points
across its domain ("running error analysis"): an operation adds half an ULP of its result to
what its operands' errors amount to. Needs mpmath.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mpmath

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "portable_bce" / "_kernels" / "primitives.h"
PAGE = ROOT / "docs" / "derivation.md"
BEGIN, END = "<!-- kernels -->\n", "<!-- /kernels -->\n"
U = 2.0**-53  # the largest relative error of one rounding to float64
FLOAT32 = 2.0**-24
# Half an ULP of float32 in ULP of float16, which is rounded from it.
BY_WAY_OF_FLOAT32 = 2.0**-14
LARGEST_K = 1077  # z >= -746, so |k| <= 746 / ln 2
LN2_HALF = math.log(2) / 2 * 1.0005  # r may pass ln2 / 2 a little, because LOG2_E is rounded
POINTS = 1000
# The points lie so close that no error between two of them is larger by more than this factor;
# it also covers the roundings of the analysis itself, and errors of errors.
MARGIN = 1.01
TERMS = 40


def constants() -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the numbers and the coefficients of primitives.h."""
    text = HEADER.read_text(encoding="utf-8")
    numbers = {
        name: float(value) for name, value in re.findall(r"#define (\w+) (\d\.[\de.-]+)\n", text)
    }
    arrays = re.findall(r"static const double (\w+)\[\] = \{(.*?)\};", text, flags=re.DOTALL)
    return numbers, {
        name: [float(one) for one in values.split(",") if one.strip()] for name, values in arrays
    }


NUMBERS, COEFFICIENTS = constants()
with mpmath.workdps(40):
    LN2_OFF = float(abs(mpmath.mpf(NUMBERS["LN2"]) - mpmath.log(2)))


# The polynomials


def exp_series(start: int, factor: int) -> list[Any]:
    """Return the Taylor coefficients of factor (exp(r) - its terms below start) / r^start."""
    return [mpmath.mpf(factor) / mpmath.factorial(i + start) for i in range(TERMS)]


def log1p_series() -> list[Any]:
    """Return the Taylor coefficients of (log1p(f) - t) / t^3 in t^2, where t = 2 f / (2 + f)."""
    return [1 / ((2 * i + 3) * mpmath.mpf(4) ** (i + 1)) for i in range(TERMS)]


def evaluated(coefficients: list[Any], x: Any) -> Any:
    """Return its value; mpmath's own function takes the coefficients in another order since 1.4."""
    value = mpmath.mpf(0)
    for one in reversed(coefficients):
        value = value * x + one
    return value


def largest_difference(name: str, series: list[Any], low: float, high: float) -> float:
    """Return a bound of |polynomial - function| from low to high, a proof and no sample.

    The difference is a polynomial of degree n, too, up to what the series leaves out. Between N
    of Chebyshev's nodes it is larger than at them by 1 / cos(pi n / 2N) at most (Ehlich, Zeller).
    """
    given = COEFFICIENTS[name]
    apart = [mpmath.mpf(given[i] if i < len(given) else 0) - one for i, one in enumerate(series)]
    nodes, middle, half = 16 * TERMS, mpmath.mpf(high + low) / 2, mpmath.mpf(high - low) / 2
    largest = max(
        abs(evaluated(apart, middle + half * mpmath.cos(mpmath.pi * (i + 0.5) / nodes)))
        for i in range(nodes)
    )
    left_out = 2 * abs(series[-1]) * mpmath.mpf(max(abs(low), abs(high))) ** TERMS
    return float(largest / mpmath.cos(mpmath.pi * TERMS / (2 * nodes)) + left_out)


def polynomial_errors() -> dict[str, float]:
    """Return the largest difference of each polynomial from its function."""
    with mpmath.workdps(40):
        limit = 4 / 9 * (1 + 4 * U)
        return {
            "EXP_SINGLE": largest_difference("EXP_SINGLE", exp_series(2, 1), -LN2_HALF, LN2_HALF),
            "EXP_DOUBLE": largest_difference("EXP_DOUBLE", exp_series(3, 2), -LN2_HALF, LN2_HALF),
            "LOG1P_SINGLE": largest_difference("LOG1P_SINGLE", log1p_series(), 0.0, limit),
            "LOG1P_DOUBLE": largest_difference("LOG1P_DOUBLE", log1p_series(), 0.0, limit),
        }


# The roundings


@dataclass(frozen=True, slots=True)
class Number:
    """A float64 that is off by ``error`` at most from what exact operations would give."""

    value: float
    error: float = 0.0


def fma(a: Number, b: Number, c: Number) -> Number:
    value = a.value * b.value + c.value
    error = abs(a.value) * b.error + abs(b.value) * a.error + a.error * b.error + c.error
    return Number(value, error + U * (abs(value) + error))


def multiply(a: Number, b: Number) -> Number:
    return fma(a, b, Number(0.0))


def divide(a: Number, b: Number) -> Number:
    value = a.value / b.value
    error = (a.error + abs(value) * b.error) / (abs(b.value) - b.error)
    return Number(value, error + U * (abs(value) + error))


def add(a: Number, b: Number) -> Number:
    return fma(a, Number(1.0), b)


def polynomial(name: str, x: Number, square: Number) -> Number:
    """Evaluate POLYNOMIAL_n: Horner's rule in the square, for even and odd terms apart."""

    def every_second(terms: list[float]) -> Number:
        sum_ = Number(terms[-1])
        for term in terms[-2::-1]:
            sum_ = fma(sum_, square, Number(term))
        return sum_

    terms = COEFFICIENTS[name]
    return fma(every_second(terms[1::2]), x, every_second(terms[::2]))


def across(error_at: Callable[[float], float], low: float, high: float) -> float:
    """Return the largest error between two ends, neither of which is 0 itself."""
    points = (low + (high - low) * (i + 0.5) / POINTS for i in range(POINTS))
    return MARGIN * max(error_at(one) for one in points if one)


def exp_single(r: float) -> float:
    """Return the relative error that roundings make in exp_single, at the reduced argument."""
    x = Number(r, LARGEST_K * LN2_OFF + U * abs(r))
    square = multiply(x, x)
    power = add(Number(1.0), fma(square, polynomial("EXP_SINGLE", x, square), x))
    return power.error / math.exp(r)


def exp_double(r: float) -> float:
    """Return the same of exp_double, whose head 1 + r + r^2/2 is exact in high and low parts."""
    x = Number(r)
    half_square = Number(r * r / 2, U * r * r / 2)  # its rounding is kept in square.low
    head, low = 1 + r + r * r / 2, U * abs(r)
    # What rounded the multiple of LN2_LOW, and the end of ln2 that both parts leave out.
    reduction = 2 * LARGEST_K * NUMBERS["LN2_LOW"] * U
    # r.low is multiplied by the head, where the exact factor is exp(r).
    reduction += low * abs(math.exp(r) - head)
    tail = fma(Number(low), Number(head), Number(U * r * r / 2))
    cube = multiply(Number(half_square.value, half_square.error), x)
    tail = fma(cube, polynomial("EXP_DOUBLE", x, multiply(x, x)), tail)
    lows = add(Number(U), Number(U))
    power = add(lows, tail)
    # The rounding of half_square is in square.low: only its use in the cube counts.
    return (power.error + reduction) / math.exp(r)


def log1p_single(f: float) -> float:
    t = divide(Number(2 * f), add(Number(2.0), Number(f)))
    square = multiply(t, t)
    terms = polynomial("LOG1P_SINGLE", square, multiply(square, square))
    return fma(multiply(t, square), terms, t).error / math.log1p(f)


def log1p_double_parts(f: float) -> tuple[float, Number]:
    """Return t, and the low part of log1p_double with the error of its roundings."""
    t = 2 * f / (2 + f)
    high, low = Number(t), U * t
    square = multiply(high, high)
    slope = add(Number(0.0), multiply(Number(0.25), square))
    first = fma(Number(low), slope, Number(low))
    # The exact factor of the low part is 1 / (1 - t^2/4), and t itself is right to 8 U^2.
    model = low * (1 / (1 - t * t / 4) - 1 - t * t / 4) + 8 * U * U * t
    terms = polynomial("LOG1P_DOUBLE", square, multiply(square, square))
    part = fma(multiply(high, square), terms, first)
    return t, Number(part.value, part.error + model)


def log1p_double(f: float) -> float:
    return log1p_double_parts(f)[1].error / math.log1p(f)


def low_of_log1p(f: float) -> float:
    """Return how large the low part of log1p_double is, beside the whole."""
    return abs(log1p_double_parts(f)[1].value) / math.log1p(f)


# What follows for the results


@dataclass(frozen=True, slots=True)
class Primitive:
    """The two parts of a primitive's relative error."""

    name: str
    domain: str
    polynomial: float
    roundings: float

    @property
    def total(self) -> float:
        """The relative error of the primitive."""
        return self.polynomial + self.roundings


@cache
def primitives() -> list[Primitive]:
    errors = polynomial_errors()
    # exp is off by r^2 times (r^3 / 2 times) what the polynomial is off by; log1p by t^3 times.
    most = math.exp(LN2_HALF)
    t = 2 / 3
    ends = (1e-9, 1.0)
    return [
        Primitive(
            "exp_single",
            "z ≤ 0",
            errors["EXP_SINGLE"] * LN2_HALF**2 * most,
            across(exp_single, -LN2_HALF, LN2_HALF),
        ),
        Primitive(
            "log1p_single",
            "[0, 1]",
            errors["LOG1P_SINGLE"] * t**2,  # t^3 / log1p(f) <= t^2, because log1p(f) >= t
            across(log1p_single, *ends),
        ),
        Primitive(
            "exp_double",
            "z ≤ 0",
            errors["EXP_DOUBLE"] * LN2_HALF**3 / 2 * most,
            across(exp_double, -LN2_HALF, LN2_HALF),
        ),
        Primitive(
            "log1p_double",
            "[0, 1]",
            errors["LOG1P_DOUBLE"] * t**2,
            across(log1p_double, *ends),
        ),
    ]


# Roundings of the formula in float64 for a result of float32, with all factors: far fewer.
OPERATIONS = 32


def bounds() -> dict[str, float]:
    """Return the bound of each result in ULP, the last rounding included."""
    exp_1, log_1, exp_2, log_2 = (one.total for one in primitives())
    low = across(low_of_log1p, 1e-9, 1.0)
    single = {
        "loss": exp_1 + log_1 + OPERATIONS * U,
        "grad": exp_1 + 2 * OPERATIONS * U,  # abs(d) <= 2 S
        "hess": exp_1 + OPERATIONS * U,
    }
    # Pairs: four operations round the low part of the logarithm; all other low parts are at most
    # U times their high parts, and OPERATIONS roundings of such are 64 U^2.
    double = {
        "loss": exp_2 + log_2 + 4 * low * U + 2 * OPERATIONS * U * U,
        "grad": exp_2 + 2 * OPERATIONS * U * U,
        "hess": exp_2 + 2 * OPERATIONS * U * U,
    }
    # A relative error of FLOAT32 is one ULP at most.
    found = {f"float32 {name}": 0.5 + error / FLOAT32 for name, error in single.items()}
    halves = {
        f"{dtype} {name}": 0.5 + units + error / FLOAT32 * 2.0**-bits
        for dtype, bits, units in (
            ("float16", 13, BY_WAY_OF_FLOAT32),
            ("bfloat16", 16, BY_WAY_OF_FLOAT32 / 8),
        )
        for name, error in single.items()
    }
    return found | halves | {f"float64 {name}": 0.5 + error / U for name, error in double.items()}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def scientific(number: float) -> str:
    digits, _, power = f"{number:.1e}".partition("e")
    return f"{digits} · 10{str(int(power)).translate(SUPERSCRIPTS)}"


def rounded_up(number: float, digits: int) -> str:
    """Write a bound, which must not be rounded down."""
    return f"{math.ceil(number * 10**digits) / 10**digits:.{digits}f}"


def text() -> str:
    """Return what stands between the marks of the page."""
    first = table(
        ["function", "domain", "polynomial", "roundings", "together"],
        [
            [
                f"`{one.name}`",
                one.domain,
                *map(scientific, (one.polynomial, one.roundings, one.total)),
            ]
            for one in primitives()
        ],
    )
    found = bounds()
    rows = [
        [
            dtype,
            *(rounded_up(found[f"{dtype} {name}"], digits) for name in ("loss", "grad", "hess")),
        ]
        for dtype, digits in (("float16", 5), ("bfloat16", 5), ("float32", 5), ("float64", 2))
    ]
    second = table(["dtype", "loss", "gradient", "Hessian"], rows)
    return f"\n{first}\n{second}\n"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, begin, after = page.partition(BEGIN)
    _, end, rest = after.partition(END)
    if not (begin and end):
        sys.exit(f"{PAGE} has no marks {BEGIN.strip()} and {END.strip()}")
    PAGE.write_text(before + begin + text() + end + rest, encoding="utf-8")


if __name__ == "__main__":
    main()
