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
# Down to where exp is 0: the logit, and as many powers of two.
LOWEST = {"float32": (-104.0, 151), "float64": (-746.0, 1077)}
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
        lowest, count = LOWEST["float64" if is_double else "float32"]
        # Minus infinity minus a multiple of ln 2 is no number. NaN has no place in the table.
        bounded = mx.where(x < lowest, mx.array(lowest, dtype=x.dtype), x)
        number = mx.where(bounded == bounded, bounded, mx.array(0, dtype=x.dtype))
        power = mx.stop_gradient(mx.floor(0.5 - number * (1 / math.log(2))))  # of one half
        rest = (bounded + power * LN2_HIGH) + power * LN2_LOW
        # A table is exact on every device, and mx.compile knows its shape where lengths are open.
        halves = mx.array([0.5**n for n in range(count)], dtype=x.dtype)
        scale = mx.take(halves, power.astype(mx.int32))
        return (_series(rest) if is_double else mx.exp(rest)) * scale


def _series(x: Any) -> Any:
    """Return the exponential of a small number by its series."""
    value = 1.0 + x / DEGREE
    for term in range(DEGREE - 1, 0, -1):
        value = 1.0 + value * x / term
    return value


RUNNER = Plain(pairwise_total, Namespace)
