"""MLX: the plain row, in a namespace that keeps to the standard where MLX's own does not.

MLX's exponential on a CPU is wrong by up to 63 ULP in float32 below -20, is 0 where its result
should be subnormal, and has no more digits in float64 than in float32 (MLX 0.32). So the
exponential is taken of a number within half of ln 2 here, and scaled by a power of two.
Automatic differentiation, ``mx.compile`` and ``mx.vmap`` go through all of this.
"""

from __future__ import annotations

import math
from typing import Any

from portable_bce._libraries import Standard
from portable_bce._reduction import pairwise_total
from portable_bce._runners.plain import Plain

# ln 2 in two parts; a product of the first and a whole number up to 2^11 is exact in float32.
LN2_HIGH = 355 / 512
LN2_LOW = -2.1219444005469057e-4
# Below, exp is 0 in each dtype; a power of two beyond would not fit into two factors.
LOWEST = {"float32": -104.0, "float64": -746.0}
# Terms of the exponential's series in float64; the derivative of the sum has one less.
DEGREE = 14


class Namespace(Standard):
    """MLX's functions with the arguments of the standard, and an exponential for the formula."""

    def astype(self, x: Any, dtype: Any, *, copy: bool = True) -> Any:
        """Return an array in a dtype."""
        return x.astype(dtype)

    def sum(self, x: Any, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        """Sum in a dtype."""
        return self._xp.sum(x if dtype is None else x.astype(dtype), axis=axis, keepdims=keepdims)

    def arange(self, *limits: Any, dtype: Any = None, device: Any = None) -> Any:
        """Return numbers in steps of one; MLX has one memory for all its devices."""
        return self._xp.arange(*limits, dtype=dtype)

    def exp(self, x: Any) -> Any:
        """Return the exponential of numbers that are not positive."""
        mx = self._xp
        is_double = x.dtype == mx.float64
        lowest = LOWEST["float64" if is_double else "float32"]
        # Minus infinity minus a multiple of ln 2 is no number; NaN stays as it is.
        bounded = mx.where(x < lowest, mx.array(lowest, dtype=x.dtype), x)
        power = mx.stop_gradient(mx.floor(bounded * (1 / math.log(2)) + 0.5))
        rest = (bounded - power * LN2_HIGH) - power * LN2_LOW
        fraction = _series(rest) if is_double else mx.exp(rest)
        # In two factors, because 2^-149 has no exponent of its own.
        half = mx.floor(power * 0.5)
        return fraction * self._two_to(half) * self._two_to(power - half)

    def _two_to(self, power: Any) -> Any:
        """Return a power of two by the bits of its exponent."""
        mx = self._xp
        bits, bias, whole = (
            (52, 1023, mx.int64) if power.dtype == mx.float64 else (23, 127, mx.int32)
        )
        exponent = mx.left_shift((power + bias).astype(whole), mx.array(bits, dtype=whole))
        return mx.stop_gradient(mx.view(exponent, power.dtype))


def _series(x: Any) -> Any:
    """Return the exponential of a small number by its series."""
    value = 1.0 + x / DEGREE
    for term in range(DEGREE - 1, 0, -1):
        value = 1.0 + value * x / term
    return value


RUNNER = Plain(pairwise_total, Namespace)
