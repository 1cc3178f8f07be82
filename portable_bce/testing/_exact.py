"""Exact values, and how far results may be from them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf

from portable_bce.testing import reference
from portable_bce.testing._library import Values
from portable_bce.testing.ulp import smallest_normal, spacing

_FUNCTIONS = {
    "loss": reference.logit_loss,
    "grad": reference.logit_grad,
    "hess": reference.logit_hess,
}


class Exact(NamedTuple):
    """An exact value, and the two float64 that are next to it in sum."""

    value: Any
    high: float
    low: float


@lru_cache(maxsize=2**17)
def exact(name: str, x: float, y: float) -> Exact:
    """Return the loss, gradient or Hessian of one pair."""
    with mp.workprec(reference.BITS):
        value = _FUNCTIONS[name](x, y)
        high = float(value)
        return Exact(value, high, float(value - mpf(high)) if np.isfinite(high) else 0.0)


def exacts(name: str, x: Values, y: Values) -> list[Exact]:
    """Return the exact values of pairs."""
    return [exact(name, one, other) for one, other in zip(x.tolist(), y.tolist(), strict=True)]


def tail(x: Values) -> Values:
    """Return min(sigmoid(x), sigmoid(-x)), in whose ULP a soft label's gradient is measured."""
    e = np.exp(-np.abs(x))
    return np.asarray(e / (1 + e))


def unit(size: Values, dtype: str, *, flushes: bool = False) -> Values:
    """Return one ULP of float64 values in a dtype; of a power of two, that of the binade below."""
    least = float(smallest_normal(dtype))
    gap = float(spacing(least, dtype)) / least
    size = np.minimum(np.nextafter(np.abs(size), 0), np.finfo(np.float64).max)
    binade = np.ldexp(1.0, np.frexp(np.maximum(size, least))[1] - 1)
    return np.asarray(np.maximum(binade * gap, least if flushes else 0.0))
