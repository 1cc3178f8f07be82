"""Errors in units in the last place, and every tolerance that the tests use.

One ULP is the gap between the exact result's two neighbours in the output dtype, in the
binade of the exact result; below the normal range, the smallest subnormal.

LOSS, GRAD, HESS: 4.4, 5, 5
    DESIGN.md section 5, soft labels and weights in float32. exp is off by up to 2.6 ULP and
    log1p by 2.0 (NumPy with AVX-512, the worst in use); the division, products and sums by
    half an ULP each, doubled just above a power of two.
PER_FACTOR: 2
    pos_weight and smoothing enter before the sum: each rounds A, B and A + B once more.
PROBABILITY: 4
    log and log1p within 1.5, the products, quotients and the sum half an ULP each.
PROBABILITY_HESS: 6
    Two quotients and a rounded 1 - q in each term.
XLA_LOG1P: 130
    XLA's float64 log1p is off by up to 129 ULP between -1/2 and -0.3 (measured, jaxlib
    0.10.2 on a CPU; 1 to 2 ULP elsewhere, 1.6 in float32), and log(1 - q) comes from
    there. Logits only need log1p of [0, 1].
ROUNDED_ONCE: 0.501
    Halves computed in float32, float32 in float64: the last rounding, and what a dtype of
    at least 13 more bits adds to it.
SUM: 2
    Terms summed wide or in pairs, one division, one rounding.
NARROW_SUM: 4
    Without float64, numerator and denominator are summed in float32, in pairs or in XLA's
    tree: log2(n) roundings each, which for the 60 to 10^6 terms here stay within 2 ULP.
CONTRACTED: 2
    The same formula inside another compiled program: XLA may fuse a product and a sum,
    which moves each of two terms by half an ULP.

A gradient is measured in ULP of the larger of its size and min(sigmoid(x), sigmoid(-x)) of
its masses: where y is close to sigmoid(x) it cancels by its nature (DESIGN.md section 5).
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

LOSS = 4.4
GRAD = 5.0
HESS = 5.0
PER_FACTOR = 2.0
PROBABILITY = 4.0
XLA_LOG1P = 130.0
PROBABILITY_HESS = 6.0
ROUNDED_ONCE = 0.501
SUM = 2.0
NARROW_SUM = 4.0
CONTRACTED = 2.0

# bits of the significand, exponent of the smallest normal, exponent of the largest
_FORMATS = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}


def spacing(x: Any, dtype: str) -> mpf:
    """Return one ULP of a number, exact or not, in ``dtype``."""
    bits, least, _ = _FORMATS[dtype]
    x = abs(mpf(x))
    exponent = least if x == 0 else max(least, int(mp.floor(mp.log(x, 2) + mpf(2) ** -200)))
    if x and mpf(2) ** exponent > x:
        exponent -= 1
    return mpf(2) ** (max(exponent, least) - bits + 1)


def largest(dtype: str) -> mpf:
    bits, _, most = _FORMATS[dtype]
    return (2 - mpf(2) ** (1 - bits)) * mpf(2) ** most


def smallest_normal(dtype: str) -> mpf:
    return mpf(2) ** _FORMATS[dtype][1]


def error(
    got: Any, exact: Any, dtype: str, *, scale: Any = 0, underflow: Any = 1, flushes: bool = False
) -> float:
    """Return the error of a result in ULP of the larger of its exact value and ``scale``.

    ``underflow`` is what the smallest subnormal was multiplied by on the way (a weight).
    Libraries that flush subnormals to zero are wrong by up to the smallest normal.
    """
    with mp.workprec(300):
        got, exact = mpf(float(got)), mpf(exact)
        if mpmath.isnan(exact) or mpmath.isnan(got):
            return 0.0 if mpmath.isnan(exact) and mpmath.isnan(got) else np.inf
        if abs(exact) > largest(dtype):
            return 0.0 if abs(got) >= largest(dtype) and got * exact > 0 else np.inf
        if mpmath.isinf(got):
            return 0.0 if abs(exact) + spacing(exact, dtype) > largest(dtype) else np.inf
        unit = spacing(max(abs(exact), abs(mpf(scale))), dtype)
        floor = smallest_normal(dtype) if flushes else spacing(0, dtype)
        return float(abs(got - exact) / max(unit, floor * max(mpf(1), mpf(underflow))))


def distance(one: Any, other: Any) -> Any:
    """Return how many floats apart the elements of two arrays of one dtype are."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    kind: Any = {2: np.int16, 4: np.int32, 8: np.int64}[one.dtype.itemsize]

    def place(x: Any) -> Any:
        bits = x.view(kind).astype(object)
        return np.where(bits < 0, -(bits & np.iinfo(kind).max), bits)

    apart = abs(place(np.atleast_1d(one)) - place(np.atleast_1d(other)))
    both = np.isnan(one) & np.isnan(other)
    return np.where(both, 0, apart.reshape(one.shape))
