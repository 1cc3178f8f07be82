"""Exact enough: the loss and its derivatives in a wider format, and errors in ULP, by arrays.

Written from the definition, not from the formula under test, so that the two share no
arrangement. Every term but those of the gradient is non-negative, so a result is within a
few ULP of its own format, which has 29 bits more than float32 (float64) or 11 more than
float64 (x86's long double). The same holds of the gradient, in ULP of what it cancels from.
`sweep.distance_from_mpmath` measures that. ``xp`` is NumPy, or CuPy for arrays that lie there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portable_bce._contract import Format


def has_reference(form: Format) -> bool:
    """Tell whether NumPy has a dtype that is wide enough; on some platforms long double is not."""
    return bool(np.finfo(form.wide).nmant >= form.bits + 10)


@dataclass(frozen=True, slots=True)
class Exact:
    """What the logits alone decide: the softplus and the sigmoid of x and of -x."""

    softplus: Any
    softplus_of_minus: Any
    sigmoid: Any
    sigmoid_of_minus: Any

    @classmethod
    def of(cls, xp: Any, x: Any) -> Exact:
        """Return the four of logits in a wide dtype."""
        size = xp.abs(x)
        e = xp.exp(-size)
        correction = xp.log1p(e)
        large, small = 1 / (1 + e), e / (1 + e)
        up = x >= 0
        return cls(
            softplus=xp.maximum(x, 0) + correction,
            softplus_of_minus=xp.maximum(-x, 0) + correction,
            sigmoid=xp.where(up, large, small),
            sigmoid_of_minus=xp.where(up, small, large),
        )

    def values(self, xp: Any, y: Any, w: Any, p: Any, u: Any) -> dict[str, tuple[Any, Any]]:
        """Return (exact value, what it cancels from or None) for loss, grad and hess.

        Parameters are of the wide dtype; None stands for a weight of one.
        """
        a, b, hess = y, 1 - y, self.sigmoid * self.sigmoid_of_minus
        scale = xp.minimum(self.sigmoid, self.sigmoid_of_minus)
        if not (w is None and p is None and not u):
            w, p = (1 if factor is None else factor for factor in (w, p))
            a, b = w * p * (a * (1 - u) + u / 2), w * (b * (1 - u) + u / 2)
            hess, scale = (a + b) * hess, (a + b) * scale
        return {
            "loss": (a * self.softplus_of_minus + b * self.softplus, None),
            "grad": (b * self.sigmoid - a * self.sigmoid_of_minus, scale),
            "hess": (hess, None),
        }


def errors(xp: Any, got: Any, exact: Any, scale: Any, floor: Any, form: Format, lost: Any) -> Any:
    """Return the errors in ULP of the larger of the exact value and ``scale``.

    Below ``floor`` (an array or number) an ULP is that. A result that should overflow may be
    the largest number or infinite; one below ``lost`` may be flushed to zero. NaN is off by
    infinity.
    """
    size = xp.abs(exact)
    unit = _binade(xp, size if scale is None else xp.maximum(size, scale))
    unit *= form.eps
    off = got.astype(exact.dtype)
    off = xp.abs(off - exact) / xp.maximum(unit, floor)
    if lost is not None:
        off = xp.where((size < lost) & (xp.abs(got) <= lost), 0.0, off)
    if size.max() > form.largest:
        right = (xp.abs(got) >= form.largest) & ((got > 0) == (exact > 0))
        off = xp.where(size > form.largest, xp.where(right, 0.0, np.inf), off)
    return xp.where(xp.isnan(off), np.inf, off) if xp.isnan(off.max()) else off


def _binade(xp: Any, x: Any) -> Any:
    """Return the power of two at or below x >= 0."""
    if x.dtype == np.float64:  # the exponent alone, an order of magnitude cheaper than frexp
        return (x.view(np.int64) & 0x7FF0000000000000).view(np.float64)
    _, exponent = xp.frexp(x)
    return xp.ldexp(xp.ones((), dtype=x.dtype), exponent - 1)


def exactly(value: Any) -> Any:
    """Return a NumPy number as mpmath's, a long double as well, which float() would round."""
    from mpmath import mp, mpf  # noqa: PLC0415 (an extra; sweeps work without it)

    if not np.isfinite(value):
        return mpf(float(value))
    part, exponent = np.frexp(value)
    high = np.float64(part)
    with mp.workprec(128):
        return mp.ldexp(mpf(float(high)) + mpf(float(part - high)), int(exponent))
