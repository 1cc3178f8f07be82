"""Errors of single results in units in the last place, by mpmath.

One ULP is the gap between the exact result's two neighbours in the output dtype, in the
binade of the exact result; below the normal range, the smallest subnormal.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from portable_bce._contract import FORMATS

__all__ = ["distance", "error", "largest", "smallest_normal", "spacing"]


def spacing(x: Any, dtype: str) -> mpf:
    """Return one ULP of a number, exact or not, in a dtype.

    Parameters
    ----------
    x : float or mpf
        The number.
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Returns
    -------
    mpf
        The gap between the floats next to it.

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from portable_bce.testing import ulp
    >>> float(ulp.spacing(1.5, "float32")) == 2.0**-23
    True
    """
    bits, least = FORMATS[dtype].bits, FORMATS[dtype].least
    x = abs(mpf(x))
    exponent = least if x == 0 else max(least, int(mp.floor(mp.log(x, 2) + mpf(2) ** -200)))
    if x and mpf(2) ** exponent > x:
        exponent -= 1
    return mpf(2) ** (max(exponent, least) - bits + 1)


def largest(dtype: str) -> mpf:
    """Return the largest finite number of a dtype.

    Parameters
    ----------
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Returns
    -------
    mpf
        Positive.

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from portable_bce.testing import ulp
    >>> float(ulp.largest("float16"))
    65504.0
    """
    return mpf(FORMATS[dtype].largest)


def smallest_normal(dtype: str) -> mpf:
    """Return the smallest positive normal number of a dtype.

    Parameters
    ----------
    dtype : str
        "float16", "bfloat16", "float32" or "float64".

    Returns
    -------
    mpf
        A power of two.

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from portable_bce.testing import ulp
    >>> float(ulp.smallest_normal("float32")) == 2.0**-126
    True
    """
    return mpf(FORMATS[dtype].smallest_normal)


def error(
    got: Any, exact: Any, dtype: str, *, scale: Any = 0, underflow: Any = 1, flushes: bool = False
) -> float:
    """Return the error of a result in ULP of the larger of its exact value and ``scale``.

    Parameters
    ----------
    got : float
        The result.
    exact : float or mpf
        What it should be.
    dtype : str
        "float16", "bfloat16", "float32" or "float64", of the result.
    scale : float or mpf
        What the result cancels from, if that is larger.
    underflow : float
        What the smallest subnormal was multiplied by on the way (a weight).
    flushes : bool
        Whether the library flushes subnormals to zero: it is then wrong by up to the
        smallest normal.

    Returns
    -------
    float
        Infinite where only one of the two is NaN, or an infinite result has a finite exact
        value.

    Raises
    ------
    KeyError
        Another dtype.

    Examples
    --------
    >>> from portable_bce.testing import reference, ulp
    >>> ulp.error(0.6931472, reference.logit_loss(0.0, 1.0), "float32") < 0.5
    True
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
    """Return how many floats apart the elements of two arrays of one dtype are.

    Parameters
    ----------
    one, other : array_like
        Of one floating dtype and one shape.

    Returns
    -------
    numpy.ndarray of int, of their shape
        0 where both are NaN.

    Raises
    ------
    AssertionError
        Two dtypes, or two shapes.
    KeyError
        A dtype that is not of 16, 32 or 64 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import ulp
    >>> one = np.float32([1.0, 0.0])
    >>> print(ulp.distance(one, np.nextafter(one, np.float32(2))))
    [1 1]
    """
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
